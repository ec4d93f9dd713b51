//! What is worst for an index: rules that share what they look for, so that it brings up all of them or
//! has nothing to look them up by, and events of a thousand elements. Ours alone.

use serde_json::{Value, json};

use crate::orders::{customer_id, orders};
use crate::ours::Ours;
use crate::report::{Figures, Report};
use crate::turns::{Options, deciding, take};

const RULES: usize = 10_000;

type Rule = fn(usize) -> Value;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let small = orders(RULES);
    let large = [items(|n| format!("sku-{n}"))];
    let equal = [items(|_| "sku-1".to_owned())];
    let cases: [(&'static str, &[Vec<u8>], Rule); 7] = [
        ("one wildcard, matched", &small, |_| customer(&json!({"wildcard": "c*0*"}))),
        ("one wildcard, missed", &small, |_| customer(&json!({"wildcard": "*x*y*"}))),
        ("wildcards without ends", &small, |n| {
            customer(&json!({"wildcard": format!("*{n:05}*x*")}))
        }),
        ("anything-but", &small, |n| customer(&json!({"anything-but": customer_id(n)}))),
        ("anything-but wildcard", &small, |n| {
            customer(&json!({"anything-but": {"wildcard": format!("*_{n:05}*")}}))
        }),
        (
            "1,000 elements",
            &large,
            |n| json!({"items": {"sku": [format!("sku-{n}")], "quantity": [{"numeric": [">", 7]}]}}),
        ),
        (
            "1,000 equal elements",
            &equal,
            |n| json!({"items": {"sku": ["sku-1"], "quantity": [{"numeric": [">", n + 7]}]}}),
        ),
    ];
    let mut sides = Vec::new();
    for (name, events, rule) in cases {
        let ours = Ours::of_patterns((0..RULES).map(rule))?;
        let matches = ours.matching_all(events)? / events.len();
        println!("{name}: {matches} matches an event");
        sides.push((name, events, ours, matches));
    }
    let setting = json!({
        "rules": RULES, "millis": options.millis, "bytes_per_large_event": large[0].len(),
        "matches_per_event": sides.iter().map(|(name, _, _, matches)| (*name, *matches))
            .collect::<std::collections::BTreeMap<_, _>>(),
    });
    // One contestant with a figure for each case: a ratio of two of them would mean nothing.
    let all = |length| {
        let mut figures = Figures::new();
        for (name, events, ours, _) in &sides {
            let (_, mut measure) = deciding(name, events, |event: &Vec<u8>| ours.matching(event));
            let one: Figures = measure(length)?;
            figures.extend(one.get("events/s").map(|per_second| (*name, *per_second)));
        }
        Ok(figures)
    };
    take(
        Report::new("selectors-worst", setting),
        options,
        &mut [("triggerline, events/s", Box::new(all))],
    )
}

fn customer(alternative: &Value) -> Value {
    json!({"order": {"customer": {"id": [alternative]}}})
}

fn items(sku: impl Fn(usize) -> String) -> Vec<u8> {
    let items: Value = (0..1_000).map(|n| json!({"sku": sku(n), "quantity": n % 7})).collect();
    json!({"items": items}).to_string().into_bytes()
}
