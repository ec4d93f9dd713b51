//! `POST /v1/events` and `POST /v1/events/batch`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use triggerline_types::{EventId, Scope, format_instant};
use utoipa::{IntoParams, ToSchema};

use super::body::{self, Form};
use crate::Shared;
use crate::accept::{self, Accepted, Outcome};
use crate::admit::Draft;
use crate::asking::Asking;
use crate::batch;
use crate::cloud_events;
use crate::idempotency;
use crate::problem::{Document, Fault, Problem};

/// An event as it is handed in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes what `admit` reads without building a tree")]
pub(super) struct EnvelopeBody {
    /// The kind of event: 1–255 of `A–Z a–z 0–9 . _ - / :`.
    #[schema(
        example = "order.created",
        min_length = 1,
        max_length = 255,
        pattern = "^[A-Za-z0-9._/:-]+$"
    )]
    event_type: String,
    /// Any JSON, at most 1,000,000 bytes and 100 levels deep; passed on byte for byte.
    #[schema(value_type = Value, example = json!({"total": 120}))]
    payload: (),
    /// Where it happened; `api` if absent.
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    source: Option<String>,
    /// What it happened to.
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    subject: Option<String>,
    /// When it happened; the time of receipt if absent.
    #[schema(format = DateTime)]
    occurred_at: Option<String>,
}

/// A CloudEvent (1.0, JSON Event Format). Further attributes have names of 1 to 64 lower-case
/// letters and digits, and are strings, whole numbers of 32 bits or truth values; 32 at most.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `cloud_events` reads")]
pub(super) struct CloudEventBody {
    #[schema(pattern = "^1\\.0$", example = "1.0")]
    specversion: String,
    #[schema(min_length = 1)]
    id: String,
    /// A URI-reference (RFC 3986).
    #[schema(min_length = 1, max_length = 1024, format = "uri-reference", example = "/shop")]
    source: String,
    #[schema(
        example = "order.created",
        min_length = 1,
        max_length = 255,
        pattern = "^[A-Za-z0-9._/:-]+$"
    )]
    r#type: String,
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    subject: Option<String>,
    #[schema(format = DateTime)]
    time: Option<String>,
    /// `application/json`, or what ends in `+json`.
    #[schema(pattern = "json$")]
    datacontenttype: Option<String>,
    /// An absolute URI; passed on like a further attribute.
    #[schema(min_length = 1, max_length = 1024, format = "uri")]
    dataschema: Option<String>,
    #[schema(value_type = Value, required = false)]
    data: Option<()>,
    /// JSON in base64, instead of `data`.
    #[schema(format = Byte)]
    data_base64: Option<String>,
}

/// A client's own key for a request.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "read by `idempotency`")]
pub(super) struct IdempotencyHeader {
    /// A repeat with the same key within 24 hours gets the first answer, and the event keeps its id.
    #[param(min_length = 1, max_length = 255, pattern = "^[ -~]+$")]
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
}

/// A CloudEvent in binary mode: with `ce-specversion`, these headers are its attributes and the body
/// is its data, in JSON. Further attributes come as further `ce-…` headers. Values are
/// percent-encoded as CloudEvents' HTTP binding says (§3.1.3.2).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "read by `cloud_events`")]
pub(super) struct CloudEventHeaders {
    /// `1.0`: says that the body is a CloudEvent's data, and not our envelope.
    #[param(rename = "ce-specversion", example = "1.0")]
    specversion: Option<String>,
    /// Required in binary mode; checked, not kept.
    #[param(rename = "ce-id")]
    id: Option<String>,
    /// Required in binary mode: a URI-reference.
    #[param(rename = "ce-source", example = "/shop")]
    source: Option<String>,
    /// Required in binary mode: the event type.
    #[param(rename = "ce-type", example = "order.created")]
    r#type: Option<String>,
    #[param(rename = "ce-subject")]
    subject: Option<String>,
    #[param(rename = "ce-time")]
    time: Option<String>,
    /// An absolute URI.
    #[param(rename = "ce-dataschema")]
    dataschema: Option<String>,
}

const REPLAYED: &str = "idempotent-replayed";

/// An event that Kafka has.
#[derive(Serialize, ToSchema)]
pub(super) struct AcceptedView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    /// `accepted`, or `quarantined`.
    #[schema(example = "accepted")]
    status: &'static str,
    #[schema(format = DateTime)]
    received_at: String,
    /// What its schema has against the event.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schema_errors: Vec<Fault>,
}

impl AcceptedView {
    fn of(accepted: &Accepted) -> Self {
        let notice = accepted.notice.as_ref();
        let held = notice.is_some_and(|notice| notice.quarantined);
        Self {
            event_id: accepted.event_id,
            status: if held { "quarantined" } else { "accepted" },
            received_at: format_instant(accepted.received_at),
            schema_errors: notice.map(|notice| notice.faults.clone()).unwrap_or_default(),
        }
    }
}

/// Accept an event
///
/// 202 means that Kafka has it (acks=all). Takes our own envelope, or CloudEvents 1.0: structured
/// (`application/cloudevents+json`), binary (`ce-` headers, the data as the body, of a content type
/// that is `application/json` or ends in `+json`) or a batch (`application/cloudevents-batch+json`,
/// answered as `/v1/events/batch` is). Also at `/events`.
#[utoipa::path(
    post, path = "/v1/events", tag = "Events", operation_id = "publishEvent",
    params(IdempotencyHeader, CloudEventHeaders),
    request_body(
        content(
            (EnvelopeBody = "application/json"),
            (CloudEventBody = "application/cloudevents+json"),
            (Vec<CloudEventBody> = "application/cloudevents-batch+json"),
        ),
    ),
    responses(
        (status = 202, description = "Kafka has the event, or each event of the batch.", body = PublishView<'_>, headers(
            ("X-Event-ID" = String, description = "The event's id; none for a batch."),
            ("Idempotent-Replayed" = String, description = "`true` where this is the answer to an earlier request."),
        )),
        (status = 207, description = "Some events of a CloudEvents batch were not accepted.", body = BatchView<'_>, headers(
            ("Idempotent-Replayed" = String, description = "`true` where this is the answer to an earlier request."),
        )),
    )
)]
pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let form = body::event_form(&headers)?;
    if let Form::Batch(form) = form {
        return accept_batch(&shared, &asking, form, &headers, body).await;
    }
    let key = idempotency::from_headers(&headers)?;
    let received = body::read(&shared, &headers, body, form.limit()).await?;
    let (bytes, trace) = (&received.bytes, traceparent(&headers).map(str::to_owned));
    let draft = match form {
        Form::Structured => cloud_events::structured(bytes, trace),
        Form::Binary => cloud_events::binary(&headers, bytes, trace),
        Form::Envelope | Form::Batch(_) => Draft::from_json(bytes, trace),
    }?;
    let (accepted, replayed) = accept::one(&shared, customer, draft, key).await?;
    let mut response = (StatusCode::ACCEPTED, Json(AcceptedView::of(&accepted))).into_response();
    if let Ok(id) = HeaderValue::try_from(accepted.event_id.to_string()) {
        response.headers_mut().insert("x-event-id", id);
    }
    mark(&mut response, replayed);
    Ok(response)
}

/// One result for each event, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchView<'a> {
    accepted: usize,
    rejected: usize,
    results: Vec<ResultView<'a>>,
}

/// Of one event, or of a CloudEvents batch.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes what `publish` answers with one of")]
pub(super) enum PublishView<'a> {
    One(AcceptedView),
    Batch(BatchView<'a>),
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ResultView<'a> {
    Accepted(AcceptedView),
    Rejected { status: &'static str, problem: Document<'a> },
}

impl<'a> ResultView<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        match outcome {
            Ok(accepted) => Self::Accepted(AcceptedView::of(accepted)),
            Err(problem) => Self::Rejected { status: "rejected", problem: problem.document(None) },
        }
    }
}

/// Accept up to 1,000 events
///
/// A JSON array of envelopes, one envelope a line (`application/x-ndjson`, or one of the other names
/// of that: `application/ndjson`, `application/jsonl`, `application/jsonlines`), or a CloudEvents
/// batch; 5,000,000 bytes at most. One result for each event, in their order: one that is refused never
/// sinks the others. Counts as many requests as it has events.
#[utoipa::path(
    post, path = "/v1/events/batch", tag = "Events", operation_id = "publishBatch",
    params(IdempotencyHeader),
    request_body(
        content(
            (Vec<EnvelopeBody> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "application/ndjson"),
            (String = "application/jsonl"),
            (String = "application/jsonlines"),
            (Vec<CloudEventBody> = "application/cloudevents-batch+json"),
        ),
    ),
    responses(
        (status = 202, description = "Kafka has all of them.", body = BatchView<'_>, headers(
            ("Idempotent-Replayed" = String, description = "`true` where this is the answer to an earlier request."),
        )),
        (status = 207, description = "Some were not accepted: see each result.", body = BatchView<'_>, headers(
            ("Idempotent-Replayed" = String, description = "`true` where this is the answer to an earlier request."),
        )),
    )
)]
pub(super) async fn publish_batch(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    asking.may(Scope::EventsWrite)?;
    let form = body::batch_form(&headers)?;
    accept_batch(&shared, &asking, form, &headers, body).await
}

async fn accept_batch(
    shared: &Arc<Shared>,
    asking: &Asking,
    form: batch::Form,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let key = idempotency::from_headers(headers)?;
    let received = body::read(shared, headers, body, Form::Batch(form).limit()).await?;
    let items = batch::read(form, &received.bytes, traceparent(headers))?;
    asking.take_batch(shared, items.len()).await?;
    let receipt = accept::many(shared, customer, items, key).await?;
    let rejected = receipt.results.iter().filter(|result| result.is_err()).count();
    let view = BatchView {
        accepted: receipt.results.len() - rejected,
        rejected,
        results: receipt.results.iter().map(ResultView::of).collect(),
    };
    // 207: whoever only looks at the status still sees that something is amiss.
    let status = if rejected == 0 { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    let mut response = (status, Json(view)).into_response();
    mark(&mut response, receipt.replayed);
    Ok(response)
}

fn mark(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}
