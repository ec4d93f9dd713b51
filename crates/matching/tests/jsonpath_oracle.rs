//! Our engine against `serde_json_path`, on random queries and documents, and against bytes that nobody would send.
//!
//! `serde_json_path` is right nearly everywhere. Where it isn't, the generators stay away, and each such place has a
//! row in [`where_the_oracle_is_wrong`].

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use serde_json::{Map, Value, json};
use serde_json_path::JsonPath;
use triggerline_matching::jsonpath::{Budget, Query};

/// How many pairs; `TRIGGERLINE_PAIRS` asks for more.
fn pairs() -> u64 {
    std::env::var("TRIGGERLINE_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// SplitMix64: a failure names its seed, and the seed gives the same query and document again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let bits = usize::try_from(self.next() >> 40).unwrap_or_default(); // 24 of them
        bits % limit
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Few names and values, so that queries meet something.
const NAMES: [&str; 6] = ["a", "b", "c", "ü", "d e", "'"];
const STRINGS: [&str; 8] = ["", "a", "ab", "b", "Z", "ü", "\u{ffff}", "\u{1f600}"];
const NUMBERS: [&str; 12] =
    ["0", "1", "-1", "2", "1e2", "1.5", "0.1", "-2.5", "3", "1.0", "-0", "100"];
/// In documents each value is written in one way: the oracle has `[1] == [1.0]` wrong.
const NUMBERS_IN_DOCUMENTS: usize = 9;

fn document(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 => json!(random.of(&STRINGS)),
        1 | 2 => {
            serde_json::from_str(random.of(&NUMBERS[..NUMBERS_IN_DOCUMENTS])).unwrap_or_default()
        }
        3 => random.of(&[Value::Null, Value::Bool(true), Value::Bool(false)].each_ref()).clone(),
        4 | 5 => (0..random.below(4)).map(|_| document(random, depth - 1)).collect(),
        _ => {
            let members = (0..random.below(4))
                .map(|_| (random.of(&NAMES).to_owned(), document(random, depth - 1)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

/// The text of a valid query, and one for the oracle that avoids what the oracle has wrong: `>`, `>=` and `<=` are
/// spelled out with `<` and `==`, as RFC 9535 §2.3.5.2.2 defines them, and what counts
/// from the end is a slice.
struct Writer<'r> {
    random: &'r mut Random,
    out: String,
    oracle: String,
}

impl Writer<'_> {
    fn query(random: &mut Random) -> (String, String) {
        let mut writer = Writer { random, out: "$".to_owned(), oracle: "$".to_owned() };
        writer.segments(3, 3);
        (writer.out, writer.oracle)
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.oracle.push_str(text);
    }

    fn blank(&mut self) {
        let blank = self.random.of(&["", "", "", "", " ", "\t\n", "\r "]);
        self.put(blank);
    }

    fn segments(&mut self, most: usize, depth: usize) {
        for _ in 0..self.random.below(most + 1) {
            self.segment(depth);
        }
    }

    fn segment(&mut self, depth: usize) {
        let descendant = self.random.one_in(5);
        let before = self.oracle.len();
        self.blank();
        if descendant {
            self.oracle.truncate(before); // the oracle refuses it there
        }
        let shorthand = self.random.one_in(2);
        self.put(match (descendant, shorthand) {
            (true, _) => "..",
            (false, true) => ".",
            (false, false) => "",
        });
        if shorthand {
            let name = self.random.of(&["a", "b", "c", "ü", "*", "a"]);
            return self.put(name);
        }
        self.put("[");
        for position in 0..=self.random.below(8) / 6 {
            self.put(if position == 0 { "" } else { "," });
            self.blank();
            self.selector(depth);
            self.blank();
        }
        self.put("]");
    }

    fn selector(&mut self, depth: usize) {
        match self.random.below(if depth == 0 { 7 } else { 12 }) {
            0 | 1 => {
                let name = self.random.of(&NAMES);
                self.string(name);
            }
            2 => self.put("*"),
            3 | 4 => {
                let index = self.integer();
                self.out.push_str(&index);
                self.oracle.push_str(match index.as_str() {
                    "-1" => "-1:",
                    "-2" => "-2:-1",
                    "-5" => "-5:-4",
                    index => index,
                });
            }
            5 | 6 => self.slice(),
            _ => {
                self.put("?");
                self.blank();
                self.logical(depth - 1);
            }
        }
    }

    fn integer(&mut self) -> String {
        self.random.of(&["0", "1", "2", "-1", "-2", "3", "-5", "9007199254740991"]).to_owned()
    }

    fn slice(&mut self) {
        for part in 0..3 {
            if part > 0 {
                self.put(":");
                self.blank();
            }
            if self.random.one_in(2) {
                let integer = self.integer();
                self.put(&integer);
                self.blank();
            }
        }
    }

    fn string(&mut self, string: &str) {
        let quote = self.random.of(&['\'', '"']);
        let quote = quote.to_string();
        self.put(&quote);
        for c in string.chars() {
            let c = c.to_string();
            if c == quote {
                self.put("\\");
                self.put(&c);
            } else if self.random.one_in(8) {
                for unit in c.encode_utf16() {
                    self.put(&format!("\\u{unit:04X}"));
                }
            } else {
                self.put(&c);
            }
        }
        self.put(&quote);
    }

    fn logical(&mut self, depth: usize) {
        for position in 0..=self.random.below(5) / 3 {
            if position > 0 {
                self.blank();
                let operator = self.random.of(&["&&", "||"]);
                self.put(operator);
                self.blank();
            }
            self.basic(depth);
        }
    }

    fn basic(&mut self, depth: usize) {
        match self.random.below(if depth == 0 { 7 } else { 9 }) {
            0..=3 => {
                let start = self.oracle.len();
                self.comparable(depth);
                let left = self.oracle.split_off(start);
                self.blank();
                let operator = self.random.of(&["==", "!=", "<", "<=", ">", ">="]);
                self.put(operator);
                self.blank();
                self.oracle.truncate(start);
                self.comparable(depth);
                let right = self.oracle.split_off(start);
                let spelled_out = match operator {
                    ">" => format!("{right} < {left}"),
                    ">=" => format!("({right} < {left} || {left} == {right})"),
                    "<=" => format!("({left} < {right} || {left} == {right})"),
                    _ => format!("{left} {operator} {right}"),
                };
                self.oracle.push_str(&spelled_out);
            }
            4 | 5 => {
                let not = self.random.of(&["", "", "!", "! "]);
                self.put(not);
                self.filter_query(depth);
            }
            6 => {
                let name = self.random.of(&["match(", "search(", "!match(", "!search("]);
                self.put(name);
                self.blank();
                self.comparable(depth);
                self.blank();
                self.put(",");
                self.blank();
                let pattern = self.random.of(&[
                    "a", "a.*", "[a-z]", "^a", "b$", "a|b", "(a|b)+", ".", "", "\\p{L}", "[^a]",
                    "a{2,}", "\\P{Lu}?", "[\\-a]", "ü",
                ]);
                let pattern = pattern.replace('\\', "\\\\");
                self.put(&format!("'{pattern}'"));
                self.put(")");
            }
            _ => {
                let open = self.random.of(&["(", "!(", "( "]);
                self.put(open);
                self.logical(depth - 1);
                self.blank();
                self.put(")");
            }
        }
    }

    fn comparable(&mut self, depth: usize) {
        match self.random.below(10) {
            0 | 1 => {
                let number = self.random.of(&NUMBERS);
                self.put(number);
            }
            2 => {
                let string = self.random.of(&STRINGS);
                self.string(string);
            }
            3 => {
                let literal = self.random.of(&["true", "false", "null"]);
                self.put(literal);
            }
            4 => {
                self.put("length(");
                self.singular();
                self.put(")");
            }
            5 => {
                let name = self.random.of(&["count(", "value("]);
                self.put(name);
                self.filter_query(depth);
                self.put(")");
            }
            _ => self.singular(),
        }
    }

    fn singular(&mut self) {
        let start = self.oracle.len();
        let origin = self.random.of(&["@", "@", "@", "$"]);
        self.put(origin);
        for _ in 0..self.random.below(3) {
            let step =
                self.random.of(&[".a", "['b']", ".c", "[0]", "[-1]", " .ü", "[1]", "[\"d e\"]"]);
            self.put(step);
        }
        let query = self.oracle.split_off(start);
        let from_end = query.contains("[-1]");
        let spelled_out = format!("value({})", query.replace("[-1]", "[-1:]"));
        self.oracle.push_str(if from_end { &spelled_out } else { &query });
    }

    fn filter_query(&mut self, depth: usize) {
        let origin = self.random.of(&["@", "@", "@", "$"]);
        self.put(origin);
        self.segments(2, depth.saturating_sub(1));
    }
}

#[test]
fn both_engines_select_the_same() {
    let (mut selected, mut ended) = (0_u64, 0_u64);
    for seed in 0..pairs() {
        let mut random = Random(seed);
        let (text, for_oracle) = Writer::query(&mut random);
        let query = Query::parse(&text).unwrap_or_else(|error| panic!("{seed}: {text:?}: {error}"));
        let oracle = JsonPath::parse(&for_oracle)
            .unwrap_or_else(|error| panic!("{seed}: {text:?}: {error}"));
        let document = document(&mut random, 4);
        let mut budget = Budget::default();
        let Ok(found) = query.nodes(&document, &mut budget) else {
            ended += 1;
            continue;
        };
        let expected = oracle.query(&document).all();
        assert_eq!(found, expected, "{seed}: {text:?} on {document}");
        selected += u64::from(!found.is_empty());
        let exists = query.exists(&document, &mut Budget::default());
        assert_eq!(exists, Ok(!expected.is_empty()), "{seed}: {text:?} on {document}");
        // Each path leads to its node, and is a query itself.
        for located in query.located_nodes(&document, &mut Budget::default()).unwrap() {
            let path = Query::parse(&located.path.to_string()).unwrap();
            let there = path.nodes(&document, &mut Budget::default()).unwrap();
            assert!(
                there.len() == 1 && std::ptr::eq(there[0], located.node),
                "{seed}: {}",
                located.path
            );
        }
        let again = Query::parse(&query.to_string()).unwrap();
        assert_eq!(
            again.nodes(&document, &mut Budget::default()).unwrap(),
            found,
            "{seed}: {query}"
        );
        assert_eq!(again.to_string(), query.to_string(), "{seed}");
    }
    assert_eq!(ended, 0, "small documents stay far below the budget");
    // An oracle that never sees a node can't find a fault.
    assert!(selected * 5 > pairs(), "{selected} of {} selected something", pairs());
}

/// What was found wrong in `serde_json_path` 0.7.2, with what RFC 9535 and RFC 9485 say. A row that begins to agree
/// is one that the generators may go back to.
#[test]
fn where_the_oracle_is_wrong() {
    let ours = |query: &str, document: &Value| {
        Query::parse(query)
            .map(|query| query.nodes(document, &mut Budget::default()).unwrap().len())
            .ok()
    };
    let theirs = |query: &str, document: &Value| {
        JsonPath::parse(query).map(|query| query.query(document).len()).ok()
    };
    for (query, document, right, wrong) in [
        // Integers are compared as doubles.
        ("$[?@ == 9007199254740992]", json!([9_007_199_254_740_993_u64]), Some(0), Some(1)),
        // Inside of arrays and objects 1 is not 1.0.
        ("$[?@ == $[1]]", json!([[1], [1.0]]), Some(2), Some(1)),
        // A negative index finds nothing where it is compared.
        ("$[?@[-1] == 1]", json!([[0, 1]]), Some(1), Some(0)),
        // Nothing is at most nothing (RFC 9535, Table 11).
        ("$[?@.a <= @.b]", json!([1]), Some(1), Some(0)),
        // What has no order is ordered.
        ("$[?@ > false]", json!([true]), Some(0), Some(1)),
        ("$[?@ >= $[1]]", json!([[1], [2]]), Some(1), Some(2)),
        // The hexadecimal digits of a high surrogate may be in lower case.
        (r"$['\ud83d\ude00']", json!({"\u{1f600}": 1}), Some(1), None),
        // Blank space may stand before a descendant segment too.
        ("$ ..a", json!({"a": 1}), Some(1), None),
        // A literal beyond doubles.
        ("$[?@ < 1e400]", json!([1]), Some(1), None),
        // The syntax of its engine instead of I-Regexp's.
        (r"$[?match(@, '\\d')]", json!(["1"]), Some(0), Some(1)),
        ("$[?match(@, '(?i)a')]", json!(["A"]), Some(0), Some(1)),
        ("$[?match(@, '[a&&b]')]", json!(["&"]), Some(1), Some(0)),
        // A singular query has no blank space inside of its brackets.
        ("$[?@[ 0 ] == 1]", json!([[1]]), None, Some(1)),
    ] {
        assert_eq!(ours(query, &document), right, "{query}");
        assert_eq!(theirs(query, &document), wrong, "{query}");
    }
}

/// Valid queries with bytes taken out, put in and changed, and plain noise: parsing ends, and an error's place is in
/// the text.
#[test]
fn any_bytes_are_read_or_refused() {
    const PIECES: [&str; 24] = [
        "$",
        "@",
        ".",
        "..",
        "[",
        "]",
        "(",
        ")",
        "?",
        "!",
        "'",
        "\"",
        "\\",
        "\\u",
        "d83d",
        "*",
        ":",
        "-",
        "0",
        "e",
        "==",
        "&&",
        "length(",
        "\u{1f600}",
    ];
    let (mut read, mut refused) = (0_u64, 0_u64);
    for seed in 0..pairs() {
        let mut random = Random(seed ^ 0x5eed);
        let text = if random.one_in(3) {
            (0..random.below(24)).map(|_| random.of(&PIECES)).collect()
        } else {
            let mut text = Writer::query(&mut random).0.into_bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(text.len() + 1);
                match random.below(3) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 => text.insert(at, u8::try_from(random.below(256)).unwrap()),
                    _ => drop(text.splice(at..at, random.of(&PIECES).bytes())),
                }
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        match Query::parse(&text) {
            Ok(query) => {
                read += 1;
                let document = document(&mut random, 3);
                let _ = query.exists(&document, &mut Budget::new(10_000));
            }
            Err(error) => {
                refused += 1;
                assert!(text.is_char_boundary(error.at), "{text:?}: {error}");
                assert!(!error.why.is_empty(), "{text:?}");
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}
