//! What each keyword of JSON Schema 2020-12 applies, and what it asks for. Pure.
//!
//! A keyword that isn't in these tables is an annotation to the validator, too: that was read off
//! its source (jsonschema 0.61, `keywords::get_for_draft` and referencing's `draft202012`), and is
//! to be read again with each new version of it.

use std::ops::{Add, AddAssign};

use serde_json::Value;

/// Where a keyword's subschemas apply.
#[derive(Clone, Copy)]
pub(super) enum Applies {
    /// All of them, to the same value.
    Here,
    /// To a member, and no other keyword of this kind to the same one.
    ToOwnMember,
    /// To members that others may apply to as well.
    ToMembers,
    /// Not by themselves.
    Nowhere,
}

/// How a keyword holds its subschemas.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    One,
    List,
    Map,
}

pub(super) fn applicator(keyword: &str) -> Option<(Applies, Holds)> {
    Some(match keyword {
        "allOf" | "anyOf" | "oneOf" => (Applies::Here, Holds::List),
        // The names of members are looked at along with what has them.
        "not" | "if" | "then" | "else" | "propertyNames" => (Applies::Here, Holds::One),
        "dependentSchemas" => (Applies::Here, Holds::Map),
        "properties" => (Applies::ToOwnMember, Holds::Map),
        "prefixItems" => (Applies::ToOwnMember, Holds::List),
        "items" | "additionalProperties" => (Applies::ToOwnMember, Holds::One),
        "patternProperties" => (Applies::ToMembers, Holds::Map),
        "contains" | "unevaluatedItems" | "unevaluatedProperties" => {
            (Applies::ToMembers, Holds::One)
        }
        "contentSchema" => (Applies::Nowhere, Holds::One),
        "$defs" | "definitions" => (Applies::Nowhere, Holds::Map),
        _ => return None,
    })
}

/// Keywords that the validator would follow and we don't, with what says the same.
pub(super) fn refused(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "$dynamicRef" | "$recursiveRef" => "$ref",
        "$dynamicAnchor" | "$recursiveAnchor" => "$anchor",
        "dependencies" => "dependentRequired or dependentSchemas",
        "additionalItems" => "prefixItems and items",
        _ => return None,
    })
}

/// What is asked of a value, in three coins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Steps of about ten nanoseconds, whatever the value.
    pub(crate) steps: u64,
    /// Steps for each byte of text in it.
    pub(crate) text: u64,
    /// Faults that may be found with it.
    pub(crate) faults: u64,
}

impl Load {
    pub(super) fn of(steps: u64, text: u64, faults: u64) -> Self {
        Self { steps, text, faults }
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            steps: self.steps.max(other.steps),
            text: self.text.max(other.text),
            faults: self.faults.max(other.faults),
        }
    }
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            text: self.text.saturating_add(other.text),
            faults: self.faults.saturating_add(other.faults),
        }
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What a schema's own keywords ask for, without its subschemas.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    pub(super) load: Load,
    /// Steps for everything inside the value, at whatever depth.
    pub(super) inside: u64,
    /// It looks at what its neighbours have looked at, by asking them again.
    pub(super) asks_again: bool,
}

impl Own {
    pub(super) fn add(&mut self, other: Self) {
        self.load += other.load;
        self.inside = self.inside.saturating_add(other.inside);
        self.asks_again |= other.asks_again;
    }
}

/// Names, or values, that cost as much as a subschema to look up or compare.
const AS_ONE: u64 = 8;
/// What `uniqueItems` asks of each value inside: up to 15 items are compared each with each,
/// more are hashed.
const UNIQUE: u64 = 16;

/// Patterns are charged apart, by their size.
pub(super) fn own(keyword: &str, value: &Value) -> Own {
    let names = match value {
        Value::Array(names) => names.len() as u64,
        Value::Object(members) => members.len() as u64,
        _ => 0,
    };
    let load = match keyword {
        "type"
        | "minimum"
        | "maximum"
        | "exclusiveMinimum"
        | "exclusiveMaximum"
        | "minItems"
        | "maxItems"
        | "minProperties"
        | "maxProperties"
        | "minContains"
        | "maxContains"
        | "pattern"
        | "$ref"
        | "allOf"
        | "anyOf"
        | "oneOf"
        | "not"
        | "if"
        | "then"
        | "else"
        | "propertyNames"
        | "items"
        | "prefixItems"
        | "contains"
        | "additionalProperties" => Load::of(1, 0, 1),
        "multipleOf" => Load::of(2, 0, 1),
        // Characters are counted.
        "minLength" | "maxLength" => Load::of(1, 1, 1),
        // One that is a regular expression is parsed.
        "format" if value == "regex" => Load::of(4, 5, 1),
        "format" => Load::of(4, 1, 1),
        "enum" | "const" => Load::of(1 + values(value) / AS_ONE, 0, 1),
        // Each name that is missing is a fault of its own.
        "required" => Load::of(1 + names / AS_ONE, 0, names),
        "dependentRequired" => {
            let lists = value.as_object().into_iter().flat_map(|members| members.values());
            let lists = lists.filter_map(Value::as_array);
            let needed = lists.map(|names| names.len() as u64).sum::<u64>();
            Load::of(1 + (names + needed) / AS_ONE, 0, needed)
        }
        "properties" | "dependentSchemas" => Load::of(1 + names / AS_ONE, 0, 1),
        "patternProperties" => Load::of(1 + names, 0, 1),
        "unevaluatedProperties" | "unevaluatedItems" => {
            return Own { load: Load::of(2, 0, 1), inside: 0, asks_again: true };
        }
        "uniqueItems" => {
            return Own { load: Load::of(UNIQUE, 1, 1), inside: UNIQUE, asks_again: false };
        }
        _ => Load::default(),
    };
    Own { load, inside: 0, asks_again: false }
}

/// Values in a value, and text as so many.
fn values(value: &Value) -> u64 {
    const TEXT_AS_ONE: u64 = 64;
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(members) => {
            1 + members
                .iter()
                .map(|(key, value)| 1 + key.len() as u64 / TEXT_AS_ONE + values(value))
                .sum::<u64>()
        }
        Value::String(text) => 1 + text.len() as u64 / TEXT_AS_ONE,
        _ => 1,
    }
}
