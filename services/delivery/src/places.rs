//! Requests that are under way at once, over all endpoints.
//!
//! Each takes a place before its deadline begins: that there is none says nothing about its endpoint.
//! Half as many as there are connections, because as many may be kept open for the next request. One
//! customer takes a quarter at most, so that one whose endpoints hang leaves places for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use triggerline_types::CustomerId;

pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Of one customer.
    most: usize,
    each: Mutex<HashMap<CustomerId, Arc<Semaphore>>>,
}

/// Until it is dropped.
pub(crate) struct Place {
    _of_all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(connections: usize) -> Self {
        let all = (connections / 2).max(1);
        Self { all: Arc::new(Semaphore::new(all)), most: (all / 4).max(1), each: Mutex::default() }
    }

    /// Waits for one, in turn.
    pub(crate) async fn take(&self, customer: CustomerId) -> Place {
        // The customer's own first: who waits for that takes nothing from others. Neither is ever closed.
        let own = self.of(customer).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { _of_all: of_all, _own: own }
    }

    fn of(&self, customer: CustomerId) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept when it has doubled since the last time, so that each entry is paid for once.
        if each.len() == each.capacity() && !each.contains_key(&customer) {
            each.retain(|_, own| Arc::strong_count(own) > 1);
        }
        let own = each.entry(customer).or_insert_with(|| Arc::new(Semaphore::new(self.most)));
        Arc::clone(own)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_takes_a_quarter_and_waits_for_the_rest() {
        let places = Places::new(32);
        let [one, two] = [(); 2].map(|()| CustomerId::new());
        let take = |customer| places.take(customer).now_or_never();
        let mut held: Vec<_> = (0..4).map(|_| take(one).unwrap()).collect();
        assert!(take(one).is_none());
        assert!(take(two).is_some(), "others find places");
        held.pop();
        assert!(take(one).is_some());
    }

    #[test]
    fn all_together_take_what_there_is() {
        let places = Places::new(8);
        let held: Vec<_> =
            (0..4).map(|_| places.take(CustomerId::new()).now_or_never().unwrap()).collect();
        assert!(places.take(CustomerId::new()).now_or_never().is_none());
        drop(held);
        assert!(places.take(CustomerId::new()).now_or_never().is_some());
        for _ in 0..100 {
            drop(places.take(CustomerId::new()).now_or_never());
        }
        assert!(places.each.lock().unwrap().len() < 100, "who has none is forgotten");
    }
}
