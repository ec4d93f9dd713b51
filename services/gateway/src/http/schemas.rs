//! `/v1/schemas`: what a customer's events look like, and what becomes of those that don't.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerline_store::{
    Direction, InboxQuery, MAX_SCHEMAS, MAX_SCHEMAS_BYTES, SchemaPut, StoredEvent,
};
use triggerline_types::{
    CustomerId, Event, EventId, EventStatus, EventType, Schema, SchemaMode, Scope, format_instant,
};
use utoipa::ToSchema;

use super::{Id, List, read_json};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Fault, Kind, Problem};

/// Events that one call looks at for release.
const RELEASED_AT_ONCE: usize = 1_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SchemaBody {
    /// `off`, `warn`, `reject` or `quarantine`.
    #[schema(pattern = "^(off|warn|reject|quarantine)$", example = "warn")]
    mode: String,
    #[schema(value_type = Value)]
    schema: Box<RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SchemaView {
    event_type: String,
    mode: &'static str,
    #[schema(value_type = Value)]
    schema: Box<RawValue>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl SchemaView {
    fn of(schema: &Schema) -> Self {
        Self {
            event_type: schema.event_type.as_str().to_owned(),
            mode: schema.mode.as_str(),
            schema: RawValue::from_string(schema.document.clone()).unwrap_or_default(),
            created_at: format_instant(schema.created_at),
            updated_at: format_instant(schema.updated_at),
        }
    }
}

/// Put a schema
///
/// What events of a type look like (JSON Schema 2020-12), and what becomes of those that don't:
/// `off` checks nothing, `warn` accepts and tells, `reject` refuses, `quarantine` accepts and holds
/// back. Counts within a second.
#[utoipa::path(
    put, path = "/v1/schemas/{event_type}", tag = "Schemas", operation_id = "putSchema",
    params(("event_type" = String, Path, description = "The event type.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._:-]+$")),
    request_body = SchemaBody,
    responses(
        (status = 200, description = "Kept.", body = SchemaView),
        (status = 409, description = "The customer has as many schemas as it may have."),
        (status = 422, description = "The schema can't be used."),
    )
)]
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(event_type): Id<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SchemaView>, Problem> {
    let customer = asking.may(Scope::SchemasWrite)?;
    let event_type = parse(event_type)?;
    let body: SchemaBody = read_json(&shared, &headers, body).await?;
    let mode = SchemaMode::parse(&body.mode).ok_or_else(|| {
        let modes = SchemaMode::ALL.map(SchemaMode::as_str).join(", ");
        Problem::field("/mode", format!("is {:?}; modes are {modes}", body.mode))
    })?;
    shared.schemas.check(body.schema.get()).await?;
    let actor = asking.caller().actor();
    let put = shared.control.put_schema(customer, &event_type, mode, body.schema.get(), actor);
    match put.await? {
        SchemaPut::Kept(schema) => Ok(Json(SchemaView::of(&schema))),
        SchemaPut::TooMany => {
            let detail = format!(
                "A customer has at most {MAX_SCHEMAS} schemas, of {MAX_SCHEMAS_BYTES} bytes \
                 together; delete some."
            );
            Err(Problem::new(Kind::Conflict, detail))
        }
    }
}

/// List schemas
///
/// All of the customer's, by event type.
#[utoipa::path(
    get, path = "/v1/schemas", tag = "Schemas", operation_id = "listSchemas",
    responses(
        (status = 200, description = "All of them.", body = List<SchemaView>),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
) -> Result<Json<List<SchemaView>>, Problem> {
    let customer = asking.may(Scope::SchemasRead)?;
    let schemas = shared.control.schemas(customer).await?;
    Ok(Json(List { data: schemas.iter().map(SchemaView::of).collect() }))
}

/// Show a schema
#[utoipa::path(
    get, path = "/v1/schemas/{event_type}", tag = "Schemas", operation_id = "getSchema",
    params(("event_type" = String, Path, description = "The event type.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._:-]+$")),
    responses(
        (status = 200, description = "The schema.", body = SchemaView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(event_type): Id<String>,
) -> Result<Json<SchemaView>, Problem> {
    let customer = asking.may(Scope::SchemasRead)?;
    let found = shared.control.schema(customer, &parse(event_type)?).await?;
    Ok(Json(SchemaView::of(&found.ok_or_else(Problem::not_found)?)))
}

/// Delete a schema
///
/// Events of the type are not checked any more.
#[utoipa::path(
    delete, path = "/v1/schemas/{event_type}", tag = "Schemas", operation_id = "deleteSchema",
    params(("event_type" = String, Path, description = "The event type.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._:-]+$")),
    responses(
        (status = 204, description = "It is gone."),
    )
)]
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(event_type): Id<String>,
) -> Result<StatusCode, Problem> {
    let customer = asking.may(Scope::SchemasWrite)?;
    let actor = asking.caller().actor();
    if shared.control.delete_schema(customer, &parse(event_type)?, actor).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

/// A name that can't be an event type's has no schema.
fn parse(event_type: String) -> Result<EventType, Problem> {
    EventType::parse(event_type).map_err(|_| Problem::not_found())
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReleaseView {
    released: usize,
    /// Looked at, and still not as their schema wants them.
    still_quarantined: usize,
    /// Whether there were more than one call looks at.
    more: bool,
}

/// Release a type's quarantined events
///
/// Those that the schema allows by now, oldest first, up to 1,000 at a time: call again while `more`.
#[utoipa::path(
    post, path = "/v1/schemas/{event_type}/release", tag = "Schemas", operation_id = "releaseEvents",
    params(("event_type" = String, Path, description = "The event type.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._:-]+$")),
    responses(
        (status = 200, description = "How many were released.", body = ReleaseView),
    )
)]
pub(super) async fn release_all(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(event_type): Id<String>,
) -> Result<Json<ReleaseView>, Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let query = InboxQuery {
        direction: Direction::OldestFirst,
        event_type: Some(parse(event_type)?),
        status: Some(EventStatus::Quarantined),
        limit: RELEASED_AT_ONCE + 1,
        ..InboxQuery::default()
    };
    let mut found = shared.events.inbox(customer, &query).await?;
    let more = found.len() > RELEASED_AT_ONCE;
    found.truncate(RELEASED_AT_ONCE);
    let mut counts = ReleaseView { released: 0, still_quarantined: 0, more };
    for StoredEvent { event, .. } in found {
        match publish_again(&shared, customer, event).await {
            Ok(()) => counts.released += 1,
            Err(problem) if problem.kind == Kind::SchemaViolation => {
                counts.still_quarantined += 1;
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(Json(counts))
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReleasedEventView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    status: &'static str,
}

/// Release a quarantined event
///
/// If its schema allows it by now. It keeps its id, and is matched and delivered like any other.
#[utoipa::path(
    post, path = "/v1/events/{id}/release", tag = "Schemas", operation_id = "releaseEvent",
    params(("id" = Uuid, Path, description = "The event's id.")),
    responses(
        (status = 202, description = "Kafka has it again.", body = ReleasedEventView),
        (status = 409, description = "It is not quarantined."),
        (status = 422, description = "Its schema still doesn't allow it."),
    )
)]
pub(super) async fn release(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<EventId>,
) -> Result<(StatusCode, Json<ReleasedEventView>), Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let found = shared.events.event(customer, id).await?.ok_or_else(Problem::not_found)?;
    if found.status != EventStatus::Quarantined {
        return Err(Problem::new(Kind::Conflict, "The event is not quarantined."));
    }
    publish_again(&shared, customer, found.event).await?;
    Ok((StatusCode::ACCEPTED, Json(ReleasedEventView { event_id: id, status: "accepted" })))
}

/// Produces a quarantined event once more, as one that is not: under its id, so that doing it
/// twice does nothing twice.
async fn publish_again(shared: &Shared, customer: CustomerId, event: Event) -> Result<(), Problem> {
    let judge = shared.schemas.of(customer, HashSet::from([&event.event_type])).await?;
    let passed = judge.pass(vec![Ok(event)]).await?;
    let missing = || Problem::new(Kind::Internal, "The error has been logged.");
    let (event, notice) = passed.into_iter().next().ok_or_else(missing)??;
    if let Some(notice) = notice.filter(|notice| notice.quarantined) {
        let detail = "The payload still breaks its schema; mend the schema first.";
        let faults: Vec<Fault> = notice.faults;
        return Err(Problem { faults, ..Problem::new(Kind::SchemaViolation, detail) });
    }
    shared.publisher.start(&Event { quarantined: None, ..event })?.await
}
