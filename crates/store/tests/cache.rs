//! Each cache held to the promises of its trait, and the Redis one to what it promises about a
//! Redis that is away, silent or forgetful.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use triggerline_store::{
    Cache, Claim, IdempotencyKey, MemoryCache, RedisCache, Reservation, StoreError, Want,
    cache::conformance,
};
use triggerline_types::{CustomerId, EventId, RateLimit};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::cache(Arc::new(MemoryCache::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn redis() {
    let server = std::env::var("TRIGGERLINE_TEST_REDIS").unwrap();
    let cache = Arc::new(RedisCache::connect(&server).unwrap());
    until("it is connected", async || cache.is_available()).await;
    conformance::cache(cache).await;
}

/// A server that isn't there is an error at once, and nothing to wait for when it is opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there() {
    let opened = Instant::now();
    let cache = RedisCache::connect("redis://127.0.0.1:1").unwrap();
    for _ in 0..20 {
        is_unavailable(&cache).await;
    }
    assert!(!cache.is_available());
    assert!(opened.elapsed() < Duration::from_millis(250), "{:?}", opened.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn scripts_that_redis_forgot_are_sent_again() {
    let server = Server::start();
    let cache = server.cache().await;
    for _ in 0..3 {
        assert_eq!(server.ask("SCRIPT FLUSH"), "+OK");
        every_script(&cache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_redis_that_ends_and_starts_again() {
    // It is not there yet when the cache is opened.
    let mut server = Server::new();
    let cache = RedisCache::connect(&server.url()).unwrap();
    is_unavailable(&cache).await;
    for _ in 0..2 {
        server.run();
        until("it is found", async || cache.is_available()).await;
        every_script(&cache).await;

        server.kill();
        let killed = Instant::now();
        until("calls fail", async || look(&cache).await.is_err()).await;
        until("it is known to be away", async || !cache.is_available()).await;
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        let started = Instant::now();
        for _ in 0..20 {
            is_unavailable(&cache).await;
        }
        assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    }
}

/// It holds its connections and says nothing: first for a moment, then for so long that the
/// connections are given up.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_redis_that_is_silent() {
    let server = Server::start();
    let cache = server.cache().await;
    for silence in [Duration::ZERO, Duration::from_secs(5)] {
        every_script(&cache).await;
        server.signal("STOP");
        let stopped = Instant::now();
        let mut calls = 0;
        while cache.is_available() || stopped.elapsed() < silence {
            let asked = Instant::now();
            let result = look(&cache).await;
            assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
            assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
            assert!(stopped.elapsed() < silence + Duration::from_secs(2), "known to be silent");
            tokio::time::sleep(Duration::from_millis(2)).await;
            calls += 1;
        }
        let started = Instant::now();
        is_unavailable(&cache).await;
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
        server.signal("CONT");
        let continued = Instant::now();
        until("it is there again", async || cache.is_available()).await;
        println!("{calls} calls in the silence, back after {:?}", continued.elapsed());
    }
    every_script(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn connections_end_with_the_cache() {
    let server = Server::start();
    let before = server.connections();
    let cache = server.cache().await;
    every_script(&cache).await;
    assert!(server.connections() > before);
    drop(cache);
    until("they are closed", async || server.connections() == before).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn what_redis_refuses_is_final_and_names_the_operation() {
    let server = Server::start();
    let cache = server.cache().await;
    assert_eq!(server.ask("SET tl:r:1:taken text"), "+OK");
    let limit = RateLimit::new(1, Duration::from_secs(1)).unwrap();
    let error = cache.take("taken", limit, Want::All(1)).await.unwrap_err();
    let StoreError::Failed { operation: "take from a rate limit", source } = &error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("WRONGTYPE"), "{source}");
    assert_eq!(server.ask("CONFIG SET maxmemory 1"), "+OK");
    let error = cache.take("free", limit, Want::All(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn what_is_kept_in_redis_ends_by_itself() {
    let server = Server::start();
    let cache = server.cache().await;
    every_script(&cache).await;
    let keys = || server.ask("DBSIZE");
    assert_ne!(keys(), ":0");
    let least = "local least = 9e9 \
        for _, key in ipairs(redis.call('KEYS', '*')) do \
            least = math.min(least, redis.call('PTTL', key)) \
        end \
        return least";
    let left: i64 = server.ask(&format!("EVAL \"{least}\" 0"))[1..].parse().unwrap();
    assert!(left > 0, "one stays for ever: {left}");
}

/// Asks for something without changing anything.
async fn look(cache: &RedisCache) -> Result<u32, StoreError> {
    let limit = RateLimit::new(1, Duration::from_secs(1)).unwrap();
    cache.take("look", limit, Want::UpTo(0)).await.map(|grant| grant.remaining)
}

async fn is_unavailable(cache: &RedisCache) {
    let error = look(cache).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("take from a rate limit"), "{error}");
}

async fn every_script(cache: &RedisCache) {
    let key = IdempotencyKey { customer: CustomerId::new(), key: "k".to_owned() };
    let claim = Claim {
        key: key.clone(),
        fingerprint: [1; 32],
        event_id: EventId::new(),
        received_at: OffsetDateTime::UNIX_EPOCH,
        token: Uuid::now_v7(),
        lease: Duration::from_mins(1),
        keep: Duration::from_hours(1),
    };
    let ours = Reservation::Ours { event_id: claim.event_id, received_at: claim.received_at };
    assert_eq!(cache.reserve(&claim).await.unwrap(), ours);
    cache.release(&key, claim.token, triggerline_store::Release::Unknown).await.unwrap();
    assert_eq!(cache.reserve(&claim).await.unwrap(), ours);
    assert!(cache.settle(&key, claim.token, b"done").await.unwrap());
    let limit = RateLimit::new(5, Duration::from_mins(1)).unwrap();
    let grant = cache.take(&key.customer.to_string(), limit, Want::All(2)).await.unwrap();
    assert_eq!((grant.granted, grant.remaining), (2, 3));
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A redis-server of the test's own, on a port that was free.
struct Server {
    port: u16,
    running: Option<Child>,
    folder: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, running: None, folder: tempfile::tempdir().unwrap() }
    }

    fn start() -> Self {
        let mut server = Self::new();
        server.run();
        server
    }

    fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.running = Some(child);
        let started = Instant::now();
        while self.try_ask("PING").is_none() {
            assert!(started.elapsed() < Duration::from_secs(30), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let process = self.running.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().unwrap();
        assert!(sent.success());
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn cache(&self) -> RedisCache {
        let cache = RedisCache::connect(&self.url()).unwrap();
        until("it is connected", async || cache.is_available()).await;
        cache
    }

    /// Connections besides the one that asks.
    fn connections(&self) -> usize {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"CLIENT LIST\r\nQUIT\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with("id=")).count() - 1
    }

    /// The first line of what Redis answers to one command.
    fn ask(&self, command: &str) -> String {
        self.try_ask(command).unwrap()
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
