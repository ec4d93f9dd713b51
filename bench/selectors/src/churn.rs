//! A customer of 100,000 rules: what a change of one takes, and what a rule takes of memory. Each round
//! is a process of its own, in which nothing was freed before the memory is counted.
//!
//! A change is what the matcher does: the snapshot is cloned, one rule is removed from the clone and
//! one inserted, the clone takes the snapshot's place, and the old one is dropped. What compiles the
//! rule is not in it. There is no reference: none of them has snapshots.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};
use triggerline_matching::{Predicate, Rules};

use crate::orders::pattern;
use crate::ours::{of_pattern, types};
use crate::report::{Figures, Report};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 100_000)]
    rules: u32,
    /// Changes, in each round.
    #[arg(long, default_value_t = 20_000)]
    changes: u32,
    /// Run one round and print its figures (the benchmark starts these by itself).
    #[arg(long, hide = true)]
    one: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.one {
        println!("{}", one(options)?);
        return Ok(());
    }
    let setting = json!({"rules": options.rules, "changes": options.changes});
    let mut report = Report::new("selectors-churn", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        let output = Command::new(std::env::current_exe()?)
            .args(["churn", "--one"])
            .args(["--rules", &options.rules.to_string()])
            .args(["--changes", &options.changes.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        anyhow::ensure!(output.status.success(), "a round failed: {}", output.status);
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let figure = |name: &'static str| {
            Ok((name, told[name].as_f64().with_context(|| format!("no {name}"))?))
        };
        let names = [MEAN, P99, WORST, HEAP, RESIDENT, FILL];
        report.add("triggerline", names.into_iter().map(figure).collect::<anyhow::Result<_>>()?);
    }
    report.end()
}

const MEAN: &str = "change, mean us";
const P99: &str = "change, p99 us";
const WORST: &str = "change, worst us";
const HEAP: &str = "heap_bytes/rule";
const RESIDENT: &str = "VmRSS/rule";
const FILL: &str = "fill, s";

fn one(options: &Options) -> anyhow::Result<Value> {
    let types = types()?;
    let compiled = |n: u32| Predicate::compile(&of_pattern(&pattern(n as usize)));
    let before = resident()?;
    let begin = Instant::now();
    let mut rules = Rules::default();
    for n in 0..options.rules {
        rules.insert(n, &types, &compiled(n)?);
    }
    let fill = begin.elapsed().as_secs_f64();
    let memory = (resident()? - before) / f64::from(options.rules);
    let heap = rules.heap_bytes() as f64 / f64::from(options.rules);

    let mut times = Vec::with_capacity(options.changes as usize);
    for n in 0..options.changes {
        // A prime, so that all kinds of rules are changed, and none twice.
        let old = n.wrapping_mul(7_919) % options.rules;
        let (new, predicate) = (options.rules + n, compiled(options.rules + n)?);
        let begin = Instant::now();
        let mut next = rules.clone();
        next.remove(&old);
        next.insert(new, &types, &predicate);
        rules = next; // and the old one is dropped
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    anyhow::ensure!(rules.len() == options.rules as usize, "{} rules are left", rules.len());
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let figures = Figures::from([
        (MEAN, mean),
        (P99, times[times.len() * 99 / 100]),
        (WORST, times.last().copied().unwrap_or_default()),
        (HEAP, heap),
        (RESIDENT, memory),
        (FILL, fill),
    ]);
    Ok(json!(figures))
}

/// What the process has of the machine's memory, in bytes (proc(5)).
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? * 1_024.0)
}
