//! Where no webhook may go, none goes: a canary there sees no connection, whatever it is called and
//! whoever sends us on to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use triggerline_testkit::{Client, World, wait_until};

use crate::{BINARY, LIMIT};

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
