//! What stands around every handler.
//!
//! [`observe`] is outermost: it names the request (`X-Request-Id`), writes a problem's document,
//! sees to what was not read of the body ([`super::unread`]), and logs. [`identify`] stands around
//! all that needs a key: it finds the caller, counts the request against the key's limit, refuses
//! parameters that the call doesn't have, and puts the RateLimit fields on every answer. A handler
//! gets the caller as [`Asking`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use uuid::Uuid;

use super::asked::Known;
use super::unread::Left;
use crate::Shared;
use crate::asking::{Asking, add_fields};
use crate::config::{AccessLog, CorsConfig};
use crate::problem::{Kind, Problem, render};

pub(crate) const REQUEST_ID: &str = "x-request-id";
/// How long a browser remembers what it was allowed.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);
/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;

pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let log = shared.settings.access_log;
    // Kept aside only where it may be wanted: this is every request's way.
    let asked = (log != AccessLog::Off)
        .then(|| (request.method().clone(), request.uri().path().to_owned()));
    let left = Left::watch(&mut request);
    let response = next.run(request).await;
    let mut response = render(response, || format!("urn:triggerline:request:{id}"));
    left.settle(&mut response).await;
    let status = response.status();
    if let Some((method, path)) = asked
        && (log == AccessLog::All || status.as_u16() >= 400)
    {
        let (status, ms) = (status.as_u16(), started.elapsed().as_millis());
        tracing::info!(target: "access", request_id = id, %method, path, status, ms, "answered");
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The client's own, where it can go into a header, a URN and a log as it is; else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let fits = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(plain)
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fits);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "a handler stands outside of `identify`");
            Problem::new(Kind::Internal, "The error has been logged.")
        })
    }
}

/// What [`identify`] goes by.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) known: Arc<Known>,
}

pub(super) async fn identify(
    State(Door { shared, known }): State<Door>,
    mut request: Request,
    next: Next,
) -> Response {
    let (mut response, standing) = match Asking::identify(&shared, request.headers()).await {
        Ok(asking) => {
            let response = match known.check(request.method(), request.uri()) {
                Ok(()) => {
                    request.extensions_mut().insert(asking.clone());
                    next.run(request).await
                }
                Err(problem) => problem.into_response(),
            };
            (response, Some(asking.standing()))
        }
        Err(refusal) => (refusal.problem.into_response(), refusal.standing),
    };
    if let Some(standing) = standing {
        add_fields(response.headers_mut(), standing);
    }
    response
}

/// Lets web pages of the origins in the settings call the API (fetch.spec.whatwg.org, "CORS
/// protocol"). Credentials are keys in headers, never cookies, so `*` is safe to allow.
pub(super) fn cors(config: &CorsConfig) -> anyhow::Result<Option<CorsLayer>> {
    if config.origins.is_empty() {
        return Ok(None);
    }
    let origins = if config.origins == ["*"] {
        AllowOrigin::any()
    } else {
        let origins = config.origins.iter().map(HeaderValue::try_from);
        AllowOrigin::list(origins.collect::<Result<Vec<_>, _>>().context("setting gateway.cors")?)
    };
    let exposed = [
        "x-event-id",
        "idempotent-replayed",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        REQUEST_ID,
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(CORS_MAX_AGE);
    Ok(Some(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_where_it_is_harmless() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 36);
        for (given, taken) in [("a-B_1.2", true), ("a b", false), ("a/b", false), ("", false)] {
            headers.insert(REQUEST_ID, given.parse().unwrap());
            assert_eq!(request_id(&headers) == given, taken, "{given}");
        }
    }
}
