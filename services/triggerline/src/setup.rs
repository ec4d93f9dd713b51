//! What sets an installation up: tables, topics, the first customer.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]

use anyhow::Context as _;
use serde_json::json;
use time::OffsetDateTime;
use triggerline_gateway::keys::{self, Pepper};
use triggerline_kafka as kafka;
use triggerline_store::ControlStore;
use triggerline_types::{ApiKey, ApiKeyId, Customer, Scope, truncate_to_millis};

use crate::cli::Output;
use crate::config::{self, Config};
use crate::services::{control, events};

pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let control = control(config).await?;
    control.migrate().await.context("control.url")?;
    println!("The control store is up to date.");
    let events = events(config).await?;
    events.migrate().await.context("inbox.url")?;
    println!("The inbox is up to date.");
    Ok(())
}

pub(crate) async fn topics(config: &Config) -> anyhow::Result<()> {
    let made = kafka::apply(&config.kafka, config.topic_settings()).await?;
    if made.is_empty() {
        println!("All topics are there.");
    }
    for name in made {
        println!("Made {name}.");
    }
    Ok(())
}

pub(crate) async fn create_customer(
    config: &Config,
    name: &str,
    output: Output,
) -> anyhow::Result<()> {
    let pepper = config.pepper()?;
    let control = control(config).await?;
    let (customer, key) = customer_with_key(&*control, &pepper, name, "live").await?;
    match output {
        Output::Text => {
            println!("Customer {} ({name})", customer.id);
            println!("API key  {key}");
            println!("The key is shown this once. It has all scopes.");
        }
        Output::Json => println!("{}", json!({"customer_id": customer.id, "api_key": key})),
    }
    Ok(())
}

/// Makes a customer and a key with all scopes for it; the key is returned this once.
pub(crate) async fn customer_with_key(
    control: &dyn ControlStore,
    pepper: &Pepper,
    name: &str,
    env: &str,
) -> anyhow::Result<(Customer, String)> {
    let customer = control.create_customer(name).await?;
    let key = keys::generate(env);
    control
        .create_api_key(&ApiKey {
            id: ApiKeyId::new(),
            customer_id: customer.id,
            name: "first key".to_owned(),
            hash: pepper.hash(&key),
            scopes: Scope::ALL.to_vec(),
            created_at: truncate_to_millis(OffsetDateTime::now_utc()),
            expires_at: None,
            revoked_at: None,
        })
        .await?;
    Ok((customer, key))
}

pub(crate) fn print_defaults() {
    print!("{}", config::defaults());
}
