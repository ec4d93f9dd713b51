//! The HTTP door. One file for each thing that can be asked for; here, what they share: the
//! routes, reading a body ([`body`]), what may be asked for ([`asked`]), what stands around each
//! handler ([`layer`]), and what a path or method that isn't there is answered.

mod asked;
mod audit;
mod body;
mod customers;
mod dead_letters;
pub(crate) mod edits;
mod elsewhere;
mod erasures;
mod events;
mod explain;
pub(crate) mod identity;
mod inbox;
mod keys;
mod layer;
mod openapi;
mod paging;
mod pull;
mod reference;
mod release;
mod replays;
mod schemas;
pub(crate) mod selector;
pub(crate) mod subscriptions;
pub(crate) mod terms;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Shared;
use crate::json::{self, Object};
use crate::problem::{Kind, Problem};

use asked::Known;
use layer::Door;

/// What can be asked for with a key. Each route comes with its documentation, or not at all.
fn documented() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(events::publish, inbox::list_too))
        .routes(routes!(events::publish_batch))
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::event))
        .routes(routes!(inbox::deliveries))
        .routes(routes!(explain::event))
        .routes(routes!(explain::draft))
        .routes(routes!(release::one))
        .routes(routes!(subscriptions::create, subscriptions::list))
        .routes(routes!(subscriptions::show, edits::change, subscriptions::delete))
        .routes(routes!(edits::rotate))
        .routes(routes!(subscriptions::pause))
        .routes(routes!(subscriptions::resume))
        .routes(routes!(pull::queue))
        .routes(routes!(pull::lease))
        .routes(routes!(pull::ack))
        .routes(routes!(pull::release))
        .routes(routes!(pull::extend))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(dead_letters::redrive_one))
        .routes(routes!(replays::create, replays::list))
        .routes(routes!(replays::show))
        .routes(routes!(replays::cancel))
        .routes(routes!(schemas::list))
        .routes(routes!(schemas::show, schemas::put, schemas::delete))
        .routes(routes!(release::all))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::show, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(audit::list))
        .routes(routes!(customers::create, customers::list))
        .routes(routes!(customers::show, customers::change, erasures::erase))
        .routes(routes!(erasures::show))
        .routes(routes!(keys::create_for, keys::list_for))
        .routes(routes!(keys::revoke_for))
}

/// The OpenAPI document of the HTTP door.
pub(crate) fn document() -> Value {
    openapi::complete(documented().into_openapi())
}

pub(crate) fn router(shared: Arc<Shared>) -> anyhow::Result<Router> {
    let (with_key, _) = documented().split_for_parts();
    let document = document();
    let door = Door { shared: Arc::clone(&shared), known: Arc::new(Known::of(&document)) };
    let with_key = with_key
        // The same handlers, where people look for them.
        .route("/events", post(events::publish))
        .route("/inbox", get(inbox::list))
        .route_layer(from_fn_with_state(door, layer::identify));
    let router = with_key
        .merge(reference::router(&document))
        .fallback(|| async { Problem::new(Kind::NotFound, "There is nothing at this path.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "This path doesn't take this method.")
        })
        .layer(from_fn_with_state(Arc::clone(&shared), layer::observe));
    let router = match layer::cors(&shared.settings.cors)? {
        Some(cors) => router.layer(cors),
        None => router,
    };
    Ok(router.with_state(shared))
}

/// Reads a JSON object as `T`.
async fn read_json<T: DeserializeOwned>(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    read_json_as(body::JSON, shared, headers, body).await
}

/// As [`read_json`], where the body is of one of the types.
async fn read_json_as<T: DeserializeOwned>(
    types: &[&str],
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    body::expect(headers, types)?;
    let received = body::read(shared, headers, body, body::MAX_BODY_BYTES).await?;
    let Object(body) = json::read(&received.bytes)?;
    Ok(body)
}

/// As [`read_json`], where the body may be absent.
async fn read_json_or_nothing<T: DeserializeOwned>(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<T>, Problem> {
    let received = body::read(shared, headers, body, body::MAX_BODY_BYTES).await?;
    if received.bytes.is_empty() {
        return Ok(None);
    }
    body::expect(headers, body::JSON)?;
    let body: Option<Object<T>> = json::read(&received.bytes)?;
    Ok(body.map(|Object(body)| body))
}

/// The answer to a patch that was refused. RFC 5789 §2.2 wants a 415 to say what would do.
fn accept_patch(problem: Problem) -> Response {
    let unsupported = problem.kind == Kind::UnsupportedMediaType;
    let mut response = problem.into_response();
    if unsupported {
        let types = HeaderValue::try_from(body::MERGE_PATCH.join(", "));
        let name = HeaderName::from_static("accept-patch");
        types.map(|types| response.headers_mut().insert(name, types)).ok();
    }
    response
}

/// All of something.
#[derive(Serialize, ToSchema)]
struct List<T> {
    data: Vec<T>,
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
