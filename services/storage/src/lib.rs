//! Storage: keeps what happened, so that it can be asked for.
//!
//! Records come in from `events` and `attempts`, independently of each other ([`handler`]),
//! are gathered into batches ([`batch`]) and go into the event store, whose merges are
//! idempotent and commutative. A record is done when its batch is durable. What has been kept for
//! long enough is removed meanwhile ([`expire`]).

mod batch;
mod config;
mod handler;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{ConsumerConfig, KafkaConfig, Producer, ROOM, Topic, Window, consume};
use triggerline_store::EventStore;

use batch::Batcher;
pub use config::{DEFAULTS, StorageConfig};
use handler::Keeper;

/// How often the store is asked to remove what has expired.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

pub struct App {
    kafka: KafkaConfig,
    events: Arc<dyn EventStore>,
    consumer: ConsumerConfig,
    keeper: Arc<Keeper>,
    dead_letters: Producer,
}

impl App {
    pub fn build(
        config: &StorageConfig,
        kafka: &KafkaConfig,
        events: Arc<dyn EventStore>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            kafka: kafka.clone(),
            events: Arc::clone(&events),
            consumer: ConsumerConfig {
                service: "storage",
                topics: vec![Topic::Events, Topic::Attempts],
                window: Window { records: config.window_records, bytes: config.window_bytes },
                drain: config.drain,
            },
            keeper: Arc::new(Keeper::new(Batcher::start(events, config.batch_records))),
            dead_letters: Producer::new(kafka, "storage", config.produce_patience, ROOM)?,
        })
    }

    /// Stores until `shutdown`, then finishes what has begun.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { kafka, events, consumer, keeper, dead_letters } = self;
        let grace = consumer.drain;
        let consuming = consume(&kafka, consumer, keeper, dead_letters.clone(), shutdown);
        let ended = tokio::select! {
            ended = consuming => ended,
            never = expire(&*events) => match never {},
        };
        dead_letters.close(grace).await;
        ended.context("consume events and attempts")
    }
}

async fn expire(events: &dyn EventStore) -> Infallible {
    loop {
        match events.expire().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "what has expired is not removed yet"),
        }
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}
