//! Handing records to Kafka.
//!
//! A [`Producer`] wraps librdkafka's queue and its thread. Every record takes a *permit*
//! before it enters the queue and carries a *receipt* through it; when Kafka's report
//! comes, the receipt is answered and the permit falls free. So the queue can't overflow by number
//! (rdkafka's `FutureProducer` sleeps 100 ms when it does), and waiting for all permits is
//! waiting for all reports (dropping a producer throws its queue away).

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Rdkafka, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use triggerline_wire::Record;

use crate::{KafkaConfig, KafkaError};

/// Records that may wait for Kafka's report at once, for who needs no other bound.
pub const ROOM: u32 = 50_000;
/// librdkafka's own bound on what waits, in KiB: large records meet it before [`ROOM`].
const QUEUE_KBYTES: &str = "262144";

/// The largest record: a payload of 1 MB with room for headers, or the summary of an event with
/// more than 20,000 matches. The topics are made to take it too.
pub(crate) const MAX_RECORD_BYTES: &str = "4000000";

/// Shared freely: all clones are one queue.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<ThreadedProducer<Reports>>,
    permits: Arc<Semaphore>,
    room: u32,
    fatal: CancellationToken,
}

/// Where a record came to stand, in all in-sync replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// As many records as may wait for Kafka are waiting.
    #[error("too many records are waiting for Kafka")]
    Full,
    /// Kafka has not acknowledged the record in time, or the client failed: whether it has
    /// the record is **unknown**.
    #[error("Kafka did not acknowledge the record")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record is larger than Kafka takes, now or later; it is not there.
    #[error("the record is too large for Kafka")]
    TooLarge,
    /// Kafka or the client refused the record; it is not there.
    #[error("Kafka refused the record")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Producer {
    /// `patience`: how long a record may wait for acknowledgement before it counts as unknown.
    /// `room`: how many may wait.
    pub fn new(
        config: &KafkaConfig,
        role: &str,
        patience: Duration,
        room: u32,
    ) -> Result<Self, KafkaError> {
        // Measured: 0 is 9 times slower under load, 5 is 4 times slower.
        Self::lingering("0.3", config, role, patience, room)
    }

    /// One for records that nobody waits for: a few milliseconds make batches of them, which cost
    /// librdkafka and Kafka much less.
    pub fn unhurried(
        config: &KafkaConfig,
        role: &str,
        patience: Duration,
        room: u32,
    ) -> Result<Self, KafkaError> {
        Self::lingering("5", config, role, patience, room)
    }

    fn lingering(
        millis: &str,
        config: &KafkaConfig,
        role: &str,
        patience: Duration,
        room: u32,
    ) -> Result<Self, KafkaError> {
        let fatal = CancellationToken::new();
        let inner = config
            .client(role)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", millis)
            .set("compression.type", "lz4")
            .set("message.timeout.ms", patience.as_millis().to_string())
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("queue.buffering.max.messages", room.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES)
            // The Java clients' partitioner, so that other producers agree on a key's place.
            .set("partitioner", "murmur2_random")
            .create_with_context(Reports { role: role.to_owned(), fatal: fatal.clone() })
            .map_err(|error| KafkaError::new("set up the Kafka producer", error))?;
        Ok(Self {
            inner: Arc::new(inner),
            permits: Arc::new(Semaphore::new(room as usize)),
            room,
            fatal,
        })
    }

    /// Resolves when the client can't go on (librdkafka calls that fatal, such as a sequence that
    /// the broker no longer knows): every later record would fail, so the process should end.
    pub async fn failed(&self) {
        self.fatal.cancelled().await;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fatal.is_cancelled()
    }

    /// Waits for room, hands the record over and waits until all in-sync replicas have it.
    pub async fn send(&self, topic: &str, record: &Record) -> Result<Placed, ProduceError> {
        self.begin(topic, record).await?.await
    }

    /// Waits for room and hands the record over, so that records begun one after the other stand in
    /// that order, and returns the wait for all in-sync replicas.
    pub async fn begin(
        &self,
        topic: &str,
        record: &Record,
    ) -> Result<impl Future<Output = Result<Placed, ProduceError>> + use<>, ProduceError> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| ProduceError::Refused("the producer is closed".into()))?;
        self.hand_over(topic, record, permit)
    }

    /// Hands the record over now, so that records started one after the other stand in that
    /// order, and returns the wait for all in-sync replicas. Answers [`ProduceError::Full`]
    /// where there is no room: for callers that can tell theirs to come back later.
    pub fn start(
        &self,
        topic: &str,
        record: &Record,
    ) -> Result<impl Future<Output = Result<Placed, ProduceError>> + use<>, ProduceError> {
        let permit =
            Arc::clone(&self.permits).try_acquire_owned().map_err(|_| ProduceError::Full)?;
        self.hand_over(topic, record, permit)
    }

    fn hand_over(
        &self,
        topic: &str,
        record: &Record,
        permit: OwnedSemaphorePermit,
    ) -> Result<impl Future<Output = Result<Placed, ProduceError>> + use<>, ProduceError> {
        let (answer, report) = oneshot::channel();
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let receipt = Box::new(Receipt { answer, _permit: permit });
        let message = BaseRecord::with_opaque_to(topic, receipt)
            .key(&record.key[..])
            .payload(&record.value[..])
            .headers(headers);
        match self.inner.send(message) {
            Ok(()) => Ok(async move {
                report.await.unwrap_or_else(|_| {
                    Err(ProduceError::Unknown("the producer was closed meanwhile".into()))
                })
            }),
            Err((Rdkafka::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(ProduceError::Full)
            }
            Err((error, _)) => Err(judge(&error)),
        }
    }

    /// Takes no more records, and waits until Kafka has reported on all it was given.
    /// `false` if that took longer than `grace`: then some records' fate is unknown.
    pub async fn close(&self, grace: Duration) -> bool {
        let reported = tokio::time::timeout(grace, self.permits.acquire_many(self.room)).await;
        self.permits.close();
        let inner = Arc::clone(&self.inner);
        // Nothing is left to flush when all reports are in; librdkafka may still hold some
        // when they are not, and this is their last chance.
        let flushed = tokio::task::spawn_blocking(move || inner.flush(Duration::from_secs(1)));
        reported.is_ok() && matches!(flushed.await, Ok(Ok(())))
    }
}

/// What travels through librdkafka with a record.
struct Receipt {
    answer: oneshot::Sender<Result<Placed, ProduceError>>,
    _permit: OwnedSemaphorePermit,
}

/// Answers receipts, on librdkafka's thread.
struct Reports {
    role: String,
    fatal: CancellationToken,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.role, level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            tracing::error!(role = self.role, %error, reason, "the Kafka producer can't go on");
            return self.fatal.cancel();
        }
        tracing::warn!(role = self.role, %error, reason, "Kafka client");
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let answer = match result {
            Ok(message) => Ok(Placed { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(judge(error)),
        };
        // Whoever asked may have gone away; the record is placed all the same.
        let _ = receipt.answer.send(answer);
    }
}

/// A time-out may have happened after the broker wrote the record.
fn judge(error: &Rdkafka) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => ProduceError::TooLarge,
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::InvalidRecord,
        ) => ProduceError::Refused(error.clone().into()),
        _ => ProduceError::Unknown(error.clone().into()),
    }
}

/// librdkafka's log, at a level that matches what it means for us: a lost connection is
/// something it mends by itself.
pub(crate) fn log(role: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", role, facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", role, facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", role, facility, "{message}");
        }
        RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", role, facility, "{message}");
        }
    }
}
