//! The gRPC door: the same promises, on the same path.
//!
//! [`identify`] stands around what needs a key, before a message is read. [`events`] are the
//! calls, [`status`] says what a problem is in gRPC's words, [`health`] answers load balancers;
//! reflection describes all of it to whoever has no .proto files.

mod events;
mod health;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::health_server::HealthServer;
use triggerline_wire::proto::DESCRIPTORS;
use triggerline_wire::proto::events_server::EventsServer;

use crate::Shared;
use crate::asking::{Asking, add_fields};
use crate::batch::MAX_BATCH_BYTES;
use crate::http::{REQUEST_ID, request_id};

/// The largest message: a batch's payloads, and the fields beside them.
const MAX_MESSAGE_BYTES: usize = MAX_BATCH_BYTES + 1_000_000;

/// The largest message to those who need no key.
const MAX_OPEN_BYTES: usize = 16 * 1_024;

/// `draining`: from then on the health service says NOT_SERVING and streams end.
pub(crate) fn router(shared: Arc<Shared>, draining: CancellationToken) -> anyhow::Result<Router> {
    let door = events::Door::new(Arc::clone(&shared), draining.clone());
    let events = EventsServer::new(door).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let with_key = Router::new()
        .route_service("/triggerline.v1.Events/{*method}", events)
        .route_layer(from_fn_with_state(shared, identify));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = described().build_v1()?.max_decoding_message_size(MAX_OPEN_BYTES);
    let older = described().build_v1alpha()?.max_decoding_message_size(MAX_OPEN_BYTES);
    let health =
        HealthServer::new(health::Health::new(draining)).max_decoding_message_size(MAX_OPEN_BYTES);
    Ok(with_key
        .route_service("/grpc.health.v1.Health/{*method}", health)
        .route_service("/grpc.reflection.v1.ServerReflection/{*method}", reflection)
        // What grpcurl before 1.9 and many GUIs still ask.
        .route_service("/grpc.reflection.v1alpha.ServerReflection/{*method}", older)
        .fallback(|| async { answer(Status::unimplemented("There is no such method.")) }))
}

async fn identify(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (mut response, standing) = match Asking::identify(&shared, request.headers()).await {
        Ok(asking) => {
            request.extensions_mut().insert(asking.clone());
            let response = next.run(request).await;
            (response, Some(asking.standing()))
        }
        Err(refusal) => (answer(status::of(&refusal.problem)), refusal.standing),
    };
    let headers = response.headers_mut();
    if let Some(standing) = standing {
        add_fields(headers, standing);
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

fn answer(status: Status) -> Response {
    status.into_http::<Body>()
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_number_and_a_unit() {
        for (text, parsed) in [
            ("1H", Some(Duration::from_hours(1))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1x", None),
            ("-1S", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&headers), parsed, "{text}");
        }
    }
}
