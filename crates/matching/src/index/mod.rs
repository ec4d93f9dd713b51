//! Which of thousands of rules a payload matches, without trying them all.
//!
//! A **rule** is a key of the caller's, the event types that it is about, and perhaps a [`Condition`]. The [`Index`] holds
//! the rules of one customer. Asked about an event, it
//!
//! 1. finds the **sets** of rules whose event-type pattern covers the event's type ([`types`]);
//! 2. **walks** the payload once, along the paths that rules of these sets name, and captures what is there; the rest is
//!    skipped by a lexer that builds nothing ([`walk`], [`scan`]);
//! 3. looks each captured value up among the tests of its path ([`leaf`]). Each rule is found by one of its fields, its
//!    **pivot**: that which brings it up needlessly the least often when it is inserted;
//! 4. puts the rest of its condition to each rule so found ([`rule`]).
//!
//! An index is a value: a clone is a snapshot, which shares what neither of the two has changed ([`cow`]). So a change is
//! made to a clone, which is then swapped in; it costs microseconds.
//!
//! Absent on purpose: I/O, locks, and an order of the answer.

mod cow;
mod leaf;
mod rule;
mod scan;
mod set;
#[cfg(test)]
mod tests;
mod thresholds;
mod tree;
mod types;
mod walk;

use std::hash::Hash;
use std::sync::Arc;

use triggerline_types::{EventType, EventTypePattern};

use crate::condition::Condition;
use cow::CowMap;
use leaf::hash;
use rule::{Captured, Rule};
pub use scan::Undecidable;
use set::Set;
use types::Types;
use walk::walk;

#[derive(Clone, Debug)]
pub struct Index<K> {
    types: Types<Set<K>>,
    rules: CowMap<Inserted<K>>,
    /// The next rule's number.
    next: u64,
}

#[derive(Clone, Debug)]
struct Inserted<K> {
    key: K,
    homes: Vec<(EventTypePattern, Arc<Rule<K>>)>,
}

/// A condition with more fields, or more conjunctions, than the index takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a condition has at most {MAX_CONDITION_FIELDS} fields")]
pub struct TooLarge;

/// In all conjunctions of a condition together. The cost of a rule grows with it.
pub const MAX_CONDITION_FIELDS: usize = 16_384;

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { types: Types::default(), rules: CowMap::default(), next: 0 }
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
        let always = Condition::All(Vec::new());
        let condition = condition.unwrap_or(&always);
        if size(condition) > MAX_CONDITION_FIELDS {
            return Err(TooLarge);
        }
        self.remove(&key);
        let number = self.next;
        self.next += 1;
        let mut homes: Vec<(EventTypePattern, Arc<Rule<K>>)> =
            Vec::with_capacity(event_types.len());
        for (at, pattern) in event_types.iter().enumerate() {
            if event_types[..at].contains(pattern) {
                continue;
            }
            let only = event_types.len() == 1;
            let rule = self.types.change(pattern).insert(key.clone(), number, condition, only);
            homes.push((pattern.clone(), rule));
        }
        let (hashed, known) = (hash(&key), key.clone());
        self.rules.change(hashed, |inserted| inserted.key == known, || Inserted { key, homes });
        Ok(())
    }

    /// Whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(inserted) = self.rules.remove(hash(key), |inserted| inserted.key == *key) else {
            return false;
        };
        for (pattern, rule) in &inserted.homes {
            let set = self.types.change(pattern);
            set.remove(rule);
            if set.is_empty() {
                self.types.remove(pattern);
            }
        }
        true
    }

    /// The keys of the rules that the event matches, each once, in no order.
    ///
    /// An error if that depends on something that the payload leaves open: it is no JSON, is nested more than 127 deep,
    /// or has a number or a string that can't be read where a rule looks. Where no rule looks at the payload at all,
    /// nor is it read.
    pub fn matching(&self, event_type: &EventType, payload: &[u8]) -> Result<Vec<K>, Undecidable> {
        let sets = self.types.covering(event_type);
        if sets.is_empty() {
            return Ok(Vec::new());
        }
        let mut holding = Vec::new();
        if sets.iter().all(|set| set.root.is_empty()) {
            collect(&sets, &walk::Walked::nothing(), &mut holding);
        } else {
            let roots = sets.iter().map(|set| &set.root);
            let walked = walk(payload, roots.clone())?;
            if walked.doubled {
                let plain = undoubled(payload)?;
                collect(&sets, &walk(&plain, roots)?, &mut holding);
            } else {
                collect(&sets, &walked, &mut holding);
            }
        }
        if holding.iter().any(|rule| !rule.found_once) {
            holding.sort_unstable_by_key(|rule| rule.number);
            holding.dedup_by_key(|rule| rule.number);
        }
        Ok(holding.into_iter().map(|rule| rule.key.clone()).collect())
    }

    /// About how much memory it takes, snapshots that share it not counted. What a key has on the heap is not in it.
    pub fn heap_bytes(&self) -> usize {
        let home = |(pattern, rule): &(EventTypePattern, Arc<Rule<K>>)| {
            size_of::<(EventTypePattern, Arc<Rule<K>>)>()
                + pattern.as_str().len()
                + rule.heap_bytes()
        };
        self.types.heap_bytes(Set::heap_bytes)
            + self.rules.heap_bytes(|inserted| inserted.homes.iter().map(home).sum())
    }
}

fn collect<'s, K: Clone>(
    sets: &[&'s Set<K>],
    walked: &walk::Walked<'_>,
    holding: &mut Vec<&'s Rule<K>>,
) {
    let mut rest = &walked.captures[..];
    for (set, types) in sets.iter().zip(0..) {
        let (captures, others) =
            rest.split_at(rest.partition_point(|capture| capture.types <= types));
        rest = others;
        set.holding(Captured { captures, instances: &walked.instances }, holding);
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

fn size(condition: &Condition) -> usize {
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().map(size).sum::<usize>() + 1,
        Condition::Together(fields) => fields.len() + 1,
    }
}
