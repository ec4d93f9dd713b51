//! `$or`, spelt out: the conjunctions that a pattern stands for.
//!
//! Each **branch** takes one object of each `$or`, and lists the fields that must match, in the order in which they
//! are judged.

use std::collections::HashSet;
use std::sync::Arc;

use super::parse::{InvalidPattern, MAX_BRANCHES, push};
use super::{Leaf, Node, Object, Pattern, lower};
use crate::index::{MAX_WEIGHT, weight};

#[derive(Clone, Debug)]
pub(super) struct BranchField<'p> {
    pub(super) path: Arc<[&'p str]>,
    pub(super) leaf: &'p Leaf,
    /// Where it stands in the pattern.
    pub(super) pointer: Arc<str>,
}

pub(super) type Branch<'p> = Vec<BranchField<'p>>;

/// Of a pattern that [`check`] let pass.
pub(super) fn branches(pattern: &Pattern) -> Vec<Branch<'_>> {
    let mut branches = spelt_out(pattern);
    for branch in &mut branches {
        branch.sort_by_cached_key(|field| field.path.join("."));
    }
    branches
}

fn spelt_out(pattern: &Pattern) -> Vec<Branch<'_>> {
    of(&pattern.root, &mut Vec::new(), &mut String::new())
}

/// Refuses what spells out to too many branches, before it does, what the index would refuse, and a branch that names a
/// field twice.
pub(super) fn check(pattern: &Pattern) -> Result<(), InvalidPattern> {
    if count(&pattern.root) > MAX_BRANCHES {
        return Err(InvalidPattern {
            pointer: String::new(),
            why: format!(
                "the $or's of a pattern, multiplied, make at most {MAX_BRANCHES} combinations"
            ),
        });
    }
    let branches = spelt_out(pattern);
    let weight = weight(&lower::lower(&branches));
    if weight > MAX_WEIGHT {
        return Err(InvalidPattern {
            pointer: String::new(),
            why: format!(
                "the pattern is too large: with its $or's spelt out it weighs {weight}, at most {MAX_WEIGHT} are \
                 indexed; each field of each combination weighs 1 for each name on its path, each value once 1, and \
                 long ones more"
            ),
        });
    }
    for branch in branches {
        let mut named = HashSet::with_capacity(branch.len());
        if let Some(field) = branch.iter().find(|field| !named.insert(&field.path)) {
            return Err(InvalidPattern {
                pointer: field.pointer.to_string(),
                why: "the field is named already beside this $or; write its alternatives in one place".to_owned(),
            });
        }
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
                let field = BranchField {
                    path: path.as_slice().into(),
                    leaf,
                    pointer: pointer.as_str().into(),
                };
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
