//! Where no webhook may go, none goes: a canary there sees no connection, whatever it is called and
//! whoever sends us on to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};
use triggerline_testkit::{Client, World, wait_until};

use crate::{BINARY, LIMIT, matched};

/// Listens where nobody may come, and counts who does.
async fn canary() -> anyhow::Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok((port, seen))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn nothing_is_sent_where_webhooks_may_not_go() -> anyhow::Result<()> {
    // They were saved when all was open. What is sent now may go to one address only.
    let mut world = World::on_real_parts(BINARY).await?;
    let mut gateway = world.start(&["gateway"])?;
    let mut others = [world.start(&["matcher"])?, world.start(&["storage"])?];
    world.set("TRIGGERLINE_DELIVERY__ALLOW_PRIVATE_NETWORKS", "false");
    world.set("TRIGGERLINE_DELIVERY__ALLOW_NETWORKS", "127.0.0.1/32");
    let mut delivery = world.start(&["delivery"])?;
    let base = format!("http://{}", gateway.logged("serving").await?["http"].as_str().unwrap());
    for (process, ready) in others.iter_mut().zip(["matching", "storing"]) {
        process.logged(ready).await?;
    }
    delivery.logged("delivering").await?;
    let client = Client::new(&base, world.customer("reach").await?);

    let (port, seen) = canary().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sends_on = listener.local_addr()?;
    let target = format!("http://127.0.0.2:{port}/");
    let router = Router::new().route("/", post(async move || Redirect::temporary(&target)));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let hosts = [
        "127.0.0.2",
        "127.2",
        "0x7f.2",
        "0177.0.0.2",
        "2130706434",
        "0.0.0.0",
        "0",
        "127。0。0。2",
        "[::ffff:127.0.0.2]",
        "[::1]",
        "[::]",
        "[::127.0.0.2]",
        "[64:ff9b::7f00:2]",
        "[2002:7f00:2::]",
    ];
    let mut urls: Vec<_> = hosts.iter().map(|host| format!("http://{host}:{port}/")).collect();
    urls.push(format!("http://{sends_on}/"));
    for (number, url) in urls.iter().enumerate() {
        let body = json!({"workflow_id": number.to_string(), "delivery": {"url": url}});
        let made = client.post("/v1/subscriptions", body.to_string()).await?;
        made.expect(StatusCode::CREATED)?;
    }
    let dead: Vec<Value> = wait_until("each to be given up", LIMIT, || async {
        client.publish("a.b", b"1").await.map_err(|error| error.to_string())?;
        let page = client.get("/v1/dead-letters?limit=200").await.and_then(|page| page.json());
        let page = page.map_err(|error| error.to_string())?;
        let letters = page["data"].as_array().cloned().unwrap_or_default();
        let mut workflows: Vec<_> =
            letters.iter().map(|letter| letter["workflow_id"].to_string()).collect();
        workflows.sort_unstable();
        workflows.dedup();
        if workflows.len() == urls.len() { Ok(letters) } else { Err(page.to_string()) }
    })
    .await?;
    for letter in dead {
        let number: usize = letter["workflow_id"].as_str().unwrap().parse()?;
        let reason = letter["reason"].as_str().unwrap();
        let told = if urls[number].contains(&sends_on.to_string()) {
            "redirects are not followed"
        } else {
            "not an address on the public internet"
        };
        assert!(reason.contains(told), "{}: {reason}", urls[number]);
    }
    assert_eq!(seen.load(Ordering::Relaxed), 0, "the canary has seen somebody");
    for process in [gateway, delivery].into_iter().chain(others) {
        assert!(process.terminate().await?.success());
    }
    world.tear_down().await
}

/// A name server that leads to the addresses one after the other, and then to the last for good.
pub(crate) async fn name_server(
    addresses: &'static [[u8; 4]],
) -> anyhow::Result<(SocketAddr, Arc<AtomicUsize>)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            // RFC 1035 §4.1: twelve bytes of header, then a name, its type and its class.
            let name = question[12..length].iter().position(|byte| *byte == 0).unwrap_or_default();
            let end = 12 + name + 5;
            let is_a = question[end - 4..end - 2] == [0, 1];
            let mut answer = question[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                let turn = counted.fetch_add(1, Ordering::Relaxed).min(addresses.len() - 1);
                // The name again, type A, class IN, to be remembered for no time, four bytes.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(addresses[turn]);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    Ok((address, asked))
}

/// R20: a name that leads to a good address when it is looked up first, and inside the second time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_name_that_is_bound_anew_leads_nowhere() -> anyhow::Result<()> {
    let (resolver, asked) = name_server(&[[127, 0, 0, 1], [127, 0, 0, 2]]).await?;
    let mut world = World::on_real_parts(BINARY).await?;
    let mut gateway = world.start(&["gateway"])?;
    let mut others = [world.start(&["matcher"])?, world.start(&["storage"])?];
    world.set("TRIGGERLINE_DELIVERY__ALLOW_PRIVATE_NETWORKS", "false");
    world.set("TRIGGERLINE_DELIVERY__ALLOW_NETWORKS", "127.0.0.1/32");
    world.set("TRIGGERLINE_DELIVERY__RESOLVERS", &resolver.to_string());
    let mut delivery = world.start(&["delivery"])?;
    let base = format!("http://{}", gateway.logged("serving").await?["http"].as_str().unwrap());
    for (process, ready) in others.iter_mut().zip(["matching", "storing"]) {
        process.logged(ready).await?;
    }
    delivery.logged("delivering").await?;
    let client = Client::new(&base, world.customer("bound anew").await?);

    // It ends each connection, so that the name is looked up for each request.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let router = Router::new().route("/", post(async || [("connection", "close")]));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let inside = TcpListener::bind(("127.0.0.2", port)).await?;
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while inside.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });

    let url = format!("http://hooks.example.com:{port}/");
    let body = json!({"workflow_id": "w", "event_types": ["a.b"], "delivery": {"url": url}});
    client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)?;
    matched(&client, "a.b").await?;
    let letter: Value = wait_until("one to be given up", LIMIT, || async {
        client.publish("a.b", b"1").await.map_err(|error| error.to_string())?;
        let page = client.get("/v1/dead-letters").await.and_then(|page| page.json());
        let page = page.map_err(|error| error.to_string())?;
        let letter = page["data"].as_array().and_then(|letters| letters.first()).cloned();
        letter.ok_or_else(|| page.to_string())
    })
    .await?;
    let reason = letter["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("hooks.example.com leads to 127.0.0.2"), "{reason}");
    assert!(asked.load(Ordering::Relaxed) >= 2);
    assert_eq!(seen.load(Ordering::Relaxed), 0, "connections where none may go");
    for process in [gateway, delivery].into_iter().chain(others) {
        assert!(process.terminate().await?.success());
    }
    world.tear_down().await
}
