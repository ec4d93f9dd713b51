//! `storage`: events a second into an inbox, each with its summary and one attempt, in the batches
//! that the storage service makes; against a client that writes the same facts into the same
//! database a row at a time. What reading costs is [`crate::inbox`].

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use libsql::params;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::json;
use triggerline_store::{Retention, open_events};
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, Event, EventId, EventType, Fact, Matched, Outcome, Owed,
    Response, SubscriptionId,
};

use crate::report::{Figures, Report};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The inbox to fill: sqlite:PATH or cassandra://HOST:PORT/KEYSPACE?replication_factor=1. It
    /// should be empty.
    #[arg(long)]
    inbox: String,
    /// Events, in each round.
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Events that the other client writes, in each round.
    #[arg(long, default_value_t = 2_000)]
    others: usize,
    /// Facts that one call takes in: what the storage service gathers meanwhile.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// Of how many customers: a partition of Kafka has several.
    #[arg(long, default_value_t = 10)]
    customers: usize,
    #[arg(long, default_value_t = 1_000)]
    payload: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let scheme = options.inbox.split(':').next().unwrap_or_default();
    let (name, other) = match scheme {
        "sqlite" => ("storage-sqlite", "sqlite, a row at a time"),
        "scylla" | "cassandra" => ("storage-cassandra", "cassandra, a row at a time"),
        _ => anyhow::bail!("--inbox starts with {scheme:?}; sqlite: or cassandra:// are measured"),
    };
    let store = open_events(&options.inbox).await?;
    store.migrate().await?;
    let setting = json!({
        "events": options.events, "batch": options.batch, "customers": options.customers,
        "payload_bytes": options.payload, "facts_of_an_event": 3,
    });
    let mut report = Report::new(name, setting);
    let customers: Vec<_> = (0..options.customers).map(|_| CustomerId::new()).collect();
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        let facts = facts(&customers, options.events, options.payload);
        let began = Instant::now();
        for batch in facts.chunks(options.batch) {
            store.apply(batch, &Retention::default()).await?;
        }
        report.add("triggerline", rate(options.events, began.elapsed()));
        let facts = self::facts(&customers, options.others, options.payload);
        let spent = match scheme {
            "sqlite" => one_by_one_in_sqlite(&options.inbox, &facts).await?,
            _ => one_by_one_in_cassandra(&options.inbox, &facts).await?,
        };
        report.add(other, rate(options.others, spent));
    }
    report.end()
}

fn rate(events: usize, spent: Duration) -> Figures {
    Figures::from([("events/s", events as f64 / spent.as_secs_f64())])
}

/// Events as they come: the three facts of each not far from each other.
fn facts(customers: &[CustomerId], events: usize, payload: usize) -> Vec<Fact> {
    let story = Story::new(payload);
    let each = (0..events).map(|n| story.of(EventId::new(), customers[n % customers.len()], n));
    each.flatten().collect()
}

/// What becomes of an event: it is received, owed to one subscription, and sent once. Every 1,000th
/// is of the type `rare`, every 500th is refused by its receiver.
pub(crate) struct Story {
    subscription_id: SubscriptionId,
    body: String,
}

impl Story {
    pub(crate) fn new(payload: usize) -> Self {
        let body = format!("{{\"note\":\"{}\"}}", "x".repeat(payload));
        Self { subscription_id: SubscriptionId::new(), body }
    }

    pub(crate) fn of(&self, id: EventId, customer_id: CustomerId, n: usize) -> [Fact; 3] {
        let subscription_id = self.subscription_id;
        let (delivery_id, at) = (DeliveryId::of(id, subscription_id), id.received_at());
        let event_type = if n.is_multiple_of(1_000) { "rare" } else { "order.created" };
        let refused = n.is_multiple_of(500);
        let outcome = if refused {
            Outcome::DeadLettered { reason: "the receiver answered 404".to_owned() }
        } else {
            Outcome::Delivered
        };
        [
            Fact::Event(Event {
                id,
                customer_id,
                event_type: EventType::parse(event_type).unwrap_or_else(|_| unreachable!()),
                source: "bench".to_owned(),
                subject: None,
                occurred_at: at,
                received_at: at,
                extensions: std::collections::BTreeMap::new(),
                traceparent: None,
                quarantined: None,
                payload: self.body.clone().into(),
            }),
            Fact::Matched(Matched {
                event_id: id,
                customer_id,
                at,
                owed: vec![Owed {
                    delivery_id,
                    subscription_id,
                    workflow_id: "workflow".to_owned(),
                }],
            }),
            Fact::Attempted(Attempt {
                delivery_id,
                event_id: id,
                customer_id,
                subscription_id,
                number: 1,
                started_at: at,
                latency: Duration::from_millis(12),
                response: Response::Answered {
                    status: if refused { 404 } else { 200 },
                    excerpt: "ok".to_owned(),
                },
                outcome,
            }),
        ]
    }
}

/// What a first attempt at this would be: an upsert for each fact, awaited.
async fn one_by_one_in_cassandra(url: &str, facts: &[Fact]) -> anyhow::Result<Duration> {
    let (node, rest) =
        url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).context("an address")?;
    let keyspace = rest.split('?').next().unwrap_or_default();
    let session: Session = SessionBuilder::new().known_node(node).build().await?;
    session.use_keyspace(keyspace, false).await?;
    let table = "CREATE TABLE IF NOT EXISTS naive (customer_id uuid, event_id uuid, payload blob, \
         status text, attempts int, PRIMARY KEY (customer_id, event_id))";
    session.query_unpaged(table, ()).await?;
    let put = "INSERT INTO naive (customer_id, event_id, payload, status) VALUES (?, ?, ?, ?)";
    let put = session.prepare(put).await?;
    let change = "UPDATE naive SET status = ?, attempts = ? WHERE customer_id = ? AND event_id = ?";
    let change = session.prepare(change).await?;
    let began = Instant::now();
    for fact in facts {
        let (customer, event) = (*fact.customer_id().as_uuid(), *fact.event_id().as_uuid());
        match fact {
            Fact::Event(one) => {
                let values = (customer, event, one.payload.to_vec(), "accepted");
                session.execute_unpaged(&put, values).await?;
            }
            Fact::Matched(_) => {
                session.execute_unpaged(&change, ("pending", 0, customer, event)).await?;
            }
            Fact::Attempted(_) => {
                session.execute_unpaged(&change, ("delivered", 1, customer, event)).await?;
            }
        }
    }
    Ok(began.elapsed())
}

/// The same: a statement for each fact, each durable before the next.
async fn one_by_one_in_sqlite(url: &str, facts: &[Fact]) -> anyhow::Result<Duration> {
    let path = format!("{}-naive", url.trim_start_matches("sqlite:"));
    let file = libsql::Builder::new_local(Path::new(&path)).build().await?.connect()?;
    for pragma in ["journal_mode = WAL", "synchronous = FULL"] {
        let mut rows = file.query(&format!("PRAGMA {pragma}"), ()).await?;
        while rows.next().await?.is_some() {}
    }
    let table = "CREATE TABLE IF NOT EXISTS naive (customer_id BLOB, event_id BLOB, payload BLOB, \
         status TEXT, attempts INTEGER, PRIMARY KEY (customer_id, event_id))";
    file.execute(table, ()).await?;
    let began = Instant::now();
    for fact in facts {
        let key = || {
            let (customer, event) = (fact.customer_id(), fact.event_id());
            (customer.as_uuid().as_bytes().to_vec(), event.as_uuid().as_bytes().to_vec())
        };
        let (customer, event) = key();
        let change =
            "UPDATE naive SET status = ?1, attempts = ?2 WHERE customer_id = ?3 AND event_id = ?4";
        match fact {
            Fact::Event(one) => {
                let put = "INSERT INTO naive VALUES (?1, ?2, ?3, 'accepted', 0)";
                file.execute(put, params![customer, event, one.payload.to_vec()]).await?;
            }
            Fact::Matched(_) => {
                file.execute(change, params!["pending", 0, customer, event]).await?;
            }
            Fact::Attempted(_) => {
                file.execute(change, params!["delivered", 1, customer, event]).await?;
            }
        }
    }
    Ok(began.elapsed())
}
