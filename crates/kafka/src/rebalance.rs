//! What happens when partitions come and go.
//!
//! librdkafka calls in on the poll thread. Partitions that come need nothing: a lane is
//! made with the first record. Partitions that go are drained first, within a bound, so
//! that their next owner starts where this one ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError as Rdkafka, RDKafkaErrorCode};

use crate::lane::Lane;

/// The lanes of one consumer.
type Lanes = HashMap<Arc<str>, HashMap<i32, Arc<Lane>>>;

/// One member of a consumer group, as librdkafka calls it back.
pub(crate) struct Group {
    name: String,
    /// How long revoked partitions may take to finish what they have begun.
    drain: Duration,
    lanes: Mutex<Lanes>,
}

impl Group {
    pub(crate) fn new(name: String, drain: Duration) -> Self {
        Self { name, drain, lanes: Mutex::default() }
    }

    pub(crate) fn lane(
        &self,
        topic: &str,
        partition: i32,
        make: impl FnOnce(Arc<str>) -> Lane,
    ) -> Arc<Lane> {
        let mut lanes = self.lock();
        if let Some(lane) = lanes.get(topic).and_then(|of_topic| of_topic.get(&partition)) {
            return Arc::clone(lane);
        }
        let topic: Arc<str> = topic.into();
        let lane = Arc::new(make(Arc::clone(&topic)));
        lanes.entry(topic).or_default().insert(partition, Arc::clone(&lane));
        lane
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lock().values().flat_map(HashMap::values).map(Arc::clone).collect()
    }

    fn take(&self, topic: &str, partition: i32) -> Option<Arc<Lane>> {
        self.lock().get_mut(topic)?.remove(&partition)
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::producer::log(&self.name, level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        tracing::warn!(group = self.name, %error, reason, "Kafka client");
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::debug!(group = self.name, count = partitions.count(), "assigned");
            }
            Rebalance::Revoke(partitions) => {
                let revoked: Vec<Arc<Lane>> = partitions
                    .elements()
                    .iter()
                    .filter_map(|gone| self.take(gone.topic(), gone.partition()))
                    .collect();
                // Lost partitions are someone else's already: nothing can be stored for them.
                let lost = consumer.assignment_lost();
                let until = Instant::now() + if lost { Duration::ZERO } else { self.drain };
                drain(&revoked, until, || {});
                if !lost && partitions.count() > 0 {
                    // librdkafka tries once more when it gives them up.
                    if let Err(error) = commit(consumer) {
                        tracing::debug!(group = self.name, %error, "could not commit yet");
                    }
                }
                tracing::debug!(group = self.name, count = partitions.count(), lost, "revoked");
            }
            Rebalance::Error(error) => {
                tracing::warn!(group = self.name, %error, "rebalance");
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // A partition may come back that an earlier lane left paused.
        if let Rebalance::Assign(partitions) = rebalance
            && partitions.count() > 0
            && let Err(error) = consumer.resume(partitions)
        {
            tracing::warn!(group = self.name, %error, "could not resume what was assigned");
        }
    }
}

/// Lets lanes finish what they have begun, until `until` at the latest, and closes them.
/// `meanwhile` is called every now and then.
pub(crate) fn drain(lanes: &[Arc<Lane>], until: Instant, mut meanwhile: impl FnMut()) {
    for lane in lanes {
        lane.ask_to_stop();
    }
    while !lanes.iter().all(|lane| lane.is_idle()) && Instant::now() < until {
        meanwhile();
        for lane in lanes {
            lane.wait_until_idle(until.min(Instant::now() + Duration::from_millis(50)));
        }
    }
    for lane in lanes {
        if !lane.is_idle() {
            tracing::warn!(
                topic = &*lane.topic,
                partition = lane.partition,
                "records were still being worked on when time ran out; they will be read again"
            );
        }
        lane.close();
    }
}

/// Commits all stored offsets now rather than at the next interval.
pub(crate) fn commit(consumer: &BaseConsumer<Group>) -> Result<(), Rdkafka> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing new to commit.
        Err(Rdkafka::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        result => result,
    }
}

/// Whether a commit failed because the group is being rebalanced: then it may succeed after.
pub(crate) fn is_rebalancing(error: &Rdkafka) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress)
    )
}
