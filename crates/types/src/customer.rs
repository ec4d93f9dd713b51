use std::fmt;

use time::OffsetDateTime;

use crate::{ApiKeyId, CustomerId};

/// The tenant: owns API keys, subscriptions and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub id: CustomerId,
    pub name: String,
    pub created_at: OffsetDateTime,
}

/// What is kept of an API key. The key itself is shown once, when it is made, and
/// only a keyed hash of it (`hash`) stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub customer_id: CustomerId,
    /// What the key is for, in its owner's words.
    pub name: String,
    /// HMAC-SHA256 of the whole key under the installation's pepper.
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// One thing that a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    EventsWrite,
    EventsRead,
    SubscriptionsRead,
    SubscriptionsWrite,
}

impl Scope {
    pub const ALL: [Self; 4] =
        [Self::EventsWrite, Self::EventsRead, Self::SubscriptionsRead, Self::SubscriptionsWrite];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::SubscriptionsRead => "subscriptions:read",
            Self::SubscriptionsWrite => "subscriptions:write",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
