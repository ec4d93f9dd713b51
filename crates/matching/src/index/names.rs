//! The members that paths go on to from a place, by name.
//!
//! There are mostly a few: then they stand in a row, and a name is told from them by its length and its first eight
//! bytes, without a hash.

use std::sync::Arc;

use super::cow::{COUNTS, CowMap};
use super::leaf::hash;
use super::tree::Node;

/// So many are a few: more than that take longer to go through than a hash and a look into a table.
const FEW: usize = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// With the [head] of each name. None, if there are many.
    few: Vec<(u64, Named)>,
    many: CowMap<Named>,
}

#[derive(Clone, Debug)]
struct Named {
    name: Arc<str>,
    node: Arc<Node>,
}

/// The first eight bytes of a name; of a shorter one zeros after it.
pub(crate) fn head(name: &[u8]) -> u64 {
    match name.first_chunk() {
        Some(first) => u64::from_le_bytes(*first),
        None => name.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

impl Names {
    pub(crate) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    /// Given the name's [head] as well.
    #[inline]
    pub(crate) fn find(&self, head: u64, name: &str) -> Option<&Node> {
        for (known, named) in &self.few {
            if *known == head
                && named.name.len() == name.len()
                && (name.len() <= 8 || *named.name == *name)
            {
                return Some(&named.node);
            }
        }
        if self.many.is_empty() { None } else { self.find_among_many(name) }
    }

    #[inline(never)]
    fn find_among_many(&self, name: &str) -> Option<&Node> {
        self.many.find(hash(name), |named| *named.name == *name).map(|named| &*named.node)
    }

    /// The node that a name leads to, made if there is none.
    pub(crate) fn change(&mut self, name: &str) -> &mut Node {
        let is = |named: &Named| *named.name == *name;
        let new = || Named { name: name.into(), node: Arc::default() };
        if self.many.is_empty() {
            let at = self.few.iter().position(|(_, named)| is(named));
            if at.is_some() || self.few.len() < FEW {
                let at = at.unwrap_or_else(|| {
                    self.few.reserve_exact(1);
                    self.few.push((head(name.as_bytes()), new()));
                    self.few.len() - 1
                });
                return Arc::make_mut(&mut self.few[at].1.node);
            }
            for (_, few) in std::mem::take(&mut self.few) {
                let is = |named: &Named| named.name == few.name;
                self.many.change(hash(&*few.name), is, || few.clone());
            }
        }
        Arc::make_mut(&mut self.many.change(hash(name), is, new).node)
    }

    /// Takes a name out whose node leads to nothing.
    pub(crate) fn remove(&mut self, name: &str) {
        let is = |named: &Named| *named.name == *name;
        self.many.remove(hash(name), is);
        self.few.retain(|(_, named)| !is(named));
    }

    pub(crate) fn heap_bytes(&self, node: impl Fn(&Node) -> usize) -> usize {
        let named = |named: &Named| COUNTS + named.name.len() + node(&named.node);
        self.few.capacity() * size_of::<(u64, Named)>()
            + self.few.iter().map(|(_, few)| named(few)).sum::<usize>()
            + self.many.heap_bytes(named)
    }
}
