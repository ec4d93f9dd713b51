//! `POST /v1/events`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use triggerline_types::{EventId, Scope, format_instant, truncate_to_millis};

use super::read_json;
use crate::Shared;
use crate::admit::{Draft, admit};
use crate::problem::Problem;

#[derive(Serialize)]
struct Accepted {
    event_id: EventId,
    status: &'static str,
    received_at: String,
}

pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let customer = shared.auth.check(&headers, Scope::EventsWrite).await?;
    let body = read_json(&headers, body).await?;
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let draft = Draft::from_json(&body, traceparent.map(str::to_owned))?;
    let now = truncate_to_millis(OffsetDateTime::now_utc());
    let event = admit(draft, customer, EventId::new(), now)?;
    shared.publisher.publish(&event).await?;

    let accepted = Accepted {
        event_id: event.id,
        status: "accepted",
        received_at: format_instant(event.received_at),
    };
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    if let Ok(id) = HeaderValue::try_from(event.id.to_string()) {
        response.headers_mut().insert("x-event-id", id);
    }
    Ok(response)
}
