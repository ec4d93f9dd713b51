//! Errors as callers see them: RFC 9457 problem documents over HTTP, a status over gRPC.
//!
//! A [`Problem`] says what is wrong and what would be right, and nothing about our insides.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// One place in a body and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// A JSON Pointer (RFC 6901) into the body.
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) faults: Vec<Fault>,
}

/// The kinds of problem; each has a page under docs/errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedBody,
    InvalidField,
    InvalidParameter,
    InvalidSelector,
    Unauthorized,
    MissingScope,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    UnsupportedMediaType,
    Unavailable,
    Internal,
}

impl Kind {
    const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MalformedBody => {
                ("malformed-body", StatusCode::BAD_REQUEST, "The body can't be read")
            }
            Self::InvalidField => ("invalid-field", StatusCode::BAD_REQUEST, "A field is invalid"),
            Self::InvalidParameter => {
                ("invalid-parameter", StatusCode::BAD_REQUEST, "A parameter is invalid")
            }
            Self::InvalidSelector => (
                "invalid-selector",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The selector can't be compiled",
            ),
            Self::Unauthorized => {
                ("unauthorized", StatusCode::UNAUTHORIZED, "A valid API key is needed")
            }
            Self::MissingScope => {
                ("missing-scope", StatusCode::FORBIDDEN, "The API key may not do this")
            }
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is no such thing"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Not with this method")
            }
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The content type is not supported",
            ),
            Self::Unavailable => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Try again shortly")
            }
            Self::Internal => {
                ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here")
            }
        }
    }
}

/// How long to wait after a 503, in seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), faults: Vec::new() }
    }

    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::at(Kind::InvalidField, pointer, detail)
    }

    pub(crate) fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let fault = Fault { pointer: pointer.into(), detail: detail.into() };
        Self {
            kind,
            detail: format!("{} {}", fault.pointer, fault.detail).trim_start().to_owned(),
            faults: vec![fault],
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Kind::NotFound, "It doesn't exist, or it isn't yours.")
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (name, status, title) = self.kind.parts();
        let document = Document {
            r#type: format!("urn:triggerline:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            errors: &self.faults,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        match self.kind {
            Kind::Unauthorized => {
                // RFC 6750 §3.
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        response
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        let code = match problem.kind {
            Kind::MalformedBody
            | Kind::InvalidField
            | Kind::InvalidParameter
            | Kind::InvalidSelector
            | Kind::UnsupportedMediaType => tonic::Code::InvalidArgument,
            Kind::Unauthorized => tonic::Code::Unauthenticated,
            Kind::MissingScope => tonic::Code::PermissionDenied,
            Kind::NotFound => tonic::Code::NotFound,
            Kind::MethodNotAllowed => tonic::Code::Unimplemented,
            Kind::TooLarge => tonic::Code::ResourceExhausted,
            Kind::Unavailable => tonic::Code::Unavailable,
            Kind::Internal => tonic::Code::Internal,
        };
        Self::new(code, problem.detail)
    }
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
