//! Speed, as ratios: ours and a reference take turns in one run on one machine, and every claim
//! in the README comes from here (bench/README.md). Absolute figures mean nothing elsewhere.
//!
//! The cast: [`load`] sends requests, [`cpu`] asks the kernel what a process used, [`report`]
//! holds rounds against each other. A benchmark each: [`gateway`] (with a peer, with a bare echo,
//! at a fixed rate), [`producer`], [`consumer`], [`rate`], [`isolation`], [`sending`], [`storage`], [`inbox`].
#![allow(clippy::print_stdout, reason = "a command-line tool: printing is how it answers")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod consumer;
mod cpu;
mod gateway;
mod inbox;
mod isolation;
mod load;
mod producer;
mod rate;
mod report;
mod sending;
mod storage;

use std::time::Duration;

use clap::{Parser, Subcommand};

/// Where [`report`] writes.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");

/// Measures Triggerline against references, in the same run on the same machine.
///
/// Needs the real parts (`cargo xtask services up`, then the variables of target/services.env)
/// and a release build of `triggerline`, named by TRIGGERLINE_BIN.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// P2: requests a second and latency, against fastify + kafkajs on the same Kafka
    Gateway(gateway::Options),
    /// P3: processor time a request, against a bare axum server that answers 202
    Cpu(gateway::Options),
    /// Latency at a fixed rate of requests, whether or not answers come
    Open(gateway::Options),
    /// P4: records a second and processor time, against rdkafka's FutureProducer
    Producer(producer::Options),
    /// P8: records a second of one partition, against one after the other; and what a kill repeats
    Consumer(consumer::Options),
    /// P11: rate checks a second against one Redis script a request, and overshoot with two nodes
    Rate(rate::Options),
    /// P10: what an endpoint that never answers costs another one
    Isolation(isolation::Options),
    /// P9: webhooks a second, against reqwest and against BullMQ + undici
    Sending(sending::Options),
    /// Events a second into an inbox, against a row at a time
    Storage(storage::Options),
    /// What a page of one customer's inbox costs, at the top and deep down, of millions of events
    Inbox(inbox::Options),
    /// The reference of `cpu`, as a server
    #[command(hide = true)]
    Echo,
    /// The endpoint of `sending`, as a server
    #[command(hide = true)]
    Receiver { answer_after: u64 },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = match &cli.benchmark {
        // The load takes as little of the machine as it can.
        Benchmark::Gateway(_) | Benchmark::Cpu(_) | Benchmark::Open(_) => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?
        }
        _ => tokio::runtime::Runtime::new()?,
    };
    runtime.block_on(async {
        match &cli.benchmark {
            Benchmark::Gateway(options) => gateway::against_peer(options).await,
            Benchmark::Cpu(options) => gateway::against_echo(options).await,
            Benchmark::Open(options) => gateway::open(options).await,
            Benchmark::Producer(options) => producer::run(options).await,
            Benchmark::Consumer(options) => consumer::run(options).await,
            Benchmark::Rate(options) => rate::run(options).await,
            Benchmark::Isolation(options) => isolation::run(options).await,
            Benchmark::Sending(options) => sending::run(options).await,
            Benchmark::Storage(options) => storage::run(options).await,
            Benchmark::Inbox(options) => inbox::run(options).await,
            Benchmark::Receiver { answer_after } => {
                sending::receiver(Duration::from_millis(*answer_after)).await
            }
            Benchmark::Echo => gateway::echo().await,
        }
    })
}
