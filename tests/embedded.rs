//! `triggerline demo` and `triggerline dev`: the platform in one process, started the way a
//! user would. These need nothing that isn't in the binary.

use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};
use triggerline_testkit::{Client, Oracle, Process, Receiver, World, subscribe, wait_until};
use triggerline_types::EventId;

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
const LIMIT: Duration = Duration::from_mins(1);

/// `triggerline dev` in a world's folder.
struct Dev {
    process: Process,
    client: Client,
    /// `host:port`
    grpc: String,
    kafka: String,
}

impl Dev {
    async fn start(world: &World) -> anyhow::Result<Self> {
        let data = world.folder.path().join("data");
        let mut process = world.start(&[
            "dev",
            "--data",
            data.to_str().context("a path in UTF-8")?,
            "--http=127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--admin=127.0.0.1:0",
            "--kafka-listen=127.0.0.1:0",
        ])?;
        let serving = process.logged("serving").await?;
        let http = serving["http"].as_str().context("no address")?;
        let grpc = serving["grpc"].as_str().context("no address")?.to_owned();
        let kafka = serving["kafka"].as_str().context("no broker")?.to_owned();
        let key = std::fs::read_to_string(data.join("api-key"))?;
        Ok(Self { process, client: Client::new(format!("http://{http}"), key), grpc, kafka })
    }
}

async fn publish(client: &Client, event_type: &str, payload: &str) -> anyhow::Result<EventId> {
    let answer = client.publish(event_type, payload.as_bytes()).await?;
    let body = answer.expect(StatusCode::ACCEPTED)?;
    Ok(body["event_id"].as_str().context("no id")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_delivers_everything_and_says_so() -> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let printed = world.run(&["demo", "--events", "1200", "--output", "json"]).await?;
    let summary: Value = serde_json::from_str(&printed)?;
    assert_eq!(summary["sent"], 1_200, "{summary}");
    assert_eq!(summary["lost"], 0, "{summary}");
    assert_eq!(summary["faults"], 0, "{summary}");
    assert_eq!(summary["delivered"], summary["matched"], "{summary}");
    assert!(summary["matched"].as_u64() > Some(900), "{summary}");
    for name in ["verified", "p50_ms", "p95_ms", "p99_ms"] {
        assert!(summary[name].as_f64() > Some(0.0), "{name}: {summary}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_keeps_what_it_was_given_over_kill_9_and_a_restart() -> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let receiver = Receiver::start().await?;
    let dev = Dev::start(&world).await?;
    subscribe(&dev.client, &receiver, "hook", "order.*", None, Vec::new()).await?;
    let first = publish(&dev.client, "order.first", "[0]").await?;
    // The subscription is in the log of changes before the event is in the log of events, but
    // the matcher may look in the other order: until then, nothing is owed.
    wait_until("the subscription to be matched", LIMIT, || async {
        if receiver.count() > 0 {
            return Ok(());
        }
        publish(&dev.client, "order.first", "[0]").await.map_err(|error| error.to_string())?;
        Err(format!("{first} and its like have not arrived"))
    })
    .await?;

    let mut oracle = Oracle::default();
    for n in 1..=300 {
        let payload = format!("{{\"n\": {n}}}");
        let id = publish(&dev.client, "order.created", &payload).await?;
        oracle.acknowledged(id, payload.as_bytes(), vec!["hook".to_owned()]);
    }
    dev.process.kill().await?;

    let dev = Dev::start(&world).await?;
    let warm_up = receiver.digest_of(b"[0]");
    wait_until("what was acknowledged before the kill to arrive", LIMIT, || async {
        let arrivals: Vec<_> =
            receiver.received().into_iter().filter(|one| one.digest != warm_up).collect();
        let verdict = oracle.judge(&arrivals);
        if verdict.is_clean() { Ok(()) } else { Err(format!("{verdict:?}")) }
    })
    .await?;
    for sent in oracle.sent() {
        wait_until("the inbox to say so", LIMIT, || async {
            let answer = dev.client.get(&format!("/v1/events/{}", sent.event_id)).await;
            let event =
                answer.and_then(|answer| answer.json()).map_err(|error| error.to_string())?;
            if event["status"] == "delivered" { Ok(()) } else { Err(event.to_string()) }
        })
        .await?;
    }
    let status = dev.process.terminate().await?;
    assert!(status.success(), "SIGTERM ends it well: {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_with_what_is_wrong() -> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let Dev { client, process, .. } = Dev::start(&world).await?;
    let nobody = client.with_key("tl_dev_nobody");
    let guessed = client.with_key(triggerline_gateway::keys::generate("dev"));
    let large = format!("{{\"event_type\":\"a\",\"payload\":\"{}\"}}", "x".repeat(1 << 20));
    for (client, body, status, told) in [
        (&client, "{", StatusCode::BAD_REQUEST, "not well-formed JSON"),
        (&client, r#"{"payload":{}}"#, StatusCode::BAD_REQUEST, "event_type"),
        (&client, r#"{"event_type":"a b","payload":1}"#, StatusCode::BAD_REQUEST, "/event_type"),
        (&client, &large, StatusCode::PAYLOAD_TOO_LARGE, "at most"),
        // In UTC this is in the year 10000, which RFC 3339 can't write.
        (
            &client,
            r#"{"event_type":"a","payload":1,"occurred_at":"9999-12-31T23:59:59-01:00"}"#,
            StatusCode::BAD_REQUEST,
            "/occurred_at",
        ),
        (&nobody, "{}", StatusCode::UNAUTHORIZED, "valid key"),
        (&guessed, "{}", StatusCode::UNAUTHORIZED, "valid key"),
    ] {
        let answer = client.post("/v1/events", body.to_owned()).await?;
        let problem = answer.expect(status)?;
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status.as_u16());
        assert!(problem["detail"].as_str().unwrap_or_default().contains(told), "{problem}");
    }
    for path in ["/v1/nothing", "/v1/events/1", &format!("/v1/events/{}", EventId::new())] {
        let answer = client.get(path).await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let answer = client.get("/v1/inbox?cursor=abc").await?;
    assert!(answer.expect(StatusCode::BAD_REQUEST)?["detail"].as_str().unwrap().contains("cursor"));
    let body = json!({
        "workflow_id": "w",
        "selector": {"jsonpath": "$[?@.a >"},
        "delivery": {"url": "http://127.0.0.1:1/"},
    });
    let answer = client.post("/v1/subscriptions", body.to_string()).await?;
    let problem = answer.expect(StatusCode::UNPROCESSABLE_ENTITY)?;
    assert_eq!(problem["errors"][0]["pointer"], "/selector/jsonpath", "{problem}");
    assert!(process.terminate().await?.success());
    Ok(())
}

/// Another customer's things look as if they weren't there.
#[tokio::test(flavor = "multi_thread")]
async fn customers_do_not_see_each_other() -> anyhow::Result<()> {
    let mut world = World::empty(BINARY)?;
    let Dev { client, process, .. } = Dev::start(&world).await?;
    let data = world.folder.path().join("data");
    let control = format!("sqlite:{}", data.join("control.db").display());
    world.set("TRIGGERLINE_CONTROL__URL", &control);
    let other = client.with_key(world.customer("another").await?);

    let receiver = Receiver::start().await?;
    let subscription = subscribe(&client, &receiver, "hook", "*", None, Vec::new()).await?;
    let event = publish(&client, "a.b", "1").await?;
    let path = format!("/v1/events/{event}");
    wait_until("the event to be stored", LIMIT, || async {
        let answer = client.get(&path).await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await?;
    let missing = other.get(&format!("/v1/events/{}", EventId::new())).await?;
    let foreign = other.get(&path).await?;
    let (foreign, missing) =
        (foreign.expect(StatusCode::NOT_FOUND)?, missing.expect(StatusCode::NOT_FOUND)?);
    // All but `instance`, which names the request.
    for member in ["type", "title", "status", "detail"] {
        assert_eq!(foreign[member], missing[member]);
    }
    for path in [format!("{path}/deliveries"), format!("/v1/subscriptions/{subscription}")] {
        assert_eq!(other.get(&path).await?.status, StatusCode::NOT_FOUND, "{path}");
    }
    let deleted = other.delete(&format!("/v1/subscriptions/{subscription}")).await?;
    assert_eq!(deleted.status, StatusCode::NOT_FOUND);
    for path in ["/v1/inbox", "/v1/subscriptions"] {
        let page = other.get(path).await?.expect(StatusCode::OK)?;
        assert_eq!(page["data"], json!([]), "{path}");
    }
    assert!(process.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_kafka_answers_503_and_never_202() -> anyhow::Result<()> {
    let mut world = World::empty(BINARY)?;
    let Dev { client, process, kafka, .. } = Dev::start(&world).await?;
    let data = world.folder.path().join("data");
    world.set("TRIGGERLINE_KAFKA__BROKERS", &kafka);
    for (name, file) in [("CONTROL", "control.db"), ("INBOX", "inbox.db")] {
        let url = format!("sqlite:{}", data.join(file).display());
        world.set(&format!("TRIGGERLINE_{name}__URL"), &url);
    }
    let key = world.customer("shop").await?;
    let mut gateway = world.start(&["gateway"])?;
    let serving = gateway.logged("serving").await?;
    let http = serving["http"].as_str().context("no address")?;
    let client = Client::new(format!("http://{http}"), client.with_key(key).key());
    publish(&client, "a.b", "1").await?;

    process.kill().await?;
    let asked = std::time::Instant::now();
    let answer = client.publish("a.b", b"2").await?;
    answer.expect(StatusCode::SERVICE_UNAVAILABLE)?;
    assert!(answer.headers.contains_key("retry-after"));
    // Not a timing: the promise is an answer, and the client's own limit is 30 s.
    assert!(asked.elapsed() < Duration::from_secs(25));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_end_with_64_and_name_the_key() -> anyhow::Result<()> {
    for (name, value, key) in [
        ("TRIGGERLINE_DELIVERY__TIMEOUT", "soon", "delivery.timeout"),
        ("TRIGGERLINE_DELIVERY__TIMEOUT", "99s", "delivery.timeout"),
        ("TRIGGERLINE_KAFKA__BROKRES", "x", "brokres"),
        ("TRIGGERLINE_CONTROL__URL", "mysql://x/y", "control.url"),
        ("TRIGGERLINE_CONTROL__PEPPER", "short", "control.pepper"),
    ] {
        let mut world = World::empty(BINARY)?;
        world.set(name, value);
        for command in [&["customers", "create", "x"][..], &["gateway"]] {
            let output = world.output(command).await?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{command:?} {name}={value}: {told}");
            assert!(told.contains(key), "{command:?} {name}={value}: {told}");
        }
    }
    Ok(())
}

/// The same promises through the other door.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_grpc_arrives_too() -> anyhow::Result<()> {
    use tonic::Code;
    use triggerline_wire::proto::PublishRequest;
    use triggerline_wire::proto::events_client::EventsClient;

    let world = World::empty(BINARY)?;
    let receiver = Receiver::start().await?;
    let Dev { client, process, grpc, .. } = Dev::start(&world).await?;
    subscribe(&client, &receiver, "hook", "order.*", None, Vec::new()).await?;
    let mut events = EventsClient::connect(format!("http://{grpc}")).await?;
    let request = |key: &str, event_type: &str, payload: &str| {
        let mut request = tonic::Request::new(PublishRequest {
            event_type: event_type.to_owned(),
            payload: payload.as_bytes().to_vec().into(),
            ..PublishRequest::default()
        });
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    };
    for (key, event_type, payload, code) in [
        ("tl_dev_nobody", "order.created", "{}", Code::Unauthenticated),
        (client.key(), "order created", "{}", Code::InvalidArgument),
        (client.key(), "order.created", "{", Code::InvalidArgument),
    ] {
        let status = events.publish(request(key, event_type, payload)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    // Posted again until the new subscription is matched.
    wait_until("an event to arrive", LIMIT, || {
        let (mut events, request) = (events.clone(), request(client.key(), "order.created", "[7]"));
        let receiver = &receiver;
        async move {
            let answer = events.publish(request).await.map_err(|status| status.to_string())?;
            let id = answer.into_inner().event_id;
            match receiver.received().first() {
                Some(first) if first.digest == receiver.digest_of(b"[7]") => Ok(()),
                Some(other) => panic!("{other:?}"),
                None => Err(format!("{id} and its like have not arrived")),
            }
        }
    })
    .await?;
    assert!(process.terminate().await?.success());
    Ok(())
}

/// JSON that no number type holds is JSON all the same: who asked for the type alone gets it.
/// Who looks inside can't be decided about; the record is kept on `events.dlq`.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_no_selector_can_read_still_goes_to_who_asked_for_its_type()
-> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let receiver = Receiver::start().await?;
    let mut dev = Dev::start(&world).await?;
    subscribe(&dev.client, &receiver, "looks", "a.b", Some("$.total"), Vec::new()).await?;
    subscribe(&dev.client, &receiver, "plain", "a.b", None, Vec::new()).await?;
    wait_until("both subscriptions to be matched", LIMIT, || async {
        publish(&dev.client, "a.b", "{\"total\": 1}").await.map_err(|error| error.to_string())?;
        let arrivals = receiver.received();
        let at = |path| arrivals.iter().any(|one| one.path == path);
        if at("looks") && at("plain") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await?;
    let event = publish(&dev.client, "a.b", "{\"total\": 1e400}").await?;
    wait_until("the event to be delivered", LIMIT, || async {
        let answer = dev.client.get(&format!("/v1/events/{event}")).await;
        // As text: serde_json can't read the payload either.
        let event = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let event = event.map_err(|error| error.to_string())?;
        let delivered = event.contains(r#""status":"delivered""#);
        if delivered && event.contains(r#"{"total": 1e400}"#) { Ok(()) } else { Err(event) }
    })
    .await?;
    let paths: Vec<String> = receiver
        .received()
        .into_iter()
        .filter(|one| one.event_id == Some(event))
        .map(|one| one.path)
        .collect();
    assert_eq!(paths, ["plain"]);
    let told = dev.process.logged("a record went to events.dlq").await?;
    assert!(told["cause"].as_str().unwrap().contains("too large for a double"), "{told}");
    Ok(())
}

/// The status is the answer: a body that never ends doesn't make it a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_holds_its_body_back_has_answered_all_the_same() -> anyhow::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nstart").await;
            held.push(stream);
        }
    });
    let mut world = World::empty(BINARY)?;
    world.set("TRIGGERLINE_DELIVERY__TIMEOUT", "1s");
    let Dev { client, process, .. } = Dev::start(&world).await?;
    let body = json!({"workflow_id": "w", "delivery": {"url": url}});
    client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)?;
    let deliveries = wait_until("an event to be delivered", LIMIT, || async {
        publish(&client, "a.b", "1").await.map_err(|error| error.to_string())?;
        let page = client.get("/v1/inbox?status=delivered").await;
        let page = page.and_then(|page| page.json()).map_err(|error| error.to_string())?;
        let id = page["data"][0]["event_id"].as_str().ok_or("none is")?;
        let answer = client.get(&format!("/v1/events/{id}/deliveries")).await;
        answer.and_then(|answer| answer.json()).map_err(|error| error.to_string())
    })
    .await?;
    let attempt = &deliveries["data"][0]["attempts"][0];
    assert_eq!(attempt["response_status"], 200, "{attempt}");
    assert_eq!(attempt["response_excerpt"], "start", "{attempt}");
    assert!(process.terminate().await?.success());
    Ok(())
}

/// A service that would wait for ever on a file without tables says what to do instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_not_start_on_an_inbox_without_tables() -> anyhow::Result<()> {
    let mut world = World::empty(BINARY)?;
    let inbox = format!("sqlite:{}", world.folder.path().join("empty.db").display());
    world.set("TRIGGERLINE_INBOX__URL", &inbox);
    let output = world.output(&["storage"]).await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("triggerline migrate"), "{told}");
    Ok(())
}
