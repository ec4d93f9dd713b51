//! From JSON to a [`Pattern`], or to a place in the JSON and what would be right there.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Bound;

use serde_json::{Map, Value};

use super::{Leaf, Node, Object, Pattern, branch};
use crate::condition::{Network, Test};
use crate::number::Number;
use crate::text::Wildcard;

/// Objects within objects, `$or`'s included.
pub const MAX_DEPTH: usize = 32;
/// Fields with alternatives, in the whole pattern.
pub const MAX_FIELDS: usize = 256;
/// Alternatives, and values within one, in the whole pattern.
pub const MAX_ALTERNATIVES: usize = 2_048;
/// A name or a string, in bytes.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Stars in one wildcard: each may look through the whole string once.
pub const MAX_STARS: usize = 16;
/// Conjunctions that `$or`s, multiplied, stand for; each becomes an entry of the index.
pub const MAX_BRANCHES: usize = 256;

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", at(pointer))]
pub struct InvalidPattern {
    /// A JSON Pointer (RFC 6901) to the place; empty is the pattern itself.
    pub pointer: String,
    pub why: String,
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("at {pointer}: ") }
}

/// What may not name a field within `$or`, as in event-ruler: it would look like an operator on what `$or` is in.
const RESERVED_IN_OR: [&str; 14] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
];

const OPERATORS: &str =
    "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists, cidr or exactly";

type Result<T> = std::result::Result<T, InvalidPattern>;

pub(super) fn parse(value: &Value) -> Result<Pattern> {
    let mut parser =
        Parser { pointer: String::new(), depth: 0, fields: 0, alternatives: 0, in_or: 0 };
    let Value::Object(map) = value else {
        return parser.refuse("a pattern is an object, such as {\"status\": [\"paid\"]}");
    };
    let root = parser.object(map)?;
    let pattern = Pattern { root };
    branch::check(&pattern)?;
    Ok(pattern)
}

struct Parser {
    pointer: String,
    depth: usize,
    fields: usize,
    alternatives: usize,
    /// How many `$or` we are in.
    in_or: usize,
}

impl Parser {
    fn refuse<T>(&self, why: impl Into<String>) -> Result<T> {
        Err(InvalidPattern { pointer: self.pointer.clone(), why: why.into() })
    }

    /// Does something one step further down.
    fn within<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let length = self.pointer.len();
        push(&mut self.pointer, step);
        let result = act(self);
        self.pointer.truncate(length);
        result
    }

    fn object(&mut self, map: &Map<String, Value>) -> Result<Object> {
        if map.is_empty() {
            return self.refuse("an object of a pattern names at least one field");
        }
        if self.depth == MAX_DEPTH {
            return self.refuse(format!("a pattern is at most {MAX_DEPTH} objects deep"));
        }
        self.depth += 1;
        let mut object = Object { fields: Vec::new(), or: Vec::new() };
        for (name, value) in map {
            self.within(name, |parser| {
                if name == "$or" {
                    object.or = parser.or(value)?;
                } else {
                    object.fields.push((name.as_str().into(), parser.field(name, value)?));
                }
                Ok(())
            })?;
        }
        self.depth -= 1;
        Ok(object)
    }

    fn or(&mut self, value: &Value) -> Result<Vec<Object>> {
        const RIGHT: &str = "$or is an array of at least two objects, each a pattern";
        let Value::Array(objects) = value else { return self.refuse(RIGHT) };
        if objects.len() < 2 {
            return self.refuse(RIGHT);
        }
        self.in_or += 1;
        let mut or = Vec::with_capacity(objects.len());
        for (at, object) in objects.iter().enumerate() {
            or.push(self.within(&at.to_string(), |parser| match object {
                Value::Object(map) => parser.object(map),
                _ => parser.refuse(RIGHT),
            })?);
        }
        self.in_or -= 1;
        Ok(or)
    }

    fn field(&mut self, name: &str, value: &Value) -> Result<Node> {
        self.text(name)?;
        if self.in_or > 0 && RESERVED_IN_OR.contains(&name) {
            return self.refuse(format!(
                "{name} is an operator; within $or write a field's name, and the operator in its array"
            ));
        }
        match value {
            Value::Object(map) => Ok(Node::Object(self.object(map)?)),
            Value::Array(alternatives) => Ok(Node::Leaf(self.leaf(alternatives, value)?)),
            scalar => self.refuse(format!(
                "a field is an array of alternatives or an object of fields; write [{}]",
                shortened(scalar)
            )),
        }
    }

    fn leaf(&mut self, alternatives: &[Value], written: &Value) -> Result<Leaf> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return self.refuse(format!("a pattern has at most {MAX_FIELDS} fields"));
        }
        if alternatives.is_empty() {
            return self.refuse("an array of a pattern has at least one alternative");
        }
        let alternatives = self.each(alternatives, Self::alternative)?;
        let or_absent = alternatives.contains(&None);
        let mut tests: Vec<Test> = alternatives.into_iter().flatten().collect();
        let mut known = HashSet::with_capacity(tests.len());
        tests.retain(|test| known.insert(test.clone()));
        Ok(Leaf { tests: tests.into(), or_absent, written: written.clone() })
    }

    fn each<T>(
        &mut self,
        values: &[Value],
        mut read: impl FnMut(&mut Self, &Value) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            all.push(self.within(&at.to_string(), |parser| {
                parser.alternatives += 1;
                if parser.alternatives > MAX_ALTERNATIVES {
                    return parser
                        .refuse(format!("a pattern has at most {MAX_ALTERNATIVES} values"));
                }
                read(parser, value)
            })?);
        }
        Ok(all)
    }

    /// `None` if it is that nothing is there.
    fn alternative(&mut self, value: &Value) -> Result<Option<Test>> {
        let test = match value {
            Value::Null => Test::Null,
            Value::Bool(bool) => Test::Bool(*bool),
            Value::Number(_) => Test::Number(self.number(value)?),
            Value::String(text) => Test::Text(self.text(text)?.into()),
            Value::Object(map) => {
                let (operator, operand) = self.single(map)?;
                return self.within(operator, |parser| parser.operator(operator, operand));
            }
            Value::Array(_) => {
                return self.refuse(
                    "an alternative is a value or an object that names an operator, not an array",
                );
            }
        };
        Ok(Some(test))
    }

    fn single<'v>(&self, map: &'v Map<String, Value>) -> Result<(&'v str, &'v Value)> {
        let mut members = map.iter();
        match (members.next(), members.next()) {
            (Some((name, value)), None) => Ok((name, value)),
            (None, _) => {
                self.refuse(format!("an object among alternatives names an operator: {OPERATORS}"))
            }
            (Some(_), Some(_)) => self.refuse(
                "an object among alternatives names one operator; write an object for each",
            ),
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) -> Result<Option<Test>> {
        let test = match operator {
            "exactly" => Test::Text(self.string(operand)?.into()),
            "prefix" => match self.ignoring_case(operand)? {
                Some(text) => Test::folded_prefix(text),
                None => Test::Prefix(self.string(operand)?.into()),
            },
            "suffix" => match self.ignoring_case(operand)? {
                Some(text) => Test::folded_suffix(text),
                None => Test::Suffix(self.string(operand)?.into()),
            },
            "equals-ignore-case" => Test::folded(self.string(operand)?),
            "wildcard" => self.wildcard(operand)?,
            "anything-but" => self.anything_but(operand)?,
            "numeric" => self.numeric(operand)?,
            "cidr" => match Network::parse(self.string(operand)?) {
                Ok(network) => Test::Network(network),
                Err(error) => return self.refuse(error.to_string()),
            },
            "exists" => match operand {
                Value::Bool(true) => Test::Scalar,
                Value::Bool(false) => return Ok(None),
                _ => return self.refuse("exists is true or false"),
            },
            _ => return self.refuse(format!("there is no such operator; there is {OPERATORS}")),
        };
        Ok(Some(test))
    }

    /// The text of `{"equals-ignore-case": text}`, if it is an object.
    fn ignoring_case<'v>(&mut self, operand: &'v Value) -> Result<Option<&'v str>> {
        let Value::Object(map) = operand else { return Ok(None) };
        match self.single(map)? {
            ("equals-ignore-case", text) => {
                self.within("equals-ignore-case", |parser| parser.string(text)).map(Some)
            }
            (other, _) => self.within(other, |parser| {
                parser.refuse(
                    "what is written here is a string, or {\"equals-ignore-case\": a string}",
                )
            }),
        }
    }

    fn wildcard(&self, operand: &Value) -> Result<Test> {
        match Wildcard::parse(self.string(operand)?) {
            Ok(wildcard) if wildcard.stars() > MAX_STARS => {
                self.refuse(format!("a wildcard has at most {MAX_STARS} stars"))
            }
            Ok(wildcard) => Ok(Test::Wildcard(wildcard)),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn anything_but(&mut self, operand: &Value) -> Result<Test> {
        let tests = match operand {
            Value::Array(values) => {
                let numbers = values.iter().all(Value::is_number);
                let strings = values.iter().all(Value::is_string);
                if values.is_empty() || !(numbers || strings) {
                    return self.refuse(
                        "a list of anything-but is all strings or all numbers, and not empty",
                    );
                }
                self.each(values, |parser, value| parser.unwanted(value))?
            }
            Value::Object(map) => {
                let (operator, operand) = self.single(map)?;
                self.within(operator, |parser| parser.unwanted_by(operator, operand))?
            }
            value => vec![self.unwanted(value)?],
        };
        Ok(Test::NoneOf(tests.into()))
    }

    fn unwanted(&self, value: &Value) -> Result<Test> {
        match value {
            Value::Number(_) => Ok(Test::Number(self.number(value)?)),
            Value::String(text) => Ok(Test::Text(self.text(text)?.into())),
            _ => self.refuse(
                "anything-but takes a string, a number, a list of either, or an object that names prefix, suffix, \
                 equals-ignore-case or wildcard",
            ),
        }
    }

    fn unwanted_by(&mut self, operator: &str, operand: &Value) -> Result<Vec<Test>> {
        let read = |parser: &mut Self, value: &Value| {
            let text = parser.string(value)?;
            match operator {
                "prefix" | "suffix" if text.is_empty() => parser.refuse(
                    "every string begins and ends with nothing; write at least one character",
                ),
                "prefix" => Ok(Test::Prefix(text.into())),
                "suffix" => Ok(Test::Suffix(text.into())),
                "equals-ignore-case" => Ok(Test::folded(text)),
                "wildcard" => parser.wildcard(value),
                _ => parser.refuse(
                    "within anything-but there is prefix, suffix, equals-ignore-case and wildcard",
                ),
            }
        };
        match operand {
            Value::Array(values) if values.is_empty() => {
                self.refuse("a list of anything-but is not empty")
            }
            Value::Array(values) => self.each(values, read),
            value => Ok(vec![read(self, value)?]),
        }
    }

    fn numeric(&mut self, operand: &Value) -> Result<Test> {
        const RIGHT: &str = "numeric is an operator and a number, [\"<\", 10], or a range, [\">\", 0, \"<=\", 5], \
                             lower end first";
        let Value::Array(parts) = operand else { return self.refuse(RIGHT) };
        let mut pairs = Vec::with_capacity(2);
        for (at, pair) in parts.chunks(2).enumerate() {
            let [Value::String(operator), number @ Value::Number(_)] = pair else {
                return self.refuse(RIGHT);
            };
            let number = self.within(&(at * 2 + 1).to_string(), |parser| parser.number(number))?;
            pairs.push((operator.as_str(), number));
        }
        let (low, high) = match *pairs.as_slice() {
            [("=", number)] => return Ok(Test::Number(number)),
            [(operator @ ("<" | "<="), number)] => (Bound::Unbounded, bound(operator, number)),
            [(operator @ (">" | ">="), number)] => (bound(operator, number), Bound::Unbounded),
            [(low @ (">" | ">="), bottom), (high @ ("<" | "<="), top)] => {
                if bottom >= top {
                    return self.refuse("the lower end of a range is less than its upper end");
                }
                (bound(low, bottom), bound(high, top))
            }
            _ => return self.refuse(RIGHT),
        };
        Ok(Test::Range(low, high))
    }

    fn number(&self, value: &Value) -> Result<Number> {
        match value.as_number().and_then(Number::from_json) {
            Some(number) => Ok(number),
            None => self.refuse("a number of a pattern is one that a double can hold"),
        }
    }

    fn string<'v>(&self, value: &'v Value) -> Result<&'v str> {
        match value {
            Value::String(text) => self.text(text),
            _ => self.refuse("this operator takes a string"),
        }
    }

    fn text<'v>(&self, text: &'v str) -> Result<&'v str> {
        if text.len() > MAX_TEXT_BYTES {
            return self.refuse(format!(
                "a name or a string of a pattern is at most {MAX_TEXT_BYTES} bytes long"
            ));
        }
        Ok(text)
    }
}

fn bound(operator: &str, number: Number) -> Bound<Number> {
    if operator.ends_with('=') { Bound::Included(number) } else { Bound::Excluded(number) }
}

pub(super) fn push(pointer: &mut String, step: &str) {
    let _ = write!(pointer, "/{}", step.replace('~', "~0").replace('/', "~1"));
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { "…".to_owned() }
}
