//! Each backend held to the promises of its trait, and [`Following`] on a real one. What only
//! PostgreSQL does is in `postgres.rs`.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use triggerline_store::{
    ControlStore, EventStore, Following, InboxQuery, KeyCreation, NewCustomer, NewSubscription,
    SecretKeys, SqliteControl, SqliteEvents, View, conformance,
};
use triggerline_types::{
    Actor, Customer, CustomerId, Endpoint, Secret, Selector, Subscription, SubscriptionId,
    SubscriptionState,
};

const BY: Actor = Actor::Operator;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_control() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a folder/control.db");
    conformance::control_store(Arc::new(
        SqliteControl::open(&path, SecretKeys::default()).await.unwrap(),
    ))
    .await;
    let reopened = SqliteControl::open(&path, SecretKeys::default()).await.unwrap();
    reopened.migrate().await.unwrap();
    assert!(
        reopened.customers(None, 10).await.unwrap().len() > 3,
        "what was written is there again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    conformance::expiry(Arc::new(SqliteEvents::open(&path).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_seals_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let open = async |keys| {
        let store: Arc<dyn ControlStore> =
            Arc::new(SqliteControl::open(&path, keys).await.unwrap());
        store
    };
    let dump = async || {
        let file = libsql::Builder::new_local(&path).build().await.unwrap().connect().unwrap();
        // No secret is longer than 65 bytes; sealed, each is.
        let query = "SELECT CASE WHEN length(secret) > 65 THEN CAST(secret AS TEXT) \
             ELSE 'whsec_' || hex(secret) END || old_secrets || settings FROM subscriptions";
        let mut rows = file.query(query, ()).await.unwrap();
        let mut all = String::new();
        while let Some(row) = rows.next().await.unwrap() {
            let libsql::Value::Text(text) = row.get_value(0).unwrap() else { panic!("a text") };
            all.push_str(&text);
        }
        all
    };
    let spoil = async |id: SubscriptionId| {
        let file = libsql::Builder::new_local(&path).build().await.unwrap().connect().unwrap();
        let update = "UPDATE subscriptions SET secret = \
             (SELECT secret FROM subscriptions WHERE id <> ?1) WHERE id = ?1";
        file.execute(update, [id.as_uuid().as_bytes().to_vec()]).await.unwrap();
    };
    conformance::sealing(open, dump, spoil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_bears_a_crowd() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let store = Arc::new(SqliteControl::open(&path, SecretKeys::default()).await.unwrap());
    let fill = async |id: SubscriptionId, more: usize| {
        let file = libsql::Builder::new_local(&path).build().await.unwrap().connect().unwrap();
        // Revisions are unique; below zero nobody follows them.
        let insert = "WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < ?2) \
             INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, url, secret, \
                 state, revision, created_at, updated_at) \
             SELECT randomblob(16), customer_id, workflow_id, event_types, url, secret, \
                 state, -n, created_at, updated_at FROM subscriptions, n WHERE id = ?1";
        let more = i64::try_from(more).unwrap();
        let values = libsql::params![id.as_uuid().as_bytes().to_vec(), more];
        file.execute(insert, values).await.unwrap();
    };
    conformance::crowd(store, fill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    conformance::event_store(Arc::new(SqliteEvents::open(&path).await.unwrap())).await;
    // As another process would see it, while the first has it open.
    let other = SqliteEvents::open(&path).await.unwrap();
    other.inbox(CustomerId::new(), &InboxQuery::default()).await.unwrap();
}

/// A file of the version before is read by this one, and written.
#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_of_the_version_before_is_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let file = libsql::Builder::new_local(&path).build().await.unwrap().connect().unwrap();
    file.execute_batch(include_str!("../src/sqlite/control.sql")).await.unwrap();
    file.execute_batch(
        "PRAGMA user_version = 1; \
         INSERT INTO customers VALUES (zeroblob(16), 'old', 1000); \
         INSERT INTO api_keys VALUES (zeroblob(16), zeroblob(16), 'k', zeroblob(32), \
             'events:write', 1000, NULL, NULL);",
    )
    .await
    .unwrap();
    drop(file);
    let store = SqliteControl::open(&path, SecretKeys::default()).await.unwrap();
    store.migrate().await.unwrap();
    let access = store.access(&[0; 32]).await.unwrap().unwrap();
    assert_eq!(
        (access.customer.plan.as_str(), access.customer.rate_limit),
        (Customer::DEFAULT_PLAN, None)
    );
    assert_eq!((access.key.hint.as_str(), access.key.last_used_at), ("", None));
    let after = store.access_changes(None).await.unwrap().revision;
    store.revoke_api_key(access.customer.id, access.key.id, BY).await.unwrap().unwrap();
    assert_eq!(store.access_changes(Some(after)).await.unwrap().changes.len(), 1);
    let key = triggerline_types::ApiKey {
        hash: [1; 32],
        id: triggerline_types::ApiKeyId::new(),
        ..access.key
    };
    assert_eq!(store.create_api_key(&key, BY).await.unwrap(), KeyCreation::Made);
}

async fn customer(store: &SqliteControl, name: &str) -> CustomerId {
    let (name, plan) = (name.to_owned(), Customer::DEFAULT_PLAN.to_owned());
    store
        .create_customer(NewCustomer { name, plan, rate_limit: None, retention_days: None }, BY)
        .await
        .unwrap()
        .id
}

fn new_subscription(customer_id: CustomerId, workflow_id: &str) -> NewSubscription {
    NewSubscription {
        customer_id,
        workflow_id: workflow_id.to_owned(),
        event_types: Vec::new(),
        selector: Selector::default(),
        endpoint: Endpoint::new("https://a.example/", Secret::generate()),
    }
}

async fn subscribed(store: &SqliteControl, new: NewSubscription) -> Subscription {
    store.create_subscription(new, BY).await.unwrap().made().unwrap()
}

/// The workflows of those that are active, in the order of their ids.
#[derive(Clone, Default)]
struct Active(BTreeMap<SubscriptionId, String>);

impl View for Active {
    fn change(&mut self, one: &Arc<Subscription>) {
        self.0.remove(&one.id);
        if one.state == SubscriptionState::Active {
            self.0.insert(one.id, one.workflow_id.clone());
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_sees_changes_and_keeps_customers_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(
        SqliteControl::open(&folder.path().join("control.db"), SecretKeys::default())
            .await
            .unwrap(),
    );
    store.migrate().await.unwrap();
    let (following, _handle) =
        Following::<Active>::start(store.clone(), Duration::from_hours(1)).await.unwrap();

    let mut customers = Vec::new();
    for name in ["a", "b"] {
        customers.push(customer(&store, name).await);
    }
    let mut made = Vec::new();
    for n in 0..5 {
        let new = new_subscription(customers[n % 2], &n.to_string());
        made.push(subscribed(&store, new).await);
    }
    let live = |customer: usize| -> Vec<String> {
        let view = following.of_customer(customers[customer]);
        view.iter().flat_map(|view| view.0.values().cloned()).collect()
    };
    following.catch_up().await.unwrap();
    assert_eq!(
        (live(0), live(1)),
        (vec!["0".into(), "2".into(), "4".into()], vec!["1".to_owned(), "3".to_owned()])
    );

    let set = async |n: usize, state| {
        let (customer, id) = (customers[n % 2], made[n].id);
        store.set_subscription_state(customer, id, state, BY).await.unwrap().unwrap()
    };
    set(2, SubscriptionState::Paused).await;
    set(1, SubscriptionState::Deleted).await;
    let last = set(3, SubscriptionState::Deleted).await;
    following.catch_up().await.unwrap();
    assert_eq!((live(0), live(1)), (vec!["0".into(), "4".into()], Vec::<String>::new()));
    assert_eq!(following.revision(), last.revision);
    let deleted = following.subscription(made[1].id).unwrap();
    assert_eq!(deleted.state, SubscriptionState::Deleted, "known, though not live");
    set(2, SubscriptionState::Active).await;
    following.catch_up().await.unwrap();
    assert_eq!(live(0), ["0", "2", "4"], "in the order of their ids again");
}

/// It is told of a change, and doesn't wait until it would ask anyway.
#[tokio::test(flavor = "multi_thread")]
async fn following_is_woken_by_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(
        SqliteControl::open(&folder.path().join("control.db"), SecretKeys::default())
            .await
            .unwrap(),
    );
    store.migrate().await.unwrap();
    let (following, _handle) =
        Following::<()>::start(store.clone(), Duration::from_hours(1)).await.unwrap();
    let customer = customer(&store, "woken").await;
    let made = subscribed(&store, new_subscription(customer, "w")).await;
    let known = async {
        while following.subscription(made.id).is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), known).await.unwrap();
}

/// A row that a later version wrote costs nobody else a change.
#[tokio::test(flavor = "multi_thread")]
async fn following_passes_a_subscription_that_cant_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let store = Arc::new(SqliteControl::open(&path, SecretKeys::default()).await.unwrap());
    store.migrate().await.unwrap();
    let customer = customer(&store, "unreadable").await;
    let mut made = Vec::new();
    for name in ["first", "unreadable", "last", "unreadable"] {
        let new = new_subscription(customer, name);
        made.push(subscribed(&store, new).await);
    }
    let file = libsql::Builder::new_local(&path).build().await.unwrap().connect().unwrap();
    file.execute(
        "UPDATE subscriptions SET state = 'dreaming' WHERE workflow_id = 'unreadable'",
        (),
    )
    .await
    .unwrap();
    let changes = store.changes_since(made[0].revision, 1).await.unwrap();
    assert_eq!((changes.subscriptions.len(), changes.more), (0, true), "a page of its own");
    assert_eq!(changes.revision, made[1].revision);
    let (following, _handle) =
        Following::<Active>::start(store, Duration::from_hours(1)).await.unwrap();
    let view = following.of_customer(customer).unwrap();
    let live: Vec<_> = view.0.keys().copied().collect();
    assert_eq!(live, [made[0].id, made[2].id]);
    assert_eq!(following.revision(), made[3].revision);
}
