//! `sending` (P9): webhooks a second to one endpoint, 64 at once. Ours takes them from Kafka,
//! signs, sends and records each attempt on Kafka; the references are reqwest with one client,
//! which only sends, and BullMQ with undici, which takes them from Redis, signs, sends and records
//! there (`bench/peer/sender.mjs`). With `--answer-after` the endpoint takes its time, as real ones do:
//! then it is the 64 that bound how many are sent, and what a sender adds shows.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures::future::try_join_all;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::process::Command;
use triggerline_kafka::{KafkaConfig, Producer, ROOM, Topic, Topics};
use triggerline_testkit::{Client, World, wait_until};
use triggerline_types::{CustomerId, Delivery, DeliveryId, Event, EventId, EventType, Revision};
use triggerline_wire as wire;

use crate::cpu;
use crate::gateway::{peer_folder, started};
use crate::load::text;
use crate::report::{Figures, Report};

const PAYLOAD: usize = 600;
const LIMIT: Duration = Duration::from_mins(5);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The `triggerline` to measure: a release build.
    #[arg(long, env = "TRIGGERLINE_BIN", default_value = "triggerline")]
    binary: String,
    /// Webhooks, in each round.
    #[arg(long, default_value_t = 100_000)]
    webhooks: u64,
    #[arg(long, default_value_t = 64)]
    at_once: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds after which the endpoint answers.
    #[arg(long, default_value_t = 0)]
    answer_after: u64,
    #[arg(long, env = "TRIGGERLINE_TEST_REDIS")]
    redis: String,
    /// Be the reference that only sends, to this URL.
    #[arg(long, hide = true)]
    reqwest: Option<String>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(url) = &options.reqwest {
        return only_send(url, options).await;
    }
    let setting = json!({
        "webhooks": options.webhooks, "at_once": options.at_once, "body_bytes": body().len(),
        "answer_after_ms": options.answer_after,
        "reqwest": "0.12, one client", "BullMQ": "6.7.0 with undici 7.30.2, one process of node",
    });
    let name = if options.answer_after == 0 { "sending" } else { "sending-slow-endpoint" };
    let mut report = Report::new(name, setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        report.add("triggerline", ours(options).await?);
        report.add("reqwest, sending only", reqwest_only(options).await?);
        report.add("BullMQ + undici", bullmq(options).await?);
    }
    report.end()
}

/// An endpoint in a process of its own, which counts.
struct Receiver {
    url: String,
    counted: Client,
    _running: tokio::process::Child,
}

impl Receiver {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["receiver", &options.answer_after.to_string()]);
        let (address, running) = started(command).await?;
        let base = format!("http://{address}");
        Ok(Self { url: format!("{base}/hook"), counted: Client::new(base, ""), _running: running })
    }

    /// Waits until all have come; what they came to, for the process that sent them.
    async fn figures(&self, sender: u32, options: &Options) -> anyhow::Result<Figures> {
        let expected = options.webhooks;
        let told: Value = wait_until("all webhooks to arrive", LIMIT, || async {
            let told = self.counted.get("/counted").await.and_then(|told| told.json());
            let told = told.map_err(|error| error.to_string())?;
            if told["count"].as_u64() >= Some(expected) { Ok(told) } else { Err(told.to_string()) }
        })
        .await?;
        let figure = |name: &str| told[name].as_f64().with_context(|| format!("no {name}"));
        let (count, seconds) = (figure("count")?, figure("seconds")?);
        let used = cpu::used(sender)?.as_secs_f64();
        Ok(Figures::from([
            ("webhooks/s", count / seconds),
            ("CPU us/webhook, start included", used * 1e6 / count),
        ]))
    }
}

/// The endpoint.
pub(crate) async fn receiver(answer_after: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let begin = std::time::Instant::now();
    let micros = move || u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let seen = Arc::new([const { AtomicU64::new(0) }; 3]);
    let taken = Arc::clone(&seen);
    let take = move |_: Bytes| {
        let [count, first, last] = &*taken;
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            first.store(micros(), Ordering::Relaxed);
        }
        last.store(micros(), Ordering::Relaxed);
        async move {
            if !answer_after.is_zero() {
                tokio::time::sleep(answer_after).await;
            }
            StatusCode::NO_CONTENT
        }
    };
    let tell = move || {
        let [count, first, last] = [0, 1, 2].map(|place| seen[place].load(Ordering::Relaxed));
        let seconds = Duration::from_micros(last - first).as_secs_f64();
        async move { axum::Json(json!({"count": count, "seconds": seconds})) }
    };
    let router = Router::new().route("/hook", post(take)).route("/counted", get(tell));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn ours(options: &Options) -> anyhow::Result<Figures> {
    let world = World::with(&options.binary, &[]).await?;
    let receiver = Receiver::start(options).await?;
    let made = world.printed(&["customers", "create", "bench"]).await?;
    let text = |value: &Value, name: &str| -> anyhow::Result<String> {
        Ok(value[name].as_str().with_context(|| format!("no {name}"))?.to_owned())
    };
    let customer: CustomerId = text(&made, "customer_id")?.parse()?;
    let mut gateway = world.start(&["gateway"])?;
    let serving = gateway.logged("serving").await?;
    let client =
        Client::new(format!("http://{}", text(&serving, "http")?), text(&made, "api_key")?);
    let asked = json!({"workflow_id": "w", "delivery": {"url": receiver.url}}).to_string();
    let made = client.post("/v1/subscriptions", asked).await?.expect(StatusCode::CREATED)?;
    let subscription = text(&made, "id")?.parse()?;
    gateway.terminate().await?;

    let kafka = KafkaConfig {
        brokers: world.settings["TRIGGERLINE_KAFKA__BROKERS"].clone(),
        prefix: world.settings["TRIGGERLINE_KAFKA__PREFIX"].clone(),
        properties: [].into(),
    };
    let producer = Producer::new(&kafka, "bench", Duration::from_secs(30), ROOM)?;
    let topic = Topics::new(&kafka).name(Topic::Deliveries);
    let sends = (0..options.webhooks).map(|_| {
        let now = OffsetDateTime::now_utc();
        let event = Event {
            id: EventId::new(),
            customer_id: customer,
            event_type: event_type(),
            source: "bench".to_owned(),
            subject: None,
            occurred_at: now,
            received_at: now,
            extensions: [].into(),
            traceparent: None,
            quarantined: None,
            payload: payload().into(),
        };
        let delivery = Delivery {
            id: DeliveryId::of(event.id, subscription),
            subscription_id: subscription,
            subscription_revision: Revision::default(),
            event,
            attempt: 1,
            not_before: None,
            replay_id: None,
        };
        let record = wire::delivery::encode(&delivery);
        let (producer, topic) = (&producer, &topic);
        async move { producer.send(topic, &record).await }
    });
    try_join_all(sends).await?;
    producer.close(Duration::from_secs(30)).await;
    let process = world.start(&["delivery"])?;
    let figures = receiver.figures(process.id()?, options).await?;
    drop(process);
    world.tear_down().await?;
    Ok(figures)
}

fn event_type() -> EventType {
    EventType::parse("order.created".to_owned()).unwrap_or_else(|error| panic!("{error}"))
}

fn payload() -> String {
    json!({"id": 4711, "note": text(PAYLOAD)}).to_string()
}

/// What a receiver gets of ours.
fn body() -> String {
    json!({
        "event_id": EventId::new().to_string(), "event_type": "order.created", "source": "bench",
        "occurred_at": "2026-11-24T00:00:00.000Z", "received_at": "2026-11-24T00:00:00.000Z",
        "payload": {"id": 4711, "note": text(PAYLOAD)},
    })
    .to_string()
}

async fn reqwest_only(options: &Options) -> anyhow::Result<Figures> {
    let receiver = Receiver::start(options).await?;
    let child = Command::new(std::env::current_exe()?)
        .args(["sending", "--reqwest", &receiver.url])
        .args(["--webhooks", &options.webhooks.to_string()])
        .args(["--at-once", &options.at_once.to_string()])
        .kill_on_drop(true)
        .spawn()?;
    receiver.figures(child.id().context("reqwest has ended")?, options).await
}

async fn only_send(url: &str, options: &Options) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let left = AtomicU64::new(options.webhooks);
    let body = Bytes::from(body());
    let take =
        || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    let sends = (0..options.at_once).map(|_| async {
        while take().is_ok() {
            let request = client.post(url).header("content-type", "application/json");
            request.body(body.clone()).send().await?.error_for_status()?;
        }
        anyhow::Ok(())
    });
    try_join_all(sends).await?;
    // Until it has been asked what it used.
    std::future::pending().await
}

async fn bullmq(options: &Options) -> anyhow::Result<Figures> {
    let receiver = Receiver::start(options).await?;
    let mut command = Command::new("node");
    command
        .arg(peer_folder().await?.join("sender.mjs"))
        .env("REDIS", &options.redis)
        .env("URL", &receiver.url)
        .env("COUNT", options.webhooks.to_string())
        .env("BODY", body())
        .env("CONCURRENCY", options.at_once.to_string())
        .env("NODE_ENV", "production")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().context("start node")?;
    let process = child.id().context("node has ended")?;
    let figures = tokio::select! {
        figures = receiver.figures(process, options) => figures?,
        status = child.wait() => anyhow::bail!("node ended: {}", status?),
    };
    // It takes its queue away.
    let ended = Command::new("kill").arg(process.to_string()).status().await?;
    anyhow::ensure!(ended.success(), "could not end node");
    child.wait().await?;
    Ok(figures)
}
