//! One service as a process: settings → logs → build → run → drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use triggerline_gateway::Parts;
use triggerline_kafka::check_topics;
use triggerline_service::admin::{self, Health};
use triggerline_service::{ConfigError, signals, telemetry};
use triggerline_store::{Cache, ControlStore, EventStore, open_cache, open_control, open_events};
use triggerline_types::{CustomerId, EventId};

use crate::config::Config;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Gateway,
    Matcher,
    Delivery,
    Storage,
    Replayer,
}

/// How long a service waits at its start for Kafka to have the topics.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(service: Service, config: &Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    let shutdown = signals::shutdown()?;
    let kafka = &config.kafka;
    let health = Arc::new(Health::default());
    if let Some(address) =
        admin::serve(&config.admin, Arc::clone(&health), shutdown.clone()).await?
    {
        tracing::info!(%address, "the admin port");
    }
    // In each: what the settings alone can tell is told before anything is waited for.
    match service {
        Service::Gateway => {
            let pepper = config.pepper()?;
            if config.secret_keys()?.is_empty() {
                tracing::warn!("control.secret_keys is empty: secrets are kept unsealed");
            }
            let (control, events) = (control(config).await?, migrated_events(config).await?);
            check_topics(kafka, PATIENCE).await?;
            let reach = config.delivery.reach();
            let gateway = &config.gateway;
            let cache = cache(config)?;
            let (retention, topics_kept) =
                (config.inbox.retention, config.topic_settings().longest());
            let parts = Parts { pepper, reach, control, events, cache, retention, topics_kept };
            let app = triggerline_gateway::App::build(gateway, kafka, parts).await?;
            let (http, grpc) = (app.http_address()?, app.grpc_address()?);
            health.started();
            tracing::info!(%http, %grpc, "serving");
            app.run(shutdown).await
        }
        Service::Matcher => {
            let control = control(config).await?;
            check_topics(kafka, PATIENCE).await?;
            let app =
                triggerline_matcher::App::build(&config.matcher, kafka, control, &health).await?;
            health.started();
            tracing::info!("matching");
            app.run(shutdown).await
        }
        Service::Delivery => {
            let control = control(config).await?;
            check_topics(kafka, PATIENCE).await?;
            let app =
                triggerline_delivery::App::build(&config.delivery, kafka, control, &health).await?;
            health.started();
            tracing::info!("delivering");
            app.run(shutdown).await
        }
        Service::Storage => {
            let (control, events) = (control(config).await?, migrated_events(config).await?);
            check_topics(kafka, PATIENCE).await?;
            let (storage, retention) = (&config.storage, config.inbox.retention);
            let app = triggerline_storage::App::build(storage, kafka, control, events, retention);
            let app = app.await?;
            health.started();
            tracing::info!("storing");
            app.run(shutdown).await
        }
        Service::Replayer => {
            let (control, events) = (control(config).await?, migrated_events(config).await?);
            check_topics(kafka, PATIENCE).await?;
            let app = triggerline_replay::App::build(&config.replay, kafka, control, events)?;
            health.started();
            tracing::info!("replaying");
            app.run(shutdown).await
        }
    }
}

pub(crate) async fn control(config: &Config) -> anyhow::Result<Arc<dyn ControlStore>> {
    let keys = config.secret_keys()?;
    open_control(&config.control.url, keys).await.map_err(|error| at("control.url", error))
}

pub(crate) fn cache(config: &Config) -> anyhow::Result<Arc<dyn Cache>> {
    open_cache(&config.cache.url).map_err(|error| at("cache.url", error))
}

pub(crate) async fn events(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    open_events(&config.inbox.url).await.map_err(|error| at("inbox.url", error))
}

/// An inbox that has its tables: a service must not start on an empty file and wait for ever.
pub(crate) async fn migrated_events(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    let events = events(config).await?;
    let asked = events.event(CustomerId::new(), EventId::new()).await;
    // The address isn't told: it may have a password.
    asked.context("setting inbox.url: can't be asked; if it is new, run `triggerline migrate`")?;
    Ok(events)
}

/// A store's address that makes no sense is the setting's fault; anything else is the store's.
fn at(key: &str, error: triggerline_store::StoreError) -> anyhow::Error {
    match error {
        triggerline_store::StoreError::Address(why) => ConfigError::key(key, why).into(),
        error => anyhow::Error::new(error).context(format!("setting {key}")),
    }
}
