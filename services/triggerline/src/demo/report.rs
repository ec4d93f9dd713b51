//! What the demo shows: a bar and a table while it runs, a summary at its end.
#![allow(clippy::print_stdout, reason = "the demo's output is what a person asked for")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use triggerline_testkit::Received;

use super::feed::Feed;
use super::samples::CUSTOMERS;
use crate::cli::{Demo, Output};

/// What is shown meanwhile: on a terminal a bar and a table that change in place, elsewhere a
/// line a second, and for JSON nothing.
pub(super) struct Progress {
    shown: Shown,
}

enum Shown {
    Nothing,
    Lines(Mutex<Instant>),
    Terminal { bar: ProgressBar, rows: Vec<ProgressBar>, screen: MultiProgress },
}

impl Progress {
    pub(super) fn new(options: &Demo) -> Self {
        let shown = if options.output == Output::Json {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let screen = MultiProgress::new();
            let bar = screen.add(ProgressBar::new(u64::from(options.events)));
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40.cyan} {pos}/{len} sent  {elapsed} {msg}")
            {
                bar.set_style(style);
            }
            let row = || {
                let row = screen.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    row.set_style(style);
                }
                row
            };
            let rows = paths().map(|_| row()).collect();
            Shown::Terminal { bar, rows, screen }
        } else {
            Shown::Lines(Mutex::new(Instant::now()))
        };
        Self { shown }
    }

    pub(super) fn say(&self, text: &str) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Lines(_) => println!("{text}"),
            Shown::Terminal { screen, .. } => {
                let _ = screen.println(text);
            }
        }
    }

    pub(super) fn show(&self, sent: usize, owed: usize, received: &[Received]) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Lines(last) => {
                let Ok(mut last) = last.lock() else { return };
                if last.elapsed().as_secs() >= 1 {
                    *last = Instant::now();
                    println!("sent {sent}, owed {owed}, arrived {}", received.len());
                }
            }
            Shown::Terminal { bar, rows, .. } => {
                bar.set_position(sent as u64);
                bar.set_message(format!("{} of {owed} owed deliveries arrived", received.len()));
                let counts = counts(received);
                for ((customer, path), row) in paths().zip(rows) {
                    let count = counts.get(path).copied().unwrap_or_default();
                    row.set_message(format!("  {customer:<18} {path:<20} {count:>7} arrived"));
                }
            }
        }
    }

    pub(super) fn finish(&self, summary: &Summary, options: &Demo) {
        if let Shown::Terminal { bar, rows, .. } = &self.shown {
            bar.finish_and_clear();
            for row in rows {
                row.finish_and_clear();
            }
        }
        match options.output {
            Output::Text => println!("{summary}"),
            // Strings and numbers only: nothing in it can fail to serialise.
            Output::Json => println!("{}", serde_json::to_string(summary).unwrap_or_default()),
        }
    }
}

fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    CUSTOMERS.iter().flat_map(|customer| {
        customer.subscriptions.iter().map(|subscription| (customer.name, subscription.path))
    })
}

fn counts(received: &[Received]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for one in received {
        *counts.entry(one.path.as_str()).or_default() += 1;
    }
    counts
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Events that were answered 202.
    sent: usize,
    /// Deliveries that these are owed.
    matched: usize,
    /// Deliveries that arrived at least once, intact.
    delivered: usize,
    /// Webhooks that came with a genuine signature, duplicates included.
    verified: usize,
    duplicates: usize,
    lost: usize,
    faults: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    #[serde(skip)]
    told: Vec<String>,
    #[serde(skip)]
    rows: Vec<(&'static str, &'static str, usize, usize)>,
}

impl Summary {
    pub(super) fn of(feed: &Feed, received: &[Received]) -> Self {
        let verdict = feed.oracle.judge(received);
        let mut latencies: Vec<f64> = received
            .iter()
            .filter_map(|one| Some((one.at - *feed.sent_at.get(&one.event_id?)?).as_seconds_f64()))
            .map(|seconds| seconds * 1_000.0)
            .collect();
        latencies.sort_by(f64::total_cmp);
        let mut owed: HashMap<&str, usize> = HashMap::new();
        for path in feed.oracle.sent().iter().flat_map(|sent| &sent.owed) {
            *owed.entry(path).or_default() += 1;
        }
        let arrived = counts(received);
        let of = |map: &HashMap<&str, usize>, path| map.get(path).copied().unwrap_or_default();
        Self {
            sent: verdict.sent,
            matched: verdict.owed,
            delivered: verdict.delivered,
            verified: received.iter().filter(|one| one.fault.is_none()).count(),
            duplicates: verdict.duplicates,
            lost: verdict.lost.len(),
            faults: verdict.faults.len(),
            p50_ms: percentile(&latencies, 50),
            p95_ms: percentile(&latencies, 95),
            p99_ms: percentile(&latencies, 99),
            rows: paths()
                .map(|(customer, path)| (customer, path, of(&owed, path), of(&arrived, path)))
                .collect(),
            told: verdict.lost.into_iter().chain(verdict.faults).take(10).collect(),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.faults == 0
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = String::new();
        for (customer, path, owed, arrived) in &self.rows {
            writeln!(table, "  {customer:<18} {path:<20} {owed:>7} owed {arrived:>7} arrived")?;
        }
        writeln!(f, "\n{table}")?;
        writeln!(f, "  sent       {:>7}  events, each acknowledged by Kafka", self.sent)?;
        writeln!(f, "  matched    {:>7}  deliveries owed", self.matched)?;
        writeln!(f, "  delivered  {:>7}  arrived, payload intact", self.delivered)?;
        writeln!(f, "  verified   {:>7}  signatures checked and genuine", self.verified)?;
        writeln!(f, "  duplicates {:>7}", self.duplicates)?;
        writeln!(f, "  lost       {:>7}", self.lost)?;
        writeln!(
            f,
            "  from send to receipt: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            self.p50_ms, self.p95_ms, self.p99_ms
        )?;
        for told in &self.told {
            writeln!(f, "  ! {told}")?;
        }
        Ok(())
    }
}

/// Nearest rank, rounded to a tenth; 0 where there is nothing.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |value| (value * 10.0).round() / 10.0)
}
