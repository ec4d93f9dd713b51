//! `POST /v1/subscriptions/{id}/lease`, `…/ack`, `…/release`, `…/extend`, and `GET …/queue`: the HTTP
//! door to what is pulled.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use triggerline_store::Depth;
use triggerline_types::{DeliveryId, SubscriptionId, format_instant};
use utoipa::ToSchema;
use uuid::Uuid;

use super::inbox::BareEventView;
use super::{Id, read_json, read_json_or_nothing};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::Problem;
use crate::pull::{self, Leased, LeasedDelivery, Meant, Told, Wanted};

/// Of the events in one answer, in bytes; the first comes whatever its size.
const ANSWER_BYTES: usize = 5_000_000;

#[derive(Serialize, ToSchema)]
pub(super) struct QueueView {
    /// Deliveries that wait to be leased or sent, leased ones included.
    depth: usize,
    /// Whether there are more than `depth`: it is counted up to 10,000, so that asking costs the same
    /// of any queue.
    more: bool,
    /// How many of these are leased now.
    leased: usize,
    /// When the first of them came.
    #[schema(format = DateTime)]
    oldest_queued_at: Option<String>,
}

/// Show a queue
///
/// How much waits for the subscription to be leased, or to be sent in order.
#[utoipa::path(
    get, path = "/v1/subscriptions/{id}/queue", tag = "Pull", operation_id = "getQueue",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    responses((status = 200, description = "How long it is.", body = QueueView))
)]
pub(super) async fn queue(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
) -> Result<Json<QueueView>, Problem> {
    let depth = pull::depth(&shared, &asking, id).await?;
    Ok(Json(QueueView {
        depth: depth.rows,
        more: depth.rows >= Depth::MOST,
        leased: depth.leased,
        oldest_queued_at: depth.oldest.map(format_instant),
    }))
}

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
    let body: Option<LeaseBody> = read_json_or_nothing(&shared, &headers, body).await?;
    let LeaseBody { lease_seconds, limit, wait_seconds } = body.unwrap_or_default();
    let wanted = Wanted { lease_seconds, limit, wait_seconds };
    let leased = pull::lease(&shared, &asking, id, wanted, ANSWER_BYTES, Duration::MAX).await?;
    Ok(Json(LeaseView::of(leased)))
}

impl LeaseView {
    fn of(Leased { lease, deliveries }: Leased) -> Self {
        let data = deliveries.into_iter().map(LeasedView::of).collect();
        Self { lease_id: lease.id, expires_at: format_instant(lease.until), data }
    }
}

impl LeasedView {
    fn of(leased: LeasedDelivery) -> Self {
        let LeasedDelivery { id, lease_count, possible_duplicate, queued_at, event } = leased;
        Self {
            delivery_id: id,
            lease_count,
            possible_duplicate,
            queued_at: format_instant(queued_at),
            event: BareEventView::of(event),
        }
    }
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
    fn of(Told { done, not_held }: Told) -> Json<Self> {
        Json(Self { delivery_ids: done, not_held })
    }
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
    let LeasedBody { lease_id, delivery_ids } = read_json(&shared, &headers, body).await?;
    let meant = Meant { lease_id, delivery_ids };
    Ok(LeasedAnswer::of(pull::acknowledge(&shared, &asking, id, meant).await?))
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
    let body: ReleaseBody = read_json(&shared, &headers, body).await?;
    let ReleaseBody { lease_id, delivery_ids, delay_seconds } = body;
    let meant = Meant { lease_id, delivery_ids };
    Ok(LeasedAnswer::of(pull::release(&shared, &asking, id, meant, delay_seconds).await?))
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
    let body: ExtendBody = read_json(&shared, &headers, body).await?;
    let ExtendBody { lease_id, delivery_ids, lease_seconds } = body;
    let meant = Meant { lease_id, delivery_ids };
    Ok(LeasedAnswer::of(pull::extend(&shared, &asking, id, meant, lease_seconds).await?))
}
