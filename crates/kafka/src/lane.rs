//! One partition's records on their way through a service.
//!
//! A **lane** is made when a partition's first record arrives and ends when the partition
//! is revoked or the service drains. The poll thread puts records in ([`Lane::begin`]);
//! tasks take them out as they are done ([`Lane::finish`]) or given up ([`Lane::give_up`]).
//! The lane keeps the [`InFlight`] window, pauses its partition when the window is full and
//! resumes it when there is room, and knows what may be committed of it ([`Lane::progress`]).
//! A *closed* lane goes no further: its partition may belong to someone else by now.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;

use crate::consumer::{Stop, Window};
use crate::in_flight::InFlight;
use crate::progress::Finished;
use crate::rebalance::Group;
use crate::turn::{Before, Turn};

pub(crate) struct Lane {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// Tells this lane's handlers to end early.
    pub(crate) stop: Stop,
    limit: Window,
    /// What was finished by whoever had the partition before, behind where it is read from.
    before: Finished,
    consumer: Weak<BaseConsumer<Group>>,
    /// Records of the group that were finished since the last commit.
    exposed: Arc<AtomicUsize>,
    state: Mutex<State>,
    /// Signalled when nothing is being worked on any more.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    window: InFlight,
    /// Records with a task working on them. Less than the window's: one that was given up
    /// stays in the window and holds its head.
    running: usize,
    /// The turn of the record that came last.
    last: Option<Before>,
    paused: bool,
    closed: bool,
    /// The newest record that was read.
    newest: Option<i64>,
    /// Up to here everything is finished.
    passed: Option<i64>,
    /// Something was finished that isn't committed.
    changed: bool,
}

impl State {
    fn finished_up_to(&self) -> Option<i64> {
        self.window.head().or_else(|| self.passed.map(|passed| passed + 1))
    }

    fn finish(&mut self, offset: i64) {
        self.passed = self.window.finish(offset).or(self.passed);
        self.changed = true;
    }
}

impl Lane {
    pub(crate) fn new(
        topic: Arc<str>,
        partition: i32,
        limit: Window,
        before: Finished,
        consumer: Weak<BaseConsumer<Group>>,
        exposed: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            topic,
            partition,
            stop: Stop::default(),
            limit,
            before,
            consumer,
            exposed,
            state: Mutex::default(),
            idle: Condvar::new(),
        }
    }

    /// Takes a record in; `None` if it is not to be worked on (seen before, or closed).
    pub(crate) fn begin(&self, offset: i64, bytes: usize) -> Option<Turn> {
        let mut state = self.lock();
        if state.closed || !state.window.begin(offset, bytes) {
            return None;
        }
        state.newest = Some(offset);
        if self.before.contains(offset) {
            state.finish(offset);
            return None;
        }
        state.running += 1;
        if !state.paused && self.limit.is_full(&state.window) {
            state.paused = true;
            self.tell("pause", BaseConsumer::pause);
        }
        Some(Turn::after(&mut state.last))
    }

    /// A record is done, and everything derived from it acknowledged.
    pub(crate) fn finish(&self, offset: i64) {
        let mut state = self.lock();
        self.no_longer_running(&mut state);
        if state.closed {
            return;
        }
        state.finish(offset);
        self.exposed.fetch_add(1, Ordering::Relaxed);
        // Half empty, not just below full: each resume costs a new fetch.
        if state.paused && self.limit.has_room(&state.window) && !self.stop.is_asked() {
            state.paused = false;
            self.tell("resume", BaseConsumer::resume);
        }
    }

    /// A record will not be finished here. It holds the head, so that whoever reads the
    /// partition next reads it again.
    pub(crate) fn give_up(&self) {
        self.no_longer_running(&mut self.lock());
    }

    /// Before this offset all is finished; `None` until a first record came.
    pub(crate) fn finished_up_to(&self) -> Option<i64> {
        self.lock().finished_up_to()
    }

    /// The offset to be committed and its metadata, if there is something new. What was finished before
    /// us and hasn't been read yet is said again: this commit takes the place of the one that said it.
    pub(crate) fn progress(&self) -> Option<(i64, String)> {
        let mut state = self.lock();
        if !state.changed {
            return None;
        }
        state.changed = false;
        let head = state.finished_up_to()?;
        let mut finished = state.window.finished();
        finished.extend(&self.before, state.newest.unwrap_or(head));
        Some((head, finished.encode(head)))
    }

    /// What [`Self::progress`] said was not committed.
    pub(crate) fn not_committed(&self) {
        self.lock().changed = true;
    }

    /// Asks handlers that only wait for something to end early.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.ask();
    }

    /// Waits, blocking, until nothing is being worked on; `false` if `until` came first.
    pub(crate) fn wait_until_idle(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while state.running > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lock().running == 0
    }

    /// Stores nothing more from here on, and drops what is still being worked on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.stop.abandon();
    }

    fn no_longer_running(&self, state: &mut State) {
        state.running -= 1;
        if state.running == 0 {
            self.idle.notify_all();
        }
    }

    fn tell(
        &self,
        operation: &'static str,
        call: impl FnOnce(&BaseConsumer<Group>, &TopicPartitionList) -> KafkaResult<()>,
    ) {
        let Some(consumer) = self.consumer.upgrade() else {
            return;
        };
        let mut partition = TopicPartitionList::with_capacity(1);
        partition.add_partition(&self.topic, self.partition);
        if let Err(error) = call(&consumer, &partition) {
            // Only possible for a partition that has just been taken away; its new owner
            // starts from what was committed.
            tracing::warn!(
                topic = &*self.topic,
                partition = self.partition,
                %error,
                "could not {operation} a partition"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lane() -> Lane {
        let limit = Window { records: 100, bytes: 1_000_000 };
        Lane::new("events".into(), 0, limit, Finished::default(), Weak::new(), Arc::default())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn a_revocation_waits_for_what_is_being_worked_on() {
        let lane = Arc::new(lane());
        assert!(lane.begin(0, 1).is_some());
        assert!(lane.begin(1, 1).is_some());
        assert!(!lane.wait_until_idle(soon()), "two are being worked on");
        let worker = std::thread::spawn({
            let lane = Arc::clone(&lane);
            move || {
                lane.finish(1);
                lane.finish(0);
            }
        });
        assert!(lane.wait_until_idle(Instant::now() + Duration::from_secs(10)));
        worker.join().unwrap();
    }

    #[test]
    fn what_is_given_up_ends_the_wait_but_never_passes() {
        let lane = lane();
        assert!(lane.begin(0, 1).is_some() && lane.begin(1, 1).is_some());
        lane.ask_to_stop();
        lane.give_up();
        lane.finish(1);
        assert!(lane.wait_until_idle(soon()));
        assert_eq!(lane.lock().window.len(), 2, "offset 0 holds the head over 1");
    }

    #[test]
    fn a_closed_lane_takes_and_stores_nothing() {
        let lane = lane();
        assert!(lane.begin(0, 1).is_some());
        lane.close();
        lane.finish(0);
        assert_eq!(lane.lock().window.len(), 1, "a late finish must not advance the head");
        assert!(lane.begin(1, 1).is_none());
        assert!(lane.stop.is_asked());
    }

    #[test]
    fn the_next_reader_does_not_do_again_what_is_finished_behind_the_head() {
        let first = lane();
        assert_eq!(first.progress(), None);
        for offset in 10..20 {
            first.begin(offset, 1);
        }
        assert_eq!(first.progress(), None, "nothing is finished");
        for offset in [10, 12, 13, 17] {
            first.finish(offset);
        }
        let (head, metadata) = first.progress().unwrap();
        assert_eq!((head, first.progress()), (11, None));
        first.not_committed();
        assert_eq!(first.progress(), Some((head, metadata.clone())));

        let before = Finished::decode(head, &metadata);
        let limit = Window { records: 100, bytes: 1_000_000 };
        let next = Lane::new("events".into(), 0, limit, before, Weak::new(), Arc::default());
        let begun: Vec<_> = (head..20).filter(|offset| next.begin(*offset, 1).is_some()).collect();
        assert_eq!(begun, [11, 14, 15, 16, 18, 19]);
        for offset in begun {
            next.finish(offset);
        }
        assert_eq!(next.progress(), Some((20, String::new())));
    }

    #[test]
    fn what_was_finished_before_us_is_not_forgotten_where_we_have_not_read_it() {
        let limit = Window { records: 100, bytes: 1_000_000 };
        let lane =
            |before| Lane::new("events".into(), 0, limit, before, Weak::new(), Arc::default());
        let first = lane(Finished::default());
        for offset in 10..20 {
            first.begin(offset, 1);
        }
        for offset in [12, 13, 17, 18] {
            first.finish(offset);
        }
        let (head, metadata) = first.progress().unwrap();
        // It is killed when it has read three records and finished one of them.
        let second = lane(Finished::decode(head, &metadata));
        assert!([10, 11].map(|offset| second.begin(offset, 1).is_some()).iter().all(|new| *new));
        assert!(second.begin(12, 1).is_none());
        second.finish(10);
        let (head, metadata) = second.progress().unwrap();
        assert_eq!(head, 11);
        let third = lane(Finished::decode(head, &metadata));
        let begun: Vec<_> = (head..20).filter(|offset| third.begin(*offset, 1).is_some()).collect();
        assert_eq!(begun, [11, 14, 15, 16, 19]);
    }

    #[test]
    fn a_full_window_pauses_and_half_of_it_resumes() {
        let lane = lane();
        for offset in 0..99 {
            assert!(lane.begin(offset, 1).is_some());
        }
        assert!(!lane.lock().paused);
        assert!(lane.begin(99, 1).is_some());
        assert!(lane.lock().paused);
        for offset in 0..49 {
            lane.finish(offset);
        }
        assert!(lane.lock().paused);
        lane.finish(49);
        assert!(!lane.lock().paused);
        lane.begin(100, 2_000_000);
        assert!(lane.lock().paused, "bytes count too");
    }
}
