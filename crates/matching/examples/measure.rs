//! Events a second that the index matches on one core, for rules of several shapes and in several numbers:
//!
//! ```sh
//! cargo run --release -p triggerline-matching --example measure            # all
//! cargo run --release -p triggerline-matching --example measure equality   # only those whose name contains it
//! ```
//!
//! Each figure is the best of five rounds of about 60 ms: whatever else the machine does can only slow a round down.
#![allow(clippy::print_stdout, reason = "a tool whose output is what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use triggerline_matching::{Index, Pattern};
use triggerline_types::{EventType, EventTypePattern};

type Rule = fn(usize) -> Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let small = payload(json!([{"sku": "sku-1", "quantity": 2}, {"sku": "sku-2", "quantity": 1}]));
    let large = payload(
        (0..1_000).map(|n| json!({"sku": format!("sku-{n}"), "quantity": n % 7})).collect(),
    );
    let same = payload((0..1_000).map(|n| json!({"sku": "sku-1", "quantity": n % 7})).collect());
    println!("payloads of {}, {} and {} bytes", small.len(), large.len(), same.len());
    println!(
        "{:34} {:>7} {:>12} {:>9} {:>8} {:>9} {:>9}",
        "", "rules", "events/s", "matches", "naive", "B/rule", "insert"
    );
    let cases: [(&str, &Vec<u8>, Rule); 16] = [
        ("equality", &small, |n| json!({"customer": {"id": [format!("cus_{n:08}")]}})),
        ("equality and two more", &small, |n| {
            json!({"customer": {"id": [format!("cus_{:08}", n / 2)], "country": ["CH", "DE"]},
                   "total": [{"numeric": [">", n % 200]}]})
        }),
        (
            "equality, shared field first",
            &small,
            |n| json!({"currency": ["EUR"], "customer": {"id": [format!("cus_{n:08}")]}}),
        ),
        ("prefix", &small, |n| json!({"customer": {"id": [{"prefix": format!("cus_{n:05}")}]}})),
        ("suffix", &small, |n| json!({"customer": {"id": [{"suffix": format!("{n:05}")}]}})),
        (
            "any case",
            &small,
            |n| json!({"customer": {"id": [{"equals-ignore-case": format!("CUS_{n:08}")}]}}),
        ),
        ("range", &small, |n| json!({"total": [{"numeric": [">=", n, "<", n + 2]}]})),
        ("threshold", &small, |n| json!({"total": [{"numeric": [">", n + 120]}]})),
        (
            "wildcard with a head",
            &small,
            |n| json!({"customer": {"id": [{"wildcard": format!("cus_{n:05}*1")}]}}),
        ),
        (
            "wildcard without ends",
            &small,
            |n| json!({"customer": {"id": [{"wildcard": format!("*_{n:05}*")}]}}),
        ),
        (
            "one shared wildcard, missed",
            &small,
            |_| json!({"customer": {"id": [{"wildcard": "*x*y*"}]}}),
        ),
        (
            "one shared wildcard, matched",
            &small,
            |_| json!({"customer": {"id": [{"wildcard": "c*0*2"}]}}),
        ),
        (
            "shared wildcard and equality",
            &small,
            |n| json!({"customer": {"id": [{"wildcard": "c*0*2"}]}, "id": [format!("ord_{n}")]}),
        ),
        (
            "anything-but",
            &small,
            |n| json!({"customer": {"id": [{"anything-but": format!("cus_{n:08}")}]}}),
        ),
        (
            "1,000 elements, pair in one",
            &large,
            |n| json!({"items": {"sku": [format!("sku-{n}")], "quantity": [{"numeric": [">", 7]}]}}),
        ),
        (
            "1,000 equal elements, missed",
            &same,
            |n| json!({"items": {"sku": ["sku-1"], "quantity": [{"numeric": [">", n + 7]}]}}),
        ),
    ];
    for (name, payload, rule) in cases {
        if name.contains(&only) {
            measure(name, payload, rule)?;
        }
    }
    if "churn".contains(&only) {
        churn()?;
    }
    Ok(())
}

fn measure(name: &str, payload: &[u8], rule: Rule) -> Result<(), Box<dyn std::error::Error>> {
    let event_type = EventType::parse("order.created")?;
    let types = [EventTypePattern::parse("order.created")?];
    let mut times = Vec::new();
    for rules in [10, 100, 1_000, 10_000] {
        let patterns: Vec<Pattern> =
            (0..rules).map(|n| Pattern::parse(&rule(n))).collect::<Result<_, _>>()?;
        let mut index = Index::new();
        for (key, pattern) in (0_u32..).zip(&patterns) {
            index.insert(key, &types, Some(&pattern.condition()))?;
        }
        let matches = index.matching(&event_type, payload)?.len();
        let time = best(|| drop(black_box(index.matching(&event_type, black_box(payload)))));
        let naive = (rules <= 1_000).then(|| {
            best(|| {
                let payload: Value = serde_json::from_slice(black_box(payload)).unwrap_or_default();
                black_box(patterns.iter().filter(|pattern| pattern.matches(&payload)).count());
            })
        });
        let insert = inserting(&index, &types, &rule(rules))?;
        println!(
            "{name:34} {rules:>7} {:>12.0} {matches:>9} {:>8} {:>9} {:>9}",
            1.0 / time.as_secs_f64(),
            naive.map_or(String::new(), |naive| format!(
                "{:.0}x",
                naive.as_secs_f64() / time.as_secs_f64()
            )),
            index.heap_bytes() / rules,
            format!("{insert:.1?}"),
        );
        times.push(time.as_secs_f64());
    }
    println!("{name:34} time(10,000)/time(10) = {:.2}", times[3] / times[0]);
    Ok(())
}

/// A customer of 100,000 rules: what one more costs, and one less.
fn churn() -> Result<(), Box<dyn std::error::Error>> {
    let types = [EventTypePattern::parse("order.created")?];
    let rule = |n: usize| {
        Pattern::parse(
            &json!({"customer": {"id": [format!("cus_{n:08}")]}, "total": [{"numeric": [">", n % 200]}]}),
        )
    };
    let mut index = Index::new();
    let start = Instant::now();
    for key in 0..100_000 {
        index.insert(key, &types, Some(&rule(key)?.condition()))?;
    }
    println!(
        "100,000 rules parsed and inserted in {:.0?}, {} B/rule",
        start.elapsed(),
        index.heap_bytes() / 100_000
    );
    let condition = rule(100_000)?.condition();
    let mut worst = Duration::ZERO;
    let mut sum = Duration::ZERO;
    for round in 0..2_000 {
        let snapshot = index.clone();
        let start = Instant::now();
        let mut next = index.clone();
        next.remove(&(round * 37 % 100_000));
        next.insert(100_000 + round, &types, Some(&condition))?;
        worst = worst.max(start.elapsed());
        sum += start.elapsed();
        index = next;
        drop(snapshot);
    }
    println!(
        "one removed and one inserted in a snapshot of its own: {:.1?} on average, {worst:.1?} at worst",
        sum / 2_000
    );
    Ok(())
}

/// One rule more, in a snapshot of its own.
fn inserting(
    index: &Index<u32>,
    types: &[EventTypePattern],
    rule: &Value,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let condition = Pattern::parse(rule)?.condition();
    Ok(best(|| {
        let mut next = index.clone();
        let _ = black_box(next.insert(u32::MAX, types, Some(&condition)));
    }))
}

fn best(mut act: impl FnMut()) -> Duration {
    let rounds = (0..5).map(|_| {
        let start = Instant::now();
        let mut times = 0;
        while start.elapsed() < Duration::from_millis(60) {
            for _ in 0..4 {
                act();
            }
            times += 4;
        }
        start.elapsed() / times
    });
    rounds.min().unwrap_or_default()
}

/// An order, of about 800 bytes with two items.
fn payload(items: Value) -> Vec<u8> {
    let order = json!({
        "id": "ord_01J9Z3T5X8Q2W4E6R7Y8U9I0P1",
        "object": "order",
        "created": 1_760_000_000,
        "livemode": true,
        "currency": "EUR",
        "total": 129.95,
        "status": "paid",
        "customer": {
            "id": "cus_00000042",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "country": "CH",
            "tags": ["vip", "newsletter", "beta"]
        },
        "shipping": {
            "method": "express",
            "address": {"line1": "Bahnhofstrasse 1", "line2": null, "city": "Zürich", "postal_code": "8001"},
            "eta": "2026-11-30T12:00:00Z",
            "weight_grams": 1250
        },
        "payment": {"method": "card", "brand": "visa", "last4": "4242", "captured": true, "fee": 3.77},
        "metadata": {"source": "web", "campaign": "black-friday", "session": "f3a1b2c4-77aa-4b1e-9d53-0c9d8e7f6a5b"},
        "note": "Please leave the parcel at the door. Ring twice."
    });
    let mut order = order;
    order["items"] = items;
    order.to_string().into_bytes()
}
