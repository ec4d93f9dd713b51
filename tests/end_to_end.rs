//! The whole path in separate processes, on real Kafka and PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use triggerline_testkit::{Client, Oracle, Receiver, Services, World, subscribe, wait_until};
use triggerline_types::EventId;

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
const CUSTOMERS: usize = 4;
const EVENTS: usize = 10_000;
const IN_FLIGHT: usize = 64;
const LIMIT: Duration = Duration::from_mins(3);

/// A customer of the test: one subscription to all orders, one to big ones.
struct Customer {
    client: Client,
    all: String,
    big: String,
}

async fn customers(
    world: &World,
    base: &str,
    receiver: &Receiver,
) -> anyhow::Result<Vec<Customer>> {
    let mut customers = Vec::new();
    for n in 0..CUSTOMERS {
        let client = Client::new(base, world.customer(&format!("customer {n}")).await?);
        let (all, big) = (format!("all-{n}"), format!("big-{n}"));
        subscribe(&client, receiver, &all, "order.*", None, Vec::new()).await?;
        let query = Some("$.order[?@.total > 500]");
        subscribe(&client, receiver, &big, "order.created", query, Vec::new()).await?;
        customers.push(Customer { client, all, big });
    }
    // A change is matched within a second (docs/ARCHITECTURE.md): wait until it shows.
    for customer in &customers {
        let answer = customer.client.publish("order.warm-up", b"{}").await?;
        let body = answer.expect(StatusCode::ACCEPTED)?;
        let id = body["event_id"].as_str().context("no id")?.to_owned();
        wait_until("the subscriptions to be matched", LIMIT, || async {
            let arrived = receiver.received().iter().any(|one| {
                one.path == customer.all && one.event_id.is_some_and(|one| one.to_string() == id)
            });
            if arrived { Ok(()) } else { Err("the first event has not arrived".to_owned()) }
        })
        .await?;
    }
    Ok(customers)
}

/// Posts the events `numbers`, told apart by their number; every customer gets a quarter.
async fn post(customers: &[Customer], numbers: std::ops::Range<usize>, oracle: &Mutex<Oracle>) {
    let posts = numbers.map(|n| async move {
        let customer = &customers[n % CUSTOMERS];
        let total = n % 1_000;
        let payload = format!("{{\"order\": [ {{\"n\":{n}, \"total\":{total}}} ]}}");
        let mut owed = vec![customer.all.clone()];
        if total > 500 {
            owed.push(customer.big.clone());
        }
        let answer = customer.client.publish("order.created", payload.as_bytes()).await;
        let mut oracle = oracle.lock().unwrap();
        match answer {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                let id: EventId =
                    answer.json().unwrap()["event_id"].as_str().unwrap().parse().unwrap();
                assert_eq!(answer.headers["x-event-id"], id.to_string());
                oracle.acknowledged(id, payload.as_bytes(), owed);
            }
            Ok(answer) => {
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
                eprintln!("event {n} is not acknowledged: {answer:?}");
                oracle.unknown(payload.as_bytes(), owed);
            }
            Err(error) => {
                eprintln!("event {n} has no answer: {error:#}");
                oracle.unknown(payload.as_bytes(), owed);
            }
        }
    });
    futures::stream::iter(posts).buffer_unordered(IN_FLIGHT).collect::<()>().await;
}

/// Waits until everything that is owed has arrived, and judges all of it.
async fn judge(oracle: &Oracle, receiver: &Receiver) -> anyhow::Result<()> {
    wait_until("every owed delivery to arrive", LIMIT, || async {
        // Warm-up events are not the oracle's.
        let verdict = oracle.judge(&arrivals(receiver));
        if verdict.lost.is_empty() {
            return Ok(());
        }
        let some = &verdict.lost[..verdict.lost.len().min(3)];
        Err(format!("{} of {} are missing: {some:?}", verdict.lost.len(), verdict.owed))
    })
    .await?;
    let verdict = oracle.judge(&arrivals(receiver));
    assert!(verdict.is_clean(), "{:?}", &verdict.faults[..verdict.faults.len().min(5)]);
    Ok(())
}

fn arrivals(receiver: &Receiver) -> Vec<triggerline_testkit::Received> {
    let empty = receiver.digest_of(b"{}");
    receiver.received().into_iter().filter(|one| one.digest != empty).collect()
}

/// I1: the inbox knows every acknowledged event, and says `delivered` of each.
async fn check_inboxes(customers: &[Customer], oracle: &Oracle) -> anyhow::Result<()> {
    let sent: HashSet<String> =
        oracle.sent().iter().map(|sent| sent.event_id.to_string()).collect();
    wait_until("the inbox to say `delivered` of each event", LIMIT, || async {
        let mut delivered = HashSet::new();
        for customer in customers {
            for id in
                inbox(&customer.client, "status=delivered").await.map_err(|e| e.to_string())?
            {
                if !delivered.insert(id.clone()) {
                    return Err(format!("event {id} stands in the inbox twice"));
                }
            }
        }
        let missing = sent.difference(&delivered).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
    })
    .await
}

/// All pages of an inbox.
async fn inbox(client: &Client, filter: &str) -> anyhow::Result<Vec<String>> {
    let events = client.all(&format!("/v1/inbox?{filter}&limit=200")).await?;
    events.iter().map(|one| Ok(one["event_id"].as_str().context("no id")?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn every_event_of_four_customers_arrives_through_four_processes() -> anyhow::Result<()> {
    let world = World::on_real_parts(BINARY).await?;
    let receiver = Receiver::start().await?;
    let services = Services::start(&world).await?;
    let customers = customers(&world, &services.base, &receiver).await?;
    let oracle = Mutex::new(Oracle::default());
    post(&customers, 0..EVENTS, &oracle).await;
    let oracle = oracle.into_inner()?;
    assert_eq!(oracle.sent().len(), EVENTS, "nothing was wrong: every event is acknowledged");
    judge(&oracle, &receiver).await?;
    check_inboxes(&customers, &oracle).await?;
    let verdict = oracle.judge(&arrivals(&receiver));
    assert_eq!(verdict.duplicates, 0, "nothing was killed: nothing comes twice");
    services.terminate().await?;
    world.tear_down().await
}

/// R3, R4: kill -9 in the middle of the work loses nothing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn nothing_is_lost_when_matcher_storage_and_delivery_are_killed() -> anyhow::Result<()> {
    let world = World::on_real_parts(BINARY).await?;
    let receiver = Receiver::start().await?;
    let mut services = Services::start(&world).await?;
    let customers = customers(&world, &services.base, &receiver).await?;
    let oracle = Mutex::new(Oracle::default());
    let posting = post(&customers, 0..EVENTS, &oracle);
    let killing = async {
        // In the middle of it: once some of it has arrived, and most has not.
        for (round, share) in [EVENTS / 10, EVENTS / 4, EVENTS / 2].into_iter().enumerate() {
            wait_until("work to be under way", LIMIT, || async {
                let count = receiver.count();
                if count > share { Ok(()) } else { Err(format!("{count} arrivals")) }
            })
            .await?;
            let place = match round {
                0 => &mut services.matcher,
                1 => &mut services.delivery,
                _ => &mut services.storage,
            };
            let name = ["matcher", "delivery", "storage"][round];
            std::mem::replace(place, world.start(&[name])?).kill().await?;
        }
        anyhow::Ok(())
    };
    let ((), killed) = tokio::join!(posting, killing);
    killed?;
    let oracle = oracle.into_inner()?;
    assert_eq!(oracle.sent().len(), EVENTS, "the gateway was never killed");
    judge(&oracle, &receiver).await?;
    check_inboxes(&customers, &oracle).await?;
    services.terminate().await?;
    world.tear_down().await
}

/// The same with the inbox in a cluster's database; every filter leads to what it should.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_inbox_in_cassandra_has_every_event_though_storage_is_killed() -> anyhow::Result<()> {
    has_every_event_though_storage_is_killed(World::on_cassandra(BINARY).await?, 3_000).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_inbox_in_dynamodb_has_every_event_though_storage_is_killed() -> anyhow::Result<()> {
    has_every_event_though_storage_is_killed(World::on_dynamodb(BINARY).await?, 1_000).await
}

async fn has_every_event_though_storage_is_killed(
    world: World,
    events: usize,
) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let mut services = Services::start(&world).await?;
    let customers = customers(&world, &services.base, &receiver).await?;
    let oracle = Mutex::new(Oracle::default());
    let killing = async {
        for share in [events / 4, events / 2] {
            wait_until("work to be under way", LIMIT, || async {
                let count = receiver.count();
                if count > share { Ok(()) } else { Err(format!("{count} arrivals")) }
            })
            .await?;
            let killed = std::mem::replace(&mut services.storage, world.start(&["storage"])?);
            killed.kill().await?;
        }
        anyhow::Ok(())
    };
    let ((), killed) = tokio::join!(post(&customers, 0..events, &oracle), killing);
    killed?;
    let oracle = oracle.into_inner()?;
    assert_eq!(oracle.sent().len(), events, "the gateway was never killed");
    judge(&oracle, &receiver).await?;
    check_inboxes(&customers, &oracle).await?;
    for (n, customer) in customers.iter().enumerate() {
        let count =
            async |filter: String| inbox(&customer.client, &filter).await.map(|all| all.len());
        let of_customer = events / CUSTOMERS;
        let big = (0..events).filter(|one| one % CUSTOMERS == n && one % 1_000 > 500).count();
        // Beside those that were posted there is the first one, of another type.
        assert_eq!(count("order=asc".to_owned()).await?, of_customer + 1);
        assert_eq!(count("event_type=order.created".to_owned()).await?, of_customer);
        assert_eq!(count("event_type=order.warm-up&order=asc".to_owned()).await?, 1);
        assert_eq!(count(format!("workflow_id={}", customer.big)).await?, big);
        assert_eq!(count("status=failed".to_owned()).await?, 0);
        assert_eq!(count("to=2020-01-01T00:00:00Z".to_owned()).await?, 0);
    }
    services.terminate().await?;
    world.tear_down().await
}

/// What a receiver answers decides what happens to its delivery.
/// A customer is erased while its events are on their way: nothing of it is left but in Kafka's topics,
/// and others don't notice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_is_erased_is_forgotten_and_others_are_not() -> anyhow::Result<()> {
    const STORED: usize = 200;
    let world = World::on_cassandra(BINARY).await?;
    let receiver = Receiver::start().await?;
    let mut services = Services::start(&world).await?;
    let base = services.base.clone();
    let customer = async |name: &str| {
        let made = world.printed(&["customers", "create", name]).await?;
        let text = |field: &str| made[field].as_str().map(str::to_owned).context("a text");
        let client = Client::new(&base, text("api_key")?);
        subscribe(&client, &receiver, name, "*", None, Vec::new()).await?;
        anyhow::Ok((text("customer_id")?, client))
    };
    let ((gone_id, gone), (other_id, other)) = (customer("gone").await?, customer("other").await?);
    let keys = ["keys", "create", "--customer", &other_id, "--name", "admin", "--scope", "admin"];
    let made = world.printed(&keys).await?;
    let admin = Client::new(&base, made["api_key"].as_str().context("a key")?);
    let publish = async |client: &Client, path: &str, count: usize| {
        let before = receiver.received().iter().filter(|one| one.path == path).count();
        for n in 0..count {
            let answer = client.publish("order.created", n.to_string().as_bytes()).await?;
            answer.expect(StatusCode::ACCEPTED)?;
        }
        wait_until("all to be delivered", LIMIT, || async {
            let there = receiver.received().iter().filter(|one| one.path == path).count();
            if there >= before + count { Ok(()) } else { Err(format!("{there} are")) }
        })
        .await
    };
    for (client, path) in [(&gone, "gone"), (&other, "other")] {
        // Events that came before the subscription was followed are unmatched.
        wait_until("the subscription to be matched", LIMIT, || async {
            client.publish("warm.up", b"1").await.map_err(|error| error.to_string())?;
            let arrived = receiver.received().iter().any(|one| one.path == path);
            if arrived { Ok(()) } else { Err("nothing has arrived".to_owned()) }
        })
        .await?;
        publish(client, path, STORED).await?;
    }
    let stored = async |client: &Client, count: usize| {
        wait_until("all to be stored", LIMIT, || async {
            let found = inbox(client, "event_type=order.created").await;
            let found = found.map_err(|error| error.to_string())?.len();
            if found == count { Ok(()) } else { Err(format!("{found} are")) }
        })
        .await
    };
    stored(&gone, STORED).await?;
    stored(&other, STORED).await?;
    let all = inbox(&gone, "order=asc").await?.len();
    // These are in the topics when it is erased.
    services.storage.kill().await?;
    publish(&gone, "gone", 50).await?;

    let refused = world.output(&["customers", "erase", &gone_id]).await?;
    let said = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && said.contains("--yes"), "{said}");
    let place = format!("/v1/customers/{gone_id}");
    gone.delete(&place).await?.expect(StatusCode::FORBIDDEN)?;
    admin.delete(&format!("/v1/customers/{other_id}")).await?.expect(StatusCode::CONFLICT)?;
    admin.get(&format!("{place}/erasure")).await?.expect(StatusCode::NOT_FOUND)?;
    let begun = admin.delete(&place).await?.expect(StatusCode::ACCEPTED)?;
    assert_eq!((&begun["state"], &begun["erased"]["api_keys"]), (&json!("erasing"), &json!(1)));
    admin.get(&place).await?.expect(StatusCode::NOT_FOUND)?;
    wait_until("its key to open nothing", LIMIT, || async {
        let answer = gone.get("/v1/inbox").await.map_err(|error| error.to_string())?;
        let refused = answer.status == StatusCode::UNAUTHORIZED;
        if refused { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await?;
    services.storage = world.start(&["storage"])?;
    let receipt = wait_until("all to be erased", LIMIT, || async {
        let receipt = get(&admin, &format!("{place}/erasure")).await?;
        if receipt["state"] == "erased" { Ok(receipt) } else { Err(receipt.to_string()) }
    })
    .await?;
    let erased = &receipt["erased"];
    assert_eq!(
        (&erased["events"], &erased["subscriptions"]),
        (&json!(all), &json!(1)),
        "{receipt}"
    );
    let shown = world.printed(&["customers", "erase", &gone_id]).await?;
    assert_eq!(shown["erased"], *erased);
    // Others go on, and by then what was left of it in the topics has been read.
    publish(&other, "other", 50).await?;
    stored(&other, STORED + 50).await?;
    let url = world.setting("TRIGGERLINE_INBOX__URL").context("an inbox")?;
    let store = triggerline_store::open_events(url).await?;
    let left = store.inbox(gone_id.parse()?, &triggerline_store::InboxQuery::default()).await?;
    assert_eq!(left.items, []);
    services.terminate().await?;
    world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_delivery_is_retried_given_up_or_cancelled_as_its_receiver_answers() -> anyhow::Result<()>
{
    let world = World::on_real_parts(BINARY).await?;
    let receiver = Receiver::start().await?;
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("shop").await?);
    subscribe(&client, &receiver, "recovers", "a.recovers", None, vec![503]).await?;
    subscribe(&client, &receiver, "refuses", "a.refuses", None, vec![404; 9]).await?;
    let gone = subscribe(&client, &receiver, "gone", "a.gone", None, vec![410; 9]).await?;

    let ends = |event_type: &'static str, status: &'static str| {
        let client = client.clone();
        async move {
            // Posted again until the new subscription is matched.
            let id = wait_until("the subscription to be matched", LIMIT, || async {
                let posted = client.publish(event_type, b"[1]").await.map_err(|e| e.to_string())?;
                let id = posted.json().map_err(|e| e.to_string())?["event_id"].clone();
                let id = id.as_str().unwrap_or_default().to_owned();
                let event = settled(&client, &id).await.map_err(|e| e.to_string())?;
                if event["status"] == "unmatched" { Err(event.to_string()) } else { Ok(id) }
            })
            .await?;
            wait_until(&format!("{event_type} to be {status}"), LIMIT, || async {
                let event = get(&client, &format!("/v1/events/{id}")).await?;
                if event["status"] == status { Ok(()) } else { Err(event.to_string()) }
            })
            .await?;
            let deliveries = get(&client, &format!("/v1/events/{id}/deliveries"))
                .await
                .map_err(anyhow::Error::msg)?;
            anyhow::Ok(deliveries["data"][0].clone())
        }
    };

    let recovered = ends("a.recovers", "delivered").await?;
    let outcomes: Vec<&Value> =
        recovered["attempts"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["retry", "delivered"], "{recovered}");
    assert_eq!(recovered["attempts"][0]["response_status"], 503);

    let refused = ends("a.refuses", "failed").await?;
    assert_eq!(refused["state"], "dead_lettered", "{refused}");
    assert_eq!(refused["attempts"].as_array().map(Vec::len), Some(1), "404 is not tried again");

    let cancelled = ends("a.gone", "failed").await?;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    let subscription =
        get(&client, &format!("/v1/subscriptions/{gone}")).await.map_err(anyhow::Error::msg)?;
    assert_eq!(subscription["state"], "unsubscribed");
    assert_eq!(subscription["reason"], json!("the receiver answered 410 Gone"));

    services.terminate().await?;
    world.tear_down().await
}

/// The event once it has been matched.
async fn settled(client: &Client, id: &str) -> anyhow::Result<Value> {
    wait_until("the event to be matched", LIMIT, || async {
        let event = get(client, &format!("/v1/events/{id}")).await?;
        if event["status"] == "accepted" { Err(event.to_string()) } else { Ok(event) }
    })
    .await
}

async fn get(client: &Client, path: &str) -> Result<Value, String> {
    let answer = client.get(path).await.map_err(|error| error.to_string())?;
    answer.expect(StatusCode::OK).map_err(|error| error.to_string())
}

/// `triggerline dev` with its embedded parts swapped for real ones.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn dev_runs_on_real_parts_too() -> anyhow::Result<()> {
    let world = World::on_real_parts(BINARY).await?;
    let receiver = Receiver::start().await?;
    let data = world.folder.path().join("data");
    let data = data.to_str().context("a path in UTF-8")?;
    let kafka = &world.settings["TRIGGERLINE_KAFKA__BROKERS"];
    let postgres = &world.settings["TRIGGERLINE_CONTROL__URL"];
    let mut arguments = vec!["dev", "--data", data, "--kafka", kafka, "--postgres", postgres];
    arguments.extend(["--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0"]);
    let mut dev = world.start(&arguments)?;
    let serving = dev.logged("serving").await?;
    assert_eq!(serving["kafka"].as_str(), Some(kafka.as_str()));
    let base = format!("http://{}", serving["http"].as_str().context("no address")?);
    let client = Client::new(base, std::fs::read_to_string(format!("{data}/api-key"))?);
    subscribe(&client, &receiver, "hook", "*", None, Vec::new()).await?;
    wait_until("an event to arrive", LIMIT, || async {
        client.publish("a.b", b"1").await.map_err(|error| error.to_string())?;
        if receiver.count() > 0 { Ok(()) } else { Err("none has".to_owned()) }
    })
    .await?;
    assert!(dev.terminate().await?.success());
    world.tear_down().await
}

/// PostgreSQL going away stops changes; events go on being accepted, matched and delivered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn events_go_on_without_postgresql() -> anyhow::Result<()> {
    let mut world = World::on_real_parts(BINARY).await?;
    let receiver = Receiver::start().await?;
    let services = Services::start(&world).await?;
    let customers = customers(&world, &services.base, &receiver).await?;
    world.drop_database().await?;
    let client = &customers[0].client;
    let answer = client.get("/v1/subscriptions").await?;
    assert!(answer.status.is_server_error(), "it is gone: {answer:?}");
    let oracle = Mutex::new(Oracle::default());
    post(&customers, 0..200, &oracle).await;
    let oracle = oracle.into_inner()?;
    assert_eq!(oracle.sent().len(), 200, "every event is acknowledged");
    judge(&oracle, &receiver).await?;
    check_inboxes(&customers, &oracle).await?;
    services.terminate().await
}
