use serde_json::{Value, json};

use super::*;
use crate::condition::{Field, Step, Test, Want};
use crate::pattern::Pattern;

fn types(patterns: &[&str]) -> Vec<EventTypePattern> {
    patterns.iter().map(|pattern| EventTypePattern::parse(*pattern).unwrap()).collect()
}

fn found<K: Clone + Eq + Hash + Ord>(index: &Index<K>, event_type: &str, payload: &str) -> Vec<K> {
    let event_type = EventType::parse(event_type).unwrap();
    let mut keys = index.matching(&event_type, payload.as_bytes()).unwrap();
    keys.sort();
    keys
}

fn one(condition: &Condition) -> Index<()> {
    let mut index = Index::new();
    index.insert((), &types(&["*"]), Some(condition)).unwrap();
    index
}

fn path(steps: &str) -> Arc<[Step]> {
    steps
        .split_whitespace()
        .map(|step| match step {
            "each" => Step::Each,
            "child" => Step::Child,
            index if index.starts_with(|c: char| c.is_ascii_digit()) => {
                Step::Index(index.parse().unwrap())
            }
            name => Step::Name(name.into()),
        })
        .collect()
}

fn some(steps: &str, tests: &[Test]) -> Field {
    Field { path: path(steps), want: Want::Some(tests.into()) }
}

fn none(steps: &str, tests: &[Test]) -> Field {
    Field { path: path(steps), want: Want::None(tests.into()) }
}

fn is(number: u64) -> Test {
    Test::Number(number.into())
}

/// What JSONPath filters become.
#[test]
fn steps_reach_what_they_say() {
    let together = |fields: &[Field]| Condition::Together(fields.to_vec());
    let anything = [Test::Scalar, Test::Structured];
    let child_pair = together(&[some("i child a", &[is(1)]), some("i child b", &[is(2)])]);
    let unlike = together(&[some("i child", &anything), none("i child a", &[is(1)])]);
    let without = together(&[some("i child", &anything), none("i child a", &anything)]);
    let nested = together(&[some("i child a", &[is(1)]), some("i child t child b", &[is(2)])]);
    for (condition, payload, holds) in [
        // $.a.b == 1 does not look through arrays
        (&together(&[some("a b", &[is(1)])]), json!({"a": {"b": 1}}), true),
        (&together(&[some("a b", &[is(1)])]), json!({"a": [{"b": 1}]}), false),
        (&together(&[some("a b", &[is(1)])]), json!({"a": {"b": [1]}}), false),
        // $.a, whatever it is
        (&together(&[some("a", &anything)]), json!({"a": []}), true),
        (&together(&[some("a", &anything)]), json!({"a": null}), true),
        (&together(&[some("a", &anything)]), json!({"b": null}), false),
        (&together(&[some("a", &[Test::Scalar])]), json!({"a": {}}), false),
        // $.a[1] == 2
        (&together(&[some("a 1", &[is(2)])]), json!({"a": [1, 2]}), true),
        (&together(&[some("a 1", &[is(2)])]), json!({"a": [2, 1]}), false),
        (&together(&[some("a 1", &[is(2)])]), json!({"a": {"1": 2}}), false),
        // $.i[?@.a == 1 && @.b == 2], over arrays and objects
        (&child_pair, json!({"i": [{"a": 1, "b": 2}]}), true),
        (&child_pair, json!({"i": {"x": {"a": 1, "b": 2}}}), true),
        (&child_pair, json!({"i": [{"a": 1}, {"b": 2}]}), false),
        (&child_pair, json!({"i": [[{"a": 1, "b": 2}]]}), false),
        (&child_pair, json!({"i": [{"b": 2}, 7, {"a": 1, "b": 3}, {"b": 2, "a": 1}]}), true),
        // $.i[?@.a != 1], true also where there is no a
        (&unlike, json!({"i": [{"a": 1}]}), false),
        (&unlike, json!({"i": [{"a": 1}, {"a": 2}]}), true),
        (&unlike, json!({"i": [{"a": 1}, 5]}), true),
        (&unlike, json!({"i": {}}), false),
        // $.i[?!@.a]
        (&without, json!({"i": [{"a": {}}]}), false),
        (&without, json!({"i": [{"a": {}}, []]}), true),
        // $.i[?@.a == 1].t[?@.b == 2]
        (&nested, json!({"i": [{"a": 1, "t": [{"b": 1}, {"b": 2}]}]}), true),
        (&nested, json!({"i": [{"a": 1, "t": [{"b": 1}]}, {"a": 2, "t": [{"b": 2}]}]}), false),
        // independent of each other
        (
            &Condition::All(vec![
                together(&[some("i child a", &[is(1)])]),
                together(&[some("i child b", &[is(2)])]),
            ]),
            json!({"i": [{"a": 1}, {"b": 2}]}),
            true,
        ),
        (
            &Condition::Any(vec![child_pair.clone(), together(&[none("z", &anything)])]),
            json!({}),
            true,
        ),
        (
            &Condition::Any(vec![child_pair.clone(), together(&[none("z", &anything)])]),
            json!({"z": 1}),
            false,
        ),
        (&Condition::Any(Vec::new()), json!({}), false),
        (&Condition::All(Vec::new()), json!(1), true),
        // $[?@ == 1]
        (&together(&[some("child", &[is(1)])]), json!([0, 1]), true),
        (&together(&[some("child", &[is(1)])]), json!([0, [1]]), false),
        (&together(&[some("", &[is(1)])]), json!(1), true),
        (&together(&[some("each", &[is(1)])]), json!([[1]]), true),
    ] {
        let index = one(condition);
        assert_eq!(
            !found(&index, "a", &payload.to_string()).is_empty(),
            holds,
            "{condition:?} {payload}"
        );
    }
}

#[test]
fn the_type_decides_first() {
    let mut index = Index::new();
    for (key, pattern) in (0..).zip([
        "order.created",
        "order.*",
        "*",
        "*.created",
        "o*r.*",
        "order",
        "user.created",
        "order.c*",
    ]) {
        index.insert(key, &types(&[pattern]), None).unwrap();
    }
    index.insert(100, &types(&["user.*", "order.created", "*", "*", "user.x"]), None).unwrap();
    for (event_type, keys) in [
        ("order.created", vec![0, 1, 2, 3, 4, 7, 100]),
        ("order.paid", vec![1, 2, 4, 100]),
        ("order", vec![2, 5, 100]),
        ("user.created", vec![2, 3, 6, 100]),
        ("user.x", vec![2, 100]),
        ("x", vec![2, 100]),
    ] {
        assert_eq!(found(&index, event_type, "not JSON, but nobody looks"), keys, "{event_type}");
    }
    for key in [0, 2, 3, 100, 7, 1] {
        assert!(index.remove(&key));
    }
    assert_eq!(found(&index, "order.created", "{}"), [4]);
    assert_eq!(found(&index, "order", "{}"), [5]);
    assert_eq!(index.len(), 3);
}

#[test]
fn a_rule_is_replaced_by_its_key() {
    let mut index = Index::new();
    let pattern = |value: Value| Pattern::parse(&json!({"a": [value]})).unwrap().condition();
    index.insert("k", &types(&["x", "y"]), Some(&pattern(json!(1)))).unwrap();
    index.insert("k", &types(&["y", "z"]), Some(&pattern(json!(2)))).unwrap();
    assert_eq!(index.len(), 1);
    assert!(index.contains(&"k") && !index.contains(&"l"));
    for (event_type, payload, keys) in [
        ("x", "{\"a\":1}", vec![]),
        ("y", "{\"a\":1}", vec![]),
        ("y", "{\"a\":2}", vec!["k"]),
        ("z", "{\"a\":[1,2,2]}", vec!["k"]),
    ] {
        assert_eq!(found(&index, event_type, payload), keys, "{event_type} {payload}");
    }
    assert!(index.remove(&"k"));
    assert_eq!(index.heap_bytes(), 0);
}

#[test]
fn what_a_rule_looks_at_must_be_decidable() {
    let index =
        one(&Pattern::parse(&json!({"a": {"b": [{"anything-but": 1}]}})).unwrap().condition());
    let deep = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let deep_there =
        |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    for (payload, decided) in [
        (r#"{"a":{"b":2}}"#, Some(true)),
        (r#"{"a":{"b":1e400}}"#, None),
        (r#"{"a":{"c":1e400},"b":-1e999}"#, Some(false)), // nobody looks
        (r#"{"a":{"b":"\ud800"}}"#, None),
        (r#"{"a":{"c":"\ud800"}}"#, Some(false)),
        (r#"{"a":{"\ud800":1}}"#, None), // might be b
        (r#"{"x":{"\ud800":1}}"#, Some(false)),
        (r#"{"a":{"b":2}"#, None),
        (r#"{"a":{"b":2}} x"#, None),
        (r#"{"a":{"b":02}}"#, None),
        ("", None),
        ("5", Some(false)),
        (&deep(126), Some(false)),
        (&deep(127), None),
        (&deep(1_000_000), None),
        (&deep_there(126), Some(false)),
        (&deep_there(127), None),
        (&deep_there(1_000_000), None),
        // The last of a name counts, as serde_json has it.
        (r#"{"a":{"b":1,"b":2}}"#, Some(true)),
        (r#"{"a":{"b":2,"b":1}}"#, Some(false)),
        (r#"{"a":{"b":2},"a":{}}"#, Some(false)),
        (r#"{"a":{"b":2},"\u0061":{}}"#, Some(false)),
        (r#"{"x":1,"x":2,"a":{"b":2}}"#, Some(true)),
        (r#"{"a":{"b":1,"b":2},"x":1e400}"#, None), // read whole, for once
    ] {
        let event_type = EventType::parse("a").unwrap();
        let answer =
            index.matching(&event_type, payload.as_bytes()).ok().map(|keys| !keys.is_empty());
        assert_eq!(answer, decided, "{}", &payload[..payload.len().min(60)]);
    }
}

#[test]
fn thresholds_are_passed_in_order() {
    let mut index = Index::new();
    let mut rules = Vec::new();
    for operator in ["<", "<=", ">", ">="] {
        for number in -150..150 {
            let pattern = Pattern::parse(&json!({"a": [{"numeric": [operator, number]}]})).unwrap();
            index.insert((operator, number), &types(&["*"]), Some(&pattern.condition())).unwrap();
            rules.push(((operator, number), pattern));
        }
    }
    for _ in 0..2 {
        for payload in [
            json!({"a": -150}),
            json!({"a": 0}),
            json!({"a": 7.5}),
            json!({"a": 149}),
            json!({"a": 1e9}),
            json!({"a": [-200, 3, "x", 20]}),
            json!({"a": []}),
            json!({"a": "1"}),
        ] {
            let mut expected: Vec<_> = rules
                .iter()
                .filter(|(_, pattern)| pattern.matches(&payload))
                .map(|(key, _)| *key)
                .collect();
            expected.sort_unstable();
            assert_eq!(found(&index, "t", &payload.to_string()), expected, "{payload}");
        }
        rules.retain(|(key, _)| key.1 % 3 != 0 || !index.remove(key));
    }
}

#[test]
fn many_rules_in_one_place_are_found() {
    let mut index = Index::new();
    for n in 0..300 {
        // All begin alike, so they can't be told apart by that.
        let pattern =
            Pattern::parse(&json!({"a": [{"wildcard": format!("order-*-{n}-*")}]})).unwrap();
        index.insert(n, &types(&["*"]), Some(&pattern.condition())).unwrap();
    }
    assert_eq!(found(&index, "t", "{\"a\":\"order-x-7-y\"}"), [7]);
    assert_eq!(found(&index, "t", "{\"a\":[\"order-x-299-y\",\"order-x-3-\"]}"), [3, 299]);
    for n in 0..300 {
        assert!(index.remove(&n));
    }
    assert!(index.heap_bytes() < 100, "{}", index.heap_bytes()); // a list's capacity
}

#[test]
fn a_condition_is_not_too_large() {
    let row = Condition::Together(vec![some("a", &[is(1)]); 100]);
    let mut index = Index::new();
    let large = Condition::Any(vec![row; 200]);
    assert_eq!(index.insert((), &types(&["*"]), Some(&large)), Err(TooLarge));
    assert!(index.is_empty());
}

/// Patterns of no more than 64 KB that are much larger when they are spelt out, or laid out for each of 100 event types.
#[test]
fn a_rule_takes_little_memory_however_many_types_it_has() {
    let list = |length: usize| (0..length).map(Value::from).collect::<Value>();
    let object = |fields: usize, value: &dyn Fn(usize) -> Value| {
        (0..fields).map(|n| (format!("f{n}"), value(n))).collect::<serde_json::Map<_, _>>()
    };
    let deep = |name: &str, levels: usize, inner: Value| {
        (0..levels).fold(inner, |inner, _| json!({name: inner}))
    };
    let or: Value = (0..255).map(|n| json!({"y": [n]})).collect();
    let same_or: Value = (0..255).map(|_| json!({"y": [0]})).collect();
    let mut ways = object(8, &|_| json!([{"exists": false}, {"exists": true}]));
    ways.insert("x".to_owned(), list(2_000));
    let long = "n".repeat(1_000);
    let text = |n: usize| json!(format!("{n:05}{}", "t".repeat(1_000)));
    for (name, pattern, accepted) in [
        ("a long list in each row", json!({"x": list(1_790), "$or": or}), true),
        ("and the same row", json!({"x": list(1_790), "$or": same_or}), true),
        ("a long list in each way", Value::Object(ways), true),
        ("a long list", json!({"x": list(2_048)}), true),
        ("unwanted", json!({"x": [{"anything-but": list(2_000)}]}), true),
        ("many fields", Value::Object(object(256, &|_| json!([1]))), true),
        ("a deep field", deep("a", 31, json!({"x": [1]})), true),
        ("deep fields", Value::Object(object(190, &|_| deep("a", 30, json!([1])))), true),
        ("deeper", Value::Object(object(256, &|_| deep("a", 30, json!([1])))), false),
        ("long texts", json!({"x": (0..60).map(text).collect::<Value>()}), true),
        ("long names", deep(&long, 31, json!({"x": [1]})), true),
        ("long names, often", deep(&long, 30, Value::Object(object(100, &|_| json!([1])))), false),
        (
            "deep in each row",
            json!({"p": object(60, &|_| deep("a", 29, json!([1]))), "$or": or}),
            false,
        ),
    ] {
        let parsed = Pattern::parse(&pattern);
        assert_eq!(parsed.is_ok(), accepted, "{name}");
        let Ok(parsed) = parsed else { continue };
        let condition = parsed.condition();
        for count in [1, 3, 100] {
            let names: Vec<String> = (0..count).map(|n| format!("t{n}")).collect();
            let names = types(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let mut index = Index::new();
            index.insert((), &names, Some(&condition)).unwrap();
            let bytes = index.heap_bytes();
            println!("{name}, {count} types: {bytes} bytes");
            assert!(bytes < 4_000_000, "{name}, {count} types: {bytes}");
            assert!(index.remove(&()));
            let left = index.heap_bytes();
            assert!(left < 100, "{name}, {count} types: {left}"); // a list's capacity
        }
    }
}

#[test]
fn a_large_rule_is_found_by_each_of_its_types_once() {
    let list: Value = (0..2_048).map(Value::from).collect();
    let large = Pattern::parse(&json!({"x": list})).unwrap().condition();
    let small = Pattern::parse(&json!({"x": [7]})).unwrap().condition();
    let mut index = Index::new();
    index.insert("large", &types(&["a.*", "a.b", "*.b", "c"]), Some(&large)).unwrap();
    index.insert("small", &types(&["a.b", "d"]), Some(&small)).unwrap();
    let before = index.clone();
    index.insert("other", &types(&["a.*", "a.b", "*.b"]), Some(&large)).unwrap();
    for (event_type, payload, keys) in [
        ("a.b", "{\"x\":[7,8]}", vec!["large", "other", "small"]),
        ("a.b", "{\"x\":8}", vec!["large", "other"]),
        ("a.b", "{\"x\":-8}", vec![]),
        ("c", "{\"x\":7}", vec!["large"]),
        ("d", "{\"x\":7}", vec!["small"]),
        ("e", "{\"x\":7}", vec![]),
    ] {
        assert_eq!(found(&index, event_type, payload), keys, "{event_type} {payload}");
    }
    index.insert("large", &types(&["c"]), Some(&small)).unwrap();
    assert!(index.remove(&"other"));
    assert_eq!(found(&index, "a.b", "{\"x\":7}"), ["small"]);
    assert_eq!(found(&before, "a.b", "{\"x\":7}"), ["large", "small"]);
}

/// How many steps it takes to match the only rule; `None` if too many.
fn steps(index: &Index<usize>, payload: &str) -> Option<usize> {
    let steps = Steps::new(MAX_STEPS);
    let event_type = EventType::parse("t").unwrap();
    let found = index.each_matching_within(&steps, &event_type, payload.as_bytes(), |_| ());
    found.is_ok().then(|| MAX_STEPS - steps.left())
}

fn elements(count: usize) -> String {
    format!("{{\"i\":[{}]}}", vec!["{\"a\":1}"; count].join(","))
}

#[test]
fn many_elements_take_steps_in_proportion() {
    // $.i[?@.a != 1], and what a pattern can say like it
    let unlike = Condition::Together(vec![
        some("i child", &[Test::Scalar, Test::Structured]),
        none("i child a", &[is(1)]),
    ]);
    let pair = Pattern::parse(&json!({"i": {"a": [1], "b": [{"exists": true}]}})).unwrap();
    let lacking = Pattern::parse(&json!({"i": {"a": [1], "b": [{"exists": false}]}})).unwrap();
    for condition in [unlike, pair.condition(), lacking.condition()] {
        let mut index = Index::new();
        index.insert(0, &types(&["*"]), Some(&condition)).unwrap();
        let few = steps(&index, &elements(12_500)).unwrap();
        let many = steps(&index, &elements(125_000)).unwrap();
        println!("{few} and {many} steps: {condition:?}");
        assert!(many <= 10 * few, "{few} {many} {condition:?}");
        assert!(many < MAX_STEPS / 3, "{many} {condition:?}");
    }
}

#[test]
fn a_product_of_rules_and_elements_ends() {
    let product = |rules: usize, condition: &dyn Fn(usize) -> Condition| {
        let mut index = Index::new();
        for n in 0..rules {
            index.insert(n, &types(&["*"]), Some(&condition(n))).unwrap();
        }
        index
    };
    let unlike = |n: usize| {
        Condition::Together(vec![
            some("i child", &[Test::Scalar, Test::Structured]),
            none("i child a", &[is(1), is(n as u64)]),
        ])
    };
    let wildcard = |n: usize| {
        let wildcard = json!({"wildcard": format!("*{n}*")});
        Pattern::parse(&json!({"i": {"a": [wildcard]}})).unwrap().condition()
    };
    // Each has a path of its own to each element.
    let large = |n: usize| {
        let path = json!({"i": {"a": {format!("p{n}"): (0..2_048).collect::<Vec<_>>()}}});
        Pattern::parse(&path).unwrap().condition()
    };
    let texts = format!("{{\"i\":[{}]}}", vec!["{\"a\":\"x\"}"; 100_000].join(","));
    for (name, index, payload) in [
        ("unlike", product(1_000, &unlike), elements(125_000)),
        ("wildcard", product(1_000, &wildcard), texts),
    ] {
        assert_eq!(steps(&index, &payload), None, "{name}");
        assert!(steps(&index, &elements(100)).is_some(), "{name}");
    }
    let mut index = Index::new();
    for n in 0..300 {
        index.insert(n, &types(&["*", "*.x"]), Some(&large(n))).unwrap();
    }
    assert_eq!(steps(&index, &elements(125_000)), None);
    assert!(steps(&index, &elements(100)).is_some());
    let event_type = EventType::parse("t").unwrap();
    let error = index.matching(&event_type, elements(125_000).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("too many steps"), "{error}");
}
