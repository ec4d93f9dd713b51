//! `config check`: whether each part that the settings name answers, and has been set up.
#![allow(clippy::print_stdout, reason = "the command prints its result for a person")]

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};
use triggerline_kafka as kafka;
use triggerline_store::Want;
use triggerline_types::{CustomerId, RateLimit};

use crate::config::Config;
use crate::services::{cache, control, migrated_events};

/// For one part. A client that can't connect says so within 15 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// For Redis, which is connected to in the background.
const CONNECTING: Duration = Duration::from_secs(5);

pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    println!("{:<14} make sense", "settings");
    let (brokers, control, cache, inbox) = tokio::join!(
        asked(async { Ok(kafka::check_topics(&config.kafka, Duration::ZERO).await?) }),
        asked(async {
            let asked = control(config).await?.customer(CustomerId::new()).await;
            asked.context("if it is new, run `triggerline migrate`")?;
            Ok(())
        }),
        asked(ask_cache(config)),
        asked(async {
            migrated_events(config).await?;
            Ok(())
        }),
    );
    let mut wrong = 0;
    for (setting, answer) in [
        ("kafka.brokers", brokers),
        ("control.url", control),
        ("cache.url", cache),
        ("inbox.url", inbox),
    ] {
        match answer {
            Ok(()) => println!("{setting:<14} answers, and is set up"),
            Err(error) => {
                wrong += 1;
                println!("{setting:<14} FAILED: {error:#}");
            }
        }
    }
    anyhow::ensure!(wrong == 0, "{wrong} of 4 parts can't be used");
    Ok(())
}

async fn asked(question: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    timeout(PATIENCE, question)
        .await
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

/// Asks for nothing that anybody would miss.
async fn ask_cache(config: &Config) -> anyhow::Result<()> {
    let cache = cache(config)?;
    let until = Instant::now() + CONNECTING;
    while !cache.is_available() && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    cache.take("check", RateLimit::LOWEST, Want::UpTo(0)).await?;
    Ok(())
}
