//! `GET /v1/inbox` (also `/v1/events`), `GET /v1/events/{id}` and `…/deliveries`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerline_store::{InboxQuery, StoredDelivery, StoredEvent};
use triggerline_types::{
    Attempt, DeliveryId, Event, EventId, EventStatus, EventType, Outcome, Response, Scope,
    SubscriptionId, format_instant,
};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Page, foreign_cursor, instant, limit, order};
use super::{Id, Query};
use crate::Shared;
use crate::asking::Asking;
use crate::inbox::{self, Listed};
use crate::problem::Problem;

/// Where a page ends, however many events were asked for: each may be a megabyte.
pub(super) const PAGE_BYTES: usize = 8 << 20;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Received at this instant or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Received before this instant.
    #[param(format = DateTime)]
    to: Option<String>,
    #[param(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")]
    event_type: Option<String>,
    #[param(
        pattern = "^(quarantined|accepted|pending_delivery|delivered|partially_delivered|failed|unmatched)$"
    )]
    status: Option<String>,
    /// Owed to a subscription with this workflow id.
    workflow_id: Option<String>,
    /// Newest first (`desc`) or oldest first (`asc`).
    #[param(pattern = "^(asc|desc)$")]
    order: Option<String>,
    /// At most so many; 50 if absent. A page ends at 8 MiB as well, and where few of many events are
    /// wanted after a second: one with fewer is the last only where `next_cursor` is null.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before, with the same filters.
    cursor: Option<String>,
}

/// List events
///
/// The customer's inbox, a page at a time: pages neither skip nor repeat while events arrive. Also
/// at `/inbox` and `/v1/events`.
#[utoipa::path(
    get, path = "/v1/inbox", tag = "Inbox", operation_id = "listEvents",
    params(Parameters),
    responses((status = 200, description = "A page of events.", body = Page<EventView>))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Page<EventView>>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let mut query = query(&parameters)?;
    if let Some(cursor) = &parameters.cursor {
        let after = inbox::place(&shared, customer, &query, cursor);
        query.after = Some(after.ok_or_else(foreign_cursor)?);
    }
    let since = asking.caller().kept_since();
    let Listed { events, next } = inbox::list(&shared, customer, since, query, PAGE_BYTES).await?;
    let data = events.into_iter().map(EventView::of).collect();
    Ok(Json(Page { data, next_cursor: next }))
}

/// List events
///
/// The same as `/v1/inbox`, beside where events are handed in.
#[utoipa::path(
    get, path = "/v1/events", tag = "Inbox", operation_id = "listEventsToo",
    params(Parameters),
    responses((status = 200, description = "A page of events.", body = Page<EventView>))
)]
pub(super) async fn list_too(
    shared: State<Arc<Shared>>,
    asking: Asking,
    parameters: Query<Parameters>,
) -> Result<Json<Page<EventView>>, Problem> {
    list(shared, asking, parameters).await
}

/// Show an event
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "Inbox", operation_id = "getEvent",
    params(("id" = Uuid, Path, description = "The event's id.")),
    responses((status = 200, description = "The event with its payload and status.", body = EventView))
)]
pub(super) async fn event(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<EventId>,
) -> Result<Json<EventView>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    Ok(Json(EventView::of(inbox::event(&shared, customer, id).await?)))
}

/// List an event's deliveries
///
/// Each with its attempts, in the order in which they started.
#[utoipa::path(
    get, path = "/v1/events/{id}/deliveries", tag = "Inbox", operation_id = "listDeliveries",
    params(("id" = Uuid, Path, description = "The event's id.")),
    responses((status = 200, description = "What is owed to whom, and what came of it.", body = Page<DeliveryView>))
)]
pub(super) async fn deliveries(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<EventId>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let deliveries = inbox::deliveries(&shared, customer, id).await?;
    let data = deliveries.into_iter().map(DeliveryView::of).collect();
    Ok(Json(Page { data, next_cursor: None }))
}

fn query(parameters: &Parameters) -> Result<InboxQuery, Problem> {
    let event_type = parameters.event_type.clone().map(EventType::parse).transpose();
    let status = parameters.status.as_deref().map(|text| {
        EventStatus::parse(text).ok_or_else(|| {
            let names = EventStatus::ALL.map(EventStatus::as_str).join(", ");
            Problem::parameter("status", format!("is one of {names}"))
        })
    });
    let limit = limit(parameters.limit.as_deref())?;
    Ok(InboxQuery {
        direction: order(parameters.order.as_deref())?,
        from: instant("from", parameters.from.as_deref())?,
        to: instant("to", parameters.to.as_deref())?,
        event_type: event_type
            .map_err(|error| Problem::parameter("event_type", error.to_string()))?,
        status: status.transpose()?,
        workflow_id: parameters.workflow_id.clone(),
        after: None,
        limit,
    })
}

#[derive(Serialize, ToSchema)]
pub(super) struct EventView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    event_type: String,
    source: String,
    subject: Option<String>,
    #[schema(format = DateTime)]
    occurred_at: String,
    #[schema(format = DateTime)]
    received_at: String,
    status: &'static str,
    /// Further CloudEvents attributes that the producer gave.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, String>,
    /// Why it is held back, while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined: Option<String>,
    deliveries: Counts,
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Counts {
    owed: usize,
    delivered: usize,
}

/// An event as it was handed in.
#[derive(Serialize, ToSchema)]
pub(super) struct BareEventView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    event_type: String,
    source: String,
    subject: Option<String>,
    #[schema(format = DateTime)]
    occurred_at: String,
    #[schema(format = DateTime)]
    received_at: String,
    /// Further CloudEvents attributes that the producer gave.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, String>,
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
}

impl BareEventView {
    pub(super) fn of(event: Event) -> Self {
        Self {
            event_id: event.id,
            event_type: event.event_type.as_str().to_owned(),
            payload: payload(&event.payload),
            source: event.source,
            subject: event.subject,
            occurred_at: format_instant(event.occurred_at),
            received_at: format_instant(event.received_at),
            extensions: event.extensions,
        }
    }
}

/// It was JSON when it was accepted. A record that someone put into Kafka by hand may hold anything;
/// then it is shown as text.
fn payload(bytes: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .unwrap_or_default()
}

impl EventView {
    pub(super) fn of(stored: StoredEvent) -> Self {
        let StoredEvent { event, status, deliveries, delivered } = stored;
        Self {
            event_id: event.id,
            event_type: event.event_type.as_str().to_owned(),
            payload: payload(&event.payload),
            source: event.source,
            subject: event.subject,
            occurred_at: format_instant(event.occurred_at),
            received_at: format_instant(event.received_at),
            status: status.as_str(),
            extensions: event.extensions,
            quarantined: event.quarantined.filter(|_| status == EventStatus::Quarantined),
            deliveries: Counts { owed: deliveries, delivered },
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    #[schema(value_type = String, format = Uuid)]
    delivery_id: DeliveryId,
    #[schema(value_type = String, format = Uuid)]
    subscription_id: SubscriptionId,
    workflow_id: String,
    state: &'static str,
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AttemptView {
    number: u32,
    #[schema(format = DateTime)]
    started_at: String,
    latency_ms: u128,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_excerpt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
}

impl DeliveryView {
    pub(super) fn of(stored: StoredDelivery) -> Self {
        Self {
            delivery_id: stored.id,
            subscription_id: stored.subscription_id,
            workflow_id: stored.workflow_id,
            state: stored.state.as_str(),
            attempts: stored.attempts.into_iter().map(AttemptView::of).collect(),
        }
    }
}

impl AttemptView {
    fn of(attempt: Attempt) -> Self {
        let (response_status, response_excerpt, error) = match attempt.response {
            Response::Answered { status, excerpt } => (Some(status), Some(excerpt), None),
            Response::Failed { error } => (None, None, Some(error)),
            Response::NotSent { reason } => (None, None, Some(reason)),
        };
        let (outcome, reason, next_attempt_at) = match attempt.outcome {
            Outcome::Delivered => ("delivered", None, None),
            Outcome::Retry { at } => ("retry", None, Some(format_instant(at))),
            Outcome::DeadLettered { reason } => ("dead_lettered", Some(reason), None),
            Outcome::Cancelled { reason } => ("cancelled", Some(reason), None),
        };
        Self {
            number: attempt.number,
            started_at: format_instant(attempt.started_at),
            latency_ms: attempt.latency.as_millis(),
            outcome,
            response_status,
            response_excerpt,
            error,
            reason,
            next_attempt_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use triggerline_store::Direction;
    use triggerline_types::parse_instant;

    use super::*;
    use crate::problem::Kind;

    fn parsed(pairs: &str) -> Result<InboxQuery, Problem> {
        let uri = format!("/v1/inbox?{pairs}").parse().unwrap();
        let parameters = axum::extract::Query::try_from_uri(&uri).unwrap();
        query(&parameters.0)
    }

    #[test]
    fn parameters_become_a_query() {
        let query = parsed(
            "from=2026-11-23T00:00:00Z&event_type=a.b&status=delivered&workflow_id=w&order=asc&limit=200",
        )
        .unwrap();
        assert_eq!(query.direction, Direction::OldestFirst);
        assert_eq!(query.from, Some(parse_instant("2026-11-23T00:00:00Z").unwrap()));
        assert_eq!(query.status, Some(EventStatus::Delivered));
        assert_eq!(query.limit, 200);
        assert_eq!(parsed("").unwrap().limit, 50);
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (pairs, name) in [
            ("from=yesterday", "from"),
            ("to=1", "to"),
            ("event_type=a%20b", "event_type"),
            ("status=lost", "status"),
            ("order=up", "order"),
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
        ] {
            let problem = parsed(pairs).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidParameter);
            assert!(problem.detail.starts_with(name), "{pairs}: {problem:?}");
        }
    }
}
