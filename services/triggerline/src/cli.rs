//! What a person types.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Triggers on Kafka: events in over HTTP or gRPC, matched against each customer's
/// subscriptions, delivered as signed webhooks, kept in an inbox.
///
/// Start with `triggerline demo`, which shows everything in one process, or with
/// `triggerline dev`, which keeps it running for your own code to talk to.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, with sample customers and events; prints what arrived.
    Demo(Demo),
    /// The whole platform on embedded parts, kept running; for development.
    Dev(Box<Dev>),
    /// Takes events in, serves the inbox and subscriptions (HTTP and gRPC).
    Gateway(File),
    /// Finds out who is owed each event.
    Matcher(File),
    /// Sends webhooks until they arrive or are given up.
    Delivery(File),
    /// Keeps what happened, for the inbox.
    Storage(File),
    /// Sets up or updates the tables of the control store and of the inbox.
    Migrate(File),
    /// Kafka topics.
    #[command(subcommand)]
    Topics(Topics),
    /// Customers and their first API key.
    #[command(subcommand)]
    Customers(Customers),
    /// Prints the default settings, commented; a file to start from.
    Config,
}

#[derive(Debug, Args)]
pub(crate) struct File {
    /// A TOML file with the settings that differ from the defaults (see `triggerline config`).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many events to send.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) events: u32,
    /// How many requests to have under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) concurrency: u32,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where everything is kept. Delete the folder to start over.
    #[arg(long, value_name = "DIR", default_value = "triggerline-data")]
    pub(crate) data: PathBuf,
    /// Where HTTP is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Where gRPC is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(crate) grpc: SocketAddr,
    /// Where /livez and /readyz are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    pub(crate) admin: SocketAddr,
    /// Where the embedded broker speaks Kafka's protocol.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9092",
        conflicts_with = "kafka"
    )]
    pub(crate) kafka_listen: SocketAddr,
    /// Use this Kafka instead of the embedded broker.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
    /// Use this PostgreSQL instead of the embedded SQLite for customers, keys and
    /// subscriptions.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
    /// Settings beyond these, as for the single services.
    #[command(flatten)]
    pub(crate) file: File,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Makes the topics that are missing; leaves those that exist as they are.
    Apply(File),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Customers {
    /// Makes a customer and an API key with all scopes, and prints the key once.
    Create {
        /// What to call the customer.
        name: String,
        #[command(flatten)]
        file: File,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}
