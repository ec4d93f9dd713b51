//! Every form in which events come in, at both doors.

use futures::stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use triggerline_testkit::{Client, wait_until};
use triggerline_wire::proto::events_client::EventsClient;
use triggerline_wire::proto::{
    PublishBatchRequest, PublishRequest, PublishStreamRequest, publish_result,
    publish_stream_response::Result as Streamed,
};

use crate::{LIMIT, One, kind, text};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn stored(client: &Client, event: &str) -> anyhow::Result<Value> {
    wait_until("the event to be stored", LIMIT, || async {
        let answer = client.get(&format!("/v1/events/{event}")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer.expect(StatusCode::OK).map_err(|error| error.to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn cloud_events_come_in_each_of_their_modes() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let client = one.client();
    let structured = json!({
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "subject": "o/1",
        "time": "2026-11-23T13:05:07.5+01:00", "data": {"n": 1}, "tenant": "acme", "dataschema": "https://example.com/s",
    });
    let binary = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
        ("ce-subject", "o/1"),
        ("ce-time", "2026-11-23T12:05:07.5Z"),
        ("ce-tenant", "acme"),
        ("ce-dataschema", "https://example.com/s"),
    ];
    let form = ("content-type", "application/cloudevents+json; charset=utf-8");
    for (headers, body) in
        [(&[form][..], structured.to_string()), (&binary, r#"{"n":1}"#.to_owned())]
    {
        let answer = client.send(Method::POST, "/v1/events", headers, body).await?;
        let id = text(&answer.expect(StatusCode::ACCEPTED)?, "event_id");
        let event = stored(&client, &id).await?;
        for (name, value) in [
            ("event_type", json!("order.paid")),
            ("source", json!("/shop")),
            ("subject", json!("o/1")),
            ("occurred_at", json!("2026-11-23T12:05:07.500Z")),
            ("payload", json!({"n": 1})),
            ("extensions", json!({"dataschema": "https://example.com/s", "tenant": "acme"})),
        ] {
            assert_eq!(event[name], value, "{event}");
        }
    }
    let batch = [("content-type", "application/cloudevents-batch+json")];
    for path in ["/v1/events", "/v1/events/batch"] {
        let body = json!([structured, {"specversion": "1.0"}]).to_string();
        let answer = client.send(Method::POST, path, &batch, body).await?;
        let body = answer.expect(StatusCode::MULTI_STATUS)?;
        assert_eq!((&body["accepted"], &body["rejected"]), (&json!(1), &json!(1)), "{body}");
        assert_eq!(kind(&body["results"][1]["problem"]), "invalid-field");
    }
    for (headers, status) in [
        (&[("content-type", "text/plain")][..], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&[("content-type", "application/cloudevents+avro")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&[JSON, ("content-encoding", "gzip")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&[JSON, ("ce-specversion", "0.3")], StatusCode::BAD_REQUEST),
    ] {
        let answer = client.send(Method::POST, "/v1/events", headers, "{}").await?;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    // Each mode names what is wrong where its caller wrote it.
    let with = |name: &str, value: &str| {
        let mut event = structured.clone();
        event[name] = value.into();
        event
    };
    for (name, value) in
        [("source", "my shop"), ("type", "a b"), ("dataschema", "/s"), ("tenant", "a\u{7}")]
    {
        let body = with(name, value);
        let answer = client.send(Method::POST, "/v1/events", &[form], body.to_string()).await?;
        let problem = answer.expect(StatusCode::BAD_REQUEST)?;
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{problem}");
        let body = json!([body]).to_string();
        let answer = client.send(Method::POST, "/v1/events", &batch, body).await?;
        let problem = &answer.expect(StatusCode::MULTI_STATUS)?["results"][0]["problem"];
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{problem}");
        let (header, value) =
            (format!("ce-{name}"), value.replace(' ', "%20").replace('\u{7}', "%07"));
        let mut headers: Vec<_> =
            binary.iter().copied().filter(|(name, _)| *name != header).collect();
        headers.push((&header, &value));
        let answer = client.send(Method::POST, "/v1/events", &headers, "{}").await?;
        let problem = answer.expect(StatusCode::BAD_REQUEST)?;
        assert_eq!(kind(&problem), "invalid-parameter", "{problem}");
        assert!(text(&problem, "detail").starts_with(&format!("{header} ")), "{problem}");
    }
    assert!(storage.terminate().await?.success());
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_batch_is_answered_event_by_event() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let client = one.client();
    let lines = "{\"event_type\":\"a.0\",\"payload\":0}\n\nnot json\n{\"event_type\":\"a.2\",\"payload\":2}";
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = client.send(Method::POST, "/v1/events/batch", &ndjson, lines).await?;
    let body = answer.expect(StatusCode::MULTI_STATUS)?;
    let statuses: Vec<_> =
        body["results"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["accepted", "rejected", "accepted"], "{body}");
    for (n, index) in [(0, 0), (2, 2)] {
        let event = stored(&client, &text(&body["results"][index], "event_id")).await?;
        assert_eq!(event["event_type"], format!("a.{n}"));
    }
    let event = |n: usize| json!({"event_type": "a.b", "payload": n});
    let thousand = json!((0..1_000).map(event).collect::<Vec<_>>()).to_string();
    let body = client.post("/v1/events/batch", thousand).await?.expect(StatusCode::ACCEPTED)?;
    let ids: Vec<String> =
        body["results"].as_array().unwrap().iter().map(|one| text(one, "event_id")).collect();
    assert!(ids.len() == 1_000 && ids.is_sorted(), "in order");
    let large = format!("[{}]", vec![r#"{"event_type":"a","payload":1}"#; 1_001].join(","));
    let huge = format!("[{{\"event_type\":\"a\",\"payload\":\"{}\"}}]", "x".repeat(5_000_000));
    for (body, status) in [
        ("[]".to_owned(), StatusCode::BAD_REQUEST),
        ("{}".to_owned(), StatusCode::BAD_REQUEST),
        (large, StatusCode::PAYLOAD_TOO_LARGE),
        (huge, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(client.post("/v1/events/batch", body).await?.status, status);
    }
    assert!(storage.terminate().await?.success());
    one.end().await
}

pub(crate) fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

pub(crate) fn event(event_type: &str, payload: &'static str) -> PublishRequest {
    PublishRequest {
        event_type: event_type.to_owned(),
        payload: payload.into(),
        ..PublishRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn grpc_says_what_is_wrong_in_a_way_that_programs_can_use() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut events = EventsClient::connect(one.gateway.grpc.clone()).await?;
    let answer = events.publish(with_key(&one.key, event("a.b", "{}"))).await?;
    let policy = |metadata: &MetadataMap| {
        metadata.get("ratelimit-policy").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(policy(answer.metadata()).as_deref(), Some("\"key\";q=10000;w=1"));
    assert!(answer.metadata().contains_key("x-request-id"));

    let status = events.publish(with_key(&one.key, event("a b", "{}"))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "event_type");
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    for (key, payload, code) in [
        ("nonsense", "{}", Code::Unauthenticated),
        (&*triggerline_gateway::keys::generate("live"), "{}", Code::Unauthenticated),
        (&one.key, "{", Code::InvalidArgument),
    ] {
        let status = events.publish(with_key(key, event("a.b", payload))).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    let made = ["customers", "create", "limited", "--rate-limit", "1/1h"];
    let limited = text(&one.world.printed(&made).await?, "api_key");
    events.publish(with_key(&limited, event("a.b", "{}"))).await?;
    let status = events.publish(with_key(&limited, event("a.b", "{}"))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.unwrap().as_secs() > 3_000);
    assert_eq!(details.quota_failure().unwrap().violations.len(), 1);
    assert_eq!(policy(status.metadata()).as_deref(), Some("\"key\";q=1;w=3600"));

    // By curl, because a client that knows of deadlines doesn't wait to be told.
    let folder = tempfile::tempdir()?;
    let frame = folder.path().join("frame");
    // `event_type: "a.b", payload: "{}"`, in a frame (gRPC over HTTP/2, "Length-Prefixed-Message").
    std::fs::write(&frame, b"\0\0\0\0\x09\x0a\x03a.b\x12\x02{}")?;
    let told = std::process::Command::new("curl")
        .args(["-s", "-D", "-", "--http2-prior-knowledge", "-H", "content-type: application/grpc"])
        .args(["-H", "te: trailers", "-H", "grpc-timeout: 1n"])
        .args(["-H", &format!("authorization: Bearer {}", one.key)])
        .args(["--data-binary", &format!("@{}", frame.display())])
        .arg(format!("{}/triggerline.v1.Events/Publish", one.gateway.grpc))
        .output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("grpc-status: 4"), "{told}");

    let batch = PublishBatchRequest {
        events: vec![event("a.0", "0"), event("", "1"), event("a.2", "2")],
        idempotency_key: "batch".to_owned(),
    };
    let first = events.publish_batch(with_key(&one.key, batch.clone())).await?.into_inner();
    let mut codes = Vec::new();
    for result in &first.results {
        codes.push(match result.result.as_ref().unwrap() {
            publish_result::Result::Accepted(accepted) => {
                assert!(!accepted.replayed);
                0
            }
            publish_result::Result::Error(status) => status.code,
        });
    }
    assert_eq!(codes, [0, Code::InvalidArgument as i32, 0]);
    let again = events.publish_batch(with_key(&one.key, batch)).await?.into_inner();
    let id = |result: &triggerline_wire::proto::PublishResult| match result.result.clone() {
        Some(publish_result::Result::Accepted(accepted)) => accepted.event_id,
        _ => String::new(),
    };
    assert_eq!(
        again.results.iter().map(id).collect::<Vec<_>>(),
        first.results.iter().map(id).collect::<Vec<_>>()
    );
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_stream_answers_each_event_by_its_number() -> anyhow::Result<()> {
    const EVENTS: u64 = 3_000;
    let one = One::with(&[("TRIGGERLINE_GATEWAY__LIMITS__STREAM_EVENTS", "16")]).await?;
    let mut events = EventsClient::connect(one.gateway.grpc.clone()).await?;
    let requests = (0..EVENTS).map(|sequence| PublishStreamRequest {
        sequence,
        // Every hundredth is wrong, and doesn't end the stream.
        event: Some(event(if sequence % 100 == 99 { "a b" } else { "a.b" }, "{}")),
    });
    let request = with_key(&one.key, stream::iter(requests.collect::<Vec<_>>()));
    let mut answers = events.publish_stream(request).await?.into_inner();
    let mut seen = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    while let Some(answer) = answers.message().await? {
        assert!(seen.insert(answer.sequence), "once each");
        match answer.result.unwrap() {
            Streamed::Accepted(accepted) => assert!(ids.insert(accepted.event_id)),
            Streamed::Error(status) => {
                assert_eq!(
                    (answer.sequence % 100, status.code),
                    (99, Code::InvalidArgument as i32)
                );
            }
        }
    }
    assert_eq!(seen.len() as u64, EVENTS, "every event is answered");
    assert_eq!(ids.len() as u64, EVENTS - EVENTS / 100);

    // A drain answers what was read, says NOT_SERVING and ends the stream.
    let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
    let mut health = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let now = health.check(ask("triggerline.v1.Events")).await?.into_inner();
    assert_eq!(now.status(), ServingStatus::Serving);
    assert_eq!(health.check(ask("nothing")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(ask("")).await?.into_inner();
    assert_eq!(watch.message().await?.unwrap().status(), ServingStatus::Serving);
    let (send, receive) = mpsc::channel(4);
    let request = with_key(&one.key, ReceiverStream::new(receive));
    let mut answers = events.publish_stream(request).await?.into_inner();
    send.send(PublishStreamRequest { sequence: 7, event: Some(event("a.b", "{}")) }).await?;
    assert_eq!(answers.message().await?.unwrap().sequence, 7);
    let ended = tokio::spawn(one.gateway.process.terminate());
    assert_eq!(watch.message().await?.unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await?.map(|one| one.status), None);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(ended.await??.success());
    one.world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn the_api_explains_itself() -> anyhow::Result<()> {
    let one = One::start().await?;
    let nobody = one.client().with_key("");
    let document = nobody.get("/openapi.json").await?.expect(StatusCode::OK)?;
    assert_eq!(document["openapi"], "3.1.0");
    let checked_in: Value = serde_json::from_str(include_str!("../../docs/openapi.json"))?;
    assert_eq!(document, checked_in);
    for (path, starts, form) in [
        ("/docs", "<!doctype html>", "text/html; charset=utf-8"),
        ("/docs/errors", "# Errors", "text/markdown; charset=utf-8"),
        ("/docs/errors/rate-limited", "# rate-limited", "text/markdown; charset=utf-8"),
        ("/docs/errors/rate-limited.md", "# rate-limited", "text/markdown; charset=utf-8"),
    ] {
        let answer = nobody.get(path).await?;
        assert_eq!(
            (answer.status, answer.headers["content-type"].to_str()?),
            (StatusCode::OK, form)
        );
        assert!(answer.body.starts_with(starts.as_bytes()), "{path}");
    }
    let page = String::from_utf8(nobody.get("/docs").await?.body.to_vec())?;
    assert!(!page.contains("http"), "nothing is loaded from elsewhere: {page}");
    let script = nobody.get("/docs/scalar.js").await?;
    assert_eq!(script.headers["content-encoding"], "gzip");
    // Every error names its page, and the page is there.
    let answer = nobody.get("/v1/nothing").await?;
    let problem = answer.expect(StatusCode::NOT_FOUND)?;
    nobody.get(problem["type"].as_str().unwrap()).await?;
    assert_eq!(
        text(&problem, "instance"),
        format!("urn:triggerline:request:{}", answer.headers["x-request-id"].to_str()?)
    );
    // A path that takes other methods names them (RFC 9110 §15.5.6), to whoever asks: no key is
    // looked for, so no limit is told of.
    for client in [&nobody, &one.client()] {
        for (method, path, allowed) in [
            (Method::DELETE, "/v1/events", "GET, HEAD, POST"),
            (Method::GET, "/v1/events/batch", "POST"),
            (Method::PUT, "/inbox", "GET, HEAD"),
            (Method::PATCH, "/v1/schemas/a", "DELETE, GET, HEAD, PUT"),
            (Method::POST, "/openapi.json", "GET, HEAD"),
        ] {
            let answer = client.send(method, path, &[], "").await?;
            let problem = answer.expect(StatusCode::METHOD_NOT_ALLOWED)?;
            assert_eq!(kind(&problem), "method-not-allowed");
            let mut methods: Vec<_> = answer.headers["allow"].to_str()?.split(',').collect();
            methods.sort_unstable();
            assert_eq!(methods.join(", "), allowed, "{path}");
            assert!(!answer.headers.contains_key("ratelimit"), "{path}");
        }
    }
    let headers = [("x-request-id", "mine-17")];
    let answer = nobody.send(Method::GET, "/v1/inbox", &headers, "").await?;
    assert_eq!(answer.headers["x-request-id"], "mine-17");
    answer.expect(StatusCode::UNAUTHORIZED)?;
    one.end().await
}
