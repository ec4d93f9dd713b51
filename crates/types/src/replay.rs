use time::OffsetDateTime;
use uuid::Uuid;

use crate::{CustomerId, DeliveryId, DeliveryState, EventTypePattern, ReplayId, SubscriptionId};

/// What was delivered, or was not, sent (again): a job that runs until it is through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub id: ReplayId,
    pub customer_id: CustomerId,
    pub selection: Selection,
    /// Deliveries a second, at most.
    pub rate: u32,
    /// Whether it only counts.
    pub dry_run: bool,
    pub state: ReplayState,
    pub progress: Progress,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// What is sent. All that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub source: Source,
    /// Events: received, those out of the topic: written there, dead letters: given up, at this instant
    /// or later.
    pub from: Option<OffsetDateTime>,
    /// Before this instant.
    pub to: OffsetDateTime,
    /// Empty means: every type.
    pub event_types: Vec<EventTypePattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The customer's events that the subscription would match today.
    Events {
        subscription_id: SubscriptionId,
        /// How the event's delivery to the subscription stands; empty means: in any way.
        standing: Vec<Standing>,
    },
    /// The same out of the topic `events`, by the time stamps that Kafka has: also those that the inbox
    /// has not (any more).
    Topic { subscription_id: SubscriptionId, standing: Vec<Standing> },
    /// Deliveries that were given up.
    DeadLetters { subscription_id: Option<SubscriptionId>, delivery_id: Option<DeliveryId> },
}

impl Source {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Events { .. } => "events",
            Self::Topic { .. } => "topic",
            Self::DeadLetters { .. } => "dead_letters",
        }
    }

    pub fn subscription_id(&self) -> Option<SubscriptionId> {
        match self {
            Self::Events { subscription_id, .. } | Self::Topic { subscription_id, .. } => {
                Some(*subscription_id)
            }
            Self::DeadLetters { subscription_id, .. } => *subscription_id,
        }
    }

    /// How deliveries stand that are looked for; empty means: in any way.
    pub fn standing(&self) -> &[Standing] {
        match self {
            Self::Events { standing, .. } | Self::Topic { standing, .. } => standing,
            Self::DeadLetters { .. } => &[],
        }
    }
}

/// How an event's delivery to a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It was never owed.
    Missing,
    Owed(DeliveryState),
}

impl Standing {
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Owed(DeliveryState::Pending),
        Self::Owed(DeliveryState::Retrying),
        Self::Owed(DeliveryState::Delivered),
        Self::Owed(DeliveryState::DeadLettered),
        Self::Owed(DeliveryState::Cancelled),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Owed(state) => state.as_str(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayState {
    Running,
    Completed,
    /// Its owner stopped it.
    Cancelled,
    Failed {
        reason: String,
    },
}

impl ReplayState {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            Self::Running | Self::Completed | Self::Cancelled => None,
        }
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The instant and the id of what it looked at last; out of a topic, its partition and offset in
    /// the id's place.
    pub after: Option<(OffsetDateTime, Uuid)>,
    /// Events or dead letters looked at.
    pub examined: u64,
    /// Deliveries handed over; in a dry run those that would be.
    pub sent: u64,
}
