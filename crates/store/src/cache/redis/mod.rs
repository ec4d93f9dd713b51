//! The cache that gateways share, in Redis (7 or later, or Valkey). Where it is, and with which TLS it
//! is reached: [`address`]; the connections to it: [`link`].
//!
//! Each method is one Lua script on one key, so that it happens at once and a cluster can place
//! it. Scripts read the time from Redis, so that the gateways' clocks don't matter. They are
//! called by their hash, and sent in full to a server that doesn't know it (any more).
//!
//! | Redis key | holds | until |
//! |---|---|---|
//! | `tl:i:{customer}:{key}` | an idempotency key, a hash | `keep` after its first claim |
//! | `tl:r:{window in seconds}:{key}` | a rate window, a hash | nothing in it counts |
//!
//! An idempotency key's hash: `f` the fingerprint, `e` the event id (16 bytes), `r` its instant
//! (nanoseconds since 1970), `t` the token that holds it (16 bytes), `l` when its lease ends
//! (milliseconds since 1970), `a` the answer. With `a` it is settled, with `l` running, with
//! neither free. A rate window's hash: the index of a slice → what was taken in it.
//!
//! Redis forgets when it is told to: with a `maxmemory-policy` other than `noeviction`, or
//! without persistence or at a failover, keys may be lost early, which costs what it costs a
//! [`MemoryCache`](super::MemoryCache) that is full.
//!
//! No call waits longer than [`link::PATIENCE`], and none waits for a server that is known to
//! be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::error::{Error, ErrorKind};
use fred::interfaces::LuaInterface as _;
use fred::types::Value;
use time::OffsetDateTime;
use tokio::time::timeout;
use triggerline_types::{EventId, RateLimit};
use uuid::Uuid;

use self::link::{Keeper, Link, PATIENCE};
use super::window::Cut;
use super::{Cache, Claim, Grant, IdempotencyKey, Release, Reservation, Want};
use crate::StoreError;

mod address;
mod link;

/// So that one large answer doesn't hold up every other call.
const LINKS: usize = 4;

pub struct RedisCache {
    links: Vec<Arc<Link>>,
    /// Counts calls, so that they go round.
    next: AtomicUsize,
    scripts: Scripts,
    _keepers: Vec<Keeper>,
}

struct Scripts {
    reserve: Script,
    settle: Script,
    release: Script,
    take: Script,
}

struct Script {
    text: &'static str,
    /// What Redis calls it.
    sha1: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha1: sha1_smol::Sha1::from(text).digest().to_string() }
    }
}

impl RedisCache {
    /// Reads the address and returns. The connections are made in the background, now and
    /// whenever they end; to be called inside a Tokio runtime.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let mut config = address::parse(url)?;
        // Not the first connection either: Redis may start after we do.
        config.fail_fast = false;
        let links = (0..LINKS).map(|n| Link::start(config.clone(), n == 0));
        let (links, keepers) = links.unzip();
        let scripts = Scripts {
            reserve: Script::new(include_str!("reserve.lua")),
            settle: Script::new(include_str!("settle.lua")),
            release: Script::new(include_str!("release.lua")),
            take: Script::new(include_str!("take.lua")),
        };
        Ok(Self { links, next: AtomicUsize::new(0), scripts, _keepers: keepers })
    }

    async fn run(
        &self,
        operation: &'static str,
        script: &Script,
        key: String,
        arguments: Vec<Value>,
    ) -> Result<Value, StoreError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.links.split_at(turn % self.links.len());
        let client = after.iter().chain(before).find_map(|link| link.up()).ok_or_else(|| {
            let source = match self.links[0].complaint() {
                Some(complaint) => format!("no connection to Redis: {complaint}").into(),
                None => "no connection to Redis".into(),
            };
            StoreError::Unavailable { operation, source }
        })?;
        let asking = async {
            match client.evalsha(&script.sha1, &key, arguments.clone()).await {
                // It was restarted or flushed, or is another node. This makes it known there.
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    client.eval(script.text, key, arguments).await
                }
                answer => answer,
            }
        };
        match timeout(PATIENCE, asking).await {
            Ok(answer) => answer.map_err(|error| failed(operation, error)),
            Err(late) => Err(StoreError::Unavailable { operation, source: late.into() }),
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError> {
        const OPERATION: &str = "reserve an idempotency key";
        let arguments = vec![
            binary(&claim.fingerprint),
            binary(claim.token.as_bytes()),
            binary(claim.event_id.as_uuid().as_bytes()),
            Value::from(claim.received_at.unix_timestamp_nanos().to_string()),
            millis(claim.lease),
            millis(claim.keep),
        ];
        let key = idempotency_key(&claim.key);
        let answer = self.run(OPERATION, &self.scripts.reserve, key, arguments).await?;
        read_reservation(answer).map_err(|what| unreadable(OPERATION, "an idempotency key", what))
    }

    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "settle an idempotency key";
        let arguments = vec![binary(token.as_bytes()), binary(answer)];
        let key = idempotency_key(key);
        let ours = self.run(OPERATION, &self.scripts.settle, key, arguments).await?;
        Ok(ours.as_u64() == Some(1))
    }

    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        release: Release,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "release an idempotency key";
        let arguments = vec![binary(token.as_bytes()), flag(release == Release::Forget)];
        let key = idempotency_key(key);
        self.run(OPERATION, &self.scripts.release, key, arguments).await?;
        Ok(())
    }

    async fn take(&self, key: &str, limit: RateLimit, want: Want) -> Result<Grant, StoreError> {
        const OPERATION: &str = "take from a rate limit";
        let key = format!("tl:r:{}:{key}", limit.window().as_secs());
        let arguments = take_arguments(limit, want);
        let answer = self.run(OPERATION, &self.scripts.take, key, arguments).await?;
        read_grant(answer).map_err(|what| unreadable(OPERATION, "a rate window", what))
    }

    fn is_available(&self) -> bool {
        self.links.iter().any(|link| link.up().is_some())
    }
}

fn idempotency_key(key: &IdempotencyKey) -> String {
    format!("tl:i:{}:{}", key.customer, key.key)
}

fn take_arguments(limit: RateLimit, want: Want) -> Vec<Value> {
    let cut = Cut::of(limit.window());
    vec![
        Value::from(limit.quota()),
        Value::from(cut.width.to_string()),
        Value::from(cut.span.to_string()),
        Value::from(want.amount()),
        flag(matches!(want, Want::UpTo(_))),
    ]
}

fn binary(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(bytes))
}

fn flag(set: bool) -> Value {
    Value::from(i64::from(set))
}

/// At least one, because Redis removes at once what is to be kept for none.
fn millis(duration: Duration) -> Value {
    Value::from(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 1_000_000).max(1))
}

/// What a script answered; the error says what was there instead.
fn read_reservation(answer: Value) -> Result<Reservation, String> {
    let unexpected = format!("{answer:?}");
    let mut parts = answer.into_array().into_iter();
    let mut next = || parts.next();
    let reservation = match next().and_then(|kind| kind.as_u64()) {
        Some(0) => Option::zip(next().and_then(event_id), next().and_then(|at| instant(&at)))
            .map(|(event_id, received_at)| Reservation::Ours { event_id, received_at }),
        Some(1) => next()
            .and_then(|left| left.as_u64())
            .map(|left| Reservation::Running { retry_after: Duration::from_millis(left) }),
        Some(2) => Some(Reservation::Different),
        Some(3) => Option::zip(next().and_then(event_id), next().and_then(Value::into_bytes))
            .map(|(event_id, answer)| Reservation::Settled { event_id, answer }),
        _ => None,
    };
    reservation.ok_or(unexpected)
}

fn event_id(value: Value) -> Option<EventId> {
    Uuid::from_slice(&value.into_bytes()?).ok().map(EventId::from_uuid)
}

fn instant(value: &Value) -> Option<OffsetDateTime> {
    let nanos = value.as_string()?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

fn read_grant(answer: Value) -> Result<Grant, String> {
    let unexpected = format!("{answer:?}");
    let numbers: Option<Vec<u64>> =
        answer.into_array().into_iter().map(|one| one.as_u64()).collect();
    let Some(&[granted, remaining, retry_after, reset]) = numbers.as_deref() else {
        return Err(unexpected);
    };
    let count = |number| u32::try_from(number).map_err(|_| unexpected.clone());
    Ok(Grant {
        granted: count(granted)?,
        remaining: count(remaining)?,
        retry_after: Duration::from_millis(retry_after),
        reset: Duration::from_millis(reset),
    })
}

fn unreadable(operation: &'static str, table: &'static str, what: String) -> StoreError {
    StoreError::Unreadable { operation, table, what }
}

fn failed(operation: &'static str, error: Error) -> StoreError {
    let is_final = is_final(&error);
    let source = error.into();
    if is_final {
        StoreError::Failed { operation, source }
    } else {
        StoreError::Unavailable { operation, source }
    }
}

/// What Redis answered is its last word, unless it says that it is starting, busy, full, failing
/// over or moving keys. No answer at all may be one later.
fn is_final(error: &Error) -> bool {
    const NOT_NOW: [&str; 12] = [
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOREPLICAS",
        "NOSCRIPT",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    ];
    // An error of Redis's begins with a code in capitals, one of fred's own with a sentence.
    let code = error.details().split_whitespace().next().unwrap_or_default();
    let answered = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase());
    let readable = !matches!(error.kind(), ErrorKind::Parse | ErrorKind::Protocol);
    (answered && !NOT_NOW.contains(&code)) || !readable
}

#[cfg(test)]
mod tests;
