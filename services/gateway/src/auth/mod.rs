//! Who is asking.
//!
//! A key is looked up once and then remembered as a [`Caller`]. One task follows the control
//! store's feed of changes and forgets every key that it names, so that a revoked key, a new
//! limit or a new expiry counts on every gateway within a second. While the feed is interrupted,
//! each key is looked up again when its trust runs out; and while the control store is away
//! altogether, keys that were seen go on working, because ingest must not stop with it ([`seen`]).

mod seen;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use triggerline_store::{Access, AccessChange, ControlStore, StoreError, days};
use triggerline_types::{
    Actor, ApiKey, ApiKeyId, CustomerId, Revision, Scope, from_millis, millis,
};

use crate::config::Plans;
use crate::keys::{Pepper, is_well_formed};
use crate::limits::{Limiter, Share};
use crate::problem::{Kind, Problem};
use crate::schemas::Schemas;
use seen::{Memory, Trust, Unknown};

/// How often the feed is asked when nothing wakes us.
const POLL: Duration = Duration::from_millis(250);
/// How often it is written down when keys were last used.
const WRITE_USES: Duration = Duration::from_secs(10);
/// Whoever holds a key.
pub(crate) struct Caller {
    pub(crate) key: ApiKey,
    pub(crate) share: Arc<Share>,
    /// How long the customer's events are kept; `None`: for ever.
    retention: Option<Duration>,
    /// Milliseconds since the epoch.
    used: AtomicI64,
    /// Whether that has yet to be written down.
    unwritten: AtomicBool,
}

impl Caller {
    pub(crate) fn customer(&self) -> CustomerId {
        self.key.customer_id
    }

    /// Older events than this are not kept, though a database may remove them somewhat later. (One of
    /// ours lets them expire in full seconds.)
    pub(crate) fn kept_since(&self) -> Option<OffsetDateTime> {
        let kept = time::Duration::try_from(self.retention?).ok()?;
        OffsetDateTime::now_utc().checked_sub(kept)?.checked_sub(time::Duration::SECOND)
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
    /// Of customers for whom nobody chose another.
    retention: Option<Duration>,
    pepper: Pepper,
    seen: Memory<Arc<Caller>>,
    used: Mutex<Vec<Arc<Caller>>>,
}

impl Auth {
    pub(crate) fn new(
        control: Arc<dyn ControlStore>,
        limiter: Arc<Limiter>,
        schemas: Arc<Schemas>,
        plans: Plans,
        retention: Option<Duration>,
        pepper: Pepper,
        trust: Duration,
    ) -> Self {
        let trust = Trust { unfollowed: trust, following: 2 * POLL };
        Self {
            control,
            limiter,
            schemas,
            plans,
            retention,
            pepper,
            seen: Memory::new(trust),
            used: Mutex::default(),
        }
    }

    /// The holder of the key in these headers.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
        let key = presented(headers).filter(|key| is_well_formed(key)).ok_or_else(unauthorized)?;
        let hash = self.pepper.hash(key);
        let found = self.seen.holder(&hash, self.look_up(hash)).await.map_err(|Unknown| {
            Problem::new(Kind::Unavailable, "The API key can't be checked at the moment.")
        })?;
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

    async fn look_up(&self, hash: [u8; 32]) -> Result<Option<Arc<Caller>>, StoreError> {
        let control = Arc::clone(&self.control);
        // In a task, which goes on when nobody waits any more: the store has its own patience,
        // and doesn't leave behind a connection on which an answer may still come.
        let found = tokio::spawn(async move { control.access(&hash).await }).await;
        let found = found.map_err(|error| StoreError::Unavailable {
            operation: "look up an API key",
            source: error.into(),
        })??;
        Ok(found.map(|access| Arc::new(self.caller(access))))
    }

    fn caller(&self, Access { key, customer }: Access) -> Caller {
        let limit = key
            .rate_limit
            .or(customer.rate_limit)
            .unwrap_or_else(|| self.plans.rate_limit(&customer.plan));
        let share = self.limiter.share(key.id, limit);
        let retention = customer.retention_days.map(days).or(self.retention);
        let (used, unwritten) = (AtomicI64::default(), AtomicBool::default());
        Caller { key, share, retention, used, unwritten }
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
            self.seen.forget_all();
            self.schemas.forget_all();
        }
        for change in feed.changes {
            match change {
                AccessChange::Key(hash) => self.seen.forget(&hash).await,
                AccessChange::Schemas(customer) => self.schemas.forget(customer).await,
            }
        }
        self.seen.followed(asked);
        Ok(feed.revision)
    }

    async fn write_uses(&self) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let instants: Vec<(ApiKeyId, OffsetDateTime)> = used
            .iter()
            .filter_map(|caller| {
                caller.unwritten.store(false, Ordering::Relaxed);
                Some((caller.key.id, from_millis(caller.used.load(Ordering::Relaxed))?))
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
