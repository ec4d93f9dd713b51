//! `cargo xtask`: everything that is done to this checkout other than compiling it.
//!
//! The cast:
//! * [`checkout`] knows where things lie: the checkout, cargo's target folder, the cache.
//! * [`tidy`] checks the rules that a compiler does not: which crate may use which, and how long a file may be.
//! * [`services`] starts and stops the real parts (Kafka, PostgreSQL, Redis, DynamoDB, Cassandra) that tests use.
//! * [`test`] is the one test command: it runs all of the above and cargo in numbered stages.
//! * [`run`] runs another program and makes an error of its failure.
#![allow(clippy::print_stdout, reason = "a command-line tool: printing is how it answers")]

mod checkout;
mod run;
mod services;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::checkout::Checkout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tests, checks and local services of this checkout")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and test: format, tidy, lint, build, tests, licences.
    Test(test::Options),
    /// Check the direction of dependencies and the length of files.
    Tidy,
    /// Start, stop or look at the real parts that tests run against.
    Services {
        #[command(subcommand)]
        command: services::Command,
    },
}

fn main() -> ExitCode {
    match run_command() {
        Ok(()) => ExitCode::SUCCESS,
        // Not by returning it: that would add a back-trace, which says nothing about a failed command.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command() -> Result<()> {
    let cli = Cli::parse();
    let checkout = Checkout::find()?;
    match cli.command {
        Command::Test(options) => test::run(&checkout, &options),
        Command::Tidy => tidy::run(&checkout),
        Command::Services { command } => services::run(&checkout, command),
    }
}
