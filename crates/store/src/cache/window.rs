//! A window that slides, as a pure function of what was taken and the time.
//!
//! A **window** ([`Window`]) is cut into **slices**. What is taken counts in the slice it was
//! taken in, and a slice leaves when its *last* instant is older than the window. So what was
//! taken at the beginning of a slice counts up to one slice too long, and nothing ever counts
//! too short: the limit holds for every span of time, not only for spans that begin with a
//! slice. `redis/take.lua` does the same inside of Redis and is tested against this.

use std::collections::BTreeMap;
use std::time::Duration;

use triggerline_types::RateLimit;

use super::{Grant, Want};

/// More would come free more evenly, and cost more to add up.
const SLICES: u64 = 100;

/// How a window is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Of a slice, in milliseconds.
    pub(super) width: u64,
    /// Slices that cover a window: never shorter than it.
    pub(super) span: u64,
}

impl Cut {
    pub(super) fn of(window: Duration) -> Self {
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        let width = window.div_ceil(SLICES);
        Self { width, span: window.div_ceil(width) }
    }

    /// When a slice has left, in milliseconds.
    fn leaves(self, slice: u64) -> u64 {
        (slice + 1 + self.span) * self.width
    }

    /// Whether what was taken in a slice counts. A slice that is to come is one of before the
    /// clock was set back; one that is more than a window ahead is no longer believed, or a
    /// clock that was once days ahead would close a key for days.
    fn counts(self, slice: u64, current: u64) -> bool {
        current <= slice + self.span && slice <= current + self.span
    }
}

/// What was taken lately: by the index of the slice, counted from the clock's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    slices: BTreeMap<u64, u32>,
}

impl Window {
    /// Takes from the window at `now`, in milliseconds of whichever clock all calls share.
    pub(super) fn take(&mut self, limit: RateLimit, want: Want, now: u64) -> Grant {
        let cut = Cut::of(limit.window());
        let current = now / cut.width;
        self.slices.retain(|slice, _| cut.counts(*slice, current));
        let used: u64 = self.slices.values().copied().map(u64::from).sum();
        let left = u32::try_from(u64::from(limit.quota()).saturating_sub(used)).unwrap_or(u32::MAX);
        let granted = match want {
            Want::All(amount) if amount > left => 0,
            Want::All(amount) => amount,
            Want::UpTo(amount) => amount.min(left),
        };
        if granted > 0 {
            let slice = self.slices.entry(current).or_default();
            *slice = slice.saturating_add(granted);
        }
        let until = |at: u64| Duration::from_millis(at.saturating_sub(now));
        Grant {
            granted,
            remaining: left - granted,
            retry_after: if granted == want.amount() {
                Duration::ZERO
            } else {
                self.frees(limit, cut, want)
                    .map_or_else(|| Duration::from_millis(cut.span * cut.width), until)
            },
            reset: self.slices.keys().next_back().map_or(Duration::ZERO, |s| until(cut.leaves(*s))),
        }
    }

    /// When asking again for what was not granted helps; never, if the quota is too small.
    fn frees(&self, limit: RateLimit, cut: Cut, want: Want) -> Option<u64> {
        let needed = match want {
            Want::All(amount) => u64::from(amount),
            Want::UpTo(_) => 1,
        };
        let allowed = u64::from(limit.quota()).checked_sub(needed)?;
        let mut used: u64 = self.slices.values().copied().map(u64::from).sum();
        self.slices.iter().find_map(|(slice, taken)| {
            used -= u64::from(*taken);
            (used <= allowed).then(|| cut.leaves(*slice))
        })
    }

    /// Slices that something is kept of.
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    fn grant(granted: u32, remaining: u32, retry_after: u64, reset: u64) -> Grant {
        let (retry_after, reset) =
            (Duration::from_millis(retry_after), Duration::from_millis(reset));
        Grant { granted, remaining, retry_after, reset }
    }

    #[test]
    fn a_cut_covers_the_window() {
        for (window, width, span) in [
            (Duration::from_millis(1), 1, 1),
            (Duration::from_millis(50), 1, 50),
            (Duration::from_millis(101), 2, 51),
            (Duration::from_secs(1), 10, 100),
            (Duration::from_mins(1), 600, 100),
            (Duration::from_hours(24), 864_000, 100),
        ] {
            let cut = Cut::of(window);
            assert_eq!(cut, Cut { width, span }, "{window:?}");
            assert!(u128::from(cut.width * cut.span) >= window.as_millis(), "{window:?}");
        }
    }

    /// One window of a second through its life: slices are 10 ms wide.
    #[test]
    fn a_window_slides() {
        use Want::{All, UpTo};
        let mut window = Window::default();
        for (now, limit_, want, expected) in [
            (5_000, "10/1s", UpTo(0), grant(0, 10, 0, 0)),
            (5_000, "10/1s", All(11), grant(0, 10, 1_000, 0)),
            (5_000, "10/1s", UpTo(3), grant(3, 7, 0, 1_010)),
            (5_009, "10/1s", All(2), grant(2, 5, 0, 1_001)),
            (5_500, "10/1s", All(6), grant(0, 5, 510, 510)),
            (5_500, "10/1s", UpTo(6), grant(5, 0, 510, 1_010)),
            (5_505, "10/1s", UpTo(1), grant(0, 0, 505, 1_005)),
            (5_505, "10/1s", All(6), grant(0, 0, 1_005, 1_005)),
            (5_505, "10/1s", UpTo(0), grant(0, 0, 0, 1_005)),
            // A larger and a smaller quota, at once.
            (5_505, "12/1s", UpTo(1), grant(1, 1, 0, 1_005)),
            (5_505, "4/1s", All(1), grant(0, 0, 1_005, 1_005)),
            // 5 of 11 leave at 6,010, when all of their slice is older than a second.
            (6_009, "11/1s", UpTo(9), grant(0, 0, 1, 501)),
            (6_010, "11/1s", UpTo(9), grant(5, 0, 500, 1_010)),
            (6_510, "11/1s", UpTo(0), grant(0, 6, 0, 510)),
            (9_000, "11/1s", UpTo(0), grant(0, 11, 0, 0)),
        ] {
            assert_eq!(window.take(limit(limit_), want, now), expected, "{now} {limit_} {want:?}");
        }
        assert_eq!(window.len(), 0, "what has left takes no room");
    }

    #[test]
    fn a_clock_that_is_set_back_errs_to_fewer_and_not_for_ever() {
        let one = limit("1/1s");
        let mut window = Window::default();
        assert_eq!(window.take(one, Want::All(1), 50_000).granted, 1);
        assert_eq!(window.take(one, Want::All(1), 49_500), grant(0, 0, 1_510, 1_510));
        assert_eq!(window.take(one, Want::All(1), 49_000).granted, 0);
        assert_eq!(window.take(one, Want::All(1), 48_990).granted, 1, "no longer believed");
    }

    #[test]
    fn the_largest_quota_does_not_overflow() {
        let most = limit("4000000000/1s");
        let mut window = Window::default();
        assert_eq!(window.take(most, Want::UpTo(u32::MAX), 0).granted, 4_000_000_000);
        assert_eq!(window.take(most, Want::UpTo(u32::MAX), 10).granted, 0);
        assert_eq!(window.take(limit("1/1s"), Want::UpTo(1), 20).remaining, 0);
    }

    /// The promise itself, against what was granted: a fixed series of many takes, each with
    /// every span of a window that ends with it.
    #[test]
    fn no_span_as_long_as_the_window_holds_more_than_the_quota() {
        let limit = limit("20/1s");
        let (mut window, mut granted) = (Window::default(), Vec::<(u64, u32)>::new());
        let mut noise = 7_u64;
        let mut now = 123_456;
        for _ in 0..5_000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += (noise >> 33) % 40;
            let want = u32::try_from((noise >> 50) % 7).unwrap();
            let want = if noise >> 63 == 0 { Want::All(want) } else { Want::UpTo(want) };
            granted.push((now, window.take(limit, want, now).granted));
            let span = granted.iter().rev().take_while(|(at, _)| now - at <= 1_000);
            let sum: u32 = span.map(|(_, granted)| granted).sum();
            assert!(sum <= 20, "{sum} in the second up to {now}");
            assert!(window.len() <= 101, "{} slices", window.len());
        }
        let all: u32 = granted.iter().map(|(_, granted)| granted).sum();
        let seconds = u32::try_from((now - 123_456) / 1_000).unwrap();
        assert!(all >= 18 * seconds, "{all} in {seconds} s: barely less than the quota");
    }
}
