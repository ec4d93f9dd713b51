//! RFC 9535 JSONPath, to the letter, with a budget. Pure.
//!
//! [`Query::parse`] reads a customer's text: the [`parser`] refuses what is not well-formed and well-typed and names
//! the byte; what it makes is the [`ast`], for whoever lowers it into an index. A [`Query`] then answers for
//! one payload after another: [`Query::exists`] stops at the first node, [`Query::nodes`] and
//! [`Query::located_nodes`] go through all of them. Each spends from a [`Budget`] and ends with [`OutOfBudget`]
//! rather than stall whoever waits. Regular expressions are [`iregexp`]'s.
//!
//! Objects are walked in the order in which `serde_json` keeps them, which RFC 9535 leaves open.
//!
//! Absent on purpose: function extensions other than the five of the RFC; recursion over the payload, which may be as
//! deep as its parser lets it be.

pub mod ast;
mod budget;
mod display;
mod eval;
mod iregexp;
mod lower;
mod number;
mod parser;
mod path;

use serde_json::Value;

pub use self::budget::{Budget, DEFAULT_STEPS, OutOfBudget};
pub use self::iregexp::{Compiled, MAX_PATTERN_WEIGHT, NotIRegexp, Pattern};
pub(crate) use self::lower::lower;
pub use self::number::Number;
pub use self::path::{Element, Located, NormalizedPath};
pub use crate::InvalidQuery;

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4_096;
/// How deep filters, parentheses and function calls may lie in each other. What reads and evaluates them recurses.
pub const MAX_NESTING: usize = 32;
/// How many segments a query may have, those of queries inside its filters included. Evaluation recurses over them.
pub const MAX_SEGMENTS: usize = 128;
/// How many selectors, comparisons and tests a query may have in all.
pub const MAX_PARTS: usize = 512;
/// What the regular expressions of one query may weigh together: each is compiled and kept.
pub const MAX_PATTERNS_WEIGHT: u32 = MAX_PATTERN_WEIGHT;

/// A query that is well-formed and well-typed. Its `Display` is a normalized text with the same meaning.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    segments: Vec<ast::Segment>,
    patterns_weight: u32,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, InvalidQuery> {
        let (segments, patterns_weight) = parser::parse(text)?;
        Ok(Self { text: text.to_owned(), segments, patterns_weight })
    }

    /// As it was given; spans point into it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The segments behind `$`.
    pub fn ast(&self) -> &[ast::Segment] {
        &self.segments
    }

    /// What its regular expressions weigh: a unit takes about 1.5 µs to compile and 200 bytes to keep. For who has to
    /// limit what many queries of a customer weigh together.
    pub fn patterns_weight(&self) -> u32 {
        self.patterns_weight
    }

    /// What it selects, as JSON text: the same for what is the same. `None` where it selects nothing.
    pub fn key(&self, payload: &Value, budget: &mut Budget) -> Result<Option<String>, OutOfBudget> {
        let nodes = self.nodes(payload, budget)?;
        let texts: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        Ok((!texts.is_empty()).then(|| texts.join(",")))
    }

    /// How many of its segments, from the first on, select something in `payload`.
    pub(crate) fn reached(
        &self,
        payload: &Value,
        budget: &mut Budget,
    ) -> Result<usize, OutOfBudget> {
        for segments in (1..=self.segments.len()).rev() {
            if eval::exists(&self.segments[..segments], payload, budget)? {
                return Ok(segments);
            }
        }
        Ok(0)
    }

    /// The query of its first segments alone.
    pub(crate) fn beginning(&self, segments: usize) -> Self {
        let segments = &self.segments[..segments];
        let end = segments.last().map_or(1, |last| last.span.end);
        Self {
            text: self.text[..end].to_owned(),
            segments: segments.to_vec(),
            patterns_weight: self.patterns_weight,
        }
    }

    /// Whether it selects anything in `payload`.
    pub fn exists(&self, payload: &Value, budget: &mut Budget) -> Result<bool, OutOfBudget> {
        eval::exists(&self.segments, payload, budget)
    }

    /// What it selects in `payload`, in order, duplicates included.
    pub fn nodes<'v>(
        &self,
        payload: &'v Value,
        budget: &mut Budget,
    ) -> Result<Vec<&'v Value>, OutOfBudget> {
        eval::nodes(&self.segments, payload, budget)
    }

    /// The same, with the normalized path of each.
    pub fn located_nodes<'v>(
        &self,
        payload: &'v Value,
        budget: &mut Budget,
    ) -> Result<Vec<Located<'v>>, OutOfBudget> {
        eval::located_nodes(&self.segments, payload, budget)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same() {
        for (query, payload, key) in [
            ("$.id", json!({"id": 7}), Some("7")),
            ("$.id", json!({"id": "7"}), Some("\"7\"")),
            ("$.id", json!({"id": null}), Some("null")),
            ("$.id", json!({"id": {"b": 1, "a": 2}}), Some("{\"a\":2,\"b\":1}")),
            ("$['a', 'b']", json!({"a": 1, "b": 2}), Some("1,2")),
            ("$.id", json!({"no": 1}), None),
        ] {
            let found = Query::parse(query).unwrap().key(&payload, &mut Budget::default());
            assert_eq!(found.unwrap().as_deref(), key, "{query} {payload}");
        }
    }
}
