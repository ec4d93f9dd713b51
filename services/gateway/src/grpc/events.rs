//! `triggerline.v1.Events`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use triggerline_types::{CustomerId, Scope};
use triggerline_wire::proto::events_server::Events;
use triggerline_wire::proto::{
    PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishResult,
    PublishStreamRequest, PublishStreamResponse, SchemaError, publish_result,
    publish_stream_response,
};

use super::call::{Call, missing};
use super::conversation::Conversation;
use super::instant::{from_timestamp, to_timestamp};
use super::intake::Arrived;
use super::{deadline, status};
use crate::Shared;
use crate::accept::{self, Accepted, Receipt};
use crate::admit::Draft;
use crate::batch::check_length;
use crate::idempotency;
use crate::problem::{Fault, Kind, Problem};
use crate::room::Held;

/// How long a client may take to hear how its stream ended.
const LAST_WORD: Duration = Duration::from_secs(1);

pub(super) struct Door {
    shared: Arc<Shared>,
    draining: CancellationToken,
}

impl Door {
    pub(super) fn new(shared: Arc<Shared>, draining: CancellationToken) -> Self {
        Self { shared, draining }
    }
}

impl Call {
    /// The next message of a stream.
    fn arrived(&self) -> Result<(PublishStreamRequest, Held), Status> {
        let arrived = self.kept.next();
        let Arrived { bytes, room } = arrived.ok_or_else(missing)?;
        let message = PublishStreamRequest::decode(bytes)
            .map_err(|error| status::of(&Problem::new(Kind::MalformedBody, error.to_string())))?;
        Ok((message, room))
    }

    fn traceparent(&self) -> Option<String> {
        Some(self.headers.get("traceparent")?.to_str().ok()?.to_owned())
    }

    /// The key in the message, else the one in the metadata.
    fn idempotency_key(&self, given: &str) -> Result<Option<String>, Problem> {
        if given.is_empty() {
            return idempotency::from_headers(&self.headers);
        }
        in_message(given).map(Some)
    }
}

#[tonic::async_trait]
impl Events for Door {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsWrite)?;
            let key = call.idempotency_key(&message.idempotency_key)?;
            let draft = draft(message, call.traceparent())?;
            accept::one(&self.shared, customer, draft, key).await
        };
        let (accepted, replayed) = call.within(work).await?;
        Ok(Response::new(response(accepted, replayed)))
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsWrite)?;
            let key = call.idempotency_key(&message.idempotency_key)?;
            check_length(message.events.len())?;
            call.asking.take_batch(&self.shared, message.events.len()).await?;
            let items = message.events.into_iter().map(|event| {
                if event.idempotency_key.is_empty() {
                    return draft(event, call.traceparent());
                }
                let told = "is the batch's to have, not an event's in it";
                Err(Problem::field("/idempotency_key", told))
            });
            accept::many(&self.shared, customer, items.collect(), key).await
        };
        let Receipt { results, replayed } = call.within(work).await?;
        let results = results.into_iter().map(|result| PublishResult {
            result: Some(match result {
                Ok(accepted) => publish_result::Result::Accepted(response(accepted, replayed)),
                Err(problem) => publish_result::Result::Error(status::message(&problem)),
            }),
        });
        Ok(Response::new(PublishBatchResponse { results: results.collect() }))
    }

    type PublishStreamStream = BoxStream<'static, Result<PublishStreamResponse, Status>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let (call, incoming) = Call::of(request)?;
        let allowed = call.asking.may(Scope::EventsWrite);
        let customer = allowed.map_err(|problem| status::of(&problem))?;
        let limit = self.shared.settings.limits.stream_events;
        let (answers, outgoing) = mpsc::channel(limit);
        let (shared, draining) = (Arc::clone(&self.shared), self.draining.clone());
        tokio::spawn(async move {
            let stream = Stream { shared, call, customer };
            if let Err(status) = stream.hold(incoming, draining, &answers).await {
                // Who doesn't listen isn't waited for.
                let _ = tokio::time::timeout(LAST_WORD, answers.send(Err(status))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing).boxed()))
    }
}

/// One PublishStream.
struct Stream {
    shared: Arc<Shared>,
    call: Call,
    customer: CustomerId,
}

impl Stream {
    async fn hold(
        &self,
        incoming: Streaming<PublishStreamRequest>,
        draining: CancellationToken,
        answers: &mpsc::Sender<Result<PublishStreamResponse, Status>>,
    ) -> Result<(), Status> {
        let limits = &self.shared.settings.limits;
        let (limit, patience) = (limits.stream_events, limits.write_timeout);
        let deadline = deadline(&self.call.headers);
        // tonic says when there is one; it has gone around it.
        let incoming = incoming.map(|told| told.and_then(|_| self.call.arrived()));
        let admit = || self.admitted();
        let answer = |(message, room), refused| self.answer(message, refused, room);
        let conversation = Conversation { limit, deadline, patience, draining };
        conversation.hold(incoming, admit, answer, answers).await
    }

    /// Whether the caller may still send, and send so much: a stream may outlive its key. The
    /// opening of the stream has been counted; each event is counted here.
    async fn admitted(&self) -> Result<Option<Problem>, Status> {
        self.shared.auth.check(&self.call.headers).await.map_err(|problem| status::of(&problem))?;
        Ok(self.call.asking.take_one(&self.shared).await.err())
    }

    async fn answer(
        &self,
        message: PublishStreamRequest,
        refused: Option<Problem>,
        room: Held,
    ) -> PublishStreamResponse {
        let PublishStreamRequest { sequence, event } = message;
        let work = async {
            if let Some(problem) = refused {
                return Err(problem);
            }
            let event = event.ok_or_else(|| Problem::field("/event", "is missing"))?;
            let key = match &*event.idempotency_key {
                "" => None,
                key => Some(in_message(key)?),
            };
            let draft = draft(event, self.call.traceparent())?;
            accept::one(&self.shared, self.customer, draft, key).await
        };
        let result = match work.await {
            Ok((accepted, replayed)) => {
                publish_stream_response::Result::Accepted(response(accepted, replayed))
            }
            Err(problem) => publish_stream_response::Result::Error(status::message(&problem)),
        };
        drop(room);
        PublishStreamResponse { sequence, result: Some(result) }
    }
}

/// An idempotency key that stands in a message, where its place can be named.
fn in_message(key: &str) -> Result<String, Problem> {
    idempotency::check(key).map_err(|problem| {
        let told = problem.detail.trim_start_matches("Idempotency-Key ");
        Problem::at(problem.kind, "/idempotency_key", told)
    })
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
        extensions: BTreeMap::new(),
        traceparent,
        payload: Draft::json_payload(message.payload)?,
    })
}

fn response(accepted: Accepted, replayed: bool) -> PublishResponse {
    let (quarantined, faults) = match accepted.notice {
        Some(notice) => (notice.quarantined, notice.faults),
        None => (false, Vec::new()),
    };
    let faults = faults.into_iter();
    PublishResponse {
        event_id: accepted.event_id.to_string(),
        received_at: Some(to_timestamp(accepted.received_at)),
        replayed,
        quarantined,
        schema_errors: faults
            .map(|Fault { pointer, detail }| SchemaError { pointer, detail })
            .collect(),
    }
}
