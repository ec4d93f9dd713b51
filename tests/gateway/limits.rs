//! How often a key may ask.

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;
use triggerline_testkit::wait_until;

use crate::{Gateway, LIMIT, One, kind, text};

const EVENT: &str = r#"{"event_type":"a.b","payload":1}"#;

async fn limited(one: &One, limit: &str) -> anyhow::Result<String> {
    let arguments = ["customers", "create", "limited", "--rate-limit", limit];
    Ok(text(&one.world.printed(&arguments).await?, "api_key"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn two_gateways_together_never_exceed_a_limit() -> anyhow::Result<()> {
    let one = One::start().await?;
    let other = Gateway::start(&one.world).await?;
    let key = limited(&one, "200/1h").await?;
    let doors = [one.gateway.client(&key), other.client(&key)];
    let posts = (0..400).map(|n| {
        let door = doors[n % 2].clone();
        tokio::spawn(async move { door.post("/v1/events", EVENT).await })
    });
    let (mut accepted, mut refused) = (0, 0);
    for answer in join_all(posts).await {
        let answer = answer??;
        assert_eq!(answer.headers["ratelimit-policy"], "\"key\";q=200;w=3600");
        if answer.status == StatusCode::ACCEPTED {
            accepted += 1;
            continue;
        }
        refused += 1;
        let retry: u64 = answer.headers["retry-after"].to_str()?.parse()?;
        assert!((3_500..=3_700).contains(&retry), "{retry}");
        let fields = answer.headers["ratelimit"].to_str()?.to_owned();
        assert!(fields.starts_with("\"key\";r="), "{fields}");
        assert_eq!(kind(&answer.expect(StatusCode::TOO_MANY_REQUESTS)?), "rate-limited");
    }
    // A few permits may be held by the gateway that was not asked last.
    assert!((190..=200).contains(&accepted), "{accepted} accepted, {refused} refused");
    other.process.terminate().await?;
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_limit_comes_back_and_retry_after_is_not_too_early() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.gateway.client(&limited(&one, "5/2s").await?);
    let begun = Instant::now();
    for _ in 0..5 {
        client.post("/v1/events", EVENT).await?.expect(StatusCode::ACCEPTED)?;
    }
    let answer = client.post("/v1/events", EVENT).await?;
    answer.expect(StatusCode::TOO_MANY_REQUESTS)?;
    let retry: u64 = answer.headers["retry-after"].to_str()?.parse()?;
    assert!((1..=3).contains(&retry), "{retry}");
    wait_until("the limit to come back", LIMIT, || async {
        let status =
            client.post("/v1/events", EVENT).await.map_err(|error| error.to_string())?.status;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before the window has passed");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_batch_counts_as_its_events() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.gateway.client(&limited(&one, "10/1h").await?);
    let batch = |n: usize| format!("[{}]", vec![EVENT; n].join(","));
    let answer = client.post("/v1/events/batch", batch(8)).await?;
    answer.expect(StatusCode::ACCEPTED)?;
    let answer = client.post("/v1/events/batch", batch(8)).await?;
    let problem = answer.expect(StatusCode::TOO_MANY_REQUESTS)?;
    assert_eq!(kind(&problem), "rate-limited");
    let client = one.gateway.client(&limited(&one, "10/1h").await?);
    let answer = client.post("/v1/events/batch", batch(12)).await?;
    let problem = answer.expect(StatusCode::TOO_MANY_REQUESTS)?;
    assert!(text(&problem, "detail").contains("ever allows"), "{problem}");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn without_redis_limits_are_local_and_only_keyed_requests_wait() -> anyhow::Result<()> {
    let one = One::with(&[("TRIGGERLINE_CACHE__URL", "redis://127.0.0.1:1")]).await?;
    let client = one.gateway.client(&limited(&one, "20/1h").await?);
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k")];
    let answer = client.send(Method::POST, "/v1/events", &keyed, EVENT).await?;
    let problem = answer.expect(StatusCode::SERVICE_UNAVAILABLE)?;
    assert!(text(&problem, "detail").contains("Nothing was done"), "{problem}");
    assert!(answer.headers.contains_key("retry-after"));
    let mut accepted = 0;
    for _ in 0..30 {
        let answer = client.post("/v1/events", EVENT).await?;
        accepted += usize::from(answer.status == StatusCode::ACCEPTED);
    }
    assert_eq!(accepted, 19, "the keyed request counted as well");
    let mut world = one.world;
    assert!(one.gateway.process.terminate().await?.success());

    world.set("TRIGGERLINE_GATEWAY__IDEMPOTENCY_WITHOUT_CACHE", "accept");
    world.set("TRIGGERLINE_GATEWAY__RATE_LIMIT_WITHOUT_CACHE", "refuse");
    let gateway = Gateway::start(&world).await?;
    let client = gateway.client(client.key());
    let answer = client.send(Method::POST, "/v1/events", &keyed, EVENT).await?;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(gateway.process.terminate().await?.success());
    world.set("TRIGGERLINE_GATEWAY__RATE_LIMIT_WITHOUT_CACHE", "accept");
    let gateway = Gateway::start(&world).await?;
    let client = gateway.client(client.key());
    for _ in 0..30 {
        let answer = client.send(Method::POST, "/v1/events", &keyed, EVENT).await?;
        let body = answer.expect(StatusCode::ACCEPTED)?;
        assert_eq!(body["status"], "accepted", "{}", json!(body));
    }
    assert!(gateway.process.terminate().await?.success());
    world.tear_down().await
}
