//! Our side: a customer's [`Rules`], as the matcher holds them. All are about one type of event, so that
//! the type decides nothing.

use std::hint::black_box;

use anyhow::Context as _;
use serde_json::Value;
use triggerline_matching::{Predicate, Rules};
use triggerline_types::{EventType, EventTypePattern, Selector};

const TYPE: &str = "order.created";

pub(crate) struct Ours {
    event_type: EventType,
    rules: Rules<u32>,
}

impl Ours {
    pub(crate) fn of_patterns(patterns: impl IntoIterator<Item = Value>) -> anyhow::Result<Self> {
        Self::of(patterns.into_iter().map(|pattern| of_pattern(&pattern)))
    }

    pub(crate) fn of_queries(queries: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        Self::of(queries.into_iter().map(|query| Selector { pattern: None, jsonpath: Some(query) }))
    }

    fn of(selectors: impl Iterator<Item = Selector>) -> anyhow::Result<Self> {
        let mut rules = Rules::default();
        for (key, selector) in (0..).zip(selectors) {
            rules.insert(key, &types()?, &Predicate::compile(&selector)?);
        }
        Ok(Self { event_type: EventType::parse(TYPE)?, rules })
    }

    /// How many rules want it.
    pub(crate) fn matching(&self, event: &[u8]) -> usize {
        black_box(self.rules.matching(&self.event_type, event)).keys.len()
    }

    /// How many rules want these, together.
    pub(crate) fn matching_all(&self, events: &[Vec<u8>]) -> anyhow::Result<usize> {
        let each = events.iter().map(|event| {
            let matching = self.rules.matching(&self.event_type, event);
            let why = matching.undecided.map_or(Ok(()), Err);
            why.map_err(anyhow::Error::msg).context("a rule could not be decided")?;
            Ok(matching.keys.len())
        });
        each.sum()
    }
}

pub(crate) fn of_pattern(pattern: &Value) -> Selector {
    Selector { pattern: Some(pattern.to_string()), jsonpath: None }
}

pub(crate) fn types() -> anyhow::Result<[EventTypePattern; 1]> {
    Ok([EventTypePattern::parse(TYPE)?])
}
