//! The gRPC door: the same promises, on the same path.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use triggerline_types::{EventId, Scope, check_instant, millis, truncate_to_millis};
use triggerline_wire::proto::events_server::{Events, EventsServer};
use triggerline_wire::proto::{PublishRequest, PublishResponse};

use crate::Shared;
use crate::admit::{Draft, MAX_BYTES, admit};
use crate::problem::Problem;

/// The largest message: a payload of the largest size, and the fields beside it.
const MAX_MESSAGE_BYTES: usize = MAX_BYTES + 16 * 1_024;

pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = EventsServer::new(Door { shared }).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

struct Door {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Events for Door {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let headers = metadata.into_headers();
        let customer = self.shared.auth.check(&headers, Scope::EventsWrite).await?;
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let draft = draft(message, traceparent.map(str::to_owned))?;
        let now = truncate_to_millis(OffsetDateTime::now_utc());
        let event = admit(draft, customer, EventId::new(), now)?;
        self.shared.publisher.publish(&event).await?;
        Ok(Response::new(PublishResponse {
            event_id: event.id.to_string(),
            received_at: Some(to_timestamp(event.received_at)),
        }))
    }
}

fn draft(message: PublishRequest, traceparent: Option<String>) -> Result<Draft, Problem> {
    // In proto3 an absent string is an empty one.
    let given = |text: String| (!text.is_empty()).then_some(text);
    let occurred_at = message
        .occurred_at
        .map(|timestamp| {
            from_timestamp(&timestamp)
                .ok_or_else(|| Problem::field("/occurred_at", "is not an instant"))
        })
        .transpose()?;
    Ok(Draft {
        event_type: message.event_type,
        source: given(message.source),
        subject: given(message.subject),
        occurred_at,
        traceparent,
        payload: Draft::json_payload(message.payload)?,
    })
}

fn to_timestamp(instant: OffsetDateTime) -> prost_types::Timestamp {
    let ms = millis(instant);
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

fn from_timestamp(timestamp: &prost_types::Timestamp) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    let instant = OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok()?;
    instant.replace_nanosecond(nanos).ok().and_then(check_instant)
}
