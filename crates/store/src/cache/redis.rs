//! The cache in Redis (6.2 or later, or what speaks its protocol; a cluster too).
//!
//! | Key | Holds | Lives |
//! |---|---|---|
//! | `tl:i:{customer}:{key}` | a reservation: fingerprint `f`, event id `e`, received at `r` (ms), token `t`, end of the lease `l` (ms), answer `a` | 24 h from the first claim |
//! | `tl:r:{name}:{window}` | a window: slice → granted | the window |
//!
//! Each method is one script on one key, so it is atomic, and a cluster can place the keys as it
//! likes. Nothing waits for a Redis that is away: a call fails at once while there is no
//! connection, and after [`PATIENCE`] where there is one that doesn't answer. Reservations are as
//! durable as Redis is set up to be (`appendonly yes` is advised).

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Pool;
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::types::config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig};
use fred::types::{Builder, FromValue, Value};
use time::OffsetDateTime;
use triggerline_types::{EventId, millis};
use uuid::Uuid;

use super::window::{self, slice_of};
use super::{Cache, Claim, Grant, IdempotencyKey, Reservation};
use crate::StoreError;

/// For a command to be answered.
const PATIENCE: Duration = Duration::from_millis(250);
/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 4;
/// Between attempts to connect, in milliseconds: from, up to.
const RECONNECT: (u32, u32) = (50, 1_000);

pub struct RedisCache {
    pool: Pool,
    reserve: Script,
    settle: Script,
    release: Script,
    take: Script,
}

impl RedisCache {
    /// Reads the address, and goes on connecting in the background for as long as it takes.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let address = |error: fred::error::Error| {
            StoreError::Address(format!("is not a Redis URL: {}", error.details()))
        };
        let mut config = Config::from_url(url).map_err(address)?;
        config.fail_fast = false;
        let pool = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT;
                connection.internal_command_timeout = CONNECT;
                connection.max_command_attempts = 1;
                connection.reconnect_on_auth_error = true;
                connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
                connection.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(2 * CONNECT), interval: CONNECT };
            })
            .with_performance_config(|performance| {
                performance.default_command_timeout = PATIENCE;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT.0, RECONNECT.1, 2))
            .build_pool(CONNECTIONS)
            .map_err(address)?;
        // The task goes on by itself; its handle only tells of its end.
        drop(pool.connect());
        Ok(Self {
            pool,
            reserve: Script::new(include_str!("reserve.lua")),
            settle: Script::new(include_str!("settle.lua")),
            release: Script::new(include_str!("release.lua")),
            take: Script::new(include_str!("take.lua")),
        })
    }

    async fn run<R: FromValue>(
        &self,
        operation: &'static str,
        script: &Script,
        key: String,
        arguments: Vec<Value>,
    ) -> Result<R, StoreError> {
        let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::Unavailable { operation, source }
        };
        if !self.is_available() {
            return Err(unavailable("there is no connection to Redis".into()));
        }
        let ran = script.run(&self.pool, key, arguments);
        // The client's own limit is for a command; a reconnection may come on top.
        match tokio::time::timeout(2 * PATIENCE, ran).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(unavailable(error.into())),
            Err(late) => Err(unavailable(late.into())),
        }
    }
}

/// A script, run by its hash so that only the hash travels. Redis may have forgotten it (a
/// restart, a failover, `SCRIPT FLUSH`): then it is sent whole once, which makes it known again.
struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, hash: OnceLock::new() }
    }

    async fn run<R: FromValue>(
        &self,
        pool: &Pool,
        key: String,
        arguments: Vec<Value>,
    ) -> Result<R, fred::error::Error> {
        let client = pool.next_connected();
        if let Some(hash) = self.hash.get() {
            let ran = client.evalsha(hash.as_str(), key.as_str(), arguments.clone()).await;
            match ran {
                Err(error) if error.details().starts_with("NOSCRIPT") => {}
                ran => return ran,
            }
        } else if let Ok(hash) = client.script_load::<String, _>(self.source).await {
            let _ = self.hash.set(hash);
        }
        client.eval(self.source, key, arguments).await
    }
}

fn reservation(key: &IdempotencyKey) -> String {
    format!("tl:i:{{{}}}:{}", key.customer, key.key)
}

fn text(value: &str) -> Value {
    Value::from(value)
}

fn number(value: u64) -> Value {
    Value::from(value.to_string())
}

#[async_trait]
impl Cache for RedisCache {
    async fn reserve(&self, claim: &Claim) -> Result<Reservation, StoreError> {
        const OPERATION: &str = "reserve an idempotency key";
        let arguments = vec![
            Value::Bytes(Bytes::copy_from_slice(&claim.fingerprint)),
            text(&claim.event_id.to_string()),
            text(&millis(claim.received_at).to_string()),
            text(&claim.token.to_string()),
            number(window::millis(claim.lease)),
            number(window::millis(claim.keep)),
        ];
        let key = reservation(&claim.key);
        let (state, first, second): (String, Bytes, String) =
            self.run(OPERATION, &self.reserve, key, arguments).await?;
        let unreadable = |what: &str| StoreError::Unreadable {
            operation: OPERATION,
            table: "a reservation",
            what: what.to_owned(),
        };
        let word = || std::str::from_utf8(&first).map_err(|_| unreadable("bytes, not text"));
        match state.as_str() {
            "ours" => {
                let at = second
                    .parse::<i128>()
                    .ok()
                    .and_then(|ms| OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).ok());
                Ok(Reservation::Ours {
                    event_id: EventId::from_uuid(
                        Uuid::parse_str(word()?).map_err(|_| unreadable("no event id"))?,
                    ),
                    received_at: at.ok_or_else(|| unreadable("no instant"))?,
                })
            }
            "running" => {
                let left = word()?.parse().map_err(|_| unreadable("no end of the lease"))?;
                Ok(Reservation::Running { retry_after: Duration::from_millis(left) })
            }
            "different" => Ok(Reservation::Different),
            "settled" => Ok(Reservation::Settled { answer: first }),
            other => Err(unreadable(&format!("the state {other:?}"))),
        }
    }

    async fn settle(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        answer: &[u8],
    ) -> Result<bool, StoreError> {
        let answer = Value::Bytes(Bytes::copy_from_slice(answer));
        let arguments = vec![text(&token.to_string()), answer];
        let settled: i64 =
            self.run("keep an answer", &self.settle, reservation(key), arguments).await?;
        Ok(settled == 1)
    }

    async fn release(
        &self,
        key: &IdempotencyKey,
        token: Uuid,
        forget: bool,
    ) -> Result<(), StoreError> {
        let arguments = vec![text(&token.to_string()), text(if forget { "1" } else { "0" })];
        let operation = "release an idempotency key";
        let _: i64 = self.run(operation, &self.release, reservation(key), arguments).await?;
        Ok(())
    }

    async fn take(
        &self,
        name: &str,
        quota: u32,
        window: Duration,
        want: u32,
    ) -> Result<Grant, StoreError> {
        let length = window::millis(window);
        let key = format!("tl:r:{{{name}}}:{length}");
        let arguments = vec![
            number(quota.into()),
            number(length),
            number(slice_of(window)),
            number(want.into()),
        ];
        let (granted, remaining, retry_after, reset): (u32, u32, u64, u64) =
            self.run("take from a rate limit", &self.take, key, arguments).await?;
        Ok(Grant {
            granted,
            remaining,
            retry_after: Duration::from_millis(retry_after),
            reset: Duration::from_millis(reset),
        })
    }

    fn is_available(&self) -> bool {
        self.pool.clients().iter().any(fred::interfaces::ClientLike::is_connected)
    }
}
