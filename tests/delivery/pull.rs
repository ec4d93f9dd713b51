//! Pulling: deliveries that are leased and acknowledged by whoever asks for them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use triggerline_testkit::{Client, Receiver, Services, World, wait_until};
use triggerline_types::Secret;

use crate::{BINARY, LIMIT, wait_for};

struct Stage {
    world: World,
    services: Services,
    client: Client,
    /// The subscription's path.
    path: String,
}

impl Stage {
    /// A customer with one subscription that is pulled, and with these wishes.
    async fn start(wishes: Value) -> anyhow::Result<Self> {
        let world = World::on_real_parts(BINARY).await?;
        let services = Services::start(&world).await?;
        let client = Client::new(&services.base, world.customer("pulls").await?);
        let mut body = json!({"workflow_id": "w", "event_types": ["a.b"], "mode": "pull"});
        if !wishes.is_null() {
            body["delivery"] = wishes;
        }
        let made = client.post("/v1/subscriptions", body.to_string()).await?;
        let made = made.expect(StatusCode::CREATED)?;
        let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap_or_default());
        let stage = Self { world, services, client, path };
        // Until one arrives, it isn't certain that the next are matched.
        wait_until("the subscription to be matched", LIMIT, || async {
            stage.publish(&["probe"]).await.map_err(|error| error.to_string())?;
            let leased = stage.lease(json!({"wait_seconds": 1})).await;
            let leased = leased.map_err(|error| error.to_string())?;
            if names(&leased).is_empty() {
                return Err("none came".to_owned());
            }
            stage.ack(&leased).await.map_err(|error| error.to_string())
        })
        .await?;
        // Others of the probes may have been matched.
        loop {
            let leased = stage.lease(json!({"wait_seconds": 2})).await?;
            if names(&leased).is_empty() {
                return Ok(stage);
            }
            stage.ack(&leased).await?;
        }
    }

    async fn publish(&self, names: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        for name in names {
            let event = json!({"event_type": "a.b", "payload": {"name": name}}).to_string();
            let answer = self.client.post("/v1/events", event).await?;
            let answer = answer.expect(StatusCode::ACCEPTED)?;
            ids.push(answer["event_id"].as_str().unwrap_or_default().to_owned());
        }
        Ok(ids)
    }

    async fn post(&self, action: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("{}/{action}", self.path);
        self.client.post(&path, body.to_string()).await?.expect(StatusCode::OK)
    }

    async fn lease(&self, body: Value) -> anyhow::Result<Value> {
        self.post("lease", &body).await
    }

    async fn ack(&self, leased: &Value) -> anyhow::Result<()> {
        self.post("ack", &json!({"lease_id": leased["lease_id"]})).await.map(drop)
    }

    /// Leases until so many have come, in one lease for each time.
    async fn leased(&self, count: usize, seconds: u64) -> anyhow::Result<Vec<Value>> {
        let mut leases: Vec<Value> = Vec::new();
        let until = Instant::now() + LIMIT;
        while leases.iter().map(|one| names(one).len()).sum::<usize>() < count {
            anyhow::ensure!(Instant::now() < until, "only {leases:?} came");
            let body = json!({"limit": count, "wait_seconds": 5, "lease_seconds": seconds});
            leases.push(self.lease(body).await?);
        }
        Ok(leases)
    }

    async fn status(&self, event: &str, wanted: &str) -> anyhow::Result<Value> {
        wait_until(&format!("the event to be {wanted}"), LIMIT, || async {
            let event = self.client.get(&format!("/v1/events/{event}/deliveries")).await;
            let found = event.and_then(|event| event.json()).map_err(|error| error.to_string())?;
            let state = &found["data"][0]["state"];
            if state == wanted { Ok(found["data"][0].clone()) } else { Err(found.to_string()) }
        })
        .await
    }

    async fn patch(&self, body: Value) -> anyhow::Result<()> {
        let headers = &[("content-type", "application/json")];
        let sent = self.client.send(Method::PATCH, &self.path, headers, body.to_string()).await?;
        sent.expect(StatusCode::OK).map(drop)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

fn names(leased: &Value) -> Vec<&str> {
    let data = leased["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    data.iter().map(|one| one["event"]["payload"]["name"].as_str().unwrap_or_default()).collect()
}

fn id(leased: &Value, at: usize) -> &Value {
    &leased["data"][at]["delivery_id"]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn what_is_leased_is_acknowledged_or_comes_again() -> anyhow::Result<()> {
    let stage = Stage::start(json!({"retry": {"max_attempts": 2}})).await?;
    let events = stage.publish(&["a", "b", "c"]).await?;
    let leases = stage.leased(3, 60).await?;
    let all: Vec<_> = leases.iter().flat_map(names).collect();
    assert_eq!(all, ["a", "b", "c"], "in the order in which they came");
    for lease in &leases {
        let first = &lease["data"][0];
        assert_eq!(
            (&first["lease_count"], &first["possible_duplicate"]),
            (&json!(1), &json!(false))
        );
        stage.post("release", &json!({"lease_id": lease["lease_id"]})).await?;
    }
    // Nobody has it, and nothing is lost.
    let again = stage.lease(json!({"limit": 1, "lease_seconds": 60})).await?;
    assert_eq!(names(&again), ["a"]);
    assert_eq!(again["data"][0]["lease_count"], 2);
    assert_eq!(again["data"][0]["possible_duplicate"], true);
    let extend = json!({"lease_id": again["lease_id"], "lease_seconds": 90});
    assert_eq!(stage.post("extend", &extend).await?["delivery_ids"][0], *id(&again, 0));
    stage.ack(&again).await?;
    let delivery = stage.status(&events[0], "delivered").await?;
    assert_eq!(delivery["attempts"][0]["number"], 2, "{delivery}");
    let rest = stage.lease(json!({"limit": 10, "lease_seconds": 1})).await?;
    assert_eq!(names(&rest), ["b", "c"]);
    let (kept, unknown) = (id(&rest, 0), id(&again, 0));
    let some = json!({"lease_id": rest["lease_id"], "delivery_ids": [kept, unknown]});
    let acked = stage.post("ack", &some).await?;
    assert_eq!(acked, json!({"delivery_ids": [kept], "not_held": [unknown]}));
    // The third was leased twice and never acknowledged: it is given up, and can be redriven.
    let dead = stage.status(&events[2], "dead_lettered").await?;
    let told = dead["attempts"].to_string();
    assert!(told.contains("leased 2 times"), "{told}");
    let path = format!("/v1/dead-letters/{}/redrive", dead["delivery_id"].as_str().unwrap());
    stage.client.post(&path, String::new()).await?.expect(StatusCode::ACCEPTED)?;
    let redriven = stage.leased(1, 60).await?.pop().unwrap_or_default();
    assert_eq!(names(&redriven), ["c"]);
    stage.ack(&redriven).await?;
    stage.status(&events[2], "delivered").await?;
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_pause_keeps_and_a_switch_of_mode_loses_nothing() -> anyhow::Result<()> {
    let stage = Stage::start(Value::Null).await?;
    let receiver = Receiver::start().await?;
    let path = stage.path.clone();
    stage.client.post(&format!("{path}/pause"), String::new()).await?.expect(StatusCode::OK)?;
    let refused = stage.client.post(&format!("{path}/lease"), String::new()).await?;
    assert!(refused.expect(StatusCode::CONFLICT)?["detail"].to_string().contains("paused"));
    let mut events = stage.publish(&["while paused"]).await?;
    stage.status(&events[0], "pending").await?;
    stage.client.post(&format!("{path}/resume"), String::new()).await?.expect(StatusCode::OK)?;
    let leases = stage.leased(1, 3_600).await?;
    assert_eq!(names(leases.last().unwrap()), ["while paused"]);
    let lease = json!({"lease_id": leases.last().unwrap()["lease_id"]});
    // Sent from now on: what was leased and is given back, what waits, and what comes.
    events.extend(stage.publish(&["waits"]).await?);
    let url = receiver.endpoint("one", Secret::generate(), Vec::new());
    let secret = receiver.secret("one").reveal();
    let (rotate, body) = (format!("{path}/rotate-secret"), json!({"secret": secret}));
    stage.client.post(&rotate, body.to_string()).await?.expect(StatusCode::OK)?;
    stage.patch(json!({"mode": "webhook", "delivery": {"url": url}})).await?;
    stage.post("release", &lease).await?;
    events.extend(stage.publish(&["comes"]).await?);
    wait_for(&receiver, "one", 3).await?;
    // And back: what the endpoint refuses is leased instead.
    receiver.endpoint("one", receiver.secret("one"), vec![503; 1_000]);
    stage.patch(json!({"mode": "both", "delivery": {"retry": {"schedule": ["24h"]}}})).await?;
    events.extend(stage.publish(&["refused"]).await?);
    stage.status(&events[3], "retrying").await?;
    let pulled = stage.leased(1, 60).await?.pop().unwrap_or_default();
    assert_eq!(names(&pulled), ["refused"]);
    assert_eq!(pulled["data"][0]["possible_duplicate"], true);
    stage.ack(&pulled).await?;
    for event in &events {
        stage.status(event, "delivered").await?;
    }
    stage.patch(json!({"mode": "webhook"})).await?;
    let refused = stage.client.post(&format!("{path}/lease"), String::new()).await?;
    assert!(refused.expect(StatusCode::CONFLICT)?["detail"].to_string().contains("webhooks"));
    stage.end().await
}

/// R25: consumers lease and acknowledge while whoever serves them is killed: each event is worked
/// off, and no two hold one at the same time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn leases_outlive_kills() -> anyhow::Result<()> {
    const COUNT: usize = 300;
    const LEASE: Duration = Duration::from_secs(3);
    let mut stage = Stage::start(json!({"retry": {"max_attempts": 50}})).await?;
    let all: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    stage.publish(&all.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let base = Arc::new(Mutex::new(stage.services.base.clone()));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let worker = |number: usize| {
        let (base, acknowledged) = (Arc::clone(&base), Arc::clone(&acknowledged));
        let (key, path) = (stage.client.key().to_owned(), stage.path.clone());
        tokio::spawn(async move {
            let body = json!({"limit": 7, "wait_seconds": 1, "lease_seconds": LEASE.as_secs()});
            let (mut seen, mut idle) = (Vec::new(), 0);
            // Answers may be lost with the gateway: then the lease runs out.
            while idle < 6 {
                let client = Client::new(base.lock().unwrap().clone(), &*key);
                let asked = Instant::now();
                let answer = client.post(&format!("{path}/lease"), body.to_string()).await;
                let Some(leased) =
                    answer.ok().and_then(|answer| answer.expect(StatusCode::OK).ok())
                else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let data = leased["data"].as_array().cloned().unwrap_or_default();
                idle = if data.is_empty() { idle + 1 } else { 0 };
                for (at, one) in data.iter().enumerate() {
                    let name = one["event"]["payload"]["name"].as_str().unwrap_or_default();
                    seen.push((name.to_owned(), asked, Instant::now()));
                    // Every fifth is forgotten, as by a consumer that died.
                    if (at + number).is_multiple_of(5) && one["lease_count"] == 1 {
                        continue;
                    }
                    let ack = json!({"lease_id": leased["lease_id"],
                        "delivery_ids": [one["delivery_id"]]});
                    let noted = client.post(&format!("{path}/ack"), ack.to_string()).await;
                    if noted.is_ok_and(|noted| noted.status == StatusCode::OK) {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            seen
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    for round in 1..4 {
        wait_until("some to be acknowledged", LIMIT, || async {
            let done = acknowledged.load(Ordering::Relaxed);
            if done >= round * COUNT / 5 { Ok(()) } else { Err(done.to_string()) }
        })
        .await?;
        let mut next = stage.world.start(&["gateway"])?;
        let serving = next.logged("serving").await?;
        std::mem::replace(&mut stage.services.gateway, next).kill().await?;
        *base.lock().unwrap() = format!("http://{}", serving["http"].as_str().unwrap());
        let next = stage.world.start(&["delivery"])?;
        std::mem::replace(&mut stage.services.delivery, next).kill().await?;
    }
    stage.client = Client::new(base.lock().unwrap().clone(), stage.client.key());
    let mut seen: Vec<(String, Instant, Instant)> = Vec::new();
    for worker in workers {
        seen.extend(worker.await?);
    }
    let given: HashSet<_> = seen.iter().map(|one| one.0.clone()).collect();
    assert_eq!(given.len(), COUNT, "each is given to somebody");
    // Two leases of one event: the second may begin when the first has ended, and no sooner.
    let mut times: HashMap<String, Vec<(Instant, Instant)>> = HashMap::new();
    for (name, asked, got) in seen {
        times.entry(name).or_default().push((asked, got));
    }
    for (name, mut times) in times {
        times.sort();
        for pair in times.windows(2) {
            let apart = pair[1].1.duration_since(pair[0].0);
            assert!(apart >= LEASE, "{name} was held by two: {apart:?} apart");
        }
    }
    let left = stage.lease(json!({"limit": 100})).await?;
    assert_eq!(names(&left), [""; 0], "all are acknowledged");
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn listen_forwards_to_this_machine_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut world = World::on_real_parts(BINARY).await?;
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("listens").await?);
    world.set("TRIGGERLINE_URL", &services.base);
    world.set("TRIGGERLINE_API_KEY", client.key());
    let receiver = Receiver::start().await?;
    let url = receiver.endpoint("hook", Secret::generate(), vec![500]);
    let secret = receiver.secret("hook").reveal();
    let command = ["listen", "--forward-to", &url, "--type", "a.*", "--jsonpath", "$.yes"];
    let command = [&command[..], &["--secret", &secret]].concat();
    // One that is killed leaves its subscription to the next.
    let killed = world.start(&command)?;
    let subscriptions = async || {
        let page = client.get("/v1/subscriptions").await.and_then(|page| page.json());
        let page = page.map_err(|error| error.to_string())?;
        Ok::<_, String>(page["data"].as_array().cloned().unwrap_or_default())
    };
    let first = wait_until("a subscription", LIMIT, || async {
        subscriptions().await?.pop().ok_or_else(|| "none".to_owned())
    })
    .await?;
    killed.kill().await?;
    let second = world.start(&command)?;
    wait_until("another subscription", LIMIT, || async {
        match &subscriptions().await?[..] {
            [one] if one["id"] != first["id"] => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await?;
    // The first answer is a 500; nothing is sent twice all the same.
    wait_until("three webhooks", LIMIT, || async {
        for payload in [&br#"{"yes":1.50}"#[..], br#"{"no":1}"#] {
            client.publish("a.b", payload).await.map_err(|error| error.to_string())?;
        }
        if receiver.count() >= 3 { Ok(()) } else { Err(receiver.count().to_string()) }
    })
    .await?;
    let all = receiver.received();
    assert!(all.iter().all(|one| one.fault.is_none()), "{all:?}");
    let wanted = receiver.digest_of(br#"{"yes":1.50}"#);
    assert!(all.iter().all(|one| one.digest == wanted), "byte for byte: {all:?}");
    let ids: HashSet<_> = all.iter().map(|one| &one.webhook_id).collect();
    assert_eq!(ids.len(), all.len());
    assert!(second.terminate().await?.success());
    assert!(subscriptions().await.map_err(anyhow::Error::msg)?.is_empty());
    services.terminate().await?;
    world.tear_down().await
}
