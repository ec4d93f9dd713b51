use std::fmt;

use time::OffsetDateTime;

use crate::{ApiKeyId, AuditId, CustomerId};

/// One change that somebody made, kept for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub id: AuditId,
    /// Whose belongings changed.
    pub customer_id: CustomerId,
    pub at: OffsetDateTime,
    pub actor: Actor,
    /// What was done, such as `api_key.revoked`.
    pub action: String,
    /// What it was done to: an id, or an event type for a schema.
    pub target: String,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever holds this key.
    Key(ApiKeyId),
    /// The installation's operator, at the command line.
    Operator,
    /// Triggerline itself, such as when an endpoint answers 410.
    System,
}

/// `key:<id>`, `operator` or `system`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::System => f.write_str("system"),
        }
    }
}

impl Actor {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "operator" => Some(Self::Operator),
            "system" => Some(Self::System),
            _ => text.strip_prefix("key:")?.parse().ok().map(Self::Key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_as_it_is_written() {
        for actor in [Actor::Operator, Actor::System, Actor::Key(ApiKeyId::new())] {
            assert_eq!(Actor::parse(&actor.to_string()), Some(actor));
        }
        for text in ["", "key:", "key:1", "nobody"] {
            assert_eq!(Actor::parse(text), None, "{text}");
        }
    }
}
