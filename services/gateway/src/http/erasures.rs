//! `DELETE /v1/customers/{id}`: forgetting a customer, and the receipt of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{StatusCode, header};
use serde::Serialize;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, Erasure, Scope, format_instant};
use utoipa::ToSchema;

use super::Id;
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

#[derive(Serialize, ToSchema)]
pub(super) struct ErasureView {
    #[schema(value_type = String, format = Uuid)]
    customer_id: CustomerId,
    /// `erasing`; `erased` once all that there was is gone and what was under way is still looked for;
    /// `complete` once nothing can come any more.
    state: &'static str,
    #[schema(format = DateTime)]
    requested_at: String,
    /// Until then Kafka's topics may hold the customer's events. Nobody reads them any more.
    #[schema(format = DateTime)]
    topics_until: String,
    #[schema(format = DateTime)]
    erased_at: Option<String>,
    #[schema(format = DateTime)]
    completed_at: Option<String>,
    erased: ErasedView,
}

/// How much is gone.
#[derive(Serialize, ToSchema)]
struct ErasedView {
    /// Each with its deliveries and attempts.
    events: u64,
    subscriptions: u64,
    api_keys: u64,
    schemas: u64,
    replays: u64,
    /// Deliveries that waited to be taken.
    queued_deliveries: u64,
}

impl ErasureView {
    fn of(erasure: &Erasure) -> Self {
        let erased = erasure.erased;
        Self {
            customer_id: erasure.customer_id,
            state: erasure.state().as_str(),
            requested_at: format_instant(erasure.requested_at),
            topics_until: format_instant(erasure.topics_until),
            erased_at: erasure.erased_at.map(format_instant),
            completed_at: erasure.completed_at.map(format_instant),
            erased: ErasedView {
                events: erased.events,
                subscriptions: erased.subscriptions,
                api_keys: erased.api_keys,
                schemas: erased.schemas,
                replays: erased.replays,
                queued_deliveries: erased.queued,
            },
        }
    }
}

/// Erase a customer
///
/// Everything that it has goes: API keys at once, subscriptions and what waits to be delivered within
/// seconds, then its events with their deliveries and attempts. The audit trail stays, which names ids
/// only. It can't be undone; asked again, the answer is how far it is.
#[utoipa::path(
    delete, path = "/v1/customers/{id}", tag = "Customers", operation_id = "eraseCustomer",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    responses((
        status = 202, description = "It has begun.", body = ErasureView,
        headers(("location" = String, description = "Where to ask how far it is.")),
    ))
)]
pub(super) async fn erase(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<CustomerId>,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Json<ErasureView>), Problem> {
    let own = asking.may(Scope::Admin)?;
    if own == id {
        let detail =
            "The key that asks is this customer's own: it would be gone before the answer.";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let until = OffsetDateTime::now_utc()
        .checked_add(time::Duration::try_from(shared.topics_kept).unwrap_or(time::Duration::MAX));
    let until = until.and_then(triggerline_types::check_instant);
    let until = until.ok_or_else(|| {
        Problem::new(Kind::Internal, "The topics' retention ends after the year 9999.")
    })?;
    let actor = asking.caller().actor();
    let erasure = shared.control.erase_customer(id, until, actor).await?;
    let erasure = erasure.ok_or_else(Problem::not_found)?;
    let place = [(header::LOCATION, format!("/v1/customers/{id}/erasure"))];
    Ok((StatusCode::ACCEPTED, place, Json(ErasureView::of(&erasure))))
}

/// Show a customer's erasure
///
/// The receipt: what was erased, and when.
#[utoipa::path(
    get, path = "/v1/customers/{id}/erasure", tag = "Customers", operation_id = "getErasure",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    responses((status = 200, description = "How far it is.", body = ErasureView))
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<CustomerId>,
) -> Result<Json<ErasureView>, Problem> {
    asking.may(Scope::Admin)?;
    let erasure = shared.control.erasure(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(ErasureView::of(&erasure)))
}
