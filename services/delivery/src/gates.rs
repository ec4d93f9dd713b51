//! The [`Gate`] of each endpoint, and those who wait at it.
//!
//! Each process judges endpoints by what it has seen itself. A subscription's deliveries are on one
//! partition of each topic, so there are few who see the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Gauge;
use tokio::sync::Notify;
use triggerline_kafka::Stop;
use triggerline_service::clock::Clock;
use triggerline_types::{SubscriptionId, Throttle};

use crate::crowd::Inside;
use crate::gate::{Ended, Entry, Gate, Pass, RECENT};
use crate::turns::{Turns, gap};

/// Whose turn comes later than this doesn't wait for it here.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Gates {
    /// Requests at once to one endpoint, at most.
    most: u32,
    clock: Clock,
    /// How many breakers are open.
    open: Gauge,
    watched: Mutex<HashMap<SubscriptionId, Arc<Watched>>>,
}

struct Watched {
    gate: Mutex<Gate>,
    turns: Mutex<Turns>,
    /// Told of each place that is free again.
    free: Notify,
}

impl Watched {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing would be lost by forgetting it.
    fn is_idle(&self, now: Instant) -> bool {
        self.gate().is_idle(now) && self.turns().is_idle(now)
    }
}

/// What became of one who came to a gate.
pub(crate) enum Admission {
    Admitted(Admitted),
    /// It is put off for so long.
    PutOff(Duration),
    Stopped,
}

/// A place at an endpoint, until it is left.
pub(crate) struct Admitted {
    watched: Arc<Watched>,
    clock: Clock,
    open: Gauge,
    pass: Pass,
    ended: Ended,
}

impl Gates {
    pub(crate) fn new(most: u32, clock: Clock, open: Gauge) -> Self {
        Self { most, clock, open, watched: Mutex::default() }
    }

    /// Waits at the endpoint's gate, for as long as it doesn't crowd out others.
    pub(crate) async fn admit(
        &self,
        subscription: SubscriptionId,
        throttle: Option<Throttle>,
        inside: &Inside,
        stop: &Stop,
    ) -> Admission {
        let watched = self.of(subscription);
        let least = throttle.map_or(Duration::ZERO, gap);
        if let Some(throttle) = throttle {
            let now = self.clock.instant();
            // Whoever finds it shut is put off below, and takes no turn from others.
            let patience = if inside.is_crowded() { Duration::ZERO } else { PATIENCE };
            let is_shut = watched.gate().is_shut(now);
            let turn =
                if is_shut { Some(now) } else { watched.turns().take(throttle, patience, now) };
            let Some(turn) = turn else {
                return Admission::PutOff(watched.gate().put_off(least, now));
            };
            tokio::select! {
                () = self.clock.sleep(turn - now) => {}
                () = stop.asked() => return Admission::Stopped,
            }
        }
        loop {
            // From before it asks, so that no place that becomes free is missed.
            let mut free = std::pin::pin!(watched.free.notified());
            free.as_mut().enable();
            let now = self.clock.instant();
            // Where the rest of a crowd is sent in no time, nobody behind it is held up.
            let crowded = inside.is_crowded();
            let soon = crowded && watched.gate().sends_soon(inside.crowd(), now);
            let crowded = crowded && !soon;
            {
                let mut gate = watched.gate();
                match gate.enter(crowded, now) {
                    Entry::Go(pass) => {
                        drop(gate);
                        let watched = Arc::clone(&watched);
                        let (clock, open) = (self.clock.clone(), self.open.clone());
                        let ended = Ended::Unknown;
                        return Admission::Admitted(Admitted { watched, clock, open, pass, ended });
                    }
                    Entry::Closed(wait) => return Admission::PutOff(wait),
                    Entry::Full if crowded => return Admission::PutOff(gate.put_off(least, now)),
                    Entry::Full => {}
                }
            }
            tokio::select! {
                () = free => {}
                // Unless it has stopped answering meanwhile.
                () = self.clock.sleep(RECENT), if soon => {}
                () = stop.asked() => return Admission::Stopped,
            }
        }
    }

    fn of(&self, subscription: SubscriptionId) -> Arc<Watched> {
        let mut gates = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = gates.get(&subscription) {
            return Arc::clone(watched);
        }
        // Swept when it has doubled since the last time, so that each entry is paid for once.
        if gates.len() == gates.capacity() {
            let now = self.clock.instant();
            gates.retain(|_, watched| Arc::strong_count(watched) > 1 || !watched.is_idle(now));
        }
        let gate = Mutex::new(Gate::new(self.most));
        let watched = Arc::new(Watched { gate, turns: Mutex::default(), free: Notify::new() });
        gates.insert(subscription, Arc::clone(&watched));
        watched
    }
}

impl Admitted {
    /// Leaves the place, and says how the request ended.
    pub(crate) fn leave(mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let now = self.clock.instant();
        let mut gate = self.watched.gate();
        let was_open = gate.is_open();
        gate.leave(self.pass, self.ended, now);
        let (is_open, is_shut) = (gate.is_open(), gate.is_shut(now));
        drop(gate);
        if is_open != was_open {
            self.open.increment(if is_open { 1.0 } else { -1.0 });
            let state = if is_open { "open" } else { "closed" };
            tracing::debug!(state, "an endpoint's breaker");
        }
        if is_shut {
            // They are put off, rather than wait for nothing.
            self.watched.free.notify_waiters();
        } else {
            // It may have grown by one.
            self.watched.free.notify_one();
            self.watched.free.notify_one();
        }
    }
}
