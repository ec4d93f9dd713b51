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
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::complaints::{Complaints, hear};
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
        let client = kafka
            .client(service)
            .create_with_context(Complaints::new("lag"))
            .map_err(|error| KafkaError::new("set up the client that asks for lags", error))?;
        let (signal, end) = mpsc::channel();
        let group = Arc::downgrade(group);
        describe_gauge!(NAME, "Records in this process's partitions that it hasn't finished.");
        std::thread::Builder::new()
            .name(format!("lag-{service}"))
            .spawn(move || {
                while end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    for (topic, records) in look(&client, &group, &topics).unwrap_or_default() {
                        let labels = [("service", service.to_owned()), ("topic", topic.to_owned())];
                        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
                        gauge!(NAME, &labels).set(records as f64);
                    }
                    hear(&client);
                }
            })
            .map_err(|error| KafkaError::new("start the thread that asks for lags", error))?;
        Ok(Self(signal))
    }
}

/// Of each topic; `None` if Kafka doesn't answer: then what was known last stays.
fn look<'a>(
    client: &BaseConsumer<Complaints>,
    group: &Weak<Group>,
    topics: &'a [String],
) -> Option<BTreeMap<&'a str, i64>> {
    let positions = group.upgrade()?.positions();
    // Those whose partitions have gone are behind with nothing.
    let mut behind: BTreeMap<_, _> = topics.iter().map(|name| (name.as_str(), 0)).collect();
    for ((topic, partition), position) in &positions {
        let (start, end) = client.fetch_watermarks(topic, *partition, PATIENCE).ok()?;
        let finished = match position {
            Offset::Offset(offset) => (*offset).max(start),
            // Nothing was ever committed: the group begins where the partition does.
            _ => start,
        };
        if let Some(behind) = behind.get_mut(topic.as_str()) {
            *behind += (end - finished).max(0);
        }
    }
    Some(behind)
}
