//! A customer who is forgotten, and the receipt of it.

use std::ops::AddAssign;
use std::time::Duration;

use time::OffsetDateTime;

use crate::CustomerId;

/// How soon after a pass the next one looks for what came meanwhile: as long after as it is since the
/// request, within these.
const SOONEST: Duration = Duration::from_mins(1);
const LATEST: Duration = Duration::from_hours(1);

/// A job that erases everything of a customer.
///
/// It goes over all of it again and again: what was under way when it began (a request, a record in
/// a topic that storage hasn't read) may still be written. It ends once the topics can't have
/// anything of the customer any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub customer_id: CustomerId,
    pub requested_at: OffsetDateTime,
    /// Kafka's topics may hold the customer's records until then, which nobody reads any more.
    pub topics_until: OffsetDateTime,
    /// When all that there was had been erased.
    pub erased_at: Option<OffsetDateTime>,
    /// When it was certain that nothing can come any more.
    pub completed_at: Option<OffsetDateTime>,
    pub erased: Erased,
}

/// What was erased, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    pub api_keys: u64,
    pub subscriptions: u64,
    pub schemas: u64,
    pub replays: u64,
    /// Deliveries that waited to be taken.
    pub queued: u64,
    /// Events, each with its deliveries and attempts.
    pub events: u64,
}

impl AddAssign for Erased {
    fn add_assign(&mut self, other: Self) {
        self.api_keys += other.api_keys;
        self.subscriptions += other.subscriptions;
        self.schemas += other.schemas;
        self.replays += other.replays;
        self.queued += other.queued;
        self.events += other.events;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureState {
    /// The first pass is not through.
    Erasing,
    /// What there was is gone; what may still come is looked for.
    Erased,
    /// Nothing can come any more.
    Complete,
}

impl ErasureState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erasing => "erasing",
            Self::Erased => "erased",
            Self::Complete => "complete",
        }
    }
}

impl Erasure {
    pub fn state(&self) -> ErasureState {
        match (self.erased_at, self.completed_at) {
            (_, Some(_)) => ErasureState::Complete,
            (Some(_), None) => ErasureState::Erased,
            (None, None) => ErasureState::Erasing,
        }
    }

    /// A pass that began at `began` is through at `now`. When the next is due; never, if nothing
    /// could come after this one.
    pub fn pass(&mut self, began: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.erased_at.get_or_insert(now);
        if began >= self.topics_until {
            self.completed_at = Some(now);
            return None;
        }
        let since = Duration::try_from(now - self.requested_at).unwrap_or_default();
        Some(now + since.clamp(SOONEST, LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_go_on_until_the_topics_are_empty() {
        let requested_at = OffsetDateTime::UNIX_EPOCH;
        let after = |seconds| requested_at + Duration::from_secs(seconds);
        let mut erasure = Erasure {
            customer_id: CustomerId::new(),
            requested_at,
            topics_until: after(86_400),
            erased_at: None,
            completed_at: None,
            erased: Erased::default(),
        };
        assert_eq!(erasure.state(), ErasureState::Erasing);
        for (began, now, next) in [
            (0, 5, Some(65)),
            (65, 66, Some(132)),
            (600, 700, Some(1_400)),
            (7_000, 7_200, Some(10_800)),
            // What was written while it ran may have been passed by already.
            (86_399, 90_000, Some(93_600)),
            (93_600, 93_601, None),
        ] {
            assert_eq!(erasure.pass(after(began), after(now)), next.map(after), "{began}");
            assert_eq!(erasure.erased_at, Some(after(5)));
            let expected =
                if next.is_some() { ErasureState::Erased } else { ErasureState::Complete };
            assert_eq!(erasure.state(), expected);
        }
        assert_eq!(erasure.completed_at, Some(after(93_601)));
    }
}
