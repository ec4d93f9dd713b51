//! The HTTP door. One file for each thing that can be asked for; here, what they share: the
//! routes, reading a body, and what a path or method that isn't there is answered.

mod events;
mod inbox;
mod subscriptions;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::routing::{get, post};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Shared;
use crate::problem::{Kind, Problem};

/// The largest body that is read, in bytes: a payload of the largest size and its envelope.
const MAX_BODY_BYTES: usize = 1 << 20;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/events", post(events::publish).get(inbox::list))
        .route("/events", post(events::publish))
        .route("/v1/inbox", get(inbox::list))
        .route("/inbox", get(inbox::list))
        .route("/v1/events/{id}", get(inbox::event))
        .route("/v1/events/{id}/deliveries", get(inbox::deliveries))
        .route("/v1/subscriptions", post(subscriptions::create).get(subscriptions::list))
        .route("/v1/subscriptions/{id}", get(subscriptions::show).delete(subscriptions::delete))
        .route("/v1/subscriptions/{id}/pause", post(subscriptions::pause))
        .route("/v1/subscriptions/{id}/resume", post(subscriptions::resume))
        .fallback(|| async { Problem::new(Kind::NotFound, "There is nothing at this path.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "This path doesn't take this method.")
        })
        .with_state(shared)
}

/// A JSON body, read up to the limit and never buffered past it.
async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if let Some(found) = headers.get(header::CONTENT_TYPE) {
        let media_type = found.to_str().unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let detail = format!("The content type is {media_type:?}; send application/json.");
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
    }
    let too_large = || {
        let detail = format!("A body is at most {MAX_BODY_BYTES} bytes.");
        Problem::new(Kind::TooLarge, detail)
    };
    // What says that it is too large is refused before it is read.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse().ok()).is_some_and(|n: u64| n > MAX_BODY_BYTES as u64)
    {
        return Err(too_large());
    }
    axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| {
        let limit = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if limit {
            too_large()
        } else {
            Problem::new(Kind::MalformedBody, "The body broke off while it was read.")
        }
    })
}

/// An id in the path. One that isn't an id can't be anyone's: 404, like any other.
struct Id<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Problem::not_found()),
        }
    }
}

/// The query string.
struct Query<T>(T);

impl<S: Send + Sync, T: for<'a> Deserialize<'a>> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::new(Kind::InvalidParameter, error.body_text())),
        }
    }
}
