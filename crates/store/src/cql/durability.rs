//! Whether a write that was acknowledged is still there after kill -9 of a node.
//!
//! With `commitlog_sync: periodic`, the default, a node acknowledges a write before it can be read
//! back from its commit log (up to 10 s before, CASSANDRA-13987; `ScyllaDB` likewise). With three
//! replicas the others have it. With one, nothing has: we say so where operators look.

use std::collections::HashMap;

use scylla::client::session::Session;

/// What the node says of itself: the first in Cassandra, the second in `ScyllaDB`.
const SETTINGS: [&str; 2] = [
    "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'",
    "SELECT value FROM system.config WHERE name = 'commitlog_sync'",
];

/// Logs a warning if the keyspace's writes don't survive the loss of a process.
pub(super) async fn warn(session: &Session, keyspace: &str) {
    let Some(replication) = replication(session, keyspace).await else { return };
    // A user who may not read it gets no advice.
    let mut sync = None;
    for statement in SETTINGS {
        if let Some((Some(value),)) = first::<(Option<String>,)>(session, statement, ()).await {
            sync = Some(value);
            break;
        }
    }
    if let Some(sync) = sync
        && may_lose(&replication, &sync)
    {
        tracing::warn!(
            keyspace,
            "the inbox's only replica acknowledges writes before it keeps them (commitlog_sync: {sync}): kill -9 of it loses \
             the last ones; set `commitlog_sync: batch` in its configuration, or have three replicas"
        );
    }
}

async fn replication(session: &Session, keyspace: &str) -> Option<HashMap<String, String>> {
    const STATEMENT: &str =
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let (replication,) = first(session, STATEMENT, (keyspace,)).await?;
    Some(replication)
}

async fn first<R>(
    session: &Session,
    statement: &str,
    values: impl scylla::serialize::row::SerializeRow,
) -> Option<R>
where
    R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
{
    let answer = session.query_unpaged(statement, values).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%error, statement, "not told"));
    answer.ok()?.into_rows_result().ok()?.maybe_first_row().ok()?
}

/// `replication` is the keyspace's, as the database says it: a class, and a number for each
/// datacenter or for all.
fn may_lose(replication: &HashMap<String, String>, sync: &str) -> bool {
    let replicas = replication.values().filter_map(|value| value.parse::<u32>().ok()).min();
    replicas == Some(1) && sync == "periodic"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_that_syncs_now_and_then_may_lose() {
        let class = ("class", "org.apache.cassandra.locator.NetworkTopologyStrategy");
        for (replication, sync, expected) in [
            (vec![class, ("datacenter1", "1")], "periodic", true),
            (vec![class, ("datacenter1", "1")], "batch", false),
            (vec![class, ("datacenter1", "1")], "group", false),
            (vec![class, ("datacenter1", "3")], "periodic", false),
            (vec![class, ("a", "3"), ("b", "1")], "periodic", true),
            (vec![("class", "SimpleStrategy"), ("replication_factor", "1")], "periodic", true),
            (vec![class], "periodic", false),
        ] {
            let map = replication.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(may_lose(&map, sync), expected, "{replication:?} {sync}");
        }
    }
}
