//! No request reads a table from end to end: whatever the PostgreSQL store sends finds its rows by an
//! index.
//!
//! The conformance suite makes the store send what it can. PostgreSQL's own `auto_explain` (it comes
//! with every server package) sees each statement that runs in this test's database, those of foreign
//! keys too, and tells its plan as a notice. The driver hands notices to the `log` crate, where
//! [`Told`] takes them down. So nobody lists statements: one that is added is seen once a suite makes
//! the store send it. One that no suite sends is found in the store's source ([`statements_in`]), and
//! then the suite is what must be mended.
//!
//! What a planner chooses depends on what is in the tables, and these are nearly empty. So it takes
//! them for large ones ([`SWELL`]), and is not asked what is fast but whether an index *can* serve
//! ([`SETTINGS`]): what reads all of a table, or of two to join them, or sorts what an index has in
//! order, is made so dear that it is left only where nothing else will do. And a plan is made without
//! knowing the values, as one is that serves all customers.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod database;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde_json::Value;
use triggerline_store::{SecretKeys, conformance};

use database::{Database, connect};

/// Statements that do read more than they find. Each entry: a piece of the statement, what is
/// found about it, and why it may. An entry that nothing needs any more fails the test.
const MAY: &[(&str, &str, &str)] = &[
    (
        "UPDATE subscription_revision SET value = value + 1",
        "reads all of subscription_revision",
        "it has one row",
    ),
    (
        "FROM subscription_revision UNION ALL",
        "reads all of subscription_revision",
        "it has one row",
    ),
    (
        "UNION ALL SELECT revision, hash, NULL FROM api_keys WHERE revision > $1",
        "reads all of api_keys",
        "a feed: what is newer than what the follower knows, and nothing else is read",
    ),
    (
        "FROM schema_changes WHERE revision > $1",
        "reads all of schema_changes",
        "a feed, as that of keys",
    ),
    (
        "FROM queue WHERE head AND due_at <= $1 ORDER BY due_at",
        "reads all of queue",
        "the drain wants what is due, the oldest first; it is sorted only within an instant",
    ),
    (
        "SELECT subscription_id FROM failing_endpoints",
        "reads all of failing_endpoints",
        "the delivery service looks at all of them, once in a while",
    ),
    (
        "FROM customers WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL",
        "reads all of customers",
        "storage wants all of these; they have an index of their own, and nobody else is in it",
    ),
    (
        "UPDATE replays SET owner = $1",
        "reads all of replays",
        "a replayer looks for one that nobody runs, among those that are running",
    ),
    (
        "UPDATE erasures SET owner = $1",
        "reads all of erasures",
        "storage looks for one that nobody does, among those that are due",
    ),
    (
        "FROM refinery_schema_history",
        "reads all of refinery_schema_history",
        "`migrate` compares what is there with what it has",
    ),
];

/// For each table what keeps vacuum off it, which would give back what follows; and what makes it as
/// large as one of 5,000 rows, with none in it: they are taken back, and the file stays as it has
/// become. An index that finds one row is then not as good as one that finds some (which indexes of
/// some rows only have too: what is running, say).
const SWELL: &str = "SELECT \
         format('ALTER TABLE %s SET (autovacuum_enabled = off)', attrelid::regclass), \
         format('BEGIN; SET LOCAL session_replication_role = replica; \
         INSERT INTO %1$s (%2$s) SELECT %3$s FROM generate_series(1, 5000) n \
         ON CONFLICT DO NOTHING; ROLLBACK', \
         attrelid::regclass, string_agg(quote_ident(attname), ', '), \
         string_agg(CASE WHEN attname = 'state' THEN quote_literal('running') \
             WHEN atttypid = 'uuid'::regtype THEN 'gen_random_uuid()' \
             WHEN atttypid = 'boolean'::regtype THEN 'true' \
             WHEN atttypid = 'timestamptz'::regtype THEN 'now()' \
             ELSE 'n::text::' || atttypid::regtype END, ', ')) \
     FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid \
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
         AND attnum > 0 AND NOT attisdropped AND attidentity = '' GROUP BY attrelid";

/// Of the database, so of each connection that a store makes to it.
const SETTINGS: &[(&str, &str)] = &[
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_level", "notice"),
    ("auto_explain.log_format", "json"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("enable_bitmapscan", "off"),
    // A plan so dear would be compiled each time.
    ("jit", "off"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_finds_what_is_asked_for_by_an_index() {
    log::set_logger(&TOLD).unwrap();
    let database = Database::create().await;
    database.open().migrate().await.unwrap();
    let client = connect(&database.url).await;
    for table in client.query(SWELL, &[]).await.unwrap() {
        // One by one: what stands in one text with a ROLLBACK is taken back with it.
        client.batch_execute(table.get(0)).await.unwrap();
        client.batch_execute(table.get(1)).await.unwrap();
    }
    let indexes = "SELECT indexrelid::regclass::text, indrelid::regclass::text, \
         pg_get_indexdef(indexrelid, 1, true) FROM pg_index";
    let indexes = client.query(indexes, &[]).await.unwrap();
    let indexes: Indexes =
        indexes.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    for (name, value) in SETTINGS {
        let set = format!("ALTER DATABASE {} SET {name} = '{value}'", database.name);
        client.batch_execute(&set).await.unwrap();
    }

    // What should be found is found.
    log::set_max_level(LevelFilter::Info);
    let planted = connect(&database.url).await;
    for (statement, finding) in PLANTED {
        planted.query(*statement, &[]).await.unwrap();
        let (told, plan) = plans().pop().expect("its plan is told");
        assert_eq!((&*told, scans(&plan, &indexes)), (*statement, vec![(*finding).to_owned()]));
    }
    TOLD.0.lock().unwrap().clear();

    let store = database.open();
    // Told of changes, as the suite wants it.
    let mut changes = store.changes();
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    conformance::control_store(store).await;
    // There is nothing to seal anew without keys.
    let key = format!("k:{}=", "A".repeat(43));
    let sealed = database.open_with(SecretKeys::parse(&[key]).unwrap()).reseal().await.unwrap();
    assert!(sealed > 0, "the suite leaves subscriptions");
    log::set_max_level(LevelFilter::Off);
    database.drop().await;

    let plans = plans();
    let mut unneeded: BTreeSet<_> = MAY.iter().collect();
    let mut faults = BTreeSet::new();
    for (statement, plan) in &plans {
        for scan in scans(plan, &indexes) {
            match MAY.iter().find(|may| statement.contains(may.0) && scan == may.1) {
                Some(may) => drop(unneeded.remove(may)),
                None => drop(faults.insert(format!("{scan}: {statement}"))),
            }
        }
    }
    faults.extend(unneeded.iter().map(|may| format!("no longer needed: {may:?}")));
    let sent: BTreeSet<_> = plans.iter().map(|(statement, _)| statement).collect();
    let unsent = written()
        .into_iter()
        .filter(|written| !sent.iter().any(|statement| contains_in_order(statement, written)));
    faults.extend(unsent.map(|written| format!("sent by no suite: {}", written.join("…"))));
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Statements that scan, and how that is told.
const PLANTED: &[(&str, &str)] = &[
    ("SELECT id FROM customers WHERE name = 'a'", "reads all of customers"),
    // By an index, but all of it.
    ("SELECT name FROM customers WHERE name = 'a' ORDER BY id", "reads all of customers"),
    ("SELECT name FROM customers WHERE name = 'a' ORDER BY id LIMIT 1", "reads all of customers"),
    (
        "SELECT at FROM audit WHERE id = '018f0000-0000-7000-8000-000000000000'",
        "reads all of audit",
    ),
    (
        "SELECT k.name FROM customers c JOIN api_keys k ON k.customer_id = c.id WHERE c.name = 'a'",
        "reads all of customers",
    ),
];

/// What was told, from which plans are taken.
struct Told(Mutex<Vec<String>>);

static TOLD: Told = Told(Mutex::new(Vec::new()));

impl Log for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tokio_postgres")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// The plans that were told, each with its statement.
fn plans() -> Vec<(String, Value)> {
    let told = TOLD.0.lock().unwrap();
    let plans = told.iter().filter_map(|notice| notice.split_once("plan:\n"));
    plans
        .map(|(_, plan)| {
            let mut plan: Value = serde_json::from_str(plan).unwrap();
            (spaced(plan["Query Text"].as_str().unwrap()), plan["Plan"].take())
        })
        .collect()
}

/// Of each index its table and its first column.
type Indexes = BTreeMap<String, (String, String)>;

/// Where a plan reads more of a table than it finds there.
fn scans(plan: &Value, indexes: &Indexes) -> Vec<String> {
    let mut found = Vec::new();
    look(plan, false, indexes, &mut found);
    found
}

/// `limited`: whoever asks stops after so many rows, and takes each that it gets.
fn look(node: &Value, limited: bool, indexes: &Indexes, found: &mut Vec<String>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    match text("Node Type") {
        "Seq Scan" => found.push(format!("reads all of {}", text("Relation Name"))),
        "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => {
            let (table, column) = &indexes[text("Index Name")];
            // Only what is said of its first column saves reading an index from end to end, and a
            // range may be all of it.
            let finds = text("Index Cond").contains(&format!("({column} = "));
            if !finds && (!limited || node["Filter"].is_string()) {
                found.push(format!("reads all of {table}"));
            }
        }
        _ => {}
    }
    let limits = text("Node Type") == "Limit" || limited && text("Node Type") == "LockRows";
    for below in node["Plans"].as_array().into_iter().flatten() {
        look(below, limits, indexes, found);
    }
}

/// The statements that are written in the store's source.
fn written() -> BTreeSet<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.flat_map(|file| statements_in(&std::fs::read_to_string(file).unwrap())).collect()
}

/// The texts of a source that have words of SQL in capitals, as what stands between their `{}`.
fn statements_in(source: &str) -> Vec<Vec<String>> {
    const WORDS: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "FROM", "WHERE", "VALUES"];
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    assert!(!code.contains("\\\"") && !code.contains("r#\""), "texts have no quotes in them");
    let texts = code.split('"').skip(1).step_by(2);
    // A line that ends in a backslash goes on with what the next begins with.
    texts
        .map(|text| text.split("\\\n").map(str::trim_start).collect::<String>())
        .filter(|text| text.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word)))
        .map(|text| {
            let parts = text.split('{').enumerate().map(|(at, part)| match at {
                0 => part,
                _ => part.split_once('}').unwrap().1,
            });
            parts.map(spaced).filter(|part| !part.is_empty()).collect()
        })
        .collect()
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn contains_in_order(statement: &str, parts: &[String]) -> bool {
    let mut rest = statement;
    parts.iter().all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
