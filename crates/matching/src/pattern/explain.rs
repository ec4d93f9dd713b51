//! Why a pattern matches a payload, or doesn't.

use serde::Serialize;
use serde_json::Value;

use super::branch::{Branch, BranchField, branches};
use super::parse::push;
use super::{Pattern, naive};
use crate::condition::Seen;
use crate::predicate::shown;

/// How much of what was found is shown for a field. A person reads it.
const FOUND_MAX: usize = 20;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub matched: bool,
    pub decided: Decided,
    /// The fields of the branch that decided, in the order in which they are judged: the first branch that matches, or
    /// if none does the one that fails in the fewest fields.
    pub fields: Vec<FieldReport>,
}

/// Which part decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Decided {
    /// Every field matches.
    AllFields,
    /// This field, a JSON Pointer into the pattern, does not match; there may be others.
    Field { pattern: String },
    /// Each field matches somewhere, but not all of them within one element of an array.
    OneElement,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldReport {
    /// A JSON Pointer into the pattern.
    pub pattern: String,
    /// The names on the way to the field in the payload, without the arrays between.
    pub path: Vec<String>,
    pub matched: bool,
    /// The alternatives, as they stand in the pattern.
    pub expected: Value,
    /// What the payload has there, at most 20 of it.
    pub found: Vec<Found>,
    /// How many more there were.
    pub more: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// A JSON Pointer into the payload.
    pub at: String,
    /// `null` also for an object, which is no value of a field, and for a text of more than 1,024 bytes: they are
    /// not repeated here.
    pub value: Value,
    pub is_object: bool,
    pub matched: bool,
}

pub(super) fn explain(pattern: &Pattern, payload: &Value) -> Explanation {
    let branches = branches(pattern);
    if let Some(branch) = branches.iter().find(|branch| naive::branch_matches(branch, payload)) {
        let mut fields = reports(branch, payload);
        // A field that must not exist was judged within what others chose; here it was looked for everywhere.
        for field in &mut fields {
            field.matched = true;
        }
        return Explanation { matched: true, decided: Decided::AllFields, fields };
    }
    let closest = branches
        .iter()
        .map(|branch| reports(branch, payload))
        .min_by_key(|fields| fields.iter().filter(|field| !field.matched).count())
        .unwrap_or_default();
    let decided = match closest.iter().find(|field| !field.matched) {
        Some(field) => Decided::Field { pattern: field.pattern.clone() },
        None => Decided::OneElement,
    };
    Explanation { matched: false, decided, fields: closest }
}

fn reports(branch: &Branch<'_>, payload: &Value) -> Vec<FieldReport> {
    branch.iter().map(|field| report(field, payload)).collect()
}

fn report(field: &BranchField<'_>, payload: &Value) -> FieldReport {
    let mut all = Vec::new();
    collect(payload, &field.path, &mut String::new(), &mut all);
    let passes = |value: &Value| {
        Seen::of(value).is_some_and(|seen| field.leaf.tests.iter().any(|test| test.passes(&seen)))
    };
    let absent = all.iter().all(|(_, value)| value.is_object());
    let matched = all.iter().any(|(_, value)| passes(value)) || (absent && field.leaf.or_absent);
    // What matches is worth more than what happens to come first.
    all.sort_by_key(|(_, value)| !passes(value));
    let more = all.len().saturating_sub(FOUND_MAX);
    all.truncate(FOUND_MAX);
    FieldReport {
        pattern: field.pointer.to_string(),
        path: field.path.iter().map(ToString::to_string).collect(),
        matched,
        expected: field.leaf.written.clone(),
        found: all
            .into_iter()
            .map(|(at, value)| Found {
                at,
                value: if value.is_object() {
                    Value::Null
                } else {
                    shown(value).unwrap_or_default()
                },
                is_object: value.is_object(),
                matched: passes(value),
            })
            .collect(),
        more,
    }
}

/// As [`naive::at`], with where each value stands.
fn collect<'v>(
    value: &'v Value,
    path: &[&str],
    pointer: &mut String,
    all: &mut Vec<(String, &'v Value)>,
) {
    let Some((name, rest)) = path.split_first() else { return };
    let Some(member) = value.get(name) else { return };
    let length = pointer.len();
    push(pointer, name);
    spread(member, rest, pointer, all);
    pointer.truncate(length);
}

fn spread<'v>(
    value: &'v Value,
    rest: &[&str],
    pointer: &mut String,
    all: &mut Vec<(String, &'v Value)>,
) {
    match value {
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                let length = pointer.len();
                push(pointer, &at.to_string());
                spread(element, rest, pointer, all);
                pointer.truncate(length);
            }
        }
        value if rest.is_empty() => all.push((pointer.clone(), value)),
        value => collect(value, rest, pointer, all),
    }
}
