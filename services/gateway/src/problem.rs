//! Errors as callers see them.
//!
//! A [`Problem`] says what is wrong and what would be right, and nothing about our insides.
//! Its [`Kind`] is one row of a table: the name, the HTTP status, the gRPC code. Over HTTP it
//! becomes an RFC 9457 problem document ([`Problem::document`], written by the outermost layer,
//! which knows the request's id); over gRPC a status with `google.rpc` details
//! ([`crate::grpc::status`]).

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tonic::Code;
use utoipa::ToSchema;

/// One place in a body and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Fault {
    /// A JSON Pointer (RFC 6901) into the body.
    #[schema(example = "/event_type")]
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<Fault>,
    /// Not before this has passed is it worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of problem; each has a page under docs/errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    MalformedBody,
    InvalidField,
    InvalidParameter,
    InvalidSelector,
    InvalidSchema,
    SchemaViolation,
    Unauthorized,
    MissingScope,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PreconditionFailed,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    TooLarge,
    UnsupportedMediaType,
    RateLimited,
    Timeout,
    Unavailable,
    Internal,
}

/// What a kind is called and answered with.
pub(crate) struct Row {
    /// Its page under docs/errors, and the end of `type`.
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) title: &'static str,
}

impl Kind {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 20] = [
        Self::MalformedBody,
        Self::InvalidField,
        Self::InvalidParameter,
        Self::InvalidSelector,
        Self::InvalidSchema,
        Self::SchemaViolation,
        Self::Unauthorized,
        Self::MissingScope,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::IdempotencyKeyInUse,
        Self::IdempotencyKeyReused,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    pub(crate) const fn row(self) -> Row {
        let (name, status, code, title) = match self {
            Self::MalformedBody => {
                ("malformed-body", 400, Code::InvalidArgument, "The body can't be read")
            }
            Self::InvalidField => {
                ("invalid-field", 400, Code::InvalidArgument, "A field is invalid")
            }
            Self::InvalidParameter => {
                ("invalid-parameter", 400, Code::InvalidArgument, "A parameter is invalid")
            }
            Self::InvalidSelector => {
                ("invalid-selector", 422, Code::InvalidArgument, "The selector can't be compiled")
            }
            Self::InvalidSchema => {
                ("invalid-schema", 422, Code::InvalidArgument, "The schema can't be used")
            }
            Self::SchemaViolation => {
                ("schema-violation", 422, Code::InvalidArgument, "The payload breaks its schema")
            }
            Self::Unauthorized => {
                ("unauthorized", 401, Code::Unauthenticated, "A valid API key is needed")
            }
            Self::MissingScope => {
                ("missing-scope", 403, Code::PermissionDenied, "The API key may not do this")
            }
            Self::NotFound => ("not-found", 404, Code::NotFound, "There is no such thing"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", 405, Code::Unimplemented, "Not with this method")
            }
            Self::Conflict => {
                ("conflict", 409, Code::FailedPrecondition, "Not as things stand now")
            }
            Self::PreconditionFailed => (
                "precondition-failed",
                412,
                Code::FailedPrecondition,
                "It has been changed meanwhile",
            ),
            Self::IdempotencyKeyInUse => (
                "idempotency-key-in-use",
                409,
                Code::Aborted,
                "A request with this idempotency key is under way",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                422,
                Code::FailedPrecondition,
                "The idempotency key belongs to another request",
            ),
            Self::TooLarge => ("too-large", 413, Code::ResourceExhausted, "The body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                415,
                Code::InvalidArgument,
                "The content type is not supported",
            ),
            Self::RateLimited => {
                ("rate-limited", 429, Code::ResourceExhausted, "Too many requests")
            }
            Self::Timeout => {
                ("timeout", 408, Code::DeadlineExceeded, "The request took too long to arrive")
            }
            Self::Unavailable => ("unavailable", 503, Code::Unavailable, "Try again shortly"),
            Self::Internal => ("internal", 500, Code::Internal, "Something went wrong here"),
        };
        let status = match StatusCode::from_u16(status) {
            Ok(status) => status,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Row { name, status, code, title }
    }
}

/// What is told of one place, at most. serde quotes what it found, whole.
const MAX_TOLD_BYTES: usize = 400;

/// Cuts a text that grew with what came in.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MAX_TOLD_BYTES {
        let end = (0..=MAX_TOLD_BYTES).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

/// How long to wait after a 503.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(2);

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after = (kind == Kind::Unavailable).then_some(UNAVAILABLE_FOR);
        Self { kind, detail: detail.into(), faults: Vec::new(), retry_after }
    }

    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::at(Kind::InvalidField, pointer, detail)
    }

    pub(crate) fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let fault = Fault { pointer: cut(pointer.into()), detail: cut(detail.into()) };
        let detail = format!("{} {}", fault.pointer, fault.detail).trim_start().to_owned();
        Self { faults: vec![fault], ..Self::new(kind, detail) }
    }

    pub(crate) fn parameter(name: &str, detail: impl AsRef<str>) -> Self {
        Self::new(Kind::InvalidParameter, format!("{name} {}", detail.as_ref()))
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Kind::NotFound, "It doesn't exist, or it isn't yours.")
    }

    pub(crate) fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// Whole seconds, rounded up: `Retry-After` is never earlier than what it stands for.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |after: Duration| after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.retry_after.map(|after| seconds(after).max(1))
    }

    pub(crate) fn document(&self, instance: Option<String>) -> Document<'_> {
        let Row { name, status, title, .. } = self.kind.row();
        Document {
            r#type: format!("/docs/errors/{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            errors: &self.faults,
        }
    }
}

/// What is wrong (RFC 9457 §3).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// `/docs/errors/<name>`: its page, and what a program decides by.
    #[schema(example = "/docs/errors/invalid-field")]
    r#type: String,
    /// The same for each problem of the type.
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong this time, for a person.
    detail: &'a str,
    /// This occurrence; absent in the results of a batch.
    #[schema(example = "urn:triggerline:request:0193570e-9b2f-7c9a-b6a1-4a3c8d5e6f70")]
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// Places in the body that are at fault; absent where none can be named.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
}

/// The status and headers; the body is written by [`render`], which finds the problem in the
/// response's extensions.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind.row().status;
        let headers = response.headers_mut();
        if self.kind == Kind::Unauthorized {
            // RFC 6750 §3.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Box::new(self));
        response
    }
}

/// Writes the document of a response that is a problem; `instance` names this occurrence.
pub(crate) fn render(mut response: Response, instance: impl FnOnce() -> String) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    let json = serde_json::to_vec(&problem.document(Some(instance()))).unwrap_or_default();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    *response.body_mut() = Body::from(json);
    response
}

/// A store that didn't answer. Logged here, once; the caller learns only that it is us.
impl From<triggerline_store::StoreError> for Problem {
    fn from(error: triggerline_store::StoreError) -> Self {
        use triggerline_store::StoreError;
        let source = std::error::Error::source(&error).map(ToString::to_string);
        if let StoreError::Unavailable { .. } = error {
            tracing::warn!(%error, source, "a store is unavailable");
            Self::new(Kind::Unavailable, "A database does not answer.")
        } else {
            tracing::error!(%error, source, "a store failed");
            Self::new(Kind::Internal, "The error has been logged.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_page_and_serialises_to_its_name() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let index = std::fs::read_to_string(format!("{pages}/README.md")).unwrap();
        for kind in Kind::ALL {
            let Row { name, status, title, .. } = kind.row();
            let page = std::fs::read_to_string(format!("{pages}/{name}.md")).unwrap_or_default();
            assert!(page.starts_with(&format!("# {name}\n")), "{name} has no page");
            assert!(page.contains(&format!("`{}` {title}", status.as_u16())), "{name}");
            assert!(index.contains(&format!("({name}.md) | {}", status.as_u16())), "{name}");
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
    }

    #[test]
    fn what_came_in_is_not_told_at_length() {
        let problem = Problem::at(Kind::MalformedBody, "/ü".repeat(1_000), "x".repeat(10_000));
        assert!(problem.detail.len() < 1_000 && problem.detail.ends_with('…'), "{problem:?}");
        assert_eq!(cut("kurz".to_owned()), "kurz");
    }

    #[test]
    fn retry_after_is_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            let problem = Problem::new(Kind::RateLimited, "");
            let problem = problem.retry_after(Duration::from_millis(millis));
            assert_eq!(problem.retry_after_seconds(), Some(seconds), "{millis} ms");
        }
        assert_eq!(Problem::new(Kind::NotFound, "").retry_after_seconds(), None);
    }
}
