//! The promises of [`crate::QueueStore`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, DeliveryId, EventId, SubscriptionId};
use uuid::Uuid;

use crate::{
    ControlStore, Depth, Due, Fate, Helping, Lease, NewQueued, Queued, Settled, StoreError,
};

const ALL: Helping = Helping { rows: 1_000, bytes: usize::MAX };
const LAST: u32 = 3;

pub(super) async fn judge(store: &Arc<dyn ControlStore>) {
    rows_are_leased_in_their_order_by_one_at_a_time(&**store).await;
    a_helping_is_no_larger_than_asked_for(&**store).await;
    a_key_goes_in_order_and_holds_up_nobody_else(&**store).await;
    a_lease_that_ran_out_counts_and_the_last_is_looked_after(&**store).await;
    what_is_due_is_leased_without_counting(&**store).await;
    what_sleeps_is_woken_or_given_up(&**store).await;
    a_lease_is_given_back_and_extended_in_part(&**store).await;
    who_comes_late_but_first_is_not_late(&**store).await;
    what_is_there_already_stays(&**store).await;
    another_customers_queue_is_empty(&**store).await;
    however_many_lease_each_row_is_given_once(store).await;
    a_key_always_has_a_head(store).await;
}

/// One subscription's queue, seen as its consumer and as the delivery service see it.
struct Queue<'a> {
    store: &'a dyn ControlStore,
    customer: CustomerId,
    subscription: SubscriptionId,
}

impl<'a> Queue<'a> {
    fn new(store: &'a dyn ControlStore) -> Self {
        Self { store, customer: CustomerId::new(), subscription: SubscriptionId::new() }
    }

    fn row(&self, name: &str, key: Option<&str>, due: Due) -> NewQueued {
        let event_id = EventId::new();
        NewQueued {
            customer_id: self.customer,
            subscription_id: self.subscription,
            delivery_id: DeliveryId::of(event_id, self.subscription),
            event_id,
            key: key.map(|key| Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes())),
            record: name.as_bytes().to_vec(),
            attempt: 1,
            last_attempt: LAST,
            due,
        }
    }

    /// Rows that sleep; a name is `row` or `key/row`.
    async fn add(&self, names: &[&str]) {
        let row = |name: &&str| self.row(name, name.split_once('/').map(|(key, _)| key), ASLEEP);
        let rows: Vec<_> = names.iter().map(row).collect();
        self.store.enqueue(&rows, at(0)).await.unwrap();
    }

    async fn lease(&self, from: i64, until: i64, helping: Helping) -> (Uuid, Vec<Queued>) {
        let lease = lease(from, until);
        let found = self.store.lease(self.customer, self.subscription, lease, helping).await;
        (lease.id, found.unwrap())
    }

    async fn names(&self, from: i64, until: i64) -> Vec<String> {
        names(&self.lease(from, until, ALL).await.1)
    }

    /// Of what is due, what is this subscription's; other cases may have left something.
    async fn due(&self, from: i64, until: i64) -> (Uuid, Vec<Queued>) {
        let lease = lease(from, until);
        let mut found = self.store.lease_due(lease, ALL).await.unwrap();
        found.retain(|row| row.subscription_id == self.subscription);
        (lease.id, found)
    }

    async fn settle(&self, lease: Uuid, rows: &[Queued], fate: Fate, now: i64) -> usize {
        let settled: Vec<_> = rows.iter().map(|row| settled(row, fate)).collect();
        self.store.settle(lease, &settled, at(now)).await.unwrap().len()
    }
}

const ASLEEP: Due =
    Due::Asleep(OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::days(30_000)));

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds).unwrap()
}

fn lease(from: i64, until: i64) -> Lease {
    Lease { id: Uuid::new_v4(), now: at(from), until: at(until) }
}

fn settled(row: &Queued, fate: Fate) -> Settled {
    let Queued { subscription_id, delivery_id, key, .. } = *row;
    Settled { subscription_id, delivery_id, key, fate }
}

fn names(rows: &[Queued]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8(row.record.clone()).unwrap()).collect()
}

fn ids(rows: &[Queued]) -> Vec<DeliveryId> {
    rows.iter().map(|row| row.delivery_id).collect()
}

async fn rows_are_leased_in_their_order_by_one_at_a_time(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    assert_eq!(queue.names(0, 60).await, [""; 0]);
    queue.add(&["a", "b", "c"]).await;
    queue.add(&["d"]).await;
    let (_, first) = queue.lease(0, 60, Helping { rows: 2, ..ALL }).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!((first[0].customer_id, first[0].attempt), (queue.customer, 1));
    assert_eq!((first[0].enqueued_at, first[0].last_attempt), (at(0), LAST));
    let (lease, rest) = queue.lease(30, 90, ALL).await;
    assert_eq!(names(&rest), ["c", "d"]);
    assert_eq!(queue.names(59, 100).await, [""; 0], "all are leased");
    let depth = store.depth(queue.customer, queue.subscription, at(30)).await.unwrap();
    assert_eq!(depth, Depth { rows: 4, leased: 4, oldest: Some(at(0)) });
    assert_eq!(queue.settle(lease, &rest, Fate::Done, 59).await, 2);
    assert_eq!(queue.settle(lease, &rest, Fate::Done, 59).await, 0, "they are gone");
    assert_eq!(queue.names(60, 100).await, ["a", "b"], "the lease has run out");
}

async fn a_helping_is_no_larger_than_asked_for(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["large one", "b", "c", "d"]).await;
    for leased in [&["large one"][..], &["b", "c", "d"]] {
        assert_eq!(names(&queue.lease(0, 60, Helping { rows: 10, bytes: 3 }).await.1), leased);
    }
}

async fn a_key_goes_in_order_and_holds_up_nobody_else(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["x/1", "x/2", "y/1", "free", "x/3"]).await;
    queue.add(&["y/2"]).await;
    let (lease, heads) = queue.lease(0, 60, ALL).await;
    assert_eq!(names(&heads), ["x/1", "y/1", "free"]);
    assert_eq!(queue.names(1, 60).await, [""; 0], "a lease holds up its key");
    // y goes on; x waits for its next attempt.
    assert_eq!(queue.settle(lease, &heads[1..], Fate::Done, 1).await, 2);
    let stays = Fate::Stays { attempt: 2, last_attempt: LAST, due: Due::At(at(50)) };
    assert_eq!(queue.settle(lease, &heads[..1], stays, 1).await, 1);
    let (lease, due) = queue.due(49, 60).await;
    assert_eq!(names(&due), [""; 0]);
    assert_eq!(queue.settle(lease, &heads[..1], Fate::Done, 2).await, 0, "not this lease's");
    let (lease, due) = queue.due(50, 60).await;
    assert_eq!((names(&due), due[0].attempt), (vec!["x/1".to_owned()], 2));
    assert_eq!(queue.names(51, 60).await, ["y/2"]);
    assert_eq!(queue.settle(lease, &due, Fate::Done, 51).await, 1);
    assert_eq!(queue.names(51, 60).await, ["x/2"]);
}

async fn a_lease_that_ran_out_counts_and_the_last_is_looked_after(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["poison"]).await;
    for attempt in 1..=LAST {
        let from = i64::from(attempt) * 10;
        let (_, found) = queue.lease(from, from + 10, ALL).await;
        assert_eq!(found[0].attempt, attempt);
        assert_eq!(queue.due(from + 9, 100).await.1, []);
    }
    let end = i64::from(LAST) * 10 + 10;
    assert_eq!(queue.names(end, 100).await, [""; 0], "there was the last");
    let (lease, due) = queue.due(end, 100).await;
    assert_eq!(due[0].attempt, LAST + 1);
    // Somebody wants it to be tried more often.
    let stays = Fate::Stays { attempt: LAST + 1, last_attempt: LAST + 1, due: ASLEEP };
    assert_eq!(queue.settle(lease, &due, stays, end).await, 1);
    assert_eq!(queue.names(end, end + 1).await, ["poison"]);
}

async fn what_is_due_is_leased_without_counting(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    let rows = [("later", 20), ("at once", 0), ("now", 10)]
        .map(|(name, due)| queue.row(name, None, Due::At(at(due))));
    store.enqueue(&rows, at(0)).await.unwrap();
    assert_eq!(names(&queue.due(10, 15).await.1), ["at once", "now"], "due first first");
    let (owner, again) = queue.due(15, 30).await;
    assert_eq!((again.len(), again[0].attempt), (2, 1));
    store.keep(owner, at(40)).await.unwrap();
    let (_, found) = queue.due(39, 50).await;
    assert_eq!(names(&found), ["later"]);
    // A consumer may have what waits for its next attempt, but not what is under way.
    assert_eq!(queue.names(39, 60).await, [""; 0]);
    let fate = Fate::Stays { attempt: 2, last_attempt: LAST, due: Due::At(at(70)) };
    assert_eq!(queue.settle(owner, &again[..1], fate, 39).await, 1);
    let (_, pulled) = queue.lease(39, 45, ALL).await;
    assert_eq!((names(&pulled), pulled[0].attempt), (vec!["at once".to_owned()], 2));
    assert_eq!(queue.due(69, 75).await.1.len(), 2, "all but the one that waits until 70");
    assert_eq!(names(&queue.due(70, 75).await.1), ["at once"]);
}

async fn what_sleeps_is_woken_or_given_up(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["k/1", "k/2"]).await;
    let soon = queue.row("forgotten", None, Due::Asleep(at(30)));
    store.enqueue(&[soon], at(0)).await.unwrap();
    assert_eq!(queue.due(29, 31).await.1, []);
    assert_eq!(names(&queue.due(30, 31).await.1), ["forgotten"]);
    assert!(store.asleep().await.unwrap().contains(&queue.subscription));
    let other = Queue::new(store);
    other.add(&["other"]).await;
    assert!(!store.wake(queue.subscription, at(40)).await.unwrap(), "there were but few");
    let asleep = store.asleep().await.unwrap();
    assert!(!asleep.contains(&queue.subscription) && asleep.contains(&other.subscription));
    let found = names(&queue.due(40, 50).await.1);
    assert_eq!(found, ["forgotten", "k/1"], "and in order");
    assert_eq!(other.due(40, 50).await.1, []);
    assert!(!store.wake(SubscriptionId::new(), at(0)).await.unwrap());
}

async fn a_lease_is_given_back_and_extended_in_part(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    let of = (queue.customer, queue.subscription);
    queue.add(&["a", "b", "c"]).await;
    let (lease, rows) = queue.lease(0, 10, ALL).await;
    let ids = ids(&rows);
    let held = store.held(of.0, of.1, lease, None).await.unwrap();
    assert_eq!(held.iter().map(|one| one.delivery_id).collect::<Vec<_>>(), ids);
    assert_eq!((held[0].attempt, held[0].leased_at, held[0].key), (1, at(0), None));
    assert_eq!(held[0].delivery_id, DeliveryId::of(held[0].event_id, queue.subscription));
    let extended = store.extend(of.0, of.1, lease, Some(&ids[..1]), at(100)).await.unwrap();
    assert_eq!(extended, ids[..1]);
    let unknown = DeliveryId::of(EventId::new(), queue.subscription);
    let named = [ids[1], unknown];
    let released = store.release(of.0, of.1, lease, Some(&named), at(5)).await.unwrap();
    assert_eq!(released, ids[1..2]);
    assert_eq!(queue.names(4, 50).await, [""; 0], "not before it may be had");
    let (again, found) = queue.lease(5, 50, ALL).await;
    assert_eq!((names(&found), found[0].attempt), (vec!["b".to_owned()], 2), "a release counts");
    assert_eq!(queue.names(10, 50).await, ["c"]);
    assert_eq!(store.held(of.0, of.1, lease, None).await.unwrap().len(), 1);
    assert_eq!(store.release(of.0, of.1, lease, None, at(11)).await.unwrap(), ids[..1]);
    assert_eq!(store.extend(of.0, of.1, again, None, at(60)).await.unwrap(), ids[1..2]);
}

async fn who_comes_late_but_first_is_not_late(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["a", "b"]).await;
    let (lease, rows) = queue.lease(0, 10, ALL).await;
    assert_eq!(queue.settle(lease, &rows[..1], Fate::Done, 20).await, 1);
    assert_eq!(queue.names(20, 30).await, ["b"]);
    assert_eq!(queue.settle(lease, &rows[1..], Fate::Done, 20).await, 0, "it is another's now");
    assert_eq!(store.held(queue.customer, queue.subscription, lease, None).await.unwrap(), []);
}

async fn what_is_there_already_stays(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    let first = queue.row("first", Some("k"), ASLEEP);
    let again = NewQueued { record: b"again".to_vec(), ..first.clone() };
    store.enqueue(&[first, again.clone()], at(0)).await.unwrap();
    store.enqueue(std::slice::from_ref(&again), at(0)).await.unwrap();
    let (lease, found) = queue.lease(0, 60, ALL).await;
    assert_eq!(names(&found), ["first"]);
    assert_eq!(queue.settle(lease, &found, Fate::Done, 0).await, 1);
    assert_eq!(queue.names(0, 60).await, [""; 0]);
    // Settled, it may come again.
    store.enqueue(&[again], at(0)).await.unwrap();
    assert_eq!(queue.names(0, 60).await, ["again"]);
    store.enqueue(&[], at(0)).await.unwrap();
}

async fn another_customers_queue_is_empty(store: &dyn ControlStore) {
    let queue = Queue::new(store);
    queue.add(&["a"]).await;
    let other = CustomerId::new();
    let of = (other, queue.subscription);
    assert_eq!(store.lease(of.0, of.1, lease(0, 10), ALL).await.unwrap(), []);
    assert_eq!(store.depth(of.0, of.1, at(0)).await.unwrap(), Depth::default());
    let (lease, _) = queue.lease(0, 10, ALL).await;
    assert_eq!(store.held(of.0, of.1, lease, None).await.unwrap(), []);
    assert_eq!(store.extend(of.0, of.1, lease, None, at(9)).await.unwrap(), []);
    assert_eq!(store.release(of.0, of.1, lease, None, at(9)).await.unwrap(), []);
    assert_eq!(store.held(queue.customer, of.1, lease, None).await.unwrap().len(), 1);
}

async fn however_many_lease_each_row_is_given_once(store: &Arc<dyn ControlStore>) {
    let queue = Queue::new(&**store);
    let all: Vec<_> = (0..60).map(|number| number.to_string()).collect();
    queue.add(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let leases = (0..20).map(|_| async {
        let (mut given, mut misses) = (Vec::new(), 0);
        // A round may find that others are at all that is left.
        while misses < 3 {
            let found = names(&queue.lease(0, 60, Helping { rows: 2, ..ALL }).await.1);
            misses += usize::from(found.is_empty());
            given.extend(found);
        }
        given
    });
    let given: Vec<_> = join_all(leases).await.concat();
    assert_eq!(given.len(), all.len());
    assert_eq!(given.iter().collect::<HashSet<_>>(), all.iter().collect());
}

/// Rows of one key are added and taken away at once: none is left that nobody can lease.
async fn a_key_always_has_a_head(store: &Arc<dyn ControlStore>) {
    const ROWS: usize = 60;
    let queue = Queue::new(&**store);
    let add = async {
        for number in 0..ROWS {
            queue.add(&[&format!("k/{number}")]).await;
        }
    };
    let take = async {
        let mut taken = Vec::new();
        let patience = std::time::Instant::now() + Duration::from_mins(1);
        while taken.len() < ROWS && std::time::Instant::now() < patience {
            let (lease, found) = queue.lease(0, 60, ALL).await;
            assert!(found.len() <= 1, "one of a key at once");
            taken.extend(names(&found));
            if !found.is_empty() {
                assert_eq!(queue.settle(lease, &found, Fate::Done, 0).await, 1);
            }
        }
        taken
    };
    let ((), taken) = futures::join!(add, take);
    let all: Vec<_> = (0..ROWS).map(|number| format!("k/{number}")).collect();
    assert_eq!(taken, all, "in their order");
    let gone: Result<_, StoreError> = store.depth(queue.customer, queue.subscription, at(0)).await;
    assert_eq!(gone.unwrap().rows, 0);
}
