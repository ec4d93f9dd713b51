//! What explains the API: `/openapi.json`, the reference at `/docs`, and a page for each error at
//! `/docs/errors`. Everything is in the binary; nothing is fetched from elsewhere. No key is
//! needed.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;

use crate::Shared;
use crate::problem::Problem;

/// Scalar's API reference (MIT), version 1.72.1 of the npm package, compressed.
const SCALAR: &[u8] = include_bytes!("../../assets/scalar.js.gz");

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Triggerline API</title>
</head>
<body>
<script id="api-reference" data-url="/openapi.json"
  data-configuration='{"telemetry": false, "withDefaultFonts": false, "hideClientButton": true, "agent": {"disabled": true}, "mcp": {"disabled": true}, "showDeveloperTools": "never"}'></script>
<script src="/docs/scalar.js"></script>
</body>
</html>
"#;

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../docs/errors/", $name, ".md")))),*]
    };
}

/// The pages of docs/errors, by name.
const ERRORS: [(&str, &str); 21] = pages![
    "README",
    "conflict",
    "precondition-failed",
    "idempotency-key-in-use",
    "idempotency-key-reused",
    "internal",
    "invalid-field",
    "invalid-parameter",
    "invalid-schema",
    "invalid-selector",
    "malformed-body",
    "method-not-allowed",
    "missing-scope",
    "not-found",
    "rate-limited",
    "schema-violation",
    "timeout",
    "too-large",
    "unauthorized",
    "unavailable",
    "unsupported-media-type",
];

pub(super) fn router(document: &Value) -> Router<Arc<Shared>> {
    let document = Bytes::from(document.to_string());
    Router::new()
        .route("/openapi.json", get(|| async move { page("application/json", document) }))
        .route("/docs", get(|| async { reference() }))
        .route("/docs/scalar.js", get(|| async { script() }))
        .route("/docs/errors", get(|| async { error("README") }))
        .route("/docs/errors/{name}", get(|Path(name): Path<String>| async move { error(&name) }))
}

/// The reference runs a large script: it may load from here only, and talk to us only.
fn reference() -> Response {
    let mut response = page("text/html; charset=utf-8", PAGE);
    let policy = "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; \
                  style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
                  connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let policy = HeaderValue::from_static(policy);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn script() -> Response {
    let mut response = page("text/javascript; charset=utf-8", SCALAR);
    let headers = response.headers_mut();
    // Every browser that runs the script takes gzip.
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}

fn error(name: &str) -> Response {
    // Links between the pages name files.
    let name = name.strip_suffix(".md").unwrap_or(name);
    match ERRORS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => page("text/markdown; charset=utf-8", *text),
        None => Problem::not_found().into_response(),
    }
}

fn page(kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    #[test]
    fn every_kind_of_problem_has_its_page_here() {
        for kind in Kind::ALL {
            let name = kind.row().name;
            assert!(ERRORS.iter().any(|(page, _)| *page == name), "{name}");
        }
        assert_eq!(ERRORS.len(), Kind::ALL.len() + 1);
    }
}
