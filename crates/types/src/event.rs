use std::collections::BTreeMap;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::{CustomerId, EventId, EventType};

/// One JSON payload with a type, accepted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub customer_id: CustomerId,
    pub event_type: EventType,
    /// Where it happened, in the producer's words (CloudEvents `source`).
    pub source: String,
    /// What it happened to, in the producer's words (CloudEvents `subject`).
    pub subject: Option<String>,
    /// When it happened, as the producer says; when it was received, if the producer says nothing.
    pub occurred_at: OffsetDateTime,
    /// When the gateway received it: what its id says ([`EventId::received_at`]).
    pub received_at: OffsetDateTime,
    /// Further CloudEvents attributes of the producer's, by name; empty for most.
    pub extensions: BTreeMap<String, String>,
    /// The producer's trace context (W3C `traceparent`), passed on unchanged.
    pub traceparent: Option<String>,
    /// Why its schema doesn't allow it, where it is held back for that: it is kept, and not
    /// matched. Released, it comes again without this.
    pub quarantined: Option<String>,
    /// JSON, byte for byte as it was received.
    pub payload: Bytes,
}
