//! Selectors: the predicate that a subscription puts on a payload. Pure.
//!
//! A [`Selector`] is compiled once, when a subscription is saved or loaded, and evaluated on
//! every event of a type that the subscription covers. Today it is one RFC 9535 JSONPath
//! query, which matches when it selects at least one node; event patterns and the index over
//! thousands of selectors come with their own issue.

use serde_json::Value;
use serde_json_path::JsonPath;

/// The longest query, in bytes. Evaluation costs at most the product of a query's length and
/// the payload's size for each descendant step, and a query this long has few of them.
pub const MAX_QUERY_BYTES: usize = 4_096;

#[derive(Clone, Debug)]
pub struct Selector {
    query: JsonPath,
}

/// Why a query was refused, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {why}")]
pub struct InvalidQuery {
    pub at: usize,
    pub why: String,
}

impl Selector {
    pub fn compile(query: &str) -> Result<Self, InvalidQuery> {
        if query.len() > MAX_QUERY_BYTES {
            let why = format!("a query is at most {MAX_QUERY_BYTES} bytes long");
            return Err(InvalidQuery { at: MAX_QUERY_BYTES, why });
        }
        let query = JsonPath::parse(query).map_err(|error| InvalidQuery {
            at: error.position(),
            why: error.message().to_owned(),
        })?;
        Ok(Self { query })
    }

    /// Whether the query selects something in `payload`.
    pub fn matches(&self, payload: &Value) -> bool {
        !self.query.query(payload).is_empty()
    }

    /// What the query selects in `payload`, as JSON text: the same for what is the same. `None` where
    /// it selects nothing.
    pub fn key(&self, payload: &Value) -> Option<String> {
        let selected = self.query.query(payload).all();
        (!selected.is_empty()).then(|| {
            let texts: Vec<_> = selected.iter().map(ToString::to_string).collect();
            texts.join(",")
        })
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
            let selector = Selector::compile(query).unwrap();
            assert_eq!(selector.key(&payload).as_deref(), key, "{query} {payload}");
        }
    }

    #[test]
    fn a_selector_matches_when_it_selects_something() {
        let payload = json!({"total": 120, "items": [{"sku": "a"}, {"sku": "b"}], "note": null});
        for (query, matches) in [
            ("$.total", true),
            ("$.note", true), // null is a node (RFC 9535 §2.6)
            ("$.missing", false),
            ("$[?@.total > 100]", false), // a filter looks at children; these have no total
            ("$[?@ > 100]", true),
            ("$.items[?@.sku == 'b']", true),
            ("$.items[?@.sku == 'c']", false),
            ("$..sku", true),
            ("$.items[?match(@.sku, '[a-b]')]", true),
            ("$.items[?length(@.sku) > 1]", false),
        ] {
            let selector = Selector::compile(query).unwrap();
            assert_eq!(selector.matches(&payload), matches, "{query}");
        }
    }

    #[test]
    fn a_bad_query_is_refused_with_the_place() {
        for query in ["", "total", "$.", "$[?@.total >]", "$[", "$.a b"] {
            let error = Selector::compile(query).unwrap_err();
            assert!(error.at <= query.len(), "{query}: {error}");
            assert!(!error.why.is_empty(), "{query}: {error}");
        }
        assert!(Selector::compile(&format!("$.{}", "a".repeat(5_000))).is_err());
    }
}
