//! What a pattern means, by looking at everything: slow, and short enough to be seen to be right.
//!
//! A branch's fields form **groups**, one for each object of the pattern: a group holds for one object of the payload.
//! An array stands for what is in it, in turn ([`each`]).

use serde_json::Value;

use super::Pattern;
use super::branch::{Branch, branches};
use crate::condition::{Seen, Test};

pub(super) fn matches(pattern: &Pattern, payload: &Value) -> bool {
    branches(pattern).iter().any(|branch| branch_matches(branch, payload))
}

pub(super) fn branch_matches(branch: &Branch<'_>, payload: &Value) -> bool {
    // A field that may be absent or something is tried both ways: which one it is decides what it chooses.
    let mut ways: Vec<Group<'_>> = vec![Group::default()];
    for field in branch {
        let leaf = field.leaf;
        let mut next = Vec::new();
        for way in ways {
            if leaf.or_absent {
                let mut way = way.clone();
                way.must_lack(&field.path);
                next.push(way);
            }
            if !leaf.tests.is_empty() {
                let mut way = way;
                way.must_have(&field.path, &leaf.tests);
                next.push(way);
            }
        }
        ways = next;
    }
    ways.iter().any(|way| way.holds(payload))
}

/// What one object of the payload must have.
#[derive(Clone, Default)]
struct Group<'p> {
    some: Vec<(&'p str, &'p [Test])>,
    groups: Vec<(&'p str, Group<'p>)>,
    none: Vec<Vec<&'p str>>,
}

impl<'p> Group<'p> {
    fn must_have(&mut self, path: &[&'p str], tests: &'p [Test]) {
        match path {
            [] => {}
            [name] => self.some.push((name, tests)),
            [name, rest @ ..] => {
                let at =
                    self.groups.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                        self.groups.push((name, Group::default()));
                        self.groups.len() - 1
                    });
                self.groups[at].1.must_have(rest, tests);
            }
        }
    }

    /// Belongs to the innermost object that a field before it has chosen.
    fn must_lack(&mut self, path: &[&'p str]) {
        if let [name, rest @ ..] = path
            && !rest.is_empty()
            && let Some((_, group)) = self.groups.iter_mut().find(|(known, _)| known == name)
        {
            return group.must_lack(rest);
        }
        self.none.push(path.to_vec());
    }

    fn holds(&self, object: &Value) -> bool {
        self.some.iter().all(|(name, tests)| {
            each(object.get(name)).iter().any(|value| {
                Seen::of(value).is_some_and(|seen| tests.iter().any(|test| test.passes(&seen)))
            })
        }) && self.groups.iter().all(|(name, group)| {
            each(object.get(name)).iter().any(|value| value.is_object() && group.holds(value))
        }) && self.none.iter().all(|path| at(object, path).iter().all(|value| value.is_object()))
    }
}

/// The value itself, or if it is an array each of its elements, and of theirs in turn.
pub(super) fn each(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(elements)) => {
            elements.iter().flat_map(|element| each(Some(element))).collect()
        }
        Some(value) => vec![value],
    }
}

/// Everything at a path.
pub(super) fn at<'v>(object: &'v Value, path: &[&str]) -> Vec<&'v Value> {
    match path {
        [] => vec![object],
        [name, rest @ ..] => {
            each(object.get(name)).into_iter().flat_map(|value| at(value, rest)).collect()
        }
    }
}
