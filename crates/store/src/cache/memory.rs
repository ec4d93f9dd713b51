//! The cache in this process: for one gateway alone, and for limits while Redis is away.
//!
//! Its memory is bounded: entries that are over are swept when their number has doubled since the
//! last sweep, and beyond [`RESERVATIONS`] live reservations a new key is refused rather than an
//! old one forgotten. A restart forgets all of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::EventId;
use uuid::Uuid;

use super::window::{Window, millis};
use super::{Cache, Claim, Grant, IdempotencyKey, Reservation};
use crate::StoreError;

/// Live reservations at once: at some hundred bytes each, within 1 GB.
const RESERVATIONS: usize = 2_000_000;
/// Fewer entries than this are never swept.
const SWEPT_FROM: usize = 1_024;

pub struct MemoryCache {
    /// Instants are counted from it.
    started: Instant,
    reservations: Mutex<Swept<IdempotencyKey, Held>>,
    windows: Mutex<Swept<(String, Duration), Window>>,
}

struct Held {
    fingerprint: [u8; 32],
    event_id: EventId,
    received_at: OffsetDateTime,
    token: Uuid,
    lease_ends: Instant,
    expires: Instant,
    answer: Option<Bytes>,
}

impl MemoryCache {
    #[allow(clippy::new_without_default, reason = "two of them would not be the same")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            reservations: Mutex::new(Swept::new()),
            windows: Mutex::new(Swept::new()),
        }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError> {
        let now = Instant::now();
        let mut reservations = lock(&self.reservations);
        reservations.sweep(|held| held.expires <= now);
        if let Some(held) = reservations.map.get_mut(&claim.key).filter(|held| now < held.expires) {
            return Ok(held.claimed(claim, now));
        }
        if reservations.map.len() >= RESERVATIONS {
            return Err(StoreError::Unavailable {
                operation: "reserve an idempotency key",
                source: format!("{RESERVATIONS} keys are held in memory already").into(),
            });
        }
        let Claim { event_id, received_at, .. } = *claim;
        let held = Held {
            fingerprint: claim.fingerprint,
            event_id,
            received_at,
            token: claim.token,
            lease_ends: now + claim.lease,
            expires: now + claim.keep,
            answer: None,
        };
        reservations.map.insert(claim.key.clone(), held);
        Ok(Reservation::Ours { event_id, received_at })
    }

    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError> {
        let mut reservations = lock(&self.reservations);
        let Some(held) = reservations.map.get_mut(key).filter(|held| held.is_running_by(token))
        else {
            return Ok(false);
        };
        held.answer = Some(Bytes::copy_from_slice(answer));
        Ok(true)
    }

    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        forget: bool,
    ) -> Result<(), StoreError> {
        let mut reservations = lock(&self.reservations);
        if let Some(held) = reservations.map.get_mut(key).filter(|held| held.is_running_by(token)) {
            if forget {
                reservations.map.remove(key);
            } else {
                held.lease_ends = Instant::now();
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        name: &str,
        quota: u32,
        window: Duration,
        want: u32,
    ) -> Result<Grant, StoreError> {
        let now = millis(self.started.elapsed());
        let mut windows = lock(&self.windows);
        windows.sweep_entries(|(_, length), window| window.is_over(now, *length));
        let entry = windows.map.entry((name.to_owned(), window)).or_default();
        Ok(entry.take(now, quota, window, want))
    }

    fn is_available(&self) -> bool {
        true
    }
}

impl Held {
    fn is_running_by(&self, token: Uuid) -> bool {
        self.token == token && self.answer.is_none()
    }

    /// What a later claim to it gets.
    fn claimed(&mut self, claim: &Claim, now: Instant) -> Reservation {
        if self.fingerprint != claim.fingerprint {
            return Reservation::Different;
        }
        if let Some(answer) = &self.answer {
            return Reservation::Settled { answer: answer.clone() };
        }
        if now < self.lease_ends {
            return Reservation::Running { retry_after: self.lease_ends - now };
        }
        self.token = claim.token;
        self.lease_ends = now + claim.lease;
        Reservation::Ours { event_id: self.event_id, received_at: self.received_at }
    }
}

/// A map that drops what is over when it has doubled since it last did.
struct Swept<K, V> {
    map: HashMap<K, V>,
    sweep_at: usize,
}

impl<K: Eq + Hash, V> Swept<K, V> {
    fn new() -> Self {
        Self { map: HashMap::new(), sweep_at: SWEPT_FROM }
    }

    fn sweep(&mut self, is_over: impl Fn(&V) -> bool) {
        self.sweep_entries(|_, value| is_over(value));
    }

    fn sweep_entries(&mut self, is_over: impl Fn(&K, &V) -> bool) {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|key, value| !is_over(key, value));
            self.sweep_at = (self.map.len() * 2).max(SWEPT_FROM);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
