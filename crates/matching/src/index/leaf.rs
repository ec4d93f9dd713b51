//! What is asked of the values at one path, by whom, and who is a candidate for a value.
//!
//! Each **test** at a path is kept once, with the **posting** of those who ask it. Tests that a value can be looked up
//! for lie in a hash table under what the value must have: itself, its beginning, its end, its network, the piece of
//! the number line it is on. Ranges with one end lie in order of it. For each **way** of looking up that some test needs, a value is looked up once. The
//! **rest** of the tests, anything-but for one, are put to each value.

use std::cell::OnceCell;
use std::hash::{BuildHasher, Hash};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

use super::cow::CowMap;
use super::rule::Rule;
use super::steps::{LOOK_UP, Steps};
use super::thresholds::{Thresholds, threshold};
use crate::condition::{Bits, Network, Seen, Test, address};
use crate::number::Number;
use crate::text::fold;

/// The same for the same throughout this process, and not to be guessed outside of it: who could choose values that
/// collide could make each event of theirs as slow as all of their rules.
#[inline]
pub(crate) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    SeedableRandomState::with_seed(0, SharedSeed::global_random()).hash_one(key)
}

/// Who asks: a field of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Asker<K> {
    pub(crate) rule: Arc<Rule<K>>,
    pub(crate) row: u16,
    pub(crate) field: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Posting<K> {
    pub(crate) test: Test,
    pub(crate) askers: Vec<Asker<K>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Leaf<K> {
    found: CowMap<Posting<K>>,
    /// The ways in which something in `found` is found, and how many tests are.
    ways: Vec<(Way, u32)>,
    /// Ranges that are open at one end.
    thresholds: Thresholds<K>,
    rest: CowMap<Posting<K>>,
}

/// How a test is found for a value. The number is the length of what is compared, in bytes or bits, or the size of the
/// pieces that the number line is cut into, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Exact,
    Folded,
    Prefix(u16),
    FoldedPrefix(u16),
    Suffix(u16),
    FoldedSuffix(u16),
    V4(u8),
    V6(u8),
    Piece(i16),
}

/// Tests that share what they are found by: more than this are put to each value instead, so that none is found by
/// looking through many that lie in the same place.
const CROWD: usize = 64;

impl<K> Default for Leaf<K> {
    fn default() -> Self {
        Self {
            found: CowMap::default(),
            ways: Vec::new(),
            thresholds: Thresholds::default(),
            rest: CowMap::default(),
        }
    }
}

impl<K: Clone> Leaf<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.thresholds.is_empty() && self.rest.is_empty()
    }

    /// About how many needless candidates a field that asks this brings about, if it is what its rule is found by:
    /// those that ask the same already, and more where many values pass. A test is an entry, which costs as well.
    pub(crate) fn cost(&self, test: &Test) -> usize {
        let asked = match self.lookup(test) {
            Some(posting) => posting.askers.len(),
            None => 0,
        };
        1 + asked + breadth(test)
    }

    fn lookup(&self, test: &Test) -> Option<&Posting<K>> {
        if let Some(bound) = threshold(test) {
            return self.thresholds.find(bound);
        }
        let is = |posting: &Posting<K>| posting.test == *test;
        home(test)
            .and_then(|(_, hash)| self.found.find(hash, is))
            .or_else(|| self.rest.find(hash(test), is))
    }

    pub(crate) fn add(&mut self, test: &Test, asker: Asker<K>) {
        let is = |posting: &Posting<K>| posting.test == *test;
        let make = || Posting { test: test.clone(), askers: Vec::with_capacity(1) };
        if let Some(bound) = threshold(test) {
            self.thresholds.change(bound, make).askers.push(asker);
            return;
        }
        if let Some((way, hash)) = home(test) {
            let known = self.found.find(hash, is).is_some();
            if known || self.found.all(hash).take(CROWD).count() < CROWD {
                if !known {
                    match self.ways.iter_mut().find(|(known, _)| *known == way) {
                        Some((_, tests)) => *tests += 1,
                        None => self.ways.push((way, 1)),
                    }
                }
                self.found.change(hash, is, make).askers.push(asker);
                return;
            }
        }
        self.rest.change(hash(test), is, make).askers.push(asker);
    }

    /// Takes out what this field of this rule asks.
    pub(crate) fn remove(&mut self, test: &Test, rule: &Arc<Rule<K>>, field: (u16, u16)) {
        let is = |posting: &Posting<K>| posting.test == *test;
        let take = |posting: &mut Posting<K>| {
            let who = |asker: &Asker<K>| {
                Arc::ptr_eq(&asker.rule, rule) && (asker.row, asker.field) == field
            };
            if let Some(at) = posting.askers.iter().position(who) {
                posting.askers.swap_remove(at);
            }
            posting.askers.is_empty()
        };
        let make = || Posting { test: test.clone(), askers: Vec::new() };
        if let Some(bound) = threshold(test) {
            if self.thresholds.find(bound).is_some() && take(self.thresholds.change(bound, make)) {
                self.thresholds.remove(bound);
            }
            return;
        }
        if let Some((way, hash)) = home(test)
            && self.found.find(hash, is).is_some()
        {
            if take(self.found.change(hash, is, make)) {
                self.found.remove(hash, is);
                if let Some(at) = self.ways.iter().position(|(known, _)| *known == way) {
                    self.ways[at].1 -= 1;
                    if self.ways[at].1 == 0 {
                        self.ways.swap_remove(at);
                    }
                }
            }
        } else if self.rest.find(hash(test), is).is_some()
            && take(self.rest.change(hash(test), is, make))
        {
            self.rest.remove(hash(test), is);
        }
    }

    /// Hands over each posting whose test this value passes, once, except [others](Self::others).
    pub(crate) fn look_up<'l>(
        &'l self,
        seen: &Seen<'_>,
        steps: &Steps,
        mut hit: impl FnMut(&'l Posting<K>),
    ) {
        if !steps.spend(self.ways.len() * LOOK_UP) {
            return;
        }
        let mut looked = Looked { seen, folded: None, address: OnceCell::new() };
        for (way, _) in &self.ways {
            let (one, other) = looked.hashes(*way);
            for hash in [one, other].into_iter().flatten() {
                self.found.each(hash, |posting| {
                    if posting.passes(seen, steps) {
                        hit(posting);
                    }
                });
            }
        }
    }

    /// Whether there are [others](Self::others) at all.
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        !self.rest.is_empty() || !self.thresholds.is_empty()
    }

    /// The postings that can't be looked up, or whose test so many of the values may pass that it is better to go
    /// through the values for each of them.
    pub(crate) fn others(
        &self,
        seen: impl Iterator<Item = Number>,
    ) -> impl Iterator<Item = &Posting<K>> {
        let ends = seen.fold(None, |ends, number| {
            let (least, most) = ends.unwrap_or((number, number));
            Some((least.min(number), most.max(number)))
        });
        let passed = ends.into_iter().flat_map(|(least, most)| self.thresholds.passed(least, most));
        self.rest.iter().chain(passed)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let posting = |posting: &Posting<K>| {
            test_bytes(&posting.test) + posting.askers.capacity() * size_of::<Asker<K>>()
        };
        self.ways.capacity() * size_of::<(Way, u32)>()
            + self.found.heap_bytes(posting)
            + self.thresholds.heap_bytes(posting)
            + self.rest.heap_bytes(posting)
    }
}

impl<K> Posting<K> {
    #[inline]
    pub(crate) fn passes(&self, seen: &Seen<'_>, steps: &Steps) -> bool {
        steps.spend(self.test.steps(seen)) && self.test.passes(seen)
    }
}

/// What a test has on the heap.
pub(crate) fn test_bytes(test: &Test) -> usize {
    match test {
        Test::Text(string)
        | Test::Folded(string)
        | Test::Prefix(string)
        | Test::FoldedPrefix(string)
        | Test::Suffix(string)
        | Test::FoldedSuffix(string) => string.len(),
        Test::Wildcard(wildcard) => {
            wildcard.pieces().iter().map(|piece| size_of::<Box<str>>() + piece.len()).sum()
        }
        Test::NoneOf(tests) => tests.iter().map(|test| size_of::<Test>() + test_bytes(test)).sum(),
        Test::Null
        | Test::Bool(_)
        | Test::Number(_)
        | Test::Range(..)
        | Test::Network(_)
        | Test::Scalar
        | Test::Structured => 0,
    }
}

/// A guess at how many of a rule's events pass besides the right ones, in candidates. Only the order matters, and how
/// it weighs against [`Leaf::cost`]'s count: a value that a hundred rules want is worse to be found by than a prefix
/// that nobody else has.
pub(crate) fn breadth(test: &Test) -> usize {
    match test {
        Test::Number(_) | Test::Text(_) => 0,
        Test::Folded(_) => 1,
        Test::Network(network) if network.length > 0 => 10,
        Test::Prefix(string)
        | Test::FoldedPrefix(string)
        | Test::Suffix(string)
        | Test::FoldedSuffix(string)
            if !string.is_empty() =>
        {
            10
        }
        Test::Null | Test::Bool(_) => 100,
        Test::Wildcard(_) if home(test).is_some() => 20,
        Test::Range(..) if home(test).is_some() => 50,
        Test::Wildcard(_) | Test::Range(..) => 1_000,
        _ => 10_000,
    }
}

/// Where a test is found; `None` if it must be put to each value.
fn home(test: &Test) -> Option<(Way, u64)> {
    let string = |way: fn(u16) -> Way, string: &str| {
        let way = way(u16::try_from(string.len()).ok()?);
        Some((way, hash(&(way, string))))
    };
    match test {
        Test::Null => Some((Way::Exact, hash(&Way::Exact))),
        Test::Bool(bool) => Some((Way::Exact, hash(bool))),
        Test::Number(number) => Some((Way::Exact, hash(number))),
        Test::Text(string) => Some((Way::Exact, hash(&**string))),
        Test::Folded(string) => Some((Way::Folded, hash(&(Way::Folded, &**string)))),
        Test::Prefix(prefix) => string(Way::Prefix, prefix),
        Test::FoldedPrefix(prefix) => string(Way::FoldedPrefix, prefix),
        Test::Suffix(suffix) => string(Way::Suffix, suffix),
        Test::FoldedSuffix(suffix) => string(Way::FoldedSuffix, suffix),
        Test::Wildcard(wildcard) => match wildcard.ends() {
            ("", "") => None,
            (head, tail) if head.len() >= tail.len() => string(Way::Prefix, head),
            (_, tail) => string(Way::Suffix, tail),
        },
        Test::Network(network) => {
            let way = if network.v6 { Way::V6 } else { Way::V4 }(network.length);
            Some((way, hash(&(way, network))))
        }
        Test::Range(low, high) => {
            let low = end(*low)?;
            let size = pieces(low, end(*high)?)?;
            let way = Way::Piece(size);
            Some((way, hash(&(way, piece(low, size).to_bits()))))
        }
        Test::Scalar | Test::Structured | Test::NoneOf(_) => None,
    }
}

fn end(bound: Bound<Number>) -> Option<f64> {
    match bound {
        Bound::Included(number) | Bound::Excluded(number) => Some(number.to_f64()),
        Bound::Unbounded => None,
    }
}

/// The size of pieces, as a power of two, of which a range covers no more than the one that it begins in and the next.
fn pieces(low: f64, high: f64) -> Option<i16> {
    let width = high - low;
    // Beyond these a power of two, or a number divided by one, may be no double.
    if !(1e-200..1e200).contains(&width) || low.abs() >= 1e100 {
        return None;
    }
    // Twice the width and more, so that no rounding of its ends makes it reach a third piece.
    #[expect(clippy::cast_possible_truncation, reason = "within ±700, see above")]
    Some(width.log2().ceil() as i16 + 1)
}

fn piece(number: f64, size: i16) -> f64 {
    (number / 2_f64.powi(size.into())).floor() + 0.0 // there is one zero
}

/// A value, and what looking it up made of it.
struct Looked<'s, 'p> {
    seen: &'s Seen<'p>,
    folded: Option<std::borrow::Cow<'s, str>>,
    address: OnceCell<Option<Bits>>,
}

impl<'s> Looked<'s, '_> {
    /// Under which hashes the tests lie that might be passed.
    fn hashes(&mut self, way: Way) -> (Option<u64>, Option<u64>) {
        let one = match (way, self.seen) {
            (Way::Exact, Seen::Text(text)) => Some(hash(&**text)),
            (Way::Exact, Seen::Number(number)) => Some(hash(number)),
            (Way::Exact, Seen::Bool(bool)) => Some(hash(bool)),
            (Way::Exact, Seen::Null) => Some(hash(&Way::Exact)),
            (Way::Piece(size), Seen::Number(number)) => {
                let piece = piece(number.to_f64(), size);
                let hashed = |piece: f64| Some(hash(&(way, piece.to_bits())));
                return (hashed(piece), hashed(piece - 1.0 + 0.0));
            }
            (_, Seen::Text(text)) => self.text_hash(way, text),
            _ => None,
        };
        (one, None)
    }

    fn text_hash(&mut self, way: Way, text: &'s str) -> Option<u64> {
        let part = match way {
            Way::Prefix(length) => text.get(..length.into())?,
            Way::Suffix(length) => text.get(text.len().checked_sub(length.into())?..)?,
            Way::Folded => return Some(hash(&(way, self.folded(text)))),
            Way::FoldedPrefix(length) => self.folded(text).get(..length.into())?,
            Way::FoldedSuffix(length) => {
                let folded = self.folded(text);
                folded.get(folded.len().checked_sub(length.into())?..)?
            }
            Way::V4(length) | Way::V6(length) => {
                let bits = (*self.address.get_or_init(|| address(text)))?;
                let right = bits.0 == matches!(way, Way::V6(_));
                return right.then(|| hash(&(way, &Network::around(bits, length))));
            }
            Way::Exact | Way::Piece(_) => return None,
        };
        Some(hash(&(way, part)))
    }

    fn folded(&mut self, text: &'s str) -> &str {
        self.folded.get_or_insert_with(|| fold(text))
    }
}
