//! How far a service is behind: records that are in its topics and not finished.
//!
//! Kafka is asked where each partition ends, now and then, by a client of its own: the consumer hears
//! of that only with what it fetches, and what it holds back (a full window, a store that is away) it
//! doesn't fetch. Which is when one wants to know.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::rebalance::Group;
use crate::{KafkaConfig, KafkaError};

/// docs/metrics.md
const NAME: &str = "triggerline_consumer_lag_records";
const EVERY: Duration = Duration::from_secs(5);
/// For a partition's leader to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks until it is dropped.
pub(crate) struct Looking(#[expect(dead_code, reason = "its end is the signal")] mpsc::Sender<()>);

impl Looking {
    pub(crate) fn start(
        kafka: &KafkaConfig,
        service: &'static str,
        topics: Vec<String>,
        group: &Arc<Group>,
    ) -> Result<Self, KafkaError> {
        let failed = |error| KafkaError::new("set up the client that asks for lags", error);
        let client: BaseConsumer = kafka.client(service).create().map_err(failed)?;
        let (signal, end) = mpsc::channel();
        let group = Arc::downgrade(group);
        describe_gauge!(NAME, "Records of the topic's partitions of this process, not finished.");
        std::thread::Builder::new()
            .name(format!("lag-{service}"))
            .spawn(move || {
                while end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    look(&client, &group, &topics);
                }
            })
            .map_err(|error| KafkaError::new("start the thread that asks for lags", error))?;
        Ok(Self(signal))
    }
}

fn look(client: &BaseConsumer, group: &Weak<Group>, topics: &[String]) {
    let Some(lanes) = group.upgrade().map(|group| group.lanes()) else { return };
    // Those whose partitions have gone are behind with nothing.
    let mut behind: BTreeMap<&str, i64> = topics.iter().map(|name| (name.as_str(), 0)).collect();
    for lane in &lanes {
        let Some(finished) = lane.finished_up_to() else { continue };
        let Ok((_, end)) = client.fetch_watermarks(&lane.topic, lane.partition, PATIENCE) else {
            // What was known last stays.
            behind.remove(&*lane.topic);
            continue;
        };
        if let Some(behind) = behind.get_mut(&*lane.topic) {
            *behind += (end - finished).max(0);
        }
    }
    for (topic, records) in behind {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
        gauge!(NAME, "topic" => topic.to_owned()).set(records as f64);
    }
}
