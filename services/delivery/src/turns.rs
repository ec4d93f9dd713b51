//! Turns at an endpoint that wants to be asked only so often. Pure: the clock comes in as an argument.
//!
//! The generic cell rate algorithm (ITU-T I.371, in its virtual scheduling form): each turn is a gap
//! after the one before, but for as many at once after a rest as the burst allows. A turn that was
//! given is its holder's, so that those who wait don't wake each other up.

use std::time::{Duration, Instant};

use triggerline_types::Throttle;

#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// When the next turn would be if there were no bursts.
    next: Option<Instant>,
}

impl Turns {
    /// The next turn, if it is not later than `patience` from now; otherwise none is given.
    pub(crate) fn take(
        &mut self,
        throttle: Throttle,
        patience: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let gap = gap(throttle);
        let next = self.next.map_or(now, |next| next.max(now));
        let early = gap * throttle.burst.saturating_sub(1);
        let turn = next.checked_sub(early).map_or(now, |turn| turn.max(now));
        if turn > now + patience {
            return None;
        }
        self.next = Some(next + gap);
        Some(turn)
    }

    /// Nothing would be lost by forgetting it.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }
}

/// Between two turns, in the long run.
pub(crate) fn gap(throttle: Throttle) -> Duration {
    throttle.rate.window() / throttle.rate.quota()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_a_gap_apart_but_for_a_burst() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // (rate, burst, patience in ms, asked at) → turn at, or none
        for (rate, burst, patience, asked) in [
            (
                "10/1s",
                1,
                5_000,
                vec![(0, Some(0)), (0, Some(100)), (0, Some(200)), (900, Some(900))],
            ),
            ("10/1s", 3, 5_000, vec![(0, Some(0)), (0, Some(0)), (0, Some(0)), (0, Some(100))]),
            // After a rest the burst is there again, and no more than that.
            (
                "10/1s",
                2,
                0,
                vec![
                    (0, Some(0)),
                    (0, Some(0)),
                    (0, None),
                    (5_000, Some(5_000)),
                    (5_000, Some(5_000)),
                    (5_000, None),
                    (5_100, Some(5_100)),
                ],
            ),
            // Who isn't given one takes none from those who come later.
            (
                "1/1m",
                1,
                5_000,
                vec![(0, Some(0)), (0, None), (54_999, None), (55_000, Some(60_000))],
            ),
        ] {
            let throttle = Throttle { rate: rate.parse().unwrap(), burst };
            let mut turns = Turns::default();
            for (ms, expected) in asked {
                let turn = turns.take(throttle, Duration::from_millis(patience), at(ms));
                assert_eq!(turn, expected.map(at), "{rate} {burst} at {ms}");
            }
        }
    }

    #[test]
    fn it_is_idle_once_its_last_turn_is_over() {
        let now = Instant::now();
        let throttle = Throttle { rate: "1/1s".parse().unwrap(), burst: 1 };
        let mut turns = Turns::default();
        assert!(turns.is_idle(now));
        turns.take(throttle, Duration::ZERO, now);
        assert!(!turns.is_idle(now));
        assert!(turns.is_idle(now + Duration::from_secs(1)));
    }
}
