//! How a delivery that isn't due yet passes the time. Pure.
//!
//! `tl_not_before` is the truth; a tier is only how the time is passed. A record waits in its
//! tier for the tier's delay at most, so that those behind it are not held up by one that
//! waits longer, and then goes on to the tier that fits what is left.
//!
//! A clock that was set back must not make anyone wait for it to catch up: it is never earlier than
//! when the record was put where it is, plus the time that we have seen pass since we have it.

use std::time::Duration;

use time::OffsetDateTime;
use triggerline_kafka::Tier;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make the attempt.
    Go,
    /// Wait in the window, then ask again.
    Wait(Duration),
    /// Put the record into this tier.
    Hop(Tier),
}

/// Where a delivery stands in its wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) not_before: Option<OffsetDateTime>,
    /// The tier that it was read from and when it was put there; `None` for `deliveries`.
    pub(crate) tier: Option<(Tier, OffsetDateTime)>,
}

/// A wait this short is passed where the record is, whatever the tier.
const SHORT: Duration = Duration::from_secs(5);

/// `waited`: for how long the record has been waiting here.
pub(crate) fn next(waiting: Waiting, waited: Duration, now: OffsetDateTime) -> Step {
    let now = waiting.tier.map_or(now, |(_, since)| now.max(since + waited));
    let Some(left) = waiting.not_before.and_then(|at| until(at, now)) else {
        return Step::Go;
    };
    let here = match waiting.tier {
        // A fifth more than the delay: the jitter of a retry that fits this tier.
        Some((tier, since)) => until(since + tier.delay().mul_f64(1.2), now),
        None => None,
    };
    match here {
        _ if left <= SHORT => Step::Wait(left),
        Some(here) => Step::Wait(left.min(here)),
        None => Step::Hop(tier_for(left)),
    }
}

/// The longest tier that isn't longer than `delay`, a jitter's fifth aside; else the shortest.
pub(crate) fn tier_for(delay: Duration) -> Tier {
    Tier::ALL.into_iter().rfind(|tier| tier.delay().mul_f64(0.8) <= delay).unwrap_or(Tier::Seconds5)
}

/// How one is put off that finds its endpoint taken or down: the tier, and the time until it is due.
///
/// As long as the tier is, and a fifth more at most, because a tier is first-in-first-out: one that
/// waited longer than those behind it would hold them up. Shorter than the shortest tier is well.
pub(crate) fn put_off(wait: Duration, dice: f64) -> (Tier, Duration) {
    let tier = tier_for(wait);
    (tier, wait.min(tier.delay()).mul_f64(1.0 + 0.2 * dice))
}

fn until(at: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
    Duration::try_from(at - now).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn seconds(seconds: i64) -> time::Duration {
        time::Duration::seconds(seconds)
    }

    #[test]
    fn a_delay_takes_the_longest_tier_that_fits() {
        for (delay, tier) in [
            (1, Tier::Seconds5),
            (5, Tier::Seconds5),
            (47, Tier::Seconds5),
            (48, Tier::Minute1), // 60 s less a fifth
            (72, Tier::Minute1),
            (239, Tier::Minute1),
            (240, Tier::Minutes5),
            (3_600, Tier::Minutes30),
            (43_200, Tier::Hours12),
            (1_000_000, Tier::Hours12),
        ] {
            assert_eq!(tier_for(Duration::from_secs(delay)), tier, "{delay} s");
        }
    }

    #[test]
    fn who_is_put_off_waits_as_long_as_a_tier() {
        for (wait, dice, tier, due) in [
            (1, 0.0, Tier::Seconds5, 1_000),
            (1, 1.0, Tier::Seconds5, 1_200),
            (5, 0.0, Tier::Seconds5, 5_000),
            (30, 0.5, Tier::Seconds5, 5_500),
            (60, 1.0, Tier::Minute1, 72_000),
            (200, 0.0, Tier::Minute1, 60_000),
            (300, 0.0, Tier::Minutes5, 300_000),
        ] {
            let expected = (tier, Duration::from_millis(due));
            assert_eq!(put_off(Duration::from_secs(wait), dice), expected, "{wait} s, {dice}");
        }
        // A little less than a tier is that tier, and not too early: it waits what is asked.
        assert_eq!(put_off(Duration::from_secs(50), 0.0), (Tier::Minute1, Duration::from_secs(50)));
    }

    #[test]
    fn time_is_passed_where_the_record_is_or_in_the_next_tier() {
        // (due in, (tier, put there ago)) → step
        for (due, tier, step) in [
            (None, None, Step::Go),
            (Some(0), None, Step::Go),
            (Some(-60), Some((Tier::Minute1, 60)), Step::Go),
            (Some(3), None, Step::Wait(Duration::from_secs(3))),
            (Some(90), None, Step::Hop(Tier::Minute1)),
            (Some(5), Some((Tier::Seconds5, 0)), Step::Wait(Duration::from_secs(5))),
            (Some(6), Some((Tier::Seconds5, 0)), Step::Wait(Duration::from_secs(6))),
            (Some(70), Some((Tier::Minute1, 0)), Step::Wait(Duration::from_secs(70))),
            // Asked to wait 4 minutes: the minute here, the rest in the next tiers.
            (Some(239), Some((Tier::Minute1, 0)), Step::Wait(Duration::from_secs(72))),
            (Some(167), Some((Tier::Minute1, 72)), Step::Hop(Tier::Minute1)),
            (Some(23), Some((Tier::Minute1, 72)), Step::Hop(Tier::Seconds5)),
            (Some(4), Some((Tier::Minute1, 72)), Step::Wait(Duration::from_secs(4))),
        ] {
            let waiting = Waiting {
                not_before: due.map(|due| NOW + seconds(due)),
                tier: tier.map(|(tier, ago)| (tier, NOW - seconds(ago))),
            };
            assert_eq!(next(waiting, Duration::ZERO, NOW), step, "{due:?} {tier:?}");
        }
    }

    #[test]
    fn nobody_waits_for_a_clock_that_was_set_back() {
        // Put there an hour from now, due five seconds later; (waited, the clock has gone on) → step
        let since = NOW + seconds(3_600);
        let tier = Some((Tier::Seconds5, since));
        let waiting = Waiting { not_before: Some(since + seconds(5)), tier };
        for (waited, gone_on, step) in [
            (0, 0, Step::Wait(Duration::from_secs(5))),
            (3, 3, Step::Wait(Duration::from_secs(2))),
            (5, 5, Step::Go),
            // Set right again meanwhile.
            (3, 3_604, Step::Wait(Duration::from_secs(1))),
            (3, 7_200, Step::Go),
        ] {
            let waited = Duration::from_secs(waited);
            assert_eq!(next(waiting, waited, NOW + seconds(gone_on)), step, "{waited:?}");
        }
    }
}
