//! The delivery service: signed webhooks, until they arrive or are given up.
//!
//! A delivery comes in from `deliveries` or from a retry tier ([`handler`]). If it isn't due
//! yet, it waits or goes on to another tier ([`wait`], pure). When it is due, it comes to its
//! endpoint's gate ([`gates`]): how much an endpoint gets at once, and whether it is asked at all,
//! follows from how it answers ([`gate`], pure) and how often it wants to be asked ([`turns`], pure). Who would wait there at the cost of others
//! ([`crowd`], pure) is put off, by way of a retry tier, and so is everyone while the endpoint is
//! down. Some subscriptions want several deliveries in one request ([`batch`]), and those of some
//! wait in the store for their turn or for whoever pulls them ([`queue`]). Then the service signs ([`request`]) and sends it ([`send`]), with an access token if
//! need be ([`token`]), to an address that was vetted ([`connect`], [`resolve`]), decides what the answer means ([`decide`], pure), and writes the attempt to
//! `attempts` and whatever is left to do to a retry tier or to `deliveries.dlq`. An endpoint that
//! does nothing but fail for days is given up ([`health`]).

mod batch;
mod config;
mod connect;
mod crowd;
mod decide;
mod gate;
mod gates;
mod handler;
mod health;
mod meter;
mod metrics;
mod places;
mod queue;
mod request;
mod resolve;
mod send;
mod token;
mod turns;
mod wait;

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{
    ConsumerConfig, KafkaConfig, Producer, ROOM, Stop, Tier, Topic, Topics, Window, consume,
};
use triggerline_service::admin::Health;
use triggerline_store::{ControlStore, Following, FollowingHandle, NewQueued};

use batch::Batches;
pub use config::{DEFAULTS, DeliveryConfig};
use crowd::Crowds;
use gates::Gates;
use handler::Deliverer;
use health::Watchman;
use metrics::Counts;
use places::Places;
use queue::{Drain, Scribe};
use send::Sender;

pub struct App {
    kafka: KafkaConfig,
    consumer: ConsumerConfig,
    deliverer: Arc<Deliverer>,
    drain: Drain,
    producer: Producer,
    _following: FollowingHandle,
}

impl App {
    /// Connects, and loads all subscriptions.
    pub async fn build(
        config: &DeliveryConfig,
        kafka: &KafkaConfig,
        control: Arc<dyn ControlStore>,
        health: &Health,
    ) -> anyhow::Result<Self> {
        // Deleted and paused subscriptions matter here too: their state is the answer.
        let (subscriptions, following) = Following::start(Arc::clone(&control), config.refresh)
            .await
            .context("load the subscriptions")?;
        let picture = Arc::clone(&subscriptions);
        health.check_age("delivery: subscriptions", move || picture.age());
        let producer = Producer::unhurried(kafka, "delivery", config.produce_patience, ROOM)?;
        let sender = Sender::new(config)?;
        let window = Window { records: config.window_records, bytes: config.window_bytes };
        let clock = config.clock();
        let counts = Counts::new();
        let topics = Topics::new(kafka);
        let watchman = Watchman {
            control: Arc::clone(&control),
            subscriptions: Arc::clone(&subscriptions),
            producer: producer.clone(),
            topics: topics.clone(),
            patience: config.disable_after,
        };
        let news = Arc::new(Notify::new());
        let (queue, told, time) = (Arc::clone(&control), Arc::clone(&news), clock.clone());
        let (clerk, writing) = Scribe::start(async move |rows: &[NewQueued]| {
            queue.enqueue(rows, time.now()).await?;
            told.notify_one();
            Ok(())
        });
        tokio::spawn(writing);
        let deliverer = Arc::new(Deliverer {
            subscriptions,
            control: Arc::clone(&control),
            clerk,
            keep: config.keep_queued,
            watch: watchman.start(),
            crowds: Crowds::new(window),
            batches: Batches::default(),
            gates: Gates::new(config.endpoint_requests, clock.clone(), counts.breakers()),
            places: Places::new(config.connections),
            counts,
            sender,
            producer: producer.clone(),
            topics,
            policy: config.policy(),
            clock,
        });
        let (drain, writing) = Drain::new(Arc::clone(&deliverer), control, news);
        tokio::spawn(writing);
        let topics = [Topic::Deliveries].into_iter().chain(Tier::ALL.map(Topic::Retry));
        Ok(Self {
            kafka: kafka.clone(),
            consumer: ConsumerConfig {
                service: "delivery",
                topics: topics.collect(),
                window,
                drain: config.drain,
            },
            deliverer,
            drain,
            producer,
            _following: following,
        })
    }

    /// Delivers until `shutdown`, then finishes what has begun.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { kafka, consumer, deliverer, drain, producer, _following } = self;
        let grace = consumer.drain;
        let stop = Stop::default();
        let drained = tokio::spawn(Arc::new(drain).run(stop.clone()));
        let (asked, told) = (shutdown.clone(), stop.clone());
        let stopping = tokio::spawn(async move {
            asked.cancelled().await;
            told.ask();
        });
        let ended = consume(&kafka, consumer, deliverer, producer.clone(), shutdown).await;
        stop.ask();
        stopping.abort();
        // What is cut off is leased by somebody else when its lease has run out.
        let _ = tokio::time::timeout(grace, drained).await;
        producer.close(grace).await;
        ended.context("consume deliveries")
    }
}
