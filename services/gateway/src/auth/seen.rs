//! What the control store said of keys, and when it is asked again.
//!
//! What was **seen** of a key ([`Seen`]) is *fresh* while the feed of changes is followed, or for
//! a short trust after the store said it. Then it is *stale*: the store is asked again, and as
//! long as it doesn't answer, what was seen is served all the same, for up to [`OUTAGE`] from
//! when it was last known to be right.
//!
//! A store that fails is **away** for a moment, for all keys: one look-up is let through now and
//! then to see whether it is back, and everybody else is answered at once. So a store that hangs
//! costs one request a second its patience, and not each key its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;
use triggerline_store::StoreError;

/// Keys that are remembered at once; beyond this the least used are looked up again.
const CACHED_KEYS: u64 = 100_000;
/// How long a key that was seen goes on opening the door while the control store is away.
const OUTAGE: Duration = Duration::from_hours(1);
/// How long a look-up may take. A request waits for it, and others behind it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the store isn't asked again after it did not answer.
const AWAY: Duration = Duration::from_secs(1);
/// Locks that keep a crowd with one key from looking it up more than once.
const STRIPES: usize = 64;

type Hash = [u8; 32];

/// What the store said of a key, and when. `None` for a key that it doesn't know, so that
/// guessing costs it nothing either.
#[derive(Clone)]
struct Seen<C> {
    holder: Option<C>,
    /// When the store was asked.
    at: Instant,
}

/// What something seen is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Fresh,
    /// Good where the store doesn't answer.
    Stale,
    Nothing,
}

/// How answers are trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// While the feed is interrupted.
    pub(super) unfollowed: Duration,
    /// How long ago the feed was read at most where it is followed.
    pub(super) following: Duration,
}

impl Trust {
    /// What was seen at `at` is worth at `now`. `followed`: when the feed was last read; it names
    /// all that had changed by then, and what it names is forgotten.
    fn worth(self, at: Instant, known: bool, followed: Option<Instant>, now: Instant) -> Worth {
        let age = |then: Instant| now.saturating_duration_since(then);
        let is_followed = followed.is_some_and(|followed| age(followed) < self.following);
        if is_followed || age(at) < self.unfollowed {
            return Worth::Fresh;
        }
        let right = followed.map_or(at, |followed| followed.max(at));
        if known && age(right) < OUTAGE { Worth::Stale } else { Worth::Nothing }
    }
}

/// The store can't be asked, and nothing that was seen will do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// What is remembered of all keys, by their hash.
pub(super) struct Memory<C> {
    trust: Trust,
    /// Bounded in number and not in time: a key that was looked up long before an outage, and
    /// followed until it began, is good for all of it.
    cache: Cache<Hash, Seen<C>>,
    followed: Mutex<Option<Instant>>,
    /// Counts what was forgotten. A look-up during which it moved may have seen what was before
    /// the change, and is not remembered.
    generation: AtomicU64,
    looking: Vec<tokio::sync::Mutex<()>>,
    /// Until when the store is away.
    away: Mutex<Option<Instant>>,
}

impl<C: Clone + Send + Sync + 'static> Memory<C> {
    pub(super) fn new(trust: Trust) -> Self {
        Self {
            trust,
            cache: Cache::builder().max_capacity(CACHED_KEYS).build(),
            followed: Mutex::default(),
            generation: AtomicU64::default(),
            looking: (0..STRIPES).map(|_| tokio::sync::Mutex::default()).collect(),
            away: Mutex::default(),
        }
    }

    /// The key's holder: as remembered where that will do, else as `ask` finds them.
    pub(super) async fn holder(
        &self,
        hash: &Hash,
        ask: impl Future<Output = Result<Option<C>, StoreError>> + Send,
    ) -> Result<Option<C>, Unknown> {
        let stripe = &self.looking[usize::from(hash[0]) % STRIPES];
        let _looking = match self.recall(hash).await {
            (Worth::Fresh, holder) => return Ok(holder),
            // Nobody waits who has an answer.
            (Worth::Stale, holder) => match stripe.try_lock() {
                Ok(looking) => looking,
                Err(_) => return Ok(holder),
            },
            (Worth::Nothing, _) => stripe.lock().await,
        };
        // Whoever held the lock before may have looked for the same key.
        match self.recall(hash).await {
            (Worth::Fresh, holder) => return Ok(holder),
            (Worth::Stale, holder) if !self.may_ask() => return Ok(holder),
            (Worth::Nothing, _) if !self.may_ask() => return Err(Unknown),
            _ => {}
        }
        let at = Instant::now();
        let generation = self.generation.load(Ordering::SeqCst);
        let late = |late| {
            let operation = "look up an API key";
            Err(StoreError::Unavailable { operation, source: Box::new(late) })
        };
        let error = match tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(late) {
            Ok(holder) => {
                *self.away() = None;
                let seen = Seen { holder: holder.clone(), at };
                self.cache.insert(*hash, seen).await;
                if self.generation.load(Ordering::SeqCst) != generation {
                    self.cache.invalidate(hash).await;
                }
                return Ok(holder);
            }
            Err(error) => error,
        };
        // Another error is about this key.
        if matches!(error, StoreError::Unavailable { .. }) {
            *self.away() = Some(Instant::now() + AWAY);
        }
        // Recalled once more, and never put back: it may have been forgotten meanwhile.
        match self.recall(hash).await {
            (Worth::Nothing, _) => {
                tracing::warn!(%error, "an API key can't be looked up");
                Err(Unknown)
            }
            (_, holder) => {
                tracing::debug!(%error, "an API key is taken as it was last seen");
                Ok(holder)
            }
        }
    }

    async fn recall(&self, hash: &Hash) -> (Worth, Option<C>) {
        let Some(Seen { holder, at }) = self.cache.get(hash).await else {
            return (Worth::Nothing, None);
        };
        let followed = *self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        (self.trust.worth(at, holder.is_some(), followed, Instant::now()), holder)
    }

    /// Whether the store may be asked now. While it is away, one asker in a while.
    fn may_ask(&self) -> bool {
        let now = Instant::now();
        let mut away = self.away();
        match *away {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                *away = Some(now + AWAY);
                true
            }
        }
    }

    fn away(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn forget(&self, hash: &Hash) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(hash).await;
    }

    pub(super) fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate_all();
    }

    /// The feed was asked at `at`, and all that it named is forgotten.
    pub(super) fn followed(&self, at: Instant) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const KEY: Hash = [7; 32];
    const SECOND: Duration = Duration::from_secs(1);
    const TRUST: Trust =
        Trust { unfollowed: Duration::from_millis(500), following: Duration::from_millis(500) };

    type Answer = Result<Option<u32>, StoreError>;

    fn down() -> Answer {
        Err(StoreError::Unavailable { operation: "test", source: "down".into() })
    }

    /// By seconds: when it was seen, when the feed was last followed, and now.
    #[test]
    fn what_was_seen_is_worth_something_while_it_is_known_to_be_right() {
        let start = Instant::now();
        let at = |seconds| start + SECOND * seconds;
        for (name, seen, followed, now, known, unknown) in [
            ("just seen, no feed", 0, None, 0, Worth::Fresh, Worth::Fresh),
            ("no feed", 0, None, 1, Worth::Stale, Worth::Nothing),
            ("no feed, an hour", 0, None, 3_600, Worth::Nothing, Worth::Nothing),
            ("followed", 0, Some(90_000), 90_000, Worth::Fresh, Worth::Fresh),
            ("followed till now", 0, Some(90_000), 90_001, Worth::Stale, Worth::Nothing),
            ("the outage counts", 0, Some(90_000), 93_599, Worth::Stale, Worth::Nothing),
            ("all of it", 0, Some(90_000), 93_600, Worth::Nothing, Worth::Nothing),
            ("seen after the feed", 100, Some(50), 3_699, Worth::Stale, Worth::Nothing),
            ("seen too long after it", 100, Some(50), 3_700, Worth::Nothing, Worth::Nothing),
        ] {
            let worth = |known| TRUST.worth(at(seen), known, followed.map(at), at(now));
            assert_eq!((worth(true), worth(false)), (known, unknown), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_costs_one_request_its_patience() {
        let memory = Memory::new(TRUST);
        memory.holder(&KEY, ready(Ok(Some(1)))).await.unwrap();
        tokio::time::advance(SECOND * 60).await;
        let before = Instant::now();
        let hang = || pending::<Answer>();
        let (first, second) = tokio::join!(memory.holder(&KEY, hang()), async {
            let holder = memory.holder(&KEY, hang()).await;
            assert_eq!(before.elapsed(), Duration::ZERO, "it need not wait for the first");
            holder
        });
        assert_eq!((first, second), (Ok(Some(1)), Ok(Some(1))));
        assert_eq!(before.elapsed(), PATIENCE, "and the first waited this long");
        let before = Instant::now();
        for stripe in 0..=255 {
            assert_eq!(memory.holder(&KEY, hang()).await, Ok(Some(1)));
            assert_eq!(memory.holder(&[stripe; 32], hang()).await.is_ok(), stripe == KEY[0]);
        }
        assert_eq!(before.elapsed(), Duration::ZERO, "it is away for all keys");
        tokio::time::advance(AWAY).await;
        assert_eq!(memory.holder(&[0; 32], ready(Ok(Some(2)))).await, Ok(Some(2)));
        assert_eq!(memory.holder(&KEY, ready(Ok(Some(3)))).await, Ok(Some(3)), "it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_up_sees_whether_the_store_is_back() {
        let memory = Memory::new(TRUST);
        assert_eq!(memory.holder(&KEY, ready(down())).await, Err(Unknown));
        tokio::time::advance(AWAY).await;
        let before = Instant::now();
        let (probe, other) = tokio::join!(memory.holder(&[1; 32], pending()), async {
            let other = memory.holder(&[2; 32], ready(Ok(Some(2)))).await;
            assert_eq!(before.elapsed(), Duration::ZERO);
            other
        });
        assert_eq!((probe, other), (Err(Unknown), Err(Unknown)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_about_one_key_is_not_about_others() {
        let memory = Memory::new(TRUST);
        let unreadable = || {
            Err(StoreError::Unreadable { operation: "test", table: "keys", what: "x".to_owned() })
        };
        assert_eq!(memory.holder(&KEY, ready(unreadable())).await, Err(Unknown));
        assert_eq!(memory.holder(&[1; 32], ready(Ok(Some(1)))).await, Ok(Some(1)));
    }

    /// Whether the store answers or fails, and what is known before.
    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_during_a_look_up_does_not_come_back() {
        for (seen, answer, during) in [
            (Some(1), Ok(Some(1)), Ok(Some(1))),
            (Some(1), down(), Err(Unknown)),
            (None, Ok(Some(1)), Ok(Some(1))),
        ] {
            let memory = Memory::new(TRUST);
            if seen.is_some() {
                memory.holder(&KEY, ready(Ok(seen))).await.unwrap();
                tokio::time::advance(SECOND).await;
            }
            let ask = async {
                memory.forget(&KEY).await;
                answer
            };
            assert_eq!(memory.holder(&KEY, ask).await, during);
            assert_eq!(memory.holder(&KEY, ready(down())).await, Err(Unknown), "nothing is left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_followed_for_days_lasts_through_an_outage() {
        let memory = Memory::new(TRUST);
        memory.holder(&KEY, ready(Ok(Some(1)))).await.unwrap();
        tokio::time::advance(OUTAGE * 48).await;
        memory.followed(Instant::now());
        tokio::time::advance(SECOND * 3_599).await;
        assert_eq!(memory.holder(&KEY, ready(down())).await, Ok(Some(1)));
        tokio::time::advance(SECOND).await;
        assert_eq!(memory.holder(&KEY, ready(down())).await, Err(Unknown));
    }
}
