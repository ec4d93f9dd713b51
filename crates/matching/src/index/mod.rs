//! Which of thousands of rules a payload matches, without trying them all.
//!
//! A **rule** is a key of the caller's, the event types that it is about, and perhaps a [`Condition`]. The [`Index`] holds
//! the rules of one customer. Asked about an event, it
//!
//! 1. finds the **sets** of rules whose event-type pattern covers the event's type ([`types`]);
//! 2. **walks** the payload once, along the paths that rules of these sets name, and captures what is there; the rest is
//!    skipped by a lexer that builds nothing ([`walk`], [`scan`], [`quoted`]);
//! 3. looks each captured value up among the tests of its path ([`leaf`]). Each rule is found by one of its fields, its
//!    **pivot**: that which brings it up needlessly the least often when it is inserted;
//! 4. puts the rest of its condition to each rule so found ([`rule`]).
//!
//! An index is a value: a clone is a snapshot, which shares what neither of the two has changed ([`cow`]). So a change is
//! made to a clone, which is then swapped in; it costs microseconds.
//!
//! What a rule takes of memory is bounded by its condition's [`weight`], however many event types it has; what an event
//! takes of time by its [`steps`].
//!
//! Absent on purpose: I/O, locks, and an order of the answer.

mod cow;
mod leaf;
mod names;
mod quoted;
mod rule;
mod scan;
mod set;
mod steps;
#[cfg(test)]
mod tests;
mod thresholds;
mod tree;
mod types;
mod walk;
mod weight;

use std::hash::Hash;
use std::sync::Arc;

use triggerline_types::{EventType, EventTypePattern};

use crate::condition::Condition;
use cow::CowMap;
use leaf::hash;
use rule::{Captured, Rule};
pub use scan::Undecidable;
use set::Set;
pub use steps::MAX_STEPS;
use steps::Steps;
use types::Types;
use walk::walk;
pub use weight::MAX_WEIGHT;
pub(crate) use weight::weight;

#[derive(Clone, Debug)]
pub struct Index<K> {
    types: Types<Set<K>>,
    /// Of rules that would take much memory if each of their event types had a set with them in it: each has one set of
    /// its own, for all of its types.
    large: Types<Vec<Arc<Set<K>>>>,
    rules: CowMap<Inserted<K>>,
    /// The next rule's number.
    next: u64,
}

#[derive(Clone, Debug)]
struct Inserted<K> {
    key: K,
    homes: Vec<(EventTypePattern, Arc<Rule<K>>)>,
    /// The set that it is alone in, if it is large: then it is the same rule in all homes.
    own: Option<Arc<Set<K>>>,
}

/// A condition that weighs more than the index takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a condition weighs at most {MAX_WEIGHT}")]
pub struct TooLarge;

/// What a rule's condition may weigh for all of its event types together, if it is to be laid out in the set of each:
/// about 2 MB. Events walk through large ones one by one.
const MAX_SPREAD: usize = 4_096;

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { types: Types::default(), large: Types::default(), rules: CowMap::default(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash> Index<K> {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rules.find(hash(key), |inserted| inserted.key == *key).is_some()
    }

    /// Inserts a rule, in the place of the one with this key if there is one. Without a condition it matches each event
    /// of its types.
    pub fn insert(
        &mut self,
        key: K,
        event_types: &[EventTypePattern],
        condition: Option<&Condition>,
    ) -> Result<(), TooLarge> {
        if condition.is_some_and(|condition| weight(condition) > MAX_WEIGHT) {
            return Err(TooLarge);
        }
        self.put(key, event_types, condition);
        Ok(())
    }

    /// The same, with a condition that is known not to be too large.
    pub(crate) fn put(
        &mut self,
        key: K,
        event_types: &[EventTypePattern],
        condition: Option<&Condition>,
    ) {
        let always = Condition::All(Vec::new());
        let condition = condition.unwrap_or(&always);
        debug_assert!(weight(condition) <= MAX_WEIGHT);
        self.remove(&key);
        let number = self.next;
        self.next += 1;
        let mut homes: Vec<(EventTypePattern, Arc<Rule<K>>)> =
            Vec::with_capacity(event_types.len());
        let mut own = None;
        if event_types.len() > 1 && weight(condition) * event_types.len() > MAX_SPREAD {
            let mut set = Set::default();
            let rule = set.insert(key.clone(), number, condition, true);
            let set = Arc::new(set);
            for pattern in once(event_types) {
                self.large.change(pattern).push(Arc::clone(&set));
                homes.push((pattern.clone(), Arc::clone(&rule)));
            }
            own = Some(set);
        } else {
            for pattern in once(event_types) {
                let only = event_types.len() == 1;
                let rule = self.types.change(pattern).insert(key.clone(), number, condition, only);
                homes.push((pattern.clone(), rule));
            }
        }
        let (hashed, known) = (hash(&key), key.clone());
        let is = |inserted: &Inserted<K>| inserted.key == known;
        self.rules.change(hashed, is, || Inserted { key, homes, own });
    }

    /// Whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(inserted) = self.rules.remove(hash(key), |inserted| inserted.key == *key) else {
            return false;
        };
        for (pattern, rule) in &inserted.homes {
            if let Some(own) = &inserted.own {
                let sets = self.large.change(pattern);
                sets.retain(|set| !Arc::ptr_eq(set, own));
                if sets.is_empty() {
                    self.large.remove(pattern);
                }
            } else {
                let set = self.types.change(pattern);
                set.remove(rule);
                if set.is_empty() {
                    self.types.remove(pattern);
                }
            }
        }
        true
    }

    /// The keys of the rules that the event matches, each once, in no order.
    ///
    /// An error if that depends on something that the payload leaves open: it is no JSON, is nested more than 127 deep,
    /// or has a number or a string that can't be read where a rule looks. Where no rule looks at the payload at all,
    /// nor is it read. An error as well if the rules together take more than [`MAX_STEPS`] on it.
    pub fn matching(&self, event_type: &EventType, payload: &[u8]) -> Result<Vec<K>, Undecidable> {
        let mut keys = Vec::new();
        self.each_matching(event_type, payload, |key| keys.push(key.clone()))?;
        Ok(keys)
    }

    /// The same, handed over one by one. Where there is an error, it comes before any of them.
    pub(crate) fn each_matching(
        &self,
        event_type: &EventType,
        payload: &[u8],
        hand: impl FnMut(&K),
    ) -> Result<(), Undecidable> {
        self.each_matching_within(&Steps::new(MAX_STEPS), event_type, payload, hand)
    }

    fn each_matching_within(
        &self,
        steps: &Steps,
        event_type: &EventType,
        payload: &[u8],
        hand: impl FnMut(&K),
    ) -> Result<(), Undecidable> {
        if self.is_empty() {
            return Ok(());
        }
        let mut sets = self.types.covering(event_type);
        if !self.large.is_empty() {
            let mut large: Vec<_> = self.large.covering(event_type).into_iter().flatten().collect();
            large.sort_unstable_by_key(|set| Arc::as_ptr(set)); // several of its types may cover
            large.dedup_by_key(|set| Arc::as_ptr(set));
            sets.extend(large.into_iter().map(|set| &**set));
        }
        if sets.is_empty() {
            return Ok(());
        }
        let mut holding = Vec::new();
        if sets.iter().all(|set| set.root.is_empty()) {
            collect(&sets, &walk::Walked::nothing(), steps, &mut holding);
        } else {
            let roots = sets.iter().map(|set| &set.root);
            let walked = walk(payload, roots.clone(), steps)?;
            if walked.doubled {
                let plain = undoubled(payload)?;
                collect(&sets, &walk(&plain, roots, steps)?, steps, &mut holding);
            } else {
                collect(&sets, &walked, steps, &mut holding);
            }
        }
        steps.check()?;
        if holding.iter().any(|rule| !rule.found_once) {
            holding.sort_unstable_by_key(|rule| rule.number);
            holding.dedup_by_key(|rule| rule.number);
        }
        holding.into_iter().map(|rule| &rule.key).for_each(hand);
        Ok(())
    }

    /// About how much memory it takes, snapshots that share it not counted. What a key has on the heap is not in it.
    pub fn heap_bytes(&self) -> usize {
        let home = |(pattern, rule): &(EventTypePattern, Arc<Rule<K>>)| {
            size_of::<(EventTypePattern, Arc<Rule<K>>)>()
                + pattern.as_str().len()
                + rule.heap_bytes()
        };
        let inserted = |inserted: &Inserted<K>| match &inserted.own {
            None => inserted.homes.iter().map(home).sum::<usize>(),
            Some(own) => {
                let patterns =
                    inserted.homes.iter().map(|home| size_of_val(home) + home.0.as_str().len());
                let rule = inserted.homes.first().map_or(0, |(_, rule)| rule.heap_bytes());
                patterns.sum::<usize>()
                    + size_of::<Set<K>>()
                    + cow::COUNTS
                    + own.heap_bytes()
                    + rule
            }
        };
        self.types.heap_bytes(Set::heap_bytes)
            + self.large.heap_bytes(|sets| sets.capacity() * size_of::<Arc<Set<K>>>())
            + self.rules.heap_bytes(inserted)
    }
}

fn collect<'s, K: Clone>(
    sets: &[&'s Set<K>],
    walked: &walk::Walked<'_>,
    steps: &Steps,
    holding: &mut Vec<&'s Rule<K>>,
) {
    let mut rest = &walked.captures[..];
    for (set, types) in sets.iter().zip(0..) {
        let (captures, others) =
            rest.split_at(rest.partition_point(|capture| capture.types <= types));
        rest = others;
        set.holding(Captured { captures, instances: &walked.instances, steps }, holding);
    }
}

/// The payload, each member once: the last of each name, as `serde_json` has it.
fn undoubled(payload: &[u8]) -> Result<Vec<u8>, Undecidable> {
    let error = |_| Undecidable {
        at: 0,
        why: "a member occurs twice, and the payload can't be read otherwise",
    };
    let value: serde_json::Value = serde_json::from_slice(payload).map_err(error)?;
    serde_json::to_vec(&value).map_err(error)
}

/// Each event-type pattern once.
fn once(patterns: &[EventTypePattern]) -> impl Iterator<Item = &EventTypePattern> {
    patterns
        .iter()
        .enumerate()
        .filter(|(at, one)| !patterns[..*at].contains(one))
        .map(|(_, one)| one)
}
