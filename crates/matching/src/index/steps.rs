//! How much work the rules of one event may be, all together.

use std::cell::Cell;

use super::scan::Undecidable;

/// A step is about one comparison of a value, or one place in the payload looked at for one path: one to a few
/// nanoseconds. The largest payload and thousands of rules of the usual kinds stay far below; a hostile product of rules
/// and array elements ends here, after some tenths of a second.
pub const MAX_STEPS: usize = 30_000_000;

/// A hash and a look into a table, or a binary search: as long as so many comparisons.
pub(crate) const LOOK_UP: usize = 8;
/// What is remembered of the payload takes memory too: about 50 bytes each, so that there are never more than 150 MB.
pub(crate) const REMEMBER: usize = 10;

/// What is left to spend. Who finds that nothing is left may answer what they like, as long as they do so at once: all
/// answers are thrown away then.
#[derive(Debug)]
pub(crate) struct Steps(Cell<usize>);

impl Steps {
    pub(crate) fn new(steps: usize) -> Self {
        Self(Cell::new(steps))
    }

    /// Whether there were more than that.
    #[inline]
    pub(crate) fn spend(&self, steps: usize) -> bool {
        let left = self.0.get().saturating_sub(steps);
        self.0.set(left);
        left > 0
    }

    pub(crate) fn check(&self) -> Result<(), Undecidable> {
        if self.are_spent() {
            return Err(Undecidable { at: 0, why: "its rules take too many steps on it" });
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn are_spent(&self) -> bool {
        self.0.get() == 0
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.0.get()
    }
}
