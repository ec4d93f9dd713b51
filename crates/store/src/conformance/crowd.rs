//! The promises of [`ControlStore`] about a customer of many subscriptions: they are listed a page at
//! a time, and there are never more than [`MAX_SUBSCRIPTIONS`].

use std::sync::Arc;

use futures::future::join_all;
use triggerline_types::{Subscription, SubscriptionId, SubscriptionState};

use super::control::{BY, customer, new_subscription, subscribed};
use crate::{ControlStore, MAX_SUBSCRIPTIONS, SubscriptionCreation};

/// `fill` gives the customer of a subscription so many more, in one statement: to make a hundred
/// thousand one by one takes minutes.
pub async fn crowd(store: Arc<dyn ControlStore>, fill: impl AsyncFn(SubscriptionId, usize)) {
    store.migrate().await.unwrap();
    pages_neither_skip_nor_repeat(&*store).await;
    creations_at_once_dont_overshoot_the_limit(&store, fill).await;
}

/// Subscriptions are made and deleted between pages.
async fn pages_neither_skip_nor_repeat(store: &dyn ControlStore) {
    let ours = customer(store, "paged").await.id;
    let theirs = customer(store, "beside").await.id;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(subscribed(store, ours).await);
        subscribed(store, theirs).await;
    }
    let page = async |after: Option<&Subscription>, limit| {
        store.subscriptions(ours, after.map(|one| one.id), limit).await.unwrap()
    };
    let delete = async |one: &Subscription| {
        let deleted =
            store.set_subscription_state(ours, one.id, SubscriptionState::Deleted, BY).await;
        deleted.unwrap().unwrap();
    };
    assert_eq!(page(None, usize::MAX).await, made);
    assert_eq!(page(None, 3).await, made[..3]);
    delete(&made[2]).await;
    delete(&made[4]).await;
    let last = subscribed(store, ours).await;
    assert_eq!(page(Some(&made[2]), 2).await, [made[3].clone(), made[5].clone()]);
    assert_eq!(page(Some(&made[5]), 3).await, [made[6].clone(), last.clone()]);
    assert_eq!(page(Some(&last), 3).await, []);
}

async fn creations_at_once_dont_overshoot_the_limit(
    store: &Arc<dyn ControlStore>,
    fill: impl AsyncFn(SubscriptionId, usize),
) {
    const ROOM: usize = 3;
    let owner = customer(&**store, "crowd").await.id;
    let first = subscribed(&**store, owner).await;
    fill(first.id, MAX_SUBSCRIPTIONS - 1 - ROOM).await;
    let makers = (0..8).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let made = store.create_subscription(new_subscription(owner), BY).await.unwrap();
            usize::from(made != SubscriptionCreation::TooMany)
        })
    });
    let made: usize = join_all(makers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(made, ROOM);
    let entries = store.audit(owner, None, 100).await.unwrap();
    assert_eq!(entries.len(), 2 + ROOM, "who was refused has changed nothing: {entries:?}");

    let create = async || store.create_subscription(new_subscription(owner), BY).await.unwrap();
    let set = async |state| {
        let set = store.set_subscription_state(owner, first.id, state, BY).await;
        set.unwrap().unwrap();
    };
    set(SubscriptionState::Paused).await;
    assert_eq!(create().await, SubscriptionCreation::TooMany, "a paused one is one of them");
    set(SubscriptionState::Deleted).await;
    assert!(create().await.made().is_some(), "a deleted one leaves room");
    assert_eq!(create().await, SubscriptionCreation::TooMany);
    let other = customer(&**store, "beside the crowd").await.id;
    subscribed(&**store, other).await;
}
