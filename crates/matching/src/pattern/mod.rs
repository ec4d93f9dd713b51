//! Event patterns: the language that users of EventBridge and of AWS's event-ruler know.
//!
//! A [`Pattern`] is a JSON object shaped like the payloads that it matches. Its **fields** hold arrays of
//! **alternatives**: values, or objects that name an operator (`[{"prefix": "eu-"}, "us-east-1"]`). All fields must
//! match, for each one alternative suffices; `$or` holds objects of which one must match. [`parse`] reads it, once,
//! when a subscription is saved; [`branches`](branch) spells `$or` out; [`naive`] says what a pattern means, and
//! [`lower`] says the same to the index; [`explain`] says why.
//!
//! Arrays of the payload are looked through: a field matches if one of the elements does, and two fields of one object
//! of the pattern match in one object of the payload, not in two elements of an array.
//!
//! ## Where it differs from event-ruler
//!
//! From its version 2.1; tests/ruler.sh has a row for each, and random pairs for all else.
//!
//! * **Numbers** are compared as [numbers](crate::Number), exactly, and never as text: `1` matches `1.0`, and
//!   2^53 + 1 is more than 2^53. There ranges compare doubles, and what has more than 17 digits is text.
//! * **Strings** are compared as strings: `"::1"` does not match `"0:0:0:0:0:0:0:1"`; that is what `cidr` is for.
//! * **Dots** in names are letters: `"a.b"` is not `b` within `a`.
//! * **Ignoring case** compares the lower-case form of each character: `ß` matches `ẞ`, and not `SS`.
//! * **`cidr`** accepts `/32` and `/128`, and refuses bits beyond the prefix, where event-ruler makes a range of them.
//!   A network has addresses of its own family only; there `10.0.0.0/8` has `a00::1`, which begins with the same bits.
//!   An IPv4 address mapped into IPv6 is the IPv4 address, as there, but here also as `::ffff:10.0.0.1`.
//! * **`$or`** is always the operator, never a field's name, and a field may not be named twice in one branch, where
//!   event-ruler lets the last one win.
//! * A field that is both a value and an object (possible through `$or`) chooses an array element as an object only.
//! * A payload that is no object has no fields, where event-ruler refuses it. Of a name that occurs twice in an object,
//!   the last one counts, where event-ruler matches both.
//! * **Caps** are [`parse`]'s: depth, fields, alternatives, lengths, stars, branches; and what all of it
//!   [weighs](crate::MAX_WEIGHT) when `$or` is spelt out.
//!
//! As in event-ruler, `exists` looks at scalars only (an object at the path does not exist), fields are judged in the
//! order of their dotted paths, and `{"exists": false}` looks only at the array elements that the fields before it have
//! chosen: with `[{"a": 1}, {"b": 2}]`, "`a` is 1 and `b` doesn't exist" holds, "`b` is 2 and `a` doesn't exist" does
//! not.

mod branch;
mod explain;
mod lower;
mod naive;
mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub use explain::{Decided, Explanation, FieldReport, Found};
pub use parse::{
    InvalidPattern, MAX_ALTERNATIVES, MAX_BRANCHES, MAX_DEPTH, MAX_FIELDS, MAX_STARS,
    MAX_TEXT_BYTES,
};

use crate::condition::{Condition, Test};

#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    root: Object,
}

#[derive(Clone, Debug, PartialEq)]
struct Object {
    fields: Vec<(Box<str>, Node)>,
    /// The alternatives of `$or`; empty where there is none.
    or: Vec<Object>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Object(Object),
    Leaf(Leaf),
}

/// What a field may be.
#[derive(Clone, Debug, PartialEq)]
struct Leaf {
    /// A scalar is there that passes one of these; each stands here once.
    tests: Arc<[Test]>,
    /// Or none is there.
    or_absent: bool,
    /// As it stands in the pattern, for whoever asks why.
    written: Value,
}

impl Leaf {
    /// Being absent and being something are two ways to match, of which each makes a conjunction of its own.
    fn ways(&self) -> usize {
        usize::from(self.or_absent) + usize::from(!self.tests.is_empty())
    }
}

impl Pattern {
    pub fn parse(pattern: &Value) -> Result<Self, InvalidPattern> {
        parse::parse(pattern)
    }

    /// Of a name that occurs twice in an object, the last one counts.
    pub fn parse_text(text: &str) -> Result<Self, InvalidPattern> {
        let value = serde_json::from_str(text).map_err(|error| InvalidPattern {
            pointer: String::new(),
            why: format!("a pattern is JSON: {error}"),
        })?;
        parse::parse(&value)
    }

    /// Whether the pattern matches, by looking at everything. The index is held to this.
    pub fn matches(&self, payload: &Value) -> bool {
        naive::matches(self, payload)
    }

    /// Why it matches or doesn't.
    pub fn explain(&self, payload: &Value) -> Explanation {
        explain::explain(self, payload)
    }

    /// The same, as the index takes it.
    pub fn condition(&self) -> Condition {
        lower::lower(&branch::branches(self))
    }
}
