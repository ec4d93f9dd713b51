//! The promises of [`crate::ErasureStore`].

use std::time::Duration;

use triggerline_types::{
    CustomerId, DeliveryId, Erased, Erasure, ErasureState, EventId, EventType, SchemaMode,
    SubscriptionState,
};
use uuid::Uuid;

use super::control::{BY, customer, subscribed};
use super::keys::{new_key, now};
use super::{access, replays};
use crate::{
    AccessChange, ControlStore, CustomerChange, Due, KeyCreation, NewCustomer, NewQueued, Retention,
};

const LEASE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) async fn judge(store: &dyn ControlStore) {
    who_is_erased_is_not_there(store).await;
    an_erasure_is_given_to_one_until_it_is_complete(store).await;
    each_has_its_own_retention(store).await;
}

async fn who_is_erased_is_not_there(store: &dyn ControlStore) {
    let (gone, other) =
        (customer(store, "secret name").await.id, customer(store, "other").await.id);
    let ask = async |id| store.erase_customer(id, now() + DAY, BY).await.unwrap();
    assert_eq!(ask(CustomerId::new()).await, None);
    let keys = [new_key(gone), new_key(gone), new_key(other)];
    for key in &keys {
        assert_eq!(store.create_api_key(key, BY).await.unwrap(), KeyCreation::Made);
    }
    let deleted = subscribed(store, gone).await;
    store.set_subscription_state(gone, deleted.id, SubscriptionState::Deleted, BY).await.unwrap();
    let (one, others) = (subscribed(store, gone).await, subscribed(store, other).await);
    store.endpoint_failed(one.id, now()).await.unwrap();
    let event_type = EventType::parse("a").unwrap();
    access::put(store, gone, &event_type, SchemaMode::Warn, "{}").await;
    access::put(store, other, &event_type, SchemaMode::Warn, "{}").await;
    store.create_replay(replays::new(gone), BY).await.unwrap().unwrap();
    let event_id = EventId::new();
    let row = |customer_id, subscription_id| NewQueued {
        customer_id,
        subscription_id,
        delivery_id: DeliveryId::of(event_id, subscription_id),
        event_id,
        key: None,
        record: b"secret".to_vec(),
        attempt: 1,
        last_attempt: 3,
        due: Due::Asleep(now() + DAY),
    };
    let rows = [row(gone, one.id), row(gone, deleted.id), row(other, others.id)];
    store.enqueue(&rows, now()).await.unwrap();
    let before = store.access_changes(None).await.unwrap().revision;

    let asked = ask(gone).await.unwrap();
    assert_eq!((asked.state(), asked.erased.api_keys), (ErasureState::Erasing, 2));
    assert_eq!(ask(gone).await, Some(asked.clone()), "asked again");
    assert_eq!(store.erasure(gone).await.unwrap(), Some(asked));
    assert_eq!(store.erasure(other).await.unwrap(), None);
    assert_eq!(store.customer(gone).await.unwrap(), None);
    let all = store.customers(None, usize::MAX).await.unwrap();
    assert!(all.iter().all(|one| one.id != gone) && all.iter().any(|one| one.id == other));
    let change = CustomerChange { name: Some("new".to_owned()), ..CustomerChange::default() };
    assert_eq!(store.update_customer(gone, change, BY).await.unwrap(), None);
    let new = store.create_api_key(&new_key(gone), BY).await.unwrap();
    assert_eq!(new, KeyCreation::NoSuchCustomer);
    for (key, is_live) in [(&keys[0], false), (&keys[1], false), (&keys[2], true)] {
        let access = store.access(&key.hash).await.unwrap().unwrap();
        assert_eq!(access.key.is_live(now()), is_live);
        assert_eq!(access.key.name.is_empty(), !is_live);
    }

    let (erased, more) = store.erase_set_up(gone).await.unwrap();
    let expected =
        Erased { subscriptions: 2, schemas: 1, replays: 1, queued: 2, ..Erased::default() };
    assert_eq!((erased, more), (expected, false));
    assert_eq!(store.erase_set_up(gone).await.unwrap(), (Erased::default(), false));
    assert_eq!(store.schemas(gone).await.unwrap(), []);
    assert_eq!(store.subscriptions(gone, None, 10).await.unwrap(), []);
    assert_eq!(store.replays(gone, None, 10).await.unwrap(), []);
    assert!(!store.failing_endpoints().await.unwrap().contains(&one.id));
    assert_eq!(store.depth(gone, one.id, now()).await.unwrap().rows, 0);
    // Who follows learns of it, and reads nothing of what was there.
    let changes = store.changes_since(before, 100).await.unwrap();
    let of_gone = changes.subscriptions.iter().filter(|one| one.customer_id == gone);
    let emptied: Vec<_> = of_gone.collect();
    assert_eq!(emptied.len(), 2);
    for found in emptied {
        assert_eq!(found.state, SubscriptionState::Deleted);
        assert!(found.endpoint.url.contains("invalid"), "{}", found.endpoint.url);
        assert_ne!(found.endpoint.secret.reveal(), one.endpoint.secret.reveal());
    }
    let forgotten = store.access_changes(Some(before)).await.unwrap().changes;
    assert!(forgotten.contains(&AccessChange::Schemas(gone)));
    assert!(forgotten.contains(&AccessChange::Key(keys[0].hash)));
    // Nobody else has lost anything.
    assert_eq!(store.subscriptions(other, None, 10).await.unwrap(), std::slice::from_ref(&others));
    assert_eq!(store.schemas(other).await.unwrap().len(), 1);
    assert_eq!(store.depth(other, others.id, now()).await.unwrap().rows, 1);
    let trail = store.audit(gone, None, 1).await.unwrap();
    assert_eq!(trail[0].action, "customer.erased");
}

async fn an_erasure_is_given_to_one_until_it_is_complete(store: &dyn ControlStore) {
    let id = customer(store, "leases").await.id;
    let until = now() + DAY;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    // What other cases have begun is out of the way.
    while let Some(found) = store.claim_erasure(one, LEASE).await.unwrap() {
        assert!(store.keep_erasure(&found, one, None, None).await.unwrap());
    }
    let asked = store.erase_customer(id, until, BY).await.unwrap().unwrap();
    let claim = async |owner, lease| store.claim_erasure(owner, lease).await.unwrap();
    assert_eq!(claim(one, LEASE).await, Some(asked.clone()));
    assert_eq!(claim(other, LEASE).await, None);
    let erased = Erased { events: 7, ..asked.erased };
    let kept = Erasure { erased, erased_at: Some(now()), ..asked };
    let keep = async |erasure: &Erasure, owner, due, lease| {
        store.keep_erasure(erasure, owner, due, lease).await.unwrap()
    };
    assert!(!keep(&kept, other, None, None).await, "it is another's");
    assert!(keep(&kept, one, Some(now() + DAY), None).await);
    assert_eq!(claim(other, LEASE).await, None, "it isn't due");
    assert!(keep(&kept, one, Some(now() - DAY), Some(LEASE)).await);
    assert_eq!(claim(other, LEASE).await, None, "it is leased");
    assert!(keep(&kept, one, Some(now() - DAY), None).await);
    assert_eq!(claim(other, LEASE).await, Some(kept.clone()));
    let complete = Erasure { completed_at: Some(now()), ..kept };
    assert!(keep(&complete, other, None, None).await);
    assert_eq!(claim(one, LEASE).await, None);
    assert_eq!(store.erasure(id).await.unwrap(), Some(complete));
}

async fn each_has_its_own_retention(store: &dyn ControlStore) {
    let new = NewCustomer { retention_days: Some(90), ..NewCustomer::named("patient") };
    let patient = store.create_customer(new, BY).await.unwrap().id;
    let (usual, gone) = (customer(store, "usual").await.id, customer(store, "gone").await.id);
    store.erase_customer(gone, now() + DAY, BY).await.unwrap();
    let retention = store.retention(Some(DAY)).await.unwrap();
    for (customer, kept, is_erased) in
        [(patient, 90 * DAY, false), (usual, DAY, false), (gone, DAY, true)]
    {
        assert_eq!(retention.of(customer), Some(kept));
        assert_eq!(retention.is_erased(customer), is_erased);
    }
    let change = CustomerChange { retention_days: Some(None), ..CustomerChange::default() };
    store.update_customer(patient, change, BY).await.unwrap();
    let found: Retention = store.retention(None).await.unwrap();
    assert_eq!(found.of(patient), None);
}
