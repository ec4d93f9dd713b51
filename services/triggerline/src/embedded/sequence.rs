//! Whether a batch of an idempotent producer comes next, came already, or leaves a gap.
//!
//! A *producer* numbers the records it sends to a partition; a *batch* says with which number it starts. The
//! log asks [`Producer::judge`] before it appends, and tells [`Producer::appended`] afterwards. No clock and no
//! I/O in here. The rules are Kafka's (KIP-98, and KIP-360 for the producer we know nothing of).

use std::collections::VecDeque;

use tansu_sans_io::ErrorCode;

/// How many batches a producer may have in flight, and so how far back a retry can reach: the maximum of
/// `max.in.flight.requests.per.connection` with idempotence on.
const REMEMBERED: usize = 5;

/// A batch as its producer numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) epoch: i16,
    /// Sequence number of the first record.
    pub(super) first: i32,
    /// Number of records less one.
    pub(super) last_delta: i32,
}

impl Numbered {
    /// Sequence number of the last record; numbers wrap from 2³¹ − 1 to 0.
    fn last(self) -> i32 {
        let last = (i64::from(self.first) + i64::from(self.last_delta)) & i64::from(i32::MAX);
        i32::try_from(last).unwrap_or(i32::MAX)
    }

    fn next(self) -> i32 {
        self.last().checked_add(1).unwrap_or(0)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    /// It is in the log already, from this offset on.
    Retry(i64),
    Refuse(ErrorCode),
}

/// What a partition remembers of one producer: its latest batches and where they went, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Producer {
    recent: VecDeque<(Numbered, i64)>,
}

impl Producer {
    pub(super) fn judge(&self, batch: Numbered) -> Verdict {
        // Nothing is known of a producer whose batches are all past retention; it is believed.
        let Some((latest, _)) = self.recent.back() else {
            return Verdict::Append;
        };
        if batch.epoch < latest.epoch {
            return Verdict::Refuse(ErrorCode::InvalidProducerEpoch);
        }
        let expected = if batch.epoch == latest.epoch { latest.next() } else { 0 };
        if let Some((_, base)) = self.recent.iter().find(|(seen, _)| *seen == batch) {
            Verdict::Retry(*base)
        } else if batch.first == expected {
            Verdict::Append
        } else {
            Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber)
        }
    }

    pub(super) fn appended(&mut self, batch: Numbered, base: i64) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((batch, base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, first: i32, count: i32) -> Numbered {
        Numbered { epoch, first, last_delta: count - 1 }
    }

    /// A producer that has sent these batches, which lie in the log one after the other.
    fn after(batches: &[Numbered]) -> Producer {
        let mut producer = Producer::default();
        let mut base = 100;
        for batch in batches {
            producer.appended(*batch, base);
            base += i64::from(batch.last_delta) + 1;
        }
        producer
    }

    #[test]
    fn a_batch_is_appended_once_and_in_order() {
        let gap = || Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber);
        let stale = || Verdict::Refuse(ErrorCode::InvalidProducerEpoch);
        let five: Vec<_> = (0..6).map(|i| batch(0, i * 10, 10)).collect();
        for (name, sent, next, verdict) in [
            ("unknown producer", vec![], batch(0, 7, 1), Verdict::Append),
            ("the next one", vec![batch(0, 0, 3)], batch(0, 3, 1), Verdict::Append),
            ("a gap", vec![batch(0, 0, 3)], batch(0, 4, 1), gap()),
            (
                "the latest again",
                vec![batch(0, 0, 3), batch(0, 3, 2)],
                batch(0, 3, 2),
                Verdict::Retry(103),
            ),
            (
                "an earlier one again",
                vec![batch(0, 0, 3), batch(0, 3, 2)],
                batch(0, 0, 3),
                Verdict::Retry(100),
            ),
            ("same start, other length", vec![batch(0, 0, 3)], batch(0, 0, 2), gap()),
            ("older than remembered", five, batch(0, 0, 10), gap()),
            ("a new epoch from 0", vec![batch(0, 0, 3)], batch(1, 0, 1), Verdict::Append),
            ("a new epoch not from 0", vec![batch(0, 0, 3)], batch(1, 3, 1), gap()),
            ("an old epoch", vec![batch(1, 0, 3)], batch(0, 3, 1), stale()),
            ("wraps to 0", vec![batch(0, i32::MAX - 1, 2)], batch(0, 0, 1), Verdict::Append),
            ("wraps within", vec![batch(0, i32::MAX, 3)], batch(0, 2, 1), Verdict::Append),
        ] {
            assert_eq!(after(&sent).judge(next), verdict, "{name}");
        }
    }
}
