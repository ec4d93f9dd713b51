//! The paths that rules name, as a tree. What is asked at the end of a path lies in a [leaf](super::leaf), by number.

use std::sync::Arc;

use super::cow::COUNTS;
use super::names::Names;
use crate::condition::Step;

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    names: Names,
    /// In order.
    indices: Vec<(usize, Arc<Node>)>,
    each: Option<Arc<Node>>,
    child: Option<Arc<Node>>,
    end: Option<End>,
}

/// That a rule's path ends here.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) leaf: u32,
    /// The path to here, shared by those that name it.
    pub(crate) path: Arc<[Step]>,
    /// How many fields of rules name it, whether or not they are found by it.
    pub(crate) users: u32,
    /// How many of these care for arrays and objects.
    pub(crate) structured: u32,
}

impl Node {
    /// Where a member of this name leads to, given the [head](super::names::head) of the name as well.
    #[inline]
    pub(crate) fn name(&self, head: u64, name: &str) -> Option<&Node> {
        self.names.find(head, name)
    }

    /// Whether a member of an object might lead somewhere.
    #[inline]
    pub(crate) fn has_members(&self) -> bool {
        !self.names.is_empty() || self.child.is_some()
    }

    pub(crate) fn index(&self, index: usize) -> Option<&Node> {
        let at = self.indices.binary_search_by_key(&index, |(known, _)| *known).ok()?;
        Some(&*self.indices[at].1)
    }

    pub(crate) fn each(&self) -> Option<&Node> {
        self.each.as_deref()
    }

    pub(crate) fn child(&self) -> Option<&Node> {
        self.child.as_deref()
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end.is_none()
            && self.each.is_none()
            && self.child.is_none()
            && self.indices.is_empty()
            && self.names.is_empty()
    }

    /// The end of a path, made by `make` if there is none.
    pub(crate) fn end_at(&mut self, path: &[Step], make: impl FnOnce() -> End) -> &mut End {
        let mut node = self;
        for step in path {
            node = match step {
                Step::Name(name) => node.names.change(name),
                Step::Index(index) => {
                    let at = node.indices.binary_search_by_key(index, |(known, _)| *known);
                    let at = at.unwrap_or_else(|at| {
                        node.indices.insert(at, (*index, Arc::default()));
                        at
                    });
                    Arc::make_mut(&mut node.indices[at].1)
                }
                Step::Each => Arc::make_mut(node.each.get_or_insert_default()),
                Step::Child => Arc::make_mut(node.child.get_or_insert_default()),
            };
        }
        node.end.get_or_insert_with(make)
    }

    /// Takes out the end of a path, and what leads to nothing without it.
    pub(crate) fn remove(&mut self, path: &[Step]) {
        let Some((step, rest)) = path.split_first() else {
            self.end = None;
            return;
        };
        match step {
            Step::Name(name) => {
                let node = self.names.change(name);
                node.remove(rest);
                if node.is_empty() {
                    self.names.remove(name);
                }
            }
            Step::Index(index) => {
                if let Ok(at) = self.indices.binary_search_by_key(index, |(known, _)| *known) {
                    let node = Arc::make_mut(&mut self.indices[at].1);
                    node.remove(rest);
                    if node.is_empty() {
                        self.indices.remove(at);
                    }
                }
            }
            Step::Each => remove_from(&mut self.each, rest),
            Step::Child => remove_from(&mut self.child, rest),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let below = |node: &Node| size_of::<Self>() + COUNTS + node.heap_bytes();
        self.names.heap_bytes(below)
            + self.indices.capacity() * size_of::<(usize, Arc<Self>)>()
            + self.indices.iter().map(|(_, node)| below(node)).sum::<usize>()
            + [&self.each, &self.child].into_iter().flatten().map(|node| below(node)).sum::<usize>()
            + self.end.as_ref().map_or(0, |end| COUNTS + path_bytes(&end.path))
    }
}

fn remove_from(slot: &mut Option<Arc<Node>>, rest: &[Step]) {
    if let Some(node) = slot {
        let node = Arc::make_mut(node);
        node.remove(rest);
        if node.is_empty() {
            *slot = None;
        }
    }
}

fn path_bytes(path: &[Step]) -> usize {
    let names = path.iter().map(|step| match step {
        Step::Name(name) => name.len(),
        Step::Index(_) | Step::Each | Step::Child => 0,
    });
    size_of_val(path) + names.sum::<usize>()
}
