//! What becomes of an idempotency key, as pure functions.
//!
//! An **entry** ([`Entry`]) is what is kept of a key; its **state** ([`State`]) says whether
//! somebody is at work on it. The scripts in `redis/` do the same inside of Redis, with its
//! clock.

use std::time::{Duration, Instant};

use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::EventId;
use uuid::Uuid;

use super::{Claim, Release, Reservation};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    fingerprint: [u8; 32],
    event_id: EventId,
    received_at: OffsetDateTime,
    state: State,
    /// When the key is unknown again: counted from the first claim, and never moved.
    pub(super) ends: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running { token: Uuid, from: Instant, lease: Duration },
    Free,
    Settled { token: Uuid, answer: Bytes },
}

impl Entry {
    /// The entry after a claim, and what the claim comes to.
    pub(super) fn claim(entry: Option<Self>, claim: &Claim, now: Instant) -> (Self, Reservation) {
        let Some(mut entry) = entry.filter(|entry| now < entry.ends) else {
            let entry = Self {
                fingerprint: claim.fingerprint,
                event_id: claim.event_id,
                received_at: claim.received_at,
                state: State::running(claim, now),
                ends: now + claim.keep,
            };
            let ours = entry.ours();
            return (entry, ours);
        };
        if entry.fingerprint != claim.fingerprint {
            return (entry, Reservation::Different);
        }
        let reservation = match &entry.state {
            State::Settled { answer, .. } => {
                Reservation::Settled { event_id: entry.event_id, answer: answer.clone() }
            }
            State::Running { token, from, lease } if *token != claim.token => {
                match left(*from, *lease, now) {
                    Some(retry_after) => Reservation::Running { retry_after },
                    None => entry.take_over(claim, now),
                }
            }
            State::Running { .. } | State::Free => entry.take_over(claim, now),
        };
        (entry, reservation)
    }

    /// Whether the reservation is the token's; with the entry after it, if that is another one.
    pub(super) fn settle(mut self, by: Uuid, answer: &[u8]) -> (Option<Self>, bool) {
        match self.state {
            State::Running { token, .. } if token == by => {
                self.state = State::Settled { token, answer: Bytes::copy_from_slice(answer) };
                (Some(self), true)
            }
            State::Settled { token, .. } => (None, token == by),
            State::Running { .. } | State::Free => (None, false),
        }
    }

    /// What is to be done about the entry.
    pub(super) fn release(mut self, by: Uuid, release: Release) -> Released {
        match self.state {
            State::Running { token, .. } if token == by => match release {
                Release::Forget => Released::Remove,
                Release::Unknown => {
                    self.state = State::Free;
                    Released::Keep(self)
                }
            },
            _ => Released::Nothing,
        }
    }

    /// Bytes that the entry takes beyond its own size.
    pub(super) fn answer_len(&self) -> usize {
        match &self.state {
            State::Settled { answer, .. } => answer.len(),
            State::Running { .. } | State::Free => 0,
        }
    }

    fn take_over(&mut self, claim: &Claim, now: Instant) -> Reservation {
        self.state = State::running(claim, now);
        self.ours()
    }

    fn ours(&self) -> Reservation {
        Reservation::Ours { event_id: self.event_id, received_at: self.received_at }
    }
}

impl State {
    fn running(claim: &Claim, now: Instant) -> Self {
        Self::Running { token: claim.token, from: now, lease: claim.lease }
    }
}

/// What is left of a lease. Nothing where it is to begin yet: the clock was set back, and nobody
/// waits for it to catch up.
fn left(from: Instant, lease: Duration, now: Instant) -> Option<Duration> {
    let left = (from + lease).checked_duration_since(now)?;
    (!left.is_zero() && left <= lease).then_some(left)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Released {
    Nothing,
    Keep(Entry),
    Remove,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use triggerline_types::CustomerId;

    use super::super::IdempotencyKey;
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    const KEEP: Duration = Duration::from_secs(100);
    const OURS: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn claim(token: Uuid, fingerprint: u8) -> Claim {
        Claim {
            key: IdempotencyKey { customer: CustomerId::new(), key: "k".to_owned() },
            fingerprint: [fingerprint; 32],
            event_id: EventId::new(),
            received_at: OffsetDateTime::UNIX_EPOCH,
            token,
            lease: LEASE,
            keep: KEEP,
        }
    }

    /// What a claim comes to, by the state it meets and when.
    #[test]
    fn a_claim_meets_each_state() {
        let start = Instant::now();
        let first = claim(OURS, 1);
        let (running, ours) = Entry::claim(None, &first, start);
        assert_eq!(ours, running.ours());
        let Released::Keep(free) = running.clone().release(OURS, Release::Unknown) else {
            panic!("a release keeps the entry");
        };
        let (settled, true) = running.clone().settle(OURS, b"answer") else {
            panic!("it is ours to settle");
        };
        let settled = settled.unwrap();

        let own = running.ours();
        let busy = |seconds| Reservation::Running { retry_after: Duration::from_secs(seconds) };
        let done = Reservation::Settled {
            event_id: first.event_id,
            answer: Bytes::from_static(b"answer"),
        };
        for (name, entry, token, fingerprint, at, expected) in [
            ("running", &running, OTHER, 1, 0, busy(10)),
            ("running, later", &running, OTHER, 1, 9, busy(1)),
            ("running, the same claim again", &running, OURS, 1, 3, own.clone()),
            ("running, lease over", &running, OTHER, 1, 10, own.clone()),
            ("running, another body", &running, OURS, 2, 0, Reservation::Different),
            ("lease over, another body", &running, OTHER, 2, 11, Reservation::Different),
            ("free", &free, OTHER, 1, 0, own.clone()),
            ("free, another body", &free, OTHER, 2, 0, Reservation::Different),
            ("settled", &settled, OTHER, 1, 99, done.clone()),
            ("settled by itself", &settled, OURS, 1, 99, done),
            ("settled, another body", &settled, OTHER, 2, 99, Reservation::Different),
        ] {
            let at = start + Duration::from_secs(at);
            let (after, reservation) =
                Entry::claim(Some(entry.clone()), &claim(token, fingerprint), at);
            assert_eq!(reservation, expected, "{name}");
            assert_eq!(after.ends, start + KEEP, "{name}: kept from the first claim on");
            if reservation == own {
                assert_eq!(after.state, State::Running { token, from: at, lease: LEASE }, "{name}");
            } else {
                assert_eq!(&after, entry, "{name}: unchanged");
            }
        }

        let late = claim(OTHER, 2);
        for entry in [running, free, settled] {
            let (after, reservation) = Entry::claim(Some(entry), &late, start + KEEP);
            assert_eq!((after.event_id, reservation), (late.event_id, after.ours()), "forgotten");
        }
    }

    /// In seconds: when a lease of ten began, now, and what is left of it.
    #[test]
    fn a_lease_lasts_as_long_as_it_was_made_for() {
        let start = Instant::now();
        for (from, now, expected) in [
            (50, 50, Some(10)),
            (50, 59, Some(1)),
            (50, 60, None),
            (50, 90, None),
            (50, 49, None),
            (50, 0, None),
        ] {
            let at = |seconds| start + Duration::from_secs(seconds);
            assert_eq!(left(at(from), LEASE, at(now)), expected.map(Duration::from_secs));
        }
    }

    #[test]
    fn only_the_token_that_holds_a_reservation_ends_it() {
        let start = Instant::now();
        let (running, _) = Entry::claim(None, &claim(OURS, 1), start);
        let (taken_over, _) = Entry::claim(Some(running.clone()), &claim(OTHER, 1), start + LEASE);
        let settled = running.clone().settle(OURS, b"first").0.unwrap();
        let free = Entry { state: State::Free, ..running.clone() };

        for (name, entry, token, changes, ours) in [
            ("running", &running, OURS, true, true),
            ("another's", &running, OTHER, false, false),
            ("taken over", &taken_over, OURS, false, false),
            ("settled", &settled, OURS, false, true),
            ("another settled", &settled, OTHER, false, false),
            ("released", &free, OURS, false, false),
        ] {
            let (after, is_ours) = entry.clone().settle(token, b"second");
            assert_eq!((after.is_some(), is_ours), (changes, ours), "settle {name}");
            let ends = |release| entry.clone().release(token, release) != Released::Nothing;
            assert_eq!(ends(Release::Unknown), changes, "release {name}");
            assert_eq!(ends(Release::Forget), changes, "forget {name}");
        }
        assert_eq!(running.release(OURS, Release::Forget), Released::Remove);
    }
}
