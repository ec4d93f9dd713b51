//! One service as a process: settings → logs → build → run → drain.

use std::sync::Arc;
use std::time::Duration;

use triggerline_kafka as kafka;
use triggerline_service::admin::{self, Health};
use triggerline_service::{ConfigError, signals, telemetry};
use triggerline_store::{open_control, open_events};

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
    kafka::check_topics(&config.kafka, PATIENCE).await?;
    let control = || async {
        open_control(&config.control.url).await.map_err(|error| at("control.url", error))
    };
    let events =
        || async { open_events(&config.inbox.url).await.map_err(|error| at("inbox.url", error)) };
    match service {
        Service::Gateway => {
            let (control, events) = (control().await?, events().await?);
            let reach = config.delivery.reach();
            let app = triggerline_gateway::App::build(
                &config.gateway,
                &config.kafka,
                config.pepper()?,
                reach,
                control,
                events,
            )
            .await?;
            let (http, grpc) = (app.http_address()?, app.grpc_address()?);
            ready(config, health, &shutdown).await?;
            tracing::info!(%http, %grpc, "serving");
            app.run(shutdown).await
        }
        Service::Matcher => {
            let app = triggerline_matcher::App::build(
                &config.matcher,
                &config.kafka,
                control().await?,
                &mut health,
            )
            .await?;
            ready(config, health, &shutdown).await?;
            tracing::info!("matching");
            app.run(shutdown).await
        }
        Service::Delivery => {
            let app = triggerline_delivery::App::build(
                &config.delivery,
                &config.kafka,
                control().await?,
                &mut health,
            )
            .await?;
            ready(config, health, &shutdown).await?;
            tracing::info!("delivering");
            app.run(shutdown).await
        }
        Service::Storage => {
            let events = events().await?;
            let app = triggerline_storage::App::build(&config.storage, &config.kafka, events)?;
            ready(config, health, &shutdown).await?;
            tracing::info!("storing");
            app.run(shutdown).await
        }
    }
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
pub(crate) fn at(key: &str, error: triggerline_store::StoreError) -> anyhow::Error {
    match error {
        triggerline_store::StoreError::Address(why) => ConfigError::key(key, why).into(),
        error => anyhow::Error::new(error).context(format!("setting {key}")),
    }
}
