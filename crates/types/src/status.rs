//! What an event's status is, given what is known of it. Pure, and independent of the
//! order in which the facts came: every store derives status with these functions.

use crate::{Attempt, Outcome};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Matched; no attempt has been recorded yet.
    Pending,
    /// Tried, and to be tried again.
    Retrying,
    Delivered,
    DeadLettered,
    Cancelled,
}

impl DeliveryState {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Retrying, Self::Delivered, Self::DeadLettered, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The state that a set of attempts leaves a delivery in, whatever their order.
    ///
    /// Delivered once is delivered for good: a replay that fails later takes nothing
    /// back. Otherwise the attempt that started last decides (its number breaks a tie),
    /// so that a redrive, which starts counting anew, is seen.
    pub fn after<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Self {
        let mut last: Option<&Attempt> = None;
        for attempt in attempts {
            if attempt.outcome == Outcome::Delivered {
                return Self::Delivered;
            }
            let order = |a: &Attempt| (a.started_at, a.number);
            if last.is_none_or(|last| order(attempt) >= order(last)) {
                last = Some(attempt);
            }
        }
        last.map_or(Self::Pending, |attempt| Self::of(&attempt.outcome))
    }

    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Retry { .. } => Self::Retrying,
            Outcome::DeadLettered { .. } => Self::DeadLettered,
            Outcome::Cancelled { .. } => Self::Cancelled,
        }
    }

    /// Whether nothing more will happen to it by itself.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::DeadLettered | Self::Cancelled)
    }
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventStatus {
    /// In Kafka; held back, because its schema doesn't allow it.
    Quarantined,
    /// In Kafka; not yet matched.
    Accepted,
    /// Matched; some delivery is not settled.
    PendingDelivery,
    /// Every delivery arrived.
    Delivered,
    /// All settled; some arrived.
    PartiallyDelivered,
    /// All settled; none arrived.
    Failed,
    /// Nobody asked for it.
    Unmatched,
}

impl EventStatus {
    pub const ALL: [Self; 7] = [
        Self::Quarantined,
        Self::Accepted,
        Self::PendingDelivery,
        Self::Delivered,
        Self::PartiallyDelivered,
        Self::Failed,
        Self::Unmatched,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Accepted => "accepted",
            Self::PendingDelivery => "pending_delivery",
            Self::Delivered => "delivered",
            Self::PartiallyDelivered => "partially_delivered",
            Self::Failed => "failed",
            Self::Unmatched => "unmatched",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// `quarantined`: whether it is held back and has not been released.
    /// `owed`: how many deliveries the matcher counted, if its summary has been seen.
    /// `deliveries`: the states of those that are known of so far.
    pub fn of(
        quarantined: bool,
        owed: Option<usize>,
        deliveries: impl IntoIterator<Item = DeliveryState>,
    ) -> Self {
        let (mut known, mut settled, mut delivered) = (0, 0, 0);
        for state in deliveries {
            known += 1;
            settled += usize::from(state.is_settled());
            delivered += usize::from(state == DeliveryState::Delivered);
        }
        match owed {
            // What has been matched has been released, whether or not that was seen.
            None if known == 0 && quarantined => Self::Quarantined,
            // An attempt may be seen before the summary: then there is more to come.
            None if known == 0 => Self::Accepted,
            None => Self::PendingDelivery,
            Some(owed) if owed.max(known) == 0 => Self::Unmatched,
            Some(owed) if settled < owed.max(known) => Self::PendingDelivery,
            Some(_) if delivered == known => Self::Delivered,
            Some(_) if delivered == 0 => Self::Failed,
            Some(_) => Self::PartiallyDelivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryState::{Cancelled, DeadLettered, Delivered, Pending, Retrying};
    use super::*;

    #[test]
    fn an_events_status_follows_from_its_deliveries() {
        let table: &[(Option<usize>, &[DeliveryState], EventStatus)] = &[
            (None, &[], EventStatus::Accepted),
            (None, &[Delivered], EventStatus::PendingDelivery),
            (Some(0), &[], EventStatus::Unmatched),
            (Some(2), &[], EventStatus::PendingDelivery),
            (Some(2), &[Delivered], EventStatus::PendingDelivery),
            (Some(2), &[Delivered, Pending], EventStatus::PendingDelivery),
            (Some(2), &[Delivered, Retrying], EventStatus::PendingDelivery),
            (Some(2), &[Delivered, Delivered], EventStatus::Delivered),
            (Some(2), &[Delivered, DeadLettered], EventStatus::PartiallyDelivered),
            (Some(2), &[Cancelled, Delivered], EventStatus::PartiallyDelivered),
            (Some(2), &[DeadLettered, Cancelled], EventStatus::Failed),
            // A replay can add a delivery that the first summary did not count.
            (Some(0), &[Delivered], EventStatus::Delivered),
        ];
        for (owed, deliveries, status) in table {
            assert_eq!(
                EventStatus::of(false, *owed, deliveries.iter().copied()),
                *status,
                "{owed:?} {deliveries:?}"
            );
        }
    }

    #[test]
    fn a_quarantined_event_is_one_until_it_is_matched() {
        assert_eq!(EventStatus::of(true, None, []), EventStatus::Quarantined);
        assert_eq!(EventStatus::of(true, None, [Delivered]), EventStatus::PendingDelivery);
        assert_eq!(EventStatus::of(true, Some(0), []), EventStatus::Unmatched);
    }

    #[test]
    fn names_are_read_back() {
        for status in EventStatus::ALL {
            assert_eq!(EventStatus::parse(status.as_str()), Some(status));
        }
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
    }
}
