//! A payload in attributes: compressed where that is smaller, in parts where it is too long for one
//! item.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

/// Bytes of a payload in one item, before they are compressed. An item has 400 KB at most, and the
/// event's other attributes need some. It is part of what is stored: with another length, an event
/// that is written again would be made of parts that don't fit each other.
pub(super) const PART: usize = 320 * 1_024;
/// A payload that isn't longer fits into one write unit (1 KB) with the rest of its event: it stays
/// as it is, for people to read.
const SHORT: usize = 512;
/// zstd's own default.
const LEVEL: i32 = 3;

/// The parts of a payload; at least one.
pub(super) fn split(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = payload.is_empty().then_some(payload);
    payload.chunks(PART).chain(empty)
}

/// A part as it is stored, and whether that is compressed.
pub(super) fn pack(part: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if part.len() > SHORT
        && let Ok(packed) = zstd::bulk::compress(part, LEVEL)
        && packed.len() < part.len()
    {
        return (Cow::Owned(packed), true);
    }
    (Cow::Borrowed(part), false)
}

/// `Err`: what is wrong with it.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let length = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let length = length.and_then(|length| usize::try_from(length).ok());
    // What says that it is longer is none of ours, and no memory is given to it.
    let length = length.filter(|length| *length <= PART).ok_or("a payload of unknown length")?;
    zstd::bulk::decompress(packed, length).map_err(|error| format!("a payload: {error}"))
}

/// What has been read of a payload: its parts by number, from 1.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parts(BTreeMap<usize, Vec<u8>>);

impl Parts {
    pub(super) fn add(&mut self, number: usize, part: Vec<u8>) {
        self.0.insert(number, part);
    }

    /// `None` while some of `of` parts have not come.
    pub(super) fn join(self, of: usize) -> Option<Bytes> {
        if !(1..=of).all(|number| self.0.contains_key(&number)) {
            return None;
        }
        let mut parts = self.0.into_values().take(of);
        let mut whole = parts.next().unwrap_or_default();
        for part in parts {
            whole.extend(part);
        }
        Some(whole.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_from_its_parts_in_any_order() {
        let noise: Vec<u8> = (0..2 * PART + 7).map(|_| rand::random()).collect();
        for (payload, count) in [
            (&b""[..], 1),
            (b"{}", 1),
            (&[b' '; 10_000], 1),
            (&noise[..PART], 1),
            (&noise[..=PART], 2),
            (&noise, 3),
        ] {
            let parts: Vec<_> = split(payload).collect();
            assert_eq!(parts.len(), count);
            let mut found = Parts::default();
            for (index, part) in parts.into_iter().enumerate().rev() {
                let (stored, is_packed) = pack(part);
                assert!(stored.len() <= part.len());
                assert_eq!(is_packed, stored.len() < part.len());
                let part = if is_packed { unpack(&stored).unwrap() } else { stored.to_vec() };
                found.add(index + 1, part);
            }
            assert_eq!(found.join(count).unwrap(), payload);
        }
    }

    #[test]
    fn a_payload_is_not_there_while_a_part_is_missing() {
        for (come, of) in [(&[][..], 1), (&[2], 2), (&[1, 3], 3), (&[1, 2], 3)] {
            let mut parts = Parts::default();
            for number in come {
                parts.add(*number, vec![1]);
            }
            assert_eq!(parts.join(of), None, "{come:?} of {of}");
        }
    }

    #[test]
    fn what_was_not_packed_here_is_refused() {
        let long = zstd::bulk::compress(&vec![0; PART + 1], LEVEL).unwrap();
        let mut broken = zstd::bulk::compress(&[7; 1_000], LEVEL).unwrap();
        broken.truncate(10);
        for packed in [&b""[..], b"plain", &long, &broken] {
            assert!(unpack(packed).is_err(), "{packed:?}");
        }
    }
}
