//! Facts as rows: one batch for each partition, all of them at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::errors::{BadQuery, ExecutionError};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue, MaybeUnset};
use time::OffsetDateTime;
use triggerline_types::{Attempt, CustomerId, Event, EventId, Fact, millis};

use super::Ready;
use super::schema::Statements;
use crate::Retention;
use crate::error::StoreError;
use crate::pieces::{Piece, Row, cut};
use crate::words;

/// Requests under way at once, of one call.
const AT_ONCE: usize = 128;
/// What goes into one batch: Cassandra refuses those of more than 50 KiB
/// (`batch_size_fail_threshold`), but takes a single row of any size we have.
const BATCH_BYTES: usize = 20 * 1_024;
/// A row's columns beside its texts and payload.
const ROW_BYTES: usize = 150;
/// Of `minutes`, one row is written for many of events: when one is written again.
const KNOWN_FOR: Duration = Duration::from_hours(1);
const MOST_KNOWN: usize = 200_000;
/// Seconds that a row of `minutes` outlives the events that it leads to: the first of them may be
/// followed by others for so long.
const LONGER: i64 = 2 * 3_600;

const OPERATION: &str = "store facts";

type Value = MaybeUnset<CqlValue>;

/// A statement and what is bound to it.
struct Bound<'a> {
    statement: &'a PreparedStatement,
    values: Vec<Value>,
    bytes: usize,
}

/// A list and a minute that a row of `minutes` leads to.
type Lead = (CustomerId, String, i64);

/// Leads that were written lately.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Lead, Written>>);

/// When, and when what it leads to expires, in milliseconds.
#[derive(Clone, Copy)]
struct Written {
    at: i64,
    ends: i64,
}

/// When a row that is written now expires.
fn ends(now: i64, ttl: i64) -> i64 {
    if ttl == 0 { i64::MAX } else { now + ttl * 1_000 }
}

impl Known {
    /// Whether it needn't be written again for what expires at `ends`.
    fn has(&self, lead: &Lead, now: i64, ends: i64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = i64::try_from(KNOWN_FOR.as_millis()).unwrap_or(i64::MAX);
        // A little later than the first is usual; much later, if the retention was changed.
        let outlives = |written: &Written| ends <= written.ends.saturating_add(lately);
        known.get(lead).is_some_and(|written| now - written.at < lately && outlives(written))
    }

    /// To be told once they are durable, each with its TTL.
    fn learn(&self, leads: impl IntoIterator<Item = (Lead, i64)>, now: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.extend(
            leads.into_iter().map(|(lead, ttl)| (lead, Written { at: now, ends: ends(now, ttl) })),
        );
    }
}

/// The minute of an instant, in milliseconds: a partition's name.
pub(super) fn minute(millis: i64) -> i64 {
    millis - millis.rem_euclid(60_000)
}

pub(super) fn minute_of(event: EventId) -> i64 {
    minute(millis(event.received_at()))
}

pub(super) async fn write(
    ready: &Ready<'_>,
    known: &Known,
    retention: &Retention,
    facts: &[Fact],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let mut batches: BTreeMap<(CustomerId, i64), Vec<Bound<'_>>> = BTreeMap::new();
    let mut alone = Vec::new();
    let mut leads: BTreeMap<Lead, i64> = BTreeMap::new();
    for row in facts.iter().flat_map(cut) {
        let retention = retention.of(row.customer);
        // What would have expired by now is not written at all.
        let Some(ttl) = ttl(row.event, retention, now) else { continue };
        let here = minute_of(row.event);
        let mut lead = |list: String, minute, ttl| {
            leads.insert((row.customer, list, minute), ttl);
        };
        match &row.piece {
            Piece::Entry(list) => lead(list.name(), here, ttl),
            Piece::GivenUp(attempt) => {
                let there = minute(millis(attempt.started_at));
                for list in dead_lists(attempt) {
                    // It may lead to others, of events that are kept for longer than this one.
                    lead(list, there, seconds(retention));
                }
                alone.extend(given_up(ready.statements, &row, attempt, ttl));
                continue;
            }
            // Of the event or not: whoever erases a customer must find it.
            _ => lead(String::new(), here, ttl),
        }
        batches.entry((row.customer, here)).or_default().push(bind(ready.statements, &row, ttl));
    }
    let at = millis(now);
    leads.retain(|lead, ttl| !known.has(lead, at, ends(at, *ttl)));
    for ((customer, list, minute), ttl) in &leads {
        let ttl = if *ttl == 0 { 0 } else { ttl + LONGER };
        alone.push(bound(
            &ready.statements.minute,
            [uuid(customer.as_uuid()), text(list), timestamp(*minute)],
            ttl,
        ));
    }
    let batches =
        batches.into_values().flat_map(pack).chain(alone.into_iter().map(|one| vec![one]));
    let requests: Vec<_> = batches.map(|rows| send(ready.session, rows)).collect();
    stream::iter(requests).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    known.learn(leads, at);
    Ok(())
}

/// What the database takes at most: 20 years, of which a little is left for [`LONGER`].
const LONGEST: i64 = 19 * 365 * 24 * 3_600;

/// Seconds until an event expires; 0 for never, `None` if it has already.
fn ttl(event: EventId, retention: Option<Duration>, now: OffsetDateTime) -> Option<i64> {
    let Some(retention) = retention else { return Some(0) };
    let left = (event.received_at() + retention - now).whole_seconds();
    (left > 0).then(|| left.min(LONGEST))
}

/// For how long something is kept that is written now; 0 for ever.
fn seconds(retention: Option<Duration>) -> i64 {
    let seconds = retention.map(|time| i64::try_from(time.as_secs()).unwrap_or(LONGEST));
    seconds.map_or(0, |seconds| seconds.min(LONGEST))
}

/// Where a dead letter is looked for: among all, and among its subscription's.
fn dead_lists(attempt: &Attempt) -> [String; 2] {
    [super::dead_letters::list(None), super::dead_letters::list(Some(attempt.subscription_id))]
}

fn given_up<'a>(
    statements: &'a Statements,
    row: &Row<'_>,
    attempt: &Attempt,
    ttl: i64,
) -> Vec<Bound<'a>> {
    let (customer, event) = (uuid(row.customer.as_uuid()), uuid(row.event.as_uuid()));
    let at = millis(attempt.started_at);
    let delivery = || uuid(attempt.delivery_id.as_uuid());
    let key = [customer.clone(), delivery(), timestamp(at), event.clone()];
    let mut all = vec![bound(&statements.delivery, key, ttl)];
    for list in dead_lists(attempt) {
        let key = [customer.clone(), text(&list), timestamp(minute(at)), timestamp(at)];
        let values = key.into_iter().chain([delivery(), event.clone()]);
        all.push(bound(&statements.dead_letter, values, ttl));
    }
    all
}

fn bind<'a>(statements: &'a Statements, row: &Row<'_>, ttl: i64) -> Bound<'a> {
    let list = match &row.piece {
        Piece::Entry(list) => list.name(),
        _ => String::new(),
    };
    let mut values = vec![
        uuid(row.customer.as_uuid()),
        timestamp(minute_of(row.event)),
        text(&list),
        uuid(row.event.as_uuid()),
        text(&row.piece.name()),
    ];
    let statement = match &row.piece {
        Piece::Event(event) => {
            values.extend(event_values(event));
            &statements.event
        }
        Piece::Matched { at } => {
            values.push(timestamp(millis(*at)));
            &statements.matched
        }
        Piece::Owed { subscription, delivery, workflow } => {
            let ids = [uuid(subscription.as_uuid()), uuid(delivery.as_uuid())];
            values.extend(ids.into_iter().chain([text(workflow)]));
            &statements.owed
        }
        Piece::Attempt(attempt) | Piece::GivenUp(attempt) => {
            values.extend(attempt_values(attempt));
            &statements.attempt
        }
        Piece::Entry(_) => &statements.entry,
    };
    bound(statement, values, ttl)
}

fn event_values(event: &Event) -> [Value; 8] {
    let extensions = event.extensions.iter();
    let extensions = extensions.map(|(name, value)| (plain(name), plain(value))).collect();
    [
        text(event.event_type.as_str()),
        text(&event.source),
        maybe(event.subject.as_deref().map(plain)),
        timestamp(millis(event.occurred_at)),
        maybe((!event.extensions.is_empty()).then_some(CqlValue::Map(extensions))),
        maybe(event.traceparent.as_deref().map(plain)),
        maybe(event.quarantined.as_deref().map(plain)),
        MaybeUnset::Set(CqlValue::Blob(event.payload.to_vec())),
    ]
}

fn attempt_values(attempt: &Attempt) -> [Value; 11] {
    let (response, status, said) = words::of_response(&attempt.response);
    let (outcome, at, reason) = words::of_outcome(&attempt.outcome);
    let micros = i64::try_from(attempt.latency.as_micros()).unwrap_or(i64::MAX);
    let number = i32::try_from(attempt.number).unwrap_or(i32::MAX);
    [
        uuid(attempt.subscription_id.as_uuid()),
        uuid(attempt.delivery_id.as_uuid()),
        timestamp(millis(attempt.started_at)),
        MaybeUnset::Set(CqlValue::Int(number)),
        MaybeUnset::Set(CqlValue::BigInt(micros)),
        text(response),
        maybe(status.map(|status| CqlValue::Int(status.into()))),
        text(said),
        text(outcome),
        maybe(at.map(|at| CqlValue::Timestamp(CqlTimestamp(millis(at))))),
        maybe(reason.map(plain)),
    ]
}

fn bound(
    statement: &PreparedStatement,
    values: impl IntoIterator<Item = Value>,
    ttl: i64,
) -> Bound<'_> {
    let ttl = MaybeUnset::Set(CqlValue::Int(i32::try_from(ttl).unwrap_or(i32::MAX)));
    let values: Vec<_> = values.into_iter().chain([ttl]).collect();
    let bytes = values.iter().map(|value| match value {
        MaybeUnset::Set(CqlValue::Text(text)) => text.len(),
        MaybeUnset::Set(CqlValue::Blob(blob)) => blob.len(),
        _ => 0,
    });
    let bytes = ROW_BYTES + bytes.sum::<usize>();
    Bound { statement, values, bytes }
}

fn plain(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

fn text(text: &str) -> Value {
    MaybeUnset::Set(plain(text))
}

fn uuid(id: &uuid::Uuid) -> Value {
    MaybeUnset::Set(CqlValue::Uuid(*id))
}

fn timestamp(millis: i64) -> Value {
    MaybeUnset::Set(CqlValue::Timestamp(CqlTimestamp(millis)))
}

/// What is missing is left out: written as null, it would be a deletion that every read steps over.
fn maybe(value: Option<CqlValue>) -> Value {
    value.map_or(MaybeUnset::Unset, MaybeUnset::Set)
}

/// One partition's rows, in batches that the database takes.
fn pack(rows: Vec<Bound<'_>>) -> Vec<Vec<Bound<'_>>> {
    let (mut all, mut bytes) = (Vec::<Vec<_>>::new(), 0);
    for row in rows {
        match all.last_mut() {
            Some(last) if bytes + row.bytes <= BATCH_BYTES => {
                bytes += row.bytes;
                last.push(row);
            }
            _ => {
                bytes = row.bytes;
                all.push(vec![row]);
            }
        }
    }
    all
}

async fn send(session: &Session, mut rows: Vec<Bound<'_>>) -> Result<(), StoreError> {
    let sent = if rows.len() == 1 {
        let Some(Bound { statement, values, .. }) = rows.pop() else { return Ok(()) };
        session.execute_unpaged(statement, values).await
    } else {
        let (statements, values): (Vec<BatchStatement>, Vec<_>) =
            rows.into_iter().map(|one| (one.statement.clone().into(), one.values)).unzip();
        // Unlogged: all of it goes to one partition, which takes it whole or not at all.
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        session.batch(&batch, values).await
    };
    sent.map(drop).map_err(|error| match error {
        // It is the values that are wrong, today and always.
        ExecutionError::BadQuery(BadQuery::SerializationError(_)) => {
            StoreError::Failed { operation: OPERATION, source: Box::new(error) }
        }
        _ => super::unavailable(OPERATION, error),
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_is_about_an_event_expires_with_it() {
        let now = datetime!(2026-11-27 12:00:30.500 UTC);
        let day = Duration::from_hours(24);
        let year = 365 * day;
        let hours = |ago: i64| now - time::Duration::hours(ago);
        for (received, retention, expected) in [
            (now, None, Some(0)),
            (now, Some(day), Some(24 * 3_600)),
            (hours(23), Some(day), Some(3_600)),
            (hours(24), Some(day), None),
            (hours(25), Some(day), None),
            // Of a clock that goes ahead.
            (hours(-1), Some(day), Some(25 * 3_600)),
            (now, Some(100 * year), Some(LONGEST)),
        ] {
            let left = ttl(EventId::received(received), retention, now);
            assert_eq!(left, expected, "{received} for {retention:?}");
        }
    }

    #[test]
    fn a_partition_is_a_minute() {
        for (at, expected) in [
            (datetime!(2026-11-27 12:00:30.500 UTC), datetime!(2026-11-27 12:00 UTC)),
            (datetime!(2026-11-27 12:00 UTC), datetime!(2026-11-27 12:00 UTC)),
            (datetime!(2026-11-27 11:59:59.999 UTC), datetime!(2026-11-27 11:59 UTC)),
        ] {
            assert_eq!(minute_of(EventId::received(at)), millis(expected), "{at}");
        }
    }
}
