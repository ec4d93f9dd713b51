//! What delivery counts. Every name stands here and in docs/metrics.md.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use triggerline_types::{Outcome, Response};

/// What becomes of deliveries, and of the requests that are made for them.
pub(crate) struct Counts {
    delivered: Counter,
    retry: Counter,
    dead_lettered: Counter,
    cancelled: Counter,
    put_off: Counter,
    answered: Histogram,
    failed: Histogram,
    requests: Gauge,
    breakers: Gauge,
}

impl Counts {
    pub(crate) fn new() -> Self {
        const ATTEMPTS: &str = "triggerline_delivery_attempts_total";
        const PUT_OFF: &str = "triggerline_deliveries_put_off_total";
        const SECONDS: &str = "triggerline_webhook_seconds";
        const REQUESTS: &str = "triggerline_webhook_requests";
        const BREAKERS: &str = "triggerline_open_breakers";
        describe_counter!(ATTEMPTS, "Deliveries that were due, by what came of it.");
        describe_counter!(PUT_OFF, "Times that a delivery went to a retry tier unsent.");
        describe_histogram!(SECONDS, "Seconds that requests to endpoints took.");
        describe_gauge!(REQUESTS, "Requests to endpoints that are under way.");
        describe_gauge!(BREAKERS, "Endpoints that are sent nothing but probes.");
        let outcome = |outcome: &'static str| counter!(ATTEMPTS, "outcome" => outcome);
        let seconds = |answered: &'static str| histogram!(SECONDS, "answered" => answered);
        Self {
            delivered: outcome("delivered"),
            retry: outcome("retry"),
            dead_lettered: outcome("dead_lettered"),
            cancelled: outcome("cancelled"),
            put_off: counter!(PUT_OFF),
            answered: seconds("yes"),
            failed: seconds("no"),
            requests: gauge!(REQUESTS),
            breakers: gauge!(BREAKERS),
        }
    }

    pub(crate) fn attempt(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Retry { .. } => &self.retry,
            Outcome::DeadLettered { .. } => &self.dead_lettered,
            Outcome::Cancelled { .. } => &self.cancelled,
        };
        counter.increment(1);
    }

    pub(crate) fn put_off(&self) {
        self.put_off.increment(1);
    }

    /// A request begins; it is under way until what is returned is dropped.
    pub(crate) fn begin(&self) -> impl Drop {
        self.requests.increment(1);
        Under(self.requests.clone())
    }

    pub(crate) fn end(&self, response: &Response, took: Duration) {
        match response {
            Response::Answered { .. } => self.answered.record(took),
            Response::Failed { .. } => self.failed.record(took),
            Response::NotSent { .. } => {}
        }
    }

    /// The gauge of open breakers, for those who open and close them.
    pub(crate) fn breakers(&self) -> Gauge {
        self.breakers.clone()
    }
}

struct Under(Gauge);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
