//! Ranges that are open at one end, in order of the other: those that a number passes stand beside each other.

use std::ops::Bound;
use std::sync::Arc;

use super::cow::COUNTS;
use super::leaf::Posting;
use crate::condition::Test;
use crate::number::Number;

/// The end of a range, and whether the numbers above it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Threshold {
    above: bool,
    number: Number,
    /// Tells `>=` from `>` and `<=` from `<`, so that what an equal number passes is on the right side of it in order:
    /// `>=` before `>`, and `<` before `<=`.
    place: u8,
}

pub(crate) fn threshold(test: &Test) -> Option<Threshold> {
    let (above, number, place) = match test {
        Test::Range(Bound::Included(number), Bound::Unbounded) => (true, number, 0),
        Test::Range(Bound::Excluded(number), Bound::Unbounded) => (true, number, 1),
        Test::Range(Bound::Unbounded, Bound::Excluded(number)) => (false, number, 0),
        Test::Range(Bound::Unbounded, Bound::Included(number)) => (false, number, 1),
        _ => return None,
    };
    Some(Threshold { above, number: *number, place })
}

/// In chunks that are shared until they are changed, as a [`CowMap`](super::cow::CowMap)'s shards are.
#[derive(Clone, Debug)]
pub(crate) struct Thresholds<K> {
    /// In order; none is empty.
    chunks: Vec<Arc<Chunk<K>>>,
}

type Chunk<K> = Vec<(Threshold, Arc<Posting<K>>)>;

/// A chunk of this size is split in two.
const CHUNK: usize = 128;

impl<K> Default for Thresholds<K> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<K: Clone> Thresholds<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunk that the threshold is in if it is in any; and its place there, or where it would be.
    fn place(&self, threshold: Threshold) -> (usize, Result<usize, usize>) {
        let after = self.chunks.partition_point(|chunk| chunk[0].0 <= threshold);
        let at = after.saturating_sub(1);
        let place = self
            .chunks
            .get(at)
            .map_or(Err(0), |chunk| chunk.binary_search_by_key(&threshold, |(known, _)| *known));
        (at, place)
    }

    /// A threshold says all of a test, so there is nothing else to compare.
    pub(crate) fn find(&self, threshold: Threshold) -> Option<&Posting<K>> {
        let (chunk, place) = self.place(threshold);
        Some(&self.chunks.get(chunk)?[place.ok()?].1)
    }

    pub(crate) fn change(
        &mut self,
        threshold: Threshold,
        make: impl FnOnce() -> Posting<K>,
    ) -> &mut Posting<K> {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let (mut at, mut place) =
            if self.chunks[0].is_empty() { (0, Err(0)) } else { self.place(threshold) };
        if place.is_err() && self.chunks[at].len() == CHUNK {
            let upper = Arc::make_mut(&mut self.chunks[at]).split_off(CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(upper));
            (at, place) = self.place(threshold);
        }
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        let place = place.unwrap_or_else(|place| {
            chunk.insert(place, (threshold, Arc::new(make())));
            place
        });
        Arc::make_mut(&mut chunk[place].1)
    }

    pub(crate) fn remove(&mut self, threshold: Threshold) {
        if let (at, Ok(place)) = self.place(threshold) {
            let chunk = Arc::make_mut(&mut self.chunks[at]);
            chunk.remove(place);
            if chunk.is_empty() {
                self.chunks.remove(at);
            }
        }
    }

    /// Those whose test one of the numbers passes, given the least and the greatest of them.
    pub(crate) fn passed(&self, least: Number, most: Number) -> impl Iterator<Item = &Posting<K>> {
        let lowest = Threshold { above: false, number: least, place: 1 };
        let highest = Threshold { above: true, number: most, place: 0 };
        let below = self.from(move |known| known < lowest).take_while(|(known, _)| !known.above);
        let above = self.from(|known| !known.above).take_while(move |(known, _)| *known <= highest);
        below.chain(above).map(|(_, posting)| &**posting)
    }

    /// Those that come after all that are `before`.
    fn from(
        &self,
        before: impl Fn(Threshold) -> bool,
    ) -> impl Iterator<Item = &(Threshold, Arc<Posting<K>>)> {
        let is_before = |entry: &(Threshold, _)| before(entry.0);
        let at = self.chunks.partition_point(|chunk| chunk.last().is_some_and(is_before));
        let skipped = self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(is_before));
        self.chunks[at..].iter().flat_map(|chunk| chunk.iter()).skip(skipped)
    }

    pub(crate) fn heap_bytes(&self, posting: impl Fn(&Posting<K>) -> usize) -> usize {
        let entry = |(_, known): &(Threshold, Arc<Posting<K>>)| {
            size_of::<Posting<K>>() + COUNTS + posting(known)
        };
        let chunk = |chunk: &Arc<Chunk<K>>| {
            size_of::<Chunk<K>>()
                + COUNTS
                + chunk.capacity() * size_of::<(Threshold, Arc<Posting<K>>)>()
                + chunk.iter().map(entry).sum::<usize>()
        };
        self.chunks.capacity() * size_of::<usize>() + self.chunks.iter().map(chunk).sum::<usize>()
    }
}
