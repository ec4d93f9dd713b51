//! `/v1/dead-letters`: the HTTP door to deliveries that were given up; list, show, redrive.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use triggerline_store::{DeadLetter, DeadLetterQuery};
use triggerline_types::{DeliveryId, EventId, EventType, SubscriptionId, format_instant};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::inbox::{DeliveryView, EventView, PAGE_BYTES};
use super::paging::{Page, foreign_cursor, instant, limit, order};
use super::replays::{ReplayView, span};
use super::subscriptions::event_types;
use super::{Id, Query, read_json_or_nothing};
use crate::Shared;
use crate::asking::Asking;
use crate::dead_letters::{self, Listed, reason};
use crate::problem::Problem;
use crate::replays::Pace;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    #[param(format = Uuid)]
    subscription_id: Option<String>,
    #[param(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")]
    event_type: Option<String>,
    /// Given up at this instant or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Given up before this instant.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Given up last first (`desc`) or first first (`asc`).
    #[param(pattern = "^(asc|desc)$")]
    order: Option<String>,
    /// At most so many; 50 if absent. A page ends at 8 MiB as well, so one with fewer is the last
    /// only where `next_cursor` is null.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before, with the same filters.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    event_type: String,
    /// When the event was accepted.
    #[schema(format = DateTime)]
    received_at: String,
    /// When the last attempt began.
    #[schema(format = DateTime)]
    dead_lettered_at: String,
    /// Why it was given up.
    reason: String,
    #[serde(flatten)]
    delivery: DeliveryView,
}

impl DeadLetterView {
    fn of(letter: DeadLetter) -> Self {
        let reason = reason(&letter);
        let DeadLetter { event_id, event_type, received_at, at, delivery } = letter;
        Self {
            event_id,
            event_type: event_type.as_str().to_owned(),
            received_at: format_instant(received_at),
            dead_lettered_at: format_instant(at),
            reason,
            delivery: DeliveryView::of(delivery),
        }
    }
}

/// List dead letters
///
/// The customer's deliveries that were given up, a page at a time. One that is handed over again
/// (see redrive) is none any more, until it is given up again.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "Dead letters", operation_id = "listDeadLetters",
    params(Parameters),
    responses((status = 200, description = "A page of dead letters.", body = Page<DeadLetterView>))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Page<DeadLetterView>>, Problem> {
    let (query, cursor) = (query(&parameters)?, parameters.cursor.as_deref());
    let listed =
        dead_letters::list(&shared, &asking, query, cursor, PAGE_BYTES, foreign_cursor).await?;
    let Listed { letters, next } = listed;
    let data = letters.into_iter().map(DeadLetterView::of).collect();
    Ok(Json(Page { data, next_cursor: next }))
}

fn query(parameters: &Parameters) -> Result<DeadLetterQuery, Problem> {
    let subscription_id = parameters.subscription_id.as_deref().map(|text| {
        let id = text.parse::<SubscriptionId>();
        id.map_err(|_| Problem::parameter("subscription_id", "is a subscription's id, a UUID"))
    });
    let event_type = parameters.event_type.clone().map(|text| {
        EventType::parse(text).map_err(|error| Problem::parameter("event_type", error.to_string()))
    });
    Ok(DeadLetterQuery {
        direction: order(parameters.order.as_deref())?,
        subscription_id: subscription_id.transpose()?,
        delivery_id: None,
        event_type: event_type.transpose()?,
        from: instant("from", parameters.from.as_deref())?,
        to: instant("to", parameters.to.as_deref())?,
        after: None,
        limit: limit(parameters.limit.as_deref())?,
    })
}

#[derive(Serialize, ToSchema)]
pub(super) struct WholeDeadLetterView {
    #[serde(flatten)]
    letter: DeadLetterView,
    event: EventView,
}

/// Show a dead letter
///
/// With its event, and every attempt that was made.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "Dead letters", operation_id = "getDeadLetter",
    params(("id" = Uuid, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The dead letter.", body = WholeDeadLetterView))
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<DeliveryId>,
) -> Result<Json<WholeDeadLetterView>, Problem> {
    let (letter, event) = dead_letters::show(&shared, &asking, id).await?;
    let (letter, event) = (DeadLetterView::of(letter), EventView::of(event));
    Ok(Json(WholeDeadLetterView { letter, event }))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedriveBody {
    /// Those of this subscription; of all, if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    subscription_id: Option<Uuid>,
    /// Of these types, exact or with `*`; of every type, if empty.
    #[schema(max_items = 100)]
    #[serde(default)]
    event_types: Vec<String>,
    /// Given up at this instant or later.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Given up before this instant; before now, if absent.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Deliveries a second, at most; 100 if absent.
    #[schema(minimum = 1, maximum = 10_000)]
    rate: Option<u32>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// Redrive dead letters
///
/// Hands over again all that the filters select, those given up first at the head, with their
/// attempts counted anew. The redrive is a replay: follow or cancel it under `/v1/replays`.
/// Subscriptions that are gone are passed over. What is cut off is still a dead letter.
#[utoipa::path(
    post, path = "/v1/dead-letters/redrive", tag = "Dead letters", operation_id = "redriveDeadLetters",
    request_body = Option<RedriveBody>,
    responses(
        (status = 202, description = "It runs.", body = ReplayView),
        (status = 409, description = "10 replays of the customer's run already."),
    )
)]
pub(super) async fn redrive(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    let body: Option<RedriveBody> = read_json_or_nothing(&shared, &headers, body).await?;
    let body = body.unwrap_or_default();
    let span = span(body.from.as_deref(), body.to.as_deref())?;
    let event_types = event_types(body.event_types)?;
    let of = body.subscription_id.map(SubscriptionId::from_uuid);
    let pace = Pace { rate: body.rate, dry_run: body.dry_run };
    let made = dead_letters::redrive(&shared, &asking, of, span, event_types, pace).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView::of(made))))
}

/// Redrive a dead letter
///
/// Hands it over again, with its attempts counted anew. The redrive is a replay of one.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/redrive", tag = "Dead letters", operation_id = "redriveDeadLetter",
    params(("id" = Uuid, Path, description = "The delivery's id.")),
    responses(
        (status = 202, description = "It runs.", body = ReplayView),
        (status = 409, description = "10 replays of the customer's run already."),
    )
)]
pub(super) async fn redrive_one(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<DeliveryId>,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    let made = dead_letters::redrive_one(&shared, &asking, id).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView::of(made))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    fn parsed(pairs: &str) -> Result<DeadLetterQuery, Problem> {
        let uri = format!("/v1/dead-letters?{pairs}").parse().unwrap();
        let parameters = axum::extract::Query::try_from_uri(&uri).unwrap();
        query(&parameters.0)
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (pairs, name) in [
            ("from=yesterday", "from"),
            ("to=1", "to"),
            ("event_type=a%20b", "event_type"),
            ("subscription_id=mine", "subscription_id"),
            ("order=up", "order"),
            ("limit=0", "limit"),
        ] {
            let problem = parsed(pairs).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidParameter);
            assert!(problem.detail.starts_with(name), "{pairs}: {problem:?}");
        }
    }
}
