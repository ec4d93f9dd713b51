//! What a person types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use triggerline_service::config::duration::parse;
use triggerline_types::{ApiKeyId, CustomerId, MAX_RETENTION_DAYS, RateLimit, Scope, check_name};

use crate::client::args::{Dlq, Inbox, Listen, Replay, Replays, Tail};
use crate::{selectors, webhook};

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
    /// Sends again what a replay or a redrive selects.
    Replayer(File),
    /// Sets up or updates the tables of the control store and of the inbox.
    Migrate(File),
    /// Kafka topics.
    #[command(subcommand)]
    Topics(Topics),
    /// Customers: make, list, change.
    #[command(subcommand)]
    Customers(Customers),
    /// API keys: make, list, rotate, revoke.
    #[command(subcommand)]
    Keys(Keys),
    /// Signing secrets and credentials as the control store keeps them.
    #[command(subcommand)]
    Secrets(Secrets),
    /// Shows a customer's events and what became of them.
    Inbox(Inbox),
    /// Prints a customer's events as they arrive.
    Tail(Tail),
    /// Sends a customer's webhooks to a server on this machine, as they arrive.
    Listen(Listen),
    /// Dead letters: list, show, hand over again.
    #[command(subcommand)]
    Dlq(Dlq),
    /// Sends a subscription what it would be owed of past events: counts first, then sends.
    Replay(Box<Replay>),
    /// Replays and redrives: list, watch, cancel.
    #[command(subcommand)]
    Replays(Replays),
    /// Prints the headers of a webhook (Standard Webhooks) for a body; asks nobody.
    Sign(webhook::Sign),
    /// Says whether a webhook is genuine, and why not; asks nobody.
    Verify(webhook::Verify),
    /// Prints what a JSONPath query (RFC 9535) selects in a document; asks nobody.
    #[command(name = "jsonpath")]
    JsonPath(selectors::JsonPath),
    /// Says whether a rule matches an event, and why; asks nobody.
    Match(selectors::Match),
    /// Prints the default settings, commented; a file to start from. Or checks yours.
    Config(Settings),
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub(crate) command: Option<SettingsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Reads the settings as a service would, asks each part that they name, and says what is wrong.
    ///
    /// Changes nothing. Ends with 0 if all is well, 1 if a part doesn't answer or isn't set up, 64 if
    /// the settings themselves make no sense.
    Check(File),
    /// Prints the settings as a service would have them, out of defaults, file and environment.
    ///
    /// As TOML, with secrets and logins hidden; what isn't the default says what the default is.
    Dump(File),
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
    /// Use this Redis for rate limits and idempotency keys instead of this process's memory.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Use this ScyllaDB, Cassandra or DynamoDB for the inbox instead of the embedded SQLite.
    #[arg(long, value_name = "URL")]
    pub(crate) inbox: Option<String>,
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
pub(crate) enum Secrets {
    /// Seals those that aren't sealed with the first of control.secret_keys: after keys were set for
    /// the first time, or to be rid of an old one. Services may go on meanwhile, if they have the new
    /// key already. Can be cut off and repeated.
    Seal(File),
}

/// Of commands that work on the control store itself.
#[derive(Debug, Args)]
pub(crate) struct OnStore {
    #[command(flatten)]
    pub(crate) file: File,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Customers {
    /// Makes a customer and an API key with everything a customer may do, and prints the key once.
    Create {
        /// What to call the customer.
        #[arg(value_parser = name)]
        name: String,
        /// A plan of the settings (gateway.plans).
        #[arg(long, default_value = "default")]
        plan: String,
        /// How often each of its keys may ask, instead of what the plan says: 600/1m, say.
        #[arg(long)]
        rate_limit: Option<RateLimit>,
        /// How many days the inbox keeps its events, instead of what inbox.retention says.
        #[arg(long, value_parser = retention_days(), value_name = "DAYS")]
        retention_days: Option<u16>,
        #[command(flatten)]
        on: OnStore,
    },
    /// Lists all customers, oldest first.
    List {
        #[command(flatten)]
        on: OnStore,
    },
    /// Changes a customer's name, plan, rate limit or retention. Counts within a second; a retention,
    /// within some.
    Update {
        customer: CustomerId,
        #[arg(long, value_parser = name)]
        name: Option<String>,
        #[arg(long)]
        plan: Option<String>,
        /// Such as 600/1m; "plan" for what the plan says.
        #[arg(long)]
        rate_limit: Option<String>,
        /// How many days the inbox keeps its events; "settings" for what inbox.retention says.
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<String>,
        #[command(flatten)]
        on: OnStore,
    },
    /// Erases a customer for good: keys, subscriptions, schemas, and all its events.
    ///
    /// The storage service does it, within minutes; ask again for how far it is. Kafka's topics hold
    /// the events for as long as they hold all others.
    Erase {
        customer: CustomerId,
        /// Without it nothing is erased, and how far an erasure is is shown.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        on: OnStore,
    },
}

/// Days that events may be kept.
pub(crate) fn retention_days() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(MAX_RETENTION_DAYS))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes an API key and prints it once.
    Create {
        /// Whose it is.
        #[arg(long, value_name = "ID")]
        customer: CustomerId,
        /// What it is for.
        #[arg(long, value_parser = name)]
        name: String,
        /// What it may do; repeat it, or separate by commas. All that a customer may do, if absent.
        /// "admin" is for the installation's operators: it opens /v1/customers.
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
        /// When it stops working: 90d, say. Never, if absent.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        /// How often it may ask, instead of what its customer or plan says: 600/1m, say.
        #[arg(long)]
        rate_limit: Option<RateLimit>,
        #[command(flatten)]
        on: OnStore,
    },
    /// Lists a customer's keys, oldest first.
    List {
        #[arg(long, value_name = "ID")]
        customer: CustomerId,
        #[command(flatten)]
        on: OnStore,
    },
    /// Makes a key like an existing one, which goes on working for a while beside it.
    Rotate {
        key: ApiKeyId,
        #[arg(long, value_name = "ID")]
        customer: CustomerId,
        /// How long both work.
        #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
        overlap: Duration,
        #[command(flatten)]
        on: OnStore,
    },
    /// Revokes a key for good, on every gateway within a second.
    Revoke {
        key: ApiKeyId,
        #[arg(long, value_name = "ID")]
        customer: CustomerId,
        #[command(flatten)]
        on: OnStore,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text)
        .ok_or_else(|| format!("scopes are {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|error| format!("a name {error}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "a number and a unit, such as 15m, 2h or 90d".to_owned())
}
