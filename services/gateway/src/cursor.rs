//! Where a page of the inbox ended, as callers carry it: opaque, and signed for one customer
//! and one set of filters, so that a tampered or borrowed one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use triggerline_store::Position;
use triggerline_types::{CustomerId, EventId, millis};

use crate::keys::Pepper;

/// Milliseconds since the epoch, event id, half of a MAC.
const BYTES: usize = 8 + 16 + 16;

pub(crate) struct Cursors {
    pepper: Pepper,
}

impl Cursors {
    pub(crate) fn new(pepper: &Pepper) -> Self {
        Self { pepper: pepper.clone() }
    }

    /// `filters`: the query that the page answered, in any form that tells queries apart.
    pub(crate) fn write(&self, at: Position, customer: CustomerId, filters: &str) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&millis(at.received_at).to_be_bytes());
        bytes.extend_from_slice(at.id.as_uuid().as_bytes());
        let tag = self.tag(&bytes, customer, filters);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for anything that [`Self::write`] didn't write for this customer and query.
    pub(crate) fn read(&self, text: &str, customer: CustomerId, filters: &str) -> Option<Position> {
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (position, tag) = bytes.split_at(24);
        if !bool::from(self.tag(position, customer, filters).ct_eq(tag)) {
            return None;
        }
        let (at, id) = position.split_at(8);
        let at = i128::from(i64::from_be_bytes(at.try_into().ok()?));
        let id = u128::from_be_bytes(id.try_into().ok()?);
        Some(Position {
            received_at: OffsetDateTime::from_unix_timestamp_nanos(at * 1_000_000).ok()?,
            id: EventId::from_uuid(uuid::Uuid::from_u128(id)),
        })
    }

    fn tag(&self, position: &[u8], customer: CustomerId, filters: &str) -> [u8; 16] {
        let data = [position, customer.as_uuid().as_bytes(), filters.as_bytes()].concat();
        let mut half = [0; 16];
        half.copy_from_slice(&self.pepper.mac("cursor", &data)[..16]);
        half
    }
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    #[test]
    fn only_its_own_cursor_is_read_back() {
        let cursors = Cursors::new(&Pepper::new("0123456789abcdef").unwrap());
        let (customer, other) = (CustomerId::new(), CustomerId::new());
        let received_at = parse_instant("2026-11-23T13:05:07.123Z").unwrap();
        let at = Position { received_at, id: EventId::new() };
        let text = cursors.write(at, customer, "type=a");
        assert_eq!(cursors.read(&text, customer, "type=a"), Some(at));
        assert_eq!(cursors.read(&text, other, "type=a"), None);
        assert_eq!(cursors.read(&text, customer, "type=b"), None);
        for tampered in ["", "x", &text[1..], &text.to_lowercase(), &format!("{text}A")] {
            assert_eq!(cursors.read(tampered, customer, "type=a"), None, "{tampered}");
        }
    }
}
