use time::OffsetDateTime;

use crate::{CustomerId, EventType};

/// What a customer's events of one type look like, and what becomes of those that don't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub customer_id: CustomerId,
    pub event_type: EventType,
    pub mode: SchemaMode,
    /// JSON Schema 2020-12, as it was given.
    pub document: String,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// What becomes of an event that its schema doesn't allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaMode {
    /// Nothing is checked.
    Off,
    /// It is accepted, and the answer says what is wrong.
    Warn,
    /// It is refused.
    Reject,
    /// It is accepted and kept, but not matched until it is released.
    Quarantine,
}

impl SchemaMode {
    pub const ALL: [Self; 4] = [Self::Off, Self::Warn, Self::Reject, Self::Quarantine];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}
