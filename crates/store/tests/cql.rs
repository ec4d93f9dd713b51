//! The inbox in Cassandra, which speaks ScyllaDB's CQL: the suite on it, expiry, and a server that
//! isn't there.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use triggerline_store::{CqlEvents, EventStore, InboxQuery, StoreError, conformance};
use triggerline_types::CustomerId;

/// A keyspace of its own on the server that tests may use.
struct Keyspace {
    name: String,
    node: String,
}

impl Keyspace {
    fn new() -> Self {
        let node = std::env::var("TRIGGERLINE_TEST_CASSANDRA").unwrap();
        Self { name: format!("t{}", CustomerId::new().as_uuid().simple()), node }
    }

    fn open(&self) -> Arc<dyn EventStore> {
        let url = format!("cassandra://{}/{}?replication_factor=1", self.node, self.name);
        Arc::new(CqlEvents::new(&url).unwrap())
    }

    async fn session(&self) -> Session {
        SessionBuilder::new().known_node(&self.node).build().await.unwrap()
    }

    async fn drop(self) {
        let drop = format!("DROP KEYSPACE {}", self.name);
        self.session().await.query_unpaged(drop, ()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn cql_events() {
    let keyspace = Keyspace::new();
    conformance::event_store(keyspace.open()).await;
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn cql_expiry() {
    let keyspace = Keyspace::new();
    conformance::expiry(keyspace.open()).await;
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let store = CqlEvents::new("cassandra://127.0.0.1:1/inbox").unwrap();
    let error = store.inbox(CustomerId::new(), &InboxQuery::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn tables_that_are_not_there_are_made_by_migrate() {
    let keyspace = Keyspace::new();
    let store = keyspace.open();
    let ask = async || store.inbox(CustomerId::new(), &InboxQuery::default()).await;
    let error = ask().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    store.migrate().await.unwrap();
    assert_eq!(ask().await.unwrap().items, []);
    keyspace.drop().await;
}
