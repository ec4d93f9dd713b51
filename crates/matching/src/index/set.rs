//! The rules of one event-type pattern.

use std::sync::Arc;

use super::cow::CowMap;
use super::leaf::{Asker, Leaf, Posting, breadth, hash};
use super::rule::{Captured, Hit, Row, RowField, Rule, Tree};
use super::steps::REMEMBER;
use super::tree::{End, Node};
use super::walk::Capture;
use super::weight::MAX_WEIGHT;
use crate::condition::{Condition, Field, Step, Test};

#[derive(Clone, Debug)]
pub(crate) struct Set<K> {
    pub(crate) root: Node,
    leaves: CowMap<(u32, Leaf<K>)>,
    /// Rules that nothing in a payload leads to: without a condition, or that only want something to be absent.
    always: CowMap<Arc<Rule<K>>>,
    next_leaf: u32,
}

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            leaves: CowMap::default(),
            always: CowMap::default(),
            next_leaf: 0,
        }
    }
}

impl<K: Clone> Set<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty() && self.always.is_empty()
    }

    /// `only`: whether the rule is in no other set.
    pub(crate) fn insert(
        &mut self,
        key: K,
        number: u64,
        condition: &Condition,
        only: bool,
    ) -> Arc<Rule<K>> {
        let mut rows = Vec::new();
        let tree = self.lay_out(condition, &mut rows);
        let tests_of =
            |(row, field): &(u16, u16)| rows[usize::from(*row)][usize::from(*field)].tests.len();
        let entries = |pivots: &[(u16, u16)]| pivots.iter().map(tests_of).sum::<usize>();
        // Rows that share a long list might each be found by it. Rather than have so many entries, it is tried always.
        let pivots = self.pivots(&tree, &rows).map(|(_, pivots)| pivots);
        let pivots = pivots.filter(|pivots| entries(pivots) <= MAX_WEIGHT).unwrap_or_default();
        let found_once = only && pivots.len() <= 1 && entries(&pivots) <= 1;
        let rows: Box<[Row]> = rows
            .into_iter()
            .zip(0..)
            .map(|(fields, row)| {
                let pivot = pivots.iter().find(|(known, _)| *known == row).map(|(_, field)| *field);
                Row::new(fields.into(), pivot)
            })
            .collect();
        let sole = matches!(tree, Tree::Row(_)) && rows.len() == 1 && rows[0].fields.len() == 1;
        let rule = Arc::new(Rule {
            key,
            number,
            tree,
            rows,
            sole: sole && !pivots.is_empty(),
            pivots: pivots.into(),
            found_once,
        });
        for (row, field) in &rule.pivots {
            let of = &rule.rows[usize::from(*row)].fields[usize::from(*field)];
            let asker = Asker { rule: Arc::clone(&rule), row: *row, field: *field };
            let leaf = self.leaf_mut(of.leaf);
            for test in &*of.tests {
                leaf.add(test, asker.clone());
            }
        }
        if rule.pivots.is_empty() {
            let is = |known: &Arc<Rule<K>>| known.number == number;
            self.always.change(hash(&number), is, || Arc::clone(&rule));
        }
        rule
    }

    fn leaf(&self, number: u32) -> Option<&Leaf<K>> {
        self.leaves.find(place(number), |(known, _)| *known == number).map(|(_, leaf)| leaf)
    }

    fn leaf_mut(&mut self, number: u32) -> &mut Leaf<K> {
        let make = || (number, Leaf::default());
        &mut self.leaves.change(place(number), |(known, _)| *known == number, make).1
    }

    /// The condition as a tree of rows, with each path's leaf.
    fn lay_out(&mut self, condition: &Condition, rows: &mut Vec<Vec<RowField>>) -> Tree {
        match condition {
            Condition::All(all) => {
                Tree::All(all.iter().map(|one| self.lay_out(one, rows)).collect())
            }
            Condition::Any(any) => {
                Tree::Any(any.iter().map(|one| self.lay_out(one, rows)).collect())
            }
            Condition::Together(fields) => {
                let fields = fields.iter().map(|field| self.row_field(field)).collect();
                rows.push(fields);
                #[expect(clippy::cast_possible_truncation, reason = "Index::insert refuses more")]
                Tree::Row((rows.len() - 1) as u16)
            }
        }
    }

    fn row_field(&mut self, field: &Field) -> RowField {
        let mut path = Arc::clone(&field.path);
        if path.windows(2).any(|pair| pair == [Step::Each, Step::Each]) {
            let mut once = path.to_vec();
            once.dedup_by(|a, b| (&*a, &*b) == (&Step::Each, &Step::Each));
            path = once.into();
        }
        let next_leaf = &mut self.next_leaf;
        let end = self.root.end_at(&path, || {
            let leaf = *next_leaf;
            *next_leaf = next_leaf.wrapping_add(1);
            End { leaf, path: Arc::clone(&path), users: 0, structured: 0 }
        });
        end.users += 1;
        end.structured += u32::from(cares_for_structured(field.want.tests()));
        RowField::new(&field.want, end.leaf, Arc::clone(&end.path))
    }

    /// The fields by which the tree is found at the least cost: one of them passes whenever the tree holds. None if
    /// there are none.
    fn pivots(&self, tree: &Tree, rows: &[Vec<RowField>]) -> Option<(usize, Vec<(u16, u16)>)> {
        match tree {
            Tree::All(trees) => trees
                .iter()
                .filter_map(|tree| self.pivots(tree, rows))
                .min_by_key(|(cost, _)| *cost),
            Tree::Any(trees) => {
                let mut all = (0, Vec::new());
                for tree in trees {
                    let (cost, pivots) = self.pivots(tree, rows)?;
                    all.0 += cost;
                    all.1.extend(pivots);
                }
                Some(all)
            }
            Tree::Row(row) => {
                let fields =
                    rows[usize::from(*row)].iter().zip(0..).filter(|(field, _)| field.wanted);
                let cost = |field: &RowField| {
                    let leaf = self.leaf(field.leaf);
                    let cost =
                        |test| leaf.map_or_else(|| 1 + breadth(test), |leaf| leaf.cost(test));
                    field.tests.iter().map(cost).sum::<usize>()
                };
                let costs = fields.map(|(field, number)| (cost(field), vec![(*row, number)]));
                costs.min_by_key(|(cost, _)| *cost)
            }
        }
    }

    pub(crate) fn remove(&mut self, rule: &Arc<Rule<K>>) {
        for pivot in &rule.pivots {
            let field = &rule.rows[usize::from(pivot.0)].fields[usize::from(pivot.1)];
            let leaf = self.leaf_mut(field.leaf);
            for test in &*field.tests {
                leaf.remove(test, rule, *pivot);
            }
            if leaf.is_empty() {
                self.leaves.remove(place(field.leaf), |(known, _)| *known == field.leaf);
            }
        }
        for field in rule.rows.iter().flat_map(|row| &row.fields) {
            let unknown =
                || End { leaf: field.leaf, path: Arc::clone(&field.path), users: 1, structured: 0 };
            let end = self.root.end_at(&field.path, unknown);
            end.users -= 1;
            end.structured -= u32::from(cares_for_structured(&field.tests));
            if end.users == 0 {
                self.root.remove(&field.path);
            }
        }
        if rule.pivots.is_empty() {
            self.always.remove(hash(&rule.number), |known| known.number == rule.number);
        }
    }

    /// Adds the rules that hold for what was captured for this set, some perhaps more than once.
    pub(crate) fn holding<'s>(&'s self, all: Captured<'_, '_>, holding: &mut Vec<&'s Rule<K>>) {
        holding.extend(self.always.iter().filter(|rule| rule.holds(all, None)).map(|rule| &**rule));
        let mut from = 0;
        for captures in all.captures.chunk_by(|a, b| a.leaf == b.leaf) {
            self.at_leaf(captures, from, all, holding);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a payload has fewer values than that"
            )]
            let length = captures.len() as u32;
            from += length;
        }
    }

    /// `from`: the place of the leaf's first capture.
    fn at_leaf<'s>(
        &'s self,
        captures: &[Capture<'_>],
        from: u32,
        all: Captured<'_, '_>,
        holding: &mut Vec<&'s Rule<K>>,
    ) {
        let Some(leaf) = self.leaf(captures[0].leaf) else { return };
        if let [capture] = captures {
            leaf.look_up(&capture.seen, all.steps, |posting| ask(posting, &[from], all, holding));
        } else {
            // Equal elements of an array hit the same postings; each is asked once, with all that hit it.
            let mut hits: Vec<(&Posting<K>, u32)> = Vec::new();
            for (capture, at) in captures.iter().zip(from..) {
                leaf.look_up(&capture.seen, all.steps, |posting| {
                    all.steps.spend(REMEMBER);
                    hits.push((posting, at));
                });
            }
            hits.sort_unstable_by_key(|(posting, at)| (std::ptr::from_ref(*posting), *at));
            for hits in hits.chunk_by(|a, b| std::ptr::eq(a.0, b.0)) {
                if all.steps.are_spent() {
                    return;
                }
                let places: Vec<u32> = hits.iter().map(|(_, at)| *at).collect();
                ask(hits[0].0, &places, all, holding);
            }
        }
        if !leaf.has_others() {
            return;
        }
        let mut places = Vec::new();
        for posting in leaf.others(captures.iter().filter_map(Capture::number)) {
            if all.steps.are_spent() {
                return;
            }
            places.clear();
            let sole = captures.len() == 1 || posting.askers.iter().all(|asker| asker.rule.sole);
            let passing = captures
                .iter()
                .zip(from..)
                .filter(|(capture, _)| posting.passes(&capture.seen, all.steps));
            places.extend(passing.map(|(_, at)| at).take(if sole { 1 } else { usize::MAX }));
            if !places.is_empty() {
                ask(posting, &places, all, holding);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
            + self.leaves.heap_bytes(|(_, leaf)| leaf.heap_bytes())
            + self.always.heap_bytes(|_| 0)
    }
}

/// Where a leaf of this number lies: nobody else chooses the numbers, so any spread does.
fn place(leaf: u32) -> u64 {
    u64::from(leaf).wrapping_mul(0x9E37_79B9_7F4A_7C15) // 2^64 / golden ratio
}

fn cares_for_structured(tests: &[Test]) -> bool {
    tests.contains(&Test::Structured)
}

/// Steps for each rule that is asked: it is somewhere else in memory.
const ASK: usize = 4;

/// Adds those of a posting that hold, given the captures that hit it.
fn ask<'s, K>(
    posting: &'s Posting<K>,
    captures: &[u32],
    all: Captured<'_, '_>,
    holding: &mut Vec<&'s Rule<K>>,
) {
    if !all.steps.spend(ASK * posting.askers.len()) {
        return;
    }
    for asker in &posting.askers {
        let hit = Hit { row: asker.row, field: asker.field, captures };
        if asker.rule.sole || asker.rule.holds(all, Some(hit)) {
            holding.push(&asker.rule);
        }
    }
}
