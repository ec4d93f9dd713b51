//! One service's picture of all subscriptions, kept up to date from the control store.
//!
//! The **picture** ([`Following`]) answers from memory: what one subscription is, and what the service
//! makes of all of a customer's, its [`View`]. Its **poller** ([`FollowingHandle`])
//! asks the store whenever that says that something has changed, and every so often anyway, for
//! what is newer than the revision it knows; one such question is a **round**, which serves all
//! who were waiting when it began. A change is made to a copy of its customer's view, which then takes
//! the place of the old one: whoever has a view sees all of a change or nothing of it. A lock guards the
//! two maps; it is held to copy an `Arc` out or to put one in, never while anything is compiled, matched
//! or awaited.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use triggerline_types::{CustomerId, Revision, Subscription, SubscriptionId};

use crate::rounds::Rounds;
use crate::{ControlStore, StoreError};

/// Changes that one query asks for.
const PAGE: usize = 1_000;

/// What a service makes of a customer's subscriptions. It is copied for every change.
pub trait View: Clone + Default + Send + Sync + 'static {
    /// A subscription is like this from now on, whether it is new, changed or deleted.
    fn change(&mut self, subscription: &Arc<Subscription>);

    /// It is as good as the one of a customer who has none.
    fn is_empty(&self) -> bool;
}

/// For who only asks about single subscriptions.
impl View for () {
    fn change(&mut self, _: &Arc<Subscription>) {}

    fn is_empty(&self) -> bool {
        true
    }
}

pub struct Following<V> {
    store: Arc<dyn ControlStore>,
    state: RwLock<State<V>>,
    /// One at a time, so that two callers don't apply changes crosswise.
    rounds: Rounds,
}

struct State<V> {
    /// As they were last seen, deleted ones included.
    subscriptions: HashMap<SubscriptionId, Arc<Subscription>>,
    views: HashMap<CustomerId, Arc<V>>,
    revision: Revision,
    refreshed: Instant,
}

/// Keeps the picture up to date until it is dropped.
pub struct FollowingHandle {
    poller: JoinHandle<()>,
}

impl Drop for FollowingHandle {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl<V: View> Following<V> {
    /// Loads everything, then follows changes as the store tells of them, and `every` so often.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        every: Duration,
    ) -> Result<(Arc<Self>, FollowingHandle), StoreError> {
        let following = Arc::new(Self {
            store,
            state: RwLock::new(State {
                subscriptions: HashMap::new(),
                views: HashMap::new(),
                revision: Revision::default(),
                refreshed: Instant::now(),
            }),
            rounds: Rounds::new(),
        });
        // Before the first round, so that no change falls between the two.
        let news = following.store.changes();
        following.catch_up().await?;
        let poller = tokio::spawn(Arc::clone(&following).poll(every, news));
        Ok((following, FollowingHandle { poller }))
    }

    /// What the service makes of the customer's subscriptions; `None` if that is nothing.
    pub fn of_customer(&self, id: CustomerId) -> Option<Arc<V>> {
        self.read().views.get(&id).cloned()
    }

    /// Those of all customers.
    pub fn views(&self) -> Vec<Arc<V>> {
        self.read().views.values().cloned().collect()
    }

    /// A subscription as it was last seen.
    pub fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.read().subscriptions.get(&id).cloned()
    }

    pub fn revision(&self) -> Revision {
        self.read().revision
    }

    /// How long ago the store was last asked with success.
    pub fn age(&self) -> Duration {
        self.read().refreshed.elapsed()
    }

    /// Once it returns `Ok`, the picture holds every change that was made before the call.
    ///
    /// However many call at once, the store is asked at most twice.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.rounds.join(self.ask()).await
    }

    async fn ask(&self) -> Result<(), StoreError> {
        loop {
            let changes = self.store.changes_since(self.revision(), PAGE).await?;
            let newer: Vec<_> = changes.subscriptions.into_iter().map(Arc::new).collect();
            // Before the lock is taken.
            let views = self.changed(&newer);
            let mut state = self.write();
            for subscription in newer {
                state.subscriptions.insert(subscription.id, subscription);
            }
            for (customer, view) in views {
                if view.is_empty() {
                    state.views.remove(&customer);
                } else {
                    state.views.insert(customer, Arc::new(view));
                }
            }
            // Past rows that can't be read too: they would be asked for again for good.
            state.revision = state.revision.max(changes.revision);
            if !changes.more {
                state.refreshed = Instant::now();
                return Ok(());
            }
        }
    }

    /// The views that these change, as they are then. Only one round at a time comes here.
    fn changed(&self, changed: &[Arc<Subscription>]) -> HashMap<CustomerId, V> {
        let mut views: HashMap<CustomerId, V> = HashMap::new();
        for subscription in changed {
            let customer = subscription.customer_id;
            let now = || self.of_customer(customer).as_deref().cloned().unwrap_or_default();
            views.entry(customer).or_insert_with(now).change(subscription);
        }
        views
    }

    async fn poll(self: Arc<Self>, every: Duration, mut news: watch::Receiver<u64>) {
        let mut failing = false;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // A store that has stopped telling is asked every so often all the same.
                changed = news.changed(), if told => told = changed.is_ok(),
            }
            match self.catch_up().await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the control store answers again");
                    }
                }
                Err(error) => {
                    // Told once an outage, not at every tick of it.
                    if std::mem::replace(&mut failing, true) {
                        continue;
                    }
                    tracing::warn!(
                        %error,
                        source = std::error::Error::source(&error).map(ToString::to_string),
                        "going on with the subscriptions that are known"
                    );
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<V>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<V>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
