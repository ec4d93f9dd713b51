//! Running a handler over topics, many records at a time.
//!
//! A **poll thread** of its own asks librdkafka for records and never works on one, so
//! the group keeps its membership however slow the work is. Each record enters its
//! partition's [`Lane`] and gets a task of its own ([`Work`]), which calls the [`Handler`] until it
//! has done what the record asks for. A record that no handler can read goes to
//! `events.dlq`. On shutdown, lanes drain before the consumer leaves its group.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError as Rdkafka;
use rdkafka::message::{BorrowedMessage, Headers as _};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use triggerline_types::from_millis;
use triggerline_wire::Record;

use crate::in_flight::InFlight;
use crate::lag::Looking;
use crate::lane::Lane;
use crate::rebalance::{self, Group};
use crate::turn::{GivenUp, Turn};
use crate::work::Work;
use crate::{KafkaConfig, KafkaError, ProduceError, Producer, Topic, Topics};

/// Does what a record asks for.
pub trait Handler: Send + Sync + 'static {
    /// `Ok` means: everything that follows from the record has been acknowledged by the next
    /// hop, and the record may be passed for good. It may be called again for the same
    /// record, after an error or a crash, so what it does must be harmless twice.
    fn handle(
        &self,
        consumed: &Consumed,
        stop: &Stop,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// A record and where it stood.
#[derive(Debug)]
pub struct Consumed {
    pub topic: Topic,
    pub partition: i32,
    pub offset: i64,
    /// When it was appended (or produced, as the topic is configured).
    pub appended_at: Option<OffsetDateTime>,
    pub record: Record,
    /// For what must be done in the order of the partition's records. It passes when the record is
    /// done, at the latest.
    pub turn: Turn,
}

#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The next hop isn't there or won't take it now: try again. The record holds the head.
    #[error("{0}")]
    Again(String),
    /// The record itself can't be read, now or later.
    #[error("{0}")]
    Poison(String),
    /// Told to stop before it was done.
    #[error("stopped before it was done")]
    Stopped,
}

impl HandlerError {
    /// To be tried again because of `error`.
    pub fn again(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Again(with_sources(error))
    }

    /// Never to be tried again because of `error`.
    pub fn poison(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Poison(with_sources(error))
    }
}

fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<ProduceError> for HandlerError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::TooLarge => Self::poison(&error),
            _ => Self::again(&error),
        }
    }
}

impl From<GivenUp> for HandlerError {
    fn from(GivenUp: GivenUp) -> Self {
        Self::Stopped
    }
}

impl From<triggerline_wire::DecodeError> for HandlerError {
    fn from(error: triggerline_wire::DecodeError) -> Self {
        Self::Poison(error.to_string())
    }
}

/// How a handler learns that its partition is being taken away or the service ends.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    pub(crate) abandoned: CancellationToken,
}

impl Stop {
    /// Resolves when whoever only waits should end with [`HandlerError::Stopped`]. Work that
    /// has begun may go on: there is a grace.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    pub fn ask(&self) {
        self.asked.cancel();
    }

    pub(crate) fn abandon(&self) {
        self.asked.cancel();
        self.abandoned.cancel();
    }
}

/// How much of one partition may be worked on at once.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub records: usize,
    pub bytes: usize,
}

/// Records that one which isn't finished may have finished ones behind it: some 2 MB, and mostly
/// no more than the metadata of a commit can tell.
const BEHIND: usize = 100_000;

impl Window {
    pub(crate) fn is_full(&self, window: &InFlight) -> bool {
        window.unfinished() >= self.records
            || window.bytes() >= self.bytes
            || window.len() >= BEHIND
    }

    pub(crate) fn has_room(&self, window: &InFlight) -> bool {
        window.unfinished() <= self.records / 2
            && window.bytes() <= self.bytes / 2
            && window.len() <= BEHIND / 2
    }
}

#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The service's name, with the installation's prefix the consumer group.
    pub service: &'static str,
    pub topics: Vec<Topic>,
    pub window: Window,
    /// How long what has begun may take to finish when partitions go or the service ends.
    pub drain: Duration,
}

/// Runs `handler` over the topics until `shutdown`, then drains and leaves the group.
///
/// An error means that the client can't go on; the process should end, and be restarted.
pub async fn consume<H: Handler>(
    kafka: &KafkaConfig,
    config: ConsumerConfig,
    handler: Arc<H>,
    dead_letters: Producer,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    let name = kafka.group(config.service);
    let client: BaseConsumer<Group> = kafka
        .client(config.service)
        .set("group.id", &name)
        // librdkafka 2.12's fence of the new protocol is fatal after max.poll.interval.ms.
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        // A killed member's partitions are free again after this.
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        .set("auto.offset.reset", "earliest")
        // The whole point: only what lanes have finished is committed (`crate::progress`).
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Whatever is fetched ahead of a pause is thrown away, and fetched again after it.
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "5")
        // A broker answers a client's fetches one after the other: a partition that goes on after a
        // pause waits until the fetch of those that have nothing is given up.
        .set("fetch.wait.max.ms", "20")
        .create_with_context(Group::new(name.clone(), config.drain))
        .map_err(|error| KafkaError::new(format!("set up the consumer of {name}"), error))?;
    let topics = Topics::new(kafka);
    let names: Vec<String> = config.topics.iter().map(|topic| topics.name(*topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    client
        .subscribe(&names)
        .map_err(|error| KafkaError::new(format!("subscribe {name} to its topics"), error))?;

    let all = names.iter().map(|name| (*name).to_owned()).collect();
    let _looking = Looking::start(kafka, config.service, all, client.context())?;
    let (ended, end) = oneshot::channel();
    let poller = Poller {
        name,
        dead_letter_topic: topics.name(Topic::EventsDlq).into(),
        topics,
        client: Arc::new(client),
        config,
        handler,
        dead_letters,
        shutdown,
        runtime: Handle::current(),
    };
    std::thread::Builder::new()
        .name(format!("poll-{}", poller.config.service))
        .spawn(move || {
            // Nobody waits for the end any more if the service was dropped meanwhile.
            let _ = ended.send(poller.run());
        })
        .map_err(|error| KafkaError::new("start the poll thread", error))?;
    end.await.unwrap_or_else(|_| Err(KafkaError::new("poll Kafka", "the poll thread panicked")))
}

struct Poller<H> {
    name: String,
    topics: Topics,
    dead_letter_topic: Arc<str>,
    client: Arc<BaseConsumer<Group>>,
    config: ConsumerConfig,
    handler: Arc<H>,
    dead_letters: Producer,
    shutdown: CancellationToken,
    runtime: Handle,
}

impl<H: Handler> Poller<H> {
    fn run(self) -> Result<(), KafkaError> {
        let mut last_error = None;
        let mut committed = Instant::now();
        while !self.shutdown.is_cancelled() {
            if self.dead_letters.has_failed() {
                return Err(KafkaError::new("produce to Kafka", "the producer can't go on"));
            }
            let group = self.client.context();
            if is_commit_due(committed.elapsed(), group.exposed().load(Ordering::Relaxed)) {
                committed = Instant::now();
                let lanes = group.lanes();
                if let Err(error) = rebalance::commit(&self.client, &lanes, CommitMode::Async) {
                    tracing::debug!(group = self.name, %error, "could not commit yet");
                }
            }
            match self.client.poll(COMMIT_SOON) {
                None => {}
                Some(Ok(message)) => {
                    last_error = None;
                    self.accept(&message);
                }
                Some(Err(error)) => {
                    if matches!(error, Rdkafka::MessageConsumptionFatal(_)) {
                        let operation = format!("poll Kafka for {}", self.name);
                        return Err(KafkaError::new(operation, error));
                    }
                    // librdkafka mends these by itself, and repeats them until it has.
                    if last_error.as_ref() != Some(&error) {
                        tracing::warn!(group = self.name, %error, "polling Kafka");
                        last_error = Some(error);
                    }
                }
            }
        }
        self.leave();
        Ok(())
    }

    fn accept(&self, message: &BorrowedMessage<'_>) {
        let lane =
            self.client.context().lane(message.topic(), message.partition(), |topic, before| {
                Lane::new(
                    topic,
                    message.partition(),
                    self.config.window,
                    before,
                    Arc::downgrade(&self.client),
                    Arc::clone(self.client.context().exposed()),
                )
            });
        let record = record(message);
        let bytes = record.value.len() + OVERHEAD_BYTES;
        let Some(turn) = lane.begin(message.offset(), bytes) else {
            return;
        };
        let Some(topic) = self.topics.parse(message.topic()) else {
            // We subscribe to our own topics only.
            tracing::error!(topic = message.topic(), "a record from a topic that isn't ours");
            return lane.give_up();
        };
        let consumed = Consumed {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            appended_at: message.timestamp().to_millis().and_then(from_millis),
            record,
            turn,
        };
        let work = Work {
            lane,
            consumed,
            handler: Arc::clone(&self.handler),
            group: self.config.service,
            dead_letters: self.dead_letters.clone(),
            dead_letter_topic: Arc::clone(&self.dead_letter_topic),
        };
        self.runtime.spawn(work.run());
    }

    /// Keeps the membership alive. What was assigned is paused; a record of what is assigned
    /// meanwhile is left, unstored, to whoever gets the partition next.
    fn poll_without_taking(&self, wait: Duration) {
        if let Some(Ok(message)) = self.client.poll(wait) {
            tracing::debug!(topic = message.topic(), "a record is left for the next member");
        }
    }

    /// Takes no more records, lets those that have begun finish, commits, leaves the group.
    fn leave(self) {
        if let Ok(assignment) = self.client.assignment()
            && let Err(error) = self.client.pause(&assignment)
        {
            tracing::warn!(group = self.name, %error, "could not pause");
        }
        let until = Instant::now() + self.config.drain;
        let lanes = self.client.context().lanes();
        rebalance::drain(&lanes, until, || self.poll_without_taking(Duration::ZERO));
        // In the middle of a rebalance nothing can be committed: take part in it to its end.
        while let Err(error) = rebalance::commit(&self.client, &lanes, CommitMode::Sync) {
            if !rebalance::is_rebalancing(&error) || Instant::now() > until {
                let group = &self.name;
                tracing::warn!(group, %error, "could not commit; some records will be read again");
                break;
            }
            self.poll_without_taking(Duration::from_millis(50));
        }
        tracing::debug!(group = self.name, "left");
    }
}

/// Whether it is time to commit how far work has come, this long after the last commit, if so many
/// records were finished since: after a crash they are done again.
fn is_commit_due(elapsed: Duration, exposed: usize) -> bool {
    elapsed >= COMMIT_EVERY || (elapsed >= COMMIT_SOON && exposed >= EXPOSED)
}

/// As often it is committed at least, if there is anything new.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// As often at most: a commit costs the broker about as much as a record.
const COMMIT_SOON: Duration = Duration::from_millis(20);
/// After so many records sooner than [`COMMIT_EVERY`]: about what is under way at one endpoint.
const EXPOSED: usize = 64;

/// What a record in flight costs beside its payload: headers, task, bookkeeping.
const OVERHEAD_BYTES: usize = 2_048;

pub(crate) fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers: Vec<_> =
        message.headers().into_iter().flat_map(|headers| headers.iter()).collect();
    let values = headers.iter().map(|header| header.value.unwrap_or_default());
    let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    // One buffer for them all: a delivery has some fifteen headers.
    let all: Vec<&[u8]> = [key, value].into_iter().chain(values).collect();
    let all = Bytes::from(all.concat());
    let mut taken = 0;
    let mut take = |part: &[u8]| {
        taken += part.len();
        all.slice(taken - part.len()..taken)
    };
    Record {
        key: take(key),
        value: take(value),
        headers: headers
            .iter()
            .map(|header| (header.key.to_owned().into(), take(header.value.unwrap_or_default())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_due_after_a_while_and_sooner_when_much_is_exposed() {
        for (ms, exposed, due) in [
            (0, 0, false),
            (19, 10_000, false),
            (20, 63, false),
            (20, 64, true),
            (199, 63, false),
            (200, 0, true),
        ] {
            assert_eq!(is_commit_due(Duration::from_millis(ms), exposed), due, "{ms} {exposed}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_sources() {
        let error = ProduceError::Unknown("timed out".into());
        assert_eq!(
            HandlerError::from(error).to_string(),
            "Kafka did not acknowledge the record: timed out"
        );
    }
}
