//! The replayer: what was delivered, given up or never owed is sent (again).
//!
//! A replay is a job in the control store, held by one replayer at a time for as long as its
//! lease ([`work`]). What it goes through is read a page at a time ([`page`]); what of that is sent
//! is decided ([`choose`], pure); it goes out on `deliveries`, no faster than its owner said
//! ([`pace`], pure), and from there it is a delivery like any other. After each page the progress
//! is kept, so that another replayer can go on after a crash: then at most a page is sent twice.

mod choose;
mod config;
mod pace;
mod page;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{KafkaConfig, Producer, ROOM, Topic, Topics};
use triggerline_store::{ControlStore, EventStore};
use uuid::Uuid;

pub use config::{DEFAULTS, ReplayConfig};
use page::Reader;
use work::Worker;

/// How long Kafka may take to report on what it was given, when the service ends.
const GRACE: Duration = Duration::from_secs(10);

pub struct App {
    config: ReplayConfig,
    worker: Arc<Worker>,
    control: Arc<dyn ControlStore>,
    producer: Producer,
}

impl App {
    pub fn build(
        config: &ReplayConfig,
        kafka: &KafkaConfig,
        control: Arc<dyn ControlStore>,
        events: Arc<dyn EventStore>,
    ) -> anyhow::Result<Self> {
        let producer = Producer::new(kafka, "replay", config.produce_patience, ROOM)?;
        let topics = Topics::new(kafka);
        let worker = Worker {
            reader: Reader { kafka: kafka.clone(), control: Arc::clone(&control), events },
            producer: producer.clone(),
            deliveries: topics.name(Topic::Deliveries),
            attempts: topics.name(Topic::Attempts),
            owner: Uuid::now_v7(),
            lease: config.lease,
        };
        Ok(Self { config: config.clone(), worker: Arc::new(worker), control, producer })
    }

    /// Works on whatever replays there are until `shutdown`, then lets go of them.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { config, worker, control, producer } = self;
        let free = Arc::new(Semaphore::new(config.workers));
        let mut under_way = JoinSet::new();
        let claiming = async {
            loop {
                let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
                match control.claim_replay(worker.owner, config.lease).await {
                    Ok(Some(replay)) => {
                        let (worker, stop) = (Arc::clone(&worker), shutdown.clone());
                        under_way.spawn(async move {
                            worker.run(replay, &stop).await;
                            drop(permit);
                        });
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "looking for replays"),
                }
                drop(permit);
                while under_way.try_join_next().is_some() {}
                tokio::time::sleep(config.poll).await;
            }
        };
        let ended = tokio::select! {
            () = claiming => Ok(()),
            () = shutdown.cancelled() => Ok(()),
            () = producer.failed() => Err(anyhow::anyhow!("the Kafka producer can't go on")),
        };
        // A producer that failed fails each page, so workers end only by being told.
        shutdown.cancel();
        while under_way.join_next().await.is_some() {}
        producer.close(GRACE).await;
        ended
    }
}
