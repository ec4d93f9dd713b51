//! gRPC below its libraries: what a caller gets who keeps to the protocol badly, or not at all.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;
use triggerline_testkit::wait_until;

use crate::{Gateway, LIMIT, One};

const PUBLISH: &str = "/triggerline.v1.Events/Publish";
const STREAM: &str = "/triggerline.v1.Events/PublishStream";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// HTTP/2's first words, and SETTINGS without any.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A message behind its flag and length.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// `event_type: "a.b", payload: "{}"`
fn event() -> Vec<u8> {
    frame(b"\x0a\x03a.b\x12\x02{}")
}

/// The same, with the sequence number 7, for a stream.
fn streamed() -> Vec<u8> {
    frame(b"\x08\x07\x12\x09\x0a\x03a.b\x12\x02{}")
}

/// A Watch as HTTP/2 has it, on stream 1: HEADERS, whose fields are from HPACK's static table or
/// literal (RFC 7541 §6), and DATA.
fn watch() -> Vec<u8> {
    let (path, grpc) = (b"/grpc.health.v1.Health/Watch", b"application/grpc");
    let length = |text: &[u8]| [u8::try_from(text.len()).unwrap()];
    // :method POST, :scheme http, :authority a, :path, content-type.
    let fields = [&b"\x83\x86\x01\x01a\x04"[..], &length(path), path, b"\x0f\x10", &length(grpc)];
    let fields = [&fields.concat()[..], grpc].concat();
    let headers = [&b"\0\0"[..], &length(&fields), b"\x01\x04\0\0\0\x01", &fields].concat();
    [&headers[..], b"\0\0\x05\0\x01\0\0\0\x01", &frame(b"")].concat()
}

/// The types of the HTTP/2 frames that have come whole: each has its length in three bytes, its
/// type, and five bytes more (RFC 9113 §4.1).
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(rest) = after.get(length..) else {
            break;
        };
        types.push(*kind);
        bytes = rest;
    }
    types
}

/// What curl is answered: the headers, the body, the trailers.
fn curl(one: &One, path: &str, flags: &[&str], body: Option<&[u8]>) -> anyhow::Result<String> {
    let mut file = tempfile::NamedTempFile::new()?;
    let data = format!("@{}", file.path().display());
    let mut command = Command::new("curl");
    command.args(["-s", "-D", "-", "--http2-prior-knowledge", "--max-time", "30"]);
    command.args(["-H", "te: trailers", "-H", &format!("authorization: Bearer {}", one.key)]);
    if let Some(body) = body {
        file.write_all(body)?;
        command.args(["--data-binary", &data]);
    }
    let told = command.args(flags).arg(format!("{}{path}", one.gateway.grpc)).output()?;
    Ok(String::from_utf8_lossy(&told.stdout).to_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn whoever_breaks_the_protocol_is_told_how() -> anyhow::Result<()> {
    const GRPC: &str = "content-type: application/grpc";
    let one = One::start().await?;
    let (good, not_utf8) = (event(), frame(b"\x0a\x01\xff"));
    let (two, half) = ([event(), event()].concat(), event()[..9].to_vec());
    let flagged = [&[1][..], &event()[1..]].concat();
    // 6,000,001 bytes, of which none comes.
    let announced = [&[0][..], &6_000_001_u32.to_be_bytes()].concat();
    let reflected = [&[0][..], &20_000_u32.to_be_bytes()].concat();
    let gzip = "grpc-encoding: gzip";
    for (path, headers, body, expected) in [
        (PUBLISH, &[GRPC][..], &good, &["200", "grpc-status: 0"][..]),
        (PUBLISH, &["content-type: application/grpc+proto"], &good, &["grpc-status: 0"]),
        (PUBLISH, &["content-type: application/json"], &good, &["415"]),
        (PUBLISH, &["content-type: application/grpc-web"], &good, &["415"]),
        (PUBLISH, &[GRPC], &not_utf8, &["200", "grpc-status: 3", "utf-8"]),
        (STREAM, &[GRPC], &not_utf8, &["200", "grpc-status: 3"]),
        (PUBLISH, &[GRPC], &half, &["grpc-status: 3", "grpc-status-details-bin"]),
        (PUBLISH, &[GRPC], &announced, &["grpc-status: 8", "grpc-status-details-bin"]),
        (STREAM, &[GRPC], &announced, &["grpc-status: 8", "grpc-status-details-bin"]),
        (REFLECT, &[GRPC], &reflected, &["200"]),
        (CHECK, &[GRPC], &reflected, &["grpc-status: 8"]),
        (PUBLISH, &[GRPC], &two, &["grpc-status: 12"]),
        (PUBLISH, &[GRPC], &Vec::new(), &["grpc-status: 12"]),
        (PUBLISH, &[GRPC, gzip], &good, &["grpc-status: 12", "grpc-accept-encoding: identity"]),
        // The protocol's own word for it ("Compression").
        (PUBLISH, &[GRPC], &flagged, &["grpc-status: 13"]),
        ("/triggerline.v1.Events/Nothing", &[GRPC], &good, &["grpc-status: 12"]),
        ("/nothing", &[GRPC], &good, &["200", "grpc-status: 12", "x-request-id: "]),
        (CHECK, &[GRPC], &frame(b""), &["grpc-status: 0", "x-request-id: "]),
    ] {
        let flags: Vec<&str> = headers.iter().flat_map(|header| ["-H", header]).collect();
        let told = curl(&one, path, &flags, Some(body))?;
        for text in expected {
            assert!(told.contains(text), "{path} {headers:?} {body:?}: no {text} in {told}");
        }
    }
    let told = curl(&one, PUBLISH, &[], None)?;
    assert!(told.contains("405") && told.contains("allow: post"), "{told}");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn calls_are_in_the_access_log_with_their_status() -> anyhow::Result<()> {
    let one = One::with(&[("TRIGGERLINE_GATEWAY__ACCESS_LOG", "all")]).await?;
    let content = "content-type: application/grpc";
    for (id, path, body, status) in [
        ("fine", PUBLISH, event(), 0),
        ("wrong", PUBLISH, frame(b""), 3),
        ("checked", CHECK, frame(b""), 0),
        ("missing", CHECK, frame(b"\x0a\x01x"), 5),
        ("unknown", "/nothing", Vec::new(), 12),
        ("none", STREAM, Vec::new(), 0),
    ] {
        let flags = ["-H", content, "-H", &format!("x-request-id: {id}")];
        let told = curl(&one, path, &flags, Some(&body))?;
        assert!(told.contains(&format!("x-request-id: {id}")), "{told}");
        let line = accessed(&one.gateway, id).await?;
        assert_eq!(line["grpc_status"], status, "{line}");
        assert_eq!((line["path"].as_str(), &line["status"]), (Some(path), &200.into()), "{line}");
    }
    let flags = ["-H", "content-type: text/plain", "-H", "x-request-id: foreign"];
    curl(&one, PUBLISH, &flags, Some(b""))?;
    let line = accessed(&one.gateway, "foreign").await?;
    assert_eq!((&line["status"], &line["grpc_status"]), (&415.into(), &Value::Null), "{line}");
    // A call that is taken back is logged too.
    let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("x-request-id", "taken-back".parse()?);
    let mut watch = HealthClient::new(channel).watch(request).await?.into_inner();
    watch.message().await?.context("a status")?;
    drop(watch);
    assert_eq!(accessed(&one.gateway, "taken-back").await?["grpc_status"], 1);
    one.end().await
}

/// The line of the request with this id.
async fn accessed(gateway: &Gateway, id: &str) -> anyhow::Result<Value> {
    wait_until(&format!("a line of {id}"), LIMIT, || async {
        let lines = gateway.process.log();
        let mut lines = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .find(|line: &Value| line["target"] == "access" && line["request_id"] == id)
            .ok_or_else(|| format!("{} lines", gateway.process.log().len()))
    })
    .await
}

/// A call whose body is sent piece by piece.
struct Slow {
    pieces: Option<mpsc::Sender<Bytes>>,
    answer: tokio::task::JoinHandle<anyhow::Result<Status>>,
}

impl Slow {
    fn start(one: &One, mut channel: Channel, path: &str) -> anyhow::Result<Self> {
        let (pieces, stream) = mpsc::channel(64);
        let frames = ReceiverStream::new(stream).map(|piece| Ok::<_, Status>(Frame::data(piece)));
        let request = http::Request::post(format!("{}{path}", one.gateway.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", one.key))
            .body(Body::new(StreamBody::new(frames)))?;
        let answer = tokio::spawn(async move {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            let response = channel.call(request).await?;
            if let Some(status) = Status::from_header_map(response.headers()) {
                return Ok(status);
            }
            let collected = response.into_body().collect().await?;
            let trailers = collected.trailers().context("no trailers")?;
            Status::from_header_map(trailers).context("no status")
        });
        Ok(Self { pieces: Some(pieces), answer })
    }

    async fn send(&self, bytes: Vec<u8>) -> anyhow::Result<()> {
        let pieces = self.pieces.as_ref().context("it was ended")?;
        pieces.send(bytes.into()).await.context("it has ended")
    }

    async fn status(self) -> anyhow::Result<Status> {
        tokio::time::timeout(Duration::from_secs(20), self.answer).await.context("no answer")??
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn half_a_message_is_not_waited_for_and_not_kept() -> anyhow::Result<()> {
    let one = One::with(&[
        ("TRIGGERLINE_GATEWAY__LIMITS__BODY_TIMEOUT", "2s"),
        ("TRIGGERLINE_GATEWAY__LIMITS__BODY_BYTES", "16777216"),
    ])
    .await?;
    let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
    for path in [PUBLISH, STREAM, CHECK] {
        let slow = Slow::start(&one, channel.clone(), path)?;
        slow.send(event()[..7].to_vec()).await?;
        assert_eq!(slow.status().await?.code(), Code::DeadlineExceeded, "{path}");
    }
    // A stream may be idle for longer, and go on.
    let mut idle = Slow::start(&one, channel.clone(), STREAM)?;
    idle.send(streamed()).await?;
    // Four messages of 5 MB are more than may be in memory.
    let mut refused = 0;
    let half = [&[0][..], &5_900_000_u32.to_be_bytes(), &vec![b' '; 5_000_000]].concat();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
        let one = Slow::start(&one, channel, STREAM)?;
        one.send(half.clone()).await?;
        slow.push(one);
    }
    for slow in slow {
        let status = slow.status().await?;
        match status.code() {
            Code::DeadlineExceeded => {}
            Code::Unavailable => {
                let details = status.get_error_details();
                assert!(details.retry_info().is_some(), "{status:?}");
                refused += 1;
            }
            _ => panic!("{status:?}"),
        }
    }
    assert!(refused > 0, "none was refused");
    idle.send(streamed()).await?;
    idle.pieces = None;
    assert_eq!(idle.status().await?.code(), Code::Ok);
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_drain_waits_for_nobody_who_is_idle_or_gone() -> anyhow::Result<()> {
    let one = One::with(&[("TRIGGERLINE_GATEWAY__DRAIN", "60s")]).await?;
    // One who says hello, and then nothing any more; one who is gone with a Watch open.
    let address = one.gateway.grpc.strip_prefix("http://").context("an address")?.to_owned();
    let mut silent = TcpStream::connect(&address).await?;
    silent.write_all(HELLO).await?;
    let mut gone = TcpStream::connect(&address).await?;
    gone.write_all(&[HELLO, &watch()].concat()).await?;
    let mut told = Vec::new();
    while !frames(&told).contains(&0) {
        anyhow::ensure!(gone.read_buf(&mut told).await? > 0, "it was closed: {told:?}");
    }
    let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
    let (ask, asked) = mpsc::channel(1);
    let mut client = ServerReflectionClient::new(channel.clone());
    let list = MessageRequest::ListServices(String::new());
    ask.send(ServerReflectionRequest { host: String::new(), message_request: Some(list) }).await?;
    let described = client.server_reflection_info(ReceiverStream::new(asked)).await?;
    let mut described = described.into_inner();
    described.message().await?.context("the services")?;
    let unknown = HealthCheckRequest { service: "unknown".to_owned() };
    let mut watch = HealthClient::new(channel).watch(unknown).await?.into_inner();
    watch.message().await?.context("a status")?;

    let begun = Instant::now();
    assert!(one.gateway.process.terminate().await?.success());
    // 0.5 s lame duck, 1 s for the first word of a new connection, 2 s for a sign of life.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(described.message().await?.is_none(), "it ended in good order");
    assert!(watch.message().await?.is_none(), "it ended in good order");
    drop(ask);
    one.world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_idle_connection_is_asked_to_go() -> anyhow::Result<()> {
    let one = One::with(&[
        ("TRIGGERLINE_GATEWAY__LIMITS__IDLE_TIMEOUT", "1s"),
        // It must not be what ends it.
        ("TRIGGERLINE_GATEWAY__LIMITS__HEADER_TIMEOUT", "5m"),
    ])
    .await?;
    let address = one.gateway.grpc.strip_prefix("http://").context("an address")?;
    let mut idle = TcpStream::connect(address).await?;
    idle.write_all(HELLO).await?;
    let mut told = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), idle.read_to_end(&mut told));
    closed.await.context("it was not closed")??;
    assert!(frames(&told).contains(&7), "GOAWAY (RFC 9113 §6.8): {told:?}");
    // Not so one on which something goes on, however long.
    let channel = Endpoint::new(one.gateway.grpc.clone())?.connect().await?;
    let busy = Slow::start(&one, channel, STREAM)?;
    busy.send(streamed()).await?;
    let mut other = TcpStream::connect(address).await?;
    other.write_all(HELLO).await?;
    told.clear();
    // By the time that another idle one has gone.
    tokio::time::timeout(Duration::from_secs(30), other.read_to_end(&mut told)).await??;
    busy.send(streamed()).await?;
    let Slow { pieces, answer } = busy;
    drop(pieces);
    assert_eq!(Slow { pieces: None, answer }.status().await?.code(), Code::Ok);
    one.end().await
}
