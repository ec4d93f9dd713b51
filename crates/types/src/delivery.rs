//! A delivery and what becomes of it.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{CustomerId, DeliveryId, Event, EventId, ReplayId, Revision, SubscriptionId};

/// One event owed to one subscription, and the attempt at it that is due next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub subscription_id: SubscriptionId,
    /// The subscription as the matcher knew it: whoever carries the delivery out must
    /// know it at least that well.
    pub subscription_revision: Revision,
    pub event: Event,
    /// The number of the attempt that is due, from 1.
    pub attempt: u32,
    /// When it is due. `None`: now.
    pub not_before: Option<OffsetDateTime>,
    /// What sends it again.
    pub replay_id: Option<ReplayId>,
}

/// One HTTP request made for a delivery, and how it ended. Number 0 made none: it says that a
/// replay handed the delivery over again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub customer_id: CustomerId,
    pub subscription_id: SubscriptionId,
    pub number: u32,
    pub started_at: OffsetDateTime,
    pub latency: Duration,
    pub response: Response,
    pub outcome: Outcome,
}

impl Attempt {
    /// That a delivery was handed over again `at` an instant; `place` is where that stands among
    /// its attempts.
    pub fn replayed(delivery: &Delivery, place: OffsetDateTime, at: OffsetDateTime) -> Self {
        let replay = delivery.replay_id.map(|id| id.to_string()).unwrap_or_default();
        Self {
            delivery_id: delivery.id,
            event_id: delivery.event.id,
            customer_id: delivery.event.customer_id,
            subscription_id: delivery.subscription_id,
            number: 0,
            started_at: place,
            latency: Duration::ZERO,
            response: Response::NotSent { reason: format!("sent again by replay {replay}") },
            outcome: Outcome::Retry { at },
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The receiver answered; `excerpt` is the start of its body, at most 4 KB.
    Answered { status: u16, excerpt: String },
    /// It did not: no connection, no TLS, or no answer before the deadline.
    Failed { error: String },
    /// No request was made (the subscription is gone, the address is not allowed).
    NotSent { reason: String },
}

/// How an attempt leaves its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// To be tried again, not before this instant.
    Retry {
        at: OffsetDateTime,
    },
    /// Given up, kept in the dead-letter topic.
    DeadLettered {
        reason: String,
    },
    /// No longer owed: the subscription was deleted or unsubscribed.
    Cancelled {
        reason: String,
    },
}

/// The matcher's summary of an event: who is owed it. Nobody, where `owed` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    pub event_id: EventId,
    pub customer_id: CustomerId,
    pub at: OffsetDateTime,
    pub owed: Vec<Owed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    pub delivery_id: DeliveryId,
    pub subscription_id: SubscriptionId,
    pub workflow_id: String,
}

/// What storage is told, each as often as need be and in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Event(Event),
    Matched(Matched),
    Attempted(Attempt),
}

impl Fact {
    pub fn customer_id(&self) -> CustomerId {
        match self {
            Self::Event(event) => event.customer_id,
            Self::Matched(matched) => matched.customer_id,
            Self::Attempted(attempt) => attempt.customer_id,
        }
    }

    pub fn event_id(&self) -> EventId {
        match self {
            Self::Event(event) => event.id,
            Self::Matched(matched) => matched.event_id,
            Self::Attempted(attempt) => attempt.event_id,
        }
    }
}
