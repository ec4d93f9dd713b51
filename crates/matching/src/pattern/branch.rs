//! `$or`, spelt out: the conjunctions that a pattern stands for.
//!
//! Each **branch** takes one object of each `$or`, and lists the fields that must match, in the order in which they
//! are judged.

use std::collections::HashSet;

use super::parse::{InvalidPattern, MAX_BRANCHES, push};
use super::{Leaf, Node, Object, Pattern};
use crate::index::MAX_CONDITION_FIELDS;

#[derive(Clone, Debug)]
pub(super) struct BranchField<'p> {
    pub(super) path: Vec<&'p str>,
    pub(super) leaf: &'p Leaf,
    /// Where it stands in the pattern.
    pub(super) pointer: String,
}

pub(super) type Branch<'p> = Vec<BranchField<'p>>;

/// Of a pattern that [`check`] let pass.
pub(super) fn branches(pattern: &Pattern) -> Vec<Branch<'_>> {
    let mut branches = of(&pattern.root, &mut Vec::new(), &mut String::new());
    for branch in &mut branches {
        branch.sort_by_cached_key(|field| field.path.join("."));
    }
    branches
}

/// Refuses what spells out to too many branches, before it does, and a branch that names a field twice.
pub(super) fn check(pattern: &Pattern) -> Result<(), InvalidPattern> {
    if count(&pattern.root) > MAX_BRANCHES {
        return Err(InvalidPattern {
            pointer: String::new(),
            why: format!(
                "the $or's of a pattern, multiplied, make at most {MAX_BRANCHES} combinations"
            ),
        });
    }
    let mut size = 1;
    for branch in branches(pattern) {
        let mut named = HashSet::with_capacity(branch.len());
        if let Some(field) = branch.iter().find(|field| !named.insert(&field.path)) {
            return Err(InvalidPattern {
                pointer: field.pointer.clone(),
                why: "the field is named already beside this $or; write its alternatives in one place".to_owned(),
            });
        }
        let ways: usize = branch.iter().map(|field| field.leaf.ways()).product();
        size += ways * (branch.len() + 1);
    }
    if size > MAX_CONDITION_FIELDS {
        return Err(InvalidPattern {
            pointer: String::new(),
            why: format!(
                "the combinations of $or's make {size} fields; at most {MAX_CONDITION_FIELDS} are indexed"
            ),
        });
    }
    Ok(())
}

fn count(object: &Object) -> usize {
    let fields = object.fields.iter().map(|(_, node)| match node {
        Node::Object(object) => count(object),
        Node::Leaf(leaf) => leaf.ways(),
    });
    let or = if object.or.is_empty() {
        1
    } else {
        object.or.iter().map(count).fold(0, usize::saturating_add)
    };
    fields.fold(or, usize::saturating_mul)
}

fn of<'p>(object: &'p Object, path: &mut Vec<&'p str>, pointer: &mut String) -> Vec<Branch<'p>> {
    let mut branches = vec![Vec::new()];
    for (name, node) in &object.fields {
        let length = pointer.len();
        push(pointer, name);
        path.push(name);
        match node {
            Node::Leaf(leaf) => {
                let field = BranchField { path: path.clone(), leaf, pointer: pointer.clone() };
                for branch in &mut branches {
                    branch.push(field.clone());
                }
            }
            Node::Object(object) => branches = product(&branches, &of(object, path, pointer)),
        }
        path.pop();
        pointer.truncate(length);
    }
    if object.or.is_empty() {
        return branches;
    }
    let mut alternatives = Vec::new();
    for (at, object) in object.or.iter().enumerate() {
        let length = pointer.len();
        push(pointer, "$or");
        push(pointer, &at.to_string());
        alternatives.extend(of(object, path, pointer));
        pointer.truncate(length);
    }
    product(&branches, &alternatives)
}

fn product<'p>(left: &[Branch<'p>], right: &[Branch<'p>]) -> Vec<Branch<'p>> {
    left.iter()
        .flat_map(|left| right.iter().map(move |right| [&left[..], right].concat()))
        .collect()
}
