//! Who is asking.
//!
//! A key is looked up once and then remembered as a [`Caller`]. One task follows the control
//! store's feed of changes and forgets every key that it names, so that a revoked key, a new
//! limit or a new expiry counts on every gateway within a second. While the feed is interrupted,
//! each key is looked up again when its trust runs out; and while the control store is away
//! altogether, keys that were seen go on working, because ingest must not stop with it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::future::Cache;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use triggerline_store::{Access, AccessChange, ControlStore, StoreError};
use triggerline_types::{Actor, ApiKey, ApiKeyId, CustomerId, Revision, Scope, millis};

use crate::config::Plans;
use crate::keys::{Pepper, is_well_formed};
use crate::limits::{Limiter, Share};
use crate::problem::{Kind, Problem};
use crate::schemas::Schemas;

/// Keys that are remembered at once; beyond this the least used are looked up again.
const CACHED_KEYS: u64 = 100_000;
/// How long a key that was seen goes on opening the door while the control store is away.
const OUTAGE: Duration = Duration::from_hours(1);
/// How often the feed is asked when nothing wakes us.
const POLL: Duration = Duration::from_millis(250);
/// How often it is written down when keys were last used.
const WRITE_USES: Duration = Duration::from_secs(10);
/// Locks that keep a crowd with one key from looking it up more than once.
const STRIPES: usize = 64;

/// Whoever holds a key.
pub(crate) struct Caller {
    pub(crate) key: ApiKey,
    pub(crate) share: Arc<Share>,
    /// Milliseconds since the epoch.
    used: AtomicI64,
    /// Whether that has yet to be written down.
    unwritten: AtomicBool,
}

impl Caller {
    pub(crate) fn customer(&self) -> CustomerId {
        self.key.customer_id
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor::Key(self.key.id)
    }

    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.key.allows(scope) {
            return Ok(());
        }
        let detail = format!("This needs a key with the scope {scope}.");
        Err(Problem::new(Kind::MissingScope, detail))
    }
}

pub(crate) struct Auth {
    control: Arc<dyn ControlStore>,
    limiter: Arc<Limiter>,
    schemas: Arc<Schemas>,
    plans: Plans,
    pepper: Pepper,
    /// How long an answer of the store is taken as it is while the feed is interrupted.
    trust: Duration,
    /// By hash.
    cache: Cache<[u8; 32], Seen>,
    /// When the feed was last read.
    followed: Mutex<Option<Instant>>,
    /// Counts the changes that were followed. A look-up during which it moved may have seen
    /// what was before the change, and is not remembered.
    generation: AtomicU64,
    looking: Vec<tokio::sync::Mutex<()>>,
    used: Mutex<Vec<Arc<Caller>>>,
}

/// What the store said of a key, and when. `None` for a key that it doesn't know, so that
/// guessing costs it nothing either.
#[derive(Clone)]
struct Seen {
    caller: Option<Arc<Caller>>,
    /// When the store said so.
    at: Instant,
    /// When it was last asked, with or without success.
    asked: Instant,
}

impl Auth {
    pub(crate) fn new(
        control: Arc<dyn ControlStore>,
        limiter: Arc<Limiter>,
        schemas: Arc<Schemas>,
        plans: Plans,
        pepper: Pepper,
        trust: Duration,
    ) -> Self {
        let cache = Cache::builder().max_capacity(CACHED_KEYS).time_to_live(OUTAGE).build();
        let looking = (0..STRIPES).map(|_| tokio::sync::Mutex::default()).collect();
        Self {
            control,
            limiter,
            schemas,
            plans,
            pepper,
            trust,
            cache,
            followed: Mutex::default(),
            generation: AtomicU64::default(),
            looking,
            used: Mutex::default(),
        }
    }

    /// The holder of the key in these headers.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
        let key = presented(headers).filter(|key| is_well_formed(key)).ok_or_else(unauthorized)?;
        let hash = self.pepper.hash(key);
        let found = self.look_up(&hash).await?;
        let now = OffsetDateTime::now_utc();
        // Unknown, expired and revoked look the same from outside.
        let caller = found
            .filter(|caller| bool::from(caller.key.hash.ct_eq(&hash)) && caller.key.is_live(now))
            .ok_or_else(unauthorized)?;
        caller.used.store(millis(now), Ordering::Relaxed);
        if !caller.unwritten.swap(true, Ordering::Relaxed) {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(Arc::clone(&caller));
        }
        Ok(caller)
    }

    async fn look_up(&self, hash: &[u8; 32]) -> Result<Option<Arc<Caller>>, Problem> {
        if let Some(seen) = self.trusted(hash).await {
            return Ok(seen.caller);
        }
        let _looking = self.looking[usize::from(hash[0]) % STRIPES].lock().await;
        // Whoever held the lock before may have looked for the same key.
        if let Some(seen) = self.trusted(hash).await {
            return Ok(seen.caller);
        }
        let now = Instant::now();
        let generation = self.generation.load(Ordering::SeqCst);
        match self.control.access(hash).await {
            Ok(found) => {
                let caller = found.map(|access| Arc::new(self.caller(access)));
                let seen = Seen { caller: caller.clone(), at: now, asked: now };
                self.cache.insert(*hash, seen).await;
                if self.generation.load(Ordering::SeqCst) != generation {
                    self.cache.invalidate(hash).await;
                }
                Ok(caller)
            }
            Err(error) => {
                let seen = self.cache.get(hash).await;
                let seen = seen.filter(|seen| seen.at.elapsed() < OUTAGE && seen.caller.is_some());
                let Some(seen) = seen else {
                    tracing::warn!(%error, "an API key can't be looked up");
                    let detail = "The API key can't be checked at the moment.";
                    return Err(Problem::new(Kind::Unavailable, detail));
                };
                tracing::debug!(%error, "an API key is taken as it was last seen");
                // Not asked again for a moment: each ask may wait for a time-out.
                let caller = seen.caller.clone();
                self.cache.insert(*hash, Seen { asked: Instant::now(), ..seen }).await;
                Ok(caller)
            }
        }
    }

    /// What is remembered of a key, if it may be taken as it is.
    async fn trusted(&self, hash: &[u8; 32]) -> Option<Seen> {
        let seen = self.cache.get(hash).await?;
        let followed = *self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = followed.is_some_and(|at| at.elapsed() < 2 * POLL);
        (followed || seen.asked.elapsed() < self.trust).then_some(seen)
    }

    fn caller(&self, Access { key, customer }: Access) -> Caller {
        let limit = key
            .rate_limit
            .or(customer.rate_limit)
            .unwrap_or_else(|| self.plans.rate_limit(&customer.plan));
        let share = self.limiter.share(key.id, limit);
        Caller { key, share, used: AtomicI64::default(), unwritten: AtomicBool::default() }
    }

    /// Follows the feed of changes until `shutdown`, and writes down when keys were last used.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        let mut changes = self.control.changes();
        let mut write = tokio::time::interval(WRITE_USES);
        let mut after = None;
        loop {
            match self.read_feed(after).await {
                Ok(revision) => after = Some(revision),
                Err(error) => tracing::debug!(%error, "the feed of changes can't be read"),
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(POLL) => {}
                Ok(()) = changes.changed() => {}
                _ = write.tick() => self.write_uses().await,
            }
        }
        self.write_uses().await;
    }

    async fn read_feed(&self, after: Option<Revision>) -> Result<Revision, StoreError> {
        let asked = Instant::now();
        let feed = self.control.access_changes(after).await?;
        if after.is_none_or(|after| feed.revision < after) {
            // What was looked up before the feed began, or before the store was set back to an
            // older state, may have changed unseen.
            self.generation.fetch_add(1, Ordering::SeqCst);
            self.cache.invalidate_all();
            self.schemas.forget_all();
        }
        if !feed.changes.is_empty() {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        for change in feed.changes {
            match change {
                AccessChange::Key(hash) => self.cache.invalidate(&hash).await,
                AccessChange::Schemas(customer) => self.schemas.forget(customer).await,
            }
        }
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        Ok(feed.revision)
    }

    async fn write_uses(&self) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let instants: Vec<(ApiKeyId, OffsetDateTime)> = used
            .iter()
            .filter_map(|caller| {
                caller.unwritten.store(false, Ordering::Relaxed);
                let nanos = i128::from(caller.used.load(Ordering::Relaxed)) * 1_000_000;
                Some((caller.key.id, OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?))
            })
            .collect();
        if instants.is_empty() {
            return;
        }
        if let Err(error) = self.control.touch_api_keys(&instants).await {
            tracing::warn!(%error, keys = instants.len(), "when keys were last used was not written down");
        }
    }
}

/// `Authorization: Bearer …` (RFC 6750 §2.1), else `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

fn unauthorized() -> Problem {
    let detail = "Send a valid key as \"Authorization: Bearer tl_…\" or \"X-API-Key: tl_…\".";
    Problem::new(Kind::Unauthorized, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_either_header() {
        for (name, value, key) in [
            ("authorization", "Bearer tl_a", Some("tl_a")),
            ("authorization", "bearer  tl_a ", Some("tl_a")),
            ("authorization", "Basic tl_a", None),
            ("authorization", "tl_a", None),
            ("x-api-key", "tl_a", Some("tl_a")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented(&headers), key, "{name}: {value}");
        }
    }
}
