//! JSONPath: 10,000 rules against what scans them (half of P6), and 1,000 of one shape (P7).
//!
//! We get an event as bytes. The references get it as a tree that was read before, which is in their
//! favour; but in `one by one`, where our engine does without the index what they do, and gets the same.

use anyhow::ensure;
use serde_json::{Value, json};
use triggerline_matching::jsonpath::{Budget, Query};

use crate::orders::{EVENTS, orders, query_by_article, query_by_total};
use crate::ours::Ours;
use crate::references::{JsonPathRust, SerdeJsonPath};
use crate::report::Report;
use crate::turns::{Options, deciding, take};

pub(crate) fn ten_thousand(options: &Options) -> anyhow::Result<()> {
    const RULES: usize = 10_000;
    let events = orders(RULES);
    let trees = read(&events)?;
    let queries: Vec<_> = (0..RULES).map(query_by_total).collect();
    let ours = Ours::of_queries(queries.iter().cloned())?;
    let few = Ours::of_queries((0..10).map(query_by_total))?;
    let rust = JsonPathRust::new(&queries)?;
    let matches = ours.matching_all(&events)?;
    let theirs: usize = trees.iter().map(|tree| rust.matching(tree)).sum();
    ensure!(matches == theirs, "ours finds {matches} matches, jsonpath-rust {theirs}");
    let report = Report::new("selectors-p6-queries", setting(&queries, &events, matches, options));
    let mut contestants = [
        deciding("triggerline", &events, |event: &Vec<u8>| ours.matching(event)),
        deciding("triggerline, 10 rules", &events, |event: &Vec<u8>| few.matching(event)),
        deciding("jsonpath-rust, one by one", &trees, |tree| rust.matching(tree)),
    ];
    take(report, options, &mut contestants)
}

pub(crate) fn one_shape(options: &Options) -> anyhow::Result<()> {
    const RULES: usize = 1_000;
    let events = orders(RULES);
    let trees = read(&events)?;
    let queries: Vec<_> = (0..RULES).map(query_by_article).collect();
    let ours = Ours::of_queries(queries.iter().cloned())?;
    let engine = queries.iter().map(|query| Query::parse(query)).collect::<Result<Vec<_>, _>>()?;
    let one_by_one = |tree: &Value| {
        let selects = |query: &&Query| query.exists(tree, &mut Budget::default()) == Ok(true);
        engine.iter().filter(selects).count()
    };
    let rust = JsonPathRust::new(&queries)?;
    let path = SerdeJsonPath::new(&queries)?;
    let matches = ours.matching_all(&events)?;
    for (name, theirs) in [
        ("our engine", trees.iter().map(one_by_one).sum::<usize>()),
        ("jsonpath-rust", trees.iter().map(|tree| rust.matching(tree)).sum()),
        ("serde_json_path", trees.iter().map(|tree| path.matching(tree)).sum()),
    ] {
        ensure!(matches == theirs, "ours finds {matches} matches, {name} {theirs}");
    }
    let setting = setting(&queries, &events, matches, options);
    let mut contestants = [
        deciding("triggerline", &events, |event: &Vec<u8>| ours.matching(event)),
        deciding("jsonpath-rust", &trees, |tree| rust.matching(tree)),
        deciding("serde_json_path", &trees, |tree| path.matching(tree)),
    ];
    take(Report::new("selectors-p7", setting.clone()), options, &mut contestants)?;
    let mut contestants = [
        deciding("triggerline, one by one", &trees, one_by_one),
        deciding("jsonpath-rust", &trees, |tree| rust.matching(tree)),
        deciding("serde_json_path", &trees, |tree| path.matching(tree)),
    ];
    take(Report::new("selectors-p7-one-by-one", setting), options, &mut contestants)
}

fn read(events: &[Vec<u8>]) -> anyhow::Result<Vec<Value>> {
    Ok(events.iter().map(|event| serde_json::from_slice(event)).collect::<Result<_, _>>()?)
}

fn setting(queries: &[String], events: &[Vec<u8>], matches: usize, options: &Options) -> Value {
    json!({
        "rules": queries.len(), "like": queries.last(), "events": EVENTS, "millis": options.millis,
        "bytes_per_event": events.iter().map(Vec::len).sum::<usize>() / EVENTS,
        "matches_per_event": matches as f64 / EVENTS as f64,
    })
}
