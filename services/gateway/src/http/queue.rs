//! `POST /v1/subscriptions/{id}/lease`, `…/ack`, `…/release`, `…/extend`: a subscription's
//! deliveries, for who pulls them. What is leased and not acknowledged in time may be leased again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures::future::try_join_all;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;
use triggerline_store::{Fate, Held, Helping, Lease, Queued, Settled};
use triggerline_types::{
    Attempt, CustomerId, Delivery, DeliveryId, Outcome, Response, Scope, Subscription,
    SubscriptionId, SubscriptionState, format_instant, truncate_to_millis,
};
use triggerline_wire as wire;
use utoipa::ToSchema;
use uuid::Uuid;

use super::inbox::BareEventView;
use super::{Id, read_json, read_json_or_nothing};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

const LEASE_SECONDS: u64 = 30;
const MAX_LEASE_SECONDS: u64 = 3_600;
const LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;
const MAX_WAIT_SECONDS: u64 = 20;
/// Of the events in one answer, in bytes; the first comes whatever its size.
const HELPING_BYTES: usize = 5_000_000;
/// How often is looked while a call waits: soon at first, as whoever waits for one does.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    /// How long nobody else is given them; 30 if absent.
    #[schema(minimum = 1, maximum = 3_600)]
    lease_seconds: Option<u64>,
    /// At most so many; 10 if absent. Fewer come where they are large (5 MB in all).
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// How long to wait for the first, where there is none; 0 if absent.
    #[schema(minimum = 0, maximum = 20)]
    wait_seconds: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LeaseView {
    /// For `ack`, `release` and `extend`.
    #[schema(value_type = String, format = Uuid)]
    lease_id: Uuid,
    /// When others may be given what is not acknowledged.
    #[schema(format = DateTime)]
    expires_at: String,
    data: Vec<LeasedView>,
}

#[derive(Serialize, ToSchema)]
struct LeasedView {
    #[schema(value_type = String, format = Uuid)]
    delivery_id: DeliveryId,
    /// The how manieth time it is given to somebody, or sent, this one included.
    lease_count: u32,
    /// Somebody may have taken it before, and not said so.
    possible_duplicate: bool,
    #[schema(format = DateTime)]
    queued_at: String,
    event: BareEventView,
}

/// Lease deliveries
///
/// Gives the oldest that are free to the caller, for so long. Each is to be acknowledged (`ack`) once
/// it is worked off, or given back (`release`). One that isn't may be given to somebody else when the
/// lease has ended; after `delivery.retry.max_attempts` times it becomes a dead letter. Of a
/// subscription with `ordering`, only the first of each key is given.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/lease", tag = "Pull", operation_id = "leaseDeliveries",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    request_body = Option<LeaseBody>,
    responses(
        (status = 200, description = "What is leased; nothing, where nothing is free.", body = LeaseView),
        (status = 409, description = "The subscription is paused, or its deliveries are not for leasing."),
    )
)]
pub(super) async fn lease(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LeaseView>, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let body: Option<LeaseBody> = read_json_or_nothing(&shared, &headers, body).await?;
    let LeaseBody { lease_seconds, limit, wait_seconds } = body.unwrap_or_default();
    let length = lease_length(lease_seconds.unwrap_or(LEASE_SECONDS))?;
    let rows = limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&rows) {
        return Err(Problem::field("/limit", format!("is a number from 1 to {MAX_LIMIT}")));
    }
    let wait = wait_seconds.unwrap_or_default();
    if wait > MAX_WAIT_SECONDS {
        let detail = format!("is a number from 0 to {MAX_WAIT_SECONDS}");
        return Err(Problem::field("/wait_seconds", detail));
    }
    let helping = Helping { rows, bytes: HELPING_BYTES };
    let end = Instant::now() + Duration::from_secs(wait);
    let mut pause = LOOKS.0;
    loop {
        // Each time: it may have been paused meanwhile.
        may_be_leased(&shared, customer, id).await?;
        let now = now();
        let lease = Lease { id: Uuid::new_v4(), now, until: now + length };
        let leased = shared.control.lease(customer, id, lease, helping).await?;
        if !leased.is_empty() || Instant::now() >= end {
            let data = leased.iter().map(view).collect::<Result<_, _>>()?;
            let expires_at = format_instant(lease.until);
            return Ok(Json(LeaseView { lease_id: lease.id, expires_at, data }));
        }
        tokio::time::sleep_until(end.min(Instant::now() + pause)).await;
        pause = (pause * 2).min(LOOKS.1);
    }
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

fn view(row: &Queued) -> Result<LeasedView, Problem> {
    let unreadable = |error: wire::DecodeError| {
        tracing::error!(delivery = %row.delivery_id, %error, "a queued delivery can't be read");
        Problem::new(Kind::Internal, "The error has been logged.")
    };
    let record = wire::stored::decode(&row.record).map_err(unreadable)?;
    let delivery: Delivery = wire::delivery::decode(&record).map_err(unreadable)?;
    Ok(LeasedView {
        delivery_id: row.delivery_id,
        lease_count: row.attempt,
        possible_duplicate: row.attempt > 1 || delivery.replay_id.is_some(),
        queued_at: format_instant(row.enqueued_at),
        event: BareEventView::of(delivery.event),
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LeasedBody {
    #[schema(value_type = String, format = Uuid)]
    lease_id: Uuid,
    /// Of the lease's deliveries; all of them if absent.
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    delivery_ids: Option<Vec<DeliveryId>>,
}

/// What became of the deliveries that a lease held.
#[derive(Serialize, ToSchema)]
pub(super) struct LeasedAnswer {
    /// Done, as was asked for.
    #[schema(value_type = Vec<String>)]
    delivery_ids: Vec<DeliveryId>,
    /// Named, but not held by this lease: acknowledged or given back before, or it ran out and
    /// somebody else has them.
    #[schema(value_type = Vec<String>)]
    not_held: Vec<DeliveryId>,
}

impl LeasedAnswer {
    fn of(done: Vec<DeliveryId>, named: Option<Vec<DeliveryId>>) -> Json<Self> {
        let mut not_held = named.unwrap_or_default();
        not_held.retain(|id| !done.contains(id));
        Json(Self { delivery_ids: done, not_held })
    }
}

fn check(named: Option<&[DeliveryId]>) -> Result<(), Problem> {
    if named.is_some_and(|named| named.len() > MAX_LIMIT) {
        return Err(Problem::field("/delivery_ids", format!("has at most {MAX_LIMIT} items")));
    }
    Ok(())
}

/// Acknowledge deliveries
///
/// They have been worked off, and are given to nobody any more. A lease that has run out still counts
/// until somebody else has been given them.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/ack", tag = "Pull", operation_id = "acknowledgeDeliveries",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    request_body = LeasedBody,
    responses((status = 200, description = "Which are acknowledged.", body = LeasedAnswer))
)]
pub(super) async fn ack(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LeasedAnswer>, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let LeasedBody { lease_id, delivery_ids } = read_json(&shared, &headers, body).await?;
    check(delivery_ids.as_deref())?;
    find(&shared, customer, id).await?;
    let held = shared.control.held(customer, id, lease_id, delivery_ids.as_deref()).await?;
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
    let done = shared.control.settle(lease_id, &settled, now).await?;
    Ok(LeasedAnswer::of(done, delivery_ids))
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    #[schema(value_type = String, format = Uuid)]
    lease_id: Uuid,
    /// Of the lease's deliveries; all of them if absent.
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    delivery_ids: Option<Vec<DeliveryId>>,
    /// When they may be leased again; at once, if absent.
    #[schema(minimum = 0, maximum = 3_600)]
    delay_seconds: Option<u64>,
}

/// Release deliveries
///
/// They are for others to lease, before the lease ends. It counts as a lease all the same.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/release", tag = "Pull", operation_id = "releaseDeliveries",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    request_body = ReleaseBody,
    responses((status = 200, description = "Which are released.", body = LeasedAnswer))
)]
pub(super) async fn release(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LeasedAnswer>, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let body: ReleaseBody = read_json(&shared, &headers, body).await?;
    let ReleaseBody { lease_id, delivery_ids, delay_seconds } = body;
    check(delivery_ids.as_deref())?;
    let delay = delay_seconds.unwrap_or_default();
    if delay > MAX_LEASE_SECONDS {
        let detail = format!("is a number from 0 to {MAX_LEASE_SECONDS}");
        return Err(Problem::field("/delay_seconds", detail));
    }
    find(&shared, customer, id).await?;
    let at = now() + Duration::from_secs(delay);
    let named = delivery_ids.as_deref();
    let done = shared.control.release(customer, id, lease_id, named, at).await?;
    Ok(LeasedAnswer::of(done, delivery_ids))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    #[schema(value_type = String, format = Uuid)]
    lease_id: Uuid,
    /// Of the lease's deliveries; all of them if absent.
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    delivery_ids: Option<Vec<DeliveryId>>,
    /// From now on; 30 if absent.
    #[schema(minimum = 1, maximum = 3_600)]
    lease_seconds: Option<u64>,
}

/// Extend a lease
///
/// It ends so long from now, whether that is later or sooner than before.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/extend", tag = "Pull", operation_id = "extendLease",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    request_body = ExtendBody,
    responses((status = 200, description = "Which the lease holds for longer.", body = LeasedAnswer))
)]
pub(super) async fn extend(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LeasedAnswer>, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let body: ExtendBody = read_json(&shared, &headers, body).await?;
    let ExtendBody { lease_id, delivery_ids, lease_seconds } = body;
    check(delivery_ids.as_deref())?;
    let length = lease_length(lease_seconds.unwrap_or(LEASE_SECONDS))?;
    find(&shared, customer, id).await?;
    let until = now() + length;
    let named = delivery_ids.as_deref();
    let done = shared.control.extend(customer, id, lease_id, named, until).await?;
    Ok(LeasedAnswer::of(done, delivery_ids))
}

fn lease_length(seconds: u64) -> Result<Duration, Problem> {
    if !(1..=MAX_LEASE_SECONDS).contains(&seconds) {
        let detail = format!("is a number from 1 to {MAX_LEASE_SECONDS}");
        return Err(Problem::field("/lease_seconds", detail));
    }
    Ok(Duration::from_secs(seconds))
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}
