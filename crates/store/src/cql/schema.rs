//! The tables, and what is asked of them. docs/storage.md tells people about them.
//!
//! A partition holds a customer's events of one minute, by when they were received: as large as a
//! minute is busy, however busy a customer is for how long. `minutes` tells which minutes there
//! are to look at, for each list. All rows expire with the event that they are about, and all of a
//! day are dropped at once (`TimeWindowCompactionStrategy`).

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;

/// `list` is empty for the events' own pieces.
const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS events (
        customer_id uuid,
        minute timestamp,
        list text,
        event_id uuid,
        piece text,
        event_type text,
        source text,
        subject text,
        occurred_at timestamp,
        extensions map<text, text>,
        traceparent text,
        quarantined text,
        payload blob,
        matched_at timestamp,
        subscription_id uuid,
        delivery_id uuid,
        workflow_id text,
        started_at timestamp,
        number int,
        latency_us bigint,
        response text,
        response_status int,
        response_text text,
        outcome text,
        outcome_at timestamp,
        outcome_text text,
        PRIMARY KEY ((customer_id, minute), list, event_id, piece)
    )",
    "CREATE TABLE IF NOT EXISTS minutes (
        customer_id uuid,
        list text,
        minute timestamp,
        PRIMARY KEY ((customer_id, list), minute)
    )",
    "CREATE TABLE IF NOT EXISTS dead_letters (
        customer_id uuid,
        list text,
        minute timestamp,
        at timestamp,
        delivery_id uuid,
        event_id uuid,
        PRIMARY KEY ((customer_id, list, minute), at, delivery_id)
    )",
    "CREATE TABLE IF NOT EXISTS deliveries (
        customer_id uuid,
        delivery_id uuid,
        event_id uuid,
        at timestamp,
        PRIMARY KEY ((customer_id, delivery_id), at)
    )",
];

/// Rows that expire together lie together. (Cassandra's name for it is known to ScyllaDB.)
const TOGETHER: &str = " WITH compaction = {'class': 'TimeWindowCompactionStrategy', \
     'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}";

/// The statements that make the tables in a keyspace, which is made first if it isn't there.
pub(super) fn statements(keyspace: &str, replication_factor: u32) -> Vec<String> {
    let mut all = vec![format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication_factor}}}"
    )];
    all.extend(TABLES.map(|table| {
        let table = table.replace("IF NOT EXISTS ", &format!("IF NOT EXISTS {keyspace}."));
        format!("{table}{TOGETHER}")
    }));
    all
}

/// Everything that is said to the database, prepared.
pub(super) struct Statements {
    pub(super) event: PreparedStatement,
    pub(super) matched: PreparedStatement,
    pub(super) owed: PreparedStatement,
    pub(super) attempt: PreparedStatement,
    pub(super) entry: PreparedStatement,
    pub(super) minute: PreparedStatement,
    pub(super) dead_letter: PreparedStatement,
    pub(super) delivery: PreparedStatement,
    pub(super) pieces: PreparedStatement,
    pub(super) pieces_up: PreparedStatement,
    pub(super) pieces_down: PreparedStatement,
    pub(super) entries_up: PreparedStatement,
    pub(super) entries_down: PreparedStatement,
    pub(super) payloads: PreparedStatement,
    pub(super) minutes_up: PreparedStatement,
    pub(super) minutes_down: PreparedStatement,
    pub(super) dead_up: PreparedStatement,
    pub(super) dead_down: PreparedStatement,
    pub(super) dead_of: PreparedStatement,
}

/// An event's pieces without its payload, which may be a megabyte.
const PIECES: &str = "SELECT event_id, piece, event_type, source, subject, occurred_at, \
     extensions, traceparent, quarantined, subscription_id, delivery_id, workflow_id, \
     started_at, number, latency_us, response, response_status, response_text, outcome, \
     outcome_at, outcome_text FROM events \
     WHERE customer_id = ? AND minute = ? AND list = ''";

impl Statements {
    pub(super) async fn prepare(session: &Session) -> Result<Self, PrepareError> {
        let prepare = async |cql: &str| {
            let mut statement = session.prepare(cql).await?;
            // Rows are only ever added, and the same each time.
            statement.set_is_idempotent(true);
            Ok::<_, PrepareError>(statement)
        };
        let insert = async |table: &str, columns: &str| {
            let values = vec!["?"; columns.split(',').count()].join(", ");
            prepare(&format!("INSERT INTO {table} ({columns}) VALUES ({values}) USING TTL ?")).await
        };
        let key = "customer_id, minute, list, event_id, piece";
        let span = "AND event_id >= ? AND event_id < ?";
        let (up, down) = (
            "ORDER BY list ASC, event_id ASC, piece ASC LIMIT ?",
            "ORDER BY list DESC, event_id DESC, piece DESC LIMIT ?",
        );
        let entries = "SELECT event_id FROM events \
             WHERE customer_id = ? AND minute = ? AND list = ?";
        let minutes = "SELECT minute FROM minutes \
             WHERE customer_id = ? AND list = ? AND minute >= ? AND minute <= ?";
        let dead = "SELECT at, delivery_id, event_id FROM dead_letters \
             WHERE customer_id = ? AND list = ? AND minute = ? \
             AND (at, delivery_id) >= (?, ?) AND (at, delivery_id) < (?, ?)";
        Ok(Self {
            event: insert(
                "events",
                &format!(
                    "{key}, event_type, source, subject, occurred_at, extensions, traceparent, \
                     quarantined, payload"
                ),
            )
            .await?,
            matched: insert("events", &format!("{key}, matched_at")).await?,
            owed: insert("events", &format!("{key}, subscription_id, delivery_id, workflow_id"))
                .await?,
            attempt: insert(
                "events",
                &format!(
                    "{key}, subscription_id, delivery_id, started_at, number, latency_us, \
                     response, response_status, response_text, outcome, outcome_at, outcome_text"
                ),
            )
            .await?,
            entry: insert("events", key).await?,
            minute: insert("minutes", "customer_id, list, minute").await?,
            dead_letter: insert(
                "dead_letters",
                "customer_id, list, minute, at, delivery_id, event_id",
            )
            .await?,
            delivery: insert("deliveries", "customer_id, delivery_id, at, event_id").await?,
            pieces: prepare(&format!("{PIECES} AND event_id = ?")).await?,
            pieces_up: prepare(&format!("{PIECES} {span} {up}")).await?,
            pieces_down: prepare(&format!("{PIECES} {span} {down}")).await?,
            entries_up: prepare(&format!("{entries} {span} {up}")).await?,
            entries_down: prepare(&format!("{entries} {span} {down}")).await?,
            payloads: prepare(
                "SELECT event_id, piece, payload FROM events \
                 WHERE customer_id = ? AND minute = ? AND list = '' AND event_id IN ? \
                 AND piece IN ('event', 'held')",
            )
            .await?,
            minutes_up: prepare(&format!("{minutes} ORDER BY minute ASC LIMIT ?")).await?,
            minutes_down: prepare(&format!("{minutes} ORDER BY minute DESC LIMIT ?")).await?,
            dead_up: prepare(&format!("{dead} ORDER BY at ASC, delivery_id ASC LIMIT ?")).await?,
            dead_down: prepare(&format!("{dead} ORDER BY at DESC, delivery_id DESC LIMIT ?"))
                .await?,
            dead_of: prepare(
                "SELECT at, delivery_id, event_id FROM deliveries \
                 WHERE customer_id = ? AND delivery_id = ?",
            )
            .await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_made_in_the_keyspace() {
        let all = statements("triggerline", 3);
        assert!(all[0].contains("IF NOT EXISTS triggerline WITH"), "{}", all[0]);
        assert!(all[0].contains("'replication_factor': 3}"), "{}", all[0]);
        assert!(
            all[1].starts_with("CREATE TABLE IF NOT EXISTS triggerline.events ("),
            "{}",
            all[1]
        );
        assert_eq!(all.len(), 5);
    }
}
