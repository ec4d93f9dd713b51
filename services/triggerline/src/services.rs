//! One service as a process: settings → logs → build → run → drain.

use std::sync::Arc;
use std::time::Duration;

use triggerline_kafka::check_topics;
use triggerline_service::admin::{self, Health};
use triggerline_service::{ConfigError, signals, telemetry};
use triggerline_store::{ControlStore, EventStore, open_control, open_events};

use crate::config::Config;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Gateway,
    Matcher,
    Delivery,
    Storage,
}

/// How long a service waits at its start for Kafka to have the topics.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(service: Service, config: &Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    let shutdown = signals::shutdown()?;
    let mut health = Health::default();
    let kafka = &config.kafka;
    // In each: what the settings alone can tell is told before anything is waited for.
    match service {
        Service::Gateway => {
            let pepper = config.pepper()?;
            let (control, events) = (control(config).await?, events(config).await?);
            check_topics(kafka, PATIENCE).await?;
            let reach = config.delivery.reach();
            let gateway = &config.gateway;
            let app =
                triggerline_gateway::App::build(gateway, kafka, pepper, reach, control, events)
                    .await?;
            let (http, grpc) = (app.http_address()?, app.grpc_address()?);
            ready(config, health, &shutdown).await?;
            tracing::info!(%http, %grpc, "serving");
            app.run(shutdown).await
        }
        Service::Matcher => {
            let control = control(config).await?;
            check_topics(kafka, PATIENCE).await?;
            let app = triggerline_matcher::App::build(&config.matcher, kafka, control, &mut health)
                .await?;
            ready(config, health, &shutdown).await?;
            tracing::info!("matching");
            app.run(shutdown).await
        }
        Service::Delivery => {
            let control = control(config).await?;
            check_topics(kafka, PATIENCE).await?;
            let app =
                triggerline_delivery::App::build(&config.delivery, kafka, control, &mut health)
                    .await?;
            ready(config, health, &shutdown).await?;
            tracing::info!("delivering");
            app.run(shutdown).await
        }
        Service::Storage => {
            let events = events(config).await?;
            check_topics(kafka, PATIENCE).await?;
            let app = triggerline_storage::App::build(&config.storage, kafka, events)?;
            ready(config, health, &shutdown).await?;
            tracing::info!("storing");
            app.run(shutdown).await
        }
    }
}

pub(crate) async fn control(config: &Config) -> anyhow::Result<Arc<dyn ControlStore>> {
    open_control(&config.control.url).await.map_err(|error| at("control.url", error))
}

pub(crate) async fn events(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    open_events(&config.inbox.url).await.map_err(|error| at("inbox.url", error))
}

async fn ready(
    config: &Config,
    health: Health,
    shutdown: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<()> {
    health.started();
    let address = admin::serve(&config.admin, Arc::new(health), shutdown.clone()).await?;
    if let Some(address) = address {
        tracing::debug!(%address, "the admin port");
    }
    Ok(())
}

/// A store's address that makes no sense is the setting's fault; anything else is the store's.
fn at(key: &str, error: triggerline_store::StoreError) -> anyhow::Error {
    match error {
        triggerline_store::StoreError::Address(why) => ConfigError::key(key, why).into(),
        error => anyhow::Error::new(error).context(format!("setting {key}")),
    }
}
