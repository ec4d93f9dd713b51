//! How fast JSONPath queries are, against the two crates that also do RFC 9535, and what a step of the budget costs.
//!
//! ```sh
//! cargo run --release -p triggerline-matching --example measure_jsonpath            # both
//! cargo run --release -p triggerline-matching --example measure_jsonpath speed      # or one: speed, steps
//! ```
//!
//! Each engine reads the query once and answers "does it select anything" for a parsed payload, again and again. The
//! engines take turns within one run, and the median of the rounds counts: ratios hold on any machine, times don't.

#![allow(clippy::print_stdout, reason = "a tool that only prints")]
#![allow(clippy::unwrap_used, reason = "its input is written below")]
#![allow(clippy::cast_precision_loss, reason = "ratios")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use triggerline_matching::jsonpath::{Budget, Query};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    let only = std::env::args().nth(1);
    if only.as_deref() != Some("steps") {
        speed();
    }
    if only.as_deref() != Some("speed") {
        steps();
    }
}

fn speed() {
    let order = order();
    println!(
        "time for one payload (median of {ROUNDS} rounds), and how many times as long the others take"
    );
    println!("{:<52} {:>10} {:>16} {:>14}", "query", "ours", "serde_json_path", "jsonpath-rust");
    for (query, payload) in [
        ("$[?@.total > 100 && @.currency == 'EUR']", &order),
        ("$.lines[?@.price > 500 && @.sku == 'none']", &order),
        ("$.order[?@.status == 'paid']", &order),
        ("$.order.customer.address.city", &order),
        ("$..sku", &order),
        ("$.lines[?search(@.sku, '^B[0-9]+')]", &order),
        ("$.lines[*].tags[?@ == 'urgent']", &order),
    ] {
        compare(query, payload);
    }
    println!();
}

fn steps() {
    println!(
        "what a step costs, where a query needs many ({} steps allowed)",
        Budget::default().left()
    );
    for (query, payload) in hostile() {
        spend(&query, &payload);
    }
}

/// A payload of a few kilobytes, as webhooks have.
fn order() -> Value {
    let lines: Value = (0..20)
        .map(|n| json!({"sku": format!("A{n:04}"), "price": n * 10, "quantity": 1, "tags": ["new", "fragile"]}))
        .collect();
    json!({
        "id": "ord_123",
        "order": {
            "total": 120.5, "currency": "EUR", "status": "paid",
            "customer": {"name": "Ada", "address": {"city": "Wien", "zip": "1010"}}
        },
        "summary": {"total": 80, "currency": "EUR"},
        "shipping": {"status": "open", "carrier": "post"},
        "lines": lines
    })
}

fn compare(text: &str, payload: &Value) {
    let ours = Query::parse(text).unwrap();
    let path = JsonPath::parse(text).unwrap();
    let rust = parse_json_path(text).unwrap();
    let found = ours.exists(payload, &mut Budget::default()).unwrap();
    assert_eq!(found, !path.query(payload).is_empty(), "{text}");
    assert_eq!(found, !js_path_process(&rust, payload).unwrap().is_empty(), "{text}");
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        times[0].push(time(|| ours.exists(black_box(payload), &mut Budget::default()) == Ok(true)));
        times[1].push(time(|| path.query(black_box(payload)).is_empty()));
        times[2].push(time(|| js_path_process(&rust, black_box(payload)).unwrap().is_empty()));
    }
    let [ours, path, rust] = times.map(median);
    println!("{text:<52} {:>7.0} ns {:>15.1}x {:>13.1}x", ours * 1e9, path / ours, rust / ours);
}

/// Seconds for one call.
fn time(mut call: impl FnMut() -> bool) -> f64 {
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            black_box(call());
        }
        calls += 16;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What would stall a matcher without a budget, and ordinary queries over a payload of 1 MB.
fn hostile() -> Vec<(String, Value)> {
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!({"a": deep, "b": [1, 2, 3]});
    }
    let wide: Value = (0..20_000)
        .map(|n| json!({"id": n, "name": format!("item {n}"), "tags": ["x", "y"]}))
        .collect();
    // Without a pattern in it, or an automaton that is built on the way would have few states.
    let mut state = 1_u32;
    let text: String = (0..1_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { 'a' } else { 'b' }
        })
        .collect();
    let words: Value = (0..2_000).map(|n| json!(format!("{n}").repeat(100))).collect();
    let umlauts = json!([text.replace('a', "ä")]);
    let categories: Value = (0..2_000)
        .map(|n| json!({"text": "abc", "pattern": format!("\\p{{L}}{{5}}{n}")}))
        .collect();
    let pair = json!([text, format!("{text}c")]);
    let patterns: Value = (0..2_000)
        .map(|n| json!({"text": "abc", "pattern": format!("[a-c]{{{}}}", 100 + n % 90)}))
        .collect();
    [
        ("$..name", wide.clone()),
        ("$..a", wide.clone()),
        ("$..a..b", wide.clone()),
        ("$..[?@.a == 1]", wide.clone()),
        ("$[?@ == $[19999]]", wide.clone()),
        ("$[?count($[*]) == 1]", wide.clone()),
        ("$[?count($..*) == 1]", wide.clone()),
        ("$..*..*..*..x", wide),
        ("$..a..a..a..a..c", deep.clone()),
        ("$..[?@..[?@..[?@..c]]]", deep),
        ("$[?@ < $[0] && @ > $[1]]", pair.clone()),
        ("$[?length(@) == 1]", pair.clone()),
        ("$[?match(@, '(a|b)*c')]", pair.clone()),
        ("$[?search(@, '(a|b)*a(a|b){30}[cd]')]", pair.clone()),
        ("$[?search(@, '(a|b)*a(a|b){300}[cd]')]", pair.clone()),
        ("$[?search(@, '(.*a){40}[cd]')]", pair.clone()),
        ("$[?search(@, '(a.{50}b|b.{40}a)[cd]')]", pair.clone()),
        ("$[?search(@, '(\\\\p{L}\\\\p{Ll}?){3}[cd]')]", pair.clone()),
        ("$[?search(@, '([a-z]{1,10}){1,10}[A-D]')]", pair),
        ("$[?search(@, '.{200}x')]", words),
        ("$[?match(@.text, @.pattern)]", patterns),
        ("$[?match(@.text, @.pattern)]", categories),
        ("$[?search(@, '(ä.{50}b|b.{40}ä|\\\\p{L}{3}b)[cd]')]", umlauts),
    ]
    .map(|(query, payload)| (query.to_owned(), payload))
    .into()
}

fn spend(text: &str, payload: &Value) {
    let query = Query::parse(text).unwrap();
    let start = Instant::now();
    let mut budget = Budget::default();
    let before = budget.left();
    let found = query.exists(payload, &mut budget);
    let (took, steps) = (start.elapsed(), before - budget.left());
    let found = found.map_or("out of budget", |found| if found { "found" } else { "nothing" });
    // The same without an end, to see what the estimate of a match is worth.
    let start = Instant::now();
    let mut budget = Budget::new(50 * before);
    let _ = query.exists(payload, &mut budget);
    let long = start.elapsed();
    let all = 50 * before - budget.left();
    println!(
        "{text:<44} {found:<14} {steps:>8} steps {took:>9.1?}; unbounded {all:>10} steps {long:>9.1?} {:>6.1} ns a step",
        long.as_secs_f64() * 1e9 / all as f64,
    );
}
