//! The window of one partition's records that are being worked on. Pure.
//!
//! Records begin in the order of their offsets and finish in any order. Only when the
//! oldest of them is finished does the head advance, over it and over every finished one
//! behind it. After a crash the partition is read again from the head; what was finished behind
//! it is known from the commit ([`crate::progress`]): work may be done twice, never skipped.

use std::collections::VecDeque;

use crate::progress::Finished;

#[derive(Debug, Default)]
pub struct InFlight {
    /// Oldest first; offsets rise, with gaps (compaction, transaction markers).
    window: VecDeque<Slot>,
    unfinished: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    bytes: usize,
    finished: bool,
}

impl InFlight {
    /// Takes in the record at `offset`. `false` if it is not newer than every record in the
    /// window (Kafka handed it out twice): then it is not to be worked on again.
    pub fn begin(&mut self, offset: i64, bytes: usize) -> bool {
        if self.window.back().is_some_and(|newest| offset <= newest.offset) {
            return false;
        }
        self.window.push_back(Slot { offset, bytes, finished: false });
        self.unfinished += 1;
        self.bytes += bytes;
        true
    }

    /// Marks a record as finished. If the head advances by it, the offset that it passed
    /// last; `None` for an offset that isn't in the window, or finished before.
    pub fn finish(&mut self, offset: i64) -> Option<i64> {
        let at = self.window.binary_search_by_key(&offset, |slot| slot.offset).ok()?;
        let slot = &mut self.window[at];
        if slot.finished {
            return None;
        }
        slot.finished = true;
        self.unfinished -= 1;
        // What is finished but held back keeps its place, not its payload.
        self.bytes -= slot.bytes;
        let mut passed = None;
        while let Some(head) = self.window.front().filter(|head| head.finished) {
            passed = Some(head.offset);
            self.window.pop_front();
        }
        passed
    }

    /// Records in the window, finished ones behind an unfinished head included.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Records that are being worked on.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// The oldest record that isn't finished.
    pub fn head(&self) -> Option<i64> {
        self.window.front().map(|head| head.offset)
    }

    /// What is finished behind the head.
    pub(crate) fn finished(&self) -> Finished {
        let mut finished = Finished::default();
        let mut joined = false;
        for slot in &self.window {
            if slot.finished {
                finished.push(slot.offset, joined);
            }
            joined = slot.finished;
        }
        finished
    }

    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// Bytes of the records that are being worked on.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(offsets: impl IntoIterator<Item = i64>) -> InFlight {
        let mut window = InFlight::default();
        for offset in offsets {
            assert!(window.begin(offset, 10));
        }
        window
    }

    #[test]
    fn in_order_every_finish_advances() {
        let mut window = window(0..3);
        assert_eq!(window.finish(0), Some(0));
        assert_eq!(window.finish(1), Some(1));
        assert_eq!(window.finish(2), Some(2));
        assert!(window.is_empty());
    }

    #[test]
    fn out_of_order_the_head_waits_and_then_passes_all_at_once() {
        let mut window = window(0..4);
        assert_eq!(window.finish(2), None);
        assert_eq!(window.finish(1), None);
        assert_eq!((window.len(), window.bytes()), (4, 20));
        assert_eq!(window.finish(0), Some(2));
        assert_eq!(window.finish(3), Some(3));
        assert_eq!((window.len(), window.bytes()), (0, 0));
    }

    #[test]
    fn an_unfinished_item_holds_the_head_however_much_is_done_behind_it() {
        let mut window = window(0..1_000);
        for offset in 1..1_000 {
            assert_eq!(window.finish(offset), None, "{offset} must not pass the failed head");
        }
        assert_eq!((window.len(), window.bytes()), (1_000, 10));
        assert_eq!(window.finish(0), Some(999));
    }

    #[test]
    fn gaps_between_offsets_are_passed() {
        let mut window = window([5, 9, 100]);
        assert_eq!(window.finish(9), None);
        assert_eq!(window.finish(5), Some(9));
        assert_eq!(window.finish(100), Some(100));
    }

    #[test]
    fn what_is_finished_behind_the_head_is_known() {
        let mut window = window([5, 6, 9, 12, 13, 20]);
        for (offset, finished) in [(20, vec![20]), (9, vec![9, 20]), (6, vec![6, 9, 20])] {
            window.finish(offset);
            let known: Vec<_> = [5, 6, 9, 12, 13, 20]
                .into_iter()
                .filter(|offset| window.finished().contains(*offset))
                .collect();
            assert_eq!(known, finished);
        }
        assert_eq!((window.head(), window.len(), window.unfinished()), (Some(5), 6, 3));
        // One range, over the gap between 6 and 9: nothing that isn't finished lies there.
        assert!(window.finished().contains(7));
    }

    #[test]
    fn what_is_unknown_or_done_changes_nothing() {
        let mut window = window(0..2);
        assert_eq!(window.finish(7), None);
        assert_eq!(window.finish(1), None);
        assert_eq!(window.finish(1), None, "finished twice");
        assert_eq!(window.finish(0), Some(1));
        assert_eq!(window.finish(0), None);
    }

    #[test]
    fn a_record_handed_out_twice_is_not_begun_twice() {
        let mut window = window(0..3);
        assert!(!window.begin(2, 10));
        assert!(!window.begin(0, 10));
        assert!(window.begin(3, 10));
        assert_eq!(window.len(), 4);
    }

    /// Against a model: whatever the order, what was passed is always the longest finished
    /// run from the start.
    #[test]
    fn whatever_the_order_only_the_contiguous_head_passes() {
        use rand::seq::SliceRandom;
        use rand::{SeedableRng, rngs::StdRng};
        for seed in 0..200 {
            let mut order: Vec<i64> = (0..64).collect();
            order.shuffle(&mut StdRng::seed_from_u64(seed));
            let mut window = window(0..64);
            let mut done = [false; 64];
            let mut stored = -1;
            for offset in order {
                done[usize::try_from(offset).unwrap()] = true;
                if let Some(passed) = window.finish(offset) {
                    assert!(passed > stored, "seed {seed}: offsets never go back");
                    stored = passed;
                }
                let run = done.iter().take_while(|done| **done).count();
                assert_eq!(stored, i64::try_from(run).unwrap() - 1, "seed {seed}");
            }
            assert_eq!(stored, 63);
        }
    }
}
