//! What storage counts. Every name stands here and in docs/metrics.md.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

/// Batches of facts that the store was given.
pub(crate) struct Batches {
    facts: Counter,
    failed: Counter,
    seconds: Histogram,
}

impl Batches {
    pub(crate) fn new() -> Self {
        const FACTS: &str = "triggerline_stored_facts_total";
        const FAILED: &str = "triggerline_store_failures_total";
        const SECONDS: &str = "triggerline_store_seconds";
        describe_counter!(FACTS, "Events, summaries and attempts that the inbox has taken.");
        describe_counter!(
            FAILED,
            "Batches that the inbox didn't take; tried again, or one by one."
        );
        describe_histogram!(SECONDS, "Seconds that a batch took that the inbox has taken.");
        Self { facts: counter!(FACTS), failed: counter!(FAILED), seconds: histogram!(SECONDS) }
    }

    pub(crate) fn stored(&self, facts: usize, took: Duration) {
        self.facts.increment(facts as u64);
        self.seconds.record(took);
    }

    pub(crate) fn failed(&self) {
        self.failed.increment(1);
    }
}
