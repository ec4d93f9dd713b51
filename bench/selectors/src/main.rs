//! How fast events are matched, as ratios: ours and a reference take turns in one run on one machine
//! (bench/README.md). Nothing here needs Kafka or a server.
//!
//! The cast: [`orders`] makes the events, and the rules that customers might have for them; [`ours`]
//! and [`references`] hold the same rules and decide, [`ruler`] in a process of Java; [`turns`] lets
//! them take turns and [`report`] holds the rounds against each other. A benchmark each: [`patterns`]
//! (P5, and half of P6), [`queries`] (the other half, and P7), [`churn`], [`worst`].
#![allow(clippy::print_stdout, reason = "a command-line tool: printing is how it answers")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod churn;
mod orders;
mod ours;
mod patterns;
mod queries;
mod references;
#[path = "../../src/report.rs"]
mod report;
mod ruler;
mod turns;
mod worst;

use clap::{Parser, Subcommand};

/// Where [`report`] writes.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../results");

/// Measures the matching of events against references, in the same run on the same machine.
#[derive(Parser)]
#[command(name = "bench-selectors")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// 100 event patterns of a customer, against quamina
    P5(turns::Options),
    /// 10,000 rules: queries against a scan by jsonpath-rust, event patterns against event-ruler
    P6(turns::Options),
    /// 1,000 queries of one shape, against jsonpath-rust and serde_json_path
    P7(turns::Options),
    /// What changing one of 100,000 rules takes, and what a rule takes of memory
    Churn(churn::Options),
    /// What is worst for an index, 10,000 rules of it
    Worst(turns::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().benchmark {
        Benchmark::P5(options) => patterns::against_quamina(&options),
        Benchmark::P6(options) => {
            queries::ten_thousand(&options)?;
            patterns::against_ruler(&options)
        }
        Benchmark::P7(options) => queries::one_shape(&options),
        Benchmark::Churn(options) => churn::run(&options),
        Benchmark::Worst(options) => worst::run(&options),
    }
}
