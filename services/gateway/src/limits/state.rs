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
    /// Until then the cache has not got this many.
    refused: Option<(u32, Instant)>,
}

/// What the cache is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
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
        match self.refused {
            Some((refused, until)) if missing >= refused && now < until => {
                Some(Err(self.exceeded(cost, until - now, now)))
            }
            _ => None,
        }
    }

    /// What to ask the cache for, where [`Self::judge`] couldn't say.
    ///
    /// A batch asks for what it lacks, all or nothing: a part would lapse unused, and would have
    /// used up the quota all the same. The permits that there are wait with it, so that nobody
    /// takes them meanwhile and makes what is granted too few.
    pub(super) fn ask(&mut self, cost: Cost, now: Instant) -> Ask {
        if cost.now > 1 {
            let aside = std::mem::take(&mut self.permits);
            return Ask { want: Want::All(cost.now.saturating_sub(aside)), aside };
        }
        if now < self.lapse {
            let largest = (self.limit.quota() / LARGEST_CHUNK).max(1);
            self.chunk = (self.chunk * 2).min(largest);
        }
        Ask { want: Want::UpTo(self.chunk), aside: 0 }
    }

    /// Takes in what the cache granted. Nobody else has asked meanwhile, so the share was empty.
    pub(super) fn answered(
        &mut self,
        ask: Ask,
        grant: &Grant,
        cost: Cost,
        now: Instant,
    ) -> Result<Standing, Exceeded> {
        self.left = grant.remaining;
        self.reset = now + grant.reset;
        let permits = ask.aside.saturating_add(grant.granted);
        if let Some(rest) = permits.checked_sub(cost.now) {
            self.permits = rest;
            // A batch leaves nothing that could lapse.
            if cost.now == 1 {
                self.lapse = now + self.limit.window() / LEASE;
            }
            self.refused = None;
            return Ok(self.standing(now));
        }
        // Those that were put aside lapse when they would have.
        self.permits = permits;
        let retry_after = grant.retry_after.max(Duration::from_millis(1));
        self.refused = Some((cost.now - permits, now + retry_after));
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
        assert_eq!(ask, Ask { want: Want::All(3), aside: 2 });
        let exceeded = state.answered(ask, &grant(0, 0, wait), of(5), now).unwrap_err();
        assert_eq!((exceeded.retry_after, exceeded.standing.remaining), (wait, 2));
        let soon = now + Duration::from_millis(5);
        let again = state.judge(of(5), soon).unwrap().unwrap_err();
        assert!(again.retry_after < wait);
        assert!(state.judge(of(2), soon).unwrap().is_ok(), "what was put aside is given back");
        assert_eq!(state.judge(of(1), soon), None, "less may be there");
        assert_eq!(state.judge(of(5), now + wait), None);
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
