//! As many connections as the installation bears, whoever they lead to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use triggerline_testkit::{Client, Receiver, Services, World, subscribe, wait_until};

use crate::identity::head;
use crate::{BINARY, LIMIT, matched, publish, wait_for};

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

/// One customer's endpoints hang, more of them than there are places. Another's are asked all the same,
/// and that they had to wait is not told of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_hangs_leaves_places_for_others() -> anyhow::Result<()> {
    const HANGING: usize = 30;
    const EVENTS: usize = 20;
    let mut world = World::on_real_parts(BINARY).await?;
    // 8 requests at once, 2 of one customer.
    world.set("TRIGGERLINE_DELIVERY__CONNECTIONS", "16");
    let services = Services::start(&world).await?;
    let receiver = Receiver::start().await?;
    let hanging = Client::new(&services.base, world.customer("hanging").await?);
    let other = Client::new(&services.base, world.customer("other").await?);
    let paths: Vec<_> = (0..HANGING).map(|number| format!("hanging-{number}")).collect();
    for path in &paths {
        subscribe(&hanging, &receiver, path, "a.b", None, Vec::new()).await?;
        receiver.answers(path, false);
    }
    subscribe(&other, &receiver, "other", "a.b", None, Vec::new()).await?;
    matched(&other, "a.b").await?;
    let asked = || paths.iter().map(|path| receiver.asked(path)).sum::<usize>();
    wait_until("requests to hang", LIMIT, || async {
        publish(&hanging, "a.b", 1).await.map_err(|error| error.to_string())?;
        if asked() > 0 { Ok(()) } else { Err("none was asked".to_owned()) }
    })
    .await?;
    publish(&other, "a.b", EVENTS).await?;
    wait_for(&receiver, "other", 1 + EVENTS).await?;
    // Each at once: no attempt failed for want of a place.
    let came = receiver.received().iter().filter(|one| one.path == "other").count();
    assert_eq!(came, 1 + EVENTS);
    let page = other.get("/v1/inbox?limit=200").await?.expect(StatusCode::OK)?;
    let newest = page["data"][0]["event_id"].as_str().unwrap();
    let path = format!("/v1/events/{newest}/deliveries");
    wait_until("its delivery to be known", LIMIT, || async {
        let page = other.get(&path).await.and_then(|answer| answer.json());
        let page = page.map_err(|error| error.to_string())?;
        let attempts = page["data"][0]["attempts"].as_array().map_or(0, Vec::len);
        if attempts == 1 { Ok(()) } else { Err(page.to_string()) }
    })
    .await?;
    for path in &paths {
        receiver.answers(path, true);
    }
    services.terminate().await?;
    world.tear_down().await
}
