//! What sets an installation up: tables and topics.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]

use anyhow::Context as _;
use triggerline_kafka as kafka;
use triggerline_service::ConfigError;

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

pub(crate) async fn seal(config: &Config) -> anyhow::Result<()> {
    let keys = config.secret_keys()?;
    if keys.is_empty() {
        let why = "is empty: there is no key to seal with";
        return Err(ConfigError::key("control.secret_keys", why).into());
    }
    let sealed = control(config).await?.reseal().await.context("control.url")?;
    println!("Sealed the secrets of {sealed} subscriptions; all others were sealed already.");
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

pub(crate) fn print_defaults() {
    print!("{}", config::defaults());
}
