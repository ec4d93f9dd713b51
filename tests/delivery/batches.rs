//! Several events in one request: as many as was wished, each one's fate its own, none lost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use triggerline_testkit::{Client, Services, World, wait_until};
use triggerline_types::Secret;
use triggerline_wire::webhook;

use crate::{BINARY, LIMIT, publish};

/// What came in one request: its id, and the numbers of its events.
struct Batch {
    id: String,
    numbers: Vec<u64>,
}

/// An endpoint for batches, which fails each third event when it first comes.
#[derive(Default)]
struct Seen {
    batches: Vec<Batch>,
    faults: Vec<String>,
    events: HashMap<u64, usize>,
}

#[derive(Clone)]
struct Batches {
    secret: Secret,
    seen: Arc<Mutex<Seen>>,
}

impl Batches {
    async fn start() -> anyhow::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let batches = Self { secret: Secret::generate(), seen: Arc::default() };
        let router = Router::new().route("/", post(receive)).with_state(batches.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((batches, address))
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn receive(
    State(batches): State<Batches>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (id, time) = (header(webhook::ID), header(webhook::TIMESTAMP));
    let now = time.parse().unwrap_or_default();
    let verified =
        webhook::verify(&batches.secret, id, time, header(webhook::SIGNATURE), &body, now);
    let mut seen = batches.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(fault) = verified {
        seen.faults.push(fault.to_string());
    }
    let events: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
    let mut failed = Vec::new();
    let mut numbers = Vec::new();
    for event in &events {
        let number = event["payload"]["n"].as_u64().unwrap_or(u64::MAX);
        numbers.push(number);
        let times = seen.events.entry(number).or_default();
        if *times == 0 && number.is_multiple_of(3) {
            failed.push(event["event_id"].clone());
        }
        *times += 1;
    }
    seen.batches.push(Batch { id: id.to_owned(), numbers });
    (StatusCode::OK, Json(json!({"failed": failed})))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn batches_lose_nothing_and_each_event_is_judged_by_itself() -> anyhow::Result<()> {
    const EVENTS: usize = 3_000;
    let world = World::on_real_parts(BINARY).await?;
    let mut services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("batches").await?);
    let (batches, address) = Batches::start().await?;
    let body = json!({"workflow_id": "w", "delivery": {
        "url": format!("http://{address}/"), "secret": batches.secret.reveal(),
        "batch": {"max_events": 40, "max_wait_ms": 200}, "retry": {"schedule": ["1s"], "max_attempts": 5},
    }});
    client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)?;
    wait_until("the subscription to be matched", LIMIT, || async {
        publish(&client, "first", 1).await.map_err(|error| error.to_string())?;
        let known = batches.look(|seen| !seen.batches.is_empty());
        if known { Ok(()) } else { Err("nothing came".to_owned()) }
    })
    .await?;
    publish(&client, "a.b", EVENTS).await?;
    // Killed in the middle of it.
    wait_until("some to have come", LIMIT, || async {
        let count = batches.look(|seen| seen.events.len());
        if count >= EVENTS / 4 { Ok(()) } else { Err(format!("{count}")) }
    })
    .await?;
    std::mem::replace(&mut services.delivery, world.start(&["delivery"])?).kill().await?;
    wait_until("all to be delivered, those that failed at the second time", LIMIT, || async {
        batches.look(|seen| {
            let due = |n: &u64| {
                seen.events.get(n).is_some_and(|times| *times > usize::from(n.is_multiple_of(3)))
            };
            let missing: Vec<_> = (0..EVENTS as u64).filter(|n| !due(n)).take(5).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("missing {missing:?}")) }
        })
    })
    .await?;
    let counts = async |status: &str| {
        let page = client.get(&format!("/v1/inbox?event_type=a.b&limit=1&status={status}")).await;
        let page = page.and_then(|page| page.json()).map_err(|error| error.to_string())?;
        Ok::<_, String>(page["data"].as_array().map_or(0, Vec::len))
    };
    wait_until("the inbox to say so", LIMIT, || async {
        match (counts("pending_delivery").await?, counts("failed").await?) {
            (0, 0) => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await?;
    batches.look(|seen| {
        assert!(seen.faults.is_empty(), "{:?}", seen.faults);
        let sizes: Vec<_> = seen.batches.iter().map(|batch| batch.numbers.len()).collect();
        assert!(sizes.iter().all(|size| (1..=40).contains(size)), "{sizes:?}");
        // A backlog goes in batches that are full, not in crumbs.
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!(sizes.contains(&40) && mean >= 10, "{mean}: {sizes:?}");
        // A batch's id says what is in it.
        let mut named: HashMap<&str, HashSet<Vec<u64>>> = HashMap::new();
        for batch in &seen.batches {
            let mut numbers = batch.numbers.clone();
            numbers.sort_unstable();
            named.entry(&batch.id).or_default().insert(numbers);
        }
        assert!(named.values().all(|contents| contents.len() == 1));
    });
    services.terminate().await?;
    world.tear_down().await
}
