//! Produce, Fetch and ListOffsets: the requests whose answers are in the log.
//!
//! The *catalogue* is Tansu's list of topics, remembered; *keeping* is what retention asks of the log. A fetch
//! that finds nothing waits for the log's bell, not for a clock, so `fetch.wait.max.ms` costs no latency and
//! can be long. Tansu's own fetch sleeps that time whether or not there are records (16 ms from produce to
//! consume with a wait of 10 ms and half a core when idle; 383 ms with a wait of 500 ms).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use rama::{Context, Service};
use tansu_broker::Error;
use tansu_sans_io::{
    ConfigResource, DeleteTopicsRequest, DeleteTopicsResponse, ErrorCode, FetchRequest,
    FetchResponse, ListOffsetsRequest, ListOffsetsResponse, NULL_TOPIC_ID, ProduceRequest,
    ProduceResponse,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::{FetchableTopicResponse, PartitionData},
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
    record::deflated::Frame,
};
use tansu_storage::{DeleteTopicsService, Storage as _, StorageContainer, TopicId};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::log::{Cut, Log, Partition};

/// Most that one fetch returns, whatever the client would take: what a slow reader can make us hold.
const FETCH_MOST: usize = 8 << 20;
/// Kafka's default for `retention.ms`: a week.
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Between two looks at retention.
const KEEPING: Duration = Duration::from_mins(1);

/// What each of the services below works with.
#[derive(Clone)]
pub(super) struct Records {
    log: Arc<Log>,
    catalogue: Arc<Catalogue>,
    closing: CancellationToken,
}

impl Records {
    pub(super) fn new(
        log: Arc<Log>,
        storage: StorageContainer,
        closing: CancellationToken,
    ) -> Self {
        let catalogue = Arc::new(Catalogue { storage, known: Mutex::default() });
        Self { log, catalogue, closing }
    }

    /// Removes what is past `retention.ms`, and the records of deleted topics, until the broker closes. Topics with
    /// `cleanup.policy=compact` keep everything: nothing here compacts. `retention.bytes` is not looked at. The
    /// file doesn't shrink; SQLite uses its freed pages again.
    pub(super) async fn keep(self) {
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(KEEPING) => {}
            }
            if let Err(error) = self.keep_once().await {
                warn!(%error, "looking at what the embedded broker's retention removes");
            }
        }
    }

    async fn keep_once(&self) -> Result<(), Error> {
        let storage = &self.catalogue.storage;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut cuts = HashMap::new();
        let mut topics = HashSet::new();
        for topic in storage.metadata(None).await?.topics() {
            let (Some(id), Some(name)) = (topic.topic_id, topic.name.as_deref()) else {
                continue;
            };
            topics.insert(id);
            let configs = storage
                .describe_config(name, ConfigResource::Topic, None)
                .await?
                .configs
                .unwrap_or_default();
            let config = |name| {
                let config = configs.iter().find(|config| config.name == name)?;
                config.value.as_deref()
            };
            let retention = config("retention.ms").and_then(|value| value.parse().ok());
            let retention = retention.unwrap_or(RETENTION_MS);
            if retention >= 0 && config("cleanup.policy") != Some("compact") {
                cuts.insert(id, Cut::Before(now - retention));
            }
        }
        for partition in self.log.partitions() {
            let span = self.log.span(partition);
            let cut = match cuts.get(&partition.topic) {
                _ if span.start == span.end => continue,
                Some(cut) => *cut,
                None if topics.contains(&partition.topic) => continue,
                None => Cut::All,
            };
            while self.log.trim(partition, cut).await && !self.closing.is_cancelled() {}
        }
        Ok(())
    }
}

/// Which topics there are, by name and by id. Only Tansu creates and deletes them, and only through this broker.
struct Catalogue {
    storage: StorageContainer,
    known: Mutex<HashMap<TopicId, Topic>>,
}

#[derive(Clone, Copy)]
struct Topic {
    id: [u8; 16],
    partitions: i32,
}

impl Topic {
    fn partition(self, number: i32) -> Option<Partition> {
        (0..self.partitions).contains(&number).then_some(Partition { topic: self.id, number })
    }
}

impl Catalogue {
    async fn topic(&self, topic: TopicId) -> Result<Option<Topic>, Error> {
        if let Some(known) = self.lock().get(&topic) {
            return Ok(Some(*known));
        }
        let metadata = self.storage.metadata(Some(std::slice::from_ref(&topic))).await?;
        let Some(found) = metadata
            .topics()
            .first()
            .filter(|found| found.error_code == i16::from(ErrorCode::None))
        else {
            return Ok(None); // and asked again the next time: it may be created meanwhile
        };
        let partitions = found.partitions.as_ref().map_or(0, Vec::len);
        let found = Topic {
            id: found.topic_id.unwrap_or(NULL_TOPIC_ID),
            partitions: i32::try_from(partitions)?,
        };
        self.lock().insert(topic, found);
        Ok(Some(found))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TopicId, Topic>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<(), DeleteTopicsRequest> for Records {
    type Response = DeleteTopicsResponse;
    type Error = Error;

    async fn serve(
        &self,
        _: Context<()>,
        request: DeleteTopicsRequest,
    ) -> Result<Self::Response, Error> {
        let storage = Context::with_state(self.catalogue.storage.clone());
        let response = DeleteTopicsService.serve(storage, request).await;
        self.catalogue.lock().clear();
        Ok(response?)
    }
}

impl Service<(), ProduceRequest> for Records {
    type Response = ProduceResponse;
    type Error = Error;

    async fn serve(
        &self,
        _: Context<()>,
        request: ProduceRequest,
    ) -> Result<Self::Response, Error> {
        // All partitions are handed to the log before the first answer is awaited: they share its commit.
        let mut topics = Vec::new();
        for topic in request.topic_data.unwrap_or_default() {
            let known = self.catalogue.topic(topic.name.as_str().into()).await?;
            let mut partitions = Vec::new();
            for data in topic.partition_data.unwrap_or_default() {
                let batches = data.records.map(|frame| frame.batches).unwrap_or_default();
                let answer = match known.and_then(|topic| topic.partition(data.index)) {
                    Some(partition) => Some(self.log.append(partition, batches).await),
                    None => None,
                };
                partitions.push((data.index, answer));
            }
            topics.push((topic.name, partitions));
        }
        let mut responses = Vec::new();
        for (name, partitions) in topics {
            let mut answered = Vec::new();
            for (index, answer) in partitions {
                let base = match answer {
                    // Without an answer the log is broken or closing; clients try again at this code.
                    Some(answer) => answer.await.unwrap_or(Err(ErrorCode::KafkaStorageError)),
                    None => Err(ErrorCode::UnknownTopicOrPartition),
                };
                answered.push(
                    PartitionProduceResponse::default()
                        .index(index)
                        .error_code(base.err().unwrap_or(ErrorCode::None).into())
                        .base_offset(base.unwrap_or(-1))
                        .log_append_time_ms(Some(-1))
                        .log_start_offset(Some(0))
                        .record_errors(Some(Vec::new())),
                );
            }
            responses.push(
                TopicProduceResponse::default().name(name).partition_responses(Some(answered)),
            );
        }
        Ok(ProduceResponse::default().responses(Some(responses)).throttle_time_ms(Some(0)))
    }
}

impl Service<(), FetchRequest> for Records {
    type Response = FetchResponse;
    type Error = Error;

    async fn serve(&self, _: Context<()>, request: FetchRequest) -> Result<Self::Response, Error> {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let deadline = Instant::now() + wait;
        let enough = usize::try_from(request.min_bytes).unwrap_or(0).max(1);
        let most = request.max_bytes.and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(FETCH_MOST).min(FETCH_MOST);
        let mut topics = Vec::new();
        for topic in request.topics.unwrap_or_default() {
            let wanted = match (&topic.topic, topic.topic_id) {
                (Some(name), _) => name.as_str().into(),
                (None, id) => id.unwrap_or(NULL_TOPIC_ID).into(),
            };
            let known = self.catalogue.topic(wanted).await?;
            topics.push((topic, known));
        }
        // Subscribed before the first look, so that nothing can arrive in between unheard.
        let mut bell = self.log.bell();
        let responses = loop {
            bell.borrow_and_update();
            let (responses, found) = self.look(&topics, most).await;
            if found >= enough || Instant::now() >= deadline || self.closing.is_cancelled() {
                break responses;
            }
            tokio::select! {
                _ = bell.changed() => {}
                () = sleep_until(deadline) => {}
                () = self.closing.cancelled() => {}
            }
        };
        Ok(FetchResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(Some(ErrorCode::None.into()))
            .session_id(Some(0))
            .node_endpoints(Some(Vec::new()))
            .responses(Some(responses)))
    }
}

impl Records {
    /// What is there now, and its size in bytes. An error counts as enough: the client should hear of it.
    async fn look(
        &self,
        topics: &[(FetchTopic, Option<Topic>)],
        most: usize,
    ) -> (Vec<FetchableTopicResponse>, usize) {
        let (mut responses, mut found) = (Vec::new(), 0);
        for (topic, known) in topics {
            let mut partitions = Vec::new();
            for wanted in topic.partitions.iter().flatten() {
                let partition = known.and_then(|topic| topic.partition(wanted.partition));
                let (response, size) = match partition {
                    Some(partition) => {
                        self.look_at(partition, wanted, most - found.min(most)).await
                    }
                    None => (refused(ErrorCode::UnknownTopicOrPartition), usize::MAX),
                };
                found = found.saturating_add(size);
                partitions.push(response.partition_index(wanted.partition));
            }
            responses.push(
                FetchableTopicResponse::default()
                    .topic(topic.topic.clone())
                    .topic_id(topic.topic_id)
                    .partitions(Some(partitions)),
            );
        }
        (responses, found)
    }

    async fn look_at(
        &self,
        partition: Partition,
        wanted: &FetchPartition,
        most: usize,
    ) -> (PartitionData, usize) {
        let span = self.log.span(partition);
        let from = wanted.fetch_offset;
        if from < span.start || from > span.end {
            return (refused(ErrorCode::OffsetOutOfRange), usize::MAX);
        }
        let response = refused(ErrorCode::None)
            .high_watermark(span.end)
            .last_stable_offset(Some(span.end))
            .log_start_offset(Some(span.start));
        if from == span.end || most == 0 {
            return (response, 0);
        }
        let bytes = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
        match self.log.read(partition, from, bytes.min(most)).await {
            Ok(batches) => {
                let size = batches.iter().map(|batch| batch.record_data.len()).sum();
                (response.records(Some(Frame { batches })), size)
            }
            Err(error) => {
                error!(error = format!("{error:#}"), "the embedded broker could not read its log");
                (refused(ErrorCode::KafkaStorageError), usize::MAX)
            }
        }
    }
}

/// A partition's answer without records.
fn refused(code: ErrorCode) -> PartitionData {
    PartitionData::default()
        .error_code(code.into())
        .high_watermark(-1)
        .last_stable_offset(Some(-1))
        .log_start_offset(Some(-1))
        .aborted_transactions(Some(Vec::new()))
        .preferred_read_replica(Some(-1))
}

impl Service<(), ListOffsetsRequest> for Records {
    type Response = ListOffsetsResponse;
    type Error = Error;

    async fn serve(
        &self,
        _: Context<()>,
        request: ListOffsetsRequest,
    ) -> Result<Self::Response, Error> {
        let mut topics = Vec::new();
        for topic in request.topics.unwrap_or_default() {
            let known = self.catalogue.topic(topic.name.as_str().into()).await?;
            let mut partitions = Vec::new();
            for wanted in topic.partitions.unwrap_or_default() {
                let partition = known.and_then(|topic| topic.partition(wanted.partition_index));
                let found = match partition {
                    Some(partition) => self.offset(partition, wanted.timestamp).await,
                    None => Err(ErrorCode::UnknownTopicOrPartition),
                };
                let (offset, timestamp) = found.unwrap_or((-1, -1));
                partitions.push(
                    ListOffsetsPartitionResponse::default()
                        .partition_index(wanted.partition_index)
                        .error_code(found.err().unwrap_or(ErrorCode::None).into())
                        .offset(Some(offset))
                        .timestamp(Some(timestamp))
                        .leader_epoch(Some(0)),
                );
            }
            topics.push(
                ListOffsetsTopicResponse::default().name(topic.name).partitions(Some(partitions)),
            );
        }
        Ok(ListOffsetsResponse::default().throttle_time_ms(Some(0)).topics(Some(topics)))
    }
}

impl Records {
    /// The offset for a timestamp or for one of Kafka's stand-ins, with the timestamp of the record there (−1 if that
    /// isn't asked for).
    async fn offset(&self, partition: Partition, timestamp: i64) -> Result<(i64, i64), ErrorCode> {
        let span = self.log.span(partition);
        match timestamp {
            -1 => Ok((span.end, -1)),
            -2 => Ok((span.start, -1)),
            0.. => match self.log.since(partition, timestamp).await {
                Ok(found) => Ok(found.unwrap_or((-1, -1))),
                Err(error) => {
                    error!(
                        error = format!("{error:#}"),
                        "the embedded broker could not read its log"
                    );
                    Err(ErrorCode::KafkaStorageError)
                }
            },
            _ => Err(ErrorCode::UnsupportedVersion), // of the newest record, and of tiered storage
        }
    }
}
