//! A repeat is the same event.

use std::collections::HashSet;
use std::process::Command;

use anyhow::Context as _;
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tonic::Request;
use triggerline_testkit::{Answer, Client, Process, World, wait_until};
use triggerline_wire::proto::events_client::EventsClient;
use triggerline_wire::proto::{PublishRequest, PublishResponse};

use crate::{BINARY, Gateway, LIMIT, One, kind, text};

fn event(n: usize) -> String {
    json!({"event_type": "a.b", "payload": {"n": n}}).to_string()
}

async fn post(client: &Client, key: &str, body: impl Into<bytes::Bytes>) -> anyhow::Result<Answer> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send(Method::POST, "/v1/events", &headers, body).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_repeat_gets_the_first_answer_at_either_door() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.client();
    let first = post(&client, "order-17", event(1)).await?;
    let accepted = first.expect(StatusCode::ACCEPTED)?;
    assert!(!first.headers.contains_key("idempotent-replayed"));
    // The same event, written otherwise; the quotes of the IETF's draft are not part of the key.
    let again = r#"{"source":"api", "payload":{"n":1}, "event_type":"a.b"}"#;
    let repeated = post(&client, "\"order-17\"", again).await?;
    assert_eq!(repeated.expect(StatusCode::ACCEPTED)?, accepted);
    assert_eq!(repeated.headers["idempotent-replayed"], "true");
    assert_eq!(repeated.headers["x-event-id"], first.headers["x-event-id"]);
    let other = post(&client, "order-17", event(2)).await?;
    assert_eq!(kind(&other.expect(StatusCode::UNPROCESSABLE_ENTITY)?), "idempotency-key-reused");

    let mut grpc = EventsClient::connect(one.gateway.grpc.clone()).await?;
    let request = |key: &str, payload: &'static str| {
        let mut request = Request::new(PublishRequest {
            event_type: "a.b".to_owned(),
            payload: payload.into(),
            idempotency_key: key.to_owned(),
            ..PublishRequest::default()
        });
        let bearer = format!("Bearer {}", client.key()).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    let PublishResponse { event_id, replayed, .. } =
        grpc.publish(request("order-17", r#"{"n":1}"#)).await?.into_inner();
    assert_eq!((event_id, replayed), (text(&accepted, "event_id"), true));
    let status = grpc.publish(request("order-17", "[]")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    // Another customer's key of the same name is another key.
    let made = one.world.customer("two").await?;
    let theirs = post(&client.with_key(made), "order-17", event(2)).await?;
    theirs.expect(StatusCode::ACCEPTED)?;
    for key in ["", &"x".repeat(256)] {
        let problem = post(&client, key, event(1)).await?.expect(StatusCode::BAD_REQUEST)?;
        assert_eq!(kind(&problem), "invalid-parameter");
    }
    // What was refused didn't use up its key.
    post(&client, "mended", r#"{"event_type":"a b","payload":1}"#)
        .await?
        .expect(StatusCode::BAD_REQUEST)?;
    post(&client, "mended", event(1)).await?.expect(StatusCode::ACCEPTED)?;

    let batch = format!("[{},{{}},{}]", event(5), event(6));
    let headers = [("content-type", "application/json"), ("idempotency-key", "batch")];
    let first = client.send(Method::POST, "/v1/events/batch", &headers, batch.clone()).await?;
    let repeated = client.send(Method::POST, "/v1/events/batch", &headers, batch).await?;
    assert_eq!(first.expect(StatusCode::MULTI_STATUS)?, repeated.expect(StatusCode::MULTI_STATUS)?);
    assert_eq!(repeated.headers["idempotent-replayed"], "true");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn two_hundred_posts_with_one_key_make_one_event() -> anyhow::Result<()> {
    let one = One::start().await?;
    let other = Gateway::start(&one.world).await?;
    let doors = [one.client(), other.client(&one.key)];
    let posts = (0..200).map(|n| {
        let door = doors[n % 2].clone();
        tokio::spawn(async move { post(&door, "crowd", event(1)).await })
    });
    let (mut ids, mut fresh) = (HashSet::new(), 0);
    for answer in join_all(posts).await {
        let answer = answer??;
        if answer.status == StatusCode::CONFLICT {
            assert!(answer.headers.contains_key("retry-after"));
            assert_eq!(kind(&answer.json()?), "idempotency-key-in-use");
            continue;
        }
        ids.insert(text(&answer.expect(StatusCode::ACCEPTED)?, "event_id"));
        fresh += usize::from(!answer.headers.contains_key("idempotent-replayed"));
    }
    assert_eq!((ids.len(), fresh), (1, 1), "one event, produced once");
    other.process.terminate().await?;
    one.end().await
}

/// A gateway on a broker that can be stopped (`dev`'s, in a process of its own): so that something
/// can happen after the key is reserved and before Kafka has answered.
struct Halting {
    world: World,
    broker: Process,
    redis: String,
    key: String,
}

impl Halting {
    async fn start() -> anyhow::Result<(Self, Gateway)> {
        let redis = std::env::var("TRIGGERLINE_TEST_REDIS")?;
        let mut world = World::empty(BINARY)?;
        let data = world.folder.path().join("data");
        let data = data.to_str().context("a path in UTF-8")?.to_owned();
        let flags = ["--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0"];
        let broker = ["dev", "--data", &data, "--kafka-listen=127.0.0.1:0"];
        let mut broker = world.start(&[&broker[..], &flags].concat())?;
        let kafka = text(&broker.logged("serving").await?, "kafka");
        let key = std::fs::read_to_string(format!("{data}/api-key"))?;
        world.set("TRIGGERLINE_KAFKA__BROKERS", &kafka);
        world.set("TRIGGERLINE_CONTROL__URL", &format!("sqlite:{data}/control.db"));
        world.set("TRIGGERLINE_INBOX__URL", &format!("sqlite:{data}/inbox.db"));
        world.set("TRIGGERLINE_CACHE__URL", &redis);
        world.set("TRIGGERLINE_GATEWAY__PRODUCE_PATIENCE", "2s");
        let gateway = Gateway::start(&world).await?;
        // The connection to the broker stands, and the key is known, before the broker is stopped.
        let first = post(&gateway.client(&key), "warm-up", event(0)).await?;
        first.expect(StatusCode::ACCEPTED)?;
        Ok((Self { world, broker, redis, key }, gateway))
    }

    /// The id of the event that is reserved under this key, once it is.
    async fn reserved(&self, idempotency_key: &str) -> anyhow::Result<String> {
        let port = self.redis.rsplit(':').next().unwrap_or_default();
        wait_until("the key to be reserved", LIMIT, || async {
            let run = |arguments: &[&str]| {
                let output = Command::new("redis-cli").args(["-p", port]).args(arguments).output();
                output.map(|output| output.stdout).map_err(|error| error.to_string())
            };
            let pattern = format!("tl:i:*:{idempotency_key}");
            let found = String::from_utf8(run(&["--scan", "--pattern", &pattern])?);
            let found = found.map_err(|error| error.to_string())?;
            // The event's id, as 16 bytes.
            let id = run(&["HGET", found.trim(), "e"])?;
            let id = id.get(..16).and_then(|id| uuid::Uuid::from_slice(id).ok());
            id.map(|id| id.to_string()).ok_or_else(|| "it is not there".to_owned())
        })
        .await
    }
}

/// The answer to a repeat, once the key is not in use any more.
async fn repeat(client: &Client, idempotency_key: &str) -> anyhow::Result<Answer> {
    wait_until("the key to be answered", LIMIT, || async {
        let answer = post(client, idempotency_key, event(1)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::CONFLICT {
            return Err("in use".to_owned());
        }
        Ok(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_gateway_killed_before_its_answer_leaves_the_event_its_id() -> anyhow::Result<()> {
    let (halting, gateway) = Halting::start().await?;
    let client = gateway.client(&halting.key);
    let key = format!("killed-{}", triggerline_types::EventId::new());
    halting.broker.signal("STOP")?;
    let waiting = {
        let (client, key) = (client.clone(), key.clone());
        tokio::spawn(async move { post(&client, &key, event(1)).await })
    };
    let reserved = halting.reserved(&key).await?;
    gateway.process.kill().await?;
    assert!(waiting.await?.is_err(), "nothing was answered");
    halting.broker.signal("CONT")?;

    let gateway = Gateway::start(&halting.world).await?;
    let client = gateway.client(&halting.key);
    let accepted = repeat(&client, &key).await?.expect(StatusCode::ACCEPTED)?;
    assert_eq!(text(&accepted, "event_id"), reserved);
    // Whether or not the first try reached the log: one event.
    wait_until("the event to be stored", LIMIT, || async {
        let answer = client.get(&format!("/v1/events/{reserved}")).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        if status == StatusCode::OK { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    let inbox = client.get("/v1/inbox").await?.expect(StatusCode::OK)?;
    assert_eq!(inbox["data"].as_array().map(Vec::len), Some(2), "{inbox}");
    assert!(gateway.process.terminate().await?.success());
    assert!(halting.broker.terminate().await?.success());
    Ok(())
}

/// What has begun is answered to whoever asks again, though nobody waits for it any more.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_client_that_hangs_up_finds_its_answer_when_it_comes_back() -> anyhow::Result<()> {
    let (halting, gateway) = Halting::start().await?;
    let client = gateway.client(&halting.key);
    let key = format!("hung-up-{}", triggerline_types::EventId::new());
    halting.broker.signal("STOP")?;
    let port = gateway.http.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(port).await?;
    let body = event(1);
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        halting.key.trim(),
        body.len()
    );
    connection.write_all(request.as_bytes()).await?;
    let reserved = halting.reserved(&key).await?;
    drop(connection);
    // By the time a later request is answered, the gateway has most likely seen it.
    client.get("/v1/inbox").await?.expect(StatusCode::OK)?;
    halting.broker.signal("CONT")?;

    let answer = repeat(&client, &key).await?;
    assert_eq!(text(&answer.expect(StatusCode::ACCEPTED)?, "event_id"), reserved);
    assert_eq!(answer.headers["idempotent-replayed"], "true");
    assert!(gateway.process.terminate().await?.success());
    assert!(halting.broker.terminate().await?.success());
    Ok(())
}
