//! One key's permits in one process, as a pure state: what it judges by itself, what it asks the
//! cache for, and what it makes of the answer.

use std::time::{Duration, Instant};

use triggerline_store::{Grant, Want};
use triggerline_types::RateLimit;

use super::{Cost, Exceeded, Standing};

/// Of the quota, what one gateway takes in advance at most: a twentieth.
const LARGEST_CHUNK: u32 = 20;
/// Of the window, how long permits last that were taken in advance: a hundredth.
pub(super) const LEASE: u32 = 100;
/// How long a refusal is remembered at most. Where it turns out wrong (a window that Redis lost, a
/// clock that moved), it is not wrong for long.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The permits, and what is known of the window.
pub(super) struct State {
    pub(super) limit: RateLimit,
    permits: u32,
    /// When they lapse.
    lapse: Instant,
    /// How many are taken at once.
    chunk: u32,
    /// What the cache had left after the last grant.
    left: u32,
    reset: Instant,
    refused: Option<Refused>,
}

/// The cache has not got so many.
#[derive(Clone, Copy, Debug)]
struct Refused {
    missing: u32,
    /// When it said that it will have.
    due: Instant,
    /// Until when it is not asked again.
    until: Instant,
}

/// What the cache is asked for, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) limit: RateLimit,
    at: Instant,
    pub(super) want: Want,
    /// Permits of the share that wait for the answer with the request.
    aside: u32,
}

impl State {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self {
            limit,
            permits: 0,
            lapse: now,
            chunk: 1,
            left: limit.quota(),
            reset: now,
            refused: None,
        }
    }

    /// What can be said without the cache.
    pub(super) fn judge(&mut self, cost: Cost, now: Instant) -> Option<Result<Standing, Exceeded>> {
        if now >= self.lapse {
            if self.permits > self.chunk / 2 {
                self.chunk = (self.chunk / 2).max(1);
            }
            self.permits = 0;
        }
        if cost.in_all > self.limit.quota() {
            return Some(Err(self.exceeded(cost, self.limit.window(), now)));
        }
        if let Some(permits) = self.permits.checked_sub(cost.now) {
            self.permits = permits;
            return Some(Ok(self.standing(now)));
        }
        let missing = cost.now - self.permits;
        let refused = self.refused.filter(|known| missing >= known.missing && now < known.until)?;
        Some(Err(self.exceeded(cost, refused.due - now, now)))
    }

    /// What to ask the cache for, where [`Self::judge`] couldn't say.
    ///
    /// A batch asks for what it lacks, all or nothing: a part would lapse unused, and would have
    /// used up the quota all the same. The permits that there are wait with it, so that nobody
    /// takes them meanwhile and makes what is granted too few.
    pub(super) fn ask(&mut self, cost: Cost, now: Instant) -> Ask {
        if cost.now > 1 {
            let aside = std::mem::take(&mut self.permits);
            let want = Want::All(cost.now.saturating_sub(aside));
            return Ask { limit: self.limit, at: now, want, aside };
        }
        if now < self.lapse {
            let largest = (self.limit.quota() / LARGEST_CHUNK).max(1);
            self.chunk = (self.chunk * 2).min(largest);
        }
        Ask { limit: self.limit, at: now, want: Want::UpTo(self.chunk), aside: 0 }
    }

    /// Takes in what the cache granted. Nobody else has asked meanwhile, so the share was empty.
    pub(super) fn answered(
        &mut self,
        ask: Ask,
        grant: &Grant,
        cost: Cost,
        now: Instant,
    ) -> Result<Standing, Exceeded> {
        let permits = ask.aside.saturating_add(grant.granted);
        let rest = permits.checked_sub(cost.now);
        let retry_after = grant.retry_after.max(Duration::from_millis(1));
        if self.limit != ask.limit {
            // It was changed meanwhile. What the old one granted is no more than the request's.
            let standing =
                Standing { limit: ask.limit, remaining: grant.remaining, reset: grant.reset };
            return rest.map(|_| standing).ok_or(Exceeded { standing, retry_after, cost });
        }
        self.left = grant.remaining;
        self.reset = now + grant.reset;
        if let Some(rest) = rest {
            self.permits = rest;
            // A batch leaves nothing that could lapse.
            if cost.now == 1 {
                // The cache granted them at some time since it was asked.
                self.lapse = ask.at + self.limit.window() / LEASE;
            }
            self.refused = None;
            return Ok(self.standing(now));
        }
        // Those that were put aside lapse when they would have.
        self.permits = permits;
        self.refused = Some(Refused {
            missing: cost.now - permits,
            due: now + retry_after,
            until: now + retry_after.min(REMEMBERED),
        });
        Err(self.exceeded(cost, retry_after, now))
    }

    fn exceeded(&self, cost: Cost, retry_after: Duration, now: Instant) -> Exceeded {
        Exceeded { standing: self.standing(now), retry_after, cost }
    }

    fn standing(&self, now: Instant) -> Standing {
        Standing {
            limit: self.limit,
            remaining: self.left.saturating_add(self.permits).min(self.limit.quota()),
            reset: self.reset.saturating_duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    fn grant(granted: u32, remaining: u32, retry_after: Duration) -> Grant {
        Grant { granted, remaining, retry_after, reset: Duration::from_secs(9) }
    }

    fn of(now: u32) -> Cost {
        Cost { now, in_all: now }
    }

    /// Asks for `cost`, is granted as much as is said, and tells what was asked for.
    fn granted(state: &mut State, cost: u32, granted: u32, now: Instant) -> Want {
        assert_eq!(state.judge(of(cost), now), None, "nothing to be said without the cache");
        let ask = state.ask(of(cost), now);
        state.answered(ask, &grant(granted, 500, Duration::ZERO), of(cost), now).unwrap();
        ask.want
    }

    #[test]
    fn permits_are_used_up_and_lapse() {
        let now = Instant::now();
        let mut state = State::new(limit("1000/10s"), now);
        assert_eq!(granted(&mut state, 1, 3, now), Want::UpTo(1));
        let standing = state.judge(of(2), now).unwrap().unwrap();
        assert_eq!((standing.remaining, standing.reset), (500, Duration::from_secs(9)));
        assert_eq!(granted(&mut state, 1, 4, now), Want::UpTo(2), "gone early: twice as many");
        assert_eq!(state.permits, 3);
        let later = now + Duration::from_millis(100);
        assert_eq!(granted(&mut state, 1, 1, later), Want::UpTo(1), "lapsed after a hundredth");
    }

    #[test]
    fn what_is_taken_at_once_follows_demand() {
        let now = Instant::now();
        let mut state = State::new(limit("1000/10s"), now);
        let mut chunks = Vec::new();
        for _ in 0..8 {
            let Want::UpTo(want) = granted(&mut state, 1, 50, now) else { panic!("not a batch") };
            chunks.push(want);
            state.judge(of(49), now).unwrap().unwrap();
        }
        assert_eq!(chunks, [1, 2, 4, 8, 16, 32, 50, 50], "never over 5 % of the quota");
        assert_eq!(granted(&mut state, 200, 200, now), Want::All(200), "a batch asks for itself");
        granted(&mut state, 1, 50, now);
        let later = now + Duration::from_secs(1);
        assert_eq!(granted(&mut state, 1, 1, later), Want::UpTo(25), "left over: half as many");
    }

    #[test]
    fn a_refusal_is_remembered_until_it_may_be_different() {
        let now = Instant::now();
        let mut state = State::new(limit("10/1s"), now);
        granted(&mut state, 1, 3, now);
        let wait = Duration::from_millis(300);
        let ask = state.ask(of(5), now);
        assert_eq!((ask.want, ask.aside), (Want::All(3), 2));
        assert_eq!(state.judge(of(1), now), None, "nobody takes what waits for the answer");
        let exceeded = state.answered(ask, &grant(0, 0, wait), of(5), now).unwrap_err();
        assert_eq!((exceeded.retry_after, exceeded.standing.remaining), (wait, 2));
        let soon = now + Duration::from_millis(5);
        let again = state.judge(of(5), soon).unwrap().unwrap_err();
        assert!(again.retry_after < wait);
        assert!(state.judge(of(2), soon).unwrap().is_ok(), "what was put aside is given back");
        assert_eq!(state.judge(of(1), soon), None, "less may be there");
        assert_eq!(state.judge(of(5), now + wait), None);
    }

    /// In milliseconds: what the cache said, when the next comes, and what it is told.
    #[test]
    fn a_refusal_is_not_remembered_for_long() {
        for (wait, after, told) in [
            (300, 299, Some(1)),
            (300, 300, None),
            (60_000, 999, Some(59_001)),
            (60_000, 1_000, None),
            (0, 0, Some(1)),
            (0, 1, None),
        ] {
            let now = Instant::now();
            let mut state = State::new(limit("10/1m"), now);
            let ask = state.ask(of(1), now);
            let refusal = grant(0, 0, Duration::from_millis(wait));
            state.answered(ask, &refusal, of(1), now).unwrap_err();
            let judged = state.judge(of(1), now + Duration::from_millis(after));
            let told = told.map(Duration::from_millis);
            assert_eq!(
                judged.map(|judged| judged.unwrap_err().retry_after),
                told,
                "{wait} {after}"
            );
        }
    }

    /// In milliseconds, with a lease of 100: when the answer came, and when the next request.
    #[test]
    fn permits_lapse_from_when_the_cache_was_asked() {
        for (answered, next, left) in
            [(0, 99, true), (0, 100, false), (80, 99, true), (80, 100, false), (150, 150, false)]
        {
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(millis);
            let mut state = State::new(limit("1000/10s"), start);
            let ask = state.ask(of(1), at(0));
            let answer = state.answered(ask, &grant(5, 0, Duration::ZERO), of(1), at(answered));
            assert!(answer.is_ok(), "the request itself waited for it");
            assert_eq!(state.judge(of(1), at(next)).is_some(), left, "{answered} {next}");
        }
    }

    #[test]
    fn an_answer_about_another_limit_is_the_requests_alone() {
        let (now, other) = (Instant::now(), limit("20/1m"));
        for (cost, granted, passes) in [(1, 5, true), (1, 0, false), (7, 7, true), (7, 0, false)] {
            let ask = State::new(limit("10/1s"), now).ask(of(cost), now);
            let mut state = State::new(other, now);
            let wait = Duration::from_secs(u64::from(granted == 0));
            let answer = state.answered(ask, &grant(granted, 0, wait), of(cost), now);
            assert_eq!(answer.is_ok(), passes, "{cost} {granted}");
            let standing = state.standing(now);
            assert_eq!((state.permits, standing.remaining, standing.limit), (0, 20, other));
            assert_eq!(state.judge(of(cost), now), None, "nothing is remembered");
        }
    }

    #[test]
    fn what_never_fits_is_said_without_the_cache() {
        for (cost, never) in [
            (Cost::ONE, false),
            (Cost::rest_of(10), false),
            (Cost::rest_of(11), true),
            (Cost::rest_of(12), true),
            (Cost::rest_of(usize::MAX), true),
        ] {
            let now = Instant::now();
            let judged = State::new(limit("10/1s"), now).judge(cost, now);
            let problem = judged.map(|judged| judged.unwrap_err().problem());
            assert_eq!(problem.is_some(), never, "{cost:?}");
            if let Some(problem) = problem {
                assert_eq!(problem.retry_after, None, "{cost:?}");
                assert!(problem.detail.starts_with(&cost.in_all.to_string()), "{problem:?}");
            }
        }
        let now = Instant::now();
        let one = State::new(limit("1/1s"), now).judge(Cost::ONE, now);
        assert_eq!(one, None, "an event of a stream is no batch");
        assert!(State::new(limit("1/1s"), now).judge(Cost::rest_of(2), now).is_some());
    }
}
