//! What only PostgreSQL does: the suite on it, being told of other processes' changes, living
//! with the version before, and a server that isn't there or says nothing.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod database;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use triggerline_store::{
    ControlStore, NewCustomer, PostgresControl, SecretKeys, StoreError, conformance,
};
use triggerline_types::{Actor, Customer, CustomerId, SubscriptionId};

use database::{Database, connect};

const BY: Actor = Actor::Operator;
const SOON: Duration = Duration::from_secs(1);

impl Database {
    /// How many listeners there are, by an expression over each (which may end it).
    async fn count_listeners(&self, how: &str) -> i64 {
        let query = format!(
            "SELECT count({how}) FROM pg_stat_activity \
             WHERE datname = $1 AND application_name = 'triggerline listener'"
        );
        self.server.query_one(&query, &[&self.name]).await.unwrap().get(0)
    }
}

async fn customer(store: &dyn ControlStore) -> Customer {
    let (name, plan) = ("one".to_owned(), Customer::DEFAULT_PLAN.to_owned());
    store
        .create_customer(NewCustomer { name, plan, rate_limit: None, retention_days: None }, BY)
        .await
        .unwrap()
}

async fn told(changes: &mut tokio::sync::watch::Receiver<u64>, within: Duration) {
    tokio::time::timeout(within, changes.changed()).await.expect("a tick").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_control() {
    let database = Database::create().await;
    let store = database.open();
    told(&mut store.changes(), Duration::from_secs(10)).await;
    conformance::control_store(store).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_seals_secrets() {
    let database = Database::create().await;
    let open = async |keys| database.open_with(keys);
    let dump = async || {
        // No secret is longer than 65 bytes; sealed, each is.
        let query = "SELECT coalesce(string_agg(CASE WHEN length(secret) > 65 \
             THEN convert_from(secret, 'UTF8') ELSE 'whsec_' || encode(secret, 'hex') END \
             || old_secrets || settings, ''), '') FROM subscriptions";
        let row = connect(&database.url).await.query_one(query, &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let spoil = async |id: SubscriptionId| {
        let update = "UPDATE subscriptions SET secret = \
             (SELECT secret FROM subscriptions WHERE id <> $1) WHERE id = $1";
        connect(&database.url).await.execute(update, &[id.as_uuid()]).await.unwrap();
    };
    conformance::sealing(open, dump, spoil).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_bears_a_crowd() {
    let database = Database::create().await;
    let fill = async |id: SubscriptionId, more: usize| {
        // Revisions are unique; below zero nobody follows them.
        let insert = "INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, url, \
                 secret, state, revision, created_at, updated_at) \
             SELECT gen_random_uuid(), customer_id, workflow_id, event_types, url, \
                 secret, state, -n, created_at, updated_at \
             FROM subscriptions, generate_series(1, $2::bigint) n WHERE id = $1";
        let more = i64::try_from(more).unwrap();
        connect(&database.url).await.execute(insert, &[id.as_uuid(), &more]).await.unwrap();
    };
    conformance::crowd(database.open(), fill).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_tells_of_what_others_change() {
    let database = Database::create().await;
    let (ours, theirs) = (database.open(), database.open());
    ours.migrate().await.unwrap();
    assert_eq!(database.count_listeners("*").await, 0, "nobody has asked to be told");
    let mut changes = ours.changes();
    told(&mut changes, Duration::from_secs(10)).await;
    customer(&*theirs).await;
    told(&mut changes, SOON).await;

    // What was changed while nobody listened is not told, so it ticks when it listens again.
    assert_eq!(database.count_listeners("pg_terminate_backend(pid)").await, 1);
    told(&mut changes, Duration::from_secs(10)).await;
    customer(&*theirs).await;
    told(&mut changes, SOON).await;

    drop(ours);
    let gone = async {
        while database.count_listeners("*").await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it ends with its store");
    database.drop().await;
}

/// The statements of the version before, as they stood in its code.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_lets_the_version_before_go_on() {
    let database = Database::create().await;
    let store = database.open();
    store.migrate().await.unwrap();
    let id = CustomerId::new();
    let before = format!(
        "INSERT INTO customers VALUES ('{id}', 'old', now()); \
         INSERT INTO api_keys VALUES ('{id}', '{id}', 'k', '\\x{}', 'events:write', now(), NULL, NULL); \
         UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) \
             WHERE id = '{id}' AND customer_id = '{id}'; \
         BEGIN; UPDATE subscription_revision SET value = value + 1 RETURNING value; \
         INSERT INTO subscriptions VALUES ('{id}', '{id}', 'w', '', NULL, 'https://a.example/', \
             '\\x{}', 'active', NULL, 1, now(), now()); COMMIT;",
        "00".repeat(32),
        "00".repeat(32)
    );
    connect(&database.url).await.batch_execute(&before).await.unwrap();
    let access = store.access(&[0; 32]).await.unwrap().unwrap();
    assert_eq!(access.customer.plan, Customer::DEFAULT_PLAN);
    assert!(access.key.revoked_at.is_some() && access.key.hint.is_empty());
    assert_eq!(store.subscriptions(id, None, 9).await.unwrap().len(), 1);
    database.drop().await;
}

/// The server cancels what takes too long; a lock that another holds is one such thing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_that_is_held_up_is_unavailable_and_well_again_after() {
    let database = Database::create().await;
    let store = database.open();
    store.migrate().await.unwrap();
    let customer = customer(&*store).await;
    let other = connect(&database.url).await;
    other.batch_execute("BEGIN; LOCK TABLE customers").await.unwrap();
    let error = store.customer(customer.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.customer(customer.id).await.unwrap(), Some(customer));
    database.drop().await;
}

/// A server that isn't there is an error, soon, and never a hang.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_is_not_there() {
    is_unavailable("postgres://nobody@127.0.0.1:1/nothing").await;
    assert!(PostgresControl::connect("postgres://:bad:url", SecretKeys::default()).is_err());
}

async fn is_unavailable(url: &str) {
    let store = PostgresControl::connect(url, SecretKeys::default()).unwrap();
    let asked = store.customers(None, 1);
    let error = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

/// Nor is one that takes the connection and says nothing (a stopped process, say).
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_never_answers() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = server.accept().await {
            connections.push(connection);
        }
    });
    is_unavailable(&format!("postgres://nobody@{address}/nothing")).await;
}

/// Nor one that falls silent after its greeting. Its connection isn't handed out again: the
/// answer may still come, and would be waited for by whoever asks next.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_falls_silent() {
    let (url, greeted) = greeter(None).await;
    let store = PostgresControl::connect(&url, SecretKeys::default()).unwrap();
    for n in 1..=2 {
        let asked = tokio::time::timeout(Duration::from_secs(20), store.access(&[0; 32]));
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(greeted.load(Ordering::SeqCst), n, "each has its own");
    }
}

/// What passes may be asked again; what doesn't is whoever's who asked.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_errors_are_judged_by_their_class() {
    for (state, passes) in [
        ("08006", true),
        ("40P01", true),
        ("53300", true),
        ("57014", true),
        ("22001", false),
        ("23505", false),
        ("42P01", false),
    ] {
        let (url, _) = greeter(Some(state)).await;
        let store = PostgresControl::connect(&url, SecretKeys::default()).unwrap();
        let error = store.access(&[0; 32]).await.unwrap_err();
        assert_eq!(matches!(error, StoreError::Unavailable { .. }), passes, "{state}: {error:?}");
        assert_eq!(matches!(error, StoreError::Failed { .. }), !passes, "{state}: {error:?}");
    }
}

/// A server that greets, and then answers everything with an error of this state, or nothing.
/// Its address, and how many connections it has greeted.
async fn greeter(state: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // It knows of no TLS, and so of nobody who asks for it.
    let address = server.local_addr().unwrap();
    let url = format!("postgres://nobody@{address}/nothing?sslmode=disable");
    let greeted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&greeted);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = server.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut asked = [0; 4_096];
                let _startup = connection.read(&mut asked).await.unwrap();
                // AuthenticationOk and ReadyForQuery: as much as a client needs to begin.
                connection.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
                while connection.read(&mut asked).await.is_ok_and(|length| length > 0) {
                    if let Some(state) = state {
                        // ErrorResponse (severity, state, message) and ReadyForQuery.
                        let fields = format!("SERROR\0C{state}\0Mno\0\0");
                        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                        let answer = [b"E", &length[..], fields.as_bytes(), b"Z\0\0\0\x05I"];
                        connection.write_all(&answer.concat()).await.unwrap();
                    }
                }
            });
        }
    });
    (url, greeted)
}
