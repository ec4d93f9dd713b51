//! What the gateway counts, as Prometheus sees it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use http::{Method, StatusCode};
use triggerline_testkit::{Metrics, wait_until};
use triggerline_wire::proto::events_client::EventsClient;

use crate::doors::{event, with_key};
use crate::{LIMIT, One};

const DOCUMENTED: &str = include_str!("../../docs/metrics.md");

/// The page, once a line has a value. An answer is counted when it has been sent.
async fn once(metrics: &Metrics, line: &str, expected: f64) -> anyhow::Result<String> {
    wait_until(&format!("{line} to be {expected}"), LIMIT, || async {
        let page = metrics.page().await.map_err(|error| error.to_string())?;
        if Metrics::value(&page, line) == Some(expected) { Ok(page) } else { Err(page) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn what_happened_is_counted() -> anyhow::Result<()> {
    let mut one = One::start().await?;
    let metrics = Metrics::of(&mut one.gateway.process).await?;
    let client = one.client();
    let body = r#"{"event_type":"a.b","payload":{}}"#;
    client.post("/v1/events", "{").await?.expect(StatusCode::BAD_REQUEST)?;
    let batch = format!(r#"[{body},{{"event_type":"a b","payload":1}}]"#);
    client.post("/v1/events/batch", batch).await?.expect(StatusCode::MULTI_STATUS)?;
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k")];
    for _ in 0..3 {
        let answer = client.send(Method::POST, "/v1/events", &keyed, body).await?;
        answer.expect(StatusCode::ACCEPTED)?;
    }
    let mut events = EventsClient::connect(one.gateway.grpc.clone()).await?;
    events.publish(with_key(&one.key, event("a.b", "{}"))).await?;
    events.publish(with_key(&one.key, event("a b", "{}"))).await.unwrap_err();

    once(&metrics, "triggerline_grpc_responses_total{code=\"InvalidArgument\"}", 1.0).await?;
    let page = once(&metrics, "triggerline_http_responses_total{status=\"202\"}", 3.0).await?;
    for (line, expected) in [
        ("triggerline_http_responses_total{status=\"400\"}", 1.0),
        ("triggerline_http_responses_total{status=\"207\"}", 1.0),
        ("triggerline_http_response_seconds_count", 5.0),
        ("triggerline_http_response_seconds_bucket{le=\"60\"}", 5.0),
        ("triggerline_grpc_responses_total{code=\"Ok\"}", 1.0),
        ("triggerline_grpc_call_seconds_count", 2.0),
        ("triggerline_events_total{outcome=\"accepted\"}", 3.0),
        ("triggerline_events_total{outcome=\"refused\"}", 2.0),
        ("triggerline_events_total{outcome=\"quarantined\"}", 0.0),
        ("triggerline_produce_seconds_count", 3.0),
        ("triggerline_idempotency_total{found=\"reserved\"}", 1.0),
        ("triggerline_idempotency_total{found=\"replayed\"}", 2.0),
        ("triggerline_rate_limit_cache_asks_total{result=\"error\"}", 0.0),
        ("triggerline_rate_limit_without_cache", 0.0),
    ] {
        assert_eq!(Metrics::value(&page, line), Some(expected), "{line} in {page}");
    }
    let names = |page: &str, start: &str, end: char| -> BTreeSet<String> {
        let named = page.lines().filter_map(|line| line.strip_prefix(start)?.split(end).next());
        named.map(str::to_owned).collect()
    };
    let section = DOCUMENTED.split("\n## ").find(|section| section.starts_with("Gateway"));
    let documented = names(section.context("no section")?, "| `", '`');
    assert_eq!(names(&page, "# HELP ", ' '), documented, "docs/metrics.md");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn it_shows_that_redis_is_away() -> anyhow::Result<()> {
    let mut one = One::with(&[("TRIGGERLINE_CACHE__URL", "redis://127.0.0.1:1")]).await?;
    let metrics = Metrics::of(&mut one.gateway.process).await?;
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k")];
    let body = r#"{"event_type":"a.b","payload":{}}"#;
    let answer = one.client().send(Method::POST, "/v1/events", &keyed, body).await?;
    answer.expect(StatusCode::SERVICE_UNAVAILABLE)?;
    let page = once(&metrics, "triggerline_rate_limit_without_cache", 1.0).await?;
    let unavailable = "triggerline_idempotency_total{found=\"unavailable\"}";
    assert_eq!(Metrics::value(&page, unavailable), Some(1.0), "{page}");
    one.end().await
}
