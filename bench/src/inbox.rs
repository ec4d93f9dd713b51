//! `inbox`: what a page of 50 costs whoever asks for it, where one customer has millions of events,
//! received over two weeks: at the top, and as deep as 99 of 100 events down. Pages follow each
//! other by their cursors, so that each is another.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use time::OffsetDateTime;
use triggerline_store::{Direction, EventStore, InboxQuery, Position, Retention, open_events};
use triggerline_types::{CustomerId, EventId, EventStatus, EventType};

use crate::report::{Figures, Report};
use crate::storage::Story;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The inbox: sqlite:PATH, cassandra://HOST:PORT/KEYSPACE?replication_factor=1, dynamodb:TABLE.
    #[arg(long)]
    inbox: String,
    /// Events of the customer.
    #[arg(long, default_value_t = 10_000_000)]
    events: usize,
    /// Days over which they were received, up to now.
    #[arg(long, default_value_t = 13)]
    days: u32,
    #[arg(long, default_value_t = 200)]
    payload: usize,
    /// Events that one call stores while the inbox is filled.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// Pages of 50 that are read of each kind.
    #[arg(long, default_value_t = 500)]
    pages: usize,
    /// One whose inbox an earlier run has filled, with so many events and days.
    #[arg(long)]
    customer: Option<CustomerId>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let store = open_events(&options.inbox).await?;
    let until = OffsetDateTime::now_utc();
    let customer = if let Some(customer) = options.customer {
        customer
    } else {
        store.migrate().await?;
        fill(&*store, options, until).await?
    };
    let scheme = options.inbox.split(':').next().unwrap_or_default();
    let name = match scheme {
        "sqlite" => "inbox-sqlite",
        "dynamodb" => "inbox-dynamodb",
        _ => "inbox-cassandra",
    };
    let setting = json!({
        "events": options.events, "days": options.days, "payload_bytes": options.payload,
        "facts_of_an_event": 3, "page": 50, "pages": options.pages,
    });
    let mut report = Report::new(name, setting);
    for (kind, query) in kinds(until, options.days) {
        report.add(kind, read(&*store, customer, query, options.pages).await?);
    }
    report.end()
}

/// Evenly over the days, oldest first, as they would have come.
async fn fill(
    store: &dyn EventStore,
    options: &Options,
    until: OffsetDateTime,
) -> anyhow::Result<CustomerId> {
    let customer = CustomerId::new();
    println!("the customer is {customer}");
    let facts_of = Story::new(options.payload);
    let days = time::Duration::days(options.days.into());
    let began = Instant::now();
    let mut told = Duration::ZERO;
    for from in (0..options.events).step_by(options.batch.max(1)) {
        let batch = from..(from + options.batch).min(options.events);
        let facts: Vec<_> = batch
            .clone()
            .flat_map(|n| {
                let at = until - days * (1.0 - n as f64 / options.events as f64);
                facts_of.of(EventId::received(at), customer, n)
            })
            .collect();
        store.apply(&facts, &Retention::default()).await?;
        if began.elapsed() > told + Duration::from_secs(30) {
            told = began.elapsed();
            println!("  {} events after {:.0} s", batch.end, told.as_secs_f64());
        }
    }
    println!("  {} events after {:.0} s", options.events, began.elapsed().as_secs_f64());
    Ok(customer)
}

fn kinds(until: OffsetDateTime, days: u32) -> Vec<(&'static str, InboxQuery)> {
    // What share of the events is above.
    let deep = |share: f64| {
        let at = until - time::Duration::days(days.into()) * share;
        Some(Position { received_at: at, id: EventId::first_at(at) })
    };
    let plain = InboxQuery::default;
    let upward = Direction::OldestFirst;
    vec![
        ("newest first", plain()),
        ("from 10 % down", InboxQuery { after: deep(0.1), ..plain() }),
        ("from 50 % down", InboxQuery { after: deep(0.5), ..plain() }),
        ("from 99 % down", InboxQuery { after: deep(0.99), ..plain() }),
        ("upward from 50 %", InboxQuery { after: deep(0.5), direction: upward, ..plain() }),
        (
            "a type of 1 in 1,000",
            InboxQuery { event_type: EventType::parse("rare").ok(), ..plain() },
        ),
        ("failed, 1 in 500", InboxQuery { status: Some(EventStatus::Failed), ..plain() }),
        ("of a workflow", InboxQuery { workflow_id: Some("workflow".to_owned()), ..plain() }),
    ]
}

async fn read(
    store: &dyn EventStore,
    customer: CustomerId,
    query: InboxQuery,
    pages: usize,
) -> anyhow::Result<Figures> {
    let (mut times, mut events) = (Histogram::<u64>::new(3)?, 0);
    let mut asked = query.clone();
    for _ in 0..pages {
        let began = Instant::now();
        let page = store.inbox(customer, &asked).await?;
        times.record(u64::try_from(began.elapsed().as_micros())?)?;
        events += page.items.len();
        asked.after = page.next;
        if page.next.is_none() {
            asked = query.clone();
        }
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Figures::from([
        ("events a page", events as f64 / pages as f64),
        ("p50 ms", at(0.5)),
        ("p95 ms", at(0.95)),
        ("p99 ms", at(0.99)),
    ]))
}
