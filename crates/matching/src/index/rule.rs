//! A rule as the index keeps it, and whether it holds for what was captured of a payload.
//!
//! The fields of a [`Row`], one [`Together`](crate::Condition::Together), form **groups**, by where they choose: a group
//! holds for an **instance**, one choice of the payload (see [`walk`](super::walk)). Instances are numbered in the
//! payload's order, so that everything within one lies in a range; whether a group holds in it is answered by looking
//! at ranges, in time proportional to what was captured, never to combinations of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cow::COUNTS;
use super::leaf::test_bytes;
use super::steps::{LOOK_UP, Steps};
use super::walk::{Capture, Instance, instance_at};
use crate::condition::{Step, Test, Want};

#[derive(Debug)]
pub(crate) struct Rule<K> {
    pub(crate) key: K,
    /// Of all that were ever inserted, in this order: tells rules apart.
    pub(crate) number: u64,
    pub(crate) tree: Tree,
    pub(crate) rows: Box<[Row]>,
    /// By which fields it is found, as row and field. None if it must be tried always.
    pub(crate) pivots: Box<[(u16, u16)]>,
    /// Whether being found is enough: there is nothing but the one field.
    pub(crate) sole: bool,
    /// Whether it can be found once only for a payload that has one value at each path.
    pub(crate) found_once: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Row(u16),
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fields: Box<[RowField]>,
    pub(crate) group: Group,
}

#[derive(Debug)]
pub(crate) struct RowField {
    pub(crate) leaf: u32,
    pub(crate) path: Arc<[Step]>,
    /// How many choices there are on the path.
    depth: u16,
    pub(crate) wanted: bool,
    /// Shared with the other rows that want the same.
    pub(crate) tests: Arc<[Test]>,
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// How many choices were made; the outermost has none.
    depth: u16,
    some: Vec<u16>,
    none: Vec<u16>,
    groups: Vec<Group>,
    /// A wanted field in here, through which its instances are found: the row's pivot if it is one.
    lead: u16,
}

/// What was captured for the rules of one set of event types: sorted by leaf, then by instance.
#[derive(Clone, Copy)]
pub(crate) struct Captured<'c, 'p> {
    pub(crate) captures: &'c [Capture<'p>],
    pub(crate) instances: &'c [Instance],
    pub(crate) steps: &'c Steps,
}

/// By what a rule was found: a field, and the captures that pass one of its tests.
#[derive(Clone, Copy)]
pub(crate) struct Hit<'c> {
    pub(crate) row: u16,
    pub(crate) field: u16,
    /// Their places, ascending.
    pub(crate) captures: &'c [u32],
}

/// Hits of one rule that are looked into without more ado.
const FEW: usize = 4;

impl RowField {
    pub(crate) fn new(want: &Want, leaf: u32, path: Arc<[Step]>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "paths are short")]
        let depth = choices(&path).count() as u16;
        let wanted = matches!(want, Want::Some(_));
        Self { leaf, path, depth, wanted, tests: Arc::clone(want.tests()) }
    }
}

/// The parts of a path, from its beginning, that end in a choice. `Each` at the end chooses nothing.
fn choices(path: &[Step]) -> impl Iterator<Item = &[Step]> {
    let chooses = |at: usize| match path[at] {
        Step::Child => true,
        Step::Each => at + 1 < path.len(),
        Step::Name(_) | Step::Index(_) => false,
    };
    (0..path.len()).filter(move |at| chooses(*at)).map(|at| &path[..=at])
}

impl Row {
    /// `pivot`: by which field it is found, if it is.
    pub(crate) fn new(fields: Box<[RowField]>, pivot: Option<u16>) -> Self {
        let mut group = Group::default();
        let mut known: HashMap<&[Step], usize> = HashMap::new(); // each group's choice, and its place
        for (at, field) in fields.iter().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the index refuses more, see Index::insert"
            )]
            let number = at as u16;
            let mut inner = &mut group;
            for choice in choices(&field.path) {
                let place = match known.get(choice) {
                    Some(place) => *place,
                    None if field.wanted => {
                        inner.groups.reserve_exact(1); // mostly there are no more
                        inner.groups.push(Group {
                            depth: inner.depth + 1,
                            lead: number,
                            ..Group::default()
                        });
                        known.insert(choice, inner.groups.len() - 1);
                        inner.groups.len() - 1
                    }
                    None => break,
                };
                inner = &mut inner.groups[place];
                if pivot == Some(number) {
                    inner.lead = number;
                }
            }
            if field.wanted { inner.some.push(number) } else { inner.none.push(number) }
        }
        Self { fields, group }
    }

    fn holds(&self, captured: Captured<'_, '_>, hit: Option<Hit<'_>>) -> bool {
        if !captured.steps.spend(1) {
            return false;
        }
        // Where many elements of an array hit, what no element passes is cheaper to find out beforehand.
        if hit.is_some_and(|hit| hit.captures.len() > FEW) {
            let passed =
                |field: &RowField| !field.wanted || captured.some_passes(field, 0, u32::MAX);
            if !self.fields.iter().all(passed) {
                return false;
            }
        }
        self.group_holds(&self.group, 0, captured, hit)
    }

    fn group_holds(
        &self,
        group: &Group,
        instance: u32,
        captured: Captured<'_, '_>,
        hit: Option<Hit<'_>>,
    ) -> bool {
        let end = captured.instances[instance as usize].end;
        let some = |number: &u16| match hit {
            Some(hit) if hit.field == *number => {
                !captured.hits(hit, instance, instance + 1).is_empty()
            }
            _ => captured.some_passes(&self.fields[usize::from(*number)], instance, instance + 1),
        };
        let none =
            |number: &u16| !captured.some_passes(&self.fields[usize::from(*number)], instance, end);
        group.some.iter().all(some)
            && group.none.iter().all(none)
            && group
                .groups
                .iter()
                .all(|inner| self.some_instance_holds(inner, instance, end, captured, hit))
    }

    fn some_instance_holds(
        &self,
        group: &Group,
        instance: u32,
        end: u32,
        captured: Captured<'_, '_>,
        hit: Option<Hit<'_>>,
    ) -> bool {
        let lead = &self.fields[usize::from(group.lead)];
        let mut tried = None;
        let mut holds = |capture: &Capture<'_>| {
            let inner = instance_at(captured.instances, capture.instance, lead.depth - group.depth);
            // Captures within one instance stand beside each other.
            if tried.replace(inner) == Some(inner) {
                return false;
            }
            captured.steps.spend(1) && self.group_holds(group, inner, captured, hit)
        };
        match hit {
            Some(hit) if hit.field == group.lead => {
                let hits = captured.hits(hit, instance, end);
                hits.iter().any(|at| holds(&captured.captures[*at as usize]))
            }
            _ => captured
                .within(lead.leaf, instance, end)
                .iter()
                .any(|capture| lead.passes(capture, captured.steps) && holds(capture)),
        }
    }
}

impl RowField {
    fn passes(&self, capture: &Capture<'_>, steps: &Steps) -> bool {
        let passes =
            |test: &Test| steps.spend(test.steps(&capture.seen)) && test.passes(&capture.seen);
        self.tests.iter().any(passes)
    }
}

impl<'c, 'p> Captured<'c, 'p> {
    /// What was captured at a leaf, in the instances from one to before another.
    fn within(&self, leaf: u32, from: u32, to: u32) -> &'c [Capture<'p>] {
        if !self.steps.spend(LOOK_UP) {
            return &[];
        }
        let place = |instance| {
            self.captures
                .partition_point(|capture| (capture.leaf, capture.instance) < (leaf, instance))
        };
        &self.captures[place(from)..place(to)]
    }

    fn some_passes(&self, field: &RowField, from: u32, to: u32) -> bool {
        self.within(field.leaf, from, to).iter().any(|capture| field.passes(capture, self.steps))
    }

    /// Those of the hits that are in the instances from one to before another.
    fn hits<'h>(&self, hit: Hit<'h>, from: u32, to: u32) -> &'h [u32] {
        if !self.steps.spend(LOOK_UP) {
            return &[];
        }
        let place = |instance| {
            hit.captures.partition_point(|at| self.captures[*at as usize].instance < instance)
        };
        &hit.captures[place(from)..place(to)]
    }
}

impl<K> Rule<K> {
    /// Whether it holds, given by what it was found; or at all, given nothing.
    pub(crate) fn holds(&self, captured: Captured<'_, '_>, hit: Option<Hit<'_>>) -> bool {
        self.tree_holds(&self.tree, captured, hit)
    }

    fn tree_holds(&self, tree: &Tree, captured: Captured<'_, '_>, hit: Option<Hit<'_>>) -> bool {
        match tree {
            Tree::All(trees) => trees.iter().all(|tree| self.tree_holds(tree, captured, hit)),
            Tree::Any(trees) => trees.iter().any(|tree| self.tree_holds(tree, captured, hit)),
            Tree::Row(row) => {
                self.rows[usize::from(*row)].holds(captured, hit.filter(|hit| hit.row == *row))
            }
        }
    }

    /// Without what paths have, which leaves share.
    pub(crate) fn heap_bytes(&self) -> usize {
        fn of_tree(tree: &Tree) -> usize {
            match tree {
                Tree::All(trees) | Tree::Any(trees) => {
                    trees.capacity() * size_of::<Tree>() + trees.iter().map(of_tree).sum::<usize>()
                }
                Tree::Row(_) => 0,
            }
        }
        fn of_group(group: &Group) -> usize {
            (group.some.capacity() + group.none.capacity()) * size_of::<u16>()
                + group.groups.capacity() * size_of::<Group>()
                + group.groups.iter().map(of_group).sum::<usize>()
        }
        let mut known = HashSet::new();
        let mut field = |field: &RowField| {
            let tests = if known.insert(Arc::as_ptr(&field.tests)) { &*field.tests } else { &[] };
            let tests = tests.iter().map(|test| size_of::<Test>() + test_bytes(test));
            size_of::<RowField>() + tests.sum::<usize>()
        };
        let row = |row: &Row| {
            size_of::<Row>()
                + row.fields.iter().map(&mut field).sum::<usize>()
                + of_group(&row.group)
        };
        size_of::<Self>()
            + COUNTS
            + size_of_val(&*self.pivots)
            + of_tree(&self.tree)
            + self.rows.iter().map(row).sum::<usize>()
    }
}
