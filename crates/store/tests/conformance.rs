//! Each backend held to the promises of its trait.

use std::sync::Arc;
use std::time::Duration;

use triggerline_store::{
    ControlStore as _, EventStore as _, Following, InboxQuery, NewSubscription, PostgresControl,
    SqliteControl, SqliteEvents, conformance,
};
use triggerline_types::{CustomerId, Endpoint, Secret, SubscriptionState};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_control() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a folder/control.db");
    conformance::control_store(Arc::new(SqliteControl::open(&path).await.unwrap())).await;
    let reopened = SqliteControl::open(&path).await.unwrap();
    reopened.migrate().await.unwrap();
    assert!(reopened.customers().await.unwrap().len() > 3, "what was written is there again");
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres_control() {
    let server = std::env::var("TRIGGERLINE_TEST_POSTGRES").unwrap();
    let (client, connection) =
        tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("t{}", CustomerId::new().as_uuid().simple());
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let store = PostgresControl::connect(&format!("{base}/{name}")).unwrap();
    conformance::control_store(Arc::new(store)).await;
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

/// A server that isn't there is an error, soon, and never a hang.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_is_not_there() {
    let store = PostgresControl::connect("postgres://nobody@127.0.0.1:1/nothing").unwrap();
    let asked = tokio::time::timeout(Duration::from_mins(1), store.customers()).await.unwrap();
    let error = asked.unwrap_err();
    assert!(matches!(error, triggerline_store::StoreError::Unavailable { .. }), "{error:?}");
    assert!(PostgresControl::connect("postgres://:bad:url").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn following_sees_changes_and_keeps_customers_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteControl::open(&folder.path().join("control.db")).await.unwrap());
    store.migrate().await.unwrap();
    let active = |state: &SubscriptionState| *state == SubscriptionState::Active;
    let (following, _handle) =
        Following::start(store.clone(), Duration::from_hours(1), move |one| {
            active(&one.state).then(|| one.workflow_id.clone())
        })
        .await
        .unwrap();

    let mut customers = Vec::new();
    for name in ["a", "b"] {
        customers.push(store.create_customer(name).await.unwrap().id);
    }
    let mut made = Vec::new();
    for n in 0..5 {
        let new = NewSubscription {
            customer_id: customers[n % 2],
            workflow_id: n.to_string(),
            event_types: Vec::new(),
            jsonpath: None,
            endpoint: Endpoint { url: "https://a.example/".into(), secret: Secret::generate() },
        };
        made.push(store.create_subscription(new).await.unwrap());
    }
    let live = |customer: usize| -> Vec<String> {
        let view = following.of_customer(customers[customer]);
        view.iter().flat_map(|view| view.live()).map(|(_, made)| made.clone()).collect()
    };
    assert!(live(0).is_empty(), "nothing is known before it is asked for");
    following.catch_up().await.unwrap();
    assert_eq!(
        (live(0), live(1)),
        (vec!["0".into(), "2".into(), "4".into()], vec!["1".to_owned(), "3".to_owned()])
    );

    let set = async |n: usize, state| {
        store.set_subscription_state(customers[n % 2], made[n].id, state).await.unwrap().unwrap()
    };
    set(2, SubscriptionState::Paused).await;
    set(1, SubscriptionState::Deleted).await;
    let last = set(3, SubscriptionState::Deleted).await;
    following.catch_up().await.unwrap();
    assert_eq!((live(0), live(1)), (vec!["0".into(), "4".into()], Vec::<String>::new()));
    assert_eq!(following.revision(), last.revision);
    let deleted = following.subscription(made[1].id).unwrap();
    assert_eq!(deleted.subscription.state, SubscriptionState::Deleted, "known, though not live");
    set(2, SubscriptionState::Active).await;
    following.catch_up().await.unwrap();
    assert_eq!(live(0), ["0", "2", "4"], "in the order of their ids again");
}
