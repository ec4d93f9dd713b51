//! How fast a replay goes. Pure.

use std::time::{Duration, Instant};

/// What a replay may catch up on after it was held up, by a slow store say.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// Turns, so many a second and evenly spread.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self { gap: Duration::from_secs(1) / rate.max(1), next: now }
    }

    /// When the next delivery may go.
    pub(crate) fn turn(&mut self, now: Instant) -> Instant {
        let earliest = now.checked_sub(ALLOWANCE).unwrap_or(now);
        let turn = self.next.max(earliest);
        self.next = turn + self.gap;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_and_little_is_caught_up_on() {
        let start = Instant::now() + ALLOWANCE;
        let at = |ms| start + Duration::from_millis(ms);
        for (rate, asked, given) in [
            // All at once: one every tenth of a second.
            (10, vec![0, 0, 0], vec![0, 100, 200]),
            // A bit late: the schedule is kept.
            (10, vec![0, 150, 150], vec![0, 100, 200]),
            // Held up for long: no more than the allowance is made up for.
            (100, vec![0, 1_000, 1_000], vec![0, 900, 910]),
            (1, vec![0, 0, 1_500], vec![0, 1_000, 2_000]),
        ] {
            let mut pace = Pace::new(rate, at(0));
            let turns: Vec<_> = asked.iter().map(|ms| pace.turn(at(*ms))).collect();
            assert_eq!(turns, given.into_iter().map(at).collect::<Vec<_>>(), "{rate}: {asked:?}");
        }
    }
}
