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
//! The decisions ([`State`]) are pure; [`Limiter`] asks the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use triggerline_store::{Cache, Grant, MemoryCache, Want};
use triggerline_types::{ApiKeyId, RateLimit};

use crate::config::WithoutCache;
use crate::problem::{Kind, Problem};

/// How long the cache isn't asked again after it did not answer: each ask may wait.
const AWAY: Duration = Duration::from_secs(1);
/// Of the quota, what one gateway takes in advance at most: a twentieth.
const LARGEST_CHUNK: u32 = 20;
/// Of the window, how long permits last that were taken in advance: a hundredth.
const LEASE: u32 = 100;

/// Where a key stands after a request: what the RateLimit fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: RateLimit,
    pub(crate) remaining: u32,
    /// Until all of the quota is free again, if nothing more comes.
    pub(crate) reset: Duration,
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) standing: Standing,
    pub(crate) retry_after: Duration,
    /// Permits that it would have taken more.
    missing: u32,
}

impl Exceeded {
    pub(crate) fn problem(&self, cost: u32) -> Problem {
        let limit = self.standing.limit;
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
pub(crate) struct Share {
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

struct State {
    limit: RateLimit,
    permits: u32,
    /// When they lapse.
    lapse: Instant,
    /// How many are taken at once.
    chunk: u32,
    /// What the cache had left after the last grant.
    left: u32,
    reset: Instant,
    /// Until then the cache has not got this many.
    refused: Option<(u32, Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Allowed(Standing),
    Refused(Exceeded),
    /// Ask the cache for this many more.
    Ask(u32),
}

impl State {
    fn new(limit: RateLimit, now: Instant) -> Self {
        Self {
            limit,
            permits: 0,
            lapse: now,
            chunk: 1,
            left: limit.quota(),
            reset: now,
            refused: None,
        }
    }

    fn decide(&mut self, cost: u32, now: Instant) -> Decision {
        if now >= self.lapse {
            if self.permits > self.chunk / 2 {
                self.chunk = (self.chunk / 2).max(1);
            }
            self.permits = 0;
        }
        if let Some(permits) = self.permits.checked_sub(cost) {
            self.permits = permits;
            return Decision::Allowed(self.standing(now));
        }
        let missing = cost - self.permits;
        match self.refused {
            Some((refused, until)) if missing >= refused && now < until => {
                Decision::Refused(Exceeded {
                    standing: self.standing(now),
                    retry_after: until - now,
                    missing,
                })
            }
            _ => {
                if now < self.lapse {
                    let largest = (self.limit.quota() / LARGEST_CHUNK).max(1);
                    self.chunk = (self.chunk * 2).min(largest);
                }
                Decision::Ask(self.chunk.max(missing))
            }
        }
    }

    /// Takes in what the cache granted to a request that costs this much.
    fn granted(&mut self, grant: &Grant, cost: u32, now: Instant) -> Result<Standing, Exceeded> {
        if self.permits == 0 {
            self.lapse = now + self.limit.window() / LEASE;
        }
        self.permits = self.permits.saturating_add(grant.granted);
        self.left = grant.remaining;
        self.reset = now + grant.reset;
        if let Some(permits) = self.permits.checked_sub(cost) {
            self.permits = permits;
            self.refused = None;
            return Ok(self.standing(now));
        }
        let retry_after = grant.retry_after.max(Duration::from_millis(1));
        let missing = cost - self.permits;
        self.refused = Some((missing, now + retry_after));
        Err(Exceeded { standing: self.standing(now), retry_after, missing })
    }

    fn standing(&self, now: Instant) -> Standing {
        Standing {
            limit: self.limit,
            remaining: self.left.saturating_add(self.permits).min(self.limit.quota()),
            reset: self.reset.saturating_duration_since(now),
        }
    }
}

pub(crate) struct Limiter {
    cache: Arc<dyn Cache>,
    /// What limits when the cache doesn't answer.
    local: MemoryCache,
    without_cache: WithoutCache,
    away: Mutex<Option<Instant>>,
    shares: Mutex<HashMap<ApiKeyId, Weak<Share>>>,
}

impl Limiter {
    pub(crate) fn new(cache: Arc<dyn Cache>, without_cache: WithoutCache) -> Self {
        Self {
            cache,
            local: MemoryCache::default(),
            without_cache,
            away: Mutex::new(None),
            shares: Mutex::default(),
        }
    }

    /// The key's share: the same one for as long as somebody holds it.
    pub(crate) fn share(&self, key: ApiKeyId, limit: RateLimit) -> Arc<Share> {
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
    pub(crate) async fn take(&self, share: &Share, cost: u32) -> Result<Standing, Exceeded> {
        let decide = || share.state().decide(cost, Instant::now());
        match decide() {
            Decision::Allowed(standing) => return Ok(standing),
            Decision::Refused(exceeded) => return Err(exceeded),
            Decision::Ask(_) => {}
        }
        let _asking = share.asking.lock().await;
        // Whoever asked before may have brought enough.
        let want = match decide() {
            Decision::Allowed(standing) => return Ok(standing),
            Decision::Refused(exceeded) => return Err(exceeded),
            Decision::Ask(want) => want,
        };
        let limit = share.state().limit;
        let grant = self.ask(share.key, limit, Want::UpTo(want)).await;
        let exceeded = match share.state().granted(&grant, cost, Instant::now()) {
            Ok(standing) => return Ok(standing),
            Err(exceeded) => exceeded,
        };
        if exceeded.missing <= 1 {
            return Err(exceeded);
        }
        // Told was when one more is free; what is missing may take longer, or be free by now.
        let grant = self.ask(share.key, limit, Want::All(exceeded.missing)).await;
        share.state().granted(&grant, cost, Instant::now())
    }

    async fn ask(&self, key: ApiKeyId, limit: RateLimit, want: Want) -> Grant {
        let name = key.to_string();
        let counted = limit.counted_over(limit.window() + limit.window() / LEASE);
        if !self.is_away() {
            match self.cache.take(&name, counted, want).await {
                Ok(grant) => return grant,
                Err(error) => {
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

    fn grant(granted: u32, remaining: u32, retry_after: Duration) -> Grant {
        Grant { granted, remaining, retry_after, reset: Duration::from_secs(9) }
    }

    #[test]
    fn permits_are_used_up_and_lapse() {
        let now = Instant::now();
        let mut state = State::new(limit("1000/10s"), now);
        assert_eq!(state.decide(1, now), Decision::Ask(1));
        let standing = state.granted(&grant(3, 997, Duration::ZERO), 1, now).unwrap();
        assert_eq!((standing.remaining, standing.reset), (999, Duration::from_secs(9)));
        assert!(matches!(state.decide(2, now), Decision::Allowed(s) if s.remaining == 997));
        assert_eq!(state.decide(1, now), Decision::Ask(2), "gone early: twice as many");
        state.granted(&grant(4, 993, Duration::ZERO), 1, now).unwrap();
        let later = now + Duration::from_millis(100);
        assert_eq!(state.decide(1, later), Decision::Ask(1), "lapsed after a hundredth");
    }

    #[test]
    fn what_is_taken_at_once_follows_demand() {
        let now = Instant::now();
        let mut state = State::new(limit("1000/10s"), now);
        let mut chunks = Vec::new();
        for _ in 0..8 {
            let Decision::Ask(want) = state.decide(1, now) else { panic!("no permits are left") };
            chunks.push(want);
            state.granted(&grant(want, 500, Duration::ZERO), want, now).unwrap();
        }
        assert_eq!(chunks, [1, 2, 4, 8, 16, 32, 50, 50], "never over 5 % of the quota");
        let Decision::Ask(want) = state.decide(200, now) else { panic!("no permits are left") };
        assert_eq!(want, 200, "but what one request needs");
        state.granted(&grant(50, 0, Duration::ZERO), 1, now).unwrap();
        let later = now + Duration::from_secs(1);
        assert_eq!(state.decide(1, later), Decision::Ask(25), "left over: half as many");
    }

    #[test]
    fn a_refusal_is_remembered_until_it_may_be_different() {
        let now = Instant::now();
        let mut state = State::new(limit("10/1s"), now);
        state.decide(5, now);
        let wait = Duration::from_millis(300);
        let exceeded = state.granted(&grant(2, 0, wait), 5, now).unwrap_err();
        assert_eq!((exceeded.retry_after, exceeded.standing.remaining), (wait, 2));
        let soon = now + Duration::from_millis(5);
        assert!(matches!(state.decide(5, soon), Decision::Refused(e) if e.retry_after < wait));
        assert!(matches!(state.decide(2, soon), Decision::Allowed(_)), "what is there is given");
        assert!(matches!(state.decide(1, soon), Decision::Ask(_)), "less may be there");
        assert!(matches!(state.decide(5, now + wait), Decision::Ask(_)));
    }
}
