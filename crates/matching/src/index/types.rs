//! Which rules an event's type leaves: the index of event-type patterns.
//!
//! Exact types and those that end in their only star (`order.*`) are found by hash, the latter for each length of a
//! beginning that some pattern has. Other patterns are tried one after the other.

use std::sync::Arc;

use triggerline_types::{EventType, EventTypePattern};

use super::cow::{COUNTS, CowMap};
use super::leaf::hash;

#[derive(Clone, Debug)]
pub(crate) struct Types<S> {
    found: CowMap<Known<S>>,
    /// Lengths of beginnings, and how many patterns have them.
    lengths: Vec<(usize, u32)>,
    tried: Vec<Arc<Known<S>>>,
}

#[derive(Clone, Debug)]
struct Known<S> {
    pattern: EventTypePattern,
    set: Arc<S>,
}

impl<S> Default for Types<S> {
    fn default() -> Self {
        Self { found: CowMap::default(), lengths: Vec::new(), tried: Vec::new() }
    }
}

enum Kind<'t> {
    Exact(&'t str),
    Beginning(&'t str),
    Other,
}

fn kind(pattern: &EventTypePattern) -> Kind<'_> {
    match pattern.as_str().split_once('*') {
        None => Kind::Exact(pattern.as_str()),
        Some((beginning, "")) => Kind::Beginning(beginning),
        Some(_) => Kind::Other,
    }
}

fn place(beginning: bool, text: &str) -> u64 {
    hash(&(beginning, text))
}

impl<S: Clone + Default> Types<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.tried.is_empty()
    }

    pub(crate) fn covering<'t>(&'t self, event_type: &EventType) -> Vec<&'t S> {
        let text = event_type.as_str();
        let mut sets = Vec::with_capacity(4);
        let mut find = |beginning: bool, part: &str| {
            let is = |known: &Known<S>| match kind(&known.pattern) {
                Kind::Exact(exact) => !beginning && exact == part,
                Kind::Beginning(known) => beginning && known == part,
                Kind::Other => false,
            };
            sets.extend(self.found.find(place(beginning, part), is).map(|known| &*known.set));
        };
        find(false, text);
        for (length, _) in &self.lengths {
            if let Some(beginning) = text.get(..*length) {
                find(true, beginning);
            }
        }
        let tried = self.tried.iter().filter(|known| known.pattern.matches(event_type));
        sets.extend(tried.map(|known| &*known.set));
        sets
    }

    pub(crate) fn change(&mut self, pattern: &EventTypePattern) -> &mut S {
        let make = || Known { pattern: pattern.clone(), set: Arc::default() };
        let is = |known: &Known<S>| known.pattern == *pattern;
        let known = match kind(pattern) {
            Kind::Exact(exact) => self.found.change(place(false, exact), is, make),
            Kind::Beginning(beginning) => {
                let place = place(true, beginning);
                if self.found.find(place, is).is_none() {
                    match self.lengths.iter_mut().find(|(length, _)| *length == beginning.len()) {
                        Some((_, patterns)) => *patterns += 1,
                        None => self.lengths.push((beginning.len(), 1)),
                    }
                }
                self.found.change(place, is, make)
            }
            Kind::Other => {
                let at = self.tried.iter().position(|known| is(known));
                let at = at.unwrap_or_else(|| {
                    self.tried.push(Arc::new(make()));
                    self.tried.len() - 1
                });
                Arc::make_mut(&mut self.tried[at])
            }
        };
        Arc::make_mut(&mut known.set)
    }

    pub(crate) fn remove(&mut self, pattern: &EventTypePattern) {
        let is = |known: &Known<S>| known.pattern == *pattern;
        match kind(pattern) {
            Kind::Exact(exact) => drop(self.found.remove(place(false, exact), is)),
            Kind::Beginning(beginning) => {
                if self.found.remove(place(true, beginning), is).is_some()
                    && let Some(at) =
                        self.lengths.iter().position(|(length, _)| *length == beginning.len())
                {
                    self.lengths[at].1 -= 1;
                    if self.lengths[at].1 == 0 {
                        self.lengths.swap_remove(at);
                    }
                }
            }
            Kind::Other => self.tried.retain(|known| !is(known)),
        }
    }

    pub(crate) fn heap_bytes(&self, set: impl Fn(&S) -> usize) -> usize {
        let known = |known: &Known<S>| {
            known.pattern.as_str().len() + size_of::<S>() + COUNTS + set(&known.set)
        };
        self.found.heap_bytes(known)
            + self.lengths.capacity() * size_of::<(usize, u32)>()
            + self
                .tried
                .iter()
                .map(|one| size_of::<Known<S>>() + COUNTS + known(one))
                .sum::<usize>()
    }
}
