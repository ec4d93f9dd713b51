//! The promises of [`ControlStore`] about secrets: that whoever has the database has none of them, and
//! that whoever has not been given the keys doesn't go on without.

use std::sync::Arc;
use std::time::Duration;

use triggerline_types::{Revision, Secret, SubscriptionId, SubscriptionState};

use super::control::{BY, customer, subscribed};
use crate::{ControlStore, SecretKeys, StoreError, SubscriptionEdit};

/// `open` opens the one store with these keys; `dump` is all that stands in its table of
/// subscriptions, as text; `spoil` gives one of two subscriptions the other's secret.
pub async fn sealing(
    open: impl AsyncFn(SecretKeys) -> Arc<dyn ControlStore>,
    dump: impl AsyncFn() -> String,
    spoil: impl AsyncFn(SubscriptionId),
) {
    let key = |name: &str, key: &str| format!("{name}:{}=", key.repeat(43));
    let (one, two) = (key("k1", "A"), key("k2", "I"));
    let keys = |texts: &[&String]| SecretKeys::parse(texts).unwrap();

    // Before there were keys.
    let open_store = open(SecretKeys::default()).await;
    open_store.migrate().await.unwrap();
    let owner = customer(&*open_store, "sealing").await.id;
    let plain = subscribed(&*open_store, owner).await;
    assert!(dump().await.contains("x-größe"), "nothing seals it");

    // With a key: what was there is read, what is written is sealed, whatever writes it.
    let store = open(keys(&[&one])).await;
    assert_eq!(store.subscription(owner, plain.id).await.unwrap().as_ref(), Some(&plain));
    let sealed = subscribed(&*store, owner).await;
    let rotate = || SubscriptionEdit::Rotate {
        secret: Secret::generate_pair(),
        overlap: Duration::from_hours(24),
    };
    store.edit_subscription(owner, sealed.id, rotate(), None, BY).await.unwrap();
    let sealed = store.subscription(owner, sealed.id).await.unwrap().unwrap();
    assert_eq!(sealed.endpoint.old_secrets.len(), 1);
    assert_eq!(sealed.endpoint.settings, plain.endpoint.settings);
    assert_eq!(store.subscriptions(owner, None, 9).await.unwrap(), [plain.clone(), sealed.clone()]);
    assert_eq!(store.reseal().await.unwrap(), 1, "that of before");
    assert_eq!(store.reseal().await.unwrap(), 0);
    let everything = dump().await;
    for hidden in ["x-größe", "whsec_", "whsk_", "https://a.example/token", "private_key"] {
        assert!(!everything.contains(hidden), "{hidden} stands in {everything}");
    }
    assert!(everything.contains("$.order['für']"), "what isn't secret can be read");
    let all = [plain.clone(), sealed.clone()];
    assert_eq!(
        store.subscriptions(owner, None, 9).await.unwrap(),
        all,
        "nothing but its form has changed"
    );

    // Without the key nobody goes on as if there were no subscriptions.
    for wrong in [SecretKeys::default(), keys(&[&two]), keys(&[&key("k1", "Q")])] {
        let store = open(wrong).await;
        let errors = [
            store.changes_since(Revision::default(), 10).await.err(),
            store.subscriptions(owner, None, 9).await.err(),
            store.subscription(owner, plain.id).await.err(),
            store.edit_subscription(owner, plain.id, rotate(), None, BY).await.err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(StoreError::Locked { .. })), "{error:?}");
        }
    }

    for wrong in [SecretKeys::default(), keys(&[&two])] {
        let error = open(wrong).await.reseal().await.err();
        assert!(matches!(error, Some(StoreError::Locked { .. })), "{error:?}");
    }

    // A key is replaced by another.
    let store = open(keys(&[&two, &one])).await;
    assert_eq!(store.subscriptions(owner, None, 9).await.unwrap(), all);
    store
        .set_subscription_state(owner, plain.id, SubscriptionState::Paused, BY)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.reseal().await.unwrap(), 1, "the other was sealed as it was changed");
    let store = open(keys(&[&two])).await;
    let changes = store.changes_since(Revision::default(), 10).await.unwrap();
    assert_eq!(changes.subscriptions.len(), 2);
    assert_eq!(changes.subscriptions[0], sealed);

    // A row that was tampered with is nobody's, and keeps no others from being followed.
    spoil(sealed.id).await;
    let changes = open(keys(&[&two])).await.changes_since(Revision::default(), 10).await.unwrap();
    assert_eq!(changes.subscriptions.iter().map(|one| one.id).collect::<Vec<_>>(), [plain.id]);
    let error = open(keys(&[&two])).await.subscription(owner, sealed.id).await.err();
    assert!(matches!(error, Some(StoreError::Locked { .. })), "{error:?}");
}
