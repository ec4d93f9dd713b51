//! `/v1/replays`: the HTTP door to past events sent (again); start, list, show, cancel.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use triggerline_types::{Replay, ReplayId, Scope, Standing, SubscriptionId, format_instant};
use utoipa::ToSchema;
use uuid::Uuid;

use super::paging::{Page, Paging};
use super::subscriptions::event_types;
use super::{Id, Query, read_json};
use crate::Shared;
use crate::admit::instant;
use crate::asking::Asking;
use crate::problem::Problem;
use crate::replays::{self, Asked, From, Pace, Span};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReplayBody {
    /// Whom it goes to. Only events that this subscription would be owed, if they arrived now, are
    /// sent.
    #[schema(value_type = String, format = Uuid)]
    subscription_id: Uuid,
    /// Accepted at this instant or later.
    #[schema(format = DateTime)]
    from: String,
    /// Accepted before this instant; before now, if absent.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Of these types, exact or with `*`; of every type, if empty.
    #[schema(max_items = 100)]
    #[serde(default)]
    event_types: Vec<String>,
    /// Only events whose delivery to the subscription stands so; in any way, if empty. `missing`:
    /// the event was never owed to it.
    #[schema(value_type = Vec<StandingName>)]
    #[serde(default)]
    status: Vec<String>,
    /// Where events are taken from; `events` if absent.
    #[serde(default)]
    source: SourceBody,
    /// Deliveries a second, at most; 100 if absent.
    #[schema(minimum = 1, maximum = 10_000)]
    rate: Option<u32>,
    /// Only count: `sent` is how many would be.
    #[serde(default)]
    dry_run: bool,
}

/// `events`: from the inbox, by when they were accepted. `topic`: from Kafka's topic of events, by the
/// time stamps there, for as long as Kafka keeps them (14 days, say): also what the inbox has not. That
/// reads all customers' events in the span, so it takes longer.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SourceBody {
    #[default]
    Events,
    Topic,
}

/// How a delivery stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "names what `Standing` parses, for the document")]
enum StandingName {
    Missing,
    Pending,
    Retrying,
    Delivered,
    DeadLettered,
    Cancelled,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReplayView {
    #[schema(value_type = String, format = Uuid)]
    id: ReplayId,
    /// `events`, `topic` or `dead_letters`.
    source: &'static str,
    #[schema(value_type = Option<String>, format = Uuid)]
    subscription_id: Option<SubscriptionId>,
    #[schema(format = DateTime)]
    from: Option<String>,
    #[schema(format = DateTime)]
    to: String,
    event_types: Vec<String>,
    status: Vec<&'static str>,
    rate: u32,
    dry_run: bool,
    /// `running`, `completed`, `cancelled` or `failed`.
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Events, or dead letters, looked at so far.
    examined: u64,
    /// Deliveries handed over so far; in a dry run those that would be.
    sent: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl ReplayView {
    pub(super) fn of(replay: Replay) -> Self {
        let Replay { id, selection, rate, dry_run, state, progress, .. } = replay;
        let status = selection.source.standing().iter().map(|one| one.as_str()).collect();
        Self {
            id,
            source: selection.source.as_str(),
            subscription_id: selection.source.subscription_id(),
            from: selection.from.map(format_instant),
            to: format_instant(selection.to),
            event_types: selection.event_types.iter().map(ToString::to_string).collect(),
            status,
            rate,
            dry_run,
            state: state.as_str(),
            reason: state.reason().map(str::to_owned),
            examined: progress.examined,
            sent: progress.sent,
            created_at: format_instant(replay.created_at),
            updated_at: format_instant(replay.updated_at),
        }
    }
}

/// From when until when, by the members `from` and `to`.
pub(super) fn span(from: Option<&str>, to: Option<&str>) -> Result<Span, Problem> {
    let read = |pointer, text: Option<&str>| text.map(|text| instant(pointer, text)).transpose();
    Span::new(read("/from", from)?, read("/to", to)?)
}

/// Start a replay
///
/// Sends the chosen subscription, and nobody else, what it would be owed of the events in a span
/// of time: oldest first, paced, marked with the header `triggerline-replay-id`, and under the
/// same `webhook-id` as before. Begin with `dry_run` to see how many that are.
#[utoipa::path(
    post, path = "/v1/replays", tag = "Replays", operation_id = "createReplay",
    request_body = NewReplayBody,
    responses(
        (status = 202, description = "It runs.", body = ReplayView),
        (status = 409, description = "The subscription is not active, or 10 replays of the customer's run already."),
    )
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    let asked = asked(read_json(&shared, &headers, body).await?)?;
    let made = replays::create(&shared, &asking, asked).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView::of(made))))
}

fn asked(body: NewReplayBody) -> Result<Asked, Problem> {
    let standing = body.status.iter().enumerate().map(|(index, text)| {
        Standing::parse(text).ok_or_else(|| {
            let names = Standing::ALL.map(Standing::as_str).join(", ");
            Problem::field(format!("/status/{index}"), format!("is one of {names}"))
        })
    });
    let pace = Pace { rate: body.rate, dry_run: body.dry_run };
    pace.check()?;
    Ok(Asked {
        subscription_id: SubscriptionId::from_uuid(body.subscription_id),
        standing: standing.collect::<Result<_, _>>()?,
        from: match body.source {
            SourceBody::Events => From::Inbox,
            SourceBody::Topic => From::Topic,
        },
        span: span(Some(&body.from), body.to.as_deref())?,
        event_types: event_types(body.event_types)?,
        pace,
    })
}

/// List replays
///
/// Redrives of dead letters among them; newest first.
#[utoipa::path(
    get, path = "/v1/replays", tag = "Replays", operation_id = "listReplays",
    params(Paging),
    responses((status = 200, description = "A page of replays.", body = Page<ReplayView>))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<ReplayView>>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let (after, limit) = paging.read(&shared.cursors, customer, replays::LIST)?;
    let found = replays::list(&shared, &asking, after, limit).await?;
    let id = |replay: &Replay| *replay.id.as_uuid();
    Ok(Json(Page::of(found, limit, id, &shared.cursors, customer, replays::LIST, ReplayView::of)))
}

/// Show a replay
#[utoipa::path(
    get, path = "/v1/replays/{id}", tag = "Replays", operation_id = "getReplay",
    params(("id" = Uuid, Path, description = "The replay's id.")),
    responses((status = 200, description = "How far it is.", body = ReplayView))
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<ReplayId>,
) -> Result<Json<ReplayView>, Problem> {
    Ok(Json(ReplayView::of(replays::show(&shared, &asking, id).await?)))
}

/// Cancel a replay
///
/// Within about a second nothing more is handed over; what was, is delivered. One that has ended
/// stays as it ended.
#[utoipa::path(
    post, path = "/v1/replays/{id}/cancel", tag = "Replays", operation_id = "cancelReplay",
    params(("id" = Uuid, Path, description = "The replay's id.")),
    responses((status = 200, description = "As it is now.", body = ReplayView))
)]
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<ReplayId>,
) -> Result<Json<ReplayView>, Problem> {
    Ok(Json(ReplayView::of(replays::cancel(&shared, &asking, id).await?)))
}

#[cfg(test)]
mod tests {
    use triggerline_types::DeliveryState;

    use super::*;
    use crate::json::{self, Object};
    use crate::problem::Kind;

    const ID: &str = "01890a5d-ac96-7ab2-80e2-4536629c90de";

    fn read(fields: &str) -> Result<Asked, Problem> {
        let body = format!(r#"{{"subscription_id":"{ID}"{fields}}}"#);
        let Object(body) = json::read(body.as_bytes())?;
        asked(body)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let asked = read(
            r#","from":"2026-11-23T00:00:00Z","to":"2026-11-23T01:00:00Z","event_types":["a.*"],
               "status":["missing","dead_lettered"],"dry_run":true"#,
        )
        .unwrap();
        let standing = vec![Standing::Missing, Standing::Owed(DeliveryState::DeadLettered)];
        assert_eq!((asked.subscription_id, asked.standing), (ID.parse().unwrap(), standing));
        assert!(matches!(asked.from, From::Inbox) && asked.pace.dry_run);
        assert_eq!(asked.event_types.len(), 1);
        let asked = read(r#","from":"2026-11-23T00:00:00Z","source":"topic""#).unwrap();
        assert!(matches!(asked.from, From::Topic) && asked.standing.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let from = r#","from":"2026-11-23T00:00:00Z""#;
        for (fields, pointer) in [
            (r#","from":"yesterday""#.to_owned(), "/from"),
            (r#","from":"9026-11-23T00:00:00Z""#.to_owned(), "/from"),
            (format!(r#"{from},"to":"2026-11-23T00:00:00Z""#), "/from"),
            (format!(r#"{from},"to":"later""#), "/to"),
            (format!(r#"{from},"rate":0"#), "/rate"),
            (format!(r#"{from},"rate":10001"#), "/rate"),
            (format!(r#"{from},"status":["delivered","lost"]"#), "/status/1"),
            (format!(r#"{from},"event_types":["a b"]"#), "/event_types/0"),
        ] {
            let problem = read(&fields).err().unwrap();
            assert_eq!(problem.faults[0].pointer, pointer, "{fields}: {problem:?}");
        }
        assert_eq!(read("").err().unwrap().kind, Kind::MalformedBody);
    }
}
