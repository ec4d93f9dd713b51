//! What a subscription may wish for: headers, a time-out, retries, a rate, a new secret.

use std::collections::HashSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use triggerline_testkit::{Client, Receiver, Services, World, wait_until};
use triggerline_types::Secret;

use crate::{BINARY, LIMIT, arrived, matched, publish, wait_for};

struct Stage {
    world: World,
    services: Services,
    receiver: Receiver,
    client: Client,
}

impl Stage {
    async fn start() -> anyhow::Result<Self> {
        let world = World::on_real_parts(BINARY).await?;
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        let client = Client::new(&services.base, world.customer("wishes").await?);
        Ok(Self { world, services, receiver, client })
    }

    /// Subscribes an endpoint with these wishes.
    async fn subscribe(
        &self,
        path: &str,
        event_type: &str,
        wishes: Value,
    ) -> anyhow::Result<Value> {
        let secret = Secret::generate();
        let mut delivery = wishes;
        delivery["url"] = json!(self.receiver.endpoint(path, secret.clone(), Vec::new()));
        delivery["secret"] = json!(secret.reveal());
        let body = json!({"workflow_id": path, "event_types": [event_type], "delivery": delivery});
        self.client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)
    }

    /// The only dead letter.
    async fn dead(&self) -> anyhow::Result<Value> {
        wait_until("a dead letter", LIMIT, || async {
            let page = self.client.get("/v1/dead-letters").await;
            let page = page.and_then(|page| page.json()).map_err(|error| error.to_string())?;
            match page["data"].as_array().map(Vec::as_slice) {
                Some([one]) => Ok(one.clone()),
                _ => Err(page.to_string()),
            }
        })
        .await
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn headers_retries_and_the_time_out_are_as_was_wished() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    let wishes = json!({
        "headers": {"X-Team": "a b", "X-Token": "s3cret"},
        "timeout_ms": 1_000,
        "retry": {"schedule": ["1s"], "max_attempts": 3},
    });
    let made = stage.subscribe("one", "a.b", wishes).await?;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(made["delivery"]["header_names"], json!(["x-team", "x-token"]));
    assert!(!made.to_string().contains("s3cret"), "{made}");
    matched(client, "a.b").await?;
    let extra = receiver.received()[0].extra.clone();
    assert_eq!(
        extra,
        [("x-team", "a b"), ("x-token", "s3cret")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    // Three attempts and no more.
    receiver.endpoint("one", receiver.secret("one"), vec![503; 3]);
    publish(client, "a.b", 1).await?;
    let dead = stage.dead().await?;
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(3), "{dead}");
    assert!(dead["reason"].as_str().unwrap().contains("attempt 3 was the last"), "{dead}");
    // Changed, by whoever has seen what it is.
    let shown = client.get(&path).await?;
    let tag = shown.headers["etag"].to_str()?.to_owned();
    let fields = json!({"delivery": {
        "headers": {"x-token": null, "x-team": "b"}, "retry": {"max_attempts": 1, "schedule": null},
    }});
    let change = async |tag: &str| {
        let headers = [("content-type", "application/merge-patch+json"), ("if-match", tag)];
        client.send(Method::PATCH, &path, &headers, fields.to_string()).await
    };
    let changed = change(&tag).await?;
    assert_ne!(changed.headers["etag"].to_str()?, tag);
    let changed = changed.expect(StatusCode::OK)?;
    assert_eq!(changed["delivery"]["header_names"], json!(["x-team"]));
    assert_eq!(changed["delivery"]["retry"], json!({"max_attempts": 1}));
    assert_eq!(changed["delivery"]["timeout_ms"], 1_000);
    change(&tag).await?.expect(StatusCode::PRECONDITION_FAILED)?;
    // Who never answers has had its second, once.
    let replay = client.post("/v1/dead-letters/redrive", "").await?;
    receiver.endpoint("one", receiver.secret("one"), Vec::new());
    receiver.answers("one", false);
    replay.expect(StatusCode::ACCEPTED)?;
    let dead = wait_until("it to be given up again", LIMIT, || async {
        let dead = stage.dead().await.map_err(|error| error.to_string())?;
        let reason = dead["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("1000 ms") { Ok(dead) } else { Err(dead.to_string()) }
    })
    .await?;
    assert!(dead["reason"].as_str().unwrap().contains("attempt 1 was the last"), "{dead}");
    let audit = client.get("/v1/audit").await?.json()?;
    assert!(audit.to_string().contains("subscription.updated"), "{audit}");
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_rotated_secret_signs_beside_the_new_one_for_a_while() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    let made = stage.subscribe("one", "a.b", json!({})).await?;
    let path = format!("/v1/subscriptions/{}/rotate-secret", made["id"].as_str().unwrap());
    matched(client, "a.b").await?;
    let rotate =
        async |body: Value| client.post(&path, body.to_string()).await?.expect(StatusCode::OK);
    let rotated = rotate(json!({"overlap_seconds": 3_600})).await?;
    let new = Secret::parse(rotated["secret"].as_str().unwrap())?;
    assert_ne!(new, receiver.secret("one"));
    assert_eq!(rotated["delivery"]["old_secrets_until"].as_array().map(Vec::len), Some(1));
    // The receiver has not changed over yet, then it has. A second on, every process knows.
    let signed_by = async |secret: &Secret| {
        receiver.endpoint("one", secret.clone(), Vec::new());
        let seen = receiver.count();
        publish(client, "a.b", 1).await?;
        wait_until("a delivery", LIMIT, || async {
            let received = receiver.received_since(seen);
            received.first().map(|one| one.fault.is_none()).ok_or_else(|| "none".to_owned())
        })
        .await
    };
    let old = receiver.secret("one");
    wait_until("both to sign", LIMIT, || async {
        let by_new = signed_by(&new).await.map_err(|error| error.to_string())?;
        if by_new { Ok(()) } else { Err("the new one doesn't".to_owned()) }
    })
    .await?;
    assert!(signed_by(&old).await? && signed_by(&new).await?);
    // Found out by somebody: the old ones end at once.
    let rotated = rotate(json!({"overlap_seconds": 0})).await?;
    let newest = Secret::parse(rotated["secret"].as_str().unwrap())?;
    wait_until("the newest to sign", LIMIT, || async {
        let signs = signed_by(&newest).await.map_err(|error| error.to_string())?;
        if signs { Ok(()) } else { Err("it doesn't".to_owned()) }
    })
    .await?;
    assert!(!signed_by(&new).await? && !signed_by(&old).await?);
    let shown = client.get("/v1/subscriptions").await?.json()?;
    assert!(!shown.to_string().contains("whsec_"), "{shown}");
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_slow_pace_that_was_wished_for_is_kept_and_holds_nobody_else_up() -> anyhow::Result<()> {
    const EVENTS: usize = 120;
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    stage.subscribe("fast", "a.b", json!({})).await?;
    let wishes = json!({"rate_limit": {"rate": "20/1s", "burst": 5}});
    stage.subscribe("slow", "a.b", wishes).await?;
    matched(client, "a.b").await?;
    wait_for(receiver, "slow", 1).await?;
    let seen = receiver.count();
    publish(client, "a.b", EVENTS).await?;
    wait_for(receiver, "fast", EVENTS + 1).await?;
    let slow_then = arrived(receiver, "slow");
    assert!(slow_then < EVENTS, "{slow_then} had arrived when all had at the other");
    wait_for(receiver, "slow", EVENTS + 1).await?;
    let mut times: Vec<_> = receiver
        .received_since(seen)
        .into_iter()
        .filter(|one| one.path == "slow")
        .map(|one| one.at)
        .collect();
    times.sort_unstable();
    // In no second more than its rate and its burst. (Turns are given evenly; a request may be
    // on its way for a while.)
    for (first, time) in times.iter().enumerate() {
        let within = times[first..].iter().filter(|other| **other - *time < time::Duration::SECOND);
        assert!(within.count() <= 35, "from {time} on: {times:?}");
    }
    let ids: HashSet<_> = receiver
        .received()
        .into_iter()
        .filter(|one| one.path == "slow")
        .map(|one| one.webhook_id)
        .collect();
    assert_eq!(ids.len(), EVENTS + 1);
    assert!(*times.last().unwrap() - times[0] >= time::Duration::milliseconds(5_500));
    stage.end().await
}
