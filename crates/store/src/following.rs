//! One service's picture of all subscriptions, kept up to date from the control store.
//!
//! The **picture** ([`Following`]) answers from memory. Its **poller** ([`FollowingHandle`])
//! asks the store whenever that says that something has changed, and every so often anyway, for
//! what is newer than the revision it knows; one such question is a **round**, which serves all
//! who were waiting when it began. Each change replaces only that subscription's entry and its customer's view: adding one of 100,000 costs
//! as much as its customer has subscriptions. A lock guards the two maps; it is held to copy an
//! `Arc` out or to put one in, never while anything is compiled, matched or awaited.

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

type Make<T> = Box<dyn Fn(&Subscription) -> Option<T> + Send + Sync>;

pub struct Following<T> {
    store: Arc<dyn ControlStore>,
    /// What the service makes of a subscription; `None` where it has no use for it.
    make: Make<T>,
    state: RwLock<State<T>>,
    /// One at a time, so that two callers don't apply changes crosswise.
    rounds: Rounds,
}

struct State<T> {
    entries: HashMap<SubscriptionId, Arc<Entry<T>>>,
    views: HashMap<CustomerId, Arc<CustomerView<T>>>,
    revision: Revision,
    refreshed: Instant,
}

/// A subscription as it was last seen, deleted ones included.
pub struct Entry<T> {
    pub subscription: Subscription,
    pub made: Option<T>,
}

/// A customer's subscriptions that the service has a use for, in the order of their ids.
pub struct CustomerView<T> {
    entries: Vec<Arc<Entry<T>>>,
}

impl<T> CustomerView<T> {
    pub fn live(&self) -> impl Iterator<Item = (&Subscription, &T)> {
        self.entries.iter().filter_map(|entry| Some((&entry.subscription, entry.made.as_ref()?)))
    }
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

impl<T: Send + Sync + 'static> Following<T> {
    /// Loads everything, then follows changes as the store tells of them, and `every` so often.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        every: Duration,
        make: impl Fn(&Subscription) -> Option<T> + Send + Sync + 'static,
    ) -> Result<(Arc<Self>, FollowingHandle), StoreError> {
        let following = Arc::new(Self {
            store,
            make: Box::new(make),
            state: RwLock::new(State {
                entries: HashMap::new(),
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

    /// The customer's subscriptions that the service has a use for.
    pub fn of_customer(&self, id: CustomerId) -> Option<Arc<CustomerView<T>>> {
        self.read().views.get(&id).cloned()
    }

    /// A subscription as it was last seen.
    pub fn subscription(&self, id: SubscriptionId) -> Option<Arc<Entry<T>>> {
        self.read().entries.get(&id).cloned()
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
            // Compiled before the lock is taken.
            let made = |subscription: Subscription| {
                let made = (self.make)(&subscription);
                Arc::new(Entry { subscription, made })
            };
            let entries = changes.subscriptions.into_iter().map(made).collect();
            let mut state = self.write();
            state.apply(entries);
            // Past rows that can't be read too: they would be asked for again for good.
            state.revision = state.revision.max(changes.revision);
            if !changes.more {
                state.refreshed = Instant::now();
                return Ok(());
            }
        }
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

    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn apply(&mut self, entries: Vec<Arc<Entry<T>>>) {
        let mut by_customer: HashMap<CustomerId, Vec<Arc<Entry<T>>>> = HashMap::new();
        for entry in entries {
            self.entries.insert(entry.subscription.id, Arc::clone(&entry));
            by_customer.entry(entry.subscription.customer_id).or_default().push(entry);
        }
        for (customer, changed) in by_customer {
            let mut live = self.views.remove(&customer).map_or_else(Vec::new, |view| {
                // Usually nobody else holds it; a reader that does keeps the old view.
                Arc::try_unwrap(view).map_or_else(|view| view.entries.clone(), |view| view.entries)
            });
            for entry in changed {
                let id = entry.subscription.id;
                let place = live.binary_search_by_key(&id, |live| live.subscription.id);
                match (place, entry.made.is_some()) {
                    (Ok(at), true) => live[at] = entry,
                    (Ok(at), false) => drop(live.remove(at)),
                    (Err(at), true) => live.insert(at, entry),
                    (Err(_), false) => {}
                }
            }
            if !live.is_empty() {
                self.views.insert(customer, Arc::new(CustomerView { entries: live }));
            }
        }
    }
}
