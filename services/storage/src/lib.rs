//! Storage: keeps what happened, so that it can be asked for.
//!
//! Records come in from `events` and `attempts`, independently of each other ([`handler`]),
//! are gathered into batches ([`batch`]) and go into the event store, whose merges are
//! idempotent and commutative. A record is done when its batch is durable. What has been kept for
//! long enough ([`retention`]) is removed meanwhile ([`expire`]), and so is what was of customers who
//! are to be forgotten ([`erase`]).

mod batch;
mod config;
mod erase;
mod handler;
mod metrics;
mod retention;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{ConsumerConfig, KafkaConfig, Producer, ROOM, Topic, Window, consume};
use triggerline_store::{ControlStore, EventStore, Retention};

use batch::Batcher;
pub use config::{DEFAULTS, StorageConfig};
use handler::Keeper;

/// How often the store is asked to remove what has expired.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

pub struct App {
    kafka: KafkaConfig,
    control: Arc<dyn ControlStore>,
    events: Arc<dyn EventStore>,
    retention: watch::Sender<Arc<Retention>>,
    consumer: ConsumerConfig,
    keeper: Arc<Keeper>,
    dead_letters: Producer,
}

impl App {
    /// Events are kept for `retention`, or for ever, but for what the control store says of single
    /// customers.
    pub async fn build(
        config: &StorageConfig,
        kafka: &KafkaConfig,
        control: Arc<dyn ControlStore>,
        events: Arc<dyn EventStore>,
        retention: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let retention = retention::ask(&*control, retention)
            .await
            .context("ask the control store how long events are kept")?;
        let batcher =
            Batcher::start(Arc::clone(&events), retention.subscribe(), config.batch_records);
        let keeper = Arc::new(Keeper::new(batcher, retention.subscribe()));
        Ok(Self {
            kafka: kafka.clone(),
            control,
            events,
            retention,
            consumer: ConsumerConfig {
                service: "storage",
                topics: vec![Topic::Events, Topic::Attempts],
                window: Window { records: config.window_records, bytes: config.window_bytes },
                drain: config.drain,
            },
            keeper,
            dead_letters: Producer::new(kafka, "storage", config.produce_patience, ROOM)?,
        })
    }

    /// Stores until `shutdown`, then finishes what has begun.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { kafka, control, events, retention, consumer, keeper, dead_letters } = self;
        let grace = consumer.drain;
        let consuming = consume(&kafka, consumer, keeper, dead_letters.clone(), shutdown);
        let ended = tokio::select! {
            ended = consuming => ended,
            never = expire(&*events, retention.subscribe()) => match never {},
            never = retention::follow(&*control, &retention) => match never {},
            never = erase::run(&*control, &*events) => match never {},
        };
        dead_letters.close(grace).await;
        ended.context("consume events and attempts")
    }
}

async fn expire(events: &dyn EventStore, known: retention::Known) -> Infallible {
    loop {
        let retention = Arc::clone(&known.borrow());
        match events.expire(&retention).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "what has expired is not removed yet"),
        }
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}
