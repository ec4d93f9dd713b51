//! `/v1/dead-letters`: deliveries that were given up; list, show, redrive. A redrive is a replay
//! ([`super::replays`]).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use triggerline_store::{DeadLetter, DeadLetterQuery, Direction};
use triggerline_types::{
    CustomerId, DeliveryId, EventId, EventType, Outcome, Scope, Source, SubscriptionId,
    format_instant, millis,
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::inbox::{DeliveryView, EventView};
use super::paging::{Page, foreign_cursor, instant, limit, order};
use super::replays::{self, ReplayView, Span};
use super::{Id, Query, read_json_or_nothing};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

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
    /// At most so many; 50 if absent.
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
        let DeadLetter { event_id, event_type, received_at, at, delivery } = letter;
        let reasons = delivery.attempts.iter().rev().filter_map(|one| match &one.outcome {
            Outcome::DeadLettered { reason } => Some(reason.clone()),
            _ => None,
        });
        Self {
            event_id,
            event_type: event_type.as_str().to_owned(),
            received_at: format_instant(received_at),
            dead_lettered_at: format_instant(at),
            reason: reasons.take(1).collect(),
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
    let customer = asking.may(Scope::EventsRead)?;
    let mut query = query(&parameters)?;
    let named = named(&query);
    if let Some(cursor) = &parameters.cursor {
        let (at, id) =
            shared.cursors.read_at(cursor, customer, &named).ok_or_else(foreign_cursor)?;
        query.after = Some((at, DeliveryId::from_uuid(id)));
    }
    let limit = query.limit;
    query.limit += 1;
    let mut found = shared.events.dead_letters(customer, &query).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let end = found.last().filter(|_| more);
    let place = |letter: &DeadLetter| (letter.at, *letter.delivery.id.as_uuid());
    let next_cursor = end.map(|last| shared.cursors.write_at(place(last), customer, &named));
    Ok(Json(Page { data: found.into_iter().map(DeadLetterView::of).collect(), next_cursor }))
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

/// What tells a query's pages from another's.
fn named(query: &DeadLetterQuery) -> String {
    let DeadLetterQuery {
        direction,
        subscription_id,
        delivery_id: _,
        event_type,
        from,
        to,
        after: _,
        limit: _,
    } = query;
    let up = *direction == Direction::OldestFirst;
    let (from, to) = (from.map(millis), to.map(millis));
    let event_type = event_type.as_ref().map(EventType::as_str);
    format!("dead {up}{subscription_id:?}{event_type:?}{from:?}{to:?}")
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
    let customer = asking.may(Scope::EventsRead)?;
    let letter = find(&shared, customer, id).await?;
    let event = shared.events.event(customer, letter.event_id).await?;
    let event = EventView::of(event.ok_or_else(Problem::not_found)?);
    Ok(Json(WholeDeadLetterView { letter: DeadLetterView::of(letter), event }))
}

async fn find(
    shared: &Shared,
    customer: CustomerId,
    id: DeliveryId,
) -> Result<DeadLetter, Problem> {
    let query = DeadLetterQuery { delivery_id: Some(id), limit: 1, ..DeadLetterQuery::default() };
    let found = shared.events.dead_letters(customer, &query).await?.pop();
    found.ok_or_else(|| {
        let detail = "There is no such dead letter: the delivery was not given up, or it has been \
                      handed over again.";
        Problem::new(Kind::NotFound, detail)
    })
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
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let body: Option<RedriveBody> = read_json_or_nothing(&shared, &headers, body).await?;
    let body = body.unwrap_or_default();
    let source = Source::DeadLetters {
        subscription_id: body.subscription_id.map(SubscriptionId::from_uuid),
        delivery_id: None,
    };
    let span = Span::read(body.from.as_deref(), body.to.as_deref())?;
    let event_types = super::subscriptions::event_types(body.event_types)?;
    let new = replays::judge(customer, source, span, event_types, body.rate, body.dry_run)?;
    replays::start(&shared, &asking, new).await
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
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let letter = find(&shared, customer, id).await?;
    let source = Source::DeadLetters {
        subscription_id: Some(letter.delivery.subscription_id),
        delivery_id: Some(id),
    };
    let new = replays::judge(customer, source, Span::read(None, None)?, Vec::new(), None, false)?;
    replays::start(&shared, &asking, new).await
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let none = parsed("").unwrap();
        for other in ["order=asc", "event_type=a", "from=2026-11-23T00:00:00Z"] {
            assert_ne!(named(&parsed(other).unwrap()), named(&none), "{other}");
        }
        assert_eq!(named(&parsed("limit=3&order=desc").unwrap()), named(&none));
    }
}
