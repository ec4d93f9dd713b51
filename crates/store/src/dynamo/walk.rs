//! A page of the inbox: the events one after the other, or those that a list leads to.

use std::collections::VecDeque;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use triggerline_types::{CustomerId, EventId};
use uuid::Uuid;

use super::Ready;
use super::item::{Item, Shelf, piece_of};
use super::read::{Asked, Gathered, Payloads, has_expired, unreadable};
use crate::error::StoreError;
use crate::event::{Direction, InboxQuery};
use crate::looking::{self, ids};
use crate::pieces::{List, Pieces};

/// An event has three items or more.
const ITEMS_OF_AN_EVENT: usize = 3;
/// Items that are asked for at once: what is read beyond the page is paid for, and what it costs to
/// ask is time. DynamoDB ends an answer at 1 MB in any case.
const FEW: usize = 8;
const MANY: usize = 2_000;
/// Events of a list that are asked for at once.
pub(super) const AT_ONCE: usize = 32;

pub(super) struct Walk<'a> {
    ready: Ready<'a>,
    shelf: Shelf,
    asked: Asked,
    /// How many items to ask for: more and more, as long as little is found.
    items: usize,
    found: VecDeque<(EventId, Pieces)>,
    /// An event whose last items may be in the next answer.
    open: Option<(EventId, Gathered)>,
    /// Where to ask next; nowhere at the end.
    next: Next,
}

enum Next {
    Start,
    After(Item),
    End,
}

impl looking::Walk for Walk<'_> {
    async fn next(&mut self) -> Result<Option<(EventId, Pieces)>, StoreError> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            let start = match std::mem::replace(&mut self.next, Next::End) {
                Next::Start => None,
                Next::After(key) => Some(key),
                Next::End => return Ok(None),
            };
            self.read_on(start).await?;
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(ready: Ready<'a>, customer: CustomerId, query: &InboxQuery) -> Self {
        let shelf = List::for_query(query).map_or(Shelf::Events, Shelf::Listed);
        let span = ids(query);
        let id = |bits| EventId::from_uuid(Uuid::from_u128(bits));
        let is_empty = span.start >= span.end;
        let asked = Asked {
            customer,
            span: shelf.span(id(span.start), id(span.end.saturating_sub(1))),
            down: query.direction == Direction::NewestFirst,
            payloads: Payloads::Read,
        };
        let each = if shelf == Shelf::Events { ITEMS_OF_AN_EVENT } else { 1 };
        Self {
            ready,
            shelf,
            asked,
            items: (query.limit * each).clamp(FEW, MANY),
            found: VecDeque::new(),
            open: None,
            next: if is_empty { Next::End } else { Next::Start },
        }
    }

    async fn read_on(&mut self, start: Option<Item>) -> Result<(), StoreError> {
        let most = if self.shelf == Shelf::Events { MANY } else { AT_ONCE };
        let limit = i32::try_from(self.items.min(most)).ok();
        self.items = (self.items * 2).min(MANY);
        let (items, rest) = self.ready.query(&self.asked, limit, start).await?;
        if self.shelf == Shelf::Events {
            self.gather(items)?;
        } else {
            self.look_up(items).await?;
        }
        match rest {
            Some(key) => self.next = Next::After(key),
            None => self.close(),
        }
        Ok(())
    }

    fn gather(&mut self, items: Vec<(String, Item)>) -> Result<(), StoreError> {
        for (name, item) in items {
            let Some((id, piece)) = piece_of(&name) else { continue };
            if self.open.as_ref().is_some_and(|(open, _)| *open != id) {
                self.close();
            }
            let (_, gathered) = self.open.get_or_insert_with(|| (id, Gathered::default()));
            if !has_expired(&item, self.ready.now) {
                let added = gathered.add(self.asked.customer, id, piece, item);
                added.map_err(|what| unreadable(&what))?;
            }
        }
        Ok(())
    }

    /// No more items of the open event will come.
    fn close(&mut self) {
        self.found.extend(self.open.take().map(|(id, gathered)| (id, gathered.finish())));
    }

    async fn look_up(&mut self, items: Vec<(String, Item)>) -> Result<(), StoreError> {
        let (ready, customer) = (self.ready, self.asked.customer);
        let prefix = self.shelf.prefix();
        // What begins as ours and is longer is of a list whose name begins with ours.
        let ids = items.iter().filter_map(|(name, item)| {
            let id = name.strip_prefix(&prefix)?.parse::<EventId>().ok()?;
            (!has_expired(item, ready.now)).then_some(id)
        });
        let looked_up = ids.map(|id| async move {
            Ok::<_, StoreError>((id, ready.pieces(customer, id, Payloads::Read).await?))
        });
        let looked_up: Vec<_> =
            stream::iter(looked_up.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        self.found.extend(looked_up);
        Ok(())
    }
}
