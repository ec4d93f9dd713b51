//! `triggerline listen`: webhooks to a developer's own machine, which nobody else can reach.
//!
//! It makes a subscription that is pulled, leases what comes and sends each on as the delivery
//! service would, byte for byte and signed. So it needs no way in: it only asks. What it made it
//! deletes when it ends; what an earlier one left behind that was killed, the next one deletes.
#![allow(clippy::print_stderr, reason = "what goes wrong is told beside the result")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use triggerline_service::signals;
use triggerline_types::{
    CustomerId, DeliveryId, Event, EventId, EventType, Secret, format_instant, parse_instant,
};
use triggerline_wire::webhook;

use super::api::Api;
use super::args::Listen;
use super::{print, text};

/// Leased at once, and for how long; the call waits for the first as long as it may.
const LEASE: (usize, u64) = (10, 60);
const WAIT_SECONDS: u64 = 20;
/// For the server on this machine: whoever debugs it takes a while.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries while the gateway doesn't answer.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Lease {
    lease_id: String,
    data: Vec<Leased>,
}

#[derive(Deserialize)]
struct Leased {
    delivery_id: DeliveryId,
    event: Bare,
}

#[derive(Deserialize)]
struct Bare {
    event_id: EventId,
    event_type: String,
    source: String,
    subject: Option<String>,
    occurred_at: String,
    received_at: String,
    #[serde(default)]
    extensions: BTreeMap<String, String>,
    payload: Box<RawValue>,
}

impl Bare {
    fn event(self) -> anyhow::Result<Event> {
        Ok(Event {
            id: self.event_id,
            customer_id: CustomerId::new(),
            event_type: EventType::parse(self.event_type)?,
            source: self.source,
            subject: self.subject,
            occurred_at: parse_instant(&self.occurred_at)?,
            received_at: parse_instant(&self.received_at)?,
            extensions: self.extensions,
            traceparent: None,
            quarantined: None,
            payload: Bytes::copy_from_slice(self.payload.get().as_bytes()),
        })
    }
}

pub(crate) async fn listen(asked: &Listen) -> anyhow::Result<()> {
    let api = Api::new(&asked.gateway)?;
    let ended = signals::shutdown()?;
    let secret = match &asked.secret {
        Some(text) => Secret::parse(text).context("--secret can't be used")?,
        None => Secret::generate(),
    };
    let workflow = workflow(asked);
    for left in api.list("/v1/subscriptions", &[], usize::MAX).await? {
        if text(&left, "workflow_id") == workflow {
            api.delete(&format!("/v1/subscriptions/{}", text(&left, "id"))).await?;
        }
    }
    let new = json!({
        "workflow_id": workflow,
        "event_types": asked.event_types,
        "selector": {"jsonpath": asked.jsonpath},
        "mode": "pull",
    });
    let made: Value = api.post("/v1/subscriptions", Some(&new)).await?;
    let path = format!("/v1/subscriptions/{}", text(&made, "id"));
    let told = json!({"listening": asked.forward_to.as_str(), "secret": secret.for_receivers()});
    print(asked.gateway.output, &told, |told| {
        format!("Forwarding to {}, signed with {}", asked.forward_to, text(told, "secret"))
    });
    let listened = tokio::select! {
        Err(error) = forward(&api, asked, &path, &secret) => Err(error),
        () = ended.cancelled() => Ok(()),
    };
    api.delete(&path).await.context("the subscription could not be deleted")?;
    listened
}

/// What the subscription is called: the same for the same use, so that what was left is found.
fn workflow(asked: &Listen) -> String {
    let name = |name| std::env::var(name).unwrap_or_default();
    let mut workflow = format!(
        "triggerline listen {}@{} {} {}",
        name("USER"),
        name("HOSTNAME"),
        asked.forward_to,
        asked.event_types.join(",")
    );
    workflow.retain(|char| !char.is_control());
    workflow.truncate(workflow.floor_char_boundary(255));
    workflow
}

async fn forward(
    api: &Api,
    asked: &Listen,
    path: &str,
    secret: &Secret,
) -> anyhow::Result<std::convert::Infallible> {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let mut away = false;
    loop {
        match round(api, &client, asked, path, secret).await {
            Ok(()) => away = false,
            // Told once, not at every try.
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    eprintln!("{error:#}; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Forwards what is there, or what comes next.
async fn round(
    api: &Api,
    client: &reqwest::Client,
    asked: &Listen,
    path: &str,
    secret: &Secret,
) -> anyhow::Result<()> {
    let ask = json!({"limit": LEASE.0, "lease_seconds": LEASE.1, "wait_seconds": WAIT_SECONDS});
    let lease: Lease = api.post(&format!("{path}/lease"), Some(&ask)).await?;
    for Leased { delivery_id, event } in lease.data {
        let answer = send(client, asked, secret, delivery_id, &event.event()?).await;
        print(asked.gateway.output, &answer, line);
        // Whatever it answered: it is a developer who looks, not a receiver that counts.
        let ack = json!({"lease_id": lease.lease_id, "delivery_ids": [delivery_id]});
        let _: Value = api.post(&format!("{path}/ack"), Some(&ack)).await?;
    }
    Ok(())
}

async fn send(
    client: &reqwest::Client,
    asked: &Listen,
    secret: &Secret,
    id: DeliveryId,
    event: &Event,
) -> Value {
    let (now, begun) = (OffsetDateTime::now_utc(), Instant::now());
    let (body, timestamp) = (webhook::body(event), now.unix_timestamp());
    let mut request = client
        .post(asked.forward_to.clone())
        .header("content-type", "application/json")
        .header("user-agent", concat!("Triggerline/", env!("CARGO_PKG_VERSION")))
        .header(webhook::ID, id.to_string())
        .header(webhook::TIMESTAMP, timestamp)
        .header(webhook::SIGNATURE, webhook::sign(secret, &id, timestamp, &body));
    for (name, value) in webhook::attributes(event) {
        request = request.header(name, value);
    }
    let (status, error) = match request.body(body).send().await {
        Ok(answer) => (Some(answer.status().as_u16()), None),
        Err(error) => (None, Some(error.without_url().to_string())),
    };
    json!({
        "at": format_instant(now),
        "event_id": event.id,
        "event_type": event.event_type.as_str(),
        "delivery_id": id,
        "status": status,
        "error": error,
        "latency_ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn line(answer: &Value) -> String {
    let came = answer["status"]
        .as_u64()
        .map_or_else(|| text(answer, "error").to_owned(), |status| status.to_string());
    format!(
        "{}  {}  {:<24}  {came}  ({} ms)",
        text(answer, "at"),
        text(answer, "event_id"),
        text(answer, "event_type"),
        answer["latency_ms"],
    )
}
