//! How often an API key may ask: a window that slides, kept for all gateways in the cache
//! ([`Cache::take`]), and in front of it a **share** for each key in this process.
//!
//! A [`Share`] holds permits that were taken from the window in advance, so that most requests
//! are judged here, with a lock and a subtraction, and the cache is asked once for many. How many
//! are taken at once follows demand: twice as many when the last ones were gone early, half when
//! most were left over, never more than 5 % of the quota.
//!
//! Nothing is granted twice, so the sum over all gateways never exceeds the quota. But a permit
//! is used later than it was taken, and the window slides on meanwhile. Therefore permits lapse
//! after 1 % of the window, and the cache counts over a window longer by that much: in no real
//! window are more than `quota` requests allowed, at the price of up to about 2 % fewer.
//!
//! The decisions are pure ([`state`]); [`Limiter`] asks the cache.

mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use triggerline_store::{Cache, Grant, MemoryCache, Want};
use triggerline_types::{ApiKeyId, RateLimit};

pub use crate::config::WithoutCache;
use crate::metrics;
use crate::problem::{Kind, Problem};
use state::{LEASE, State};

/// How long the cache isn't asked again after it did not answer: each ask may wait.
const AWAY: Duration = Duration::from_secs(1);

/// Where a key stands after a request: what the RateLimit fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: RateLimit,
    pub remaining: u32,
    /// Until all of the quota is free again, if nothing more comes.
    pub reset: Duration,
}

/// What a request takes of its key's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    now: u32,
    /// With what it has taken before. More than the quota never fits, even if the rest would.
    in_all: u32,
}

impl Cost {
    pub const ONE: Self = Self { now: 1, in_all: 1 };

    /// Of a batch whose request has counted as its first event.
    pub fn rest_of(events: usize) -> Self {
        let in_all = u32::try_from(events).unwrap_or(u32::MAX);
        Self { now: in_all.saturating_sub(1), in_all }
    }
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub standing: Standing,
    pub retry_after: Duration,
    cost: Cost,
}

impl Exceeded {
    pub(crate) fn problem(&self) -> Problem {
        let (limit, cost) = (self.standing.limit, self.cost.in_all);
        if cost > limit.quota() {
            // No time to wait: it would be refused again.
            let detail = format!(
                "{cost} events at once are more than this key's limit of {limit} ever allows."
            );
            return Problem::new(Kind::RateLimited, detail);
        }
        let detail = format!("This key's limit is {limit}, and it is used up.");
        Problem::new(Kind::RateLimited, detail).retry_after(self.retry_after)
    }
}

/// One key's permits in this process.
pub struct Share {
    key: ApiKeyId,
    state: Mutex<State>,
    /// Held while the cache is asked, so that a crowd asks once.
    asking: tokio::sync::Mutex<()>,
}

impl Share {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Limiter {
    cache: Arc<dyn Cache>,
    /// What limits when the cache doesn't answer.
    local: MemoryCache,
    without_cache: WithoutCache,
    away: Mutex<Option<Instant>>,
    shares: Mutex<HashMap<ApiKeyId, Weak<Share>>>,
    counted: metrics::Limits,
}

impl Limiter {
    pub fn new(cache: Arc<dyn Cache>, without_cache: WithoutCache) -> Self {
        Self {
            cache,
            local: MemoryCache::default(),
            without_cache,
            away: Mutex::new(None),
            shares: Mutex::default(),
            counted: metrics::Limits::new(),
        }
    }

    /// The key's share: the same one for as long as somebody holds it.
    pub fn share(&self, key: ApiKeyId, limit: RateLimit) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&key).and_then(Weak::upgrade) {
            let mut state = share.state();
            if state.limit != limit {
                *state = State::new(limit, Instant::now());
            }
            drop(state);
            return share;
        }
        let share = Arc::new(Share {
            key,
            state: Mutex::new(State::new(limit, Instant::now())),
            asking: tokio::sync::Mutex::default(),
        });
        // Swept when it has doubled since the last time, so that each entry is paid for once.
        if shares.len() == shares.capacity() {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        shares.insert(key, Arc::downgrade(&share));
        share
    }

    /// Whether a request of this cost may pass.
    pub async fn take(&self, share: &Share, cost: Cost) -> Result<Standing, Exceeded> {
        let judge = || share.state().judge(cost, Instant::now());
        if let Some(judged) = judge() {
            return judged;
        }
        let _asking = share.asking.lock().await;
        // Whoever asked before may have brought enough.
        if let Some(judged) = judge() {
            return judged;
        }
        let ask = share.state().ask(cost, Instant::now());
        let grant = self.ask(share.key, ask.limit, ask.want).await;
        share.state().answered(ask, &grant, cost, Instant::now())
    }

    async fn ask(&self, key: ApiKeyId, limit: RateLimit, want: Want) -> Grant {
        let name = key.to_string();
        let counted = limit.counted_over(limit.window() + limit.window() / LEASE);
        if !self.is_away() {
            match self.cache.take(&name, counted, want).await {
                Ok(grant) => {
                    self.counted.asked.increment(1);
                    self.counted.without_cache.set(0.0);
                    return grant;
                }
                Err(error) => {
                    self.counted.failed.increment(1);
                    self.counted.without_cache.set(1.0);
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    let instead = self.without_cache.as_str();
                    tracing::warn!(%error, source, instead, "rate limits go on without the cache");
                    *self.away() = Some(Instant::now() + AWAY);
                }
            }
        }
        let nothing = Grant { retry_after: AWAY, ..Grant::default() };
        let anything =
            Grant { granted: want.amount(), remaining: limit.quota(), ..Grant::default() };
        match self.without_cache {
            WithoutCache::Local => self.local.take(&name, counted, want).await.unwrap_or(anything),
            WithoutCache::Accept => anything,
            WithoutCache::Refuse => nothing,
        }
    }

    fn is_away(&self) -> bool {
        let mut away = self.away();
        match *away {
            Some(until) if Instant::now() < until => true,
            Some(_) => {
                *away = None;
                false
            }
            None => false,
        }
    }

    fn away(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    /// Two gateways, one window: what the batches of one are refused is there for the other.
    #[tokio::test]
    async fn refused_batches_use_nothing_up() {
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::default());
        let [one, other] = [(); 2].map(|()| Limiter::new(Arc::clone(&cache), WithoutCache::Refuse));
        let (key, limit) = (ApiKeyId::new(), limit("100/1h"));
        let (ours, theirs) = (one.share(key, limit), other.share(key, limit));
        one.take(&ours, Cost::rest_of(41)).await.unwrap();
        for events in (62..100).rev() {
            one.take(&ours, Cost::rest_of(events)).await.unwrap_err();
        }
        other.take(&theirs, Cost::rest_of(61)).await.unwrap();
    }
}
