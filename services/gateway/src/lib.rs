//! The gateway: the door for events, the inbox, subscriptions, and what customers manage.
//!
//! A connection is accepted by the [`server`]. Its requests come over HTTP ([`http`]) or gRPC
//! ([`grpc`]); whoever [`asking`] is found by their key ([`auth`]) and counted against its limit
//! ([`limits`]). An event is read from our own envelope ([`admit`]), from CloudEvents
//! ([`cloud_events`]) or from a [`batch`] of either, and takes the one path through [`accept`]:
//! admitted, reserved under its idempotency key ([`idempotency`]), published ([`publish`]), and
//! only then answered 202. Reads go to the stores; what both doors have, by way of the
//! [`inbox`], [`subscriptions`], [`pull`], [`explain`], [`dead_letters`] and [`replays`]. Every error is a [`problem`].

mod accept;
mod access;
mod admit;
mod asking;
mod auth;
mod batch;
mod cloud_events;
mod config;
mod cursor;
mod dead_letters;
mod explain;
mod grpc;
mod http;
mod idempotency;
mod inbox;
mod json;
pub mod keys;
pub mod limits;
mod metrics;
mod peer;
mod problem;
mod publish;
mod pull;
mod replays;
mod room;
mod schemas;
mod server;
mod subscriptions;
mod unread;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use triggerline_guard::Reach;
use triggerline_kafka::{KafkaConfig, Producer, Topics};
use triggerline_service::admin::bind;
use triggerline_store::{Cache, ControlStore, EventStore};

use auth::Auth;
pub use config::{DEFAULTS, GatewayConfig};
use cursor::Cursors;
use keys::Pepper;
use limits::Limiter;
use publish::Publisher;
use room::Room;
use schemas::Schemas;
use server::{End, Server};

/// What a gateway stands on.
pub struct Parts {
    pub pepper: Pepper,
    /// What URLs a subscription may name: the delivery service's rules.
    pub reach: Reach,
    pub control: Arc<dyn ControlStore>,
    pub events: Arc<dyn EventStore>,
    pub cache: Arc<dyn Cache>,
    /// How long events are kept of customers for whom nobody chose otherwise; `None`: for ever.
    pub retention: Option<Duration>,
    /// How long Kafka's topics may have a record.
    pub topics_kept: Duration,
}

/// How long the start waits for the cache, so that the first requests with an idempotency key
/// are not refused. Without it the gateway starts all the same.
const CACHE_PATIENCE: Duration = Duration::from_secs(2);

async fn wait_for(cache: &dyn Cache) {
    let until = Instant::now() + CACHE_PATIENCE;
    while !cache.is_available() {
        if Instant::now() >= until {
            tracing::warn!("the cache does not answer; going on without it until it does");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What every handler needs.
struct Shared {
    settings: GatewayConfig,
    auth: Auth,
    limiter: Arc<Limiter>,
    schemas: Arc<Schemas>,
    publisher: Publisher,
    counted: Counted,
    cache: Arc<dyn Cache>,
    control: Arc<dyn ControlStore>,
    events: Arc<dyn EventStore>,
    cursors: Cursors,
    /// For new keys.
    pepper: Pepper,
    reach: Reach,
    room: Room,
    /// How long Kafka's topics may have a record.
    topics_kept: Duration,
}

/// What is counted on the way of a request.
struct Counted {
    over_http: metrics::Answers,
    over_grpc: metrics::Answers,
    idempotency: metrics::Idempotency,
}

pub struct App {
    http: TcpListener,
    grpc: TcpListener,
    server: Server,
    shared: Arc<Shared>,
    producer: Producer,
}

impl App {
    /// Binds both ports and connects.
    pub async fn build(
        config: &GatewayConfig,
        kafka: &KafkaConfig,
        parts: Parts,
    ) -> anyhow::Result<Self> {
        let Parts { pepper, reach, control, events, cache, retention, topics_kept } = parts;
        let http = bind("gateway.http_listen", &config.http_listen).await?;
        let grpc = bind("gateway.grpc_listen", &config.grpc_listen).await?;
        let server = Server::new(config.limits.clone(), &config.tls)?;
        let waiting = config.limits.waiting_events;
        let producer = Producer::new(kafka, "gateway", config.produce_patience, waiting)?;
        let limiter = Arc::new(Limiter::new(Arc::clone(&cache), config.rate_limit_without_cache));
        wait_for(&*cache).await;
        let schemas = Arc::new(Schemas::new(Arc::clone(&control)));
        let shared = Shared {
            cursors: Cursors::new(&pepper),
            auth: Auth::new(
                Arc::clone(&control),
                Arc::clone(&limiter),
                Arc::clone(&schemas),
                config.plans.clone(),
                retention,
                pepper.clone(),
                config.key_cache,
            ),
            limiter,
            schemas,
            publisher: Publisher::new(producer.clone(), &Topics::new(kafka)),
            counted: Counted {
                over_http: metrics::Answers::over_http(),
                over_grpc: metrics::Answers::over_grpc(),
                idempotency: metrics::Idempotency::new(),
            },
            cache,
            control,
            events,
            pepper,
            reach,
            room: Room::of(config.limits.body_bytes),
            topics_kept,
            settings: config.clone(),
        };
        Ok(Self { http, grpc, server, shared: Arc::new(shared), producer })
    }

    pub fn http_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.http.local_addr()?)
    }

    pub fn grpc_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.grpc.local_addr()?)
    }

    /// Serves until `shutdown`, and for `lame_duck` longer; then takes no new connection, answers
    /// what it has begun and waits for Kafka's last reports.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { http, grpc, server, shared, producer } = self;
        let (lame_duck, drain) = (shared.settings.lame_duck, shared.settings.drain);
        let following = {
            let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
            tokio::spawn(async move { shared.auth.follow(shutdown).await })
        };
        let over_grpc = grpc::router(Arc::clone(&shared), shutdown.clone())?;
        let over_http = http::router(shared)?;
        let server = Arc::new(server);
        let end = End { leaving: shutdown.clone(), closed: CancellationToken::new() };
        let answered = async {
            tokio::join!(
                Arc::clone(&server).serve(http, over_http, end.clone()),
                Arc::clone(&server).serve(grpc, over_grpc, end.clone()),
            );
        };
        let bounded = async {
            shutdown.cancelled().await;
            tokio::time::sleep(lame_duck).await;
            end.closed.cancel();
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = answered => {}
            () = producer.failed() => anyhow::bail!("the Kafka producer can't go on"),
            () = bounded => {
                tracing::warn!("some requests were still being answered when time ran out");
            }
        }
        producer.close(drain).await;
        // It writes down when keys were last used, and ends by itself.
        following.await?;
        Ok(())
    }
}
