//! Temporary: measured, then removed.
#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout)]
use std::time::{Duration, Instant};
use triggerline_store::*;
use triggerline_types::*;
#[tokio::main]
async fn main() {
    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_IN").unwrap_or("/var/tmp".into())).unwrap();
    let store = SqliteEvents::open(&folder.path().join("e.db")).await.unwrap();
    store.migrate().await.unwrap();
    let customer = CustomerId::new();
    let t0 = parse_instant("2026-11-23T12:00:00Z").unwrap();
    let subs: Vec<_> = (0..2).map(|_| SubscriptionId::new()).collect();
    let payload = bytes::Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(800)));
    let n: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(30_000);
    let mut facts = Vec::new();
    let mut later: std::collections::VecDeque<Fact> = Default::default();
    for i in 0..n {
        let event = Event {
            id: EventId::new(),
            customer_id: customer,
            event_type: EventType::parse(if i % 5000 == 0 { "rare" } else { "order.created" })
                .unwrap(),
            source: "s".into(),
            subject: None,
            occurred_at: t0,
            received_at: t0 + Duration::from_millis(i as u64),
            extensions: std::collections::BTreeMap::new(),
            traceparent: None,
            quarantined: None,
            payload: payload.clone(),
        };
        let owed: Vec<_> = subs
            .iter()
            .take(1)
            .map(|s| Owed {
                delivery_id: DeliveryId::of(event.id, *s),
                subscription_id: *s,
                workflow_id: if i % 10000 == 0 { "rare".into() } else { "w".into() },
            })
            .collect();
        later.push_back(Fact::Matched(Matched {
            event_id: event.id,
            customer_id: customer,
            at: t0,
            owed: owed.clone(),
        }));
        later.push_back(Fact::Attempted(Attempt {
            delivery_id: owed[0].delivery_id,
            event_id: event.id,
            customer_id: customer,
            subscription_id: owed[0].subscription_id,
            number: 1,
            started_at: t0,
            latency: Duration::from_millis(3),
            response: Response::Answered { status: 200, excerpt: "ok".into() },
            outcome: Outcome::Delivered,
        }));
        facts.push(Fact::Event(event));
        // the other topic lags by 300 facts
        while later.len() > 300 {
            facts.push(later.pop_front().unwrap());
        }
    }
    facts.extend(later);
    for size in [500, 1] {
        let slice: Vec<Fact> = if size == 1 { facts[..1000].to_vec() } else { facts.clone() };
        let start = Instant::now();
        let mut times = Vec::new();
        for batch in slice.chunks(size) {
            let b = Instant::now();
            store.apply(batch).await.unwrap();
            times.push(b.elapsed());
        }
        times.sort();
        println!(
            "batches of {size}: {:.0} facts/s; median batch {:?}, p99 {:?}",
            slice.len() as f64 / start.elapsed().as_secs_f64(),
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
    let d = InboxQuery::default();
    let deep = Some(Position {
        received_at: t0 + Duration::from_millis(n as u64 / 10),
        id: EventId::new(),
    });
    let top = Some(t0 + Duration::from_secs(1_000_000));
    let rare = Some("rare".to_owned());
    for (name, q) in [
        ("first page", d.clone()),
        ("deep page", InboxQuery { after: deep, ..d.clone() }),
        (
            "deep page with from/to",
            InboxQuery { after: deep, from: Some(t0), to: top, ..d.clone() },
        ),
        (
            "deep, oldest first, with from",
            InboxQuery {
                after: Some(Position {
                    received_at: t0 + Duration::from_millis(n as u64 * 9 / 10),
                    id: EventId::new(),
                }),
                from: Some(t0),
                direction: Direction::OldestFirst,
                ..d.clone()
            },
        ),
        (
            "by status",
            InboxQuery { status: Some(EventStatus::Delivered), after: deep, ..d.clone() },
        ),
        ("status of none", InboxQuery { status: Some(EventStatus::Failed), ..d.clone() }),
        ("rare workflow", InboxQuery { workflow_id: rare.clone(), ..d.clone() }),
        ("workflow that nobody has", InboxQuery { workflow_id: Some("none".into()), ..d.clone() }),
        (
            "common workflow, deep",
            InboxQuery { workflow_id: Some("w".into()), after: deep, ..d.clone() },
        ),
        (
            "rare type, common status",
            InboxQuery {
                event_type: Some(EventType::parse("rare").unwrap()),
                status: Some(EventStatus::Delivered),
                ..d.clone()
            },
        ),
        (
            "common type, status of none",
            InboxQuery {
                event_type: Some(EventType::parse("order.created").unwrap()),
                status: Some(EventStatus::Failed),
                ..d.clone()
            },
        ),
    ] {
        let mut times = Vec::new();
        let mut len = 0;
        for _ in 0..9 {
            let s = Instant::now();
            len = store.inbox(customer, &q).await.unwrap().len();
            times.push(s.elapsed());
        }
        times.sort();
        println!("{name}: {:?} for {len} rows", times[4]);
    }
}
