//! What a subscription wants of a payload, compiled: an event pattern, a JSONPath query, or both.

use std::io;

use serde::Serialize;
use serde_json::Value;
use triggerline_types::Selector;

use crate::condition::Condition;
use crate::index::{MAX_WEIGHT, weight};
use crate::jsonpath::{Budget, OutOfBudget, Query, lower};
use crate::pattern::{Explanation, Pattern};

/// The largest pattern, in bytes of JSON. The limits of its parts are the parser's.
pub const MAX_PATTERN_BYTES: usize = 65_536;

/// How much of what a query selects is shown. A person reads it.
const SHOWN: usize = 20;
/// The largest value that is shown, in bytes of JSON.
const SHOWN_BYTES: usize = 1_024;

#[derive(Clone, Debug, Default)]
pub struct Predicate {
    pattern: Option<Pattern>,
    query: Option<Query>,
}

/// Why a selector was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer} {why}")]
pub struct InvalidSelector {
    /// Where in the selector, as a JSON Pointer: `/pattern/total/0`, `/jsonpath`.
    pub pointer: String,
    pub why: String,
}

impl Predicate {
    pub fn compile(selector: &Selector) -> Result<Self, InvalidSelector> {
        let pattern = selector.pattern.as_deref().map(|text| {
            if text.len() > MAX_PATTERN_BYTES {
                let why = format!("is at most {MAX_PATTERN_BYTES} bytes long");
                return Err(InvalidSelector { pointer: "/pattern".to_owned(), why });
            }
            Pattern::parse_text(text).map_err(|error| InvalidSelector {
                pointer: format!("/pattern{}", error.pointer),
                why: error.why,
            })
        });
        let query = selector.jsonpath.as_deref().map(|text| {
            Query::parse(text).map_err(|error| InvalidSelector {
                pointer: "/jsonpath".to_owned(),
                why: error.to_string(),
            })
        });
        Ok(Self { pattern: pattern.transpose()?, query: query.transpose()? })
    }

    /// Whether it depends on the payload at all.
    pub fn looks(&self) -> bool {
        self.pattern.is_some() || self.query.is_some()
    }

    /// What an index can decide of it, never more than it takes, and the query that is left to be put to whoever
    /// passes.
    pub(crate) fn split(&self) -> (Option<Condition>, Option<&Query>) {
        let pattern = self.pattern.as_ref().map(Pattern::condition);
        // A pattern that weighs more is not parsed; a query that adds too much to it can be put to the payload.
        let room = MAX_WEIGHT.saturating_sub(1 + pattern.as_ref().map_or(0, weight));
        let lowered = self.query.as_ref().and_then(lower).filter(|query| weight(query) <= room);
        let rest = self.query.as_ref().filter(|_| lowered.is_none());
        let condition = match (pattern, lowered) {
            (Some(pattern), Some(query)) => Some(Condition::All(vec![pattern, query])),
            (pattern, query) => pattern.or(query),
        };
        (condition, rest)
    }

    /// Whether an index decides all of it, so that it costs next to nothing where it doesn't match.
    pub fn is_indexed(&self) -> bool {
        self.split().1.is_none()
    }

    /// Whether the payload passes, by looking at everything.
    pub fn matches(&self, payload: &Value, budget: &mut Budget) -> Result<bool, OutOfBudget> {
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.matches(payload)) {
            return Ok(false);
        }
        self.query.as_ref().map_or(Ok(true), |query| query.exists(payload, budget))
    }

    /// Why it passes, or doesn't.
    pub fn explain(&self, payload: &Value, budget: &mut Budget) -> Result<Explained, OutOfBudget> {
        let pattern = self.pattern.as_ref().map(|pattern| pattern.explain(payload));
        let jsonpath = self.query.as_ref().map(|query| Selected::of(query, payload, budget));
        let jsonpath = jsonpath.transpose()?;
        let matched = pattern.as_ref().is_none_or(|pattern| pattern.matched)
            && jsonpath.as_ref().is_none_or(|jsonpath| jsonpath.matched);
        Ok(Explained { matched, pattern, jsonpath })
    }
}

/// Why a payload passes a predicate, or doesn't: part by part, as far as there are any.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    pub matched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonpath: Option<Selected>,
}

/// What a query selects in a payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selected {
    pub matched: bool,
    /// The query as far as it selects something: all of it, where it matches.
    pub reached: String,
    /// What that selects; at most 20 of it.
    pub nodes: Vec<Node>,
    /// How many more there are.
    pub more: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// A normalized path (RFC 9535 §2.7).
    pub path: String,
    /// Absent, if it is longer than 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A value, if it is small enough to be shown.
pub(crate) fn shown(value: &Value) -> Option<Value> {
    /// Ends where there is no room any more.
    struct Room(usize);

    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    serde_json::to_writer(Room(SHOWN_BYTES), value).is_ok().then(|| value.clone())
}

impl Selected {
    fn of(query: &Query, payload: &Value, budget: &mut Budget) -> Result<Self, OutOfBudget> {
        let reached = query.reached(payload, budget)?;
        let part = query.beginning(reached);
        let located = part.located_nodes(payload, budget)?;
        let more = located.len().saturating_sub(SHOWN);
        let node = |located: &crate::jsonpath::Located<'_>| Node {
            path: located.path.to_string(),
            value: shown(located.node),
        };
        Ok(Self {
            matched: reached == query.ast().len(),
            reached: part.text().to_owned(),
            nodes: located.iter().take(SHOWN).map(node).collect(),
            more,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn predicate(pattern: Option<Value>, jsonpath: Option<&str>) -> Predicate {
        let pattern = pattern.map(|pattern| pattern.to_string());
        let jsonpath = jsonpath.map(str::to_owned);
        Predicate::compile(&Selector { pattern, jsonpath }).unwrap()
    }

    #[test]
    fn both_parts_must_hold() {
        let payload = json!({"order": {"total": 120, "currency": "EUR"}});
        let pattern = |currency| Some(json!({"order": {"currency": [currency]}}));
        for (pattern, jsonpath, matches) in [
            (None, None, true),
            (pattern("EUR"), None, true),
            (pattern("CHF"), None, false),
            (None, Some("$.order[?@ > 100]"), true),
            (None, Some("$.order[?@ > 200]"), false),
            (pattern("EUR"), Some("$.order[?@ > 100]"), true),
            (pattern("EUR"), Some("$.order[?@ > 200]"), false),
            (pattern("CHF"), Some("$.order[?@ > 100]"), false),
        ] {
            let predicate = predicate(pattern, jsonpath);
            let budget = &mut Budget::default();
            assert_eq!(predicate.matches(&payload, budget), Ok(matches), "{predicate:?}");
            let explained = predicate.explain(&payload, budget).unwrap();
            assert_eq!(explained.matched, matches, "{explained:?}");
        }
    }

    #[test]
    fn a_bad_selector_is_refused_with_the_place() {
        let selector = |pattern: Option<&str>, jsonpath: Option<&str>| Selector {
            pattern: pattern.map(str::to_owned),
            jsonpath: jsonpath.map(str::to_owned),
        };
        for (selector, pointer) in [
            (selector(None, Some("$[")), "/jsonpath"),
            (selector(Some("{"), None), "/pattern"),
            (selector(Some(r#"{"a": {"b": 1}}"#), None), "/pattern/a/b"),
            (selector(Some(&format!("{{{}}}", " ".repeat(70_000))), None), "/pattern"),
        ] {
            let error = Predicate::compile(&selector).unwrap_err();
            assert_eq!(error.pointer, pointer, "{error}");
        }
    }

    /// So that whatever compiles can be put to an index, for any event types.
    #[test]
    fn a_query_that_is_too_much_beside_the_pattern_is_put_to_the_payload() {
        let fields = |count: usize| -> Value {
            (0..count)
                .map(|n| (format!("f{n}"), json!([n])))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let pattern = |tests: usize, rows: usize| {
            let or: Value = (0..rows).map(|n| json!({"y": [n]})).collect();
            let tests: Value = (0..tests).map(Value::from).collect();
            json!({"x": tests, "p": fields(30), "$or": or})
        };
        let parts: Vec<String> = (0..100).map(|n| format!("@.a{n} == {n}")).collect();
        let query = format!("$.o[?{}]", parts.join(" && "));
        for (pattern, indexed) in [(pattern(1_000, 2), true), (pattern(1_500, 68), false)] {
            let both = predicate(Some(pattern.clone()), Some(&query));
            assert!(predicate(Some(pattern), None).is_indexed());
            assert_eq!(both.is_indexed(), indexed);
            let (condition, rest) = both.split();
            assert!(weight(&condition.unwrap()) <= MAX_WEIGHT);
            assert_eq!(rest.is_none(), indexed);
        }
        assert!(predicate(None, Some(&query)).is_indexed());
    }

    #[test]
    fn a_query_is_explained_by_how_far_it_reaches() {
        let payload = json!({"order": {"items": [{"sku": "a"}, {"sku": "b"}]}});
        for (query, reached, paths) in [
            (
                "$.order.items[?@.sku == 'b']",
                "$.order.items[?@.sku == 'b']",
                &["$['order']['items'][1]"][..],
            ),
            ("$.order.items[?@.sku == 'c']", "$.order.items", &["$['order']['items']"]),
            ("$.no.items", "$", &["$"]),
            ("$", "$", &["$"]),
        ] {
            let predicate = predicate(None, Some(query));
            let explained = predicate.explain(&payload, &mut Budget::default()).unwrap();
            let selected = explained.jsonpath.unwrap();
            assert_eq!(selected.matched, reached == query);
            assert_eq!(selected.reached, reached);
            let found: Vec<_> = selected.nodes.iter().map(|node| node.path.as_str()).collect();
            assert_eq!(found, paths, "{query}");
        }
    }
}
