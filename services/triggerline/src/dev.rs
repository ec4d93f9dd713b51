//! `triggerline dev`: the whole platform kept running, for your own code to talk to.
#![allow(clippy::print_stdout, reason = "tells the person who started it how to go on")]

use std::path::Path;

use anyhow::Context as _;
use triggerline_service::{signals, telemetry};
use triggerline_store::NewCustomer;

use crate::cli::Dev;
use crate::config::Config;
use crate::manage::customer_with_key;
use crate::platform::{Options, Platform, secret_file};

pub(crate) async fn run(options: &Dev) -> anyhow::Result<()> {
    let config = Config::load(options.file.config.as_deref(), &overrides(options))?;
    telemetry::init(&config.log)?;
    let shutdown = signals::shutdown()?;
    let mut platform = Platform::start(
        config,
        Options {
            data: &options.data,
            kafka_listen: options.kafka.is_none().then_some(options.kafka_listen),
            own_control: options.postgres.is_some(),
            own_inbox: options.inbox.is_some(),
        },
    )
    .await?;
    let key = first_key(&platform, &options.data).await?;
    greet(&platform, &options.data, &key);
    tracing::info!(http = %platform.http, grpc = %platform.grpc, kafka = platform.kafka, "serving");
    let ended = platform.run_until(&shutdown).await;
    platform.stop().await;
    ended
}

/// What the flags mean as settings. Development opens what production keeps shut.
fn overrides(options: &Dev) -> Vec<(String, String)> {
    let mut overrides = vec![
        ("gateway.http_listen", options.http.to_string()),
        ("gateway.grpc_listen", options.grpc.to_string()),
        ("admin.listen", options.admin.to_string()),
        ("gateway.key_environment", "dev".to_owned()),
        ("cache.url", options.redis.clone().unwrap_or_else(|| "memory:".to_owned())),
        ("delivery.allow_http", "true".to_owned()),
        ("delivery.allow_private_networks", "true".to_owned()),
        // One machine: a few partitions are enough, and each costs an idle fetch.
        ("topics.partitions", "3".to_owned()),
    ];
    if let Some(kafka) = &options.kafka {
        overrides.push(("kafka.brokers", kafka.clone()));
    }
    if let Some(postgres) = &options.postgres {
        overrides.push(("control.url", postgres.clone()));
    }
    if let Some(inbox) = &options.inbox {
        overrides.push(("inbox.url", inbox.clone()));
    }
    overrides.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The API key of the customer that the first start makes. It is kept in the data folder,
/// readable by its owner only, so that a restart can show it again.
async fn first_key(platform: &Platform, data: &Path) -> anyhow::Result<String> {
    let file = data.join("api-key");
    if file.exists() {
        return secret_file(&file, String::new);
    }
    let new = NewCustomer::named("dev");
    let (_, key) = customer_with_key(&*platform.control, &platform.pepper, new, "dev")
        .await
        .context("make the first customer")?;
    secret_file(&file, || key)
}

fn greet(platform: &Platform, data: &Path, key: &str) {
    let Platform { http, grpc, kafka, .. } = platform;
    let data = data.display();
    println!(
        r#"
Triggerline is running. Everything it keeps is in {data}.

  HTTP   http://{http}
  gRPC   {grpc}
  Kafka  {kafka}

  API key  {key}

Webhooks may go to this machine and over plain http, because this is for development.
Three lines to try:

  curl -s http://{http}/v1/subscriptions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"workflow_id":"try","event_types":["order.*"],"selector":{{"jsonpath":"$[?@ > 100]"}},"delivery":{{"url":"http://127.0.0.1:3000/webhooks"}}}}'

  curl -si http://{http}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"event_type":"order.created","payload":{{"total":120}}}}'

  curl -s http://{http}/v1/inbox -H 'Authorization: Bearer {key}'

Ctrl-C ends it; what it knows stays.
"#
    );
}
