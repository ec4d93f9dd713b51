//! `triggerline.v1.Inbox`

use time::OffsetDateTime;
use tonic::{Request, Response, Status};
use triggerline_store::{Direction, InboxQuery, StoredDelivery, StoredEvent};
use triggerline_types::{
    Attempt, CustomerId, DeliveryState, Event, EventId, EventStatus, EventType, Outcome,
    Response as Answered, Scope, SubscriptionId,
};
use triggerline_wire::proto::inbox_server::Inbox;
use triggerline_wire::proto::{self, attempt};
use triggerline_wire::proto::{
    ExplainEventRequest, ExplainEventResponse, GetEventRequest, ListDeliveriesRequest,
    ListDeliveriesResponse, ListEventsRequest, ListEventsResponse,
};
use uuid::Uuid;

use super::call::{Call, Door};
use super::instant::{from_timestamp, to_timestamp};
use super::subscriptions;
use crate::cursor::Cursors;
use crate::explain::{self, Explanation, Explanations, Why};
use crate::inbox::{self, DEFAULT_LIMIT, Listed, MAX_LIMIT};
use crate::problem::Problem;

/// Where a page ends: clients take 4 MB unless told otherwise, and the last event of a page, or
/// its only one, may have a megabyte.
pub(super) const PAGE_BYTES: usize = 3_000_000;

#[tonic::async_trait]
impl Inbox for Door {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsRead)?;
            let token = message.page_token.clone();
            let mut query = query(message)?;
            if !token.is_empty() {
                let after = inbox::place(&self.shared, customer, &query, &token);
                query.after = Some(after.ok_or_else(foreign_token)?);
            }
            let since = call.asking.caller().kept_since();
            inbox::list(&self.shared, customer, since, query, PAGE_BYTES).await
        };
        let Listed { events, next } = call.within(work).await?;
        let events = events.into_iter().map(shown).collect();
        Ok(Response::new(ListEventsResponse { events, next_page_token: next.unwrap_or_default() }))
    }

    async fn get_event(
        &self,
        request: Request<GetEventRequest>,
    ) -> Result<Response<proto::Event>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsRead)?;
            inbox::event(&self.shared, customer, id(&message.event_id)?).await
        };
        Ok(Response::new(shown(call.within(work).await?)))
    }

    async fn explain_event(
        &self,
        request: Request<ExplainEventRequest>,
    ) -> Result<Response<ExplainEventResponse>, Status> {
        const LIST: &str = "explain";
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsRead)?;
            let cursors = &self.shared.cursors;
            let ExplainEventRequest { event_id, subscription_id, page_token, .. } = &message;
            let only = (!subscription_id.is_empty()).then(|| subscriptions::read(subscription_id));
            let only = only.transpose()?;
            let after = after(cursors, page_token, customer, LIST)?;
            let after = after.map(SubscriptionId::from_uuid);
            let limit = page_size(message.page_size)?;
            let (shared, asking, id) = (&self.shared, &call.asking, id(event_id)?);
            let found = explain::event(shared, asking, id, only, (after, limit)).await?;
            let Explanations { all, more } = found;
            let end = all.last().filter(|_| more).map(|last| last.subscription.id);
            let next = end.map(|id| cursors.write_id(*id.as_uuid(), customer, LIST));
            let next_page_token = next.unwrap_or_default();
            let explanations = all.into_iter().map(explanation).collect();
            Ok(ExplainEventResponse { explanations, next_page_token })
        };
        Ok(Response::new(call.within(work).await?))
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsRead)?;
            inbox::deliveries(&self.shared, customer, id(&message.event_id)?).await
        };
        let deliveries = call.within(work).await?.into_iter().map(delivery).collect();
        Ok(Response::new(ListDeliveriesResponse { deliveries }))
    }
}

fn id(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|_| Problem::field("/event_id", "is a UUID, as Publish gave it"))
}

pub(super) fn foreign_token() -> Problem {
    Problem::field("/page_token", "is not one that this query was given; start without one")
}

/// The id after which a list goes on that is ordered by ids.
pub(super) fn after(
    cursors: &Cursors,
    token: &str,
    customer: CustomerId,
    list: &str,
) -> Result<Option<Uuid>, Problem> {
    let read = || cursors.read_id(token, customer, list).ok_or_else(foreign_token);
    (!token.is_empty()).then(read).transpose()
}

fn query(asked: ListEventsRequest) -> Result<InboxQuery, Problem> {
    let (from, to) = (instant("/from", asked.from)?, instant("/to", asked.to)?);
    // In proto3 an absent field is an empty one.
    let event_type = (!asked.event_type.is_empty()).then_some(asked.event_type);
    let event_type = event_type.map(EventType::parse).transpose();
    let status = (asked.status != 0).then(|| {
        let named = |one: &EventStatus| status(*one) as i32 == asked.status;
        let known = EventStatus::ALL.into_iter().find(named);
        known.ok_or_else(|| Problem::field("/status", "is not a status that this server knows"))
    });
    Ok(InboxQuery {
        direction: order(asked.order)?,
        from,
        to,
        event_type: event_type.map_err(|error| Problem::field("/event_type", error.to_string()))?,
        status: status.transpose()?,
        workflow_id: (!asked.workflow_id.is_empty()).then_some(asked.workflow_id),
        after: None,
        limit: page_size(asked.page_size)?,
    })
}

pub(super) fn instant(
    field: &str,
    given: Option<prost_types::Timestamp>,
) -> Result<Option<OffsetDateTime>, Problem> {
    let read = |given| from_timestamp(&given).ok_or(Problem::field(field, "is not an instant"));
    given.map(read).transpose()
}

pub(super) fn page_size(asked: u32) -> Result<usize, Problem> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_LIMIT),
        Ok(limit) if limit <= MAX_LIMIT => Ok(limit),
        _ => Err(Problem::field("/page_size", format!("is at most {MAX_LIMIT}"))),
    }
}

pub(super) fn order(asked: i32) -> Result<Direction, Problem> {
    match proto::Order::try_from(asked) {
        Ok(proto::Order::Unspecified | proto::Order::NewestFirst) => Ok(Direction::NewestFirst),
        Ok(proto::Order::OldestFirst) => Ok(Direction::OldestFirst),
        Err(_) => Err(Problem::field("/order", "is not an order that this server knows")),
    }
}

fn status(status: EventStatus) -> proto::EventStatus {
    match status {
        EventStatus::Quarantined => proto::EventStatus::Quarantined,
        EventStatus::Accepted => proto::EventStatus::Accepted,
        EventStatus::PendingDelivery => proto::EventStatus::PendingDelivery,
        EventStatus::Delivered => proto::EventStatus::Delivered,
        EventStatus::PartiallyDelivered => proto::EventStatus::PartiallyDelivered,
        EventStatus::Failed => proto::EventStatus::Failed,
        EventStatus::Unmatched => proto::EventStatus::Unmatched,
    }
}

fn state(state: DeliveryState) -> proto::DeliveryState {
    match state {
        DeliveryState::Pending => proto::DeliveryState::Pending,
        DeliveryState::Retrying => proto::DeliveryState::Retrying,
        DeliveryState::Delivered => proto::DeliveryState::Delivered,
        DeliveryState::DeadLettered => proto::DeliveryState::DeadLettered,
        DeliveryState::Cancelled => proto::DeliveryState::Cancelled,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn shown(stored: StoredEvent) -> proto::Event {
    let StoredEvent { mut event, status: now, deliveries, delivered } = stored;
    let quarantined = event.quarantined.take().filter(|_| now == EventStatus::Quarantined);
    proto::Event {
        status: status(now).into(),
        quarantined: quarantined.unwrap_or_default(),
        deliveries_owed: count(deliveries),
        deliveries_delivered: count(delivered),
        ..bare(event)
    }
}

/// An event as it was handed in.
pub(super) fn bare(event: Event) -> proto::Event {
    proto::Event {
        event_id: event.id.to_string(),
        event_type: event.event_type.as_str().to_owned(),
        source: event.source,
        subject: event.subject.unwrap_or_default(),
        occurred_at: Some(to_timestamp(event.occurred_at)),
        received_at: Some(to_timestamp(event.received_at)),
        extensions: event.extensions.into_iter().collect(),
        payload: event.payload,
        ..proto::Event::default()
    }
}

pub(super) fn delivery(stored: StoredDelivery) -> proto::Delivery {
    proto::Delivery {
        delivery_id: stored.id.to_string(),
        subscription_id: stored.subscription_id.to_string(),
        workflow_id: stored.workflow_id,
        state: state(stored.state).into(),
        attempts: stored.attempts.into_iter().map(tried).collect(),
    }
}

fn explanation(explanation: Explanation) -> proto::Explanation {
    let Explanation { subscription, owed, why } = explanation;
    proto::Explanation {
        subscription_id: subscription.id.to_string(),
        workflow_id: subscription.workflow_id,
        owed,
        why: Some(self::why(why)),
    }
}

pub(super) fn why(why: Why) -> proto::Why {
    let (explained, undecided) = match why.payload {
        Some(Ok(explained)) => (serde_json::to_value(explained).unwrap_or_default(), String::new()),
        Some(Err(error)) => (serde_json::Value::Null, error),
        None => (serde_json::Value::Null, String::new()),
    };
    let part = |name: &str| explained.get(name).map(ToString::to_string).unwrap_or_default();
    proto::Why {
        matched: why.matched,
        event_type_matched: why.type_matched,
        pattern: part("pattern"),
        jsonpath: part("jsonpath"),
        undecided,
    }
}

fn tried(attempt: Attempt) -> proto::Attempt {
    let response = match attempt.response {
        Answered::Answered { status, excerpt } => {
            attempt::Response::Answered(proto::Answer { status: status.into(), excerpt })
        }
        Answered::Failed { error } => attempt::Response::Error(error),
        Answered::NotSent { reason } => attempt::Response::Error(reason),
    };
    let (outcome, reason, next) = match attempt.outcome {
        Outcome::Delivered => (proto::AttemptOutcome::Delivered, None, None),
        Outcome::Retry { at } => (proto::AttemptOutcome::Retry, None, Some(to_timestamp(at))),
        Outcome::DeadLettered { reason } => {
            (proto::AttemptOutcome::DeadLettered, Some(reason), None)
        }
        Outcome::Cancelled { reason } => (proto::AttemptOutcome::Cancelled, Some(reason), None),
    };
    proto::Attempt {
        number: attempt.number,
        started_at: Some(to_timestamp(attempt.started_at)),
        latency: prost_types::Duration::try_from(attempt.latency).ok(),
        response: Some(response),
        outcome: outcome.into(),
        reason: reason.unwrap_or_default(),
        next_attempt_at: next,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn what_is_absent_filters_nothing() {
        let query = query(ListEventsRequest::default()).unwrap();
        assert_eq!(query.limit, DEFAULT_LIMIT);
        assert_eq!(query.direction, Direction::NewestFirst);
        assert!(query.from.is_none() && query.to.is_none() && query.status.is_none());
        assert!(query.event_type.is_none() && query.workflow_id.is_none());
    }

    #[test]
    fn a_bad_field_is_named() {
        let asked = ListEventsRequest::default;
        let odd = Some(Timestamp { seconds: 0, nanos: -1 });
        for (asked, field) in [
            (ListEventsRequest { from: odd, ..asked() }, "/from"),
            (ListEventsRequest { to: odd, ..asked() }, "/to"),
            (ListEventsRequest { event_type: "a b".to_owned(), ..asked() }, "/event_type"),
            (ListEventsRequest { status: 8, ..asked() }, "/status"),
            (ListEventsRequest { order: 3, ..asked() }, "/order"),
            (ListEventsRequest { page_size: 201, ..asked() }, "/page_size"),
        ] {
            assert_eq!(query(asked).unwrap_err().faults[0].pointer, field);
        }
    }
}
