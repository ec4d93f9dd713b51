//! As many connections as the installation bears, whoever they lead to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use triggerline_testkit::{Client, Services, World, wait_until};

use crate::identity::head;
use crate::{BINARY, LIMIT, publish};

/// What all endpoints together have seen.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    most: AtomicUsize,
    requests: AtomicUsize,
    /// By their ports.
    asked: Mutex<HashSet<u16>>,
}

/// Answers as long as it is asked, on connections that it never closes.
async fn serve(mut socket: TcpStream, seen: Arc<Seen>) {
    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(open, Ordering::SeqCst);
    loop {
        let head = head(&mut socket).await.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let Some(length) = length.and_then(|length| length.parse().ok()) else { break };
        let mut body = vec![0; length];
        if socket.read_exact(&mut body).await.is_err() {
            break;
        }
        if let Ok(address) = socket.local_addr() {
            seen.asked.lock().unwrap().insert(address.port());
        }
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    }
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn there_are_never_more_than_the_installation_bears() -> anyhow::Result<()> {
    const ENDPOINTS: usize = 40;
    const EVENTS: usize = 25;
    const MOST: usize = 8;
    let mut world = World::on_real_parts(BINARY).await?;
    world.set("TRIGGERLINE_DELIVERY__CONNECTIONS", &MOST.to_string());
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("connections").await?);
    let seen = Arc::new(Seen::default());
    for number in 0..ENDPOINTS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&counted)));
            }
        });
        let body = json!({"workflow_id": number.to_string(), "event_types": ["a.b"],
            "delivery": {"url": url}});
        client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)?;
    }
    wait_until("one event at each endpoint", LIMIT, || async {
        client.publish("a.b", b"1").await.map_err(|error| error.to_string())?;
        let asked = seen.asked.lock().unwrap().len();
        if asked == ENDPOINTS { Ok(()) } else { Err(format!("{asked} endpoints were asked")) }
    })
    .await?;
    let before = seen.requests.load(Ordering::SeqCst);
    publish(&client, "a.b", EVENTS).await?;
    let most = wait_until("each event at each endpoint", LIMIT, || async {
        let requests = seen.requests.load(Ordering::SeqCst) - before;
        if requests < ENDPOINTS * EVENTS {
            Err(format!("{requests} requests"))
        } else {
            Ok(seen.most.load(Ordering::SeqCst))
        }
    })
    .await?;
    // An endpoint learns a little later that a connection was closed. Each with its own: 40 and more.
    assert!((2..2 * MOST).contains(&most), "{most} connections at once");
    services.terminate().await?;
    world.tear_down().await
}
