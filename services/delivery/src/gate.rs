//! How much one endpoint may have under way at once, and whether it is asked at all. Pure: the
//! clock comes in as an argument.
//!
//! **Concurrency** follows what the endpoint bears: it doubles while answers come as fast as they
//! usually do, then grows by one for each round of answers; it is halved by a time-out, a 5xx or a
//! 429, and trimmed when answers become slow (TCP's slow start and AIMD, RFC 5681 §3.1, and the
//! delay signal of TCP Vegas).
//!
//! A **breaker** opens after [`TRIP`] failures with no success among them. While it is open nothing
//! is sent; then one delivery is the probe. It closes on an answer, or opens for longer ([`OPEN`]).
//!
//! `Retry-After` **holds** the whole endpoint, not only the delivery that was told.

use std::time::{Duration, Instant};

use triggerline_types::Response;

/// Requests at once to an endpoint that is new, or was down.
const START: f64 = 16.0;
/// However many have failed: one at once is always tried.
const LEAST: f64 = 1.0;
/// What one endpoint gets where its partition's window is crowded with its own records.
const CROWDED: u32 = 4;
/// Failures in a row that open the breaker.
const TRIP: u32 = 5;
/// How long the breaker is open the first time, the second, and from then on: as long as retry
/// tiers are, so that those who are put off meanwhile come back once, and in their order.
const OPEN: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_mins(1), Duration::from_mins(5)];
/// How long those wait that come while the probe is under way.
const PROBING: Duration = Duration::from_secs(5);
/// Slow is what takes longer than this many times the usual, and so much more.
const SLOW: (f64, f64) = (2.0, 0.05);
/// The fastest answer is the usual one for so long: then an endpoint that has become slower for
/// good is taken for what it is.
const USUAL: Duration = Duration::from_mins(5);
/// The least and the longest that a delivery is put off because too many are before it.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_mins(5);
/// Who is sent so soon holds nobody up by waiting where it is.
const SOON: Duration = Duration::from_millis(500);
/// How long an endpoint that has something to answer may say nothing, for its pace of late to be that
/// of now.
pub(crate) const RECENT: Duration = Duration::from_millis(100);
/// The longest while it isn't known how fast the endpoint is.
const LATEST_UNKNOWN: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Gate {
    /// Requests at once, at most.
    most: f64,
    limit: f64,
    /// Where growth becomes slow.
    threshold: f64,
    in_flight: u32,
    /// Requests that began before this have had their say.
    shrunk: Option<Instant>,
    /// Seconds that an answer takes when all is well, and since when that is known.
    usual: Option<(f64, Instant)>,
    /// Seconds that an answer took lately.
    lately: Option<f64>,
    /// When the last one came, or when it was asked that had nothing to answer before.
    heard: Option<Instant>,
    breaker: Breaker,
    held_until: Option<Instant>,
    /// Until when those who were put off have been told to come.
    queued_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    Closed {
        failures: u32,
    },
    /// For the nth time, from 0.
    Open {
        until: Instant,
        nth: usize,
    },
    Probing {
        nth: usize,
    },
}

/// What a delivery may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Go(Pass),
    /// As many as may be are under way.
    Full,
    /// Nothing is sent before this time has passed.
    Closed(Duration),
}

/// A request that may be made; given back when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    begun: Instant,
    probe: bool,
    /// At least half of the places were taken, this one included.
    busy: bool,
}

/// How a request ended, as far as it says something about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well {
        latency: Duration,
    },
    /// It answers, if not to our liking.
    Alive,
    /// It has too much to do, and may have said for how long.
    Overloaded {
        hold: Option<Duration>,
    },
    Failed {
        hold: Option<Duration>,
    },
    /// Nothing is known: it was not made, or cut off by us.
    Unknown,
}

impl Ended {
    pub(crate) fn of(
        response: &Response,
        retry_after: Option<Duration>,
        latency: Duration,
    ) -> Self {
        match response {
            Response::Answered { status: 200..=299, .. } => Self::Well { latency },
            Response::Answered { status: 429, .. } => Self::Overloaded { hold: retry_after },
            Response::Answered { status: 408 | 425 | 500..=599, .. } => {
                Self::Failed { hold: retry_after }
            }
            Response::Answered { .. } => Self::Alive,
            Response::Failed { .. } => Self::Failed { hold: None },
            Response::NotSent { .. } => Self::Unknown,
        }
    }
}

impl Gate {
    pub(crate) fn new(most: u32) -> Self {
        let most = f64::from(most).max(LEAST);
        Self {
            most,
            limit: START.min(most),
            threshold: most,
            in_flight: 0,
            shrunk: None,
            usual: None,
            lately: None,
            heard: None,
            breaker: Breaker::Closed { failures: 0 },
            held_until: None,
            queued_until: None,
        }
    }

    /// Nothing would be lost by forgetting it.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.in_flight == 0
            && self.breaker == Breaker::Closed { failures: 0 }
            && self.held_until.is_none_or(|until| until <= now)
    }

    /// Whether nobody is let in but a probe.
    pub(crate) fn is_shut(&self, now: Instant) -> bool {
        self.is_open() || self.held_until.is_some_and(|until| until > now)
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    /// `crowded`: its records take more of their partition's window than they should.
    pub(crate) fn enter(&mut self, crowded: bool, now: Instant) -> Entry {
        let left =
            |until: Instant| until.checked_duration_since(now).filter(|left| !left.is_zero());
        match self.breaker {
            Breaker::Open { until, nth } => match left(until) {
                Some(left) => return Entry::Closed(left),
                None => self.breaker = Breaker::Probing { nth },
            },
            Breaker::Probing { .. } => return Entry::Closed(PROBING),
            Breaker::Closed { .. } => {
                if let Some(left) = self.held_until.and_then(left) {
                    return Entry::Closed(left);
                }
                self.held_until = None;
                if self.in_flight >= self.allowed(crowded) {
                    return Entry::Full;
                }
            }
        }
        if self.in_flight == 0 {
            self.heard = Some(now);
        }
        self.in_flight += 1;
        let busy = f64::from(self.in_flight) * 2.0 >= self.limit;
        Entry::Go(Pass { begun: now, probe: self.is_open(), busy })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to `most`")]
    fn allowed(&self, crowded: bool) -> u32 {
        let limit = self.limit as u32;
        if crowded { limit.min(CROWDED) } else { limit }
    }

    pub(crate) fn leave(&mut self, pass: Pass, ended: Ended, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match (ended, self.breaker) {
            (Ended::Unknown, Breaker::Probing { nth }) if pass.probe => {
                self.breaker = Breaker::Open { until: now, nth };
            }
            (Ended::Unknown, _) => {}
            (Ended::Failed { hold }, breaker) => {
                self.shrink(0.5, LEAST, pass, now);
                self.hold(hold, now);
                self.breaker = failed(breaker, pass, now);
            }
            (Ended::Overloaded { hold }, _) => {
                self.shrink(0.5, LEAST, pass, now);
                self.hold(hold, now);
                self.alive();
            }
            (Ended::Alive, _) => self.alive(),
            (Ended::Well { latency }, _) => {
                self.alive();
                self.answered(latency.as_secs_f64(), pass, now);
            }
        }
    }

    fn alive(&mut self) {
        if self.is_open() {
            (self.limit, self.threshold) = (START.min(self.most), self.most);
            // What was told to those who came while it was down is no measure.
            self.queued_until = None;
        }
        self.breaker = Breaker::Closed { failures: 0 };
    }

    fn answered(&mut self, latency: f64, pass: Pass, now: Instant) {
        self.heard = Some(now);
        let usual = match self.usual {
            Some((usual, since)) if usual < latency && now < since + USUAL => usual,
            _ => {
                self.usual = Some((latency, now));
                latency
            }
        };
        self.lately = Some(self.lately.map_or(latency, |lately| lately + (latency - lately) * 0.1));
        if latency > usual * SLOW.0 + SLOW.1 {
            self.shrink(0.9, START.min(self.most), pass, now);
        } else if pass.busy {
            // Only what is used shows that it is borne.
            let more = if self.limit < self.threshold { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(self.most);
        }
    }

    /// Once for all that were under way when it was seen.
    fn shrink(&mut self, by: f64, least: f64, pass: Pass, now: Instant) {
        if self.shrunk.is_some_and(|shrunk| pass.begun < shrunk) {
            return;
        }
        self.shrunk = Some(now);
        self.limit = (self.limit * by).max(least.min(self.limit));
        self.threshold = self.limit;
    }

    fn hold(&mut self, hold: Option<Duration>, now: Instant) {
        self.held_until = self.held_until.max(hold.map(|hold| now + hold));
    }

    /// Whether so many are sent soon, if the endpoint goes on as it does now. Of one that has just been
    /// asked for the first time, the best is thought.
    #[expect(clippy::cast_precision_loss, reason = "a window's records")]
    pub(crate) fn sends_soon(&self, waiting: usize, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.saturating_duration_since(at) <= RECENT)
            && self
                .lately
                .is_none_or(|each| waiting as f64 * each / self.limit <= SOON.as_secs_f64())
    }

    /// How long a delivery is put off that finds the gate full: until those before it should have
    /// been sent, at the pace of late. Of an endpoint that has fallen silent its pace says nothing: then
    /// for as long again, so that who waits for it goes around ever more rarely.
    /// `gap`: what is between two requests at least, however fast the endpoint answers.
    pub(crate) fn put_off(&mut self, gap: Duration, now: Instant) -> Duration {
        let (each, latest) = match self.lately {
            Some(seconds) => (seconds / self.limit, LATEST),
            None => (1.0 / self.limit, LATEST_UNKNOWN),
        };
        let queue = self.queued_until.map_or(Duration::ZERO, |until| until - now);
        let queue = (queue + Duration::from_secs_f64(each.min(60.0)).max(gap)).min(latest);
        self.queued_until = Some(now + queue);
        let silence = self.heard.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        SOONEST.max(silence.min(LATEST_UNKNOWN)) + queue
    }
}

fn failed(breaker: Breaker, pass: Pass, now: Instant) -> Breaker {
    let open = |nth: usize| Breaker::Open { until: now + OPEN[nth], nth };
    match breaker {
        Breaker::Closed { failures } if failures + 1 >= TRIP => open(0),
        Breaker::Closed { failures } => Breaker::Closed { failures: failures + 1 },
        Breaker::Probing { nth } if pass.probe => open((nth + 1).min(OPEN.len() - 1)),
        // One of those that were under way when it opened.
        open_already => open_already,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    const FAILED: Ended = Ended::Failed { hold: None };

    fn go(gate: &mut Gate, now: Instant) -> Pass {
        match gate.enter(false, now) {
            Entry::Go(pass) => pass,
            other => panic!("{other:?} in {gate:?}"),
        }
    }

    /// Sends as much as it lets, `rounds` times; how much there was at once in each round.
    fn rounds(gate: &mut Gate, now: &mut Instant, rounds: usize, ended: Ended) -> Vec<usize> {
        let round = |_| {
            let mut passes = Vec::new();
            while let Entry::Go(pass) = gate.enter(false, *now) {
                passes.push(pass);
            }
            *now += 10 * MILLI;
            for pass in &passes {
                gate.leave(*pass, ended, *now);
            }
            passes.len()
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn who_answers_fast_and_still_does_sends_soon() {
        let begin = Instant::now();
        let mut gate = Gate::new(64);
        assert!(!gate.sends_soon(1, begin), "nobody has asked it");
        let pass = go(&mut gate, begin);
        assert!(gate.sends_soon(2_000, begin + RECENT), "it may well be fast");
        assert!(!gate.sends_soon(1, begin + RECENT + MILLI), "it has said nothing");
        let now = begin + SECOND;
        gate.leave(pass, Ended::Well { latency: 2 * MILLI }, now);
        // 16 at once, 2 ms each: 125 µs for each.
        for (waiting, later, soon) in [
            (1, 0, true),
            (3_900, 0, true),
            (4_100, 0, false),
            (3_900, 100, true),
            (3_900, 101, false),
        ] {
            assert_eq!(gate.sends_soon(waiting, now + later * MILLI), soon, "{waiting} {later}");
        }
        let later = now + 60 * SECOND;
        go(&mut gate, later);
        assert!(gate.sends_soon(1_500, later), "it had nothing to answer meanwhile");
        go(&mut gate, later + RECENT + MILLI);
        assert!(!gate.sends_soon(1, later + RECENT + MILLI), "a second request is no answer");
    }

    #[test]
    fn an_answer_says_something_about_the_endpoint() {
        let (latency, hold) = (10 * MILLI, Some(SECOND));
        let answered = |status| Response::Answered { status, excerpt: String::new() };
        for (response, ended) in [
            (answered(200), Ended::Well { latency }),
            (answered(204), Ended::Well { latency }),
            (answered(301), Ended::Alive),
            (answered(400), Ended::Alive),
            (answered(404), Ended::Alive),
            (answered(410), Ended::Alive),
            (answered(408), Ended::Failed { hold }),
            (answered(429), Ended::Overloaded { hold }),
            (answered(500), Ended::Failed { hold }),
            (answered(503), Ended::Failed { hold }),
            (Response::Failed { error: "no answer".to_owned() }, FAILED),
            (Response::NotSent { reason: "no".to_owned() }, Ended::Unknown),
        ] {
            assert_eq!(Ended::of(&response, hold, latency), ended, "{response:?}");
        }
    }

    #[test]
    fn it_grows_while_answers_come_as_fast_as_usual() {
        let (mut gate, mut now) = (Gate::new(64), Instant::now());
        let well = Ended::Well { latency: 10 * MILLI };
        assert_eq!(rounds(&mut gate, &mut now, 4, well), [16, 25, 38, 58], "a half more each time");
        assert_eq!(
            rounds(&mut gate, &mut now, 3, well).last(),
            Some(&64),
            "and no more than it may"
        );
    }

    #[test]
    fn it_grows_only_where_it_is_used() {
        let (mut gate, now) = (Gate::new(64), Instant::now());
        for _ in 0..1_000 {
            let pass = go(&mut gate, now);
            gate.leave(pass, Ended::Well { latency: MILLI }, now);
        }
        assert_eq!(gate.allowed(false), 16);
        assert_eq!(gate.allowed(true), CROWDED);
    }

    #[test]
    fn it_shrinks_once_for_all_that_were_under_way() {
        for (ended, left) in [
            (FAILED, 8),
            (Ended::Overloaded { hold: None }, 8),
            (Ended::Alive, 16),
            (Ended::Unknown, 16),
        ] {
            let (mut gate, mut now) = (Gate::new(64), Instant::now());
            let passes: Vec<_> = (0..4).map(|_| go(&mut gate, now)).collect();
            now += SECOND;
            for pass in passes {
                gate.leave(pass, ended, now);
            }
            assert_eq!(gate.allowed(false), left, "{ended:?}");
        }
    }

    #[test]
    fn it_is_trimmed_when_answers_become_slow_but_not_below_its_start() {
        let (mut gate, mut now) = (Gate::new(64), Instant::now());
        rounds(&mut gate, &mut now, 10, Ended::Well { latency: 10 * MILLI });
        rounds(&mut gate, &mut now, 5, Ended::Well { latency: 60 * MILLI });
        assert_eq!(gate.allowed(false), 64, "twice as slow and 50 ms is still well");
        rounds(&mut gate, &mut now, 3, Ended::Well { latency: 200 * MILLI });
        assert!((40..=50).contains(&gate.allowed(false)), "{gate:?}");
        rounds(&mut gate, &mut now, 100, Ended::Well { latency: SECOND });
        assert_eq!(gate.allowed(false), 16);
    }

    #[test]
    fn failures_in_a_row_open_the_breaker_and_a_success_among_them_does_not() {
        for (ends, open) in [
            (vec![FAILED; 4], false),
            (vec![FAILED; 5], true),
            (
                [vec![FAILED; 4], vec![Ended::Well { latency: MILLI }], vec![FAILED; 4]].concat(),
                false,
            ),
            ([vec![FAILED; 4], vec![Ended::Alive], vec![FAILED; 4]].concat(), false),
            ([vec![FAILED; 4], vec![Ended::Unknown, FAILED]].concat(), true),
            (vec![Ended::Overloaded { hold: None }; 50], false),
        ] {
            let (mut gate, now) = (Gate::new(64), Instant::now());
            for ended in &ends {
                let pass = go(&mut gate, now);
                gate.leave(pass, *ended, now);
            }
            assert_eq!(gate.is_open(), open, "{ends:?}");
        }
    }

    /// An endpoint that is down for a quarter of an hour, and is asked for all the time.
    #[test]
    fn while_it_is_down_one_probe_is_sent_at_a_time_and_more_and_more_rarely() {
        let (mut gate, start) = (Gate::new(64), Instant::now());
        let (mut now, mut sent) = (start, Vec::new());
        while now < start + 900 * SECOND {
            if let Entry::Go(pass) = gate.enter(false, now) {
                sent.push((now - start).as_secs());
                // Who comes while it is under way is put off.
                if gate.is_open() {
                    assert_eq!(gate.enter(false, now), Entry::Closed(PROBING));
                }
                gate.leave(pass, FAILED, now);
            }
            now += SECOND;
        }
        assert_eq!(sent, [0, 1, 2, 3, 4, 9, 69, 369, 669]);
        let pass = loop {
            match gate.enter(false, now) {
                Entry::Go(pass) => break pass,
                Entry::Closed(wait) => now += wait,
                Entry::Full => panic!("{gate:?}"),
            }
        };
        gate.leave(pass, Ended::Alive, now);
        assert_eq!(gate.allowed(false), 16, "it begins anew");
        go(&mut gate, now);
    }

    #[test]
    fn a_probe_that_was_cut_off_is_made_again_at_once() {
        let (mut gate, mut now) = (Gate::new(64), Instant::now());
        for _ in 0..TRIP {
            let pass = go(&mut gate, now);
            gate.leave(pass, FAILED, now);
        }
        now += OPEN[0];
        let pass = go(&mut gate, now);
        gate.leave(pass, Ended::Unknown, now);
        go(&mut gate, now);
    }

    #[test]
    fn retry_after_holds_the_whole_endpoint() {
        let (mut gate, now) = (Gate::new(64), Instant::now());
        let (told, other) = (go(&mut gate, now), go(&mut gate, now));
        gate.leave(told, Ended::Overloaded { hold: Some(30 * SECOND) }, now);
        gate.leave(other, Ended::Overloaded { hold: Some(SECOND) }, now);
        assert_eq!(gate.enter(false, now), Entry::Closed(30 * SECOND));
        assert!(!gate.is_idle(now) && gate.is_idle(now + 30 * SECOND));
        go(&mut gate, now + 30 * SECOND);
    }

    #[test]
    fn who_finds_it_full_is_put_off_until_those_before_have_been_sent() {
        let (mut gate, mut now) = (Gate::new(16), Instant::now());
        // 16 at once, 160 ms each: 100 a second.
        rounds(&mut gate, &mut now, 1, Ended::Well { latency: 160 * MILLI });
        let waits: Vec<_> = (0..40_000).map(|_| gate.put_off(Duration::ZERO, now)).collect();
        assert!(waits.is_sorted());
        for (nth, seconds) in [(0, 1), (999, 11), (9_999, 101), (39_999, 301)] {
            assert_eq!((waits[nth] + SECOND / 2).as_secs(), seconds, "{nth}");
        }
        // 100 s later the queue is that much shorter.
        now += 100 * SECOND;
        go(&mut gate, now);
        assert_eq!(gate.put_off(Duration::ZERO, now).as_secs(), 201);
        now += 1_000 * SECOND;
        go(&mut gate, now);
        let pass = go(&mut gate, now);
        gate.leave(pass, Ended::Well { latency: MILLI }, now);
        assert_eq!(gate.put_off(Duration::ZERO, now).as_secs(), 1);
        // It was fast, and answers nothing any more.
        for (seconds, wait) in [(1, 1), (2, 2), (10, 10), (60, 60), (600, 60)] {
            assert_eq!(gate.put_off(Duration::ZERO, now + seconds * SECOND).as_secs(), wait);
        }
    }
}
