//! What gateways must agree on for a short while: who handles an idempotency key, and how much
//! of a rate limit is left.
//!
//! - A [`Claim`] asks for an idempotency key; a [`Reservation`] is the answer. Whoever holds
//!   the reservation settles it with the answer that every later claim gets, or releases it.
//! - A [`Grant`] is what was taken of a [`RateLimit`]'s window.
//! - [`RedisCache`] is for gateways that share a Redis, [`MemoryCache`] for one process.
//!
//! Nothing here is the truth about events: a cache that is lost costs duplicates and some
//! requests over a limit, never an event.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, EventId, RateLimit};
use uuid::Uuid;

use crate::StoreError;

pub mod conformance;
mod memory;
mod redis;
mod reservation;
mod window;

pub use memory::MemoryCache;
pub use redis::RedisCache;

/// Idempotency reservations and rate windows.
///
/// Each method does all that it does at once: of two calls, one has happened before the other
/// begins. On `Err` it may have happened or not, or happen a little later. Asking again with
/// the same token is right after any error; taking again may take twice.
///
/// Customers don't meet: the same key of two customers is two keys.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Claims an idempotency key, or says who has it.
    ///
    /// A key is known for `keep` from its first claim on, whatever happens to it then. It is
    /// *running* while its lease lasts, *free* when it was released with its outcome unknown,
    /// and *settled* once it has an answer. A running one whose lease is over is as good as
    /// free. The claim that comes back [`Reservation::Ours`] holds the key under its token
    /// until its lease ends and then until another claim takes it over. A claim with the token
    /// that holds the key is the same claim, asked again: it begins a new lease. A lease that
    /// would last longer than it was made for is over too: the clock was set back.
    ///
    /// `lease` should be longer than the work takes and much shorter than `keep`.
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError>;

    /// Keeps the answer to the reservation that `token` holds. `false` if it was taken over,
    /// released or forgotten: then nothing changes, and the answer isn't the one that others
    /// get. The first answer stays; settling again with the same token is `true` and changes
    /// nothing.
    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError>;

    /// Gives back the reservation that `token` holds; changes nothing when it holds none, or
    /// has settled it.
    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        release: Release,
    ) -> Result<(), StoreError>;

    /// Takes from a window that slides: in no span of time as long as the limit's window is more
    /// than its quota granted for `key`, however the span lies.
    ///
    /// Time is counted in slices of a hundredth of the window, so what was taken comes free up
    /// to one slice late. A quota may differ from call to call; each takes what its own leaves.
    /// A key has one window for each length, so another length starts with an empty one. Over
    /// a clock that is set back (a Redis server's), what was taken counts for longer; set back
    /// by more than a window, it is forgotten.
    async fn take(&self, key: &str, limit: RateLimit, want: Want) -> Result<Grant, StoreError>;

    /// Whether the backend can be asked at the moment, as far as is known; never waits.
    fn is_available(&self) -> bool;
}

/// What a producer calls a request, so that sending it twice makes one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    pub customer: CustomerId,
    /// At most 255 printable characters, which whoever makes this has checked.
    pub key: String,
}

/// A wish to handle the request that a key stands for.
#[derive(Clone, Debug)]
pub struct Claim {
    pub key: IdempotencyKey,
    /// Of the request: the same key with another one is a mistake, not a repetition.
    pub fingerprint: [u8; 32],
    /// The event's id and instant if this is the first claim; kept to the nanosecond.
    pub event_id: EventId,
    pub received_at: OffsetDateTime,
    /// Whose reservation it becomes: new for each request that comes in.
    pub token: Uuid,
    /// How long nobody else takes over.
    pub lease: Duration,
    /// How long the key is known, from the first claim on.
    pub keep: Duration,
}

/// What a claim comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The claim holds the key. The event has this id and instant: the claim's, or those of an
    /// earlier claim that never settled, whose event may be out there already.
    Ours { event_id: EventId, received_at: OffsetDateTime },
    /// Somebody is at work on it, for `retry_after` at the longest; never zero.
    Running { retry_after: Duration },
    /// The key stands for a request with another fingerprint, whatever its state.
    Different,
    /// It was settled: this is the event, and what its producer was told.
    Settled { event_id: EventId, answer: Bytes },
}

/// How a reservation is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Whether the event was made is not known. Its id, instant and fingerprint stay, and the
    /// next claim gets them at once, without waiting for the lease.
    Unknown,
    /// No event was made, by this claim or an earlier one: the key is unused again, for another
    /// fingerprint too. Wrong where [`Reservation::Ours`] came with an id that wasn't the
    /// claim's own: the earlier claim may have made its event.
    Forget,
}

/// How much to take from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// All of it or nothing. More than the quota is never granted.
    All(u32),
    /// What is left, up to this.
    UpTo(u32),
}

impl Want {
    pub const fn amount(self) -> u32 {
        match self {
            Self::All(amount) | Self::UpTo(amount) => amount,
        }
    }
}

/// What was taken, and how the window stands after it. Wanting nothing asks only for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub granted: u32,
    /// What another call could take now.
    pub remaining: u32,
    /// Zero if all that was wanted was granted. Otherwise how long until asking again helps, if
    /// nobody else takes anything: until the same [`Want::All`] is granted in full, or until
    /// [`Want::UpTo`] gets at least one. For more than the quota it is the whole window.
    pub retry_after: Duration,
    /// Until the window is empty if nothing more is taken.
    pub reset: Duration,
}
