//! Queries that are put to the index select something there exactly when the engine says so, and most
//! of what people write is put there.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use triggerline_matching::jsonpath::{Budget, Query};
use triggerline_matching::{Matching, Predicate, Rules};
use triggerline_types::{EventType, EventTypePattern, Selector};

/// Pairs of a query and a document; `TRIGGERLINE_PAIRS` asks for more.
const PAIRS: usize = 50_000;
/// Queries that are held against each document at once.
const TOGETHER: usize = 25;

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Random(StdRng);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn document(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 => json!(null),
            1 => json!(true),
            2 => json!(self.of(&["x", "y", ""])),
            3 | 4 => json!(self.below(4)),
            5 => json!(1.5),
            6 | 7 => (0..self.below(4)).map(|_| self.document(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(4))
                    .map(|_| (self.of(&NAMES).to_owned(), self.document(depth - 1)));
                Value::Object(members.collect())
            }
        }
    }

    fn literal(&mut self) -> &'static str {
        self.of(&[
            "null", "true", "false", "'x'", "\"y\"", "''", "0", "1", "2.0", "1.5", "-1", "1e400",
        ])
    }

    fn singular(&mut self, origin: &str) -> String {
        let mut path = origin.to_owned();
        for _ in 0..self.below(3) {
            let step = match self.below(4) {
                0 => format!("[{}]", self.below(3)),
                1 => format!("['{}']", self.of(&NAMES)),
                _ => format!(".{}", self.of(&NAMES)),
            };
            path.push_str(&step);
        }
        path
    }

    fn logical(&mut self, depth: usize) -> String {
        if depth > 0 {
            match self.below(6) {
                0 => {
                    return format!("({} && {})", self.logical(depth - 1), self.logical(depth - 1));
                }
                1 => {
                    return format!("({} || {})", self.logical(depth - 1), self.logical(depth - 1));
                }
                2 => return format!("!({})", self.logical(depth - 1)),
                _ => {}
            }
        }
        let origin = if self.below(8) == 0 { "$" } else { "@" };
        match self.below(10) {
            0 | 1 => self.singular(origin),
            2 => format!("!{}", self.singular(origin)),
            3 => format!("{}[*]", self.singular("@")),
            4 => format!("{}[?{}]", self.singular("@"), self.logical(0)),
            5 => {
                let operator = self.of(&["<", "==", "!="]);
                format!("{} {operator} {}", self.literal(), self.singular(origin))
            }
            _ => {
                let operator = self.of(&["==", "==", "!=", "<", "<=", ">", ">="]);
                format!("{} {operator} {}", self.singular(origin), self.literal())
            }
        }
    }

    fn query(&mut self) -> String {
        let mut query = "$".to_owned();
        for _ in 0..=self.below(3) {
            let segment = match self.below(8) {
                0 => "[*]".to_owned(),
                1 => format!("[{}]", self.below(3)),
                2 => format!("['{}','{}']", self.of(&NAMES), self.of(&NAMES)),
                3 | 4 => format!("[?{}]", self.logical(2)),
                _ => format!(".{}", self.of(&NAMES)),
            };
            query.push_str(&segment);
        }
        query
    }
}

fn predicate(query: &str) -> Predicate {
    let selector = Selector { pattern: None, jsonpath: Some(query.to_owned()) };
    Predicate::compile(&selector).unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[test]
fn the_index_says_what_the_engine_says() {
    let pairs = std::env::var("TRIGGERLINE_PAIRS").map_or(PAIRS, |pairs| pairs.parse().unwrap());
    let mut random = Random(StdRng::seed_from_u64(9535));
    let every = [EventTypePattern::every()];
    let event_type = EventType::parse("e").unwrap();
    let (mut selected, mut lowered, mut all) = (0, 0, 0);
    for _ in 0..=pairs / (TOGETHER * TOGETHER) {
        let queries: Vec<String> = (0..TOGETHER).map(|_| random.query()).collect();
        let mut rules = Rules::default();
        for (key, query) in queries.iter().enumerate() {
            let predicate = predicate(query);
            lowered += usize::from(predicate.is_indexed());
            all += 1;
            rules.insert(key, &every, &predicate);
        }
        for _ in 0..TOGETHER {
            let document = random.document(4);
            let Matching { mut keys, undecided } =
                rules.matching(&event_type, document.to_string().as_bytes());
            assert_eq!(undecided, None);
            keys.sort_unstable();
            for (key, query) in queries.iter().enumerate() {
                let expected = Query::parse(query).unwrap();
                let expected = expected.exists(&document, &mut Budget::default()).unwrap();
                assert_eq!(keys.contains(&key), expected, "{query} on {document}");
                selected += usize::from(expected);
            }
        }
    }
    println!(
        "{selected} of {pairs} pairs selected; {lowered} of {all} queries were put to the index"
    );
    assert!(selected * 20 > pairs, "only {selected} of {pairs} selected anything");
    assert!(lowered * 2 > all, "only {lowered} of {all} were put to the index");
}

#[test]
fn what_people_write_is_put_to_the_index() {
    for (query, indexed) in [
        ("$.order", true),
        ("$.order.items[0].sku", true),
        ("$[?@.total > 100]", true),
        ("$[?@.total > 100 && @.currency == 'EUR']", true),
        ("$.items[?@.sku == 'a' || @.sku == 'b'].price", true),
        ("$.items[?!(@.sku == 'a')]", true),
        ("$.items[*].tags[?@ == 'urgent']", true),
        ("$['a','b'].c", true),
        ("$..sku", false),
        ("$.items[-1]", false),
        ("$.items[0:2]", false),
        ("$.items[?@.a == @.b]", false),
        ("$.items[?@.a < 'x']", false),
        ("$.items[?match(@.sku, 'a.*')]", false),
        ("$.items[?length(@.sku) > 3]", false),
        ("$", false),
    ] {
        assert_eq!(predicate(query).is_indexed(), indexed, "{query}");
    }
}
