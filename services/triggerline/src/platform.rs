//! The whole platform in this process: the broker (unless one was named), the stores and all
//! four services, started in the order in which they need each other and stopped in the order
//! in which an event meets them, so that what was accepted is carried as far as it can be.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use triggerline_gateway::Parts;
use triggerline_gateway::keys::Pepper;
use triggerline_kafka as kafka;
use triggerline_service::admin::{self, Health};
use triggerline_store::ControlStore;

use crate::config::Config;
use crate::embedded::broker::Broker;
use crate::services::{cache, control, events};

/// Where what is embedded listens and keeps its files.
pub(crate) struct Options<'a> {
    pub(crate) data: &'a Path,
    /// `None`: use the Kafka that the settings name.
    pub(crate) kafka_listen: Option<SocketAddr>,
    /// Whether the control store is the settings' own, not a file in `data`.
    pub(crate) own_control: bool,
    pub(crate) own_inbox: bool,
}

pub(crate) struct Platform {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) kafka: String,
    pub(crate) control: Arc<dyn ControlStore>,
    pub(crate) pepper: Pepper,
    services: Vec<Running>,
    draining: CancellationToken,
    broker: Option<Broker>,
}

struct Running {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Platform {
    pub(crate) async fn start(mut config: Config, options: Options<'_>) -> anyhow::Result<Self> {
        fs::create_dir_all(options.data)
            .with_context(|| format!("make the folder {}", options.data.display()))?;
        let broker = match options.kafka_listen {
            Some(listen) => {
                let broker = Broker::start(&options.data.join("kafka.db"), listen).await?;
                config.kafka.brokers = broker.bootstrap();
                Some(broker)
            }
            None => None,
        };
        kafka::apply(&config.kafka, config.topic_settings()).await?;
        kafka::check_topics(&config.kafka, PATIENCE).await?;

        if !options.own_control {
            config.control.url = sqlite(&options.data.join("control.db"))?;
        }
        if !options.own_inbox {
            config.inbox.url = sqlite(&options.data.join("inbox.db"))?;
        }
        if config.control.pepper.is_empty() {
            config.control.pepper = pepper(options.data)?;
        }
        let pepper = config.pepper()?;
        let control = control(&config).await?;
        let events = events(&config).await?;
        control.migrate().await.context("set up the control store")?;
        events.migrate().await.context("set up the inbox")?;

        let health = Arc::new(Health::default());
        let draining = CancellationToken::new();
        admin::serve(&config.admin, Arc::clone(&health), draining.clone()).await?;
        let storage = triggerline_storage::App::build(
            &config.storage,
            &config.kafka,
            Arc::clone(&control),
            Arc::clone(&events),
            config.inbox.retention,
        )
        .await?;
        let delivery = triggerline_delivery::App::build(
            &config.delivery,
            &config.kafka,
            Arc::clone(&control),
            &health,
        )
        .await?;
        let matcher = triggerline_matcher::App::build(
            &config.matcher,
            &config.kafka,
            Arc::clone(&control),
            &health,
        )
        .await?;
        let replayer = triggerline_replay::App::build(
            &config.replay,
            &config.kafka,
            Arc::clone(&control),
            Arc::clone(&events),
        )?;
        let gateway = triggerline_gateway::App::build(
            &config.gateway,
            &config.kafka,
            Parts {
                pepper: pepper.clone(),
                reach: config.delivery.reach(),
                control: Arc::clone(&control),
                events,
                cache: cache(&config)?,
                retention: config.inbox.retention,
                topics_kept: config.topic_settings().longest(),
            },
        )
        .await?;
        health.started();

        let (http, grpc) = (gateway.http_address()?, gateway.grpc_address()?);
        // In the order in which they are stopped.
        let services = vec![
            running("gateway", |stop| gateway.run(stop)),
            running("replayer", |stop| replayer.run(stop)),
            running("matcher", |stop| matcher.run(stop)),
            running("delivery", |stop| delivery.run(stop)),
            running("storage", |stop| storage.run(stop)),
        ];
        let kafka = config.kafka.brokers;
        Ok(Self { http, grpc, kafka, control, pepper, services, draining, broker })
    }

    /// Waits for `shutdown`, or for a service that ends by itself, which is an error.
    pub(crate) async fn run_until(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let ended = futures::future::select_all(self.services.iter_mut().map(|service| {
            let name = service.name;
            Box::pin(async move { (name, (&mut service.task).await) })
        }));
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ((name, result), ..) = ended => {
                result.context("a service panicked")?.with_context(|| format!("the {name} failed"))?;
                anyhow::bail!("the {name} ended by itself")
            }
        }
    }

    /// Stops one after the other, each finishing what it has begun.
    pub(crate) async fn stop(self) {
        self.draining.cancel();
        for Running { name, stop, task } in self.services {
            stop.cancel();
            // One that has ended already was told of by `run_until`.
            if task.is_finished() {
                continue;
            }
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(name, error = format!("{error:#}"), "stopping"),
                Err(error) => tracing::error!(name, %error, "stopping"),
            }
        }
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
    }
}

fn running<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Running
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    Running { name, task: tokio::spawn(run(stop.clone())), stop }
}

fn sqlite(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("sqlite:{path}"))
}

/// The installation's pepper, made on the first start.
fn pepper(data: &Path) -> anyhow::Result<String> {
    secret_file(&data.join("pepper"), || triggerline_types::Secret::generate().reveal())
}

/// A file that only its owner may read, made if it is missing.
pub(crate) fn secret_file(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        let text = fs::read_to_string(path);
        return text.with_context(|| format!("read {}", path.display()));
    }
    let text = make();
    // Written aside first, so that it is either whole or not there.
    let aside = path.with_extension("new");
    let opened =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let mut file = opened.with_context(|| format!("create {}", aside.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(text)
}
