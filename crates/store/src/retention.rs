//! For how long what happened to whom is kept.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use triggerline_types::CustomerId;

/// For how long events are kept, from when they were received, with all that is about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of customers for whom nobody chose another; for ever if `None`.
    pub standard: Option<Duration>,
    /// Of those for whom somebody did.
    pub own: HashMap<CustomerId, Duration>,
    /// Those of whom nothing is to be kept any more.
    pub erased: HashSet<CustomerId>,
}

impl Retention {
    /// The same for everybody.
    pub fn of_all(standard: Option<Duration>) -> Self {
        Self { standard, ..Self::default() }
    }

    /// `None`: for ever.
    pub fn of(&self, customer: CustomerId) -> Option<Duration> {
        self.own.get(&customer).copied().or(self.standard)
    }

    pub fn is_erased(&self, customer: CustomerId) -> bool {
        self.erased.contains(&customer)
    }
}

/// As customers have it.
pub fn days(days: u16) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}
