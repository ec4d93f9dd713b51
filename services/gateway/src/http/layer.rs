//! What stands around every handler.
//!
//! [`observe`] is outermost: it names the request (`X-Request-Id`), writes a problem's document,
//! sees to what was not read of the body ([`crate::unread`]), and logs ([`crate::access`]).
//! [`identify`] stands around all that needs a key: it finds the caller, counts the request against
//! the key's limit, refuses parameters that the call doesn't have, and puts the RateLimit fields on
//! every answer. A handler gets the caller as [`Asking`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::asked::Known;
use crate::Shared;
use crate::access::{Entry, REQUEST_ID};
use crate::asking::{Asking, add_fields};
use crate::config::CorsConfig;
use crate::problem::{Kind, Problem, render};
use crate::unread::Left;

/// How long reading away what is left of a body may take.
const UNREAD: Duration = Duration::from_secs(1);
/// How long a browser remembers what it was allowed.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let entry = Entry::of(&request, shared.settings.access_log);
    let left = Left::watch(&mut request);
    let response = next.run(request).await;
    let mut response = render(response, || format!("urn:triggerline:request:{}", entry.id()));
    left.settle(UNREAD, &mut response).await;
    entry.name(response.headers_mut());
    shared.counted.over_http.http(response.status(), entry.close(response.status(), None));
    response
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
