//! `/v1/schemas`: what a customer's events look like, and what becomes of those that don't.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerline_store::{MAX_SCHEMAS, MAX_SCHEMAS_BYTES, SchemaPut};
use triggerline_types::{EventType, Schema, SchemaMode, Scope, format_instant};
use utoipa::ToSchema;

use super::{Id, List, read_json};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

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
    params(("event_type" = String, Path, description = "The event type; a `/` in it is written `%2F`.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")),
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
    params(("event_type" = String, Path, description = "The event type; a `/` in it is written `%2F`.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")),
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
    params(("event_type" = String, Path, description = "The event type; a `/` in it is written `%2F`.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$")),
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
pub(super) fn parse(event_type: String) -> Result<EventType, Problem> {
    EventType::parse(event_type).map_err(|_| Problem::not_found())
}
