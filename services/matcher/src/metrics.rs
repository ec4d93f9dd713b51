//! What the matcher counts. Every name stands here and in docs/metrics.md.

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use tokio::task::JoinHandle;
use triggerline_store::Following;

use crate::route::Routed;
use crate::view::Live;

/// As often gauges are set.
const EVERY: Duration = Duration::from_secs(1);

/// Events that were held against their customer's subscriptions.
pub(crate) struct Events {
    matched: Counter,
    unmatched: Counter,
    undecided: Counter,
    seconds: Histogram,
}

impl Events {
    pub(crate) fn new() -> Self {
        const NAME: &str = "triggerline_matched_events_total";
        const SECONDS: &str = "triggerline_matching_seconds";
        describe_counter!(NAME, "Events held against subscriptions, by what came of it.");
        describe_histogram!(SECONDS, "Seconds that finding an event's subscriptions took.");
        let outcome = |outcome: &'static str| counter!(NAME, "outcome" => outcome);
        Self {
            matched: outcome("matched"),
            unmatched: outcome("unmatched"),
            undecided: outcome("undecided"),
            seconds: histogram!(SECONDS),
        }
    }

    pub(crate) fn count(&self, routed: &Routed, took: Duration) {
        let outcome = match routed {
            Routed { undecided: Some(_), .. } => &self.undecided,
            Routed { deliveries, .. } if deliveries.is_empty() => &self.unmatched,
            _ => &self.matched,
        };
        outcome.increment(1);
        self.seconds.record(took);
    }
}

/// Sets what is known of the picture, until it is dropped.
pub(crate) struct Watching(JoinHandle<()>);

impl Watching {
    pub(crate) fn start(subscriptions: Arc<Following<Live>>) -> Self {
        const RULES: &str = "triggerline_matcher_rules";
        const AGE: &str = "triggerline_matcher_picture_age_seconds";
        describe_gauge!(RULES, "Subscriptions that events are held against.");
        describe_gauge!(AGE, "Seconds since the control store last said what has changed.");
        let (rules, age) = (gauge!(RULES), gauge!(AGE));
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let all: usize = subscriptions.views().iter().map(|view| view.len()).sum();
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
                rules.set(all as f64);
                age.set(subscriptions.age().as_secs_f64());
            }
        }))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}
