//! `grpc.health.v1`: SERVING, and NOT_SERVING from when the process drains. (tonic-health has a
//! service of its own, whose watches never end, and a drain would wait for them.)

use std::pin::Pin;

use futures::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What can be asked for; the empty name is the whole server.
const SERVICES: [&str; 2] = ["", "triggerline.v1.Events"];

pub(super) struct Health {
    draining: CancellationToken,
}

impl Health {
    pub(super) fn new(draining: CancellationToken) -> Self {
        Self { draining }
    }

    fn now(&self) -> HealthCheckResponse {
        if self.draining.is_cancelled() {
            answer(ServingStatus::NotServing)
        } else {
            answer(ServingStatus::Serving)
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&&*request.get_ref().service) {
            return Err(Status::not_found("There is no such service."));
        }
        Ok(Response::new(self.now()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The status now, and NOT_SERVING when it comes, which ends the watch.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let draining = self.draining.clone();
        if !SERVICES.contains(&&*request.get_ref().service) {
            // The protocol has the watch go on: the service might appear.
            let unknown = stream::iter([Ok(answer(ServingStatus::ServiceUnknown))]);
            let end = stream::once(draining.cancelled_owned()).filter_map(async |()| None);
            return Ok(Response::new(unknown.chain(end).boxed()));
        }
        let first = self.now();
        let now = stream::iter([Ok(first)]);
        if draining.is_cancelled() {
            return Ok(Response::new(now.boxed()));
        }
        let later = async move {
            draining.cancelled_owned().await;
            Ok(answer(ServingStatus::NotServing))
        };
        Ok(Response::new(now.chain(stream::once(later)).boxed()))
    }
}
