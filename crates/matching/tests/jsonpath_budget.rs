//! No query stalls: hostile ones end with an error, lawful ones on large payloads don't, and depth takes no stack.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use serde_json::{Value, json};
use triggerline_matching::jsonpath::{Budget, DEFAULT_STEPS, OutOfBudget, Query};

fn exists(query: &str, payload: &Value) -> Result<bool, OutOfBudget> {
    Query::parse(query).unwrap().exists(payload, &mut Budget::default())
}

/// `{"a": {"a": … 1}}`. Dropping it recurses, so it is taken apart afterwards.
struct Deep(Value);

impl Deep {
    fn new(depth: usize) -> Self {
        let mut value = json!(1);
        for _ in 0..depth {
            // Not json!, which would copy it, and recurse.
            value = Value::Object([("a".to_owned(), value)].into_iter().collect());
        }
        Self(value)
    }
}

impl Drop for Deep {
    fn drop(&mut self) {
        let mut value = self.0.take();
        while let Some(inner) = value.get_mut("a") {
            value = inner.take();
        }
    }
}

#[test]
fn hostile_queries_end() {
    let nested = Deep::new(120);
    let wide: Value = (0..2_000).map(|n| json!({"a": n, "b": [1, 2]})).collect();
    let texts: Value = json!(["ab".repeat(200_000)]);
    let patterns: Value =
        (0..500).map(|n| json!({"t": "x", "p": format!("\\p{{L}}{{5}}{n}")})).collect();
    for (query, payload) in [
        ("$..a..a..a..a..c", &nested.0),
        ("$..[?@..[?@..[?@..c]]]", &nested.0),
        ("$[?count($..*) == 0]", &wide),
        ("$[?@.a == count($[?@.a == count($.*)])]", &wide),
        ("$[*,*,*,*,*,*,*,*][*,*,*,*,*,*,*,*][*,*,*,*,*,*,*,*].c", &wide),
        ("$[?search(@, '(a|b)*a(a|b){300}[cd]')]", &texts),
        ("$[?match(@.t, @.p)]", &patterns),
    ] {
        assert_eq!(exists(query, payload), Err(OutOfBudget), "{query}");
        let query = Query::parse(query).unwrap();
        let mut budget = Budget::new(50_000);
        assert_eq!(query.nodes(payload, &mut budget), Err(OutOfBudget), "{query}");
        assert_eq!(budget.left(), 0, "{query}");
        let located = query.located_nodes(payload, &mut Budget::new(50_000));
        assert_eq!(located, Err(OutOfBudget), "{query}");
    }
}

#[test]
fn lawful_queries_on_a_large_payload_do_not() {
    // 1 MB as text, 160,000 nodes.
    let wide: Value = (0..20_000)
        .map(|n| json!({"id": n, "name": format!("item {n}"), "tags": ["x", "y"]}))
        .collect();
    for (query, found) in [
        ("$..none", false),
        ("$..tags..none", false),
        ("$[?@.id == 19999 && @.name == 'item 19999']", true),
        ("$..[?@.id > 20000]", false),
        ("$[?@.tags[?@ == 'z']]", false),
        ("$[?search(@.name, '^item 1[0-9]+9999$')]", false),
    ] {
        assert_eq!(exists(query, &wide), Ok(found), "{query}");
    }
}

#[test]
fn depth_takes_no_stack() {
    let deep = Deep::new(200_000);
    let both = json!({"one": Deep::new(100).0.take(), "two": Deep::new(100).0.take()});
    let run = || {
        assert_eq!(exists("$..none", &deep.0), Ok(false));
        assert_eq!(exists("$..a..none", &deep.0), Err(OutOfBudget));
        assert_eq!(exists("$[?@ == $.a]", &deep.0), Ok(true));
        assert_eq!(exists("$[?count(@..*) == 199999]", &deep.0), Ok(true));
        assert_eq!(exists("$[?$.one == $.two]", &both), Ok(true));
        let all = Query::parse("$..a").unwrap();
        assert_eq!(all.nodes(&deep.0, &mut Budget::default()).unwrap().len(), 200_000);
        // Each path is as long as its node is deep; all of them don't fit into the budget.
        assert_eq!(all.located_nodes(&deep.0, &mut Budget::default()), Err(OutOfBudget));
        // The deepest query there can be.
        let nested = format!("$..[?{}@{}]", "!(@..[?".repeat(14), "])".repeat(14));
        let _ = exists(&nested, &deep.0);
        let long = format!("${}", "..a".repeat(128));
        assert_eq!(exists(&long, &deep.0), Ok(true));
        let filters = format!("$..a{}", "[?@.a]".repeat(63));
        assert_eq!(exists(&filters, &deep.0), Ok(true));
    };
    std::thread::scope(|scope| {
        // Half of what a thread of tokio has; and optimised code needs less than a test's.
        let thread = std::thread::Builder::new().stack_size(1024 * 1024);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap();
    });
}

#[test]
fn a_budget_is_shared_and_spent() {
    let payload = json!({"a": [1, 2, 3]});
    let query = Query::parse("$.a[?@ > 5]").unwrap();
    let mut budget = Budget::new(DEFAULT_STEPS);
    assert_eq!(query.exists(&payload, &mut budget), Ok(false));
    let cost = DEFAULT_STEPS - budget.left();
    assert!((3..30).contains(&cost), "{cost}");
    let mut budget = Budget::new(2 * cost);
    assert_eq!(query.exists(&payload, &mut budget), Ok(false));
    assert_eq!(query.exists(&payload, &mut budget), Ok(false));
    assert_eq!(query.exists(&payload, &mut budget), Err(OutOfBudget));
    // It stops at the first node.
    let first = Query::parse("$.a[*]").unwrap();
    let mut budget = Budget::new(4);
    assert_eq!(first.exists(&payload, &mut budget), Ok(true));
    assert_eq!(first.nodes(&payload, &mut Budget::new(4)), Err(OutOfBudget));
}
