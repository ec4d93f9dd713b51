//! Commands that ask a gateway, as a customer with its API key: what was accepted and what became
//! of it ([`inbox`]), what was given up ([`dlq`]), sending again ([`replay`]), and
//! webhooks to a developer's own machine ([`listen`]). They know no
//! more than the API ([`api`]) tells anyone.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]

mod api;
pub(crate) mod args;
pub(crate) mod dlq;
pub(crate) mod inbox;
pub(crate) mod listen;
pub(crate) mod replay;

use serde_json::Value;
use time::OffsetDateTime;
use triggerline_types::format_instant;

use crate::cli::Output;
use args::Span;

/// Prints an entry, as JSON or in a person's words.
fn print(output: Output, entry: &Value, line: impl FnOnce(&Value) -> String) {
    match output {
        Output::Text => println!("{}", line(entry)),
        Output::Json => println!("{entry}"),
    }
}

/// A member that is text; nothing where it is not there.
fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

fn span(span: &Span) -> Vec<(&'static str, String)> {
    let at = |instant: Option<OffsetDateTime>| instant.map(format_instant);
    [("from", at(span.from)), ("to", at(span.to))]
        .into_iter()
        .filter_map(|(name, at)| Some((name, at?)))
        .collect()
}

/// Each attempt of a delivery on a line of its own.
fn attempts(delivery: &Value) -> String {
    let lines = delivery["attempts"].as_array().into_iter().flatten().map(|attempt| {
        let came = match attempt["response_status"].as_u64() {
            Some(status) => format!("{status} {}", text(attempt, "response_excerpt")),
            None => text(attempt, "error").to_owned(),
        };
        let next = attempt["next_attempt_at"].as_str();
        let next = next.map(|at| format!(", next {at}")).unwrap_or_default();
        format!(
            "\n    {} attempt {}: {}{next} ({} ms) {}",
            text(attempt, "started_at"),
            attempt["number"],
            text(attempt, "outcome"),
            attempt["latency_ms"],
            came.trim(),
        )
    });
    lines.collect::<Vec<_>>().concat()
}
