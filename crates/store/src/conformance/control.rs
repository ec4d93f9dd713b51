//! The promises of [`ControlStore`]: customers, subscriptions, the sequence of changes and the
//! audit trail. Keys and their limit are judged in [`super::keys`], what caches of access follow
//! in [`super::access`], a customer of many subscriptions in [`super::crowd`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use triggerline_types::{
    Actor, ApiKeyId, Batching, ClientCertificate, ClientCredentials, CredentialsIn, Customer,
    CustomerId, DeliverySettings, Endpoint, EventType, EventTypePattern, Mode, Revision,
    SchemaMode, Secret, Selector, Subscription, SubscriptionId, SubscriptionState, Throttle,
};

use super::keys::new_key;
use super::{access, erasures, keys, queue, replays};
use crate::{
    AccessChange, ControlStore, CustomerChange, Edited, KeyCreation, NewCustomer, NewSubscription,
    SubscriptionEdit, SubscriptionFields,
};

pub(super) const BY: Actor = Actor::Operator;

/// Every promise of [`ControlStore`], on a store with nothing in it. Where changes are told of by
/// a server, the store listens already.
pub async fn control_store(store: Arc<dyn ControlStore>) {
    migrations_are_harmless_twice(&store).await;
    // Before anything else is written, so that no tick of another case is taken for one of it.
    changes_tick(&*store).await;
    customers_are_listed_in_pages_oldest_first(&*store).await;
    a_customer_changes_as_far_as_it_was_asked(&*store).await;
    a_subscription_is_kept_as_it_was_given(&*store).await;
    a_change_of_state_takes_a_new_revision(&*store).await;
    an_edit_is_all_or_nothing_and_of_what_was_read(&*store).await;
    a_streak_of_failures_ends_with_a_success_a_change_or_a_long_silence(&*store).await;
    another_customers_subscription_is_not_there(&*store).await;
    keys::judge(&store).await;
    access::judge(&*store).await;
    replays::judge(&*store).await;
    queue::judge(&store).await;
    erasures::judge(&*store).await;
    every_change_leaves_one_entry(&*store).await;
    pages_of_the_audit_trail_neither_skip_nor_repeat(&*store).await;
    revisions_become_visible_in_their_order(&store).await;
}

pub(super) async fn customer(store: &dyn ControlStore, name: &str) -> Customer {
    let new = NewCustomer {
        name: name.to_owned(),
        plan: Customer::DEFAULT_PLAN.to_owned(),
        rate_limit: None,
        retention_days: None,
    };
    store.create_customer(new, BY).await.unwrap()
}

async fn migrations_are_harmless_twice(store: &Arc<dyn ControlStore>) {
    let migrations = (0..4).map(|_| store.migrate());
    for migrated in join_all(migrations).await {
        migrated.unwrap();
    }
}

async fn customers_are_listed_in_pages_oldest_first(store: &dyn ControlStore) {
    let before = customer(store, "before all").await;
    let mut made = Vec::new();
    for name in ["one", "zwei — größer", "三"] {
        made.push(customer(store, name).await);
    }
    let limited = NewCustomer {
        name: "four".to_owned(),
        plan: "gold".to_owned(),
        rate_limit: Some("600/1m".parse().unwrap()),
        retention_days: Some(90),
    };
    made.push(store.create_customer(limited, BY).await.unwrap());
    let before = Some(before.id);
    assert_eq!(store.customers(before, usize::MAX).await.unwrap(), made);
    assert_eq!(store.customers(before, 3).await.unwrap(), made[..3]);
    assert_eq!(store.customers(None, 1).await.unwrap().len(), 1);
    assert_eq!(store.customers(Some(made[2].id), 3).await.unwrap(), made[3..]);
    assert_eq!(store.customers(Some(made[3].id), 3).await.unwrap(), []);
    for one in made {
        assert_eq!(store.customer(one.id).await.unwrap(), Some(one));
    }
    assert_eq!(store.customer(CustomerId::new()).await.unwrap(), None);
}

async fn a_customer_changes_as_far_as_it_was_asked(store: &dyn ControlStore) {
    let made = customer(store, "before").await;
    let update =
        async |change: CustomerChange| store.update_customer(made.id, change, BY).await.unwrap();
    assert_eq!(update(CustomerChange::default()).await.as_ref(), Some(&made));
    let limit = Some("5/1s".parse().unwrap());
    let changed = Customer {
        plan: "gold".to_owned(),
        rate_limit: limit,
        retention_days: Some(7),
        ..made.clone()
    };
    let change = CustomerChange {
        plan: Some("gold".to_owned()),
        rate_limit: Some(limit),
        retention_days: Some(Some(7)),
        ..CustomerChange::default()
    };
    assert_eq!(update(change).await.as_ref(), Some(&changed));
    assert_eq!(store.customer(made.id).await.unwrap(), Some(changed.clone()));
    let renamed = Customer { name: "after".to_owned(), rate_limit: None, ..changed };
    let change = CustomerChange {
        name: Some("after".to_owned()),
        rate_limit: Some(None),
        ..CustomerChange::default()
    };
    assert_eq!(update(change).await.as_ref(), Some(&renamed));
    assert_eq!(store.customer(made.id).await.unwrap(), Some(renamed));
    let change = CustomerChange { name: Some("nobody".to_owned()), ..CustomerChange::default() };
    assert_eq!(store.update_customer(CustomerId::new(), change, BY).await.unwrap(), None);
}

pub(super) fn new_subscription(customer_id: CustomerId) -> NewSubscription {
    let pattern = |text: &str| EventTypePattern::parse(text).unwrap();
    NewSubscription {
        customer_id,
        workflow_id: "rechnung-für-größere 🎁".to_owned(),
        event_types: vec![pattern("order.*"), pattern("payment.captured")],
        selector: Selector {
            pattern: Some(r#"{"größe": [{"numeric": [">", 1]}]}"#.to_owned()),
            jsonpath: Some("$.items[?@.name == 'ü']".to_owned()),
        },
        endpoint: Endpoint {
            settings: DeliverySettings {
                mode: Mode::Both,
                ordering_key: Some("$.order['für']".to_owned()),
                headers: [("x-größe".to_owned(), "\"ü\"".to_owned())].into(),
                timeout: Some(Duration::from_millis(1_500)),
                max_attempts: Some(3),
                schedule: vec![Duration::from_secs(1), Duration::from_hours(24)],
                throttle: Some(Throttle { rate: "600/1m".parse().unwrap(), burst: 7 }),
                batch: Some(Batching { max_events: 2, ..Batching::DEFAULT }),
                client_certificate: Some(ClientCertificate {
                    chain: "chain".to_owned(),
                    private_key: "key".to_owned(),
                }),
                oauth2: Some(ClientCredentials {
                    token_url: "https://a.example/token".to_owned(),
                    client_id: "ü:".to_owned(),
                    client_secret: "\"".to_owned(),
                    scope: Some("a b".to_owned()),
                    audience: None,
                    sent_in: CredentialsIn::Body,
                }),
            },
            ..Endpoint::new("https://a.example/x?y=z", Secret::generate())
        },
    }
}

/// One that there is room for.
pub(super) async fn subscribed(store: &dyn ControlStore, customer: CustomerId) -> Subscription {
    let made = store.create_subscription(new_subscription(customer), BY).await.unwrap();
    made.made().unwrap()
}

async fn a_subscription_is_kept_as_it_was_given(store: &dyn ControlStore) {
    let customer = customer(store, "subscriptions").await;
    let new = new_subscription(customer.id);
    let made = store.create_subscription(new.clone(), BY).await.unwrap().made().unwrap();
    assert_eq!(made.state, SubscriptionState::Active);
    assert_eq!(
        (&made.workflow_id, &made.event_types, &made.selector, &made.endpoint),
        (&new.workflow_id, &new.event_types, &new.selector, &new.endpoint)
    );
    let bare = NewSubscription { event_types: Vec::new(), selector: Selector::default(), ..new };
    let bare = store.create_subscription(bare, BY).await.unwrap().made().unwrap();
    assert!(bare.revision > made.revision);
    for one in [&made, &bare] {
        let found = store.subscription(customer.id, one.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(one));
    }
    assert_eq!(store.subscriptions(customer.id, None, 9).await.unwrap(), [made, bare]);
    let nobodys = store.create_subscription(new_subscription(CustomerId::new()), BY).await;
    assert!(nobodys.is_err(), "there is no such customer");
}

async fn a_change_of_state_takes_a_new_revision(store: &dyn ControlStore) {
    let customer = customer(store, "states").await;
    let made = subscribed(store, customer.id).await;
    let set =
        async |state| store.set_subscription_state(customer.id, made.id, state, BY).await.unwrap();
    let paused = set(SubscriptionState::Paused).await.unwrap();
    assert!(paused.revision > made.revision);
    let again = set(SubscriptionState::Paused).await.unwrap();
    assert_eq!(again, paused, "the state that it has already changes nothing");
    let reason = "the receiver answered 410 Gone".to_owned();
    let ended = set(SubscriptionState::Unsubscribed { reason: reason.clone() }).await.unwrap();
    assert_eq!(ended.state, SubscriptionState::Unsubscribed { reason });
    let deleted = set(SubscriptionState::Deleted).await.unwrap();
    assert_eq!(set(SubscriptionState::Active).await, None, "a deleted one stays deleted");
    assert_eq!(store.subscription(customer.id, made.id).await.unwrap(), None);
    assert_eq!(store.subscriptions(customer.id, None, 9).await.unwrap(), []);
    let changes = store.changes_since(ended.revision, 10).await.unwrap();
    assert_eq!((changes.revision, changes.more), (deleted.revision, false));
    assert_eq!(changes.subscriptions, [deleted], "whoever follows learns that it was deleted");
    let changes = store.changes_since(changes.revision, 10).await.unwrap();
    assert_eq!((changes.subscriptions.len(), changes.revision), (0, changes.revision));
}

async fn an_edit_is_all_or_nothing_and_of_what_was_read(store: &dyn ControlStore) {
    let customer = customer(store, "edits").await;
    let made = subscribed(store, customer.id).await;
    let edit = async |edit, expected| {
        store.edit_subscription(customer.id, made.id, edit, expected, BY).await.unwrap()
    };
    let kept = |edited| match edited {
        Edited::Kept(subscription) => *subscription,
        other => panic!("{other:?}"),
    };
    let same = SubscriptionFields::of(&made);
    let fields = |fields| SubscriptionEdit::Fields(Box::new(fields));
    assert_eq!(edit(fields(same.clone()), None).await, Edited::Kept(Box::new(made.clone())));
    let other = SubscriptionFields {
        workflow_id: "another".to_owned(),
        event_types: Vec::new(),
        selector: Selector { pattern: Some("{}".to_owned()), jsonpath: None },
        url: "https://b.example/".to_owned(),
        settings: DeliverySettings::default(),
    };
    let changed = kept(edit(fields(other.clone()), Some(made.revision)).await);
    assert_eq!(SubscriptionFields::of(&changed), other);
    assert!(changed.revision > made.revision && changed.updated_at >= made.updated_at);
    assert_eq!(changed.endpoint.secret, made.endpoint.secret);
    assert_eq!(edit(fields(same.clone()), Some(made.revision)).await, Edited::Stale);
    let found = store.subscription(customer.id, made.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&changed));
    // Rotated often: the newest few of the old sign as well, none longer than was said last.
    let mut secrets = vec![made.endpoint.secret.clone()];
    let mut last = changed;
    for hours in [2, 3, 4, 1] {
        let secret = Secret::generate();
        let overlap = Duration::from_hours(hours);
        secrets.insert(0, secret.clone());
        last = kept(edit(SubscriptionEdit::Rotate { secret, overlap }, Some(last.revision)).await);
    }
    let found = store.subscription(customer.id, made.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&last));
    assert_eq!(
        last.endpoint.secrets(last.updated_at).collect::<Vec<_>>(),
        secrets[..4].iter().collect::<Vec<_>>()
    );
    let later = last.updated_at + Duration::from_hours(1);
    assert_eq!(last.endpoint.secrets(later).collect::<Vec<_>>(), [&secrets[0]]);
    let at_once = SubscriptionEdit::Rotate { secret: Secret::generate(), overlap: Duration::ZERO };
    assert!(kept(edit(at_once, None).await).endpoint.old_secrets.is_empty());
    let nobodys = store
        .edit_subscription(CustomerId::new(), made.id, fields(same.clone()), None, BY)
        .await
        .unwrap();
    assert_eq!(nobodys, Edited::Missing);
    edit(SubscriptionEdit::State(SubscriptionState::Deleted), None).await;
    assert_eq!(edit(fields(same), None).await, Edited::Missing);
}

async fn a_streak_of_failures_ends_with_a_success_a_change_or_a_long_silence(
    store: &dyn ControlStore,
) {
    let customer = customer(store, "failing").await;
    let id = subscribed(store, customer.id).await.id;
    let start = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let at = |hours: i64| start + time::Duration::hours(hours);
    let failed = async |hours| store.endpoint_failed(id, at(hours)).await.unwrap();
    let is_failing = async || store.failing_endpoints().await.unwrap().contains(&id);
    assert!(!is_failing().await);
    for hours in [0, 1, 40, 80] {
        assert_eq!(failed(hours).await, at(0), "after {hours} h");
    }
    assert_eq!(failed(-1).await, at(-1), "told late");
    assert!(is_failing().await);
    assert_eq!(failed(129).await, at(129), "nothing was known for 49 hours");
    store.endpoint_recovered(id).await.unwrap();
    store.endpoint_recovered(id).await.unwrap();
    assert!(!is_failing().await);
    assert_eq!(failed(130).await, at(130));
    let set = async |state| {
        store.set_subscription_state(customer.id, id, state, BY).await.unwrap().unwrap()
    };
    let reason = "nothing but failure for 5 days".to_owned();
    let disabled = set(SubscriptionState::Disabled { reason }).await;
    assert_eq!(disabled.state.reason(), Some("nothing but failure for 5 days"));
    assert_eq!(store.subscription(customer.id, id).await.unwrap(), Some(disabled));
    assert!(!is_failing().await, "it is judged anew");
    set(SubscriptionState::Active).await;
    assert_eq!(failed(131).await, at(131));
}

async fn another_customers_subscription_is_not_there(store: &dyn ControlStore) {
    let (ours, theirs) = (customer(store, "ours").await, customer(store, "theirs").await);
    let made = subscribed(store, ours.id).await;
    assert_eq!(store.subscription(theirs.id, made.id).await.unwrap(), None);
    assert_eq!(store.subscriptions(theirs.id, None, 9).await.unwrap(), []);
    let set = store.set_subscription_state(theirs.id, made.id, SubscriptionState::Deleted, BY);
    assert_eq!(set.await.unwrap(), None);
    assert_eq!(store.subscription(ours.id, made.id).await.unwrap(), Some(made));
}

/// One entry for each change, none for what changes nothing, and none of anybody else's.
async fn every_change_leaves_one_entry(store: &dyn ControlStore) {
    let customer = customer(store, "audited").await.id;
    let by = Actor::Key(ApiKeyId::new());
    let mut expected = vec![("customer.created", customer.to_string(), BY)];
    for _ in 0..2 {
        let change = CustomerChange { plan: Some("gold".to_owned()), ..CustomerChange::default() };
        store.update_customer(customer, change, by).await.unwrap().unwrap();
    }
    expected.push(("customer.updated", customer.to_string(), by));

    let (old, new) = (new_key(customer), new_key(customer));
    assert_eq!(store.create_api_key(&old, by).await.unwrap(), KeyCreation::Made);
    expected.push(("api_key.created", old.id.to_string(), by));
    let expires_at = old.created_at + Duration::from_hours(24 * 365 * 100);
    store.rotate_api_key(customer, old.id, &new, expires_at, by).await.unwrap();
    expected.push(("api_key.rotated", old.id.to_string(), by));
    store.touch_api_keys(&[(new.id, old.created_at)]).await.unwrap();
    for _ in 0..2 {
        store.revoke_api_key(customer, new.id, BY).await.unwrap().unwrap();
    }
    expected.push(("api_key.revoked", new.id.to_string(), BY));

    let event_type = EventType::parse("order.created").unwrap();
    for _ in 0..2 {
        store.put_schema(customer, &event_type, SchemaMode::Warn, "{}", by).await.unwrap();
    }
    expected.push(("schema.put", event_type.to_string(), by));
    for _ in 0..2 {
        store.delete_schema(customer, &event_type, by).await.unwrap();
    }
    expected.push(("schema.deleted", event_type.to_string(), by));

    let made = store.create_subscription(new_subscription(customer), by).await.unwrap();
    let id = made.made().unwrap().id;
    expected.push(("subscription.created", id.to_string(), by));
    let reason = "410".to_owned();
    for (state, action) in [
        (SubscriptionState::Paused, "subscription.paused"),
        (SubscriptionState::Active, "subscription.resumed"),
        (SubscriptionState::Unsubscribed { reason }, "subscription.unsubscribed"),
        (SubscriptionState::Deleted, "subscription.deleted"),
    ] {
        for _ in 0..2 {
            let set = store.set_subscription_state(customer, id, state.clone(), Actor::System);
            set.await.unwrap();
        }
        expected.push((action, id.to_string(), Actor::System));
    }

    let entries = store.audit(customer, None, 100).await.unwrap();
    assert!(entries.iter().all(|entry| entry.customer_id == customer));
    assert!(entries.is_sorted_by(|a, b| a.id > b.id && a.at >= b.at), "newest first");
    let found = entries.iter().rev();
    let found: Vec<_> =
        found.map(|entry| (entry.action.as_str(), entry.target.clone(), entry.actor)).collect();
    assert_eq!(found, expected);
    assert_eq!(store.audit(CustomerId::new(), None, 100).await.unwrap(), []);
}

/// Entries keep coming between pages.
async fn pages_of_the_audit_trail_neither_skip_nor_repeat(store: &dyn ControlStore) {
    let customer = customer(store, "pages").await;
    let mut made = Vec::new();
    let mut create = async || {
        made.push(subscribed(store, customer.id).await.id);
    };
    for _ in 0..20 {
        create().await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.audit(customer.id, after, 6).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|entry| entry.target));
        create().await;
    }
    let targets = made[..20].iter().rev().map(SubscriptionId::to_string);
    let expected: Vec<String> = targets.chain([customer.id.to_string()]).collect();
    assert_eq!(seen, expected);
}

/// The store's own changes are told of within a second.
async fn changes_tick(store: &dyn ControlStore) {
    const SOON: Duration = Duration::from_secs(1);
    let mut changes = store.changes();
    let mut told = async |what: &str| {
        tokio::time::timeout(SOON, changes.changed()).await.expect(what).unwrap();
    };
    let customer = customer(store, "ticks").await;
    told("a customer was created").await;
    subscribed(store, customer.id).await;
    told("a subscription was created").await;
    let key = new_key(customer.id);
    store.create_api_key(&key, BY).await.unwrap();
    told("a key was created").await;
    store.revoke_api_key(customer.id, key.id, BY).await.unwrap();
    told("a key was revoked").await;
    let change = CustomerChange { plan: Some("gold".to_owned()), ..CustomerChange::default() };
    store.update_customer(customer.id, change, BY).await.unwrap();
    told("a customer was changed").await;
    let event_type = EventType::parse("a").unwrap();
    store.put_schema(customer.id, &event_type, SchemaMode::Off, "{}", BY).await.unwrap();
    told("a schema was put").await;
    store.delete_schema(customer.id, &event_type, BY).await.unwrap();
    told("a schema was deleted").await;
}

/// Eight write at once, each with a customer of its own, while one follows both feeds: it must
/// never pass a revision that it hasn't seen.
async fn revisions_become_visible_in_their_order(store: &Arc<dyn ControlStore>) {
    const WRITERS: usize = 8;
    const CHANGES: usize = 12;
    let start = store.access_changes(None).await.unwrap().revision;
    let writers = (0..WRITERS).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let customer = customer(&*store, "revisions").await.id;
            let (mut subscriptions, mut access) = (Vec::new(), Vec::new());
            for n in 0..CHANGES {
                subscriptions.push(subscribed(&*store, customer).await.id);
                let key = new_key(customer);
                assert_eq!(store.create_api_key(&key, BY).await.unwrap(), KeyCreation::Made);
                access.push(AccessChange::Key(key.hash));
                let event_type = EventType::parse(format!("e{n}")).unwrap();
                let put = store.put_schema(customer, &event_type, SchemaMode::Off, "{}", BY);
                put.await.unwrap();
            }
            access.push(AccessChange::Schemas(customer));
            (subscriptions, access)
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut seen, mut after) = (Vec::new(), start);
    let (mut access_seen, mut access_after) = (HashSet::new(), start);
    loop {
        // Asked before the feeds are: what was written by then must be in them.
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let changes = store.changes_since(after, 7).await.unwrap();
        let subscriptions = changes.subscriptions;
        assert!(subscriptions.len() <= 7 && subscriptions.is_sorted_by_key(|one| one.revision));
        assert_eq!(changes.revision, subscriptions.last().map_or(after, |last| last.revision));
        after = changes.revision;
        seen.extend(subscriptions.into_iter().map(|one| one.id));
        let access = store.access_changes(Some(access_after)).await.unwrap();
        assert!(access.revision >= access_after);
        access_after = access.revision;
        access_seen.extend(access.changes);
        if finished && !changes.more {
            break;
        }
    }
    let (mut expected, mut access_expected) = (Vec::new(), HashSet::new());
    for written in join_all(writers).await {
        let (subscriptions, access) = written.unwrap();
        expected.extend(subscriptions);
        access_expected.extend(access);
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "each subscription is seen once");
    assert_eq!(access_seen, access_expected);
    assert!(after <= access_after && start < Revision(access_after.0));
}
