//! How much work an evaluation may be.

/// A lawful query over a large payload stays below it; a hostile one ends there.
pub const DEFAULT_STEPS: u64 = 1_000_000;

/// What is left to spend. A step is about one node looked at, one comparison, or some bytes of a string; so time
/// is at most proportional to the steps, whatever the query and the payload are. It can be shared by several
/// evaluations.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
}

/// The budget ended before the query was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query needs more steps on this payload than it is allowed")]
pub struct OutOfBudget;

impl Budget {
    pub fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    pub fn left(&self) -> u64 {
        self.left
    }

    #[inline]
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), OutOfBudget> {
        if let Some(left) = self.left.checked_sub(steps) {
            self.left = left;
            return Ok(());
        }
        self.left = 0;
        Err(OutOfBudget)
    }

    /// For work on that many bytes, of which `each` take as long as a step.
    pub(super) fn spend_bytes(&mut self, bytes: usize, each: usize) -> Result<(), OutOfBudget> {
        self.spend((bytes / each) as u64)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT_STEPS)
    }
}
