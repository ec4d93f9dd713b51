//! Where a page ended, as callers carry it: opaque, and signed for one customer and one query, so
//! that a tampered or borrowed one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use triggerline_store::Position;
use triggerline_types::{CustomerId, EventId, from_millis, millis};
use uuid::Uuid;

use crate::keys::Pepper;

/// Half of a MAC.
const TAG: usize = 16;

pub(crate) struct Cursors {
    pepper: Pepper,
}

impl Cursors {
    pub(crate) fn new(pepper: &Pepper) -> Self {
        Self { pepper: pepper.clone() }
    }

    /// `query`: what the page answered, in any form that tells queries apart.
    pub(crate) fn seal(&self, place: &[u8], customer: CustomerId, query: &str) -> String {
        let tag = self.tag(place, customer, query);
        URL_SAFE_NO_PAD.encode([place, &tag].concat())
    }

    /// `None` for anything that [`Self::seal`] didn't seal for this customer and query.
    pub(crate) fn open(&self, text: &str, customer: CustomerId, query: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let tag = bytes.split_off(bytes.len().checked_sub(TAG)?);
        bool::from(self.tag(&bytes, customer, query).ct_eq(&tag)).then_some(bytes)
    }

    /// A place in a list that is ordered by ids.
    pub(crate) fn write_id(&self, id: Uuid, customer: CustomerId, list: &str) -> String {
        self.seal(id.as_bytes(), customer, list)
    }

    pub(crate) fn read_id(&self, text: &str, customer: CustomerId, list: &str) -> Option<Uuid> {
        Uuid::from_slice(&self.open(text, customer, list)?).ok()
    }

    /// A place in an inbox.
    pub(crate) fn write(&self, at: Position, customer: CustomerId, query: &str) -> String {
        self.write_at((at.received_at, *at.id.as_uuid()), customer, query)
    }

    pub(crate) fn read(&self, text: &str, customer: CustomerId, query: &str) -> Option<Position> {
        let (received_at, id) = self.read_at(text, customer, query)?;
        Some(Position { received_at, id: EventId::from_uuid(id) })
    }

    /// A place in any list that is ordered by instant and id: milliseconds since the epoch, id.
    pub(crate) fn write_at(
        &self,
        (at, id): (OffsetDateTime, Uuid),
        customer: CustomerId,
        query: &str,
    ) -> String {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&millis(at).to_be_bytes());
        place[8..].copy_from_slice(id.as_bytes());
        self.seal(&place, customer, query)
    }

    pub(crate) fn read_at(
        &self,
        text: &str,
        customer: CustomerId,
        query: &str,
    ) -> Option<(OffsetDateTime, Uuid)> {
        let place: [u8; 24] = self.open(text, customer, query)?.try_into().ok()?;
        let (at, id) = place.split_at(8);
        let at = from_millis(i64::from_be_bytes(at.try_into().ok()?))?;
        Some((at, Uuid::from_slice(id).ok()?))
    }

    fn tag(&self, place: &[u8], customer: CustomerId, query: &str) -> [u8; TAG] {
        let data = [place, customer.as_uuid().as_bytes(), query.as_bytes()].concat();
        let mut half = [0; TAG];
        half.copy_from_slice(&self.pepper.mac("cursor", &data)[..TAG]);
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
