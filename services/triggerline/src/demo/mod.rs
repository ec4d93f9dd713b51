//! `triggerline demo`: the real thing, small. Everything in one process (embedded broker,
//! SQLite), three customers, real-world payloads, and a receiver that verifies each signature.
//!
//! [`samples`] says who the customers are, what they subscribe to and which events come; the
//! feed posts these through the gateway; the oracle knows by its own rules what is owed and
//! judges what the receiver got; [`report`] shows it.

mod feed;
mod report;
mod samples;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use triggerline_service::{signals, telemetry};
use triggerline_store::{NewCustomer, NewSubscription};
use triggerline_testkit::{Client, Receiver};
use triggerline_types::{Actor, Endpoint, EventTypePattern, Secret, Selector};

use crate::cli::Demo;
use crate::config::Config;
use crate::manage::customer_with_key;
use crate::platform::{Options, Platform};
use feed::{Feed, Producers};
use report::{Progress, Summary};
use samples::CUSTOMERS;

/// How long the last deliveries may take to arrive after the last event was sent.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long after the last arrival to look for arrivals that must not be.
const AFTERMATH: Duration = Duration::from_millis(300);

pub(crate) async fn run(options: &Demo) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let config = Config::load(None, &overrides())?;
    telemetry::init(&config.log)?;
    let shutdown = signals::shutdown()?;
    let progress = Progress::new(options);
    progress.say("Starting the platform in this process: broker, stores, services.");
    let data = tempfile::tempdir().context("make a folder for the demo")?;
    let listen = ([127, 0, 0, 1], 0).into();
    let platform = Platform::start(
        config,
        Options {
            data: data.path(),
            kafka_listen: Some(listen),
            own_control: false,
            own_inbox: false,
        },
    );
    let mut platform = platform.await?;
    let receiver = Arc::new(Receiver::start().await?);
    let producers = set_up(&platform, &receiver).await?;
    progress.say(&format!(
        "Up after {:.1} s. {} customers, {} subscriptions; sending {} events.",
        started.elapsed().as_secs_f64(),
        CUSTOMERS.len(),
        CUSTOMERS.iter().map(|customer| customer.subscriptions.len()).sum::<usize>(),
        options.events
    ));

    let feed = Arc::new(Mutex::new(Feed::default()));
    let work = async {
        let sent = feed::send(&producers, options, &feed);
        let watched = watch(&progress, &feed, &receiver);
        tokio::select! {
            result = sent => result?,
            () = watched => {}
        }
        arrive(&progress, &feed, &receiver).await;
        anyhow::Ok(())
    };
    let result = tokio::select! {
        result = work => result,
        ended = platform.run_until(&shutdown) => match ended {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error),
        },
    };
    platform.stop().await;
    result?;

    let summary = {
        let feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
        Summary::of(&feed, &receiver.received())
    };
    progress.finish(&summary, options);
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn overrides() -> Vec<(String, String)> {
    [
        ("gateway.http_listen", "127.0.0.1:0"),
        ("gateway.grpc_listen", "127.0.0.1:0"),
        ("admin.listen", ""),
        ("delivery.allow_http", "true"),
        ("delivery.allow_private_networks", "true"),
        ("topics.partitions", "3"),
        ("control.url", "sqlite:"),
        ("cache.url", "memory:"),
        ("gateway.plans.default.rate_limit", "1000000/1s"),
        ("log.filter", "warn"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

/// Makes the sample customers and their subscriptions.
async fn set_up(platform: &Platform, receiver: &Receiver) -> anyhow::Result<Producers> {
    let mut clients = Vec::new();
    for customer in &CUSTOMERS {
        let new = NewCustomer::named(customer.name);
        let (made, key) =
            customer_with_key(&*platform.control, &platform.pepper, new, "demo").await?;
        for subscription in customer.subscriptions {
            let secret = Secret::generate();
            let url = receiver.endpoint(subscription.path, secret.clone(), Vec::new());
            let event_types = [subscription.event_type].map(EventTypePattern::parse);
            platform
                .control
                .create_subscription(
                    NewSubscription {
                        customer_id: made.id,
                        workflow_id: subscription.path.to_owned(),
                        event_types: event_types.into_iter().collect::<Result<_, _>>()?,
                        selector: Selector {
                            pattern: None,
                            jsonpath: subscription.jsonpath.map(str::to_owned),
                        },
                        endpoint: Endpoint::new(url, secret),
                    },
                    Actor::Operator,
                )
                .await?;
        }
        clients.push(Client::new(format!("http://{}", platform.http), key));
    }
    // The promise is that a change is matched within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Producers { clients })
}

/// Shows how far things are, for as long as it is polled.
async fn watch(progress: &Progress, feed: &Mutex<Feed>, receiver: &Receiver) {
    loop {
        let (sent, owed) = {
            let feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
            (feed.oracle.sent().len(), feed.oracle.owed())
        };
        progress.show(sent, owed, &receiver.received());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Waits until as much has arrived as is owed, or patience ends.
async fn arrive(progress: &Progress, feed: &Mutex<Feed>, receiver: &Receiver) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (sent, owed) = {
            let feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
            (feed.oracle.sent().len(), feed.oracle.owed())
        };
        progress.show(sent, owed, &receiver.received());
        if receiver.count() >= owed || Instant::now() > until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(AFTERMATH).await;
}
