use time::OffsetDateTime;

use crate::event_type::OPERATIONAL;
use crate::{CustomerId, DeliverySettings, EventType, EventTypePattern, Secret, SubscriptionId};

/// "When an event like this arrives, start workflow W."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub customer_id: CustomerId,
    /// What its owner starts with it; opaque to us, a filter in the inbox.
    pub workflow_id: String,
    /// Empty means: every type.
    pub event_types: Vec<EventTypePattern>,
    pub selector: Selector,
    pub endpoint: Endpoint,
    pub state: SubscriptionState,
    /// The number of its last change, in the one sequence of all subscriptions' changes.
    pub revision: Revision,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Subscription {
    /// Whether an event of this type is for it, as far as the type tells. Those about
    /// Triggerline itself are only for who names them.
    pub fn covers(&self, event_type: &EventType) -> bool {
        covers(&self.event_types, event_type)
    }
}

/// Whether a subscription that names these types is for events of that type: see
/// [`Subscription::covers`].
pub fn covers(event_types: &[EventTypePattern], event_type: &EventType) -> bool {
    if event_type.is_operational() {
        let named = |pattern: &&EventTypePattern| pattern.as_str().starts_with(OPERATIONAL);
        return event_types.iter().filter(named).any(|one| one.matches(event_type));
    }
    event_types.is_empty() || event_types.iter().any(|pattern| pattern.matches(event_type))
}

/// What a subscription wants of a payload, in its owner's words. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// An event pattern, as JSON text.
    pub pattern: Option<String>,
    /// An RFC 9535 query; the event matches when it selects something.
    pub jsonpath: Option<String>,
}

/// Where webhooks go and what signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub url: String,
    pub secret: Secret,
    /// Secrets that were rotated out and sign as well for a while; newest first.
    pub old_secrets: Vec<OldSecret>,
    pub settings: DeliverySettings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSecret {
    pub secret: Secret,
    pub until: OffsetDateTime,
}

impl Endpoint {
    /// Old secrets that sign as well, at most.
    pub const MAX_OLD_SECRETS: usize = 3;

    pub fn new(url: impl Into<String>, secret: Secret) -> Self {
        let (old_secrets, settings) = (Vec::new(), DeliverySettings::default());
        Self { url: url.into(), secret, old_secrets, settings }
    }

    /// A new secret, beside which those of before sign until `until`, at the longest.
    pub fn rotate(&mut self, secret: Secret, now: OffsetDateTime, until: OffsetDateTime) {
        let old = OldSecret { secret: std::mem::replace(&mut self.secret, secret), until };
        self.old_secrets.insert(0, old);
        for old in &mut self.old_secrets {
            old.until = old.until.min(until);
        }
        self.old_secrets.retain(|old| old.until > now);
        self.old_secrets.truncate(Self::MAX_OLD_SECRETS);
    }

    /// The secrets that sign at this time, newest first.
    pub fn secrets(&self, now: OffsetDateTime) -> impl Iterator<Item = &Secret> {
        let old = self.old_secrets.iter().filter(move |old| old.until > now);
        std::iter::once(&self.secret).chain(old.map(|old| &old.secret))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    Active,
    /// Its owner stopped it for now: it matches nothing until resumed.
    Paused,
    /// The receiver asked for no more (410).
    Unsubscribed {
        reason: String,
    },
    /// Its endpoint was given up: it matches nothing until resumed, and what it was owed is
    /// dead-lettered.
    Disabled {
        reason: String,
    },
    /// Deleted by its owner. The row stays, so that a delivery still under way can be
    /// cancelled by name instead of guessed at.
    Deleted,
}

impl SubscriptionState {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Disabled { .. } => "disabled",
            Self::Deleted => "deleted",
        }
    }

    /// Why it is as it is, where that was not its owner's will.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Unsubscribed { reason } | Self::Disabled { reason } => Some(reason),
            Self::Active | Self::Paused | Self::Deleted => None,
        }
    }
}

/// A position in the sequence of all subscriptions' changes. Zero is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);
