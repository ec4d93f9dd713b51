//! Whose turn it is, where something must be done in the order of a partition's records. Pure.
//!
//! Records of a partition are worked on at the same time. A handler that has to do something in
//! their order waits until all before it have **passed** ([`Turn::reached`]), does it, and passes
//! ([`Turn::pass`]). A record that has nothing to do in order passes at once; who waits behind it
//! then waits for those before it instead. What is given up never passes: its partition is read
//! again from there, and who came after it must not have been faster.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// What a record learns of the one before it: that it has passed, and for whom it would still have
/// waited.
type Passed = Option<Before>;

#[derive(Debug)]
pub(crate) struct Before(oneshot::Receiver<Passed>);

#[derive(Debug, Default)]
pub struct Turn {
    /// Held by whoever waits, so that a wait that is broken off leaves it as it is.
    before: tokio::sync::Mutex<Passed>,
    after: Mutex<Option<oneshot::Sender<Passed>>>,
}

/// A record before this one was given up.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp;

impl Turn {
    /// The turn after `last`, which it becomes.
    pub(crate) fn after(last: &mut Passed) -> Self {
        let (after, before) = oneshot::channel();
        let before = last.replace(Before(before));
        Self { before: before.into(), after: Mutex::new(Some(after)) }
    }

    /// Waits until all records before this one have passed.
    pub async fn reached(&self) -> Result<(), GivenUp> {
        let mut before = self.before.lock().await;
        while let Some(Before(passed)) = &mut *before {
            *before = passed.await.map_err(|_| GivenUp)?;
        }
        Ok(())
    }

    /// Lets go who comes after. It may have been called before.
    pub fn pass(&self) {
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(after) = after else { return };
        let Ok(mut before) = self.before.try_lock() else { return };
        while let Some(Before(passed)) = &mut *before {
            match passed.try_recv() {
                Ok(earlier) => *before = earlier,
                Err(_) => break,
            }
        }
        // Nobody may come after.
        let _ = after.send(before.take());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn turns<const N: usize>() -> [Turn; N] {
        let mut last = None;
        std::array::from_fn(|_| Turn::after(&mut last))
    }

    fn reached(turn: &Turn) -> Option<Result<(), GivenUp>> {
        turn.reached().now_or_never()
    }

    #[test]
    fn each_waits_for_all_before_it() {
        let turns = turns::<3>();
        assert_eq!(turns.each_ref().map(reached), [Some(Ok(())), None, None]);
        turns[0].pass();
        turns[0].pass();
        assert_eq!(turns.each_ref().map(reached), [Some(Ok(())), Some(Ok(())), None]);
        turns[1].pass();
        assert_eq!(reached(&turns[2]), Some(Ok(())));
    }

    #[test]
    fn who_passes_early_lets_nobody_overtake() {
        let turns = turns::<5>();
        for early in [3, 1, 2] {
            turns[early].pass();
            assert_eq!(reached(&turns[4]), None);
        }
        turns[0].pass();
        assert_eq!(reached(&turns[4]), Some(Ok(())));
    }

    #[test]
    fn nobody_passes_what_was_given_up() {
        let [first, second, third] = turns();
        assert_eq!(reached(&third), None);
        second.pass();
        drop(first);
        assert_eq!(reached(&third), Some(Err(GivenUp)));
    }

    #[test]
    fn a_long_row_of_those_who_pass_is_not_remembered() {
        let mut last = None;
        for _ in 0..1_000_000 {
            Turn::after(&mut last).pass();
        }
        assert_eq!(reached(&Turn::after(&mut last)), Some(Ok(())));
    }
}
