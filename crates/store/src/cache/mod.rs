//! What is asked on the way of a request and may be forgotten without losing an event: who has an
//! idempotency key, and how much of a rate limit is left.
//!
//! [`RedisCache`] serves several gateways together; [`MemoryCache`] serves one process, and is
//! what stands in when Redis is away. Both pass [`conformance`].

pub mod conformance;
mod memory;
mod redis;
mod window;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, EventId};
use uuid::Uuid;

use crate::StoreError;

pub use memory::MemoryCache;
pub use redis::RedisCache;

/// Each method is atomic.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Claims an idempotency key, or says who has it.
    ///
    /// A reservation is kept for `claim.keep` from the first claim on. It is *running* while its
    /// lease lasts, then free to be taken over, by the same request only and under the id that it
    /// holds, until it is settled.
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError>;

    /// Keeps the answer to a reservation that is still this token's. `false` where it has been
    /// taken over, settled or forgotten; then nothing is changed.
    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError>;

    /// Gives back a reservation that is still this token's and not settled. With `forget` it is
    /// as if it had never been; without, its id is kept for the next claim, which need not wait
    /// for the lease.
    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        forget: bool,
    ) -> Result<(), StoreError>;

    /// Takes up to `want` of what is left of `quota` in a window that slides.
    ///
    /// In no real interval as long as `window` is more than `quota` granted. (It errs to fewer, by
    /// up to a hundredth of the window: see [`window`].) The quota may differ from call to call;
    /// another window is another count.
    async fn take(
        &self,
        name: &str,
        quota: u32,
        window: Duration,
        want: u32,
    ) -> Result<Grant, StoreError>;

    /// Whether it can be asked at the moment, as far as is known. Never waits.
    fn is_available(&self) -> bool;
}

/// A client's key, apart for each customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    pub customer: CustomerId,
    pub key: String,
}

#[derive(Clone, Debug)]
pub struct Claim {
    pub key: IdempotencyKey,
    /// Of the request: a key stands for one request only.
    pub fingerprint: [u8; 32],
    /// What the events get if the claim is the first.
    pub event_id: EventId,
    pub received_at: OffsetDateTime,
    /// The claimant's own.
    pub token: Uuid,
    pub lease: Duration,
    pub keep: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Ours until the lease ends. The id and the instant are the claim's own, or those of the
    /// first claim by the same request, which never came to an answer.
    Ours { event_id: EventId, received_at: OffsetDateTime },
    /// Somebody is at work on it, and keeps it for this long at most.
    Running { retry_after: Duration },
    /// The key stands for another request.
    Different,
    /// It has been answered.
    Settled { answer: Bytes },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Up to what was wanted.
    pub granted: u32,
    /// What is left after it.
    pub remaining: u32,
    /// Until what was wanted and not granted comes free, if nobody else takes it; zero where all
    /// was granted.
    pub retry_after: Duration,
    /// Until all of the quota is free, if nobody takes any.
    pub reset: Duration,
}
