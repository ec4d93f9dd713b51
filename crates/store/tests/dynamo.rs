//! The inbox in DynamoDB: the suite on DynamoDB Local, expiry, what doesn't fit into one item or one
//! request, what an event costs, and a server that isn't there or takes only some.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ReturnConsumedCapacity,
    ScalarAttributeType, TimeToLiveStatus,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use triggerline_store::{
    DynamoEvents, EventStore, InboxQuery, Retention, StoreError, conformance, open_events,
};
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, DeliveryState, Event, EventId, EventStatus, EventType, Fact,
    Matched, Outcome, Owed, Response, SubscriptionId,
};

/// A table of its own on the server that tests may use.
struct Table {
    name: String,
    endpoint: String,
}

impl Table {
    fn new() -> Self {
        let endpoint = std::env::var("TRIGGERLINE_TEST_DYNAMODB").unwrap();
        Self { name: format!("t{}", CustomerId::new().as_uuid().simple()), endpoint }
    }

    fn open(&self) -> Arc<dyn EventStore> {
        Arc::new(open(&self.name, &self.endpoint))
    }

    fn client(&self) -> Client {
        let anybody = Credentials::new("triggerline", "triggerline", None, None, "test");
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new("us-east-1"))
            .credentials_provider(anybody)
            .endpoint_url(&self.endpoint);
        Client::from_conf(config.build())
    }

    async fn drop(self) {
        self.client().delete_table().table_name(&self.name).send().await.unwrap();
    }
}

fn open(table: &str, endpoint: &str) -> DynamoEvents {
    DynamoEvents::new(&format!("dynamodb:{table}?endpoint={endpoint}")).unwrap()
}

fn event(customer_id: CustomerId, payload: impl Into<bytes::Bytes>) -> Event {
    let id = EventId::new();
    Event {
        id,
        customer_id,
        event_type: EventType::parse("order.created").unwrap(),
        source: "shop".to_owned(),
        subject: None,
        occurred_at: id.received_at(),
        received_at: id.received_at(),
        extensions: [].into(),
        traceparent: None,
        quarantined: None,
        payload: payload.into(),
    }
}

/// All that is said of an event with one delivery, which arrives at once.
fn delivered(event: &Event) -> [Fact; 3] {
    let subscription_id = SubscriptionId::new();
    let owed = Owed {
        delivery_id: DeliveryId::of(event.id, subscription_id),
        subscription_id,
        workflow_id: "billing".to_owned(),
    };
    let attempt = Attempt {
        delivery_id: owed.delivery_id,
        event_id: event.id,
        customer_id: event.customer_id,
        subscription_id,
        number: 1,
        started_at: event.received_at,
        latency: Duration::from_millis(20),
        response: Response::Answered { status: 200, excerpt: "ok".to_owned() },
        outcome: Outcome::Delivered,
    };
    let matched = Matched {
        event_id: event.id,
        customer_id: event.customer_id,
        at: event.received_at,
        owed: vec![owed],
    };
    [Fact::Event(event.clone()), Fact::Matched(matched), Fact::Attempted(attempt)]
}

/// A JSON string that can't be made shorter than by a quarter, as base64 is.
fn noise(length: usize) -> String {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |_| char::from(digits.as_bytes()[usize::from(rand::random::<u8>() % 64)]);
    format!("\"{}\"", (0..length - 2).map(digit).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn dynamo_events() {
    let table = Table::new();
    conformance::event_store(table.open()).await;
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn dynamo_expiry() {
    let table = Table::new();
    conformance::expiry(table.open()).await;
    let found = table.client().describe_time_to_live().table_name(&table.name).send().await;
    let found = found.unwrap().time_to_live_description.unwrap();
    assert_eq!(found.time_to_live_status, Some(TimeToLiveStatus::Enabled));
    assert_eq!(found.attribute_name.as_deref(), Some("expires_at"));
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let url = "dynamodb:inbox?endpoint=http://127.0.0.1:1";
    let store = open_events(url).await.unwrap();
    let customer = CustomerId::new();
    let error = store.inbox(customer, &InboxQuery::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let error =
        store.apply(&[Fact::Event(event(customer, "1"))], &Retention::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_table_that_is_not_there_is_made_by_migrate() {
    let table = Table::new();
    let store = table.open();
    let customer = CustomerId::new();
    let ask = async || store.inbox(customer, &InboxQuery::default()).await;
    let fact = Fact::Event(event(customer, "1"));
    for error in
        [ask().await.unwrap_err(), store.apply(&[fact], &Retention::default()).await.unwrap_err()]
    {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    // Two that start at once.
    let other = table.open();
    let (one, two) = tokio::join!(store.migrate(), other.migrate());
    one.unwrap();
    two.unwrap();
    assert_eq!(ask().await.unwrap().items, []);
    table.drop().await;
}

/// infra/aws makes its table from that file, so that it and `triggerline migrate` can't drift apart.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn migrate_makes_the_table_that_infra_aws_makes() {
    let wanted: Value =
        serde_json::from_str(include_str!("../../../infra/aws/inbox-table.json")).unwrap();
    let table = Table::new();
    table.open().migrate().await.unwrap();
    let client = table.client();
    let made = client.describe_table().table_name(&table.name).send().await.unwrap();
    let made = made.table.unwrap();
    let expiry = client.describe_time_to_live().table_name(&table.name).send().await.unwrap();
    let expiry = expiry.time_to_live_description.unwrap();
    let named = |name: &str, what: &str, is: &str| json!({"AttributeName": name, what: is});
    let attributes = made.attribute_definitions().iter();
    let attributes = attributes
        .map(|one| named(one.attribute_name(), "AttributeType", one.attribute_type().as_str()));
    let keys = made.key_schema().iter();
    let keys = keys.map(|one| named(one.attribute_name(), "KeyType", one.key_type().as_str()));
    let global = made.global_secondary_indexes().iter().map(|one| one.index_name());
    let local = made.local_secondary_indexes().iter().map(|one| one.index_name());
    let found = json!({
        "AttributeDefinitions": attributes.collect::<Vec<_>>(),
        "KeySchema": keys.collect::<Vec<_>>(),
        "GlobalSecondaryIndexes": global.collect::<Vec<_>>(),
        "LocalSecondaryIndexes": local.collect::<Vec<_>>(),
        "BillingMode": made.billing_mode_summary().unwrap().billing_mode().unwrap().as_str(),
        "TimeToLiveSpecification": {
            "AttributeName": expiry.attribute_name(),
            "Enabled": expiry.time_to_live_status() == Some(&TimeToLiveStatus::Enabled),
        },
    });
    assert_eq!(found, wanted);
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn somebody_else_s_table_is_refused_and_nothing_is_given_up_for_it() {
    let table = Table::new();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    let id = AttributeDefinition::builder().attribute_name("id");
    let request = table.client().create_table().table_name(&table.name);
    request
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key.build().unwrap())
        .attribute_definitions(id.attribute_type(ScalarAttributeType::S).build().unwrap())
        .send()
        .await
        .unwrap();
    let store = table.open();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Address(_)), "{error:?}");
    let error = store
        .apply(&[Fact::Event(event(CustomerId::new(), "1"))], &Retention::default())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_payload_of_several_items_comes_back_byte_for_byte() {
    let table = Table::new();
    let (store, customer) = (table.open(), CustomerId::new());
    store.migrate().await.unwrap();
    let events: Vec<_> = (0..4).map(|_| event(customer, noise(950_000))).collect();
    for event in &events {
        store.apply(&delivered(event), &Retention::default()).await.unwrap();
    }
    for event in &events {
        let found = store.event(customer, event.id).await.unwrap().unwrap();
        assert_eq!((&found.event, found.status), (event, EventStatus::Delivered));
    }
    // Each of them is longer than what one answer holds.
    let page = store.inbox(customer, &InboxQuery::default()).await.unwrap();
    let found: Vec<_> = page.items.into_iter().map(|one| one.event).rev().collect();
    assert_eq!(found, events);
    // A part that is missing is an event that isn't there yet.
    let client = table.client();
    let name = format!("{}#event part 02", events[0].id);
    let delete = client.delete_item().table_name(&table.name);
    let key = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    delete
        .key("customer_id", key(customer.to_string()))
        .key("event_id", key(name))
        .send()
        .await
        .unwrap();
    assert_eq!(store.event(customer, events[0].id).await.unwrap(), None);
    assert_eq!(store.deliveries(customer, events[0].id).await.unwrap(), []);
    store.apply(&[Fact::Event(events[0].clone())], &Retention::default()).await.unwrap();
    assert!(store.event(customer, events[0].id).await.unwrap().is_some());
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_batch_of_thousands_of_facts_is_taken() {
    let table = Table::new();
    let (store, customer) = (table.open(), CustomerId::new());
    store.migrate().await.unwrap();
    let events: Vec<_> = (0..667).map(|n| event(customer, n.to_string())).collect();
    let facts: Vec<_> = events.iter().flat_map(delivered).collect();
    assert!(facts.len() > 2_000);
    store.apply(&facts, &Retention::default()).await.unwrap();
    // Some are in it twice.
    store.apply(&[&facts[..40], &facts[10..50]].concat(), &Retention::default()).await.unwrap();
    let (mut found, mut query) = (Vec::new(), InboxQuery { limit: 100, ..InboxQuery::default() });
    loop {
        let page = store.inbox(customer, &query).await.unwrap();
        assert!(page.items.iter().all(|one| one.status == EventStatus::Delivered));
        found.extend(page.items.into_iter().map(|one| one.event.id));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), events.len());
    let ids: HashSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), ids);
    // None is pending: looking for them ends all the same.
    let status = Some(EventStatus::PendingDelivery);
    let page = store.inbox(customer, &InboxQuery { status, ..InboxQuery::default() }).await;
    assert_eq!(page.unwrap().items, []);
    table.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn what_has_expired_and_is_there_still_is_not_read() {
    let table = Table::new();
    let (store, customer) = (table.open(), CustomerId::new());
    store.migrate().await.unwrap();
    let briefly = Retention::of_all(Some(Duration::from_secs(2)));
    let event = event(customer, "1");
    store.apply(&delivered(&event), &briefly).await.unwrap();
    assert!(store.event(customer, event.id).await.unwrap().is_some());
    let start = OffsetDateTime::now_utc();
    while store.event(customer, event.id).await.unwrap().is_some() {
        assert!(OffsetDateTime::now_utc() < start + Duration::from_secs(10), "it expires");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for event_type in [None, Some(event.event_type.clone())] {
        let query = InboxQuery { event_type, ..InboxQuery::default() };
        assert_eq!(store.inbox(customer, &query).await.unwrap().items, []);
    }
    assert_eq!(store.deliveries(customer, event.id).await.unwrap(), []);
    table.drop().await;
}

/// What docs/storage.md says of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_event_costs_as_many_units_as_is_said() {
    let text = |length: usize| {
        let words = "the order was paid and is being packed in the second hall ".repeat(200);
        format!("\"{}\"", &words[..length - 2])
    };
    let table = Table::new();
    let (store, client) = (table.open(), table.client());
    store.migrate().await.unwrap();
    for (what, payload, expected) in [
        ("small", "{\"n\":1}".to_owned(), 5.0),
        ("1 KB of noise", noise(1_000), 5.0),
        ("1 KB of words", text(1_000), 5.0),
        ("10 KB of noise", noise(10_000), 12.0),
        ("10 KB of words", text(10_000), 5.0),
    ] {
        let event = event(CustomerId::new(), payload);
        store.apply(&delivered(&event), &Retention::default()).await.unwrap();
        let (mut units, mut count) = (0.0, 0);
        let found = client.scan().table_name(&table.name).send().await.unwrap();
        for item in found.items.unwrap() {
            if item["customer_id"].as_s() != Ok(&event.customer_id.to_string()) {
                continue;
            }
            // The same again, for what it costs: as much as the first time.
            let put = client.put_item().table_name(&table.name).set_item(Some(item));
            let put = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
            units += put.unwrap().consumed_capacity.unwrap().capacity_units.unwrap();
            count += 1;
        }
        println!("{what}: {units} write units, {count} items");
        assert!((units - expected).abs() < 0.01, "{what}: {units} units");
        let deliveries = store.deliveries(event.customer_id, event.id).await.unwrap();
        assert_eq!(deliveries[0].state, DeliveryState::Delivered);
    }
    table.drop().await;
}

/// DynamoDB at its limit: of each request it leaves all but the first `takes` items, `times` times.
async fn limited(takes: usize, times: usize) -> (String, tokio::task::JoinHandle<Vec<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        let mut sizes = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(request) = body(&mut stream).await else { continue };
            let mut items = request["RequestItems"].clone();
            let puts = items["inbox"].as_array_mut().unwrap();
            sizes.push(puts.len());
            puts.drain(..takes.min(puts.len()));
            let is_all = puts.is_empty() || sizes.len() > times;
            let left = if is_all { json!({}) } else { items };
            let answer = json!({ "UnprocessedItems": left }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n\
                 connection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
            if is_all {
                return sizes;
            }
        }
    };
    (endpoint, tokio::spawn(serve))
}

async fn body(stream: &mut TcpStream) -> Option<Value> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0_usize) {
                return Some(serde_json::from_str(body).unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_is_sent_again() {
    let (endpoint, served) = limited(2, 2).await;
    let store = open("inbox", &endpoint);
    let facts = delivered(&event(CustomerId::new(), "1"));
    store.apply(&facts, &Retention::default()).await.unwrap();
    assert_eq!(served.await.unwrap(), [5, 3, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_taken_is_unavailable() {
    let (endpoint, served) = limited(0, usize::MAX).await;
    let store = open("inbox", &endpoint);
    let fact = Fact::Event(event(CustomerId::new(), "1"));
    let error = store.apply(&[fact], &Retention::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    served.abort();
}
