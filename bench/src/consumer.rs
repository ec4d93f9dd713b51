//! `consumer` (P8): records of one partition, each 0 to 5 ms of work, through our consumer, which
//! works on many at a time, and through a `StreamConsumer` that takes one after the other. Then ours
//! is killed with -9 in the middle: how many records that were done are done again?

use std::collections::HashSet;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{
    Consumed, ConsumerConfig, Handler, HandlerError, KafkaConfig, Producer, ROOM, Stop, Topic,
    Topics, Window, consume,
};
use triggerline_testkit::World;
use triggerline_wire::Record;

use crate::load::text;
use crate::report::{Figures, Report};

const RECORD: usize = 819;
const PATIENCE: Duration = Duration::from_secs(30);
/// As services have it (`window_records` of the matcher).
const WINDOW: Window = Window { records: 2_000, bytes: 32 << 20 };

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Records, in each round.
    #[arg(long, default_value_t = 10_000)]
    records: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run one contestant (the benchmark starts these by itself).
    #[arg(long, hide = true)]
    contestant: Option<Contestant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Contestant {
    Ours,
    /// Ours, telling of each record when it begins and when it is done.
    Telling,
    Serial,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(contestant) = options.contestant {
        return contest(contestant, options).await;
    }
    let setting = json!({
        "records": options.records, "record_bytes": RECORD, "partitions": 1,
        "work_ms": "0 to 5, by offset", "window": WINDOW.records,
    });
    let mut report = Report::new("consumer", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        report.add("triggerline", timed("ours", options).await?);
        report.add("StreamConsumer, one by one", timed("serial", options).await?);
        report.add("triggerline, killed", killed(options).await?);
    }
    report.end()
}

/// A world whose topic of events has the records.
async fn world(options: &Options) -> anyhow::Result<World> {
    let binary = std::env::var("TRIGGERLINE_BIN").context("TRIGGERLINE_BIN is not set")?;
    let world = World::with(&binary, &[("TRIGGERLINE_TOPICS__PARTITIONS", "1")]).await?;
    let kafka = KafkaConfig {
        brokers: world.settings["TRIGGERLINE_KAFKA__BROKERS"].clone(),
        prefix: world.settings["TRIGGERLINE_KAFKA__PREFIX"].clone(),
        properties: [].into(),
    };
    let producer = Producer::new(&kafka, "bench", PATIENCE, ROOM)?;
    let topic = Topics::new(&kafka).name(Topic::Events);
    let value = Bytes::from(text(RECORD));
    let record = Record { key: Bytes::from_static(b"c"), headers: Vec::new(), value };
    try_join_all((0..options.records).map(|_| producer.send(&topic, &record))).await?;
    producer.close(PATIENCE).await;
    Ok(world)
}

fn start(
    contestant: &str,
    world: &World,
    options: &Options,
) -> anyhow::Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["consumer", "--contestant", contestant])
        .args(["--records", &options.records.to_string()])
        .envs(&world.settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("its output is not a pipe")?).lines();
    Ok((child, lines))
}

async fn timed(contestant: &str, options: &Options) -> anyhow::Result<Figures> {
    let world = world(options).await?;
    let (mut child, mut lines) = start(contestant, &world, options)?;
    let line = lines.next_line().await?.context("it said nothing")?;
    child.wait().await?;
    world.tear_down().await?;
    let told: Value = serde_json::from_str(&line)?;
    let speed = told["records_per_second"].as_f64().context("no speed")?;
    Ok(Figures::from([("records/s", speed)]))
}

/// Kills it when half is done, and lets another finish.
async fn killed(options: &Options) -> anyhow::Result<Figures> {
    let world = world(options).await?;
    let (mut first, mut lines) = start("telling", &world, options)?;
    let (mut begun, mut done) = (HashSet::new(), HashSet::new());
    let mut was_killed = false;
    // What it told before it was killed is still in the pipe.
    while let Some(line) = lines.next_line().await? {
        let (what, offset) = line.split_once(' ').context("a line of two words")?;
        let offset: i64 = offset.parse()?;
        if what == "begun" {
            begun.insert(offset)
        } else {
            done.insert(offset)
        };
        if !was_killed && done.len() >= options.records / 2 {
            first.kill().await?;
            was_killed = true;
        }
    }
    anyhow::ensure!(was_killed, "it ended before half was done");
    let in_flight = begun.difference(&done).count();
    let (mut second, mut lines) = start("telling", &world, options)?;
    let mut again = 0;
    while done.len() < options.records {
        let line = lines.next_line().await?.context("it ended before all was done")?;
        if let Some(offset) = line.strip_prefix("done ") {
            again += usize::from(!done.insert(offset.parse()?));
        }
    }
    second.kill().await?;
    world.tear_down().await?;
    Ok(Figures::from([
        ("in flight at the kill", in_flight as f64),
        ("done before, done again", again as f64),
    ]))
}

async fn contest(contestant: Contestant, options: &Options) -> anyhow::Result<()> {
    let get = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let kafka = KafkaConfig {
        brokers: get("TRIGGERLINE_KAFKA__BROKERS")?,
        prefix: get("TRIGGERLINE_KAFKA__PREFIX")?,
        properties: [].into(),
    };
    let speed = match contestant {
        Contestant::Serial => serial(&kafka, options.records).await?,
        Contestant::Ours => ours(&kafka, options.records, false).await?,
        Contestant::Telling => {
            ours(&kafka, options.records, true).await?;
            // Until it is killed.
            return std::future::pending().await;
        }
    };
    println!("{}", json!({"records_per_second": speed}));
    Ok(())
}

/// What a record asks for.
async fn work(offset: i64) {
    tokio::time::sleep(Duration::from_millis(offset.unsigned_abs() % 6)).await;
}

/// One after the other, offsets stored as records are done and committed by the client.
async fn serial(kafka: &KafkaConfig, records: usize) -> anyhow::Result<f64> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", kafka.group("serial"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[&Topics::new(kafka).name(Topic::Events)])?;
    let mut begin = None;
    for _ in 0..records {
        let message = consumer.recv().await?;
        begin.get_or_insert_with(Instant::now);
        work(message.offset()).await;
        consumer.store_offset_from_message(&message)?;
    }
    Ok(records as f64 / begin.unwrap_or_else(Instant::now).elapsed().as_secs_f64())
}

struct Worker {
    begun: AtomicUsize,
    done: AtomicUsize,
    records: usize,
    telling: bool,
    first: Notify,
    last: Notify,
}

impl Worker {
    fn tell(&self, what: &str, offset: i64) -> Result<(), HandlerError> {
        if self.telling {
            // One write: it is in the pipe, whatever becomes of this process.
            let line = format!("{what} {offset}\n");
            let mut out = std::io::stdout().lock();
            let told = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            return told.map_err(|error| HandlerError::again(&error));
        }
        Ok(())
    }
}

impl Handler for Worker {
    async fn handle(&self, consumed: &Consumed, _: &Stop) -> Result<(), HandlerError> {
        if self.begun.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
        self.tell("begun", consumed.offset)?;
        work(consumed.offset).await;
        self.tell("done", consumed.offset)?;
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.records {
            self.last.notify_one();
        }
        Ok(())
    }
}

async fn ours(kafka: &KafkaConfig, records: usize, telling: bool) -> anyhow::Result<f64> {
    let worker = Arc::new(Worker {
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        records,
        telling,
        first: Notify::new(),
        last: Notify::new(),
    });
    let config = ConsumerConfig {
        service: "matcher",
        topics: vec![Topic::Events],
        window: WINDOW,
        drain: PATIENCE,
    };
    let dead_letters = Producer::new(kafka, "bench", PATIENCE, ROOM)?;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (kafka, handler) = (kafka.clone(), Arc::clone(&worker));
        let stop = stop.clone();
        async move { consume(&kafka, config, handler, dead_letters, stop).await }
    });
    worker.first.notified().await;
    let begin = Instant::now();
    worker.last.notified().await;
    let speed = records as f64 / begin.elapsed().as_secs_f64();
    stop.cancel();
    running.await??;
    Ok(speed)
}
