//! R15: endpoints that hang, drip, pour or never end cost their deadline and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use triggerline_testkit::{Client, Receiver, Services, World, subscribe, wait_until};

use crate::{BINARY, LIMIT, matched, publish, wait_for};

const EVENTS: usize = 5;
const OTHERS: usize = 300;
const MEBIBYTE: usize = 1_024 * 1_024;

#[derive(Clone, Copy)]
enum Hostile {
    SaysNothing,
    DripsHeaders,
    DripsBody,
    EndlessHeaders,
    EndlessInformation,
    EndlessBody,
    Bomb,
    HangsInTls,
    HangsUp,
}

impl Hostile {
    /// Its name, and what becomes of a delivery to it: what has answered 2xx has taken it, whatever it
    /// goes on to say.
    const ALL: [(Self, &str, &str); 9] = [
        (Self::SaysNothing, "says nothing", "dead_lettered"),
        (Self::DripsHeaders, "drips headers", "dead_lettered"),
        (Self::DripsBody, "drips a body", "delivered"),
        (Self::EndlessHeaders, "headers without end", "dead_lettered"),
        (Self::EndlessInformation, "1xx without end", "dead_lettered"),
        (Self::EndlessBody, "a body without end", "delivered"),
        (Self::Bomb, "a gzip bomb", "delivered"),
        (Self::HangsInTls, "hangs in TLS", "dead_lettered"),
        (Self::HangsUp, "hangs up", "dead_lettered"),
    ];

    async fn start(self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It ends when the other side has had enough.
                tokio::spawn(async move { self.answer(stream).await.ok() });
            }
        });
        let scheme = if matches!(self, Self::HangsInTls) { "https" } else { "http" };
        Ok(format!("{scheme}://{address}/"))
    }

    async fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = vec![0; 65_536];
        let _ = stream.read(&mut request).await?;
        let head = "HTTP/1.1 200 OK\r\n";
        match self {
            Self::HangsUp => Ok(()),
            Self::SaysNothing | Self::HangsInTls => std::future::pending().await,
            Self::DripsHeaders => drip(&mut stream, head).await,
            Self::DripsBody => {
                stream
                    .write_all(format!("{head}content-length: 1000000\r\n\r\n").as_bytes())
                    .await?;
                drip(&mut stream, "x").await
            }
            Self::EndlessHeaders => pour(&mut stream, head, "x-more: and more\r\n").await,
            Self::EndlessInformation => {
                pour(&mut stream, "", "HTTP/1.1 103 Early Hints\r\n\r\n").await
            }
            Self::EndlessBody => {
                let length = 10 * 1_024 * MEBIBYTE;
                let head = format!("{head}content-length: {length}\r\n\r\n");
                pour(&mut stream, &head, "and more, and more, and more").await
            }
            Self::Bomb => {
                // A mebibyte of zeros to each kilobyte, as gzip has them; nobody unpacks it here.
                let head =
                    format!("{head}content-encoding: gzip\r\ncontent-length: 10485760\r\n\r\n");
                pour(&mut stream, &head, "\u{1f}\u{8}\0\0\0\0\0\0").await
            }
        }
    }
}

async fn drip(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    loop {
        for byte in text.bytes() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn pour(stream: &mut TcpStream, head: &str, more: &str) -> std::io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    let more = more.repeat(4_096);
    loop {
        stream.write_all(more.as_bytes()).await?;
    }
}

/// The most memory that a process has had, in bytes.
fn peak(process: u32) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1_024)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn endpoints_that_never_end_cost_their_deadline_and_nothing_else() -> anyhow::Result<()> {
    let world = World::with(BINARY, &[("TRIGGERLINE_TOPICS__PARTITIONS", "1")]).await?;
    let services = Services::start(&world).await?;
    let receiver = Receiver::start().await?;
    let [client, other] = [
        Client::new(&services.base, world.customer("hostile").await?),
        Client::new(&services.base, world.customer("other").await?),
    ];
    for (hostile, name, _) in Hostile::ALL {
        let body = json!({"workflow_id": name, "event_types": ["a.b"], "delivery": {
            "url": hostile.start().await?, "timeout_ms": 1_000, "retry": {"max_attempts": 1}}});
        client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)?;
    }
    subscribe(&other, &receiver, "other", "a.b", None, Vec::new()).await?;
    matched(&other, "a.b").await?;
    let before = peak(services.delivery.id()?)?;
    let mut events = Vec::new();
    for number in 0..EVENTS {
        let accepted = client.publish("a.b", number.to_string().as_bytes()).await?;
        let accepted = accepted.expect(StatusCode::ACCEPTED)?;
        events.push(accepted["event_id"].as_str().unwrap_or_default().to_owned());
    }
    publish(&other, "a.b", OTHERS).await?;
    wait_for(&receiver, "other", 1 + OTHERS).await?;
    for event in events {
        let found: BTreeMap<String, Value> = wait_until("all to be settled", LIMIT, || async {
            let page = client.get(&format!("/v1/events/{event}/deliveries")).await;
            let page = page.and_then(|page| page.json()).map_err(|error| error.to_string())?;
            let all = page["data"].as_array().cloned().unwrap_or_default();
            let settled = all
                .iter()
                .filter(|one| one["state"] == "delivered" || one["state"] == "dead_lettered");
            if settled.count() < Hostile::ALL.len() {
                return Err(page.to_string());
            }
            let name = |one: &Value| one["workflow_id"].as_str().unwrap_or_default().to_owned();
            Ok(all.iter().map(|one| (name(one), one.clone())).collect())
        })
        .await?;
        for (_, name, state) in Hostile::ALL {
            let delivery = &found[name];
            assert_eq!(delivery["state"], state, "{name}: {delivery}");
            let latency = delivery["attempts"][0]["latency_ms"].as_u64().unwrap_or_default();
            // Its own deadline is a second; machines may be slow, endpoints not.
            assert!(latency < 10_000, "{name}: {latency} ms");
        }
    }
    let more = peak(services.delivery.id()?)?.saturating_sub(before);
    assert!(more <= 64 * MEBIBYTE, "{} MiB more", more / MEBIBYTE);
    services.terminate().await?;
    world.tear_down().await
}
