//! A page of the dead letters: entries by when they were made, each held against its event.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use time::OffsetDateTime;
use triggerline_types::{CustomerId, DeliveryId, EventId, from_millis};
use uuid::Uuid;

use super::Ready;
use super::item::{Item, Shelf};
use super::read::{Asked, Payloads, has_expired, take_id};
use super::walk::AT_ONCE;
use crate::error::StoreError;
use crate::event::{DeadLetter, DeadLetterQuery, Direction, Page};
use crate::looking::{Letters, places};

/// Entries that are asked for at once, at least.
const FEW: usize = 8;

type Place = (OffsetDateTime, DeliveryId);

/// One that was given up at this instant, and may have been handed over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: i64,
    delivery: DeliveryId,
    event: EventId,
}

pub(super) async fn page(
    ready: Ready<'_>,
    customer: CustomerId,
    query: &DeadLetterQuery,
) -> Result<Page<DeadLetter, Place>, StoreError> {
    let mut search = Search { ready, customer, query, letters: Letters::new(query) };
    let next = search.walk().await?;
    Ok(Page { items: search.letters.items, next })
}

struct Search<'a> {
    ready: Ready<'a>,
    customer: CustomerId,
    query: &'a DeadLetterQuery,
    letters: Letters<'a>,
}

impl Search<'_> {
    /// The place where the page ends, if there may be more after it.
    async fn walk(&mut self) -> Result<Option<Place>, StoreError> {
        let list = match (self.query.delivery_id, self.query.subscription_id) {
            (Some(delivery), _) => Shelf::Delivery(delivery),
            (None, Some(subscription)) => Shelf::DeadOf(subscription),
            (None, None) => Shelf::Dead,
        };
        let span = places(self.query);
        if span.start >= span.end {
            return Ok(None);
        }
        let name = |(at, id)| list.at(at, DeliveryId::from_uuid(Uuid::from_u128(id)));
        let asked = Asked {
            customer: self.customer,
            span: (name(span.start), name(span.end)),
            down: self.query.direction == Direction::NewestFirst,
            payloads: Payloads::Left,
        };
        let limit = i32::try_from(self.query.limit.clamp(FEW, AT_ONCE)).ok();
        let mut start = None;
        loop {
            let (items, rest) = self.ready.query(&asked, limit, start).await?;
            let now = self.ready.now;
            let items = items.into_iter().filter(|(_, item)| !has_expired(item, now));
            let entries = items.filter_map(|(name, item)| entry(&list, &name, item));
            let is_asked = |one: &Entry| span.contains(&(one.at, one.delivery.as_uuid().as_u128()));
            let end = self.look_at(entries.filter(is_asked).collect()).await?;
            if end.is_some() || rest.is_none() {
                return Ok(end);
            }
            start = rest;
        }
    }

    /// The place where the page ends, if it does among these.
    async fn look_at(&mut self, entries: Vec<Entry>) -> Result<Option<Place>, StoreError> {
        let (ready, customer) = (self.ready, self.customer);
        let looked_up = entries.iter().map(|one| ready.pieces(customer, one.event, Payloads::Left));
        let looked_up: Vec<_> =
            stream::iter(looked_up.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        for (Entry { at, delivery, .. }, pieces) in entries.into_iter().zip(looked_up) {
            let Some(at) = from_millis(at) else { continue };
            let end = self.letters.take(at, delivery, &pieces);
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }
}

/// `None`: not one of this shelf.
fn entry(shelf: &Shelf, name: &str, mut item: Item) -> Option<Entry> {
    let name = name.strip_prefix(&shelf.prefix())?;
    let (at, delivery) = match shelf {
        Shelf::Delivery(delivery) => (name, *delivery),
        _ => name.split_once('#').and_then(|(at, id)| Some((at, id.parse().ok()?)))?,
    };
    Some(Entry { at: at.parse().ok()?, delivery, event: take_id(&mut item, "event")? })
}

#[cfg(test)]
mod tests {
    use super::super::item::text;
    use super::*;

    #[test]
    fn an_entry_is_read_from_its_name() {
        let (delivery, event) = (DeliveryId::from_uuid(Uuid::from_u128(7)), EventId::new());
        let item = Item::from([("event".to_owned(), text(&event.to_string()))]);
        for shelf in [
            Shelf::Dead,
            Shelf::DeadOf(triggerline_types::SubscriptionId::new()),
            Shelf::Delivery(delivery),
        ] {
            let name = shelf.at(1_795_790_000_123, delivery);
            let read = entry(&shelf, &name, item.clone());
            assert_eq!(read, Some(Entry { at: 1_795_790_000_123, delivery, event }), "{name}");
            assert_eq!(entry(&shelf, "~dead#x", item.clone()), None);
            assert_eq!(entry(&shelf, &name, Item::new()), None);
        }
    }
}
