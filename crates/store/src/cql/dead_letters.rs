//! A page of the dead letters: entries by when they were made, each held against its event.

use std::ops::Range;

use futures::future::try_join_all;
use scylla::value::CqlTimestamp;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, DeliveryId, EventId, SubscriptionId, from_millis};
use uuid::Uuid;

use super::Ready;
use super::write::minute;
use crate::error::StoreError;
use crate::event::{DeadLetter, DeadLetterQuery, Direction, Page};
use crate::looking::{self, Letters, places};

/// Entries that are looked at at once.
const AT_ONCE: i32 = 64;

type Place = (OffsetDateTime, DeliveryId);

/// The name of a list of `dead_letters` and of its `minutes`.
pub(super) fn list(subscription: Option<SubscriptionId>) -> String {
    subscription.map_or_else(|| "dead".to_owned(), |id| format!("dead {id}"))
}

/// One that was given up at this instant, and may have been handed over again.
type Entry = (CqlTimestamp, Uuid, Uuid);

pub(super) async fn page(
    ready: &Ready<'_>,
    customer: CustomerId,
    query: &DeadLetterQuery,
) -> Result<Page<DeadLetter, Place>, StoreError> {
    let mut search = Search { ready, customer, query, letters: Letters::new(query) };
    if let Some(id) = query.delivery_id {
        let key = (customer.as_uuid(), id.as_uuid());
        let entries: Vec<Entry> = ready.rows(&ready.statements.dead_of, key).await?;
        let span = places(query);
        let asked = entries.into_iter().filter(|(at, id, _)| span.contains(&(at.0, id.as_u128())));
        search.look_at(asked.collect()).await?;
        return Ok(Page { items: search.letters.items, next: None });
    }
    search.walk().await
}

struct Search<'a> {
    ready: &'a Ready<'a>,
    customer: CustomerId,
    query: &'a DeadLetterQuery,
    letters: Letters<'a>,
}

impl Search<'_> {
    async fn walk(mut self) -> Result<Page<DeadLetter, Place>, StoreError> {
        let name = list(self.query.subscription_id);
        let down = self.query.direction == Direction::NewestFirst;
        let mut span = places(self.query);
        while span.start < span.end {
            // The end is not in the span.
            let last = if span.end.1 == 0 { span.end.0 - 1 } else { span.end.0 };
            let ends = (minute(span.start.0), minute(last));
            let minutes = self.ready.minutes(self.customer, &name, ends, down).await?;
            let Some(last) = minutes.last().copied() else { break };
            for minute in minutes {
                if let Some(next) = self.minute(&name, minute, span.clone(), down).await? {
                    return Ok(Page { items: self.letters.items, next: Some(next) });
                }
            }
            span = if down { span.start..(last, 0) } else { (last + 60_000, 0)..span.end };
        }
        Ok(Page { items: self.letters.items, next: None })
    }

    /// Looks at the entries of a minute. The place where the page ends, if it does.
    async fn minute(
        &mut self,
        name: &str,
        minute: i64,
        mut span: Range<looking::Place>,
        down: bool,
    ) -> Result<Option<Place>, StoreError> {
        let statements = self.ready.statements;
        let statement = if down { &statements.dead_down } else { &statements.dead_up };
        loop {
            let ((from, first), (to, last)) = (span.start, span.end);
            let key = (self.customer.as_uuid(), name, CqlTimestamp(minute));
            let ids = [first, last].map(Uuid::from_u128);
            let (from, to) = (CqlTimestamp(from), CqlTimestamp(to));
            let values = (key.0, key.1, key.2, from, ids[0], to, ids[1], AT_ONCE);
            let entries: Vec<Entry> = self.ready.rows(statement, values).await?;
            let Some((at, id, _)) = entries.last().copied() else { return Ok(None) };
            let is_last = entries.len() < AT_ONCE as usize;
            if let Some(next) = self.look_at(entries).await? {
                return Ok(Some(next));
            }
            if is_last {
                return Ok(None);
            }
            let here = (at.0, id.as_u128());
            span = if down { span.start..here } else { (here.0, here.1 + 1)..span.end };
        }
    }

    /// The place where the page ends, if it does among these.
    async fn look_at(&mut self, entries: Vec<Entry>) -> Result<Option<Place>, StoreError> {
        let events = entries.iter().map(|(_, _, event)| EventId::from_uuid(*event));
        let pieces = events.map(|event| self.ready.pieces(self.customer, event));
        let pieces = try_join_all(pieces).await?;
        for ((at, id, _), pieces) in entries.into_iter().zip(pieces) {
            let at = from_millis(at.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let end = self.letters.take(at, DeliveryId::from_uuid(id), &pieces);
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }
}
