//! A page of the inbox: the minutes of a list, one after the other, and the events in them.

use std::collections::VecDeque;
use std::ops::Range;

use futures::future::try_join_all;
use scylla::value::CqlTimestamp;
use triggerline_types::{CustomerId, EventId};
use uuid::Uuid;

use super::Ready;
use super::read::{Read, unreadable};
use super::write::minute_of;
use crate::error::StoreError;
use crate::event::{Direction, InboxQuery};
use crate::looking::{self, ids};
use crate::pieces::{List, Pieces};

/// Minutes that are asked for at once, at most: where there is little in each.
const MINUTES_AT_ONCE: usize = 16;
/// Rows of `minutes` that are read at once.
const LEADS: i32 = 256;
/// An event has three pieces or more.
const ROWS_OF_AN_EVENT: usize = 4;
/// Rows that are read at once, at least: what it costs to ask is more.
const FEW_ROWS: usize = 64;

/// What is asked for, as ids; the upper end is not in it.
type Span = Range<u128>;

/// An event, and what is known of it.
type Found = (EventId, Pieces);

pub(super) struct Walk<'a> {
    ready: &'a Ready<'a>,
    customer: CustomerId,
    /// `None`: the events themselves.
    list: Option<List>,
    down: bool,
    span: Span,
    /// Rows to read of a minute at once.
    rows: usize,
    found: VecDeque<Found>,
    /// What is left of the minute that was read last.
    rest: Option<(i64, Span)>,
    minutes: VecDeque<i64>,
    /// Where the minutes that have not been asked for are; none when there are no more.
    further: Option<(i64, i64)>,
    /// How many minutes to read at once: more and more, as long as little is found.
    ahead: usize,
}

impl looking::Walk for Walk<'_> {
    async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if !self.read_on().await? {
                return Ok(None);
            }
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(ready: &'a Ready<'a>, customer: CustomerId, query: &InboxQuery) -> Self {
        let span = ids(query);
        let minute = |bits| minute_of(EventId::from_uuid(Uuid::from_u128(bits)));
        let further = (span.start < span.end).then(|| (minute(span.start), minute(span.end - 1)));
        Self {
            ready,
            customer,
            list: List::for_query(query),
            down: query.direction == Direction::NewestFirst,
            span,
            rows: (query.limit * ROWS_OF_AN_EVENT).max(FEW_ROWS),
            found: VecDeque::new(),
            rest: None,
            minutes: VecDeque::new(),
            further,
            ahead: 1,
        }
    }

    /// Whether there was anything left to read.
    async fn read_on(&mut self) -> Result<bool, StoreError> {
        if let Some((minute, span)) = self.rest.take() {
            let (found, rest) = self.read(minute, span).await?;
            self.found.extend(found);
            self.rest = rest.map(|span| (minute, span));
            return Ok(true);
        }
        if self.minutes.is_empty() && !self.find_minutes().await? {
            return Ok(false);
        }
        let some: Vec<i64> = self.minutes.iter().copied().take(self.ahead).collect();
        self.ahead = (self.ahead * 2).min(MINUTES_AT_ONCE);
        let read = some.iter().map(|minute| self.read(*minute, self.span.clone()));
        for (minute, (found, rest)) in some.iter().zip(try_join_all(read).await?) {
            self.found.extend(found);
            self.minutes.pop_front();
            if let Some(span) = rest {
                // The minutes after it are read when their turn has come.
                self.rest = Some((*minute, span));
                self.ahead = 1;
                break;
            }
        }
        Ok(true)
    }

    async fn find_minutes(&mut self) -> Result<bool, StoreError> {
        let Some((first, last)) = self.further else { return Ok(false) };
        let name = self.list.as_ref().map(List::name).unwrap_or_default();
        let found = self.ready.minutes(self.customer, &name, (first, last), self.down).await?;
        self.further = found.last().filter(|_| found.len() == LEADS as usize).and_then(|minute| {
            let left = if self.down { (first, minute - 1) } else { (minute + 1, last) };
            (left.0 <= left.1).then_some(left)
        });
        self.minutes.extend(found);
        Ok(!self.minutes.is_empty())
    }

    /// Some events of a minute, and where there may be more of it.
    async fn read(
        &self,
        minute: i64,
        span: Span,
    ) -> Result<(Vec<Found>, Option<Span>), StoreError> {
        let statements = self.ready.statements;
        let (customer, at) = (self.customer.as_uuid(), CqlTimestamp(minute));
        let ends = [span.start, span.end].map(Uuid::from_u128);
        let limit = i32::try_from(self.rows).unwrap_or(i32::MAX);
        if let Some(list) = &self.list {
            let statement =
                if self.down { &statements.entries_down } else { &statements.entries_up };
            let limit = limit / i32::try_from(ROWS_OF_AN_EVENT).unwrap_or(1);
            let values = (customer, at, list.name(), ends[0], ends[1], limit);
            let ids: Vec<(Uuid,)> = self.ready.rows(statement, values).await?;
            let ids: Vec<_> = ids.into_iter().map(|(id,)| EventId::from_uuid(id)).collect();
            let is_cut = ids.len() == usize::try_from(limit).unwrap_or(usize::MAX);
            let rest =
                ids.last().filter(|_| is_cut).and_then(|last| after(&span, *last, self.down));
            let pieces = ids.iter().map(|id| self.ready.pieces(self.customer, *id));
            let pieces = try_join_all(pieces).await?;
            return Ok((ids.into_iter().zip(pieces).collect(), rest));
        }
        let statement = if self.down { &statements.pieces_down } else { &statements.pieces_up };
        let values = (customer, at, ends[0], ends[1], limit);
        let rows: Vec<Read> = self.ready.rows(statement, values).await?;
        let is_cut = rows.len() == self.rows;
        let mut found: Vec<Found> = Vec::new();
        for row in rows {
            let id = EventId::from_uuid(row.event_id);
            if found.last().is_none_or(|(last, _)| *last != id) {
                found.push((id, Pieces::default()));
            }
            if let Some((_, pieces)) = found.last_mut() {
                row.add_to(pieces, self.customer).map_err(|what| unreadable(&what))?;
            }
        }
        if !is_cut {
            return Ok((found, None));
        }
        // The last one may have been cut in two: it is read again with what comes after it. One that
        // fills all of it is read by itself.
        if found.len() > 1 {
            found.pop();
        } else if let Some((id, pieces)) = found.last_mut() {
            *pieces = self.ready.pieces(self.customer, *id).await?;
        }
        let rest = found.last().and_then(|(last, _)| after(&span, *last, self.down));
        Ok((found, rest))
    }
}

impl Ready<'_> {
    /// Some of the minutes in which a list has something, in order.
    pub(super) async fn minutes(
        &self,
        customer: CustomerId,
        name: &str,
        (first, last): (i64, i64),
        down: bool,
    ) -> Result<Vec<i64>, StoreError> {
        let statements = self.statements;
        let statement = if down { &statements.minutes_down } else { &statements.minutes_up };
        let ends = [first, last].map(CqlTimestamp);
        let values = (customer.as_uuid(), name, ends[0], ends[1], LEADS);
        let found: Vec<(CqlTimestamp,)> = self.rows(statement, values).await?;
        Ok(found.into_iter().map(|(minute,)| minute.0).collect())
    }
}

/// What is left of a span after an event.
fn after(span: &Span, last: EventId, down: bool) -> Option<Span> {
    let last = last.as_uuid().as_u128();
    let rest = if down { span.start..last } else { last + 1..span.end };
    (rest.start < rest.end).then_some(rest)
}
