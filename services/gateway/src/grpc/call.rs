//! The door that calls come in at, and what came with one beside its message.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tonic::{Request, Status};

use super::intake::Kept;
use super::{deadline, late, status};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::Problem;

/// Where calls come in: each service is put to it in a module of its own.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Call {
    pub(super) asking: Asking,
    pub(super) headers: HeaderMap,
    pub(super) kept: Kept,
}

impl Call {
    pub(super) fn of<T>(request: Request<T>) -> Result<(Self, T), Status> {
        let (metadata, extensions, message) = request.into_parts();
        let asking = extensions.get::<Asking>().cloned();
        let asking = asking.ok_or_else(missing)?;
        let kept = extensions.get::<Kept>().cloned().unwrap_or_default();
        Ok((Self { asking, headers: metadata.into_headers(), kept }, message))
    }

    /// How long the caller waits, if it says so.
    pub(super) fn deadline(&self) -> Option<Duration> {
        deadline(&self.headers)
    }

    /// Does `work` within the call's deadline.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Status> {
        let done = match self.deadline() {
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| late())?,
            None => work.await,
        };
        done.map_err(|problem| status::of(&problem))
    }
}

pub(super) fn missing() -> Status {
    tracing::error!("a call stands outside of `identify`");
    Status::internal("The error has been logged.")
}
