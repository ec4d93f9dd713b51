//! The cache of one process, in its memory.
//!
//! For a single gateway: another process doesn't see it, and a restart forgets it. Reservations
//! and windows each have a **shelf** with room for so many bytes. A full shelf drops what was
//! asked for the longest ago: a reservation dropped early makes a request that is sent again a
//! second event, a window dropped early lets its key have up to one more quota.

use std::future::ready;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::future::Cache as Shelf;
use moka::ops::compute::Op;
use moka::policy::{EvictionPolicy, Expiry};
use triggerline_types::RateLimit;
use uuid::Uuid;

use super::reservation::{Entry, Released};
use super::window::Window;
use super::{Cache, Claim, Grant, IdempotencyKey, Release, Reservation, Want};
use crate::StoreError;

/// About 200,000 keys with short answers.
const RESERVATIONS: u64 = 64 << 20;
/// About 10,000 busy keys, or 100,000 quiet ones.
const WINDOWS: u64 = 32 << 20;
/// What an entry takes besides its texts: itself, its key and the shelf's own lists.
const OVERHEAD: usize = 256;
/// A slice in a window's map.
const SLICE: usize = 24;

pub struct MemoryCache {
    reservations: Shelf<IdempotencyKey, Entry>,
    /// By key and by length, so that a limit with another window finds an empty one.
    windows: Shelf<(String, Duration), KeptWindow>,
    /// When the windows' milliseconds began.
    started: Instant,
}

#[derive(Clone)]
struct KeptWindow {
    window: Window,
    /// When nothing in it counts any more.
    ends: Instant,
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::with_room(RESERVATIONS, WINDOWS)
    }
}

impl MemoryCache {
    /// With room for so many bytes of each, roughly.
    pub fn with_room(reservations: u64, windows: u64) -> Self {
        // The least recently used goes: moka's own choice would rather turn away what is new,
        // and a reservation that was just made is the one that is needed.
        let reservations = Shelf::builder()
            .max_capacity(reservations)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key: &IdempotencyKey, entry: &Entry| weight(&key.key, entry.answer_len()))
            .expire_after(ByTheirEnd)
            .build();
        let windows = Shelf::builder()
            .max_capacity(windows)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|(key, _): &(String, Duration), kept: &KeptWindow| {
                weight(key, kept.window.len() * SLICE)
            })
            .expire_after(ByTheirEnd)
            .build();
        Self { reservations, windows, started: Instant::now() }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError> {
        let mut outcome = Reservation::Different;
        let entry = self.reservations.entry(claim.key.clone());
        entry
            .and_compute_with(|entry| {
                let entry = entry.map(moka::Entry::into_value);
                let (after, reservation) = Entry::claim(entry, claim, Instant::now());
                outcome = reservation;
                ready(match outcome {
                    Reservation::Ours { .. } => Op::Put(after),
                    _ => Op::Nop,
                })
            })
            .await;
        Ok(outcome)
    }

    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError> {
        let mut ours = false;
        let entry = self.reservations.entry_by_ref(key);
        entry
            .and_compute_with(|entry| {
                let settled = entry.map(|entry| entry.into_value().settle(token, answer));
                let (after, is_ours) = settled.unwrap_or_default();
                ours = is_ours;
                ready(after.map_or(Op::Nop, Op::Put))
            })
            .await;
        Ok(ours)
    }

    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        release: Release,
    ) -> Result<(), StoreError> {
        let entry = self.reservations.entry_by_ref(key);
        entry
            .and_compute_with(|entry| {
                let released = entry.map(|entry| entry.into_value().release(token, release));
                ready(match released {
                    Some(Released::Keep(after)) => Op::Put(after),
                    Some(Released::Remove) => Op::Remove,
                    Some(Released::Nothing) | None => Op::Nop,
                })
            })
            .await;
        Ok(())
    }

    async fn take(&self, key: &str, limit: RateLimit, want: Want) -> Result<Grant, StoreError> {
        let mut grant = Grant::default();
        let entry = self.windows.entry((key.to_owned(), limit.window()));
        entry
            .and_compute_with(|entry| {
                let mut window = entry.map(|entry| entry.into_value().window).unwrap_or_default();
                let now = self.started.elapsed();
                let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                grant = window.take(limit, want, millis);
                ready(if grant.granted == 0 {
                    Op::Nop
                } else {
                    Op::Put(KeptWindow { window, ends: self.started + now + grant.reset })
                })
            })
            .await;
        Ok(grant)
    }

    fn is_available(&self) -> bool {
        true
    }
}

fn weight(key: &str, more: usize) -> u32 {
    u32::try_from(OVERHEAD + key.len() + more).unwrap_or(u32::MAX)
}

/// Everything on a shelf knows when it ends.
struct ByTheirEnd;

trait Ends {
    fn ends(&self) -> Instant;
}

impl Ends for Entry {
    fn ends(&self) -> Instant {
        self.ends
    }
}

impl Ends for KeptWindow {
    fn ends(&self) -> Instant {
        self.ends
    }
}

impl<K, V: Ends> Expiry<K, V> for ByTheirEnd {
    fn expire_after_create(&self, _: &K, value: &V, now: Instant) -> Option<Duration> {
        Some(value.ends().saturating_duration_since(now))
    }

    fn expire_after_update(
        &self,
        _: &K,
        value: &V,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.ends().saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_shelf_drops_what_was_asked_for_the_longest_ago() {
        let cache = MemoryCache::with_room(0, 100_000);
        let limit: RateLimit = "1/1d".parse().unwrap();
        let take = async |key: &str| cache.take(key, limit, Want::All(1)).await.unwrap().granted;
        for n in 0..2_000 {
            assert_eq!(take(&n.to_string()).await, 1);
        }
        cache.windows.run_pending_tasks().await;
        assert!(cache.windows.weighted_size() <= 100_000);
        assert_eq!(take("1999").await, 0, "what is new is kept");
        assert_eq!(take("0").await, 1, "what is old makes room");
    }
}
