//! What the gateway counts. Every name stands here and in docs/metrics.md; whoever counts holds
//! handles, because looking one up costs more than counting.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use tonic::Code;

use crate::accept::Outcome;
use crate::problem::Kind;

/// Answers of one door.
pub(crate) struct Answers {
    name: &'static str,
    label: &'static str,
    /// By their status; made when one is first given, so that a page shows what happens.
    counted: Vec<OnceLock<Counter>>,
    seconds: Histogram,
}

impl Answers {
    pub(crate) fn over_http() -> Self {
        const NAME: &str = "triggerline_http_responses_total";
        const SECONDS: &str = "triggerline_http_response_seconds";
        describe_counter!(NAME, "Answers over HTTP, by their status.");
        describe_histogram!(
            SECONDS,
            "Seconds from a request's head to its answer's, over HTTP, whatever the answer."
        );
        Self::new(NAME, "status", 1_000, histogram!(SECONDS))
    }

    pub(crate) fn over_grpc() -> Self {
        const NAME: &str = "triggerline_grpc_responses_total";
        const SECONDS: &str = "triggerline_grpc_call_seconds";
        describe_counter!(NAME, "Calls that ended over gRPC, by their code.");
        describe_histogram!(SECONDS, "Seconds that a call over gRPC lasted: a stream's too.");
        Self::new(NAME, "code", 17, histogram!(SECONDS))
    }

    fn new(name: &'static str, label: &'static str, statuses: usize, seconds: Histogram) -> Self {
        let counted = (0..statuses).map(|_| OnceLock::new()).collect();
        Self { name, label, counted, seconds }
    }

    pub(crate) fn http(&self, status: StatusCode, took: Duration) {
        self.count(usize::from(status.as_u16()), || status.as_str().to_owned(), took);
    }

    pub(crate) fn grpc(&self, code: Code, took: Duration) {
        self.count(code as usize, || format!("{code:?}"), took);
    }

    fn count(&self, index: usize, told: impl FnOnce() -> String, took: Duration) {
        if let Some(counter) = self.counted.get(index) {
            counter.get_or_init(|| counter!(self.name, self.label => told())).increment(1);
        }
        self.seconds.record(took);
    }
}

/// What became of events that went as far as Kafka, or as far as their schemas.
pub(crate) struct Events {
    accepted: Counter,
    warned: Counter,
    quarantined: Counter,
    refused: Counter,
    unknown: Counter,
    pub(crate) produce_seconds: Histogram,
}

impl Events {
    pub(crate) fn new() -> Self {
        const NAME: &str = "triggerline_events_total";
        const PRODUCE: &str = "triggerline_produce_seconds";
        describe_counter!(
            NAME,
            "Events by what became of them: accepted, warned (accepted against their schema), \
             quarantined, refused, unavailable (Kafka, or what is needed before it, did not answer)."
        );
        describe_histogram!(
            PRODUCE,
            "Seconds from handing an event to Kafka's client to the report of all in-sync replicas."
        );
        let outcome = |outcome: &'static str| counter!(NAME, "outcome" => outcome);
        Self {
            accepted: outcome("accepted"),
            warned: outcome("warned"),
            quarantined: outcome("quarantined"),
            refused: outcome("refused"),
            unknown: outcome("unavailable"),
            produce_seconds: histogram!(PRODUCE),
        }
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Ok(accepted) => match &accepted.notice {
                None => &self.accepted,
                Some(notice) if notice.quarantined => &self.quarantined,
                Some(_) => &self.warned,
            },
            Err(problem) if problem.kind == Kind::Unavailable => &self.unknown,
            Err(_) => &self.refused,
        };
        counter.increment(1);
    }
}

/// What requests with an idempotency key found.
pub(crate) struct Idempotency {
    pub(crate) reserved: Counter,
    pub(crate) replayed: Counter,
    pub(crate) running: Counter,
    pub(crate) different: Counter,
    pub(crate) unavailable: Counter,
}

impl Idempotency {
    pub(crate) fn new() -> Self {
        const NAME: &str = "triggerline_idempotency_total";
        describe_counter!(
            NAME,
            "Requests with an idempotency key, by what they found: reserved (it was free), \
             replayed, running, different (another body), unavailable (the cache did not answer)."
        );
        let found = |found: &'static str| counter!(NAME, "found" => found);
        Self {
            reserved: found("reserved"),
            replayed: found("replayed"),
            running: found("running"),
            different: found("different"),
            unavailable: found("unavailable"),
        }
    }
}

/// How rate limits are kept over all gateways.
pub(crate) struct Limits {
    pub(crate) asked: Counter,
    pub(crate) failed: Counter,
    pub(crate) without_cache: Gauge,
}

impl Limits {
    pub(crate) fn new() -> Self {
        const ASKED: &str = "triggerline_rate_limit_cache_asks_total";
        const WITHOUT: &str = "triggerline_rate_limit_without_cache";
        describe_counter!(
            ASKED,
            "Times that the cache was asked for permits, each for many requests, by result: ok or error."
        );
        describe_gauge!(
            WITHOUT,
            "1 while limits go on without the cache, as `rate_limit_without_cache` says."
        );
        let asked = |result: &'static str| counter!(ASKED, "result" => result);
        let without_cache = gauge!(WITHOUT);
        without_cache.set(0.0);
        Self { asked: asked("ok"), failed: asked("error"), without_cache }
    }
}
