//! A window that slides, in about a hundred slices. Pure: the clock comes in as milliseconds.
//!
//! What is granted counts in the slice of its instant, and goes on counting until *all* of that
//! slice is older than the window. So no interval of the window's length ever holds more than the
//! quota, and what is granted late in a slice is given back up to a slice too late.
//!
//! `take.lua` does the same in Redis; the conformance suite compares them by what they promise.

use std::collections::VecDeque;
use std::time::Duration;

use super::Grant;

/// Slices in a window.
const SLICES: u64 = 100;

/// How long a slice is, in milliseconds.
pub(super) fn slice_of(window: Duration) -> u64 {
    (millis(window) / SLICES).max(1)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Number of the slice since the epoch, and what was granted in it; oldest first.
    slices: VecDeque<(u64, u32)>,
    total: u64,
}

impl Window {
    pub(super) fn take(&mut self, now: u64, quota: u32, window: Duration, want: u32) -> Grant {
        let (slice, length) = (slice_of(window), millis(window));
        let gone = |number: u64| (number + 1) * slice + length;
        while let Some((number, count)) = self.slices.front().copied()
            && gone(number) <= now
        {
            self.total -= u64::from(count);
            self.slices.pop_front();
        }
        let free = u64::from(quota).saturating_sub(self.total);
        let granted = u32::try_from(free).map_or(want, |free| free.min(want));
        if granted > 0 {
            self.total += u64::from(granted);
            match self.slices.back_mut() {
                // A clock that steps back counts in the slice where it was.
                Some((number, count)) if *number >= now / slice => *count += granted,
                _ => self.slices.push_back((now / slice, granted)),
            }
        }
        let until = |number: u64| Duration::from_millis(gone(number).saturating_sub(now));
        let mut missing = u64::from(want - granted);
        // What is over the quota (it was larger before) has to go first.
        missing += if missing > 0 { self.total.saturating_sub(u64::from(quota)) } else { 0 };
        let mut retry_after = Duration::ZERO;
        for (number, count) in &self.slices {
            if missing == 0 {
                break;
            }
            retry_after = until(*number);
            missing = missing.saturating_sub(u64::from(*count));
        }
        Grant {
            granted,
            remaining: u32::try_from(free - u64::from(granted)).unwrap_or(u32::MAX),
            retry_after,
            reset: self.slices.back().map_or(Duration::ZERO, |(number, _)| until(*number)),
        }
    }

    /// Whether nothing in it counts any more.
    pub(super) fn is_over(&self, now: u64, window: Duration) -> bool {
        let (slice, length) = (slice_of(window), millis(window));
        self.slices.back().is_none_or(|(number, _)| (number + 1) * slice + length <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_granted_comes_back_when_its_slice_is_over() {
        let mut window = Window::default();
        let mut take = |now, want| {
            let grant = window.take(now, 10, SECOND, want);
            let ms = |duration: Duration| duration.as_millis();
            (grant.granted, grant.remaining, ms(grant.retry_after), ms(grant.reset))
        };
        assert_eq!(take(5_003, 4), (4, 6, 0, 1_007), "slice 500 ends at 5,010");
        assert_eq!(take(5_500, 4), (4, 2, 0, 1_010));
        assert_eq!(take(5_500, 4), (2, 0, 510, 1_010), "2 more when 4 of slice 500 are gone");
        assert_eq!(take(6_009, 1), (0, 0, 1, 501));
        assert_eq!(take(6_010, 5), (4, 0, 500, 1_010), "the 6 of slice 550 end at 6,510");
        assert_eq!(take(9_000, 11), (10, 0, 1_010, 1_010), "never over the quota at once");
    }

    #[test]
    fn no_interval_of_the_windows_length_holds_more_than_the_quota() {
        let mut window = Window::default();
        let mut granted: Vec<u64> = Vec::new();
        let mut now = 1_000_000;
        // Steps that hit slices at all kinds of places.
        for n in 0..20_000_u64 {
            now += n * 7_919 % 23;
            if window.take(now, 50, SECOND, 1).granted == 1 {
                granted.push(now);
            }
        }
        assert!(granted.len() > 5_000, "{}", granted.len());
        for pair in granted.windows(51) {
            assert!(pair[50] - pair[0] >= 1_000, "51 between {} and {}", pair[0], pair[50]);
        }
    }

    #[test]
    fn a_quota_may_change_and_a_clock_step_back() {
        let mut window = Window::default();
        assert_eq!(window.take(5_000, 10, SECOND, 10).granted, 10);
        let less = window.take(5_100, 5, SECOND, 1);
        assert_eq!((less.granted, less.remaining), (0, 0));
        assert_eq!(window.take(4_000, 20, SECOND, 20).granted, 10);
        assert!(!window.is_over(6_009, SECOND));
        assert!(window.is_over(6_010, SECOND));
    }
}
