//! A customer's inbox, read from the store for either door: a page at a time, one event, its
//! deliveries. How they are asked for and shown is the door's.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use triggerline_store::{Direction, InboxQuery, Page, Position, StoredDelivery, StoredEvent};
use triggerline_types::{CustomerId, EventId, EventStatus, EventType, millis};

use crate::Shared;
use crate::problem::{Kind, Problem};

pub(crate) const DEFAULT_LIMIT: usize = 50;
pub(crate) const MAX_LIMIT: usize = 200;

/// Events that are read at once.
const READ_AT_ONCE: usize = 32;
/// For how long one page is looked for, where few of many rows are wanted: what was found until
/// then is told, and the next page goes on.
const READING: Duration = Duration::from_secs(1);

/// A page of events.
pub(crate) struct Listed {
    pub(crate) events: Vec<StoredEvent>,
    /// The cursor of the next page, where there is one.
    pub(crate) next: Option<String>,
}

/// A page that ends at the query's limit, or at about `room` bytes. What was received before
/// `kept_since` is left out.
pub(crate) async fn list(
    shared: &Shared,
    customer: CustomerId,
    kept_since: Option<OffsetDateTime>,
    mut query: InboxQuery,
    room: usize,
) -> Result<Listed, Problem> {
    // Before it is changed: the next page is asked for in the same words.
    let name = named(&query);
    query.from = query.from.max(kept_since);
    let mut page = Filling::new(query.limit, room);
    loop {
        query.limit = page.asks();
        let found = shared.events.inbox(customer, &query).await?;
        if page.take(found, size, StoredEvent::position) {
            break;
        }
        query.after = page.next;
    }
    let next = page.next.map(|at| shared.cursors.write(at, customer, &name));
    Ok(Listed { events: page.items, next })
}

/// Where the page ended whose cursor this is. `None` if it is another query's, or nobody's.
pub(crate) fn place(
    shared: &Shared,
    customer: CustomerId,
    query: &InboxQuery,
    cursor: &str,
) -> Option<Position> {
    shared.cursors.read(cursor, customer, &named(query))
}

/// What tells a query's pages from another's, in whatever words it was asked.
fn named(query: &InboxQuery) -> String {
    let InboxQuery { direction, from, to, event_type, status, workflow_id, after: _, limit: _ } =
        query;
    let up = *direction == Direction::OldestFirst;
    let (from, to) = (from.map(millis), to.map(millis));
    let event_type = event_type.as_ref().map(EventType::as_str);
    let status = status.map(EventStatus::as_str);
    format!("{up}{from:?}{to:?}{event_type:?}{status:?}{workflow_id:?}")
}

pub(crate) async fn event(
    shared: &Shared,
    customer: CustomerId,
    id: EventId,
) -> Result<StoredEvent, Problem> {
    shared.events.event(customer, id).await?.ok_or_else(|| {
        let detail =
            "There is no such event, or it was accepted a moment ago and is not stored yet.";
        Problem::new(Kind::NotFound, detail)
    })
}

pub(crate) async fn deliveries(
    shared: &Shared,
    customer: CustomerId,
    id: EventId,
) -> Result<Vec<StoredDelivery>, Problem> {
    event(shared, customer, id).await?;
    Ok(shared.events.deliveries(customer, id).await?)
}

/// A page while it is read, some items at a time, so that no more is in memory than it may hold.
pub(crate) struct Filling<T, P> {
    limit: usize,
    /// Bytes, at most.
    room: usize,
    until: Instant,
    pub(crate) items: Vec<T>,
    bytes: usize,
    /// Where to go on, where there may be something after what was taken.
    pub(crate) next: Option<P>,
}

impl<T, P> Filling<T, P> {
    pub(crate) fn new(limit: usize, room: usize) -> Self {
        let until = Instant::now() + READING;
        Self { limit, room, until, items: Vec::new(), bytes: 0, next: None }
    }

    /// How many to read next: one more than the page takes tells whether there is another page.
    pub(crate) fn asks(&self) -> usize {
        (self.limit + 1 - self.items.len()).min(READ_AT_ONCE)
    }

    /// Takes what was read when it asked. Whether the page is complete: it has at least one item,
    /// where there is any to be found in its time.
    pub(crate) fn take(
        &mut self,
        found: Page<T, P>,
        size: impl Fn(&T) -> usize,
        place: impl Fn(&T) -> P,
    ) -> bool {
        for item in found.items {
            let bytes = self.bytes + size(&item);
            let full = bytes > self.room && !self.items.is_empty();
            if full || self.items.len() == self.limit {
                self.next = self.items.last().map(place);
                return true;
            }
            self.bytes = bytes;
            self.items.push(item);
        }
        self.next = found.next;
        self.next.is_none() || Instant::now() >= self.until
    }
}

/// About what an event takes in an answer.
fn size(stored: &StoredEvent) -> usize {
    let event = &stored.event;
    let extensions = event.extensions.iter().map(|(name, value)| name.len() + value.len());
    event.payload.len() + event.source.len() + extensions.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    const ROOM: usize = 8 << 20;

    /// Pages of a list of sizes: how many items each has, and how many were read for it.
    fn pages(sizes: &[usize], limit: usize) -> Vec<(usize, usize)> {
        let (mut pages, mut at) = (Vec::new(), 0);
        loop {
            let (mut page, mut read) = (Filling::new(limit, ROOM), 0);
            let mut from = at;
            loop {
                let to = sizes.len().min(from + page.asks());
                read += to - from;
                // Each is its size and, to go on after it, its number.
                let found = sizes.iter().copied().zip(1..).skip(from).take(to - from).collect();
                let found = Page::full(found, page.asks(), |(_, number)| *number);
                if page.take(found, |(size, _)| *size, |(_, number)| *number) {
                    break;
                }
                from = page.next.unwrap();
            }
            pages.push((page.items.len(), read));
            at += page.items.len();
            if let Some(next) = page.next {
                assert_eq!(next, at, "the next page goes on there");
            } else {
                assert_eq!(at, sizes.len(), "nothing is left out");
                return pages;
            }
        }
    }

    #[test]
    fn a_page_ends_at_its_limit_or_when_it_is_large() {
        let mega = 1_000_000;
        for (sizes, limit, expected) in [
            (vec![], 50, vec![(0, 0)]),
            (vec![1], 1, vec![(1, 1)]),
            (vec![1; 2], 1, vec![(1, 2), (1, 1)]),
            (vec![1; 32], 32, vec![(32, 32)]),
            (vec![1; 33], 32, vec![(32, 33), (1, 1)]),
            (vec![1; 200], 200, vec![(200, 200)]),
            (vec![1; 450], 200, vec![(200, 201), (200, 201), (50, 50)]),
            (vec![mega; 20], 50, vec![(8, 20), (8, 12), (4, 4)]),
            (vec![mega; 100], 4, vec![(4, 5); 24].into_iter().chain([(4, 4)]).collect()),
            // 40 small ones, then large ones: no more is read than at once.
            ([vec![1; 40], vec![mega; 60]].concat(), 200, {
                let mut all = vec![(48, 64)];
                all.extend([(8, 32); 3].iter().chain(&[(8, 28), (8, 20), (8, 12), (4, 4)]));
                all
            }),
            // Whatever its size, one is shown.
            (vec![ROOM + 1, 1, ROOM, 1], 9, vec![(1, 4), (1, 3), (1, 2), (1, 1)]),
        ] {
            assert_eq!(pages(&sizes, limit), expected, "{limit} of {} events", sizes.len());
        }
    }

    #[test]
    fn what_a_store_stopped_looking_for_is_looked_for_again() {
        let mut page = Filling::new(2, ROOM);
        let mut take = |items: &[usize], next| {
            page.take(Page { items: items.to_vec(), next }, |_| 1, |number| *number)
        };
        assert!(!take(&[], Some(10)));
        assert!(!take(&[12], Some(20)));
        assert!(take(&[], None));
        assert_eq!((page.items.as_slice(), page.next), ([12].as_slice(), None));
        // Not for ever: what there is by then is told, and where to go on.
        let mut late = Filling { until: Instant::now(), ..Filling::new(2, ROOM) };
        assert!(late.take(Page { items: vec![12], next: Some(20) }, |_| 1, |number| *number));
        assert_eq!((late.items, late.next), (vec![12], Some(20)));
    }

    #[test]
    fn queries_are_told_apart_and_pages_of_one_are_not() {
        let instant = |text| Some(parse_instant(text).unwrap());
        let query = InboxQuery {
            from: instant("2026-11-23T12:00:00Z"),
            event_type: Some(EventType::parse("a".to_owned()).unwrap()),
            ..InboxQuery::default()
        };
        let at = Position { received_at: query.from.unwrap(), id: EventId::new() };
        for same in [
            InboxQuery { limit: 3, ..query.clone() },
            InboxQuery { after: Some(at), ..query.clone() },
            InboxQuery { from: instant("2026-11-23T13:00:00.000+01:00"), ..query.clone() },
        ] {
            assert_eq!(named(&same), named(&query));
        }
        for other in [
            InboxQuery { from: None, to: query.from, ..query.clone() },
            InboxQuery { to: query.from, ..query.clone() },
            InboxQuery { direction: Direction::OldestFirst, ..query.clone() },
            InboxQuery { event_type: None, ..query.clone() },
            InboxQuery { event_type: None, workflow_id: Some("a".to_owned()), ..query.clone() },
            InboxQuery { status: Some(EventStatus::Failed), ..query.clone() },
            InboxQuery { workflow_id: Some("w".to_owned()), ..query.clone() },
        ] {
            assert_ne!(named(&other), named(&query));
        }
    }
}
