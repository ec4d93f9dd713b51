//! Replays: jobs that several processes share without doing the same one at once.

use std::time::Duration;

use async_trait::async_trait;
use triggerline_types::{Actor, CustomerId, Progress, Replay, ReplayId, ReplayState, Selection};
use uuid::Uuid;

use crate::StoreError;

/// Replays of one customer that may run at once.
pub const MAX_RUNNING_REPLAYS: usize = 10;

/// A replay as its owner asks for it.
#[derive(Clone, Debug)]
pub struct NewReplay {
    pub customer_id: CustomerId,
    pub selection: Selection,
    pub rate: u32,
    pub dry_run: bool,
}

/// Part of [`crate::ControlStore`], with its promises.
#[async_trait]
pub trait ReplayStore: Send + Sync + 'static {
    /// Keeps a replay, which runs from now on; `None` where [`MAX_RUNNING_REPLAYS`] of the
    /// customer's do.
    async fn create_replay(&self, new: NewReplay, by: Actor) -> Result<Option<Replay>, StoreError>;

    /// The customer's replay. Another customer's is `None`.
    async fn replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError>;

    /// Up to `limit` of the customer's replays, newest first; only those older than `after`.
    async fn replays(
        &self,
        customer: CustomerId,
        after: Option<ReplayId>,
        limit: usize,
    ) -> Result<Vec<Replay>, StoreError>;

    /// Stops a replay and returns it as it is then; one that has ended stays as it ended. `None`
    /// where the customer has no such replay.
    async fn cancel_replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
        by: Actor,
    ) -> Result<Option<Replay>, StoreError>;

    /// Gives a running replay that nobody holds to `owner`, for as long as `lease`; the oldest
    /// first. However many ask at once, each is given to one.
    async fn claim_replay(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Replay>, StoreError>;

    /// Keeps how far `owner` is with a replay, and what it has become; `lease` begins anew, and
    /// none means that somebody else may go on. `false` where it isn't the owner's (any more): it
    /// was cancelled, or the lease ran out and somebody else has it. Then nothing is changed.
    async fn advance_replay(
        &self,
        id: ReplayId,
        owner: Uuid,
        progress: Progress,
        state: ReplayState,
        lease: Option<Duration>,
    ) -> Result<bool, StoreError>;
}
