//! `GET /v1/events/{id}/explain` and `POST /v1/subscriptions/match`: why, and what if.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerline_matching::{Explained, Selected};
use triggerline_types::{EventId, Scope, SubscriptionId, format_instant};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Page, foreign_cursor, limit};
use super::selector::SelectorBody;
use super::subscriptions::event_types;
use super::{Id, Query, read_json};
use crate::Shared;
use crate::asking::Asking;
use crate::explain::{self, Against, Draft, Explanation, Explanations, Tried, Why};
use crate::json::Object;
use crate::problem::Problem;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// This one alone; all of the customer's if absent, in the order of their ids.
    #[param(format = Uuid)]
    subscription_id: Option<String>,
    /// At most so many; 50 if absent. A page ends at about 4 MiB as well.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Why something matched, or didn't.
#[derive(Serialize, ToSchema)]
struct WhyView {
    matched: bool,
    /// Whether the event's type is one that is wanted. If it isn't, the payload is not looked at.
    event_type_matched: bool,
    /// Of the event pattern: which part decided, and for each field what was expected and what was found.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<triggerline_matching::Explanation>,
    /// Of the JSONPath query: how far it selects something, and what.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonpath: Option<Selected>,
    /// Why it could not be decided: the payload can't be read, or the query costs too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
}

impl WhyView {
    fn of(why: Why) -> Self {
        let (explained, undecided) = match why.payload {
            Some(Ok(explained)) => (Some(explained), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let (pattern, jsonpath) = explained
            .map_or((None, None), |Explained { pattern, jsonpath, .. }| (pattern, jsonpath));
        Self {
            matched: why.matched,
            event_type_matched: why.type_matched,
            pattern,
            jsonpath,
            undecided,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExplanationView {
    #[schema(value_type = String, format = Uuid)]
    subscription_id: SubscriptionId,
    workflow_id: String,
    /// As it is now: only `active` ones are owed anything, and `paused` ones that are pulled.
    state: &'static str,
    /// Whether the event was owed to it when it was matched. `matched` is how it is now.
    owed: bool,
    #[serde(flatten)]
    why: WhyView,
}

impl ExplanationView {
    fn of(explanation: Explanation) -> Self {
        let Explanation { subscription, owed, why } = explanation;
        Self {
            subscription_id: subscription.id,
            workflow_id: subscription.workflow_id,
            state: subscription.state.as_str(),
            owed,
            why: WhyView::of(why),
        }
    }
}

/// Explain an event
///
/// Why each of the customer's subscriptions matches it, or doesn't, as they are now. It shows selectors: the
/// key must have the scope `subscriptions:read` as well.
#[utoipa::path(
    get, path = "/v1/events/{id}/explain", tag = "Inbox", operation_id = "explainEvent",
    params(("id" = Uuid, Path, description = "The event's id."), Parameters),
    responses((status = 200, description = "A page of subscriptions.", body = Page<ExplanationView>))
)]
pub(super) async fn event(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<EventId>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Page<ExplanationView>>, Problem> {
    const LIST: &str = "explain";
    let customer = asking.may(Scope::EventsRead)?;
    let only = parameters.subscription_id.as_deref().map(|text| {
        let id = text.parse::<SubscriptionId>();
        id.map_err(|_| Problem::parameter("subscription_id", "is a subscription's id, a UUID"))
    });
    let after = parameters.cursor.as_deref().map(|text| {
        let id = shared.cursors.read_id(text, customer, LIST);
        id.map(SubscriptionId::from_uuid).ok_or_else(foreign_cursor)
    });
    let (only, after) = (only.transpose()?, after.transpose()?);
    let limit = limit(parameters.limit.as_deref())?;
    let Explanations { all, more } =
        explain::event(&shared, &asking, id, only, (after, limit)).await?;
    let end = all.last().filter(|_| more).map(|last| *last.subscription.id.as_uuid());
    let next_cursor = end.map(|id| shared.cursors.write_id(id, customer, LIST));
    Ok(Json(Page { data: all.into_iter().map(ExplanationView::of).collect(), next_cursor }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MatchBody {
    /// As of a subscription: exact, or with `*`; every type where it is empty.
    #[schema(max_items = 100)]
    #[serde(default)]
    event_types: Vec<String>,
    #[schema(value_type = Option<SelectorBody>)]
    selector: Option<Object<SelectorBody>>,
    /// The event that it is held against; the last ones that are stored, if absent.
    #[schema(value_type = Option<MatchEventBody>)]
    event: Option<Object<MatchEventBody>>,
    /// How many of the last ones; 20 if absent. Fewer, where they are large (8 MiB in all).
    #[schema(minimum = 1, maximum = 200)]
    last: Option<usize>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MatchEventBody {
    #[schema(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")]
    event_type: String,
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MatchView {
    /// How many of them match.
    matched: usize,
    /// Each event that it was held against, newest first.
    data: Vec<MatchedEventView>,
}

#[derive(Serialize, ToSchema)]
struct MatchedEventView {
    /// Of a stored one.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    event_type: String,
    /// Of a stored one.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<String>,
    #[serde(flatten)]
    why: WhyView,
}

impl MatchedEventView {
    fn of(Tried { stored, event_type, why }: Tried) -> Self {
        Self {
            event_id: stored.map(|(id, _)| id),
            event_type: event_type.as_str().to_owned(),
            received_at: stored.map(|(_, at)| format_instant(at)),
            why: WhyView::of(why),
        }
    }
}

/// Try a selector
///
/// Holds event types and a selector, as a subscription would have them, against an event that is given or
/// the last ones that are stored: which of them would match, and why not. Nothing is kept or sent.
#[utoipa::path(
    post, path = "/v1/subscriptions/match", tag = "Subscriptions", operation_id = "matchSelector",
    request_body = MatchBody,
    responses(
        (status = 200, description = "What matches.", body = MatchView),
        (status = 422, description = "The selector can't be compiled."),
    )
)]
pub(super) async fn draft(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MatchView>, Problem> {
    let MatchBody { event_types: types, selector, event, last } =
        read_json(&shared, &headers, body).await?;
    let Object(selector) = selector.unwrap_or_default();
    let draft = Draft { event_types: event_types(types)?, selector: selector.judge()? };
    let against = match event {
        Some(_) if last.is_some() => {
            let detail = "is for stored events; leave it out where an event is given";
            return Err(Problem::field("/last", detail));
        }
        Some(Object(MatchEventBody { event_type, payload })) => {
            let payload = Bytes::from(String::from(Box::<str>::from(payload)));
            Against::Given { event_type, payload }
        }
        None => Against::Stored { last },
    };
    let tried = explain::draft(&shared, &asking, draft, against).await?;
    let data: Vec<_> = tried.into_iter().map(MatchedEventView::of).collect();
    let matched = data.iter().filter(|one| one.why.matched).count();
    Ok(Json(MatchView { matched, data }))
}
