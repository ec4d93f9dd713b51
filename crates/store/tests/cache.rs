//! Each cache held to the promises of its trait, and Redis to ours when it goes away.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use triggerline_store::{
    Cache, MemoryCache, RedisCache, StoreError, cache::conformance, open_cache,
};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::cache(Arc::new(MemoryCache::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn redis() {
    let url = std::env::var("TRIGGERLINE_TEST_REDIS").unwrap();
    let cache = open_cache(&url).unwrap();
    connected(&*cache).await;
    conformance::cache(cache).await;
}

#[test]
fn an_unknown_cache_is_refused_with_what_is_known() {
    for url in ["memcached://h", "redis", "redis://:bad:port:x"] {
        let error = open_cache(url).err().unwrap();
        assert!(matches!(error, StoreError::Address(_)), "{url}: {error}");
    }
}

/// A Redis of this test's own, to be stopped and started.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start(port: Option<u16>) -> Self {
        let port = port.unwrap_or_else(|| {
            TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
        });
        let child = Command::new("redis-server")
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { port, child }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(mut self) -> u16 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn take(cache: &dyn Cache) -> Result<u32, StoreError> {
    cache.take("a", 1_000_000, Duration::from_hours(1), 1).await.map(|grant| grant.granted)
}

async fn connected(cache: &dyn Cache) {
    let begun = Instant::now();
    while take(cache).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no connection to Redis");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Fails with `Unavailable`, and soon.
async fn refuses(cache: &dyn Cache) {
    let begun = Instant::now();
    let error = take(cache).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn redis_that_goes_away_and_comes_back() {
    let server = Server::start(None);
    let cache = RedisCache::connect(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    connected(&cache).await;

    // It forgets its scripts.
    let flush = Command::new("redis-cli")
        .args(["-p", &server.port.to_string(), "SCRIPT", "FLUSH"])
        .stdout(Stdio::null())
        .status();
    assert!(flush.unwrap().success());
    assert_eq!(take(&cache).await.unwrap(), 1);

    // It is paused: there is a connection, and no answer.
    server.signal("STOP");
    refuses(&cache).await;
    server.signal("CONT");
    connected(&cache).await;

    // It is gone, and comes back with nothing in it.
    let port = server.kill();
    refuses(&cache).await;
    let begun = Instant::now();
    while cache.is_available() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the connection's end is not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refuses(&cache).await;
    let _server = Server::start(Some(port));
    connected(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_not_there() {
    let cache = RedisCache::connect("redis://127.0.0.1:1").unwrap();
    assert!(!cache.is_available());
    refuses(&cache).await;
}
