//! A subscription's deliveries for who pulls them, for either door: leased, acknowledged, released,
//! held for longer. What is leased and not acknowledged in time may be leased again. How calls are
//! read and answered is the door's.

use std::time::Duration;

use futures::future::try_join_all;
use time::OffsetDateTime;
use tokio::time::Instant;
use triggerline_store::{Depth, Fate, Held, Helping, Lease, Queued, Settled};
use triggerline_types::{
    Attempt, CustomerId, Delivery, DeliveryId, Event, Outcome, Response, Scope, Subscription,
    SubscriptionId, SubscriptionState, truncate_to_millis,
};
use triggerline_wire as wire;
use uuid::Uuid;

use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

const LEASE_SECONDS: u64 = 30;
const MAX_LEASE_SECONDS: u64 = 3_600;
const LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;
const MAX_WAIT_SECONDS: u64 = 20;
/// How often is looked while a call waits: soon at first, as whoever waits for one does.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What a caller wants to lease; what isn't said is as is usual.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) lease_seconds: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) wait_seconds: Option<u64>,
}

pub(crate) struct Leased {
    pub(crate) lease: Lease,
    pub(crate) deliveries: Vec<LeasedDelivery>,
}

pub(crate) struct LeasedDelivery {
    pub(crate) id: DeliveryId,
    pub(crate) lease_count: u32,
    /// Somebody may have taken it before, and not said so.
    pub(crate) possible_duplicate: bool,
    pub(crate) queued_at: OffsetDateTime,
    pub(crate) event: Event,
}

/// Leases what is free, `bytes` of events at most (the first comes whatever its size), waiting for it
/// as long as is wanted and at most for `patience`.
pub(crate) async fn lease(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    wanted: Wanted,
    bytes: usize,
    patience: Duration,
) -> Result<Leased, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let length = lease_length(wanted.lease_seconds)?;
    let rows = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&rows) {
        return Err(Problem::field("/limit", format!("is a number from 1 to {MAX_LIMIT}")));
    }
    let wait = wanted.wait_seconds.unwrap_or_default();
    if wait > MAX_WAIT_SECONDS {
        let detail = format!("is a number from 0 to {MAX_WAIT_SECONDS}");
        return Err(Problem::field("/wait_seconds", detail));
    }
    let end = Instant::now() + Duration::from_secs(wait).min(patience);
    let mut pause = LOOKS.0;
    loop {
        // Each time: it may have been paused meanwhile.
        may_be_leased(shared, customer, id).await?;
        let now = now();
        let lease = Lease { id: Uuid::new_v4(), now, until: now + length };
        let leased = shared.control.lease(customer, id, lease, Helping { rows, bytes }).await?;
        if !leased.is_empty() || Instant::now() >= end {
            let deliveries = leased.iter().map(delivery).collect::<Result<_, _>>()?;
            return Ok(Leased { lease, deliveries });
        }
        tokio::time::sleep_until(end.min(Instant::now() + pause)).await;
        pause = (pause * 2).min(LOOKS.1);
    }
}

/// How much waits in the subscription's queue.
pub(crate) async fn depth(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
) -> Result<Depth, Problem> {
    let customer = asking.may(Scope::SubscriptionsRead)?;
    find(shared, customer, id).await?;
    Ok(shared.control.depth(customer, id, now()).await?)
}

async fn may_be_leased(
    shared: &Shared,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<(), Problem> {
    let found = find(shared, customer, id).await?;
    let detail = match found.state {
        _ if !found.endpoint.settings.mode.pulls() => {
            "The subscription's deliveries are sent as webhooks; change its mode to \"pull\" or \
             \"both\" to lease them."
                .to_owned()
        }
        SubscriptionState::Active => return Ok(()),
        SubscriptionState::Paused => {
            "The subscription is paused. What comes is kept; resume it to lease it.".to_owned()
        }
        state => format!("The subscription is {}; resume it.", state.as_str()),
    };
    Err(Problem::new(Kind::Conflict, detail))
}

async fn find(
    shared: &Shared,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Subscription, Problem> {
    let found = shared.control.subscription(customer, id).await?;
    found.ok_or_else(Problem::not_found)
}

fn delivery(row: &Queued) -> Result<LeasedDelivery, Problem> {
    let unreadable = |error: wire::DecodeError| {
        tracing::error!(delivery = %row.delivery_id, %error, "a queued delivery can't be read");
        Problem::new(Kind::Internal, "The error has been logged.")
    };
    let record = wire::stored::decode(&row.record).map_err(unreadable)?;
    let delivery: Delivery = wire::delivery::decode(&record).map_err(unreadable)?;
    Ok(LeasedDelivery {
        id: row.delivery_id,
        lease_count: row.attempt,
        possible_duplicate: row.attempt > 1 || delivery.replay_id.is_some(),
        queued_at: row.enqueued_at,
        event: delivery.event,
    })
}

/// Of a lease's deliveries, those that are meant: all, where none are named.
#[derive(Clone)]
pub(crate) struct Meant {
    pub(crate) lease_id: Uuid,
    pub(crate) delivery_ids: Option<Vec<DeliveryId>>,
}

impl Meant {
    /// The customer and the subscription are there, and no more is named than a lease can hold.
    async fn check(
        &self,
        shared: &Shared,
        asking: &Asking,
        id: SubscriptionId,
    ) -> Result<CustomerId, Problem> {
        let customer = asking.may(Scope::SubscriptionsWrite)?;
        if self.delivery_ids.as_ref().is_some_and(|named| named.len() > MAX_LIMIT) {
            return Err(Problem::field("/delivery_ids", format!("has at most {MAX_LIMIT} items")));
        }
        find(shared, customer, id).await?;
        Ok(customer)
    }

    fn told(self, done: Vec<DeliveryId>) -> Told {
        let mut not_held = self.delivery_ids.unwrap_or_default();
        not_held.retain(|id| !done.contains(id));
        Told { done, not_held }
    }
}

/// What became of the deliveries that were meant.
pub(crate) struct Told {
    pub(crate) done: Vec<DeliveryId>,
    /// Named, but not held by this lease: acknowledged or given back before, or it ran out and somebody
    /// else has them.
    pub(crate) not_held: Vec<DeliveryId>,
}

pub(crate) async fn acknowledge(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    meant: Meant,
) -> Result<Told, Problem> {
    let customer = meant.check(shared, asking, id).await?;
    let lease = meant.lease_id;
    let held = shared.control.held(customer, id, lease, meant.delivery_ids.as_deref()).await?;
    // First what came of it, then that nothing is left to do: a crash between the two repeats a
    // delivery and loses none.
    let now = now();
    let attempts = held.iter().map(|held| acknowledged(held, customer, id, now));
    try_join_all(attempts.map(|attempt| shared.publisher.report(attempt))).await?;
    let done = |held: &Held| Settled {
        subscription_id: id,
        delivery_id: held.delivery_id,
        key: held.key,
        fate: Fate::Done,
    };
    let settled: Vec<_> = held.iter().map(done).collect();
    Ok(meant.told(shared.control.settle(lease, &settled, now).await?))
}

/// What is known of a delivery that its consumer took.
fn acknowledged(
    held: &Held,
    customer_id: CustomerId,
    subscription_id: SubscriptionId,
    now: OffsetDateTime,
) -> Attempt {
    Attempt {
        delivery_id: held.delivery_id,
        event_id: held.event_id,
        customer_id,
        subscription_id,
        number: held.attempt,
        started_at: held.leased_at,
        latency: Duration::try_from(now - held.leased_at).unwrap_or_default(),
        response: Response::NotSent { reason: "leased, and acknowledged by its consumer".into() },
        outcome: Outcome::Delivered,
    }
}

pub(crate) async fn release(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    meant: Meant,
    delay_seconds: Option<u64>,
) -> Result<Told, Problem> {
    let delay = delay_seconds.unwrap_or_default();
    if delay > MAX_LEASE_SECONDS {
        let detail = format!("is a number from 0 to {MAX_LEASE_SECONDS}");
        return Err(Problem::field("/delay_seconds", detail));
    }
    let customer = meant.check(shared, asking, id).await?;
    let at = now() + Duration::from_secs(delay);
    let named = meant.delivery_ids.as_deref();
    let done = shared.control.release(customer, id, meant.lease_id, named, at).await?;
    Ok(meant.told(done))
}

pub(crate) async fn extend(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    meant: Meant,
    lease_seconds: Option<u64>,
) -> Result<Told, Problem> {
    let length = lease_length(lease_seconds)?;
    let customer = meant.check(shared, asking, id).await?;
    let until = now() + length;
    let named = meant.delivery_ids.as_deref();
    let done = shared.control.extend(customer, id, meant.lease_id, named, until).await?;
    Ok(meant.told(done))
}

fn lease_length(seconds: Option<u64>) -> Result<Duration, Problem> {
    let seconds = seconds.unwrap_or(LEASE_SECONDS);
    if !(1..=MAX_LEASE_SECONDS).contains(&seconds) {
        let detail = format!("is a number from 1 to {MAX_LEASE_SECONDS}");
        return Err(Problem::field("/lease_seconds", detail));
    }
    Ok(Duration::from_secs(seconds))
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}
