//! What an answer means for its delivery. Pure: the clock and the dice come in as arguments.
//!
//! | The receiver | The delivery |
//! |---|---|
//! | answers 2xx | has arrived |
//! | answers 410 | is cancelled, and its subscription unsubscribed |
//! | answers 408, 425, 429, 5xx, or not at all | is tried again, later each time |
//! | answers 3xx | is given up: redirects are never followed |
//! | answers anything else | is given up |
//! | would get a request we may not make | is given up |

use std::time::Duration;

use time::OffsetDateTime;
use triggerline_kafka::Tier;
use triggerline_types::{DeliverySettings, Outcome, Response};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<'a> {
    pub(crate) max_attempts: u32,
    pub(crate) max_retry_after: Duration,
    /// What is waited after each attempt, after more than these the last; as the tiers are, if empty.
    pub(crate) schedule: &'a [Duration],
}

impl<'a> Policy<'a> {
    /// What a subscription wants, and where it doesn't say, what the installation does.
    pub(crate) fn of(self, settings: &'a DeliverySettings) -> Self {
        let schedule = &settings.schedule[..];
        let each_once = u32::try_from(schedule.len()).ok().filter(|waits| *waits > 0);
        let own = settings.max_attempts.or(each_once.map(|waits| waits + 1));
        Self { max_attempts: own.unwrap_or(self.max_attempts), schedule, ..self }
    }

    fn wait_after(&self, attempt: u32) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let own = self.schedule.get(index).or(self.schedule.last()).copied();
        own.unwrap_or_else(|| Tier::ALL.get(index).copied().unwrap_or(Tier::Hours12).delay())
    }
}

/// What is known when the decision is made.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) response: &'a Response,
    /// What the receiver asked for with `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// The number of the attempt that was made, from 1.
    pub(crate) attempt: u32,
    pub(crate) now: OffsetDateTime,
    /// Uniform in 0..1; spreads retries by ±20 %.
    pub(crate) dice: f64,
}

/// An outcome, and whether the subscription ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) outcome: Outcome,
    pub(crate) unsubscribe: bool,
}

pub(crate) fn decide(seen: &Seen<'_>, policy: &Policy<'_>) -> Decision {
    let settled = |outcome| Decision { outcome, unsubscribe: false };
    let give_up = |reason: String| settled(Outcome::DeadLettered { reason });
    let retry = |why: String| {
        if seen.attempt >= policy.max_attempts {
            let reason = format!("{why}; attempt {} was the last", seen.attempt);
            return settled(Outcome::DeadLettered { reason });
        }
        let own = policy.wait_after(seen.attempt).mul_f64(0.8 + 0.4 * seen.dice);
        let asked = seen.retry_after.map(|asked| asked.min(policy.max_retry_after));
        settled(Outcome::Retry { at: seen.now + own.max(asked.unwrap_or_default()) })
    };
    match seen.response {
        Response::Answered { status, .. } => match status {
            200..=299 => settled(Outcome::Delivered),
            410 => Decision {
                outcome: Outcome::Cancelled { reason: "the receiver answered 410 Gone".into() },
                unsubscribe: true,
            },
            408 | 425 | 429 | 500..=599 => retry(format!("the receiver answered {status}")),
            300..=399 => {
                give_up(format!("the receiver answered {status}; redirects are not followed"))
            }
            _ => give_up(format!("the receiver answered {status}")),
        },
        Response::Failed { error } => retry(error.clone()),
        Response::NotSent { reason } => give_up(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const POLICY: Policy<'_> =
        Policy { max_attempts: 8, max_retry_after: Duration::from_hours(1), schedule: &[] };

    fn answered(status: u16) -> Response {
        Response::Answered { status, excerpt: String::new() }
    }

    fn seen(response: &Response, attempt: u32) -> Seen<'_> {
        Seen { response, retry_after: None, attempt, now: NOW, dice: 0.5 }
    }

    #[test]
    fn each_answer_means_what_the_table_says() {
        let retry = |_: &Outcome| "retry";
        for (status, meaning) in [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (301, "given up"),
            (307, "given up"),
            (400, "given up"),
            (401, "given up"),
            (404, "given up"),
            (408, "retry"),
            (410, "cancelled"),
            (422, "given up"),
            (425, "retry"),
            (429, "retry"),
            (500, "retry"),
            (502, "retry"),
            (503, "retry"),
            (599, "retry"),
            (600, "given up"),
            (100, "given up"),
        ] {
            let decision = decide(&seen(&answered(status), 1), &POLICY);
            let found = match &decision.outcome {
                Outcome::Delivered => "delivered",
                Outcome::DeadLettered { .. } => "given up",
                Outcome::Cancelled { .. } => "cancelled",
                outcome @ Outcome::Retry { .. } => retry(outcome),
            };
            assert_eq!(found, meaning, "{status}");
            assert_eq!(decision.unsubscribe, status == 410, "{status}");
        }
    }

    #[test]
    fn retries_come_later_each_time_and_end() {
        let failed = Response::Failed { error: "connection refused".to_owned() };
        for (attempt, seconds) in
            [(1, 5), (2, 60), (3, 300), (4, 1_800), (5, 7_200), (6, 21_600), (7, 43_200)]
        {
            let decision = decide(&seen(&failed, attempt), &POLICY);
            let at = NOW + Duration::from_secs(seconds);
            assert_eq!(decision.outcome, Outcome::Retry { at }, "after attempt {attempt}");
        }
        let reason = "connection refused; attempt 8 was the last".to_owned();
        assert_eq!(decide(&seen(&failed, 8), &POLICY).outcome, Outcome::DeadLettered { reason });
    }

    #[test]
    fn a_subscription_may_have_a_schedule_of_its_own() {
        let failed = answered(503);
        // (schedule, max_attempts) → waits, then the end
        for (schedule, max_attempts, waits) in [
            (&[][..], Some(3), &[5, 60][..]),
            (&[1, 10], None, &[1, 10]),
            (&[1, 10], Some(5), &[1, 10, 10, 10]),
            (&[1, 10], Some(2), &[1]),
            (&[7], Some(1), &[]),
            (&[], None, &[5, 60, 300, 1_800, 7_200, 21_600, 43_200]),
        ] {
            let schedule = schedule.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
            let settings =
                DeliverySettings { schedule, max_attempts, ..DeliverySettings::default() };
            let policy = POLICY.of(&settings);
            for (attempt, seconds) in (1..).zip(waits) {
                let at = NOW + Duration::from_secs(*seconds);
                let decision = decide(&seen(&failed, attempt), &policy);
                assert_eq!(decision.outcome, Outcome::Retry { at }, "{settings:?} {attempt}");
            }
            let last = u32::try_from(waits.len()).unwrap() + 1;
            let end = decide(&seen(&failed, last), &policy).outcome;
            assert!(matches!(end, Outcome::DeadLettered { .. }), "{settings:?}: {end:?}");
        }
    }

    #[test]
    fn the_dice_spread_retries_by_a_fifth() {
        let failed = answered(500);
        for (dice, millis) in [(0.0, 4_000), (0.5, 5_000), (1.0, 6_000)] {
            let decision = decide(&Seen { dice, ..seen(&failed, 1) }, &POLICY);
            let at = NOW + Duration::from_millis(millis);
            assert_eq!(decision.outcome, Outcome::Retry { at }, "{dice}");
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_cap_and_never_shortens() {
        for (asked, waited) in [(1, 5), (90, 90), (7_200, 3_600)] {
            let retry_after = Some(Duration::from_secs(asked));
            let answer = answered(429);
            let decision = decide(&Seen { retry_after, ..seen(&answer, 1) }, &POLICY);
            let at = NOW + Duration::from_secs(waited);
            assert_eq!(decision.outcome, Outcome::Retry { at }, "{asked}");
        }
    }

    #[test]
    fn a_request_that_may_not_be_made_is_not_tried_again() {
        let refused = Response::NotSent { reason: "goes to 10.0.0.1".to_owned() };
        let reason = "goes to 10.0.0.1".to_owned();
        assert_eq!(decide(&seen(&refused, 1), &POLICY).outcome, Outcome::DeadLettered { reason });
    }
}
