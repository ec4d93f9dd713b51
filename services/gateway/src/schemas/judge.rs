//! Holding events against their schemas.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use triggerline_types::{Event, EventType, SchemaMode};

use super::usable::{MAX_WORK, Usable};
use crate::admit::Admitted;
use crate::problem::{Fault, Kind, Problem};

/// More steps than this are not taken on a thread that others wait for.
const WORK_AT_ONCE: u64 = 200_000;
/// What is kept of the reasons for a quarantine, about.
const MAX_REASON_BYTES: usize = 1_000;

/// What a schema has against an event that is accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// Held back, not only warned of.
    pub(crate) quarantined: bool,
    pub(crate) faults: Vec<Fault>,
}

impl Notice {
    /// What is kept with an event that is held back; `None` for others.
    pub(crate) fn reason_to_hold(&self) -> Option<String> {
        if !self.quarantined {
            return None;
        }
        let mut reason = String::new();
        for Fault { pointer, detail } in &self.faults {
            let more = format!("{}{pointer} {detail}", if reason.is_empty() { "" } else { "; " });
            if reason.len() + more.len() > MAX_REASON_BYTES && !reason.is_empty() {
                break;
            }
            reason.push_str(&more);
        }
        Some(reason)
    }
}

/// Holds events against one customer's schemas, of the types that it was asked for.
#[derive(Clone)]
pub(crate) struct Judge(Arc<HashMap<EventType, (SchemaMode, Arc<Usable>)>>);

/// What has a type and a payload.
pub(crate) trait Judged: Send + 'static {
    fn judged(&self) -> (&EventType, &[u8]);
}

impl Judged for Admitted {
    fn judged(&self) -> (&EventType, &[u8]) {
        (&self.event_type, &self.payload)
    }
}

impl Judged for Event {
    fn judged(&self) -> (&EventType, &[u8]) {
        (&self.event_type, &self.payload)
    }
}

/// An event, and what its schema has against it all the same.
type Passed<T> = Result<(T, Option<Notice>), Problem>;

impl Judge {
    pub(super) fn new(schemas: HashMap<EventType, (SchemaMode, Arc<Usable>)>) -> Self {
        Self(Arc::new(schemas))
    }

    /// Which of a request's events pass, and with what notice.
    pub(crate) async fn pass<T: Judged>(
        &self,
        events: Vec<Result<T, Problem>>,
    ) -> Result<Vec<Passed<T>>, Problem> {
        let judge = self.clone();
        let much = self.dearest(&events) > WORK_AT_ONCE;
        let judge = move || {
            let mut budget = MAX_WORK;
            let pass = |event: Result<T, Problem>| {
                let event = event?;
                let (event_type, payload) = event.judged();
                let notice = judge.one(event_type, payload, &mut budget)?;
                Ok((event, notice))
            };
            events.into_iter().map(pass).collect()
        };
        if !much {
            return Ok(judge());
        }
        tokio::task::spawn_blocking(judge).await.map_err(|error| {
            tracing::error!(%error, "judging events failed");
            Problem::new(Kind::Internal, "The error has been logged.")
        })
    }

    /// What it may cost at the most, for who has not read the payloads.
    fn dearest<T: Judged>(&self, events: &[Result<T, Problem>]) -> u64 {
        events.iter().flatten().fold(0, |sum: u64, event| {
            let (event_type, payload) = event.judged();
            let schema = self.0.get(event_type);
            sum.saturating_add(schema.map_or(0, |(_, schema)| schema.dearest(payload.len())))
        })
    }

    fn one(
        &self,
        event_type: &EventType,
        payload: &[u8],
        budget: &mut u64,
    ) -> Result<Option<Notice>, Problem> {
        let Some((mode, schema)) = self.0.get(event_type) else {
            return Ok(None);
        };
        let faults = schema.faults(payload, budget)?;
        if faults.is_empty() {
            return Ok(None);
        }
        match mode {
            SchemaMode::Off => Ok(None),
            SchemaMode::Warn => Ok(Some(Notice { quarantined: false, faults })),
            SchemaMode::Quarantine => Ok(Some(Notice { quarantined: true, faults })),
            SchemaMode::Reject => {
                let event_type = event_type.as_str();
                let detail = format!("The payload breaks the schema for {event_type}.");
                Err(Problem { faults, ..Problem::new(Kind::SchemaViolation, detail) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::usable::compile;
    use super::*;

    impl Judged for (EventType, String) {
        fn judged(&self) -> (&EventType, &[u8]) {
            (&self.0, self.1.as_bytes())
        }
    }

    fn event_type(text: &str) -> EventType {
        EventType::parse(text).unwrap()
    }

    /// On a runtime of one thread, from which nothing can be moved away but by handing it over.
    #[tokio::test]
    async fn a_batch_is_judged_in_its_order_and_by_one_budget() {
        let modes = [
            ("reject", SchemaMode::Reject),
            ("quarantine", SchemaMode::Quarantine),
            ("warn", SchemaMode::Warn),
        ];
        let document =
            r#"{"items":{"allOf":[{"type":"string"},{"pattern":"(a|b)*a(a|b){100}c"}]}}"#;
        let schemas = modes
            .map(|(name, mode)| (event_type(name), (mode, Arc::new(compile(document).unwrap()))));
        let judge = Judge::new(HashMap::from(schemas));
        let event = |name: &str, payload: &str| Ok((event_type(name), payload.to_owned()));
        let told = async |events: Vec<Result<(EventType, String), Problem>>| {
            let passed = judge.pass(events).await.unwrap();
            let told = passed.into_iter().map(|passed| match passed {
                Ok((_, None)) => "passed",
                Ok((_, Some(notice))) if notice.quarantined => "held",
                Ok((_, Some(_))) => "warned",
                Err(problem) if problem.kind == Kind::SchemaViolation => "refused",
                Err(_) => "bad",
            });
            told.collect::<Vec<_>>().join(" ")
        };
        let events = || {
            let bad = Err(Problem::new(Kind::InvalidField, "bad before"));
            let names = ["warn", "reject", "unknown", "quarantine"];
            let events = names.map(|name| event(name, "[1]")).into_iter();
            events.chain([bad, event("reject", "[]"), event("reject", "{}")]).collect::<Vec<_>>()
        };
        let expected = "warned refused passed held bad passed passed";
        assert_eq!(told(events()).await, expected);
        // What follows it is more than is done in between.
        let large = format!("[{}1]", "[],".repeat(10_000));
        let mut much = events();
        much.push(event("reject", &large));
        assert_eq!(told(much).await, format!("{expected} refused"));
        // Each text of half a million bytes takes half of what there is; the third is refused.
        let text = format!("[\"{}c\"]", "a".repeat(500_000));
        let three = (0..3).map(|_| event("reject", &text)).collect();
        assert_eq!(told(three).await, "passed passed refused");
    }
}
