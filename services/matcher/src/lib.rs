//! The matcher: who is owed this event?
//!
//! An event comes in from `events` ([`handler`]), is held against the customer's live
//! subscriptions ([`view`]: an index, pure), and goes out ([`route`], pure) as one record on `deliveries` for each
//! match and one summary on `attempts`. The subscriptions come from a picture in memory that
//! follows the control store ([`triggerline_store::Following`]); an event never waits for a
//! database, and matching goes on when the database is down.

mod config;
mod handler;
mod metrics;
mod route;
mod view;

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{
    ConsumerConfig, KafkaConfig, Producer, ROOM, Topic, Topics, Window, consume,
};
use triggerline_service::admin::Health;
use triggerline_store::{ControlStore, Following, FollowingHandle};

pub use config::{DEFAULTS, MatcherConfig};
use handler::Matcher;
use metrics::Watching;

pub struct App {
    kafka: KafkaConfig,
    consumer: ConsumerConfig,
    matcher: Arc<Matcher>,
    producer: Producer,
    _following: FollowingHandle,
    _watching: Watching,
}

impl App {
    /// Connects, and loads all subscriptions.
    pub async fn build(
        config: &MatcherConfig,
        kafka: &KafkaConfig,
        control: Arc<dyn ControlStore>,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let (subscriptions, following) =
            Following::start(control, config.refresh).await.context("load the subscriptions")?;
        let producer = Producer::new(kafka, "matcher", config.produce_patience, ROOM)?;
        let picture = Arc::clone(&subscriptions);
        health.check_age("matcher: subscriptions", move || picture.age());
        Ok(Self {
            kafka: kafka.clone(),
            consumer: ConsumerConfig {
                service: "matcher",
                topics: vec![Topic::Events],
                window: Window { records: config.window_records, bytes: config.window_bytes },
                drain: config.drain,
            },
            _watching: Watching::start(Arc::clone(&subscriptions)),
            matcher: Arc::new(Matcher::new(subscriptions, producer.clone(), &Topics::new(kafka))),
            producer,
            _following: following,
        })
    }

    /// Matches until `shutdown`, then finishes what has begun.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { kafka, consumer, matcher, producer, _following, _watching } = self;
        let grace = consumer.drain;
        let ended = consume(&kafka, consumer, matcher, producer.clone(), shutdown).await;
        producer.close(grace).await;
        ended.context("consume events")
    }
}
