//! Who takes how much of a partition's window. Pure.
//!
//! All records of a partition share one in-flight window, and one endpoint's could fill it while
//! they wait: nobody else's would be read any more. So one subscription may hold as much as is
//! still free for others, and no more. A single one holds half of the window at most; n greedy ones
//! leave 1/(n + 1) of it (dynamic thresholds, Choudhury and Hahne 1998).

use std::collections::HashMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use triggerline_kafka::{Topic, Window};
use triggerline_types::SubscriptionId;

#[derive(Clone)]
pub(crate) struct Crowds {
    window: Window,
    held: Arc<Mutex<HashMap<(Topic, i32), Crowd>>>,
}

/// The records of one partition that are being worked on.
#[derive(Default)]
struct Crowd {
    all: Held,
    each: HashMap<SubscriptionId, Held>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    records: usize,
    bytes: usize,
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Held {
    fn sub_assign(&mut self, other: Self) {
        self.records -= other.records;
        self.bytes -= other.bytes;
    }
}

/// One record among them, until it is dropped.
pub(crate) struct Inside {
    crowds: Crowds,
    partition: (Topic, i32),
    subscription: SubscriptionId,
    size: Held,
}

impl Crowds {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, held: Arc::default() }
    }

    pub(crate) fn enter(
        &self,
        partition: (Topic, i32),
        subscription: SubscriptionId,
        bytes: usize,
    ) -> Inside {
        let size = Held { records: 1, bytes };
        let mut held = self.held();
        let crowd = held.entry(partition).or_default();
        crowd.all += size;
        *crowd.each.entry(subscription).or_default() += size;
        drop(held);
        Inside { crowds: self.clone(), partition, subscription, size }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(Topic, i32), Crowd>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Whether its subscription holds more than is left for others.
    pub(crate) fn is_crowded(&self) -> bool {
        let held = self.crowds.held();
        let Some(crowd) = held.get(&self.partition) else {
            return false;
        };
        let own = crowd.each.get(&self.subscription).copied().unwrap_or_default();
        let Window { records, bytes } = self.crowds.window;
        own.records > records.saturating_sub(crowd.all.records)
            || own.bytes > bytes.saturating_sub(crowd.all.bytes)
    }
}

impl Inside {
    /// How many records its subscription holds.
    pub(crate) fn crowd(&self) -> usize {
        let held = self.crowds.held();
        let crowd = held.get(&self.partition);
        crowd.and_then(|crowd| crowd.each.get(&self.subscription)).map_or(0, |own| own.records)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut held = self.crowds.held();
        let Some(crowd) = held.get_mut(&self.partition) else {
            return;
        };
        crowd.all -= self.size;
        if let Some(own) = crowd.each.get_mut(&self.subscription) {
            *own -= self.size;
            if own.records == 0 {
                crowd.each.remove(&self.subscription);
            }
        }
        if crowd.all.records == 0 {
            held.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (Topic, i32) = (Topic::Deliveries, 0);

    /// Enters while it isn't crowded; how many that were.
    fn fill(crowds: &Crowds, of: SubscriptionId, bytes: usize, held: &mut Vec<Inside>) -> usize {
        let before = held.len();
        loop {
            let inside = crowds.enter(HERE, of, bytes);
            if inside.is_crowded() {
                return held.len() - before;
            }
            held.push(inside);
        }
    }

    #[test]
    fn the_greedy_leave_room_for_others() {
        let crowds = Crowds::new(Window { records: 1_000, bytes: 100_000 });
        let mut held = Vec::new();
        let [one, two, three] = [(); 3].map(|()| SubscriptionId::new());
        assert_eq!(fill(&crowds, one, 0, &mut held), 500);
        assert_eq!(fill(&crowds, two, 0, &mut held), 250);
        assert_eq!(fill(&crowds, three, 0, &mut held), 125);
        held.drain(..500);
        // They had the room that was left then; now there is more.
        assert_eq!(fill(&crowds, three, 0, &mut held), 250);
        drop(held);
        assert!(crowds.held().is_empty());
    }

    #[test]
    fn bytes_count_as_records_do() {
        let crowds = Crowds::new(Window { records: 1_000, bytes: 100_000 });
        let mut held = Vec::new();
        assert_eq!(fill(&crowds, SubscriptionId::new(), 10_000, &mut held), 5);
        assert_eq!(fill(&crowds, SubscriptionId::new(), 10, &mut held), 497);
    }

    #[test]
    fn partitions_are_apart() {
        let crowds = Crowds::new(Window { records: 4, bytes: 100 });
        let one = SubscriptionId::new();
        let _held: Vec<_> = (0..3).map(|_| crowds.enter(HERE, one, 1)).collect();
        assert!(crowds.enter(HERE, one, 1).is_crowded());
        assert!(!crowds.enter((Topic::Deliveries, 1), one, 1).is_crowded());
    }
}
