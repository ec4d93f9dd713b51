//! Delivery as receivers see it, on real Kafka and PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod answers;
mod batches;
mod connections;
mod days;
mod grpc;
mod hostile;
mod identity;
mod isolation;
mod killed;
mod members;
mod order;
mod poison;
mod pull;
mod reach;
mod replays;
mod selectors;
mod wishes;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use triggerline_testkit::{Client, Receiver, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
const LIMIT: Duration = Duration::from_mins(2);

/// Publishes `count` events of a type, in batches; their payloads are their numbers.
async fn publish(client: &Client, event_type: &str, count: usize) -> anyhow::Result<()> {
    let numbers: Vec<_> = (0..count).collect();
    for numbers in numbers.chunks(1_000) {
        let event = |n: &usize| json!({"event_type": event_type, "payload": {"n": n}});
        let batch: Vec<Value> = numbers.iter().map(event).collect();
        let answer = client.post("/v1/events/batch", json!(batch).to_string()).await?;
        answer.expect(StatusCode::ACCEPTED)?;
    }
    Ok(())
}

/// How many different events an endpoint has answered 2xx.
fn arrived(receiver: &Receiver, path: &str) -> usize {
    let all = receiver.received();
    let mut ids: Vec<_> = all
        .iter()
        .filter(|one| one.path == path && one.fault.is_none() && one.status < 300)
        .map(|one| &one.webhook_id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// Waits until a new subscription is matched. One event arrives at it.
async fn matched(client: &Client, event_type: &str) -> anyhow::Result<()> {
    let event = json!({"event_type": event_type, "payload": "first"}).to_string();
    let answer = client.post("/v1/events", event).await?.expect(StatusCode::ACCEPTED)?;
    let id = answer["event_id"].as_str().unwrap_or_default();
    let stored = wait_until("a first event to be matched", LIMIT, || async {
        let event = client.get(&format!("/v1/events/{id}")).await;
        let event = event.and_then(|event| event.json()).map_err(|error| error.to_string())?;
        match event["status"].as_str() {
            Some("unmatched") => Ok(false),
            Some("delivered") => Ok(true),
            _ => Err(event.to_string()),
        }
    })
    .await?;
    if stored { Ok(()) } else { Box::pin(matched(client, event_type)).await }
}

async fn wait_for(receiver: &Receiver, path: &str, count: usize) -> anyhow::Result<()> {
    wait_until(&format!("{count} events at {path}"), LIMIT, || async {
        match arrived(receiver, path) {
            arrived if arrived >= count => Ok(()),
            arrived => Err(format!("{arrived} arrived, {} asked", receiver.asked(path))),
        }
    })
    .await
}
