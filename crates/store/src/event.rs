use async_trait::async_trait;
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, DeliveryState, Event, EventId, EventStatus, EventType, Fact,
    SubscriptionId,
};

use crate::{Retention, StoreError};

/// What happened: events, the deliveries they are owed, and the attempts at these.
///
/// No method ever reads or changes another customer's rows.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Brings the schema up to this version; harmless when it is there already.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Takes in facts. On `Ok` all of them are durable and visible; on `Err` any part of
    /// them may be.
    ///
    /// Idempotent and commutative: applying the same facts again, in another order or cut
    /// into other batches leaves the same rows, because `events` and `attempts` are read
    /// independently of each other, and each at least once. In particular an attempt or a
    /// summary may come before its event; then the event is not in the inbox until it comes.
    ///
    /// They are kept for as long as `retention` says. Where the database removes them by itself, what
    /// was said when they were written counts.
    async fn apply(&self, facts: &[Fact], retention: &Retention) -> Result<(), StoreError>;

    /// Removes some of what has been kept for longer than `retention` says, where the database doesn't
    /// do so by itself. Whether there may be more.
    async fn expire(&self, _retention: &Retention) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Removes everything that is the customer's, for good, and says how many events that were. What
    /// is written meanwhile may stay; called again, it removes that too.
    async fn erase(&self, customer: CustomerId) -> Result<u64, StoreError>;

    async fn event(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Option<StoredEvent>, StoreError>;

    /// The event's deliveries by subscription id, each with its attempts by start; empty
    /// where there is no such event.
    async fn deliveries(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Vec<StoredDelivery>, StoreError>;

    /// One page of the customer's inbox, ordered by `(received_at, id)`, at most
    /// `query.limit` long. Going on after [`Page::next`] neither skips nor repeats what was
    /// there when the first page was read, and costs the same on any page.
    async fn inbox(
        &self,
        customer: CustomerId,
        query: &InboxQuery,
    ) -> Result<Page<StoredEvent, Position>, StoreError>;

    /// One page of the customer's deliveries that were given up, ordered by `(at, delivery id)`;
    /// paged as the inbox is. One whose event has not come yet is not among them.
    async fn dead_letters(
        &self,
        customer: CustomerId,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter, (OffsetDateTime, DeliveryId)>, StoreError>;
}

/// Part of a list, in the order that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P> {
    pub items: Vec<T>,
    /// Where to go on. `None`: there is nothing more.
    ///
    /// A page may be shorter than its limit, even empty, and have more after it: where few of
    /// many rows are wanted and no index leads to them, a store stops looking after a while, so
    /// that no call takes for ever.
    pub next: Option<P>,
}

impl<T, P> Page<T, P> {
    /// Of a store that looks for as long as it takes: a full page may have more after it.
    pub fn full(items: Vec<T>, limit: usize, place: impl Fn(&T) -> P) -> Self {
        let next = if items.len() < limit { None } else { items.last().map(place) };
        Self { items, next }
    }
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub event_id: EventId,
    pub event_type: EventType,
    pub received_at: OffsetDateTime,
    /// When its last attempt began.
    pub at: OffsetDateTime,
    pub delivery: StoredDelivery,
}

impl DeadLetter {
    /// Its place in the order of dead letters.
    pub fn place(&self) -> (OffsetDateTime, DeliveryId) {
        (self.at, self.delivery.id)
    }
}

/// Which dead letters, in which order. All filters that are given must hold.
#[derive(Clone, Debug)]
pub struct DeadLetterQuery {
    pub direction: Direction,
    pub subscription_id: Option<SubscriptionId>,
    pub delivery_id: Option<DeliveryId>,
    pub event_type: Option<EventType>,
    /// Given up at this instant or later.
    pub from: Option<OffsetDateTime>,
    /// Given up before this instant.
    pub to: Option<OffsetDateTime>,
    /// Only what comes after this place, in the query's direction.
    pub after: Option<(OffsetDateTime, DeliveryId)>,
    pub limit: usize,
}

impl Default for DeadLetterQuery {
    fn default() -> Self {
        Self {
            direction: Direction::NewestFirst,
            subscription_id: None,
            delivery_id: None,
            event_type: None,
            from: None,
            to: None,
            after: None,
            limit: 50,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub event: Event,
    pub status: EventStatus,
    /// Deliveries owed, as far as known, and how many of them have arrived.
    pub deliveries: usize,
    pub delivered: usize,
}

impl StoredEvent {
    pub fn position(&self) -> Position {
        Position { received_at: self.event.received_at, id: self.event.id }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    pub id: DeliveryId,
    pub subscription_id: SubscriptionId,
    /// Empty until the matcher's summary has been seen.
    pub workflow_id: String,
    pub state: DeliveryState,
    /// In the order in which they started.
    pub attempts: Vec<Attempt>,
}

/// Which part of an inbox, in which order. All filters that are given must hold.
#[derive(Clone, Debug)]
pub struct InboxQuery {
    pub direction: Direction,
    /// Received at this instant or later.
    pub from: Option<OffsetDateTime>,
    /// Received before this instant.
    pub to: Option<OffsetDateTime>,
    pub event_type: Option<EventType>,
    pub status: Option<EventStatus>,
    /// Owed to a subscription with this workflow id.
    pub workflow_id: Option<String>,
    /// Only what comes after this place, in the query's direction.
    pub after: Option<Position>,
    pub limit: usize,
}

impl Default for InboxQuery {
    fn default() -> Self {
        Self {
            direction: Direction::NewestFirst,
            from: None,
            to: None,
            event_type: None,
            status: None,
            workflow_id: None,
            after: None,
            limit: 50,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    NewestFirst,
    OldestFirst,
}

/// A place in the inbox's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub received_at: OffsetDateTime,
    pub id: EventId,
}
