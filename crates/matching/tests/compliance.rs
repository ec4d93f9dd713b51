//! The JSONPath Compliance Test Suite, every case: what is refused, what is selected, where it is. (Its source and
//! licence are in NOTICE.)

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use serde_json::Value;
use triggerline_matching::jsonpath::{Budget, Query};

/// The suite that is checked in. A newer one may have more.
const CASES: usize = 687;

#[test]
fn the_compliance_test_suite_passes() {
    let suite: Value = serde_json::from_str(include_str!("data/cts.json")).unwrap();
    let cases = suite["tests"].as_array().unwrap();
    assert_eq!(cases.len(), CASES);
    let failures: Vec<_> = cases.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

/// What is wrong in one case.
fn failure(case: &Value) -> Option<String> {
    let name = case["name"].as_str().unwrap();
    let text = case["selector"].as_str().unwrap();
    let say = |what: String| Some(format!("{name}: {text:?}: {what}"));
    let refused = case["invalid_selector"] == true;
    let query = match Query::parse(text) {
        Ok(_) if refused => return say("accepted".to_owned()),
        Ok(query) => query,
        Err(error) if !refused => return say(error.to_string()),
        Err(error) if error.at > text.len() || !text.is_char_boundary(error.at) => {
            return say(format!("a place outside: {error}"));
        }
        Err(_) => return None,
    };
    let document = &case["document"];
    let found = query.located_nodes(document, &mut Budget::default()).unwrap();
    let nodes: Value = found.iter().map(|located| located.node.clone()).collect();
    let paths: Value = found.iter().map(|located| located.path.to_string()).collect();
    if !any_of(case, "result", "results").contains(&&nodes) {
        return say(format!("selects {nodes}"));
    }
    if !any_of(case, "result_paths", "results_paths").contains(&&paths) {
        return say(format!("at {paths}"));
    }
    let plain = query.nodes(document, &mut Budget::default()).unwrap();
    if plain.into_iter().cloned().collect::<Value>() != nodes {
        return say("selects something else without paths".to_owned());
    }
    if query.exists(document, &mut Budget::default()).unwrap() == found.is_empty() {
        return say("exists says otherwise".to_owned());
    }
    // The text that it makes of itself means the same, and is the last one.
    let again = Query::parse(&query.to_string()).map(|again| {
        let found = again.located_nodes(document, &mut Budget::default()).unwrap();
        let paths: Value = found.iter().map(|located| located.path.to_string()).collect();
        (again.to_string(), paths)
    });
    if again != Ok((query.to_string(), paths)) {
        return say(format!("reads {query} as {again:?}"));
    }
    None
}

/// Where objects have no order, several results are right.
fn any_of<'c>(case: &'c Value, one: &str, several: &str) -> Vec<&'c Value> {
    match (case.get(one), case.get(several)) {
        (Some(one), _) => vec![one],
        (None, several) => several.and_then(Value::as_array).unwrap().iter().collect(),
    }
}
