//! How often something may be done: so many in a window that slides.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// At most `quota` in any `window`. Written `600/1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    quota: u32,
    window: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate limit is a number from 1 to 4000000000 and a window from 1s to 1d, such as 100/1s, 600/1m or 50000/1h"
)]
pub struct InvalidRateLimit;

impl RateLimit {
    pub const LOWEST: Self = Self { quota: 1, window: Self::MIN_WINDOW };
    pub const MIN_WINDOW: Duration = Duration::from_secs(1);
    pub const MAX_WINDOW: Duration = Duration::from_hours(24);
    /// So that sums of a few quotas stay far from any integer's end.
    pub const MAX_QUOTA: u32 = 4_000_000_000;

    /// A window is a whole number of seconds, as the RateLimit fields write it.
    pub fn new(quota: u32, window: Duration) -> Result<Self, InvalidRateLimit> {
        let whole = window.subsec_nanos() == 0;
        if !(1..=Self::MAX_QUOTA).contains(&quota)
            || !whole
            || !(Self::MIN_WINDOW..=Self::MAX_WINDOW).contains(&window)
        {
            return Err(InvalidRateLimit);
        }
        Ok(Self { quota, window })
    }

    /// The same quota over another window, of any length: for counting by, not for telling.
    pub const fn counted_over(self, window: Duration) -> Self {
        Self { quota: self.quota, window }
    }

    pub const fn quota(self) -> u32 {
        self.quota
    }

    pub const fn window(self) -> Duration {
        self.window
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quota, seconds) = (self.quota, self.window.as_secs());
        match seconds {
            s if s % 86_400 == 0 => write!(f, "{quota}/{}d", s / 86_400),
            s if s % 3_600 == 0 => write!(f, "{quota}/{}h", s / 3_600),
            s if s % 60 == 0 => write!(f, "{quota}/{}m", s / 60),
            s => write!(f, "{quota}/{s}s"),
        }
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        let (quota, window) = text.split_once('/').ok_or(InvalidRateLimit)?;
        let quota = quota.trim().parse().map_err(|_| InvalidRateLimit)?;
        let window = window.trim();
        let digits = window.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidRateLimit)?;
        let (number, unit) = window.split_at(digits);
        // `100/s` is as common as `100/1s`.
        let number: u64 =
            if number.is_empty() { 1 } else { number.parse().map_err(|_| InvalidRateLimit)? };
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(InvalidRateLimit),
        };
        let seconds = number.checked_mul(unit).ok_or(InvalidRateLimit)?;
        Self::new(quota, Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_they_are_read() {
        for (text, written) in [
            ("100/1s", "100/1s"),
            ("100/s", "100/1s"),
            ("600/60s", "600/1m"),
            ("50000/1h", "50000/1h"),
            ("1/24h", "1/1d"),
            ("7/90s", "7/90s"),
        ] {
            let limit: RateLimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), written);
            assert_eq!(written.parse(), Ok(limit));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "100",
            "0/1s",
            "-1/1s",
            "100/0s",
            "100/2d",
            "100/1w",
            "100/1ms",
            "4000000001/1s",
            "x/1s",
            "1/99999999999999999999s",
        ] {
            assert_eq!(text.parse::<RateLimit>(), Err(InvalidRateLimit), "{text}");
        }
    }
}
