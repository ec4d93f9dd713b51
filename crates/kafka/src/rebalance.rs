//! What happens when partitions come and go.
//!
//! librdkafka calls in on the poll thread. Of partitions that come it is asked what their last
//! owner had finished; a lane is made with the first record. Partitions that go are drained
//! first, within a bound, so that their next owner starts where this one ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError as Rdkafka, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::lane::Lane;
use crate::progress::Finished;

/// How long the coordinator may take to say what was committed. Meanwhile nothing is polled.
const ASK: Duration = Duration::from_secs(5);

/// A topic, and which of its partitions.
type Partition = (String, i32);

/// The lanes of one consumer.
type Lanes = HashMap<Arc<str>, HashMap<i32, Arc<Lane>>>;

/// One member of a consumer group, as librdkafka calls it back.
pub(crate) struct Group {
    name: String,
    /// How long revoked partitions may take to finish what they have begun.
    drain: Duration,
    lanes: Mutex<Lanes>,
    /// Of partitions that came and have no lane yet.
    finished: Mutex<HashMap<Partition, Finished>>,
    /// Where partitions that came began: what their last owners had committed.
    began: Mutex<HashMap<Partition, Offset>>,
    /// Records that were finished since the last commit: after a crash now, they are done again.
    exposed: Arc<AtomicUsize>,
}

impl Group {
    pub(crate) fn new(name: String, drain: Duration) -> Self {
        Self {
            name,
            drain,
            lanes: Mutex::default(),
            finished: Mutex::default(),
            began: Mutex::default(),
            exposed: Arc::default(),
        }
    }

    pub(crate) fn lane(
        &self,
        topic: &str,
        partition: i32,
        make: impl FnOnce(Arc<str>, Finished) -> Lane,
    ) -> Arc<Lane> {
        let mut lanes = self.lock();
        if let Some(lane) = lanes.get(topic).and_then(|of_topic| of_topic.get(&partition)) {
            return Arc::clone(lane);
        }
        let finished = self.finished().remove(&(topic.to_owned(), partition));
        let topic: Arc<str> = topic.into();
        let lane = Arc::new(make(Arc::clone(&topic), finished.unwrap_or_default()));
        lanes.entry(topic).or_default().insert(partition, Arc::clone(&lane));
        lane
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lock().values().flat_map(HashMap::values).map(Arc::clone).collect()
    }

    /// For lanes to count in.
    pub(crate) fn exposed(&self) -> &Arc<AtomicUsize> {
        &self.exposed
    }

    fn take(&self, topic: &str, partition: i32) -> Option<Arc<Lane>> {
        self.lock().get_mut(topic)?.remove(&partition)
    }

    /// What their last owners had finished of these partitions.
    fn ask(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let committed = match consumer.committed_offsets(partitions.clone(), ASK) {
            Ok(committed) => committed,
            Err(error) => {
                let group = &self.name;
                tracing::warn!(group, %error, "what was finished isn't known; some is done again");
                return;
            }
        };
        let (mut finished, mut began) = (self.finished(), self.began());
        for partition in committed.elements() {
            let place = (partition.topic().to_owned(), partition.partition());
            began.insert(place.clone(), partition.offset());
            if let Offset::Offset(offset) = partition.offset() {
                finished.insert(place, Finished::decode(offset, partition.metadata()));
            }
        }
    }

    /// Up to where each partition is finished, of those of which that is known.
    pub(crate) fn positions(&self) -> HashMap<Partition, Offset> {
        let mut positions = self.began().clone();
        for lane in self.lanes() {
            if let Some(offset) = lane.finished_up_to() {
                positions.insert((lane.topic.to_string(), lane.partition), Offset::Offset(offset));
            }
        }
        positions
    }

    fn began(&self) -> MutexGuard<'_, HashMap<Partition, Offset>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self) -> MutexGuard<'_, HashMap<Partition, Finished>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
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
                if partitions.count() > 0 {
                    self.ask(consumer, partitions);
                }
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
                if !lost && let Err(error) = commit(consumer, &revoked, CommitMode::Sync) {
                    let group = &self.name;
                    tracing::warn!(group, %error, "could not commit; some records will be read again");
                }
                for gone in partitions.elements() {
                    let gone = (gone.topic().to_owned(), gone.partition());
                    self.finished().remove(&gone);
                    self.began().remove(&gone);
                }
                tracing::debug!(group = self.name, count = partitions.count(), lost, "revoked");
            }
            Rebalance::Error(error) => {
                tracing::warn!(group = self.name, %error, "rebalance");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else {
            return;
        };
        tracing::debug!(group = self.name, %error, "could not commit yet");
        let lanes = self.lock();
        for partition in offsets.elements() {
            let lane = lanes.get(partition.topic()).and_then(|of| of.get(&partition.partition()));
            if let Some(lane) = lane {
                lane.not_committed();
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

/// Commits how far these lanes have come.
pub(crate) fn commit(
    consumer: &BaseConsumer<Group>,
    lanes: &[Arc<Lane>],
    mode: CommitMode,
) -> KafkaResult<()> {
    consumer.context().exposed.store(0, Ordering::Relaxed);
    let mut progress = TopicPartitionList::new();
    let mut told = Vec::new();
    for lane in lanes {
        if let Some((offset, metadata)) = lane.progress() {
            told.push(lane);
            let mut place = progress.add_partition(&lane.topic, lane.partition);
            place.set_offset(Offset::Offset(offset))?;
            place.set_metadata(metadata);
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let committed = consumer.commit(&progress, mode);
    if committed.is_err() {
        for lane in told {
            lane.not_committed();
        }
    }
    committed
}

/// Whether a commit failed because the group is being rebalanced: then it may succeed after.
pub(crate) fn is_rebalancing(error: &Rdkafka) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress)
    )
}
