//! Event patterns: 100 of a customer against quamina (P5), 10,000 against AWS's event-ruler (half of P6).
//! Every contestant gets the event as bytes, and each must find as many matches as we do.

use anyhow::ensure;
use serde_json::json;

use crate::orders::{EVENTS, orders, pattern};
use crate::ours::Ours;
use crate::references;
use crate::report::Report;
use crate::ruler::{self, Ruler};
use crate::turns::{Options, deciding, take};

pub(crate) fn against_quamina(options: &Options) -> anyhow::Result<()> {
    const RULES: usize = 100;
    let events = orders(RULES);
    let ours = Ours::of_patterns((0..RULES).map(pattern))?;
    let quamina = references::quamina((0..RULES).map(pattern))?;
    let matching = |event: &Vec<u8>| quamina.matches_for_event(event).map_or(0, |keys| keys.len());
    let matches = ours.matching_all(&events)?;
    let theirs: usize = events.iter().map(matching).sum();
    ensure!(matches == theirs, "ours finds {matches} matches, quamina {theirs}");
    let report = Report::new("selectors-p5", setting(RULES, &events, matches, options));
    let mut contestants = [
        deciding("triggerline", &events, |event: &Vec<u8>| ours.matching(event)),
        deciding("quamina 0.6", &events, matching),
    ];
    take(report, options, &mut contestants)
}

pub(crate) fn against_ruler(options: &Options) -> anyhow::Result<()> {
    const RULES: usize = 10_000;
    let events = orders(RULES);
    let ours = Ours::of_patterns((0..RULES).map(pattern))?;
    let few = Ours::of_patterns((0..10).map(pattern))?;
    let mut ruler = Ruler::start((0..RULES).map(pattern), &events)?;
    let matches = ours.matching_all(&events)?;
    let theirs = ruler.matches;
    ensure!(matches == theirs, "ours finds {matches} matches, event-ruler {theirs}");
    let report = Report::new("selectors-p6-patterns", setting(RULES, &events, matches, options));
    let mut contestants = [
        deciding("triggerline", &events, |event: &Vec<u8>| ours.matching(event)),
        deciding("triggerline, 10 rules", &events, |event: &Vec<u8>| few.matching(event)),
        (ruler::NAME, Box::new(|length| ruler.round(length))),
    ];
    take(report, options, &mut contestants)
}

fn setting(
    rules: usize,
    events: &[Vec<u8>],
    matches: usize,
    options: &Options,
) -> serde_json::Value {
    json!({
        "rules": rules, "events": EVENTS, "millis": options.millis,
        "bytes_per_event": events.iter().map(Vec::len).sum::<usize>() / EVENTS,
        "matches_per_event": matches as f64 / EVENTS as f64,
    })
}
