//! How far a partition has been worked on, as it is committed. Pure.
//!
//! The committed offset is that of the oldest record that isn't finished. Which of those behind it
//! are finished all the same stands in the commit's metadata, so that whoever reads the partition
//! next doesn't do them again: `f1:` and, in base64, the ranges of finished offsets, each as two
//! LEB128 numbers: how many offsets lie between it and what came before (first, the committed
//! offset), and how many it has.
//!
//! A broker keeps 4,096 bytes of metadata (`offset.metadata.max.bytes`). What doesn't fit is left
//! out, and done twice after a crash. So is everything, where other tools have set the offset.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

const FORM: &str = "f1:";
/// In base64 and with the form before it: 4,095 bytes.
const MOST_BYTES: usize = 3_069;

/// Ranges of offsets that are finished, rising and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished(Vec<Range<i64>>);

impl Finished {
    /// Adds an offset behind all others; `joined` where nothing unfinished lies between.
    pub(crate) fn push(&mut self, offset: i64, joined: bool) {
        match self.0.last_mut() {
            Some(last) if joined => last.end = offset + 1,
            _ => self.0.push(offset..offset + 1),
        }
    }

    /// Adds what others have finished after `offset`, behind which nothing is known here.
    pub(crate) fn extend(&mut self, others: &Self, offset: i64) {
        for range in &others.0 {
            let rest = range.start.max(offset + 1)..range.end;
            match self.0.last_mut() {
                _ if rest.is_empty() => {}
                Some(last) if last.end == rest.start => last.end = rest.end,
                _ => self.0.push(rest),
            }
        }
    }

    pub(crate) fn contains(&self, offset: i64) -> bool {
        let after = self.0.partition_point(|range| range.start <= offset);
        after > 0 && self.0[after - 1].contains(&offset)
    }

    pub(crate) fn encode(&self, committed: i64) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let (mut bytes, mut from) = (Vec::new(), committed);
        for range in &self.0 {
            let before = bytes.len();
            for number in [range.start - from, range.end - range.start] {
                push_number(&mut bytes, number.unsigned_abs());
            }
            if bytes.len() > MOST_BYTES {
                bytes.truncate(before);
                break;
            }
            from = range.end;
        }
        format!("{FORM}{}", BASE64.encode(bytes))
    }

    /// Nothing, for what isn't ours.
    pub(crate) fn decode(committed: i64, metadata: &str) -> Self {
        let bytes = metadata.strip_prefix(FORM).and_then(|text| BASE64.decode(text).ok());
        let mut bytes = bytes.as_deref().unwrap_or_default();
        let (mut ranges, mut from) = (Vec::new(), committed);
        while let (Some(gap), Some(length)) = (take_number(&mut bytes), take_number(&mut bytes)) {
            let start = from.checked_add(gap);
            let Some((start, end)) =
                start.and_then(|start| Some((start, start.checked_add(length)?)))
            else {
                break;
            };
            ranges.push(start..end);
            from = end;
        }
        Self(ranges)
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let seven = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return bytes.push(seven);
        }
        bytes.push(seven | 0x80);
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return i64::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back() {
        for (committed, ranges) in [
            (0, vec![]),
            (5, vec![6..7, 8..9]),
            (5, vec![6..1_000, 1_001..1_002, 90_000..1_000_000_000]),
            (i64::MAX - 10, vec![i64::MAX - 9..i64::MAX - 7, i64::MAX - 5..i64::MAX]),
        ] {
            let finished = Finished(ranges);
            let metadata = finished.encode(committed);
            assert_eq!(Finished::decode(committed, &metadata), finished, "{metadata}");
        }
    }

    #[test]
    fn golden() {
        let finished = Finished(vec![101..103, 300..301]);
        assert_eq!(finished.encode(100), "f1:AQLFAQE");
        assert_eq!(Finished::default().encode(100), "", "nothing to say");
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        for metadata in ["", "f1:", "f1:!", "f2:AQI", "host-7", "f1:gICAgICAgICAgICAgA", "f1:AQ"] {
            assert_eq!(Finished::decode(0, metadata), Finished::default(), "{metadata}");
        }
    }

    #[test]
    fn it_fits_and_leaves_out_the_last() {
        let finished = Finished((0..10_000).map(|n| n * 500 + 1..n * 500 + 300).collect());
        let metadata = finished.encode(0);
        assert!(metadata.len() <= 4_096, "{}", metadata.len());
        let read = Finished::decode(0, &metadata);
        assert!(read.0.len() > 700 && finished.0.starts_with(&read.0), "{}", read.0.len());
    }

    #[test]
    fn what_others_have_finished_is_added_behind() {
        let set = |offsets: &[i64]| {
            let mut finished = Finished::default();
            for offset in offsets {
                finished.push(*offset, offsets.contains(&(offset - 1)));
            }
            finished
        };
        let others = set(&[2, 3, 6, 7, 8, 12]);
        for (offset, ours, all) in [
            (0, vec![], vec![2, 3, 6, 7, 8, 12]),
            (2, vec![2], vec![2, 3, 6, 7, 8, 12]),
            (7, vec![2, 3], vec![2, 3, 8, 12]),
            (8, vec![6, 7, 8], vec![6, 7, 8, 12]),
            (20, vec![6, 15], vec![6, 15]),
        ] {
            let mut ours = set(&ours);
            ours.extend(&others, offset);
            assert_eq!(ours, set(&all), "{offset}");
        }
    }

    #[test]
    fn an_offset_is_looked_up() {
        let finished = Finished(vec![5..7, 9..10]);
        let found: Vec<_> = (0..12).filter(|offset| finished.contains(*offset)).collect();
        assert_eq!(found, [5, 6, 9]);
    }
}
