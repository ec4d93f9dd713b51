//! `isolation` (P10): two customers whose events come at the same rate, through all four services,
//! on one partition of each topic. Once both endpoints answer; then one of them takes requests and
//! never does. How much of the other's arrives meanwhile, and how late, against the run without
//! the fault? With `--backlog` (R16) the one that doesn't answer is owed so many events already.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::time::Instant;
use triggerline_testkit::{Client, Services, World, wait_until};

use crate::load::text;
use crate::report::{Figures, Report};

/// Events are published so many at once.
const BATCH: usize = 20;
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The `triggerline` to measure: a release build.
    #[arg(long, env = "TRIGGERLINE_BIN", default_value = "triggerline")]
    binary: String,
    /// Seconds that count, in each run; longer than a delivery's time-out, which is 15 s.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Events a second, of each customer.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Events that the endpoint which never answers is owed before the others come.
    #[arg(long, default_value_t = 0)]
    backlog: usize,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let setting = json!({
        "seconds": options.seconds, "rate": options.rate, "partitions": 1,
        "endpoints": 2, "customers": 2, "backlog": options.backlog,
    });
    let name = if options.backlog == 0 { "isolation" } else { "backlog" };
    let mut report = Report::new(name, setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (name, answers) in [("one never answers", false), ("both answer", true)] {
            report.add(name, measure(options, answers).await?);
        }
    }
    report.end()
}

/// What the endpoint that answers has seen: when each event was published, to when it arrived.
struct Endpoint {
    /// Events that were published in this time count.
    span: Mutex<Option<(i128, i128)>>,
    /// In microseconds.
    latency: Mutex<Histogram<u64>>,
    arrived: Mutex<usize>,
}

fn micros() -> i128 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000
}

impl Endpoint {
    fn new() -> anyhow::Result<Self> {
        let latency = Mutex::new(Histogram::new(3)?);
        Ok(Self { span: Mutex::default(), latency, arrived: Mutex::default() })
    }

    fn take(&self, body: &[u8]) {
        let now = micros();
        *lock(&self.arrived) += 1;
        let Some((from, to)) = *lock(&self.span) else {
            return;
        };
        let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
        let sent = envelope["payload"]["at"].as_i64().map_or(0, i128::from);
        if (from..to).contains(&sent) {
            let late = u64::try_from(now - sent).unwrap_or_default().max(1);
            // Within an hour, or it is not within the histogram.
            let _ = lock(&self.latency).record(late);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn measure(options: &Options, answers: bool) -> anyhow::Result<Figures> {
    let world = World::with(&options.binary, &[("TRIGGERLINE_TOPICS__PARTITIONS", "1")]).await?;
    let services = Services::start(&world).await?;
    let [healthy, other] = [Arc::new(Endpoint::new()?), Arc::new(Endpoint::new()?)];
    let silent = Arc::new(tokio::sync::watch::Sender::new(false));
    let address = serve(&healthy, &other, &silent).await?;
    let mut clients = Vec::new();
    for (path, endpoint) in [("healthy", &healthy), ("other", &other)] {
        let client = Client::new(&services.base, world.customer(path).await?);
        subscribe(&client, address, path, endpoint).await?;
        clients.push(client);
    }
    silent.send_replace(!answers);
    if !answers {
        owe(&clients[1], options.backlog).await?;
    }
    let warm_up = Duration::from_secs(2);
    let length = Duration::from_secs(options.seconds);
    let from = micros() + i128::try_from(warm_up.as_micros())?;
    *lock(&healthy.span) = Some((from, from + i128::try_from(length.as_micros())?));
    let publishing: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(publish(client, options.rate, warm_up + length)))
        .collect();
    let mut published = Vec::new();
    for one in publishing {
        published.push(one.await??);
    }
    // What arrived while events came; then the rest, for its latency.
    let meanwhile = lock(&healthy.latency).len();
    let seconds = length.as_secs_f64();
    let expected = u64::from(options.rate) * options.seconds;
    wait_until("the rest of the healthy one's events", LIMIT, || async {
        match lock(&healthy.latency).len() {
            arrived if arrived * 1_000 >= expected * 995 => Ok(()),
            arrived => Err(format!("{arrived} of {expected}")),
        }
    })
    .await?;
    let latency = lock(&healthy.latency).clone();
    let millis = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    let figures = Figures::from([
        ("healthy: arrived/s", meanwhile as f64 / seconds),
        ("healthy: p50 ms", millis(0.5)),
        ("healthy: p95 ms", millis(0.95)),
        ("healthy: p99 ms", millis(0.99)),
    ]);
    // What is owed to the silent one stays in a world that nobody uses any more.
    drop(services);
    world.tear_down().await?;
    Ok(figures)
}

async fn serve(
    healthy: &Arc<Endpoint>,
    other: &Arc<Endpoint>,
    silent: &Arc<tokio::sync::watch::Sender<bool>>,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (healthy, other, silent) = (Arc::clone(healthy), Arc::clone(other), Arc::clone(silent));
    let router = Router::new()
        .route(
            "/healthy",
            post(move |body: Bytes| {
                healthy.take(&body);
                async { StatusCode::NO_CONTENT }
            }),
        )
        .route(
            "/other",
            post(move |body: Bytes| {
                let (other, mut silent) = (Arc::clone(&other), silent.subscribe());
                async move {
                    // Its sender lives as long as the server does.
                    let _ = silent.wait_for(|silent| !silent).await;
                    other.take(&body);
                    StatusCode::NO_CONTENT
                }
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Subscribes, and waits until a first event arrives.
async fn subscribe(
    client: &Client,
    address: SocketAddr,
    path: &str,
    endpoint: &Endpoint,
) -> anyhow::Result<()> {
    let url = format!("http://{address}/{path}");
    let body = json!({"workflow_id": path, "delivery": {"url": url}}).to_string();
    client.post("/v1/subscriptions", body).await?.expect(StatusCode::CREATED)?;
    wait_until("a first event", LIMIT, || async {
        client.publish("warm.up", b"{}").await.map_err(|error| error.to_string())?;
        if *lock(&endpoint.arrived) > 0 { Ok(()) } else { Err("nothing arrived".to_owned()) }
    })
    .await
}

/// Publishes so many at once.
async fn owe(client: &Client, backlog: usize) -> anyhow::Result<()> {
    let event = json!({"event_type": "order.created", "payload": {"note": text(600)}});
    for batch in vec![event; backlog].chunks(1_000) {
        let batch = Value::from(batch.to_vec()).to_string();
        client.post("/v1/events/batch", batch).await?.expect(StatusCode::ACCEPTED)?;
    }
    Ok(())
}

/// Publishes at a rate; how many that were.
async fn publish(client: Client, rate: u32, length: Duration) -> anyhow::Result<usize> {
    let note = text(600);
    let begin = Instant::now();
    let mut published = 0;
    while begin.elapsed() < length {
        let due = Duration::from_secs(1).mul_f64(published as f64 / f64::from(rate));
        tokio::time::sleep_until(begin + due).await;
        let at = i64::try_from(micros()).context("a clock")?;
        let event = json!({"event_type": "order.created", "payload": {"at": at, "note": note}});
        let batch = Value::from(vec![event; BATCH]).to_string();
        client.post("/v1/events/batch", batch).await?.expect(StatusCode::ACCEPTED)?;
        published += BATCH;
    }
    Ok(published)
}
