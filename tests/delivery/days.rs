//! What takes hours and days, on a clock that is put forward.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinHandle;
use triggerline_testkit::{Client, Receiver, Services, World, subscribe, wait_until};

use crate::{BINARY, LIMIT, matched};

/// A customer of services whose clock a test can make run fast.
struct Days {
    world: World,
    services: Services,
    receiver: Receiver,
    client: Client,
    clock: PathBuf,
}

impl Days {
    async fn start() -> anyhow::Result<Self> {
        let mut world = World::on_real_parts(BINARY).await?;
        let clock = world.folder.path().join("clock");
        world.set("TRIGGERLINE_DELIVERY__CLOCK_FILE", &clock.display().to_string());
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        receiver.ignores_time();
        let client = Client::new(&services.base, world.customer("days").await?);
        Ok(Self { world, services, receiver, client, clock })
    }

    /// From now on half an hour passes in each 50 ms.
    fn hurry(&self) -> Hurry {
        let clock = self.clock.clone();
        Hurry(tokio::spawn(async move {
            for step in 1.. {
                // Aside first: whoever reads it reads all of it.
                let aside = clock.with_extension("new");
                std::fs::write(&aside, format!("{}m", 30 * step)).unwrap();
                std::fs::rename(&aside, &clock).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    async fn publish(&self) -> anyhow::Result<String> {
        let answer = self.client.publish("a.b", b"1").await?.expect(StatusCode::ACCEPTED)?;
        Ok(answer["event_id"].as_str().unwrap_or_default().to_owned())
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.client.get(path).await.and_then(|answer| answer.json());
        answer.map_err(|error| error.to_string())
    }

    /// The deliveries of an event, once each is in this state.
    async fn all_in(&self, event: &str, state: &str) -> anyhow::Result<Value> {
        let path = format!("/v1/events/{event}/deliveries");
        wait_until(&format!("the deliveries of {event} to be {state}"), LIMIT, || async {
            let page = self.get(&path).await?;
            let deliveries = page["data"].as_array().cloned().unwrap_or_default();
            let there =
                !deliveries.is_empty() && deliveries.iter().all(|one| one["state"] == state);
            if there { Ok(page["data"].clone()) } else { Err(page.to_string()) }
        })
        .await
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

struct Hurry(JoinHandle<()>);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_delivery_is_tried_for_a_day_before_it_is_given_up() -> anyhow::Result<()> {
    let days = Days::start().await?;
    subscribe(&days.client, &days.receiver, "busy", "a.b", None, vec![200]).await?;
    matched(&days.client, "a.b").await?;
    // From now on it is out of order.
    let secret = days.receiver.secret("busy");
    days.receiver.endpoint("busy", secret, vec![503; 100]);
    let hurry = days.hurry();
    let event = days.publish().await?;
    let deliveries = days.all_in(&event, "dead_lettered").await?;
    drop(hurry);
    let attempts = deliveries[0]["attempts"].as_array().unwrap();
    let started = |one: &Value| {
        OffsetDateTime::parse(one["started_at"].as_str().unwrap_or_default(), &Rfc3339).unwrap()
    };
    let waits: Vec<_> = attempts
        .windows(2)
        .map(|two| (started(&two[1]) - started(&two[0])).whole_seconds())
        .collect();
    // The tiers, less a fifth.
    let least = [4, 48, 240, 1_440, 5_760, 17_280, 34_560];
    assert_eq!(waits.len(), least.len(), "{deliveries:#}");
    for (waited, least) in waits.iter().zip(least) {
        assert!(*waited >= least, "{waits:?}");
    }
    let end = &attempts[7];
    assert!(end.to_string().contains("attempt 8 was the last"), "{end}");
    days.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_endpoint_that_only_fails_for_five_days_is_disabled_and_its_owner_told()
-> anyhow::Result<()> {
    let started = Days::start().await?;
    let days = &started;
    let (client, receiver) = (&days.client, &days.receiver);
    let operational = "triggerline.endpoint.*";
    subscribe(client, receiver, "told", operational, None, Vec::new()).await?;
    subscribe(client, receiver, "all", "*", None, Vec::new()).await?;
    let down = subscribe(client, receiver, "down", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    let secret = receiver.secret("down");
    receiver.endpoint("down", secret.clone(), vec![500; 10_000]);
    let hurry = days.hurry();
    let told =
        |path: &'static str| receiver.received().iter().filter(|one| one.path == path).count();
    let mut events = 0;
    wait_until("its owner to be told", LIMIT, || {
        // One after the other is given up, so that there is no day without a failure.
        let fresh = receiver.asked("down") >= 8 * events;
        events += usize::from(fresh);
        async move {
            if fresh {
                days.publish().await.map_err(|error| error.to_string())?;
            }
            if told("told") == 1 {
                Ok(())
            } else {
                Err(format!("asked {}", receiver.asked("down")))
            }
        }
    })
    .await?;
    let path = format!("/v1/subscriptions/{down}");
    let state = wait_until("it to be disabled", LIMIT, || async {
        let found = days.get(&path).await?;
        if found["state"] == "disabled" { Ok(found) } else { Err(found.to_string()) }
    })
    .await?;
    assert!(state["reason"].as_str().unwrap().starts_with("nothing but failure since "), "{state}");
    // The receiver may be told before storage is.
    let page = wait_until("the event to be stored", LIMIT, || async {
        let page = days.get("/v1/events?event_type=triggerline.endpoint.disabled").await?;
        if page["data"] == json!([]) { Err(page.to_string()) } else { Ok(page) }
    })
    .await?;
    assert_eq!(page["data"][0]["payload"]["subscription_id"], json!(down), "{page}");
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    let audit = days.get("/v1/audit").await.unwrap();
    assert!(audit.to_string().contains("subscription.disabled"), "{audit}");
    // Given another chance, it works.
    receiver.endpoint("down", secret, Vec::new());
    client.post(&format!("{path}/resume"), "").await?.expect(StatusCode::OK)?;
    wait_until("a delivery after its end", LIMIT, || async {
        let event = days.publish().await.map_err(|error| error.to_string())?;
        let found = days.all_in(&event, "delivered").await.map_err(|error| error.to_string())?;
        if found.to_string().contains(&down) { Ok(()) } else { Err(found.to_string()) }
    })
    .await?;
    drop(hurry);
    let operational = receiver.received().into_iter().filter(|one| one.path == "all");
    let ids: Vec<_> = operational.filter_map(|one| one.event_id).map(|id| id.to_string()).collect();
    assert!(!ids.contains(&page["data"][0]["event_id"].as_str().unwrap().to_owned()));
    started.end().await
}
