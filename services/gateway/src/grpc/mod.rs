//! The gRPC door: the same promises, on the same path.
//!
//! [`observe`] stands around every call, [`identify`] around those that need a key, before a message
//! is read, and [`Intake`] around each call's messages while they are read. [`events`] are the calls
//! that publish ([`conversation`]: a stream of them), [`inbox`] those that read,
//! [`subscriptions`] those that manage subscriptions, [`pull`] those that lease deliveries, [`replays`]
//! and [`dead_letters`] those that have them handed over again, [`status`] says what a problem is in gRPC's words,
//! [`health`] answers load balancers; reflection describes all of it to whoever has no .proto files.

mod call;
mod conversation;
mod dead_letters;
mod events;
mod health;
mod inbox;
mod instant;
mod intake;
mod observe;
mod pull;
mod replays;
mod status;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::Response;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::health_server::HealthServer;
use triggerline_wire::proto::DESCRIPTORS;
use triggerline_wire::proto::dead_letters_server::DeadLettersServer;
use triggerline_wire::proto::events_server::EventsServer;
use triggerline_wire::proto::inbox_server::InboxServer;
use triggerline_wire::proto::pull_server::PullServer;
use triggerline_wire::proto::replays_server::ReplaysServer;
use triggerline_wire::proto::subscriptions_server::SubscriptionsServer;

use crate::Shared;
use crate::asking::{Asking, add_fields};
use crate::batch::MAX_BATCH_BYTES;
use call::Door;
use intake::{Allowance, Intake, Kept, Messages};

/// The largest message: a batch's payloads, and the fields beside them.
const MAX_MESSAGE_BYTES: usize = MAX_BATCH_BYTES + 1_000_000;

/// The largest message to those who need no key.
const MAX_OPEN_BYTES: usize = 16 * 1_024;

/// Whose messages are a stream.
const MANY: &str = "/triggerline.v1.Events/PublishStream";

/// `draining`: from then on the health service says NOT_SERVING and streams end.
pub(crate) fn router(shared: Arc<Shared>, draining: CancellationToken) -> anyhow::Result<Router> {
    let door = events::Door::new(Arc::clone(&shared), draining.clone());
    let events = EventsServer::new(door).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let door = Door { shared: Arc::clone(&shared) };
    let inbox = InboxServer::new(door.clone());
    let subscriptions = SubscriptionsServer::new(door.clone());
    let pull = PullServer::new(door.clone());
    let replays = ReplaysServer::new(door.clone());
    let dead_letters = DeadLettersServer::new(door);
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthServer::new(health::Health::new(draining.clone()));
    // Those who need no key.
    let open = |messages: Messages| {
        let allowance = allowance(&shared, MAX_OPEN_BYTES);
        map_request(move |request: Request| {
            let (allowance, messages) = (allowance.clone(), messages.clone());
            async move { request.map(|body| Body::new(Intake::new(body, allowance, messages, None))) }
        })
    };
    let checked = Router::new()
        .route_service("/grpc.health.v1.Health/{*method}", health)
        .route_layer(open(Messages::One));
    let described = Router::new()
        .route_service("/grpc.reflection.v1.ServerReflection/{*method}", described().build_v1()?)
        // What grpcurl before 1.9 and many GUIs still ask.
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{*method}",
            described().build_v1alpha()?,
        )
        .route_layer(open(Messages::UntilDrained(draining)));
    let with_key = Router::new()
        .route_service("/triggerline.v1.Events/{*method}", events)
        .route_service("/triggerline.v1.Inbox/{*method}", inbox)
        .route_service("/triggerline.v1.Subscriptions/{*method}", subscriptions)
        .route_service("/triggerline.v1.Pull/{*method}", pull)
        .route_service("/triggerline.v1.Replays/{*method}", replays)
        .route_service("/triggerline.v1.DeadLetters/{*method}", dead_letters)
        .route_layer(from_fn_with_state(Arc::clone(&shared), identify));
    Ok(with_key
        .merge(checked)
        .merge(described)
        .fallback(|| async { answer(Status::unimplemented("There is no such method.")) })
        .layer(from_fn_with_state(shared, observe::observe)))
}

fn allowance(shared: &Shared, bytes: usize) -> Allowance {
    let time = shared.settings.limits.body_timeout;
    Allowance { room: shared.room.clone(), bytes, time }
}

async fn identify(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let (mut response, standing) = match Asking::identify(&shared, request.headers()).await {
        Ok(asking) => {
            let messages =
                if request.uri().path() == MANY { Messages::Many } else { Messages::One };
            // Held here until the answer, or taken by the one who answers a stream.
            let kept = Kept::default();
            request.extensions_mut().insert(asking.clone());
            request.extensions_mut().insert(kept.clone());
            let allowance = allowance(&shared, MAX_MESSAGE_BYTES);
            let request = request
                .map(|body| Body::new(Intake::new(body, allowance, messages, Some(kept.clone()))));
            let response = next.run(request).await;
            drop(kept);
            (response, Some(asking.standing()))
        }
        Err(refusal) => (answer(status::of(&refusal.problem)), refusal.standing),
    };
    if let Some(standing) = standing {
        add_fields(response.headers_mut(), standing);
    }
    response
}

fn answer(status: Status) -> Response {
    status.into_http::<Body>()
}

/// An event that was on its way to Kafka may have arrived.
fn late() -> Status {
    Status::deadline_exceeded("The deadline passed. Whether events were accepted is unknown.")
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
