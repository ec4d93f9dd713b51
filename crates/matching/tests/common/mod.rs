//! Random patterns and payloads, drawn from so few names and values that they often meet; and event-ruler's way of
//! matching, as an oracle.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml's leave for tests does not reach what they share"
)]

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use triggerline_matching::Pattern;

pub(crate) struct Random(StdRng);

/// How many pairs of a rule and a payload to try.
pub(crate) fn pairs(default: usize) -> usize {
    std::env::var("TRIGGERLINE_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(default)
}

pub(crate) fn number_of(key: usize) -> u32 {
    u32::try_from(key).unwrap()
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e.f", "gé"];

impl Random {
    pub(crate) fn new(test: u64) -> Self {
        let seed =
            std::env::var("TRIGGERLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        Self(StdRng::seed_from_u64(seed * 1_000 + test))
    }

    /// 0 and up to before `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn text(&mut self) -> &'static str {
        self.pick(&[
            "",
            "x",
            "X",
            "xy",
            "yx",
            "xyx",
            "XY",
            "é",
            "É",
            "xé",
            "10.0.0.1",
            "10.1.0.1",
            "2001:db8::1",
            "*",
            "1",
        ])
    }

    fn number(&mut self) -> Value {
        match self.below(8) {
            0 => json!(9_007_199_254_740_993_u64),
            1 => json!(9_007_199_254_740_992.0),
            2 => json!(1e300),
            3 => json!(self.below(4)),
            4 => json!(0.5),
            5 => json!(-1.5),
            6 => json!(u64::MAX),
            _ => json!(f64::from(number_of(self.below(4)))),
        }
    }

    fn scalar(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => Value::Bool(self.one_in(2)),
            2..=4 => self.number(),
            _ => json!(self.text()),
        }
    }

    pub(crate) fn payload(&mut self) -> Value {
        if self.one_in(40) { self.value(0) } else { self.object(0) }
    }

    fn object(&mut self, depth: usize) -> Value {
        let members = self.below(4) + 1;
        let mut map = Map::new();
        for _ in 0..members {
            map.insert(self.pick(&NAMES).to_owned(), self.value(depth + 1));
        }
        Value::Object(map)
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 4 { 4 } else { 11 }) {
            0..=3 => self.scalar(),
            4..=6 => self.object(depth),
            7 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => (0..self.below(4)).map(|_| self.object(depth + 1)).collect(),
        }
    }

    /// With its text.
    pub(crate) fn pattern(&mut self) -> (Pattern, String) {
        loop {
            let pattern = self.pattern_object(0);
            // $or may name a field that is named beside it, which is refused.
            if let Ok(parsed) = Pattern::parse(&pattern) {
                return (parsed, pattern.to_string());
            }
        }
    }

    fn pattern_object(&mut self, depth: usize) -> Value {
        let mut map = Map::new();
        for _ in 0..=self.below(3) {
            let name = self.pick(&NAMES).to_owned();
            let value = if depth < 3 && self.one_in(3) {
                self.pattern_object(depth + 1)
            } else {
                self.alternatives()
            };
            map.insert(name, value);
        }
        if depth < 3 && self.one_in(5) {
            let or = (0..self.below(2) + 2).map(|_| self.pattern_object(depth + 1)).collect();
            map.insert("$or".to_owned(), or);
        }
        Value::Object(map)
    }

    fn alternatives(&mut self) -> Value {
        // Each more makes a field match more easily, and so hides what the others do.
        let more = if self.one_in(2) { 0 } else { self.below(3) };
        (0..=more).map(|_| self.alternative()).collect()
    }

    fn alternative(&mut self) -> Value {
        if self.one_in(6) {
            return json!({"exists": self.one_in(2)});
        }
        match self.below(16) {
            0..=4 => self.scalar(),
            5 => json!({"prefix": self.text()}),
            6 => json!({"suffix": self.text()}),
            7 => json!({"prefix": {"equals-ignore-case": self.text()}}),
            8 => json!({"suffix": {"equals-ignore-case": self.text()}}),
            9 => json!({"equals-ignore-case": self.text()}),
            10 => json!({"wildcard": self.wildcard()}),
            11 => self.numeric(),
            12 => json!({"exists": self.one_in(2)}),
            13 => {
                json!({"cidr": self.pick(&["10.0.0.0/16", "10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "0.0.0.0/0"])})
            }
            _ => self.anything_but(),
        }
    }

    fn wildcard(&mut self) -> &'static str {
        self.pick(&["*", "x*", "*x", "*y*", "x*x", "x*y*x", r"\*", r"*\*", "xy", "", "é*"])
    }

    fn numeric(&mut self) -> Value {
        let (low, high) = (self.number(), self.number());
        match self.below(5) {
            0 => json!({"numeric": ["=", low]}),
            1 => json!({"numeric": [self.pick(&["<", "<="]), low]}),
            2 => json!({"numeric": [self.pick(&[">", ">="]), low]}),
            _ => json!({"numeric": [self.pick(&[">", ">="]), low, self.pick(&["<", "<="]), high]}),
        }
    }

    fn anything_but(&mut self) -> Value {
        match self.below(7) {
            0 => json!({"anything-but": self.text()}),
            1 => json!({"anything-but": self.number()}),
            2 => json!({"anything-but": [self.text(), self.text()]}),
            3 => json!({"anything-but": [self.number(), self.number()]}),
            4 => json!({"anything-but": {"equals-ignore-case": [self.text(), self.text()]}}),
            5 => json!({"anything-but": {"wildcard": self.wildcard()}}),
            _ => json!({"anything-but": {self.pick(&["prefix", "suffix"]): ["x", self.text()]}}),
        }
    }

    /// As JSON text, not always in the plainest form: white space, escapes, members that occur twice.
    pub(crate) fn print(&mut self, value: &Value) -> String {
        let mut text = String::new();
        let plain = self.one_in(2);
        self.print_to(value, plain, &mut text);
        text
    }

    fn space(&mut self, plain: bool, text: &mut String) {
        if !plain && self.one_in(4) {
            text.push_str(self.pick(&[" ", "\n", "\t\r ", "  "]));
        }
    }

    fn print_to(&mut self, value: &Value, plain: bool, text: &mut String) {
        self.space(plain, text);
        match value {
            Value::Object(map) => {
                text.push('{');
                for (at, (name, value)) in map.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    if !plain && self.one_in(10) {
                        let other = self.value(3);
                        self.print_text(name, plain, text);
                        text.push(':');
                        self.print_to(&other, plain, text);
                        text.push(',');
                    }
                    self.space(plain, text);
                    self.print_text(name, plain, text);
                    self.space(plain, text);
                    text.push(':');
                    self.print_to(value, plain, text);
                }
                text.push('}');
            }
            Value::Array(elements) => {
                text.push('[');
                for (at, element) in elements.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    self.print_to(element, plain, text);
                }
                text.push(']');
            }
            Value::String(string) => self.print_text(string, plain, text),
            Value::Number(number) if !plain && number.as_u64() == Some(1) => {
                text.push_str(self.pick(&["1", "1.0", "1e0", "10E-1", "0.1e+1"]));
            }
            scalar => text.push_str(&scalar.to_string()),
        }
        self.space(plain, text);
    }

    fn print_text(&mut self, string: &str, plain: bool, text: &mut String) {
        text.push('"');
        for c in string.chars() {
            if !plain && self.one_in(4) {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            } else {
                text.push(c);
            }
        }
        text.push('"');
    }

    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.below(bytes.len());
        let pieces: [&[u8]; 14] = [
            b"{", b"}", b"[", b"]", b"\"", b"\\", b",", b"\\ud800", b"1e400", b"\xff", b"\0", b"-",
            b"null", b":",
        ];
        match self.below(4) {
            0 => drop(bytes.remove(at)),
            1 => bytes.truncate(at),
            2 => {
                let piece = self.pick(&pieces).to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => bytes[at] ^= 1 << self.below(8),
        }
    }
}

/// Whether event-ruler would match, by its own algorithm: the payload flattened to fields, each with the array elements
/// that it lies in; the rule's fields in the order of their names; a step from field to field that remembers the
/// elements so far. What a single alternative matches is taken from the crate, whose tables say that.
pub(crate) fn event_ruler(pattern: &Value, payload: &Value) -> bool {
    let mut fields = Vec::new();
    if payload.is_object() {
        flatten(payload, &mut Vec::new(), &mut Vec::new(), &mut 0, &mut fields);
    }
    rules(pattern, &mut Vec::new()).into_iter().any(|mut rule| {
        rule.sort_by_key(|(path, _)| path.join("."));
        step(&rule, &fields, &[])
    })
}

type Elements = Vec<(usize, usize)>;
type Rule = Vec<(Vec<String>, Vec<Value>)>;

struct Flat {
    path: Vec<String>,
    value: Value,
    elements: Elements,
}

fn flatten(
    value: &Value,
    path: &mut Vec<String>,
    elements: &mut Elements,
    arrays: &mut usize,
    fields: &mut Vec<Flat>,
) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                path.push(name.clone());
                flatten(value, path, elements, arrays, fields);
                path.pop();
            }
        }
        Value::Array(array) => {
            let number = *arrays;
            *arrays += 1;
            for (at, element) in array.iter().enumerate() {
                if element.is_object() || element.is_array() {
                    elements.push((number, at));
                    flatten(element, path, elements, arrays, fields);
                    elements.pop();
                } else {
                    flatten(element, path, elements, arrays, fields);
                }
            }
        }
        scalar => fields.push(Flat {
            path: path.clone(),
            value: scalar.clone(),
            elements: elements.clone(),
        }),
    }
}

fn rules(pattern: &Value, path: &mut Vec<String>) -> Vec<Rule> {
    let mut all: Vec<Rule> = vec![Vec::new()];
    for (name, value) in pattern.as_object().unwrap() {
        let more: Vec<Rule> = if name == "$or" {
            value.as_array().unwrap().iter().flat_map(|object| rules(object, path)).collect()
        } else {
            path.push(name.clone());
            let more = match value {
                Value::Array(alternatives) => vec![vec![(path.clone(), alternatives.clone())]],
                object => rules(object, path),
            };
            path.pop();
            more
        };
        all = all
            .iter()
            .flat_map(|rule| more.iter().map(move |more| [&rule[..], more].concat()))
            .collect();
    }
    all
}

fn consistent(a: &[(usize, usize)], b: &[(usize, usize)]) -> bool {
    a.iter().all(|(array, at)| b.iter().all(|(other, place)| array != other || at == place))
}

fn step(rule: &[(Vec<String>, Vec<Value>)], fields: &[Flat], so_far: &[(usize, usize)]) -> bool {
    let Some(((path, alternatives), rest)) = rule.split_first() else { return true };
    let there =
        || fields.iter().filter(|flat| flat.path == *path && consistent(&flat.elements, so_far));
    let absent = alternatives.contains(&json!({"exists": false}));
    if absent && there().next().is_none() && step(rest, fields, so_far) {
        return true;
    }
    let single = Pattern::parse(&json!({"x": alternatives})).unwrap();
    there().any(|flat| {
        single.matches(&json!({"x": flat.value}))
            && step(rest, fields, &[so_far, &flat.elements[..]].concat())
    })
}
