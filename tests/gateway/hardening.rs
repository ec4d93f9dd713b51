//! What clients can't do to a gateway.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::join_all;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use triggerline_testkit::{Client, wait_until};

use crate::{Gateway, LIMIT, One, text};

async fn connect(gateway: &Gateway) -> anyhow::Result<TcpStream> {
    let address = gateway.http.strip_prefix("http://").context("an address")?;
    Ok(TcpStream::connect(address).await?)
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all))
        .await
        .context("it was not closed")??;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_is_slow_is_dropped_and_keeps_nobody_else_waiting() -> anyhow::Result<()> {
    let one = One::with(&[
        ("TRIGGERLINE_GATEWAY__LIMITS__HEADER_TIMEOUT", "1s"),
        ("TRIGGERLINE_GATEWAY__LIMITS__BODY_TIMEOUT", "1s"),
    ])
    .await?;
    let head =
        format!("POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n", one.key);
    let body = format!("{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{");
    // Who has asked once and now waits, as clients' pools do, is not slow.
    let ask = b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut kept = connect(&one.gateway).await?;
    kept.write_all(ask).await?;
    let mut first = [0; 4096];
    assert!(kept.read(&mut first).await? > 0);
    let mut slow = Vec::new();
    for sent in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost", &head, &body] {
        for _ in 0..20 {
            let mut stream = connect(&one.gateway).await?;
            stream.write_all(sent.as_bytes()).await?;
            slow.push((sent.len() == body.len(), stream));
        }
    }
    let begun = Instant::now();
    one.client().publish("a.b", b"1").await?.expect(StatusCode::ACCEPTED)?;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let closed = slow.iter_mut().map(|(told, stream)| async {
        let answer = rest(stream).await?;
        // Who got as far as a body is told what was wrong with it.
        anyhow::ensure!(!*told || answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        anyhow::Ok(())
    });
    for closed in join_all(closed).await {
        closed?;
    }
    kept.write_all(b"GET /nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let answers = rest(&mut kept).await?;
    assert!(answers.contains("HTTP/1.1 404 "), "{answers:?}");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_refusal_reaches_http2_clients_that_still_send() -> anyhow::Result<()> {
    let one = One::start().await?;
    // curl 7.88 lost 4 % of the answers that came before it had sent its body.
    for path in ["/v1/events", "/nothing"] {
        for n in 0..100 {
            let told = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge"])
                .args(["-d", "{}", &format!("{}{path}", one.gateway.http)])
                .output()?;
            let status = if path == "/nothing" { "404" } else { "401" };
            assert_eq!(String::from_utf8_lossy(&told.stdout), status, "{path}, {n}");
        }
    }
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_never_reads_their_answers_is_dropped() -> anyhow::Result<()> {
    let one = One::with(&[("TRIGGERLINE_GATEWAY__LIMITS__WRITE_TIMEOUT", "1s")]).await?;
    let mut stream = connect(&one.gateway).await?;
    // The answers fill what the kernel keeps for both sides; then the gateway can't write, and
    // reads no further, until its side is closed with all that it has not read: a reset.
    let many = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    let asking = async { while stream.write_all(many.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), asking).await.context("it was not dropped")?;
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_endless_body_is_refused_before_it_is_in_memory() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut stream = connect(&one.gateway).await?;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        one.key
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0;
    // The gateway stops reading and answers; what is on its way then is lost with the connection.
    while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    // More bodies at once than may be in memory: the rest is told to come back.
    let One { world, gateway, key, .. } = one;
    assert!(gateway.process.terminate().await?.success());
    let mut world = world;
    world.set("TRIGGERLINE_GATEWAY__LIMITS__BODY_BYTES", "16777216");
    let gateway = Gateway::start(&world).await?;
    let length = 1_000_000;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&gateway).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&vec![b' '; length - 1]).await?;
        waiting.push(stream);
    }
    let mut refused = 0;
    for stream in &mut waiting {
        let mut status = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut status));
        if let Ok(Ok(_)) = read.await {
            assert_eq!(&status, b"HTTP/1.1 503");
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused} of 20 MB were refused");
    drop(waiting);
    assert!(gateway.process.terminate().await?.success());
    world.tear_down().await
}

/// Two hundred events of a megabyte are one page by their number.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_page_of_large_events_is_no_larger_than_it_may_be() -> anyhow::Result<()> {
    const EVENTS: usize = 12;
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let client = one.client();
    let payload = format!("\"{}\"", "x".repeat(999_998));
    let mut sent = Vec::new();
    for _ in 0..EVENTS {
        let answer = client.publish("large", payload.as_bytes()).await?;
        sent.push(text(&answer.expect(StatusCode::ACCEPTED)?, "event_id"));
    }
    for id in &sent {
        wait_until("the event to be stored", LIMIT, || async {
            let answer = client.get(&format!("/v1/events/{id}")).await;
            answer.and_then(|answer| answer.expect(StatusCode::OK)).map_err(|e| e.to_string())
        })
        .await?;
    }
    let (mut listed, mut pages) = (Vec::new(), Vec::new());
    let mut path = "/v1/inbox?order=asc&limit=200".to_owned();
    loop {
        let answer = client.get(&path).await?;
        let page = answer.expect(StatusCode::OK)?;
        assert!(answer.body.len() < 9 << 20, "{} bytes", answer.body.len());
        let data = page["data"].as_array().context("no data")?;
        pages.push(data.len());
        listed.extend(data.iter().map(|event| text(event, "event_id")));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/inbox?order=asc&limit=200&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((listed, pages), (sent, vec![8, 4]));
    assert!(storage.terminate().await?.success());
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_browser_may_call_from_the_origins_of_the_settings() -> anyhow::Result<()> {
    let one =
        One::with(&[("TRIGGERLINE_GATEWAY__CORS__ORIGINS", "https://console.example.com")]).await?;
    let client = one.client();
    for (origin, allowed) in
        [("https://console.example.com", true), ("https://evil.example", false)]
    {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ];
        let answer =
            client.with_key("").send(Method::OPTIONS, "/v1/events", &preflight, "").await?;
        let found = answer.headers.get("access-control-allow-origin").is_some();
        assert_eq!(found, allowed, "{origin}: {answer:?}");
    }
    let origin = [("origin", "https://console.example.com")];
    let answer = client.send(Method::GET, "/v1/inbox", &origin, "").await?;
    let exposed = answer.headers["access-control-expose-headers"].to_str()?;
    assert!(exposed.contains("ratelimit") && exposed.contains("x-event-id"), "{exposed}");
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn both_doors_speak_tls_where_it_is_set_up() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let one = One::with(&[
        ("TRIGGERLINE_GATEWAY__TLS__CERTIFICATE", &certificate),
        ("TRIGGERLINE_GATEWAY__TLS__KEY", &key),
    ])
    .await?;
    let (http, grpc) = (one.gateway.http.replace("http:", "https:"), one.gateway.grpc.clone());
    // curl is somebody else's TLS.
    let curl = |flags: &[&str], url: &str| -> anyhow::Result<String> {
        let output = Command::new("curl")
            .args([
                "-s",
                "--cacert",
                &certificate,
                "-w",
                "%{http_code} %{http_version}",
                "-o",
                "/dev/null",
            ])
            .args(["-H", &format!("Authorization: Bearer {}", one.key)])
            .args(flags)
            .arg(url)
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let json = "content-type: application/json";
    let event = ["-H", json, "-d", r#"{"event_type":"a.b","payload":1}"#];
    assert_eq!(curl(&event, &format!("{http}/v1/events"))?, "202 2");
    let older = [&event[..], &["--http1.1"]].concat();
    assert_eq!(curl(&older, &format!("{http}/v1/events"))?, "202 1.1");
    assert_eq!(curl(&[], &one.gateway.http)?, "000 0", "plain HTTP gets nothing");
    let health = format!("{}/grpc.health.v1.Health/Check", grpc.replace("http:", "https:"));
    let frame = path("frame");
    std::fs::write(&frame, [0; 5])?;
    let data = format!("@{frame}");
    let flags =
        ["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", &data];
    assert_eq!(curl(&flags, &health)?, "200 2");
    // Settings that make no sense end it, with the key that is wrong.
    let One { mut world, gateway, .. } = one;
    assert!(gateway.process.terminate().await?.success());
    world.set("TRIGGERLINE_GATEWAY__TLS__KEY", "");
    let output = world.output(&["gateway"]).await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && told.contains("gateway.tls"), "{told}");
    world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn on_sigterm_no_accepted_request_is_reset() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.client();
    let posts = (0..400).map(|n| {
        let client: Client = client.clone();
        tokio::spawn(async move { client.publish("a.b", n.to_string().as_bytes()).await })
    });
    let posts: Vec<_> = posts.collect();
    client.publish("a.b", b"0").await?.expect(StatusCode::ACCEPTED)?;
    let ended = tokio::spawn(one.gateway.process.terminate());
    let (mut accepted, mut turned_away) = (0, 0);
    for post in join_all(posts).await {
        match post? {
            Ok(answer) => {
                assert!(
                    [StatusCode::ACCEPTED, StatusCode::SERVICE_UNAVAILABLE]
                        .contains(&answer.status)
                );
                accepted += 1;
            }
            // Refused before it was read: the port is closed already. A reset in the middle would
            // be an answer that never came.
            Err(error) => {
                let told = format!("{error:#}");
                assert!(told.contains("Connect") || told.contains("onnection refused"), "{told}");
                turned_away += 1;
            }
        }
    }
    assert!(ended.await??.success());
    assert!(accepted > 0, "{turned_away} were turned away");
    one.world.tear_down().await
}
