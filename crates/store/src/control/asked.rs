//! What a control store is asked for, and what it answers with.

use super::replays::NewReplay;
use time::OffsetDateTime;
use triggerline_types::{
    ApiKey, Customer, CustomerId, Endpoint, EventTypePattern, Progress, RateLimit, Replay,
    ReplayId, ReplayState, Revision, Schema, Selector, Subscription, SubscriptionId,
    SubscriptionState, truncate_to_millis,
};

/// Live keys that a customer may have: enough for every service of a large one, few enough to
/// be listed whole, and an end to a script that makes one at each start.
pub const MAX_LIVE_KEYS: usize = 100;

/// Subscriptions that a customer may have, deleted ones aside: ten times as many as matching is measured with,
/// and an end to a script that makes one at each start. Every matcher and every delivery process keeps them all in
/// memory.
pub const MAX_SUBSCRIPTIONS: usize = 100_000;

/// Schemas that a customer may have: one for each type of event of a large one.
pub const MAX_SCHEMAS: usize = 200;
/// What they may come to, in bytes. Every gateway that meets the customer reads them all.
pub const MAX_SCHEMAS_BYTES: usize = 2 * 1_024 * 1_024;

/// A customer as it is asked for; the store gives it id and date.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    pub name: String,
    pub plan: String,
    pub rate_limit: Option<RateLimit>,
    pub retention_days: Option<u16>,
}

impl NewCustomer {
    /// On the default plan, without a limit of its own.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            plan: Customer::DEFAULT_PLAN.to_owned(),
            rate_limit: None,
            retention_days: None,
        }
    }

    /// As it is kept from now on.
    pub(crate) fn into_customer(self, now: OffsetDateTime) -> Customer {
        Customer {
            id: CustomerId::new(),
            name: self.name,
            plan: self.plan,
            rate_limit: self.rate_limit,
            retention_days: self.retention_days,
            created_at: now,
        }
    }
}

/// What is to change of a customer; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct CustomerChange {
    pub name: Option<String>,
    pub plan: Option<String>,
    /// `Some(None)` takes the customer's own limit away: the plan's holds again.
    pub rate_limit: Option<Option<RateLimit>>,
    /// `Some(None)` takes the customer's own away: that of the settings holds again.
    pub retention_days: Option<Option<u16>>,
}

impl CustomerChange {
    pub(crate) fn applied_to(self, customer: &Customer) -> Customer {
        Customer {
            id: customer.id,
            name: self.name.unwrap_or_else(|| customer.name.clone()),
            plan: self.plan.unwrap_or_else(|| customer.plan.clone()),
            rate_limit: self.rate_limit.unwrap_or(customer.rate_limit),
            retention_days: self.retention_days.unwrap_or(customer.retention_days),
            created_at: customer.created_at,
        }
    }
}

/// What became of a key that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCreation {
    Made,
    /// The customer has [`MAX_LIVE_KEYS`] live ones.
    TooMany,
    NoSuchCustomer,
}

/// What became of a key that was to be rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once, moved once; never kept in numbers")]
pub enum KeyRotation {
    Made {
        /// The key that was replaced, as it is now.
        old: ApiKey,
    },
    /// The customer has [`MAX_LIVE_KEYS`] live ones beside it.
    TooMany,
    /// The customer has no such key, or it is dead already.
    NoSuchKey,
}

/// What became of a schema that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaPut {
    /// This is what is kept.
    Kept(Schema),
    /// With it the customer would have more than [`MAX_SCHEMAS`], or [`MAX_SCHEMAS_BYTES`].
    TooMany,
}

/// Whether a customer may have a document of `bytes`, in place of one of `there` bytes, beside
/// `others` in number and bytes. Who has too much already may still make it less.
pub(crate) fn has_room(bytes: usize, there: Option<usize>, others: (usize, usize)) -> bool {
    there.is_some_and(|there| bytes <= there)
        || (others.0 < MAX_SCHEMAS && others.1.saturating_add(bytes) <= MAX_SCHEMAS_BYTES)
}

/// When a key that is being rotated expires.
pub(crate) fn rotated_expiry(old: &ApiKey, asked: OffsetDateTime) -> OffsetDateTime {
    let asked = truncate_to_millis(asked);
    old.expires_at.map_or(asked, |at| at.min(asked))
}

/// A key and whose it is: all that is needed to judge a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub key: ApiKey,
    pub customer: Customer,
}

/// What caches must forget, and the revision up to which this is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChanges {
    pub revision: Revision,
    pub changes: Vec<AccessChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessChange {
    /// The key with this hash was made, revoked or rotated, or its customer changed.
    Key([u8; 32]),
    /// A schema of this customer was put or deleted.
    Schemas(CustomerId),
}

/// Subscriptions that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order of their revisions.
    pub subscriptions: Vec<Subscription>,
    /// Up to which this is all: what to ask with next time. What was asked with where nothing
    /// has changed.
    pub revision: Revision,
    /// The limit was reached, so there may be more.
    pub more: bool,
}

impl Changes {
    /// From rows in the order of their revisions, each with what reading it came to. `concerns_all`:
    /// whether an error says something about all rows.
    pub(crate) fn of<E: std::fmt::Display>(
        after: Revision,
        limit: usize,
        rows: Vec<(Revision, SubscriptionId, Result<Subscription, E>)>,
        concerns_all: impl Fn(&E) -> bool,
    ) -> Result<Self, E> {
        let mut changes = Self { subscriptions: Vec::new(), revision: after, more: false };
        let mut seen = 0;
        for (revision, id, row) in rows {
            seen += 1;
            changes.revision = revision;
            match row {
                Ok(subscription) => changes.subscriptions.push(subscription),
                Err(error) if concerns_all(&error) => return Err(error),
                // One customer's row must not keep all others' from being followed.
                Err(error) => tracing::error!(
                    %id,
                    revision = revision.0,
                    %error,
                    "passing over a subscription that this version can't read"
                ),
            }
        }
        changes.more = seen >= limit;
        Ok(changes)
    }
}

impl NewReplay {
    /// As it is kept from now on.
    pub(crate) fn into_replay(self, now: OffsetDateTime) -> Replay {
        Replay {
            id: ReplayId::new(),
            customer_id: self.customer_id,
            selection: self.selection,
            rate: self.rate,
            dry_run: self.dry_run,
            state: ReplayState::Running,
            progress: Progress::default(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// What became of a subscription that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionCreation {
    Made(Box<Subscription>),
    /// The customer has [`MAX_SUBSCRIPTIONS`].
    TooMany,
}

impl SubscriptionCreation {
    pub fn made(self) -> Option<Subscription> {
        match self {
            Self::Made(subscription) => Some(*subscription),
            Self::TooMany => None,
        }
    }
}

/// A subscription as its owner asks for it; the store gives it id, revision and dates.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    pub customer_id: CustomerId,
    pub workflow_id: String,
    pub event_types: Vec<EventTypePattern>,
    pub selector: Selector,
    pub endpoint: Endpoint,
}

impl NewSubscription {
    /// As it is kept from now on.
    pub(crate) fn into_subscription(self, revision: Revision, now: OffsetDateTime) -> Subscription {
        Subscription {
            id: SubscriptionId::new(),
            customer_id: self.customer_id,
            workflow_id: self.workflow_id,
            event_types: self.event_types,
            selector: self.selector,
            endpoint: self.endpoint,
            state: SubscriptionState::Active,
            revision,
            created_at: now,
            updated_at: now,
        }
    }
}
