use std::fmt;

use time::OffsetDateTime;

use crate::{ApiKeyId, CustomerId, RateLimit};

/// The longest name of a customer or a key, in bytes.
const MAX_NAME_BYTES: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is 1 to {MAX_NAME_BYTES} bytes long, without control characters")]
pub struct InvalidName;

/// Whether a customer or a key may be called so, whoever makes it: names are printed, on terminals
/// as well.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(InvalidName) }
}

/// The longest that a customer's events may be kept, in days: ten years.
pub const MAX_RETENTION_DAYS: u16 = 3_650;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is a number of days from 1 to {MAX_RETENTION_DAYS}")]
pub struct InvalidRetention;

/// Whether a customer's events may be kept for so many days, whoever asks for it.
pub fn check_retention_days(days: u16) -> Result<(), InvalidRetention> {
    if (1..=MAX_RETENTION_DAYS).contains(&days) { Ok(()) } else { Err(InvalidRetention) }
}

/// The tenant: owns API keys, subscriptions and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub id: CustomerId,
    pub name: String,
    /// The name of a plan in the settings, which says what its keys may do how often.
    pub plan: String,
    /// How often each of its keys may ask, instead of what the plan says.
    pub rate_limit: Option<RateLimit>,
    /// How long its events are kept, from when they were received, instead of what the settings say:
    /// 1 to [`MAX_RETENTION_DAYS`].
    pub retention_days: Option<u16>,
    pub created_at: OffsetDateTime,
}

impl Customer {
    /// The plan of a customer for whom nobody chose one.
    pub const DEFAULT_PLAN: &str = "default";
}

/// What is kept of an API key. The key itself is shown once, when it is made, and
/// only a keyed hash of it (`hash`) stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub customer_id: CustomerId,
    /// What the key is for, in its owner's words.
    pub name: String,
    /// How the key begins, so that its owner can tell it from others.
    pub hint: String,
    /// HMAC-SHA256 of the whole key under the installation's pepper.
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    /// How often it may ask, instead of what its customer or the plan says.
    pub rate_limit: Option<RateLimit>,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
    /// About when it last opened a door; written down every few seconds.
    pub last_used_at: Option<OffsetDateTime>,
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
    SchemasRead,
    SchemasWrite,
    KeysRead,
    KeysWrite,
    AuditRead,
    /// The installation's own: all customers. Never part of [`Self::OF_CUSTOMERS`].
    Admin,
}

impl Scope {
    pub const ALL: [Self; 10] = [
        Self::EventsWrite,
        Self::EventsRead,
        Self::SubscriptionsRead,
        Self::SubscriptionsWrite,
        Self::SchemasRead,
        Self::SchemasWrite,
        Self::KeysRead,
        Self::KeysWrite,
        Self::AuditRead,
        Self::Admin,
    ];

    /// Everything that a customer may do with what is its own.
    pub const OF_CUSTOMERS: [Self; 9] = [
        Self::EventsWrite,
        Self::EventsRead,
        Self::SubscriptionsRead,
        Self::SubscriptionsWrite,
        Self::SchemasRead,
        Self::SchemasWrite,
        Self::KeysRead,
        Self::KeysWrite,
        Self::AuditRead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::SubscriptionsRead => "subscriptions:read",
            Self::SubscriptionsWrite => "subscriptions:write",
            Self::SchemasRead => "schemas:read",
            Self::SchemasWrite => "schemas:write",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::AuditRead => "audit:read",
            Self::Admin => "admin",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_for_a_day_to_ten_years() {
        for (days, good) in [(0, false), (1, true), (3_650, true), (3_651, false)] {
            assert_eq!(check_retention_days(days).is_ok(), good, "{days}");
        }
    }

    #[test]
    fn names_can_be_printed() {
        for (name, good) in [
            ("Käse & Co", true),
            ("", false),
            (&*"x".repeat(200), true),
            (&*"x".repeat(201), false),
            (&*"ü".repeat(101), false),
            ("a\nb", false),
            ("\u{1b}[2J", false),
            ("\u{9b}2J", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
    }
}
