//! Queues: deliveries that wait in the store for someone to take them, in their order.
//!
//! Those of a subscription that is pulled or ordered ([`triggerline_types::DeliverySettings`]) come
//! here, one row each, and stay until they are settled. Whoever works on one **leases** it: a
//! consumer who pulls ([`QueueStore::lease`]), or the delivery service, for a webhook and for what
//! nobody takes ([`QueueStore::lease_due`]). A row with a key is taken only when no earlier one of
//! its subscription has that key: a lease of it, or a wait for the next attempt, holds up those
//! behind it, and nobody else.

use async_trait::async_trait;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, DeliveryId, EventId, SubscriptionId};
use uuid::Uuid;

use crate::StoreError;

/// A delivery as it joins its subscription's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQueued {
    pub customer_id: CustomerId,
    pub subscription_id: SubscriptionId,
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    /// Rows of one key go one after the other; those without go as they come.
    pub key: Option<Uuid>,
    /// The delivery, as its reader understands it.
    pub record: Vec<u8>,
    /// The number of the attempt that is due.
    pub attempt: u32,
    /// The number after which no consumer is given it any more.
    pub last_attempt: u32,
    pub due: Due,
}

/// When the delivery service has to look after a row that nobody has leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    At(OffsetDateTime),
    /// It waits for a consumer; until this instant, when it is given up.
    Asleep(OffsetDateTime),
}

impl Due {
    pub(crate) fn at(self) -> OffsetDateTime {
        match self {
            Self::At(at) | Self::Asleep(at) => at,
        }
    }

    pub(crate) fn is_asleep(self) -> bool {
        matches!(self, Self::Asleep(_))
    }
}

/// Who holds rows, from when, and until when nobody else may take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: Uuid,
    pub now: OffsetDateTime,
    pub until: OffsetDateTime,
}

/// At most so much in one lease; the first row comes whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct Helping {
    pub rows: usize,
    /// Of their records together.
    pub bytes: usize,
}

/// A row under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub customer_id: CustomerId,
    pub subscription_id: SubscriptionId,
    pub delivery_id: DeliveryId,
    pub key: Option<Uuid>,
    pub record: Vec<u8>,
    /// The number of the attempt that this lease is for.
    pub attempt: u32,
    pub last_attempt: u32,
    pub enqueued_at: OffsetDateTime,
}

/// A row that a lease still holds, without its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub key: Option<Uuid>,
    /// As of [`Queued`].
    pub attempt: u32,
    pub leased_at: OffsetDateTime,
}

/// What becomes of a row when its lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub subscription_id: SubscriptionId,
    pub delivery_id: DeliveryId,
    pub key: Option<Uuid>,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves the queue.
    Done,
    /// It stays: consumers may have it from now on, the delivery service when it is due.
    Stays { attempt: u32, last_attempt: u32, due: Due },
}

/// How long a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Rows, leased ones included; [`Depth::MOST`] stands for any number from there on.
    pub rows: usize,
    /// How many of these are leased.
    pub leased: usize,
    /// When the first of them came.
    pub oldest: Option<OffsetDateTime>,
}

impl Depth {
    /// Counted up to here, so that asking costs the same of any queue.
    pub const MOST: usize = 10_000;
}

/// Part of [`crate::ControlStore`], with its promises.
///
/// A lease holds a row until somebody else has leased it, which nobody may before its end: who comes
/// late, but before anyone else, is not late. However many lease at once, each row is given to one.
/// Time is what callers say it is, so they must agree on it to within a fraction of their leases.
#[async_trait]
pub trait QueueStore: Send + Sync + 'static {
    /// Adds rows in their order behind all that are there; on `Ok` they are durable. A delivery that
    /// is there already stays as it is.
    async fn enqueue(&self, new: &[NewQueued], now: OffsetDateTime) -> Result<(), StoreError>;

    /// Gives the subscription's first rows that are free to a consumer, each for its next attempt,
    /// unless there is none left.
    async fn lease(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Lease,
        helping: Helping,
    ) -> Result<Vec<Queued>, StoreError>;

    /// Gives rows of any subscription that are due to the delivery service, those first that have
    /// been so for longest. That is no attempt.
    async fn lease_due(&self, lease: Lease, helping: Helping) -> Result<Vec<Queued>, StoreError>;

    /// Of these deliveries those that the lease holds; of all, where `None` are named.
    async fn held(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
    ) -> Result<Vec<Held>, StoreError>;

    /// Ends a lease of these rows; passes over those that it doesn't hold (any more), and returns
    /// the others' deliveries.
    async fn settle(
        &self,
        lease: Uuid,
        settled: &[Settled],
        now: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError>;

    /// Gives rows back as `lease` found them, but that the attempt counts, to be had again from
    /// `at` on; `None` names all. Returns those that it held.
    async fn release(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        at: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError>;

    /// Lets a consumer's lease end at another time; `None` names all of its rows. Returns those that
    /// it held.
    async fn extend(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        until: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError>;

    /// Lets all that a lease of [`Self::lease_due`] holds be held until `until`.
    async fn keep(&self, lease: Uuid, until: OffsetDateTime) -> Result<(), StoreError>;

    /// The subscriptions with rows that are [asleep](Due::Asleep).
    async fn asleep(&self) -> Result<Vec<SubscriptionId>, StoreError>;

    /// Makes some of a subscription's sleeping rows due, from `now` or the end of their lease on;
    /// `true` if there are more. Their order stays.
    async fn wake(
        &self,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError>;

    async fn depth(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<Depth, StoreError>;
}

/// Rows that [`QueueStore::wake`] wakes at once.
pub(crate) const WAKEN: i64 = 5_000;

/// Of rows and their sizes those that a helping has room for, counted from the first.
pub(crate) fn within<T>(rows: impl IntoIterator<Item = (T, usize)>, bytes: usize) -> Vec<T> {
    let mut taken = 0_usize;
    let fits = |(row, size): (T, usize)| {
        let first = taken == 0;
        taken = taken.saturating_add(size.max(1));
        (first || taken <= bytes).then_some(row)
    };
    rows.into_iter().map_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helping_has_room_for_the_first_and_what_fits_behind_it() {
        for (sizes, taken) in [
            (&[][..], 0),
            (&[10], 1),
            (&[99], 1),
            (&[1, 19, 1], 2),
            (&[5, 5, 10], 3),
            (&[5, 16, 1], 1),
        ] {
            let rows = sizes.iter().map(|size| ((), *size));
            assert_eq!(within(rows, 20).len(), taken, "{sizes:?}");
        }
    }
}
