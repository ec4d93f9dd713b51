//! No request reads a table of SQLite from end to end either: as `plans.rs` has it for PostgreSQL.
//!
//! The driver tells `tracing` of each statement that it prepares. Those that the conformance suites
//! make the stores send are collected ([`Sent`]), and SQLite is asked how it would answer each.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};

use libsql::{Builder, Connection};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use triggerline_store::{EventStore, SecretKeys, SqliteControl, SqliteEvents, conformance};

/// Statements that do read more than they find, or sort. Each entry: a piece of the statement, what
/// SQLite says of it, and why it may. An entry that nothing needs any more fails the test.
const MAY: &[(&str, &str, &str)] = &[
    ("revision SET value = value + 1", "SCAN revision", "it has one row"),
    ("SELECT value FROM revision", "SCAN revision", "it has one row"),
    (
        "FROM customers c WHERE erased_at IS NULL ORDER BY id LIMIT",
        "SCAN c USING INDEX sqlite_autoindex_customers_1",
        "a page in the order of the index, for administrators; those that are erased are few",
    ),
    (
        "FROM customers WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL",
        "SCAN customers USING INDEX customers_kept_otherwise",
        "storage wants all of these; nobody else is in that index",
    ),
    (
        "SELECT subscription_id FROM failing_endpoints",
        "SCAN failing_endpoints",
        "the delivery service looks at all of them, once in a while",
    ),
    ("WITH RECURSIVE of (id)", "SCAN of", "what the recursion has found, a step of an index each"),
    (
        "FROM replays WHERE state = 'running'",
        "SCAN replays USING INDEX replays_running",
        "a replayer looks for one that nobody runs; only those that run are in that index",
    ),
    (
        "FROM attempts WHERE customer_id = ?1 AND event_id = ?2 ORDER BY",
        "USE TEMP B-TREE FOR ORDER BY",
        "the attempts of one event",
    ),
    // The sweep takes the first of each customer, by the primary key.
    ("FROM attempts ORDER BY 1, 2 LIMIT 1", "SCAN attempts", "one row"),
    ("FROM deliveries ORDER BY 1, 2 LIMIT 1", "SCAN deliveries", "one row"),
    ("FROM summaries ORDER BY 1, 2 LIMIT 1", "SCAN summaries", "one row"),
    (
        "FROM events ORDER BY 1, 2 LIMIT 1",
        "SCAN events USING COVERING INDEX sqlite_autoindex_events_1",
        "one row",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_finds_what_is_asked_for_by_an_index() {
    tracing::subscriber::set_global_default(Sent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);

    let key = SecretKeys::parse(&[format!("k:{}=", "A".repeat(43))]).unwrap();
    let control = Arc::new(SqliteControl::open(&file("control.db"), key).await.unwrap());
    let control_sent = sent_by(conformance::control_store(control)).await;
    let events: Arc<dyn EventStore> =
        Arc::new(SqliteEvents::open(&file("inbox.db")).await.unwrap());
    let mut events_sent = sent_by(conformance::event_store(Arc::clone(&events))).await;
    events_sent.extend(sent_by(conformance::expiry(events)).await);
    assert!(control_sent.len() > 80 && events_sent.len() > 30, "the driver tells what it prepares");

    let mut unneeded: BTreeSet<_> = MAY.iter().collect();
    let mut faults = BTreeSet::new();
    for (name, sent) in [("control.db", control_sent), ("inbox.db", events_sent)] {
        let connection = connect(&file(name)).await;
        let planted = "SELECT 1 FROM sqlite_schema WHERE rootpage = 7";
        assert_eq!(scans(&connection, planted).await, ["SCAN sqlite_schema"]);
        for statement in &sent {
            for scan in scans(&connection, statement).await {
                match MAY.iter().find(|may| statement.contains(may.0) && scan == may.1) {
                    Some(may) => drop(unneeded.remove(may)),
                    None => drop(faults.insert(format!("{scan}: {statement}"))),
                }
            }
        }
    }
    faults.extend(unneeded.iter().map(|may| format!("no longer needed: {may:?}")));
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The statements that are sent meanwhile.
async fn sent_by(work: impl Future<Output = ()>) -> BTreeSet<String> {
    SENT.lock().unwrap().clear();
    work.await;
    std::mem::take(&mut *SENT.lock().unwrap())
}

async fn connect(path: &Path) -> Connection {
    Builder::new_local(path).build().await.unwrap().connect().unwrap()
}

/// Where SQLite would read all of a table or an index, or sort, as it says so itself
/// (sqlite.org/eqp.html).
async fn scans(connection: &Connection, statement: &str) -> Vec<String> {
    const EXPLAINED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
    if !EXPLAINED.iter().any(|word| statement.starts_with(word)) {
        return Vec::new();
    }
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let mut rows = connection.query(&explain, ()).await.unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        let step: String = row.get(3).unwrap();
        // A subquery's rows were found by steps of its own.
        let reads_all = step.starts_with("SCAN ")
            && step != "SCAN CONSTANT ROW"
            && !step.starts_with("SCAN (subquery");
        if reads_all || step.starts_with("USE TEMP B-TREE") {
            found.push(step);
        }
    }
    found
}

/// What was prepared, each statement once, with single spaces.
static SENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

struct Sent;

impl Subscriber for Sent {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("libsql")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let told = text.strip_prefix("preparing `").or_else(|| text.strip_prefix("executing `"));
        if let Some(statement) = told.and_then(|told| told.strip_suffix('`'))
            && field.name() == "message"
        {
            let spaced = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            SENT.lock().unwrap().insert(spaced);
        }
    }
}
