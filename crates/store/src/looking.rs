//! How a page comes about where a store has to look at each event ([`crate::pieces`]): what is asked
//! for as a range of ids or places, and when a page ends. How rows are come by is the backend's.

use std::ops::Range;

use time::OffsetDateTime;
use time::macros::datetime;
use triggerline_types::{DeliveryId, EventId, millis};

use crate::error::StoreError;
use crate::event::{
    DeadLetter, DeadLetterQuery, Direction, InboxQuery, Page, Position, StoredEvent,
};
use crate::pieces::Pieces;

/// Events or dead letters that one page looks at, at most.
const LOOKS_AT: usize = 1_000;
/// Later than all that is ever written: an instant for every database.
const NEVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);
/// The same for when a delivery was given up (the year 5138): the last with 14 digits.
const LAST_PLACE: i64 = 99_999_999_999_999;

/// The events that a query's list leads to, one after the other, in its order.
pub(crate) trait Walk: Send {
    fn next(
        &mut self,
    ) -> impl Future<Output = Result<Option<(EventId, Pieces)>, StoreError>> + Send;
}

/// What of a walk is asked for, until the page is full or enough was looked at.
pub(crate) async fn page(
    mut walk: impl Walk,
    query: &InboxQuery,
) -> Result<Page<StoredEvent, Position>, StoreError> {
    let (mut items, mut looked_at) = (Vec::new(), 0);
    while let Some((id, pieces)) = walk.next().await? {
        looked_at += 1;
        items.extend(pieces.stored().filter(|stored| pieces.answer(query, stored)));
        if items.len() >= query.limit || looked_at >= LOOKS_AT {
            return Ok(Page { items, next: Some(Position { received_at: id.received_at(), id }) });
        }
    }
    Ok(Page { items, next: None })
}

/// What is asked for, as ids; the upper end is not in it. The ends are UUIDv7 as all ids are: CQL's
/// databases sort by a UUID's version first, which RFC 9562 §6.11 doesn't.
pub(crate) fn ids(query: &InboxQuery) -> Range<u128> {
    let bits = |id: EventId| id.as_uuid().as_u128();
    let first = |at: OffsetDateTime| bits(EventId::first_at(at));
    let (from, to) = (query.from.unwrap_or(OffsetDateTime::UNIX_EPOCH), query.to.unwrap_or(NEVER));
    let mut span = first(from)..first(to);
    if let Some(Position { id, .. }) = query.after {
        match query.direction {
            Direction::NewestFirst => span.end = span.end.min(bits(id)),
            Direction::OldestFirst => span.start = span.start.max(bits(id).saturating_add(1)),
        }
    }
    span
}

/// A dead letter's place, as milliseconds and the bits of its delivery's id.
pub(crate) type Place = (i64, u128);

/// What is asked for: from an instant and an id to others, which are not in it. The least id is a
/// UUID of version 0, which sorts before every delivery's.
pub(crate) fn places(query: &DeadLetterQuery) -> Range<Place> {
    let at = |at| millis(at).clamp(0, LAST_PLACE);
    let mut span = (query.from.map_or(0, at), 0)..(query.to.map_or(LAST_PLACE, at), 0);
    if let Some((when, id)) = query.after {
        let place = (at(when), id.as_uuid().as_u128());
        match query.direction {
            Direction::NewestFirst => span.end = span.end.min(place),
            Direction::OldestFirst => {
                span.start = span.start.max((place.0, place.1.saturating_add(1)));
            }
        }
    }
    span
}

/// A page of dead letters while entries are held against their events.
pub(crate) struct Letters<'a> {
    query: &'a DeadLetterQuery,
    pub(crate) items: Vec<DeadLetter>,
    looked_at: usize,
}

impl<'a> Letters<'a> {
    pub(crate) fn new(query: &'a DeadLetterQuery) -> Self {
        Self { query, items: Vec::new(), looked_at: 0 }
    }

    /// Takes what was given up at `at`, if it is a dead letter still and asked for. The place where
    /// the page ends, if it does.
    pub(crate) fn take(
        &mut self,
        at: OffsetDateTime,
        delivery: DeliveryId,
        pieces: &Pieces,
    ) -> Option<(OffsetDateTime, DeliveryId)> {
        let DeadLetterQuery { event_type, subscription_id, limit, .. } = self.query;
        let is_asked = |letter: &DeadLetter| {
            event_type.as_ref().is_none_or(|one| *one == letter.event_type)
                && subscription_id.is_none_or(|one| one == letter.delivery.subscription_id)
        };
        self.looked_at += 1;
        self.items.extend(pieces.dead_letter(delivery, at).filter(is_asked));
        let ends = self.items.len() >= *limit || self.looked_at >= LOOKS_AT;
        ends.then_some((at, delivery))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_range_of_time_is_a_range_of_ids() {
        let at = datetime!(2026-11-27 12:00 UTC);
        let bits = |id: EventId| id.as_uuid().as_u128();
        let id = EventId::received(at);
        let after = Some(Position { received_at: at, id });
        let all = ids(&InboxQuery::default());
        assert!(all.contains(&bits(id)));
        for end in [all.start, all.end] {
            assert_eq!(Uuid::from_u128(end).get_version_num(), 7);
        }
        let up = || InboxQuery { direction: Direction::OldestFirst, ..InboxQuery::default() };
        for (query, has) in [
            (InboxQuery { from: Some(at), ..up() }, true),
            (InboxQuery { to: Some(at), ..up() }, false),
            (InboxQuery { after, ..up() }, false),
            (InboxQuery { after, ..InboxQuery::default() }, false),
        ] {
            assert_eq!(ids(&query).contains(&bits(id)), has, "{query:?}");
        }
        assert!(ids(&InboxQuery { after, ..up() }).contains(&(bits(id) + 1)));
        assert!(ids(&InboxQuery { after, ..InboxQuery::default() }).contains(&(bits(id) - 1)));
    }

    #[test]
    fn a_range_of_time_is_a_range_of_places() {
        let at = datetime!(2026-11-27 12:00 UTC);
        let id = DeliveryId::from_uuid(Uuid::from_u128(7));
        let place = (millis(at), 7);
        let after = Some((at, id));
        let up = || DeadLetterQuery { direction: Direction::OldestFirst, ..Default::default() };
        for (query, has) in [
            (up(), true),
            (DeadLetterQuery { from: Some(at), ..up() }, true),
            (DeadLetterQuery { to: Some(at), ..up() }, false),
            (DeadLetterQuery { to: Some(NEVER), ..up() }, true),
            (DeadLetterQuery { after, ..up() }, false),
            (DeadLetterQuery { after, ..DeadLetterQuery::default() }, false),
        ] {
            assert_eq!(places(&query).contains(&place), has, "{query:?}");
        }
    }
}
