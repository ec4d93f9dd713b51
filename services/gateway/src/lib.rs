//! The gateway: the door for events, the inbox and subscriptions.
//!
//! A request comes in over HTTP ([`http`]) or gRPC ([`grpc`]); its key is checked ([`auth`]);
//! an event is admitted ([`admit`], pure) and published ([`publish`]), and only then is it
//! answered 202. Reads go to the stores. Every error is a problem document ([`problem`]).

mod admit;
mod auth;
mod config;
mod cursor;
mod grpc;
mod http;
pub mod keys;
mod problem;
mod publish;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use triggerline_guard::Reach;
use triggerline_kafka::{KafkaConfig, Producer, Topics};
use triggerline_service::admin::bind;
use triggerline_store::{ControlStore, EventStore};

use auth::Auth;
pub use config::{DEFAULTS, GatewayConfig};
use cursor::Cursors;
use keys::Pepper;
use publish::Publisher;

/// What every handler needs.
struct Shared {
    auth: Auth,
    publisher: Publisher,
    control: Arc<dyn ControlStore>,
    events: Arc<dyn EventStore>,
    cursors: Cursors,
    /// What URLs a subscription may name: the delivery service's rules.
    reach: Reach,
}

pub struct App {
    http: TcpListener,
    grpc: TcpListener,
    shared: Arc<Shared>,
    producer: Producer,
    drain: Duration,
}

impl App {
    /// Binds both ports and connects.
    pub async fn build(
        config: &GatewayConfig,
        kafka: &KafkaConfig,
        pepper: Pepper,
        reach: Reach,
        control: Arc<dyn ControlStore>,
        events: Arc<dyn EventStore>,
    ) -> anyhow::Result<Self> {
        let http = bind("gateway.http_listen", &config.http_listen).await?;
        let grpc = bind("gateway.grpc_listen", &config.grpc_listen).await?;
        let producer = Producer::new(kafka, "gateway", config.produce_patience)?;
        let shared = Shared {
            cursors: Cursors::new(&pepper),
            auth: Auth::new(Arc::clone(&control), pepper, config.key_cache),
            publisher: Publisher::new(producer.clone(), &Topics::new(kafka)),
            control,
            events,
            reach,
        };
        Ok(Self { http, grpc, shared: Arc::new(shared), producer, drain: config.drain })
    }

    pub fn http_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.http.local_addr()?)
    }

    pub fn grpc_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.grpc.local_addr()?)
    }

    /// Serves until `shutdown`; then takes no new connection, answers what it has begun and
    /// waits for Kafka's last reports.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { http, grpc, shared, producer, drain } = self;
        let router = http::router(Arc::clone(&shared));
        let stopping = shutdown.clone();
        let over_http = async move {
            axum::serve(http, router)
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await
                .context("serve HTTP")
        };
        let stopping = shutdown.clone();
        let over_grpc =
            async move { grpc::serve(grpc, shared, stopping).await.context("serve gRPC") };
        let served = async { tokio::try_join!(over_http, over_grpc).map(drop) };
        let bounded = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        let result = tokio::select! {
            result = served => result,
            () = producer.failed() => return Err(anyhow::anyhow!("the Kafka producer can't go on")),
            () = bounded => {
                tracing::warn!("some requests were still being answered when time ran out");
                Ok(())
            }
        };
        producer.close(drain).await;
        result
    }
}
