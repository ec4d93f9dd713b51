//! `producer` (P4): our [`Producer`] against rdkafka's `FutureProducer`, each in a process of its
//! own, on the same topic: records of 819 bytes, acks=all, as many at once as `--tasks` says,
//! each awaited by whoever sent it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tokio::process::Command;
use triggerline_kafka::{KafkaConfig, Producer, ROOM, Topic, Topics};
use triggerline_testkit::World;
use triggerline_wire::Record;

use crate::cpu;
use crate::load::text;
use crate::report::{Figures, Report};

const RECORD: usize = 819;
/// A record may wait this long for Kafka.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Records, in each round.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Tasks that send one after the other.
    #[arg(long, default_value_t = 512)]
    tasks: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run one contestant and print its figures (the benchmark starts these by itself).
    #[arg(long, hide = true)]
    contestant: Option<Contestant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Contestant {
    Ours,
    /// `FutureProducer` with the settings that ours has.
    Tuned,
    /// `FutureProducer` with acks=all and nothing else set.
    Plain,
}

impl Contestant {
    const ALL: [(Self, &str, &str); 3] = [
        (Self::Ours, "ours", "triggerline"),
        (Self::Tuned, "tuned", "FutureProducer, our settings"),
        (Self::Plain, "plain", "FutureProducer, its own"),
    ];
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(contestant) = options.contestant {
        return contest(contestant, options).await;
    }
    let binary = std::env::var("TRIGGERLINE_BIN").context("TRIGGERLINE_BIN is not set")?;
    let world = World::on_real_parts(&binary).await?;
    let setting =
        json!({"records": options.records, "record_bytes": RECORD, "tasks": options.tasks});
    let mut report = Report::new("producer", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (_, argument, name) in Contestant::ALL {
            let output = Command::new(std::env::current_exe()?)
                .args(["producer", "--contestant", argument])
                .args(["--records", &options.records.to_string()])
                .args(["--tasks", &options.tasks.to_string()])
                .envs(&world.settings)
                .stderr(std::process::Stdio::inherit())
                .output()
                .await?;
            anyhow::ensure!(output.status.success(), "{name} failed: {}", output.status);
            let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let figure = |name: &str| told[name].as_f64().with_context(|| format!("no {name}"));
            let figures = [
                ("records/s", figure("records_per_second")?),
                ("CPU us/record", figure("cpu_us")?),
            ];
            report.add(name, Figures::from(figures));
        }
    }
    report.end()?;
    world.tear_down().await
}

async fn contest(contestant: Contestant, options: &Options) -> anyhow::Result<()> {
    let get = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let config = KafkaConfig {
        brokers: get("TRIGGERLINE_KAFKA__BROKERS")?,
        prefix: get("TRIGGERLINE_KAFKA__PREFIX")?,
        properties: [].into(),
    };
    let topic = Topics::new(&config).name(Topic::Events);
    let each = options.records / options.tasks;
    let value = Bytes::from(text(RECORD));
    let sender = Sender::new(contestant, &config, topic, value)?;
    // Connections, metadata and code are warm when the count begins.
    sender.clone().send(options.tasks).await?;
    let (before, begin) = (cpu::used(std::process::id())?, Instant::now());
    let tasks = (0..options.tasks).map(|_| {
        let sender = sender.clone();
        async move { tokio::spawn(sender.send(each)).await? }
    });
    try_join_all(tasks).await?;
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = cpu::used(std::process::id())?.saturating_sub(before).as_secs_f64();
    let sent = (each * options.tasks) as f64;
    println!("{}", json!({"records_per_second": sent / elapsed, "cpu_us": cpu * 1e6 / sent}));
    Ok(())
}

#[derive(Clone)]
struct Sender {
    topic: String,
    value: Bytes,
    producer: Either,
}

#[derive(Clone)]
enum Either {
    Ours(Producer),
    Theirs(FutureProducer),
}

impl Sender {
    fn new(
        contestant: Contestant,
        config: &KafkaConfig,
        topic: String,
        value: Bytes,
    ) -> anyhow::Result<Self> {
        let mut plain = ClientConfig::new();
        plain.set("bootstrap.servers", &config.brokers).set("acks", "all");
        let producer = match contestant {
            Contestant::Ours => Either::Ours(Producer::new(config, "bench", PATIENCE, ROOM)?),
            Contestant::Plain => Either::Theirs(plain.create()?),
            // As in crates/kafka/src/producer.rs.
            Contestant::Tuned => Either::Theirs(
                plain
                    .set("enable.idempotence", "true")
                    .set("linger.ms", "0.3")
                    .set("compression.type", "lz4")
                    .set("queue.buffering.max.messages", "50000")
                    .set("queue.buffering.max.kbytes", "262144")
                    .create()?,
            ),
        };
        Ok(Self { topic, value, producer })
    }

    async fn send(self, records: usize) -> anyhow::Result<()> {
        for _ in 0..records {
            match &self.producer {
                Either::Ours(producer) => {
                    let record = Record {
                        key: Bytes::from_static(b"customer"),
                        headers: Vec::new(),
                        value: self.value.clone(),
                    };
                    producer.send(&self.topic, &record).await?;
                }
                Either::Theirs(producer) => {
                    let record =
                        FutureRecord::to(&self.topic).key("customer").payload(&*self.value);
                    let sent = producer.send(record, PATIENCE).await;
                    sent.map_err(|(error, _)| error)?;
                }
            }
        }
        Ok(())
    }
}
