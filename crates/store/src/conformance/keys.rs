//! The promises of [`ControlStore`] about API keys.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use triggerline_types::{ApiKey, ApiKeyId, CustomerId, Scope, truncate_to_millis};

use super::control::{BY, customer};
use crate::{ControlStore, CustomerChange, KeyCreation, KeyRotation, MAX_LIVE_KEYS, NewCustomer};

pub(super) async fn judge(store: &Arc<dyn ControlStore>) {
    a_key_is_kept_as_it_was_given(&**store).await;
    a_customer_and_its_first_key_are_both_made_or_neither(&**store).await;
    a_key_is_revoked_for_good(&**store).await;
    a_rotated_key_lives_on_for_as_long_as_it_was_given(&**store).await;
    creations_at_once_dont_overshoot_the_limit(store).await;
    dead_keys_leave_room_and_a_rotation_finds_some(&**store).await;
    an_instant_of_use_only_moves_forward(&**store).await;
    uses_can_be_written_down_while_their_customer_changes(store).await;
    another_customers_key_is_not_there(&**store).await;
}

/// Live, and like no other.
pub(super) fn new_key(customer_id: CustomerId) -> ApiKey {
    let id = ApiKeyId::new();
    let mut hash = [7; 32];
    hash[..16].copy_from_slice(id.as_uuid().as_bytes());
    ApiKey {
        id,
        customer_id,
        name: "ci — größer".to_owned(),
        hint: "tl_live_ab12".to_owned(),
        hash,
        scopes: vec![Scope::EventsWrite, Scope::SubscriptionsRead],
        rate_limit: Some("7/90s".parse().unwrap()),
        created_at: now(),
        expires_at: Some(now() + Duration::from_hours(48)),
        revoked_at: None,
        last_used_at: None,
    }
}

pub(super) fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}

async fn make(store: &dyn ControlStore, key: &ApiKey) {
    assert_eq!(store.create_api_key(key, BY).await.unwrap(), KeyCreation::Made);
}

async fn a_key_is_kept_as_it_was_given(store: &dyn ControlStore) {
    let customer = customer(store, "keys").await;
    let key = new_key(customer.id);
    make(store, &key).await;
    let bare = ApiKey { rate_limit: None, expires_at: None, ..new_key(customer.id) };
    make(store, &bare).await;
    for one in [&key, &bare] {
        let access = store.access(&one.hash).await.unwrap().unwrap();
        assert_eq!((&access.key, &access.customer), (one, &customer));
        assert_eq!(store.api_key_of(customer.id, one.id).await.unwrap().as_ref(), Some(one));
    }
    assert_eq!(store.api_keys(customer.id).await.unwrap(), [key.clone(), bare]);
    assert_eq!(store.access(&[7; 32]).await.unwrap(), None);
    let twice = ApiKey { id: ApiKeyId::new(), ..key };
    assert!(store.create_api_key(&twice, BY).await.is_err(), "a hash is taken once");
    assert_eq!(store.api_keys(customer.id).await.unwrap().len(), 2);
    let nobodys = store.create_api_key(&new_key(CustomerId::new()), BY).await.unwrap();
    assert_eq!(nobodys, KeyCreation::NoSuchCustomer);
}

async fn a_customer_and_its_first_key_are_both_made_or_neither(store: &dyn ControlStore) {
    let key = new_key(CustomerId::new());
    let new = |name: &str| NewCustomer::named(name);
    let made = store.create_customer_with_key(new("both"), &key, BY).await.unwrap();
    let kept = ApiKey { customer_id: made.id, ..key.clone() };
    let access = store.access(&key.hash).await.unwrap().unwrap();
    assert_eq!((&access.key, &access.customer), (&kept, &made));
    let trail = store.audit(made.id, None, 9).await.unwrap();
    let actions: Vec<_> = trail.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["api_key.created", "customer.created"], "newest first");
    // The second is refused, so the first is undone.
    let twice = ApiKey { id: ApiKeyId::new(), ..key };
    assert!(store.create_customer_with_key(new("neither"), &twice, BY).await.is_err());
    let customers = store.customers(None, 1_000).await.unwrap();
    let named = |name: &str| customers.iter().filter(|customer| customer.name == name).count();
    assert_eq!((named("both"), named("neither")), (1, 0));
    assert_eq!(store.access(&twice.hash).await.unwrap().unwrap().key, kept);
}

async fn a_key_is_revoked_for_good(store: &dyn ControlStore) {
    let customer = customer(store, "revoked").await.id;
    let key = new_key(customer);
    make(store, &key).await;
    let revoked = store.revoke_api_key(customer, key.id, BY).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(ApiKey { revoked_at: None, ..revoked.clone() }, key);
    let again = store.revoke_api_key(customer, key.id, BY).await.unwrap();
    assert_eq!(again.as_ref(), Some(&revoked), "revoking again keeps the first instant");
    assert_eq!(store.access(&key.hash).await.unwrap().unwrap().key, revoked);
    assert_eq!(store.api_keys(customer).await.unwrap(), [revoked]);
    assert_eq!(store.revoke_api_key(customer, ApiKeyId::new(), BY).await.unwrap(), None);
}

async fn a_rotated_key_lives_on_for_as_long_as_it_was_given(store: &dyn ControlStore) {
    let customer = customer(store, "rotated").await.id;
    let (first, second, third) = (new_key(customer), new_key(customer), new_key(customer));
    make(store, &first).await;
    let soon = now() + Duration::from_hours(1);
    let rotated = store.rotate_api_key(customer, first.id, &second, soon, BY).await.unwrap();
    let old = ApiKey { expires_at: Some(soon), ..first.clone() };
    assert_eq!(rotated, KeyRotation::Made { old: old.clone() });
    assert_eq!(store.api_keys(customer).await.unwrap(), [old.clone(), second.clone()]);

    // Another time, with another instant: never later than it would anyway.
    let late = soon + Duration::from_hours(1);
    let rotated = store.rotate_api_key(customer, first.id, &third, late, BY).await.unwrap();
    assert_eq!(rotated, KeyRotation::Made { old });

    let refused = async |id| {
        let new = new_key(customer);
        let rotated = store.rotate_api_key(customer, id, &new, late, BY).await.unwrap();
        assert_eq!(rotated, KeyRotation::NoSuchKey);
        assert_eq!(store.access(&new.hash).await.unwrap(), None, "both or neither");
    };
    refused(ApiKeyId::new()).await;
    store.revoke_api_key(customer, second.id, BY).await.unwrap();
    refused(second.id).await;
    // At once: what has expired can't be rotated again.
    let fourth = new_key(customer);
    store.rotate_api_key(customer, third.id, &fourth, now(), BY).await.unwrap();
    refused(third.id).await;
    let taken = ApiKey { id: ApiKeyId::new(), ..third };
    assert!(store.rotate_api_key(customer, fourth.id, &taken, late, BY).await.is_err());
    assert_eq!(
        store.api_key_of(customer, fourth.id).await.unwrap(),
        Some(fourth),
        "the new one's hash was taken, so the old one stays as it is"
    );
}

async fn creations_at_once_dont_overshoot_the_limit(store: &Arc<dyn ControlStore>) {
    const MORE: usize = 12;
    let customer = customer(&**store, "greedy").await.id;
    let makers = (0..8).map(|maker| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut refused = 0;
            for n in 0..MAX_LIVE_KEYS + MORE {
                if n % 8 == maker {
                    let made = store.create_api_key(&new_key(customer), BY).await.unwrap();
                    refused += usize::from(made == KeyCreation::TooMany);
                }
            }
            refused
        })
    });
    let refused = join_all(makers).await.into_iter().map(Result::unwrap);
    assert_eq!(refused.sum::<usize>(), MORE);
    assert_eq!(store.api_keys(customer).await.unwrap().len(), MAX_LIVE_KEYS);
}

async fn dead_keys_leave_room_and_a_rotation_finds_some(store: &dyn ControlStore) {
    let customer = customer(store, "full").await.id;
    let expired = ApiKey { expires_at: Some(now()), ..new_key(customer) };
    make(store, &expired).await;
    for _ in 0..MAX_LIVE_KEYS {
        make(store, &new_key(customer)).await;
    }
    let last = new_key(customer);
    assert_eq!(store.create_api_key(&last, BY).await.unwrap(), KeyCreation::TooMany);
    assert_eq!(store.access(&last.hash).await.unwrap(), None);
    let keys = store.api_keys(customer).await.unwrap();
    store.revoke_api_key(customer, keys[1].id, BY).await.unwrap();
    make(store, &last).await;

    let later = now() + Duration::from_hours(1);
    let second = new_key(customer);
    let rotated = store.rotate_api_key(customer, last.id, &second, later, BY).await.unwrap();
    assert!(matches!(rotated, KeyRotation::Made { .. }), "the old one doesn't count");
    let third = new_key(customer);
    let rotated = store.rotate_api_key(customer, second.id, &third, later, BY).await.unwrap();
    assert_eq!(rotated, KeyRotation::TooMany, "there are more than enough already");
    assert_eq!(store.api_key_of(customer, second.id).await.unwrap(), Some(second));
}

async fn an_instant_of_use_only_moves_forward(store: &dyn ControlStore) {
    let customer = customer(store, "used").await.id;
    let keys = [new_key(customer), new_key(customer), new_key(customer)];
    for key in &keys {
        make(store, key).await;
    }
    let at = |seconds: u64| now() + Duration::from_secs(seconds);
    let (early, middle, late) = (at(1), at(2), at(3));
    let used = async || {
        let keys = store.api_keys(customer).await.unwrap();
        keys.into_iter().map(|key| key.last_used_at).collect::<Vec<_>>()
    };
    let before = store.access_changes(None).await.unwrap().revision;
    store.touch_api_keys(&[]).await.unwrap();
    assert_eq!(used().await, [None, None, None]);
    // The same key twice, and one that nobody has.
    let touched =
        [(keys[0].id, late), (keys[1].id, middle), (keys[0].id, early), (ApiKeyId::new(), late)];
    store.touch_api_keys(&touched).await.unwrap();
    assert_eq!(used().await, [Some(late), Some(middle), None]);
    store.touch_api_keys(&[(keys[1].id, late), (keys[0].id, middle)]).await.unwrap();
    assert_eq!(used().await, [Some(late), Some(late), None]);
    let after = store.access_changes(Some(before)).await.unwrap();
    assert_eq!((after.revision, after.changes), (before, Vec::new()), "nobody's change");
}

/// Several gateways write down the same keys in another order each, while the customer changes:
/// nobody locks anybody out.
async fn uses_can_be_written_down_while_their_customer_changes(store: &Arc<dyn ControlStore>) {
    let customer = customer(&**store, "busy").await.id;
    let mut keys = Vec::new();
    for _ in 0..20 {
        let key = new_key(customer);
        make(&**store, &key).await;
        keys.push(key.id);
    }
    let touching = (0..4).map(|gateway| {
        let (store, mut keys) = (Arc::clone(store), keys.clone());
        keys.rotate_left(gateway * 5);
        if gateway % 2 == 0 {
            keys.reverse();
        }
        tokio::spawn(async move {
            for n in 0..10 {
                let at = now() + Duration::from_secs(n);
                let used: Vec<_> = keys.iter().map(|id| (*id, at)).collect();
                store.touch_api_keys(&used).await.unwrap();
            }
        })
    });
    let touching: Vec<_> = touching.collect();
    for (n, id) in keys.iter().take(10).enumerate() {
        let change = CustomerChange { name: Some(n.to_string()), ..CustomerChange::default() };
        store.update_customer(customer, change, BY).await.unwrap().unwrap();
        store.revoke_api_key(customer, *id, BY).await.unwrap().unwrap();
    }
    for touched in join_all(touching).await {
        touched.unwrap();
    }
}

async fn another_customers_key_is_not_there(store: &dyn ControlStore) {
    let (ours, theirs) = (customer(store, "ours").await.id, customer(store, "theirs").await.id);
    let key = new_key(ours);
    make(store, &key).await;
    assert_eq!(store.api_key_of(theirs, key.id).await.unwrap(), None);
    assert_eq!(store.api_keys(theirs).await.unwrap(), []);
    assert_eq!(store.revoke_api_key(theirs, key.id, BY).await.unwrap(), None);
    let new = new_key(theirs);
    let rotated = store.rotate_api_key(theirs, key.id, &new, now(), BY).await.unwrap();
    assert_eq!(rotated, KeyRotation::NoSuchKey);
    assert_eq!(store.api_key_of(ours, key.id).await.unwrap().as_ref(), Some(&key));
    let entries = store.audit(theirs, None, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "only that it was created");
    // The new key of a rotation is the customer's who rotates, whatever it says.
    let new = new_key(theirs);
    store.rotate_api_key(ours, key.id, &new, now(), BY).await.unwrap();
    assert_eq!(store.access(&new.hash).await.unwrap().unwrap().customer.id, ours);
}
