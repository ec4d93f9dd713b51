//! A topic gone through once, by the time stamps of its records: for whoever wants what was, not what
//! comes. It joins no group and commits nothing; who reads keeps the [`Place`] it has come to.
//!
//! Partitions come one after the other. In each it begins and ends where Kafka's index of time stamps
//! says (`ListOffsets`), and a minute beyond: stamps are given by producers, so neighbours may be
//! slightly out of order.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError as Librdkafka;
use rdkafka::message::Message as _;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use time::OffsetDateTime;
use triggerline_types::{from_millis, millis};
use triggerline_wire::Record;

use crate::consumer::record;
use crate::{KafkaConfig, KafkaError};

/// How far neighbours may be out of order.
const SLACK_MS: i64 = 60_000;
/// For each answer of Kafka.
const PATIENCE: Duration = Duration::from_secs(15);

pub struct Scan {
    client: StreamConsumer,
    topic: String,
    /// In milliseconds: from the first on, before the second.
    stamps: (i64, i64),
    /// What is left, the next first.
    parts: Vec<Part>,
    /// Whether the next is being fetched.
    assigned: bool,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// A record within the span of time.
#[derive(Debug)]
pub struct Scanned {
    pub place: Place,
    pub at: OffsetDateTime,
    pub record: Record,
}

/// Of one partition: from `next` on, before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    partition: i32,
    next: i64,
    end: i64,
}

impl Scan {
    /// What a topic has from an instant on, before another; only what stands after `after`, where that
    /// is given.
    pub async fn open(
        kafka: &KafkaConfig,
        topic: String,
        from: Option<OffsetDateTime>,
        to: OffsetDateTime,
        after: Option<Place>,
    ) -> Result<Self, KafkaError> {
        let stamps = (from.map_or(0, millis), millis(to));
        let mut config = kafka.client("scan");
        config
            // Asked for by librdkafka; nobody joins it.
            .set("group.id", kafka.group("scan"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // What retention has taken meanwhile is gone.
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384");
        let failed = |error| KafkaError::new("look for a span of time in a topic", error);
        let (asked, name) = (config.clone(), topic.clone());
        let found = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = asked.create()?;
            parts(&client, &name, stamps)
        });
        let found = found.await.map_err(|error| KafkaError::new("scan a topic", error))?;
        let mut parts = found.map_err(failed)?;
        resume(&mut parts, after);
        let client = config.create().map_err(failed)?;
        Ok(Self { client, topic, stamps, parts, assigned: false })
    }

    /// The next record; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Scanned>, KafkaError> {
        let failed = |error| KafkaError::new("read a span of time in a topic", error);
        while let Some(part) = self.parts.first().copied() {
            if part.next >= part.end {
                self.parts.remove(0);
                self.assigned = false;
                continue;
            }
            if !self.assigned {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&self.topic, part.partition, Offset::Offset(part.next))
                    .and_then(|()| self.client.assign(&list))
                    .map_err(failed)?;
                self.assigned = true;
            }
            let received = tokio::time::timeout(PATIENCE, self.client.recv()).await;
            let received = received.map_err(|_| {
                let told = format!("no answer within {} s", PATIENCE.as_secs());
                KafkaError::new("read a span of time in a topic", told)
            })?;
            let next = &mut self.parts[0].next;
            match received {
                // Of a partition that was read before.
                Ok(message) if message.partition() != part.partition => {}
                Ok(message) if message.offset() < part.next => {}
                Ok(message) => {
                    *next = message.offset() + 1;
                    let stamp = message.timestamp().to_millis().unwrap_or_default();
                    if message.offset() >= part.end
                        || !(self.stamps.0..self.stamps.1).contains(&stamp)
                    {
                        continue;
                    }
                    let place = Place { partition: part.partition, offset: message.offset() };
                    let at = from_millis(stamp).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                    return Ok(Some(Scanned { place, at, record: record(&message) }));
                }
                // The last offsets of a partition may hold no records.
                Err(Librdkafka::PartitionEOF(partition)) if partition == part.partition => {
                    *next = part.end;
                }
                Err(Librdkafka::PartitionEOF(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }
}

/// Where the span begins and ends in each partition.
fn parts(client: &BaseConsumer, topic: &str, stamps: (i64, i64)) -> Result<Vec<Part>, Librdkafka> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let ids = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let ids: Vec<i32> = ids.map(MetadataPartition::id).collect();
    let first_since = |stamp: i64| {
        let mut list = TopicPartitionList::new();
        for id in &ids {
            list.add_partition_offset(topic, *id, Offset::Offset(stamp))?;
        }
        client.offsets_for_times(list, PATIENCE)
    };
    let begins = first_since((stamps.0 - SLACK_MS).max(0))?;
    let ends = first_since((stamps.1 + SLACK_MS).max(0))?;
    let mut parts = Vec::with_capacity(ids.len());
    for id in ids {
        let (_, high) = client.fetch_watermarks(topic, id, PATIENCE)?;
        let offset = |list: &TopicPartitionList| match list.find_partition(topic, id)?.offset() {
            Offset::Offset(offset) if offset >= 0 => Some(offset),
            // None is as late.
            _ => None,
        };
        let (next, end) = (offset(&begins).unwrap_or(high), offset(&ends).unwrap_or(high));
        parts.push(Part { partition: id, next, end });
    }
    parts.sort_unstable_by_key(|part| part.partition);
    Ok(parts)
}

/// Leaves out what comes no later than `after`.
fn resume(parts: &mut Vec<Part>, after: Option<Place>) {
    let Some(Place { partition, offset }) = after else { return };
    parts.retain(|part| part.partition >= partition);
    for part in parts.iter_mut().filter(|part| part.partition == partition) {
        part.next = part.next.max(offset + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_after_a_place() {
        let part = |partition, next| Part { partition, next, end: 9 };
        let all = vec![part(0, 5), part(1, 3), part(2, 0)];
        let place = |partition, offset| Some(Place { partition, offset });
        for (after, left) in [
            (None, all.clone()),
            (place(0, 6), vec![part(0, 7), part(1, 3), part(2, 0)]),
            // Kept before retention or a later look moved the beginning.
            (place(0, 1), all.clone()),
            (place(1, 8), vec![part(1, 9), part(2, 0)]),
            (place(2, 100), vec![part(2, 101)]),
        ] {
            let mut parts = all.clone();
            resume(&mut parts, after);
            assert_eq!(parts, left, "{after:?}");
        }
    }
}
