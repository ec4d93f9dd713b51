//! What a person types for the commands that ask a gateway.

use clap::{Args, Subcommand};
use time::OffsetDateTime;
use triggerline_service::config::duration::parse;
use triggerline_types::{DeliveryId, EventId, ReplayId, SubscriptionId, parse_instant};

use crate::cli::Output;

/// Which gateway, as whom.
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// Where the gateway is.
    #[arg(
        long,
        value_name = "URL",
        env = "TRIGGERLINE_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) url: String,
    /// The customer's API key. Better in the environment than here, where others may see it.
    #[arg(long, value_name = "KEY", env = "TRIGGERLINE_API_KEY", hide_env_values = true)]
    pub(crate) api_key: String,
    /// How the result is printed; json is one document a line.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// From when until when: instants (RFC 3339), or how long ago.
#[derive(Debug, Args)]
pub(crate) struct Span {
    /// At this instant or later: 2026-11-23T13:00:00Z, or 2h for two hours ago.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) from: Option<OffsetDateTime>,
    /// Before this instant.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) to: Option<OffsetDateTime>,
}

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    /// Shows this event, with its payload and its deliveries, instead of a list.
    #[arg(value_name = "EVENT", conflicts_with_all = ["event_type", "status", "workflow", "limit"])]
    pub(crate) event: Option<EventId>,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) span: Span,
    /// How many, at most; newest first.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Begins with what was accepted since: 2026-11-23T13:00:00Z, or 10m for ten minutes ago.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) from: Option<OffsetDateTime>,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: all events of orders to a server on this machine\n  \
    triggerline listen --forward-to http://localhost:3000/webhooks --type 'order.*'\n\n\
    It makes a subscription that is pulled, forwards what comes as a webhook would be, and deletes the\n\
    subscription when it ends. What the server answers is printed; nothing is sent to it twice.")]
pub(crate) struct Listen {
    /// Where webhooks go: any address that this machine reaches.
    #[arg(long, value_name = "URL")]
    pub(crate) forward_to: reqwest::Url,
    /// Events of these types, exact or with *; all, if absent. Repeat it, or separate by commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) event_types: Vec<String>,
    /// Only events in whose payload this JSONPath (RFC 9535) selects something.
    #[arg(long, value_name = "QUERY")]
    pub(crate) jsonpath: Option<String>,
    /// What signs them, `whsec_…`; a new one, which is printed, if absent.
    #[arg(long, value_name = "SECRET", env = "TRIGGERLINE_WEBHOOK_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Events that stand so: quarantined, accepted, pending_delivery, delivered,
    /// partially_delivered, failed or unmatched.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Events owed to a subscription with this workflow id.
    #[arg(long, value_name = "ID")]
    pub(crate) workflow: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists dead letters, given up last first.
    Ls {
        #[command(flatten)]
        letters: Letters,
        /// How many, at most.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Shows a dead letter, with its event and every attempt.
    Show {
        #[arg(value_name = "DELIVERY")]
        id: DeliveryId,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Hands one over again, or all that the filters select.
    #[command(after_help = "Examples:\n  \
        triggerline dlq redrive 3f9eabf9-3093-5201-ad99-9d268678e1fc\n  \
        triggerline dlq redrive --all --subscription 01890a5d-ac96-7ab2-80e2-4536629c90de --dry-run")]
    Redrive {
        #[arg(value_name = "DELIVERY", required_unless_present = "all", conflicts_with = "all")]
        id: Option<DeliveryId>,
        /// All that the filters select.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        letters: Letters,
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        gateway: Gateway,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    /// Of this subscription.
    #[arg(long, value_name = "ID")]
    pub(crate) subscription: Option<SubscriptionId>,
    /// Of events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    #[command(flatten)]
    pub(crate) span: Span,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: what a new subscription missed in the last two hours\n  \
    triggerline replay --subscription 01890a5d-ac96-7ab2-80e2-4536629c90de --from 2h --status missing --dry-run")]
pub(crate) struct Replay {
    /// Whom it goes to; nobody else gets anything.
    #[arg(long, value_name = "ID")]
    pub(crate) subscription: SubscriptionId,
    /// Events accepted at this instant or later: 2026-11-23T13:00:00Z, or 2h for two hours ago.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) from: OffsetDateTime,
    /// Before this instant; before now, if absent.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) to: Option<OffsetDateTime>,
    /// Events of these types, exact or with *; repeat it, or separate by commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) event_types: Vec<String>,
    /// Only events whose delivery to it stands so: missing (never owed), pending, retrying,
    /// delivered, dead_lettered or cancelled.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Takes events from Kafka's topic, by the time stamps there, rather than from the inbox: also
    /// those that the inbox has not (any more). Reads all customers' events, so it takes longer.
    #[arg(long)]
    pub(crate) from_topic: bool,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

/// How what is sent again is sent.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Only counts what would be sent.
    #[arg(long = "dry-run")]
    pub(crate) only_count: bool,
    /// Deliveries a second, at most.
    #[arg(long, default_value_t = 100)]
    pub(crate) rate: u32,
    /// Starts it and prints its id, without waiting for its end.
    #[arg(long, conflicts_with = "only_count")]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Replays {
    /// Lists replays and redrives, newest first.
    Ls {
        /// How many, at most.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Waits for the end of one.
    Watch {
        #[arg(value_name = "REPLAY")]
        id: ReplayId,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Stops one; what it has handed over is delivered.
    Cancel {
        #[arg(value_name = "REPLAY")]
        id: ReplayId,
        #[command(flatten)]
        gateway: Gateway,
    },
}

fn instant(text: &str) -> Result<OffsetDateTime, String> {
    if let Some(ago) = parse(text) {
        return Ok(OffsetDateTime::now_utc() - ago);
    }
    parse_instant(text).map_err(|_| {
        "an instant in RFC 3339, such as 2026-11-23T13:05:07Z, or how long ago, such as 2h"
            .to_owned()
    })
}
