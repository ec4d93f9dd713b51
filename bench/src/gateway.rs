//! `gateway` (P2): the whole path of `POST /v1/events` (key, limit, admission, Kafka with
//! acks=all) against a server that a team would write in an afternoon: fastify and kafkajs,
//! `bench/peer`, on the same Kafka.
//!
//! `cpu` (P3): what a request costs the gateway's process, against an axum server that reads
//! the body and answers 202; both as fast as they can, and both at the same rate (what a process
//! that is not busy pays for waking up is in both then).
//!
//! `open`: a rate of requests that doesn't wait for the answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::post;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use triggerline_testkit::{Process, World};

use crate::cpu;
use crate::load::{Load, Seen, Span, text};
use crate::report::{Figures, Report};

/// Of a body, in bytes: a typical webhook (the design's P2).
const BODY: usize = 819;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The `triggerline` to measure: a release build.
    #[arg(long, env = "TRIGGERLINE_BIN", default_value = "triggerline")]
    binary: String,
    /// Seconds that count, in each round; as much as a fifth of it is run before, to warm up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Requests a second, where they are sent at a rate.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
}

/// A server that is measured.
struct Target {
    address: SocketAddr,
    process: u32,
    key: String,
    /// Ended when dropped.
    _running: Running,
}

#[expect(dead_code, reason = "held, so that what runs is ended with it")]
enum Running {
    Gateway(Process),
    Other(Child),
}

pub(crate) async fn against_peer(options: &Options) -> anyhow::Result<()> {
    let setting = json!({
        "connections": options.connections, "seconds": options.seconds, "body_bytes": BODY,
        "peer": "fastify 5.6.1, kafkajs 2.2.4 (acks=-1), one process of node",
    });
    let (ours, our_world) = gateway(options).await?;
    let (peer, peer_world) = peer().await?;
    let mut report = Report::new("gateway", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (name, target) in [("triggerline", &ours), ("fastify + kafkajs", &peer)] {
            report.add(name, measure(target, options, None).await?);
        }
    }
    report.end()?;
    drop((ours, peer));
    our_world.tear_down().await?;
    peer_world.tear_down().await
}

pub(crate) async fn against_echo(options: &Options) -> anyhow::Result<()> {
    let setting = json!({
        "connections": options.connections, "seconds": options.seconds, "body_bytes": BODY,
    });
    let (ours, world) = gateway(options).await?;
    let echo = echo_process().await?;
    let mut report = Report::new("cpu", setting.clone());
    let mut paced = Report::new("cpu-paced", json!({"rate": options.rate, "rest": setting}));
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (name, target) in [("triggerline", &ours), ("axum 202 echo", &echo)] {
            report.add(name, measure(target, options, None).await?);
        }
        for (name, target) in [("triggerline", &ours), ("axum 202 echo", &echo)] {
            paced.add(name, measure(target, options, Some(options.rate)).await?);
        }
    }
    report.end()?;
    paced.end()?;
    drop(ours);
    world.tear_down().await
}

pub(crate) async fn open(options: &Options) -> anyhow::Result<()> {
    let setting = json!({
        "connections": options.connections, "seconds": options.seconds, "body_bytes": BODY,
        "rate": options.rate,
    });
    let (ours, world) = gateway(options).await?;
    let mut report = Report::new("open", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        report.add("triggerline", measure(&ours, options, Some(options.rate)).await?);
    }
    report.end()?;
    drop(ours);
    world.tear_down().await
}

async fn measure(target: &Target, options: &Options, rate: Option<u32>) -> anyhow::Result<Figures> {
    let request = request(&target.key, target.address);
    let load = Load { address: target.address, request, connections: options.connections, rate };
    let length = Duration::from_secs(options.seconds);
    let span = Span::after(length / 5, length);
    let running = tokio::spawn(async move { load.run(span).await });
    tokio::time::sleep_until(span.from).await;
    let before = cpu::used(target.process)?;
    tokio::time::sleep_until(span.to).await;
    let cpu = cpu::used(target.process)?.checked_sub(before).context("time ran backwards")?;
    let seen = running.await??;
    figures(&seen, cpu)
}

fn figures(seen: &Seen, cpu: Duration) -> anyhow::Result<Figures> {
    let accepted = seen.accepted();
    anyhow::ensure!(accepted > 0, "nothing was accepted: {:?}", seen.answers);
    Ok(Figures::from([
        ("accepted/s", seen.per_second()),
        ("other answers", seen.others() as f64),
        ("p50 ms", seen.millis(0.5)),
        ("p95 ms", seen.millis(0.95)),
        ("p99 ms", seen.millis(0.99)),
        ("CPU us/request", cpu.as_secs_f64() * 1e6 / accepted as f64),
        ("CPU cores", cpu.as_secs_f64() / seen.seconds),
    ]))
}

/// The request that is sent, with a body of [`BODY`] bytes.
fn request(key: &str, address: SocketAddr) -> String {
    let body = |note: &str| {
        json!({
            "event_type": "order.created",
            "subject": "orders/4711",
            "payload": {
                "id": 4711, "customer": {"id": "c-1", "country": "DE", "vip": true},
                "items": [{"sku": "A-1", "n": 2, "price": 19.99}, {"sku": "B-7", "n": 1, "price": 5.5}],
                "total": 45.48, "currency": "EUR", "note": note,
            },
        })
        .to_string()
    };
    let body = body(&text(BODY.saturating_sub(body("").len())));
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A gateway with settings as they come, but for a limit that is not in the way.
async fn gateway(options: &Options) -> anyhow::Result<(Target, World)> {
    let mut world = World::on_real_parts(&options.binary).await?;
    world.set("TRIGGERLINE_GATEWAY__PLANS__DEFAULT__RATE_LIMIT", "1000000/1s");
    let key = world.customer("bench").await?;
    let mut process = world.start(&["gateway"])?;
    let serving = process.logged("serving").await?;
    let address = serving["http"].as_str().context("no address")?.parse()?;
    let id = process.id()?;
    Ok((Target { address, process: id, key, _running: Running::Gateway(process) }, world))
}

/// The reference of P2, with a topic of its own on the same Kafka.
async fn peer() -> anyhow::Result<(Target, World)> {
    let world = World::on_real_parts(&binary_of_topics()?).await?;
    let folder = peer_folder().await?;
    let topic = format!("{}events", world.settings["TRIGGERLINE_KAFKA__PREFIX"]);
    let environment = HashMap::from([
        ("KAFKA", world.settings["TRIGGERLINE_KAFKA__BROKERS"].clone()),
        ("TOPIC", topic),
        ("KEY", "peer-key".to_owned()),
    ]);
    let mut command = Command::new("node");
    command.arg(folder.join("server.mjs")).envs(environment).env("NODE_ENV", "production");
    let (address, child) = started(command).await?;
    let process = child.id().context("the peer has ended")?;
    let target =
        Target { address, process, key: "peer-key".to_owned(), _running: Running::Other(child) };
    Ok((target, world))
}

/// Where the references in JavaScript are, with their packages.
pub(crate) async fn peer_folder() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer");
    if !folder.join("node_modules/bullmq").exists() {
        println!("installing the peer's packages: npm ci in {}", folder.display());
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent"]).current_dir(&folder);
        let installed = npm.status().await.context("run npm (Node 20 or later)")?;
        anyhow::ensure!(installed.success(), "npm ci failed");
    }
    Ok(folder)
}

fn binary_of_topics() -> anyhow::Result<String> {
    std::env::var("TRIGGERLINE_BIN").context("TRIGGERLINE_BIN is not set")
}

async fn echo_process() -> anyhow::Result<Target> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("echo");
    let (address, child) = started(command).await?;
    let process = child.id().context("the echo has ended")?;
    Ok(Target { address, process, key: "none".to_owned(), _running: Running::Other(child) })
}

/// Starts a server that prints its address on its first line.
pub(crate) async fn started(mut command: Command) -> anyhow::Result<(SocketAddr, Child)> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("start {command:?}"))?;
    let out = child.stdout.take().context("its output is not a pipe")?;
    let line = BufReader::new(out).lines().next_line().await?;
    let line = line.with_context(|| format!("{command:?} ended before it served"))?;
    Ok((line.trim().parse().with_context(|| format!("not an address: {line:?}"))?, child))
}

/// The reference of P3.
pub(crate) async fn echo() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let answer = |_body: Bytes| async {
        (
            StatusCode::ACCEPTED,
            [(header::CONTENT_TYPE, "application/json")],
            r#"{"event_id":"019ab2f0-0000-7000-8000-000000000000","status":"accepted"}"#,
        )
    };
    axum::serve(listener, Router::new().route("/v1/events", post(answer))).await?;
    Ok(())
}
