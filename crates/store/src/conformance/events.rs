//! The promises of [`EventStore`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, DeliveryState, Event, EventId, EventStatus, EventType, Fact,
    Matched, Outcome, Owed, Response, SubscriptionId, parse_instant,
};

use crate::{
    DeadLetter, DeadLetterQuery, Direction, EventStore, InboxQuery, Page, Position, Retention,
    StoredDelivery, StoredEvent,
};

/// Every promise of [`EventStore`], on a store with nothing in it.
pub async fn event_store(store: Arc<dyn EventStore>) {
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    facts_leave_the_same_rows_in_any_order(&*store).await;
    an_event_is_there_only_once_it_has_come(&*store).await;
    a_large_payload_comes_back_byte_for_byte(&*store).await;
    customers_are_apart(&*store).await;
    status_follows_the_attempts(&*store).await;
    filters_hold_together(&*store).await;
    pages_neither_skip_nor_repeat(&*store).await;
    dead_letters_are_listed_until_they_are_sent_again(&*store).await;
    who_is_erased_leaves_nothing(&*store).await;
}

/// Events are kept for as long as they are to be, those of each customer: what is older is gone with all
/// that is about it, and nothing else.
pub async fn expiry(store: Arc<dyn EventStore>) {
    const STANDARD: Duration = Duration::from_hours(24);
    store.migrate().await.unwrap();
    let (customer, other, patient) = (CustomerId::new(), CustomerId::new(), CustomerId::new());
    let own = [(patient, 3 * STANDARD)].into();
    let retention = Retention { own, ..Retention::of_all(Some(STANDARD)) };
    let now = triggerline_types::truncate_to_millis(OffsetDateTime::now_utc());
    let received = |customer, ago: Duration| {
        let received_at = now - ago;
        let id = EventId::received(received_at);
        Event { id, received_at, ..event(customer, "a", 0) }
    };
    let minute = Duration::from_mins(1);
    // One expires while it is looked for, one has before it was written.
    let soon = received(customer, STANDARD.saturating_sub(Duration::from_secs(3)));
    let old = received(customer, STANDARD + minute);
    let young = received(customer, STANDARD.saturating_sub(minute));
    let others = received(other, STANDARD + minute);
    let kept = received(patient, STANDARD + minute);
    let forgotten = received(patient, 3 * STANDARD + minute);
    let mut facts = Vec::new();
    for event in [&soon, &old, &young, &others, &kept, &forgotten] {
        let matched = owed(event, &["w"]);
        let attempt = attempt(event, &matched.owed[0], 1, 0, given_up());
        let facts_of = [Fact::Matched(matched), Fact::Attempted(attempt)];
        facts.extend([Fact::Event(event.clone())].into_iter().chain(facts_of));
    }
    store.apply(&facts, &retention).await.unwrap();
    let events = async |customer| {
        while store.expire(&retention).await.unwrap() {}
        let page = page_of(&*store, customer, InboxQuery::default()).await;
        page.items.into_iter().map(|one| one.event.id).collect::<Vec<_>>()
    };
    while events(customer).await.contains(&soon.id) {
        assert!(OffsetDateTime::now_utc() < now + minute, "it expires");
    }
    for (customer, event) in [(customer, &young), (patient, &kept)] {
        assert_eq!(events(customer).await, [event.id]);
        assert_eq!(read(&*store, customer, event.id).await.1[0].attempts.len(), 1);
    }
    for event in [&soon, &old, &others, &forgotten] {
        let customer = event.customer_id;
        assert_eq!(read(&*store, customer, event.id).await, (None, Vec::new()));
        let dead = all_of(&*store, customer, DeadLetterQuery::default()).await;
        assert!(dead.iter().all(|one| one.event_id != event.id), "{dead:?}");
    }
}

async fn who_is_erased_leaves_nothing(store: &dyn EventStore) {
    let (customer, other) = (CustomerId::new(), CustomerId::new());
    let facts = |customer, seconds| {
        let held = Event { quarantined: Some("why".to_owned()), ..event(customer, "a", seconds) };
        let released = Event { quarantined: None, ..held.clone() };
        let (nobodys, dead) = (event(customer, "b", seconds), event(customer, "a", seconds + 120));
        let matched = owed(&dead, &["w"]);
        let attempt = attempt(&dead, &matched.owed[0], 1, seconds + 7_200, given_up());
        let unmatched = Matched { owed: Vec::new(), ..owed(&nobodys, &[]) };
        [
            Fact::Event(held),
            Fact::Event(released),
            Fact::Event(nobodys),
            Fact::Event(dead),
            Fact::Matched(matched),
            Fact::Matched(unmatched),
            Fact::Attempted(attempt),
        ]
    };
    let mut all = Vec::new();
    for seconds in [0, 30, 86_400] {
        all.extend(facts(customer, seconds));
        store.apply(&facts(other, seconds), &Retention::default()).await.unwrap();
    }
    // One of which the event never came.
    let (lost, matched) = (event(customer, "a", 9_000), owed(&event(customer, "a", 9_000), &["w"]));
    let matched = Matched { event_id: lost.id, ..matched };
    all.push(Fact::Matched(matched.clone()));
    store.apply(&all, &Retention::default()).await.unwrap();
    assert_eq!(store.erase(customer).await.unwrap(), 9);
    // Its event comes after all: nothing of what was there before is there again.
    store.apply(&[Fact::Event(lost.clone())], &Retention::default()).await.unwrap();
    let (found, deliveries) = read(store, customer, lost.id).await;
    assert_eq!((found.unwrap().status, deliveries), (EventStatus::Accepted, Vec::new()));
    // What comes while it is erased, goes when it is erased again.
    store.apply(&all[..7], &Retention::default()).await.unwrap();
    assert_eq!(store.erase(customer).await.unwrap(), 4);
    assert_eq!(store.erase(customer).await.unwrap(), 0);
    for event in all.iter().map(Fact::event_id) {
        assert_eq!(read(store, customer, event).await, (None, Vec::new()));
    }
    let text = |text: &str| Some(text.to_owned());
    let event_type = EventType::parse("a").ok();
    let status = Some(EventStatus::Failed);
    for query in [
        InboxQuery::default(),
        InboxQuery { event_type, ..InboxQuery::default() },
        InboxQuery { workflow_id: text("w"), ..InboxQuery::default() },
        InboxQuery { status, ..InboxQuery::default() },
    ] {
        assert_eq!(page_of(store, customer, query).await.items, []);
    }
    assert_eq!(all_of(store, customer, DeadLetterQuery::default()).await, []);
    let of_other = page_of(store, other, InboxQuery::default()).await;
    assert_eq!(of_other.items.len(), 9, "other customers have theirs");
    assert_eq!(all_of(store, other, DeadLetterQuery::default()).await.len(), 3);
}

fn at(seconds: i64) -> OffsetDateTime {
    parse_instant("2026-11-23T12:00:00.250Z").unwrap() + time::Duration::seconds(seconds)
}

fn event(customer_id: CustomerId, event_type: &str, seconds: i64) -> Event {
    Event {
        id: EventId::received(at(seconds)),
        customer_id,
        event_type: EventType::parse(event_type).unwrap(),
        source: "größe 🎁".to_owned(),
        subject: (seconds % 2 == 0).then(|| "order/17".to_owned()),
        occurred_at: at(seconds - 3_600),
        received_at: at(seconds),
        extensions: [("tenant".to_owned(), "größer".to_owned())].into(),
        traceparent: None,
        quarantined: None,
        payload: Bytes::from(format!("{{\"n\": {seconds}, \"ü\":\"\\u00e9\"}}")),
    }
}

fn owed(event: &Event, workflows: &[&str]) -> Matched {
    let owed = workflows.iter().map(|workflow| {
        let subscription_id = SubscriptionId::new();
        Owed {
            delivery_id: DeliveryId::of(event.id, subscription_id),
            subscription_id,
            workflow_id: (*workflow).to_owned(),
        }
    });
    Matched {
        event_id: event.id,
        customer_id: event.customer_id,
        at: event.received_at,
        owed: owed.collect(),
    }
}

fn attempt(event: &Event, owed: &Owed, number: u32, seconds: i64, outcome: Outcome) -> Attempt {
    let response = match &outcome {
        Outcome::Delivered => Response::Answered { status: 200, excerpt: "danke ü".to_owned() },
        Outcome::Retry { .. } => Response::Failed { error: "connection refused".to_owned() },
        Outcome::DeadLettered { .. } => Response::Answered { status: 404, excerpt: String::new() },
        Outcome::Cancelled { reason } => Response::NotSent { reason: reason.clone() },
    };
    Attempt {
        delivery_id: owed.delivery_id,
        event_id: event.id,
        customer_id: event.customer_id,
        subscription_id: owed.subscription_id,
        number,
        started_at: at(seconds),
        latency: Duration::from_micros(1_234),
        response,
        outcome,
    }
}

fn given_up() -> Outcome {
    Outcome::DeadLettered { reason: "the receiver answered 404".to_owned() }
}

async fn read(
    store: &dyn EventStore,
    customer: CustomerId,
    id: EventId,
) -> (Option<StoredEvent>, Vec<StoredDelivery>) {
    (store.event(customer, id).await.unwrap(), store.deliveries(customer, id).await.unwrap())
}

/// All pages of a list of dead letters.
async fn all_of(
    store: &dyn EventStore,
    customer: CustomerId,
    mut query: DeadLetterQuery,
) -> Vec<DeadLetter> {
    let mut all = Vec::new();
    loop {
        let page = store.dead_letters(customer, &query).await.unwrap();
        assert!(page.items.len() <= query.limit, "{query:?}");
        all.extend(page.items);
        let Some(next) = page.next else { return all };
        query.after = Some(next);
    }
}

/// A page that is full, or has nothing after it.
async fn page_of(
    store: &dyn EventStore,
    customer: CustomerId,
    mut query: InboxQuery,
) -> Page<StoredEvent, Position> {
    let mut items = Vec::new();
    loop {
        let page = store.inbox(customer, &query).await.unwrap();
        assert!(page.items.len() <= query.limit, "{query:?}");
        query.limit -= page.items.len();
        items.extend(page.items);
        if query.limit == 0 || page.next.is_none() {
            return Page { items, next: page.next };
        }
        query.after = page.next;
    }
}

async fn dead_letters_are_listed_until_they_are_sent_again(store: &dyn EventStore) {
    let (customer, other) = (CustomerId::new(), CustomerId::new());
    let dead = async |customer, event_type, seconds| {
        let event = event(customer, event_type, seconds);
        let matched = owed(&event, &["dead", "alive"]);
        let owed = matched.owed.clone();
        let facts = [
            Fact::Attempted(attempt(&event, &owed[0], 1, seconds + 1, given_up())),
            Fact::Attempted(attempt(&event, &owed[1], 1, seconds + 1, Outcome::Delivered)),
            Fact::Matched(matched),
        ];
        store.apply(&facts, &Retention::default()).await.unwrap();
        store.apply(&[Fact::Event(event.clone())], &Retention::default()).await.unwrap();
        (event, owed[0].clone())
    };
    let mut all = Vec::new();
    for (event_type, seconds) in [("a", 0), ("b", 10), ("a", 20), ("a", 20)] {
        all.push(dead(customer, event_type, seconds).await);
    }
    dead(other, "a", 5).await;
    all.sort_by_key(|(event, owed)| (event.received_at, owed.delivery_id));
    let ids = |found: &[DeadLetter]| found.iter().map(|one| one.delivery.id).collect::<Vec<_>>();
    let given: Vec<_> = all.iter().map(|(_, owed)| owed.delivery_id).collect();
    let entries = async |query: DeadLetterQuery| all_of(store, customer, query).await;
    let oldest = || DeadLetterQuery { direction: Direction::OldestFirst, ..Default::default() };
    let found = entries(oldest()).await;
    assert_eq!(ids(&found), given);
    let (event, owed) = &all[0];
    let first = &found[0];
    assert_eq!((first.event_id, &first.event_type), (event.id, &event.event_type));
    assert_eq!((first.received_at, first.at), (event.received_at, at(1)));
    assert_eq!(first.delivery.workflow_id, "dead");
    assert_eq!(first.delivery.attempts, [attempt(event, owed, 1, 1, given_up())]);
    let mut reversed = given.clone();
    reversed.reverse();
    assert_eq!(ids(&entries(DeadLetterQuery::default()).await), reversed);
    // A page at a time, either way.
    for query in [oldest(), DeadLetterQuery::default()] {
        let seen = ids(&entries(DeadLetterQuery { limit: 1, ..query.clone() }).await);
        let expected = if query.direction == Direction::OldestFirst { &given } else { &reversed };
        assert_eq!(&seen, expected);
    }
    let event_type = Some(EventType::parse("b").unwrap());
    assert_eq!(ids(&entries(DeadLetterQuery { event_type, ..oldest() }).await), given[1..2]);
    let subscription_id = Some(all[2].1.subscription_id);
    assert_eq!(ids(&entries(DeadLetterQuery { subscription_id, ..oldest() }).await), given[2..3]);
    let delivery_id = Some(given[1]);
    assert_eq!(ids(&entries(DeadLetterQuery { delivery_id, ..oldest() }).await), given[1..2]);
    let span = DeadLetterQuery { from: Some(at(1)), to: Some(at(11)), ..oldest() };
    assert_eq!(ids(&entries(span).await), given[..1]);
    // Handed over again it is none; given up again it is one, of that time.
    let retry = Outcome::Retry { at: at(30) };
    store
        .apply(&[Fact::Attempted(attempt(event, owed, 0, 30, retry))], &Retention::default())
        .await
        .unwrap();
    assert_eq!(ids(&entries(oldest()).await), given[1..]);
    store
        .apply(&[Fact::Attempted(attempt(event, owed, 1, 31, given_up()))], &Retention::default())
        .await
        .unwrap();
    let found = entries(oldest()).await;
    assert_eq!(ids(&found), [&given[1..], &given[..1]].concat());
    assert_eq!((found[3].at, found[3].delivery.attempts.len()), (at(31), 3));
}

/// Idempotent and commutative: every order of five facts, one by one and cut in two, some of
/// them twice.
async fn facts_leave_the_same_rows_in_any_order(store: &dyn EventStore) {
    let mut expected = None;
    for order in permutations(5) {
        for cut in [1, 3] {
            // The same event under another customer each time; ids are per customer.
            let customer = CustomerId::new();
            let mut given = event(customer, "order.created", 0);
            given.id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
            given.received_at = given.id.received_at();
            let fixed = |n: u8| SubscriptionId::from_uuid(uuid::Uuid::from_bytes([n; 16]));
            let mut matched = owed(&given, &["one", "two"]);
            for (n, owed) in (1..).zip(&mut matched.owed) {
                owed.subscription_id = fixed(n);
                owed.delivery_id = DeliveryId::of(given.id, fixed(n));
            }
            let (one, two) = (matched.owed[0].clone(), matched.owed[1].clone());
            let facts = [
                Fact::Event(given.clone()),
                Fact::Matched(matched),
                Fact::Attempted(attempt(&given, &one, 1, 1, Outcome::Retry { at: at(6) })),
                Fact::Attempted(attempt(&given, &one, 2, 7, Outcome::Delivered)),
                Fact::Attempted(attempt(&given, &two, 1, 1, given_up())),
            ];
            let ordered: Vec<Fact> = order.iter().map(|index| facts[*index].clone()).collect();
            for batch in ordered.chunks(cut) {
                store.apply(batch, &Retention::default()).await.unwrap();
            }
            store.apply(&ordered[1..4], &Retention::default()).await.unwrap();
            let (found, deliveries) = read(store, customer, given.id).await;
            let found = found.unwrap();
            assert_eq!(found.event, given);
            let summary = (found.status, found.deliveries, found.delivered);
            let mut deliveries = deliveries;
            for one in deliveries.iter_mut().flat_map(|one| &mut one.attempts) {
                one.customer_id = CustomerId::from_uuid(uuid::Uuid::nil());
            }
            let rows = (summary, deliveries);
            let expected = expected.get_or_insert_with(|| rows.clone());
            assert_eq!(&rows, expected, "order {order:?} cut at {cut}");
        }
    }
    let (summary, deliveries) = expected.unwrap();
    assert_eq!(summary, (EventStatus::PartiallyDelivered, 2, 1));
    let states: Vec<_> = deliveries.iter().map(|one| (one.state, one.attempts.len())).collect();
    assert_eq!(states, [(DeliveryState::Delivered, 2), (DeliveryState::DeadLettered, 1)]);
    assert_eq!(deliveries[0].workflow_id, "one");
    assert_eq!(deliveries[0].attempts[0].number, 1, "in the order in which they started");
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let longer = shorter.iter().flat_map(|order| {
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, n - 1);
            order
        })
    });
    longer.collect()
}

async fn an_event_is_there_only_once_it_has_come(store: &dyn EventStore) {
    let customer = CustomerId::new();
    let event = event(customer, "order.created", 0);
    let matched = owed(&event, &["w"]);
    let attempt = attempt(&event, &matched.owed[0], 1, 1, Outcome::Delivered);
    store
        .apply(&[Fact::Attempted(attempt), Fact::Matched(matched)], &Retention::default())
        .await
        .unwrap();
    assert_eq!(read(store, customer, event.id).await, (None, Vec::new()));
    assert_eq!(page_of(store, customer, InboxQuery::default()).await.items, []);
    store.apply(&[Fact::Event(event.clone())], &Retention::default()).await.unwrap();
    let (found, deliveries) = read(store, customer, event.id).await;
    assert_eq!(found.unwrap().status, EventStatus::Delivered);
    assert_eq!(deliveries.len(), 1);
}

async fn a_large_payload_comes_back_byte_for_byte(store: &dyn EventStore) {
    let customer = CustomerId::new();
    let payload = Bytes::from(format!("\"{}\"", "größe 🎁".repeat(80_000)));
    assert!(payload.len() > 900_000);
    let event = Event { payload, ..event(customer, "large", 0) };
    store.apply(&[Fact::Event(event.clone())], &Retention::default()).await.unwrap();
    assert_eq!(read(store, customer, event.id).await.0.unwrap().event, event);
}

async fn customers_are_apart(store: &dyn EventStore) {
    let (ours, theirs) = (CustomerId::new(), CustomerId::new());
    let mine = event(ours, "a", 0);
    // The same id under another customer is another event.
    let other = Event { id: mine.id, ..event(theirs, "b", 0) };
    store
        .apply(
            &[Fact::Event(mine.clone()), Fact::Matched(owed(&mine, &["w"]))],
            &Retention::default(),
        )
        .await
        .unwrap();
    assert_eq!(read(store, theirs, mine.id).await, (None, Vec::new()));
    assert_eq!(page_of(store, theirs, InboxQuery::default()).await.items, []);
    store.apply(&[Fact::Event(other.clone())], &Retention::default()).await.unwrap();
    assert_eq!(read(store, ours, mine.id).await.0.unwrap().event, mine);
    let (found, deliveries) = read(store, theirs, mine.id).await;
    assert_eq!((found.unwrap().event, deliveries), (other, Vec::new()));
}

async fn status_follows_the_attempts(store: &dyn EventStore) {
    let customer = CustomerId::new();
    let event = event(customer, "a", 0);
    let status = async || read(store, customer, event.id).await.0.unwrap().status;
    store.apply(&[Fact::Event(event.clone())], &Retention::default()).await.unwrap();
    assert_eq!(status().await, EventStatus::Accepted);
    store.apply(&[Fact::Matched(owed(&event, &[]))], &Retention::default()).await.unwrap();
    assert_eq!(status().await, EventStatus::Unmatched);
    // A replay later finds somebody who wants it.
    let matched = owed(&event, &["w"]);
    let one = matched.owed[0].clone();
    store.apply(&[Fact::Matched(matched)], &Retention::default()).await.unwrap();
    assert_eq!(status().await, EventStatus::PendingDelivery);
    store
        .apply(&[Fact::Attempted(attempt(&event, &one, 1, 1, given_up()))], &Retention::default())
        .await
        .unwrap();
    assert_eq!(status().await, EventStatus::Failed);
    // Redriven, it starts counting anew; what started last decides.
    let retry = Outcome::Retry { at: at(50) };
    store
        .apply(&[Fact::Attempted(attempt(&event, &one, 1, 40, retry))], &Retention::default())
        .await
        .unwrap();
    assert_eq!(status().await, EventStatus::PendingDelivery);
    let delivered = attempt(&event, &one, 2, 51, Outcome::Delivered);
    store.apply(&[Fact::Attempted(delivered)], &Retention::default()).await.unwrap();
    assert_eq!(status().await, EventStatus::Delivered);
    store
        .apply(&[Fact::Attempted(attempt(&event, &one, 1, 90, given_up()))], &Retention::default())
        .await
        .unwrap();
    assert_eq!(status().await, EventStatus::Delivered, "delivered once is delivered for good");
}

async fn filters_hold_together(store: &dyn EventStore) {
    let customer = CustomerId::new();
    let mut facts = Vec::new();
    let mut events = Vec::new();
    for n in 0..12 {
        let event = event(customer, if n % 2 == 0 { "even" } else { "odd" }, n);
        let workflows: &[&str] = match n % 3 {
            0 => &["w3", "both"],
            1 => &["both"],
            _ => &[],
        };
        facts.extend([Fact::Event(event.clone()), Fact::Matched(owed(&event, workflows))]);
        events.push(event);
    }
    store.apply(&facts, &Retention::default()).await.unwrap();
    let find = async |query: InboxQuery| -> Vec<i64> {
        let found = page_of(store, customer, query).await.items;
        found.iter().map(|one| (one.event.received_at - at(0)).whole_seconds()).collect()
    };
    let all = || InboxQuery { direction: Direction::OldestFirst, ..InboxQuery::default() };
    let event_type = Some(EventType::parse("even").unwrap());
    let status = Some(EventStatus::Unmatched);
    let workflow_id = Some("w3".to_owned());
    assert_eq!(find(all()).await, (0..12).collect::<Vec<_>>());
    assert_eq!(find(InboxQuery::default()).await, (0..12).rev().collect::<Vec<_>>());
    assert_eq!(find(InboxQuery { limit: 2, ..InboxQuery::default() }).await, [11, 10]);
    let range = InboxQuery { from: Some(at(3)), to: Some(at(6)), ..all() };
    assert_eq!(find(range).await, [3, 4, 5], "from is included, to is not");
    let query = InboxQuery { event_type: event_type.clone(), ..all() };
    assert_eq!(find(query).await, [0, 2, 4, 6, 8, 10]);
    assert_eq!(find(InboxQuery { status, ..all() }).await, [2, 5, 8, 11]);
    assert_eq!(find(InboxQuery { workflow_id: workflow_id.clone(), ..all() }).await, [0, 3, 6, 9]);
    let query = InboxQuery { event_type, workflow_id, from: Some(at(1)), ..all() };
    assert_eq!(find(query).await, [6], "all filters hold together");
}

/// Events keep arriving between pages, several of them in the same millisecond.
async fn pages_neither_skip_nor_repeat(store: &dyn EventStore) {
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let customer = CustomerId::new();
        let arrive = async |n: i64| {
            let one = event(customer, "a", n / 4);
            store.apply(&[Fact::Event(one.clone())], &Retention::default()).await.unwrap();
            one.id
        };
        let mut before = Vec::new();
        for n in 0..41 {
            before.push(arrive(n).await);
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = InboxQuery { direction, after, limit: 7, ..InboxQuery::default() };
            let page = page_of(store, customer, query).await;
            seen.extend(page.items.iter().map(|one| one.event.id));
            if page.next.is_none() {
                break;
            }
            after = page.next;
            if seen.len() < 41 {
                arrive(1_000).await;
            }
        }
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "{direction:?}: nothing comes twice");
        assert!(before.iter().all(|id| seen.contains(id)), "{direction:?}: nothing is skipped");
    }
}
