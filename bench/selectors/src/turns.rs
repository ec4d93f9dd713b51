//! Rounds: each contestant decides events for the same while, one after the other.

use std::time::{Duration, Instant};

use crate::report::{Figures, Report};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How long each contestant is measured in a round; a fifth of it is run before, to warm up.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) millis: u64,
}

impl Options {
    pub(crate) fn length(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// A contestant: its name, and what measures it for a while.
pub(crate) type Contestant<'a> =
    (&'static str, Box<dyn FnMut(Duration) -> anyhow::Result<Figures> + 'a>);

pub(crate) fn take(
    mut report: Report,
    options: &Options,
    contestants: &mut [Contestant<'_>],
) -> anyhow::Result<()> {
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (name, measure) in &mut *contestants {
            report.add(name, measure(options.length())?);
        }
    }
    report.end()
}

/// A contestant that decides in this process, and says how many rules want an event.
pub(crate) fn deciding<'a, E>(
    name: &'static str,
    events: &'a [E],
    mut decide: impl FnMut(&E) -> usize + 'a,
) -> Contestant<'a> {
    let measure = move |length: Duration| {
        measured(length / 5, events, &mut decide);
        let (decided, seconds) = measured(length, events, &mut decide);
        Ok(figures(decided, seconds))
    };
    (name, Box::new(measure))
}

pub(crate) fn figures(events: usize, seconds: f64) -> Figures {
    let events = events as f64;
    Figures::from([("events/s", events / seconds), ("us/event", seconds * 1e6 / events)])
}

fn measured<E>(
    length: Duration,
    events: &[E],
    decide: &mut impl FnMut(&E) -> usize,
) -> (usize, f64) {
    let mut decided = 0;
    let begin = Instant::now();
    let mut events = events.iter().cycle();
    while begin.elapsed() < length {
        // A look at the clock takes as long as a small part of an event.
        for event in events.by_ref().take(8) {
            std::hint::black_box(decide(event));
            decided += 1;
        }
    }
    (decided, begin.elapsed().as_secs_f64())
}
