//! A query and a document, apart by a NUL: the ways to evaluate agree, within a budget.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use triggerline_matching::jsonpath::{Budget, Query};

fuzz_target!(|text: &str| {
    let Some((query, document)) = text.split_once('\0') else { return };
    let (Ok(query), Ok(document)) = (Query::parse(query), serde_json::from_str::<Value>(document))
    else {
        return;
    };
    let budget = || Budget::new(100_000);
    let located = query.located_nodes(&document, &mut budget());
    let nodes = query.nodes(&document, &mut budget());
    if let (Ok(located), Ok(nodes)) = (&located, &nodes) {
        assert!(located.iter().map(|located| located.node).eq(nodes.iter().copied()));
    }
    if let Ok(nodes) = nodes {
        // Never dearer than to see all of them.
        assert_eq!(query.exists(&document, &mut budget()), Ok(!nodes.is_empty()));
    }
});
