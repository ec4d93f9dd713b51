use serde_json::{Value, json};

use super::*;
use crate::index::Index;
use triggerline_types::{EventType, EventTypePattern};

/// Decides by looking at everything, by the index, and by explaining; all must agree.
fn matches(pattern: &Value, payload: &Value) -> bool {
    let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let matches = parsed.matches(payload);
    let mut index = Index::new();
    let any = EventTypePattern::parse("*").unwrap();
    index.insert((), &[any], Some(&parsed.condition())).unwrap();
    let event_type = EventType::parse("a").unwrap();
    let found = index.matching(&event_type, payload.to_string().as_bytes()).unwrap();
    assert_eq!(!found.is_empty(), matches, "the index on {pattern} {payload}");
    assert_eq!(parsed.explain(payload).matched, matches, "the explanation of {pattern} {payload}");
    matches
}

/// Of `{"x": [alternative]}` on `{"x": value}`.
fn table(alternative: &Value, cases: &[(Value, bool)]) {
    for (value, expected) in cases {
        let (pattern, payload) = (json!({"x": [alternative]}), json!({"x": value}));
        assert_eq!(matches(&pattern, &payload), *expected, "{pattern} {payload}");
    }
}

#[test]
fn a_value_is_equal() {
    table(
        &json!("a"),
        &[
            (json!("a"), true),
            (json!("A"), false),
            (json!("ab"), false),
            (json!(""), false),
            (json!(null), false),
            (json!(["b", "a"]), true),
            (json!([["b"], ["a"]]), true),
            (json!([]), false),
            (json!({"a": "a"}), false),
        ],
    );
    table(
        &json!(1),
        &[
            (json!(1), true),
            (json!(1.0), true),
            (json!("1"), false),
            (json!(true), false),
            (json!(2), false),
            (json!([2, 1]), true),
        ],
    );
    table(
        &json!(9_007_199_254_740_993_u64),
        &[
            (json!(9_007_199_254_740_993_u64), true),
            (json!(9_007_199_254_740_992_u64), false),
            (json!(9_007_199_254_740_992.0), false),
        ],
    );
    table(&json!(-0.0), &[(json!(0), true), (json!(-1), false)]);
    table(
        &json!(true),
        &[(json!(true), true), (json!(false), false), (json!("true"), false), (json!(1), false)],
    );
    table(&json!(false), &[(json!(false), true), (json!(null), false), (json!(0), false)]);
    table(
        &json!(null),
        &[(json!(null), true), (json!(""), false), (json!([]), false), (json!([null]), true)],
    );
    table(&json!({"exactly": "a"}), &[(json!("a"), true), (json!("b"), false)]);
}

#[test]
fn a_string_begins_or_ends() {
    table(
        &json!({"prefix": "eu-"}),
        &[
            (json!("eu-west"), true),
            (json!("eu-"), true),
            (json!("EU-west"), false),
            (json!("eu"), false),
            (json!(1), false),
            (json!(["us-", "eu-1"]), true),
        ],
    );
    table(
        &json!({"prefix": ""}),
        &[(json!(""), true), (json!("a"), true), (json!(1), false), (json!(null), false)],
    );
    table(
        &json!({"suffix": ".png"}),
        &[
            (json!("a.png"), true),
            (json!(".png"), true),
            (json!("a.PNG"), false),
            (json!("png"), false),
        ],
    );
    table(&json!({"suffix": "ü"}), &[(json!("süü"), true), (json!("u"), false)]);
    table(
        &json!({"prefix": {"equals-ignore-case": "EventB"}}),
        &[(json!("eventbridge"), true), (json!("EVENTB"), true), (json!("event"), false)],
    );
    table(
        &json!({"suffix": {"equals-ignore-case": ".PNG"}}),
        &[(json!("a.png"), true), (json!("a.Png"), true), (json!("a.png "), false)],
    );
    table(
        &json!({"equals-ignore-case": "Alice"}),
        &[(json!("aLICE"), true), (json!("alice "), false), (json!(["bob", "ALICE"]), true)],
    );
}

#[test]
fn a_wildcard_stands_for_any_run() {
    table(
        &json!({"wildcard": "dir/*/file.txt"}),
        &[
            (json!("dir/a/file.txt"), true),
            (json!("dir/a/b/file.txt"), true),
            (json!("dir//file.txt"), true),
            (json!("dir/file.txt"), false),
            (json!(1), false),
        ],
    );
    table(&json!({"wildcard": "*"}), &[(json!(""), true), (json!("a"), true), (json!(1), false)]);
    table(&json!({"wildcard": r"a\*b"}), &[(json!("a*b"), true), (json!("axb"), false)]);
    table(&json!({"wildcard": "no star"}), &[(json!("no star"), true), (json!("no stars"), false)]);
}

#[test]
fn anything_but_is_everything_else_that_is_there() {
    table(
        &json!({"anything-but": "a"}),
        &[
            (json!("a"), false),
            (json!("b"), true),
            (json!(1), true),
            (json!(null), true),
            (json!(true), true),
            (json!([]), false),
            (json!({}), false),
            (json!(["a", "a"]), false),
            (json!(["a", "b"]), true),
        ],
    );
    table(
        &json!({"anything-but": 1}),
        &[(json!(1), false), (json!(1.0), false), (json!("1"), true)],
    );
    table(
        &json!({"anything-but": ["a", "b"]}),
        &[(json!("a"), false), (json!("b"), false), (json!("c"), true)],
    );
    table(
        &json!({"anything-but": [1, 2.5]}),
        &[(json!(2.5), false), (json!(2), true), (json!("1"), true)],
    );
    table(
        &json!({"anything-but": {"prefix": "a"}}),
        &[(json!("ab"), false), (json!("ba"), true), (json!(1), true)],
    );
    table(
        &json!({"anything-but": {"suffix": ["a", "b"]}}),
        &[(json!("xb"), false), (json!("bx"), true)],
    );
    table(
        &json!({"anything-but": {"equals-ignore-case": "a"}}),
        &[(json!("A"), false), (json!("b"), true)],
    );
    table(
        &json!({"anything-but": {"equals-ignore-case": ["a", ""]}}),
        &[(json!(""), false), (json!("b"), true)],
    );
    table(
        &json!({"anything-but": {"wildcard": "*/bin/*"}}),
        &[
            (json!("/usr/bin/ls"), false),
            (json!("/usr/lib"), true),
            (json!(["/usr/bin/ls", "x"]), true),
        ],
    );
    assert!(!matches(&json!({"x": [{"anything-but": "a"}]}), &json!({"y": 1})));
}

#[test]
fn a_number_is_in_a_range() {
    let x = |range: Value| json!({"numeric": range});
    table(
        &x(json!(["=", 3.018e2])),
        &[(json!(301.8), true), (json!(301), false), (json!("301.8"), false)],
    );
    table(
        &x(json!(["<", 10])),
        &[(json!(9.99), true), (json!(10), false), (json!(-1e300), true), (json!(null), false)],
    );
    table(&x(json!(["<=", 10])), &[(json!(10.0), true), (json!(10.000_001), false)]);
    table(
        &x(json!([">", 0])),
        &[(json!(0), false), (json!(5e-324), true), (json!(u64::MAX), true)],
    );
    table(&x(json!([">=", 0])), &[(json!(-0.0), true), (json!(-1), false), (json!([-1, 1]), true)]);
    table(
        &x(json!([">", 0, "<=", 5])),
        &[
            (json!(0), false),
            (json!(1), true),
            (json!(5), true),
            (json!(5.5), false),
            (json!([0, 6]), false),
        ],
    );
    table(
        &x(json!([">=", -1.5, "<", 1e300])),
        &[(json!(-1.5), true), (json!(1e300), false), (json!(7), true)],
    );
}

#[test]
fn an_address_is_in_a_network() {
    table(
        &json!({"cidr": "10.0.0.0/24"}),
        &[
            (json!("10.0.0.255"), true),
            (json!("10.0.1.0"), false),
            (json!("ten"), false),
            (json!(10), false),
        ],
    );
    table(
        &json!({"cidr": "2001:db8::/32"}),
        &[(json!("2001:db8::1"), true), (json!("2001:db9::1"), false)],
    );
}

#[test]
fn a_field_exists_as_a_scalar() {
    let exists = |exists: bool| json!({"d": {"c": [{"exists": exists}]}});
    for (payload, there) in [
        (json!({"d": {"c": 1}}), true),
        (json!({"d": {"c": null}}), true),
        (json!({"d": {"c": [1, 2]}}), true),
        (json!({"d": {"c": []}}), false),
        (json!({"d": {"c": {"c1": 1}}}), false), // an object is no leaf
        (json!({"d": {"c": [{"c1": 1}, 2]}}), true),
        (json!({"d": {}}), false),
        (json!({"d": 1}), false),
        (json!({}), false),
        (json!([{"d": {"c": 1}}]), false),
    ] {
        assert_eq!(matches(&exists(true), &payload), there, "{payload}");
        assert_eq!(matches(&exists(false), &payload), !there, "{payload}");
    }
    let either = json!({"a": [{"exists": false}, "x"]});
    for (payload, matched) in
        [(json!({}), true), (json!({"a": "x"}), true), (json!({"a": "y"}), false)]
    {
        assert_eq!(matches(&either, &payload), matched, "{payload}");
    }
}

#[test]
fn fields_are_anded_and_alternatives_ored() {
    let pattern = json!({"a": [1, 2], "b": {"c": ["x"], "d": [{"prefix": "y"}, null]}});
    for (payload, matched) in [
        (json!({"a": 2, "b": {"c": "x", "d": null}, "more": 1}), true),
        (json!({"a": 2, "b": {"c": "x", "d": "yy"}}), true),
        (json!({"a": 3, "b": {"c": "x", "d": "yy"}}), false),
        (json!({"a": 1, "b": {"c": "x"}}), false),
        (json!({"a": 1, "b": "x"}), false),
        (json!({"a": 1, "c": "x", "d": null}), false),
    ] {
        assert_eq!(matches(&pattern, &payload), matched, "{payload}");
    }
}

#[test]
fn or_multiplies() {
    let pattern = json!({
        "source": ["s"],
        "$or": [{"m": ["cpu"]}, {"t": ["x"], "n": ["y"], "$or": [{"i": [1]}, {"j": [2]}]}, {"scope": ["z"]}],
        "in": {"$or": [{"p": [1]}, {"q": [1]}]}
    });
    for (payload, matched) in [
        (json!({"source": "s", "m": "cpu", "in": {"p": 1}}), true),
        (json!({"source": "s", "scope": "z", "in": {"q": 1}}), true),
        (json!({"source": "s", "t": "x", "n": "y", "j": 2, "in": {"q": 1}}), true),
        (json!({"source": "s", "t": "x", "n": "y", "in": {"q": 1}}), false),
        (json!({"source": "s", "m": "cpu"}), false),
        (json!({"source": "t", "m": "cpu", "in": {"p": 1}}), false),
        (json!({"source": "s", "m": "mem", "in": {"p": 1}}), false),
    ] {
        assert_eq!(matches(&pattern, &payload), matched, "{payload}");
    }
    // A branch and what stands beside it look at one element.
    let pattern = json!({"a": {"x": [1]}, "$or": [{"a": {"y": [2]}}, {"a": {"z": [3]}}]});
    assert!(matches(&pattern, &json!({"a": [{"x": 1, "z": 3}]})));
    assert!(!matches(&pattern, &json!({"a": [{"x": 1}, {"z": 3, "y": 2}]})));
}

#[test]
fn fields_of_an_object_match_in_one_element() {
    let employees = json!({"employees": [
        {"first": "John", "last": "Doe"}, [{"first": "Anna", "last": "Smith"}], {"first": "Peter", "last": "Jones"}
    ]});
    let songs = json!({"year": 1966, "genres": [{"pop": true}, {"classical": false}], "songs": [
        {"name": "Paperback Writer", "writers": [{"f": "John", "l": "Lennon"}, {"f": "Paul", "l": "McCartney"}]},
        {"name": "Paint It Black", "writers": [{"f": "Mick", "l": "Jagger"}, {"f": "Keith", "l": "Richards"}]}
    ]});
    for (payload, pattern, matched) in [
        (&employees, json!({"employees": {"first": ["Anna"]}}), true),
        (&employees, json!({"employees": {"first": ["Anna"], "last": ["Smith"]}}), true),
        (&employees, json!({"employees": {"first": ["Anna"], "last": ["Jones"]}}), false),
        (
            &songs,
            json!({"songs": {"name": ["Paperback Writer"], "writers": {"f": ["Paul"], "l": ["McCartney"]}}}),
            true,
        ),
        (
            &songs,
            json!({"songs": {"name": ["Paperback Writer"], "writers": {"f": ["Mick"]}}}),
            false,
        ),
        (&songs, json!({"songs": {"writers": {"f": ["Mick"], "l": ["McCartney"]}}}), false),
        (&songs, json!({"genres": {"pop": [true]}, "songs": {"name": ["Paint It Black"]}}), true),
        (&songs, json!({"genres": {"pop": [true], "classical": [false]}}), false),
    ] {
        assert_eq!(matches(&pattern, payload), matched, "{pattern}");
    }
}

#[test]
fn absence_looks_at_the_elements_chosen_before() {
    for (pattern, payload, matched) in [
        (
            json!({"d": {"a": [1], "b": [{"exists": false}]}}),
            json!({"d": [{"a": 1}, {"b": 2}]}),
            true,
        ),
        (
            json!({"d": {"a": [1], "b": [{"exists": false}]}}),
            json!({"d": [{"a": 1, "b": 2}]}),
            false,
        ),
        (
            json!({"d": {"b": [{"exists": false}], "c": [1]}}),
            json!({"d": [{"c": 1}, {"b": 2}]}),
            false,
        ),
        (json!({"d": {"b": [{"exists": false}]}}), json!({"d": [{"c": 1}, {"b": 2}]}), false),
        (json!({"d": {"b": [{"exists": false}]}}), json!({"d": []}), true),
    ] {
        assert_eq!(matches(&pattern, &payload), matched, "{pattern} {payload}");
    }
}

#[test]
fn a_bad_pattern_is_refused_with_the_place() {
    let deep = (0..40).fold(json!([1]), |inner, _| json!({"a": inner}));
    let many: Value = (0..2_049).map(Value::from).collect();
    let wide: serde_json::Map<String, Value> =
        (0..257).map(|n| (n.to_string(), json!([1]))).collect();
    let or: Value = (0..7).map(|n| json!({n.to_string(): [1]})).collect();
    let exploding = json!({"a": {"$or": or}, "b": {"$or": or}, "c": {"$or": or}});
    let either: serde_json::Map<String, Value> =
        (0..60).map(|n| (n.to_string(), json!([1, {"exists": false}]))).collect();
    let mut large: serde_json::Map<String, Value> =
        (0..200).map(|n| (format!("f{n}"), json!([1]))).collect();
    for n in 0..7 {
        large.insert(format!("o{n}"), json!({"$or": [{"a": [1]}, {"b": [1]}]}));
    }
    let large = Value::Object(large);
    for (pattern, pointer, says) in [
        (json!([1]), "", "a pattern is an object"),
        (json!({}), "", "at least one field"),
        (json!({"a": {}}), "/a", "at least one field"),
        (json!({"a": 1}), "/a", "write [1]"),
        (json!({"a": []}), "/a", "at least one alternative"),
        (json!({"a/b": {"~": [[1]]}}), "/a~1b/~0/0", "not an array"),
        (json!({"a": [{"x": 2}]}), "/a/0/x", "no such operator"),
        (json!({"a": [{}]}), "/a/0", "names an operator"),
        (json!({"a": [{"prefix": "a", "suffix": "b"}]}), "/a/0", "one operator"),
        (json!({"a": ["ok", {"prefix": 3}]}), "/a/1/prefix", "a string"),
        (json!({"a": [{"prefix": {"suffix": "x"}}]}), "/a/0/prefix/suffix", "equals-ignore-case"),
        (
            json!({"a": [{"prefix": {"equals-ignore-case": 5}}]}),
            "/a/0/prefix/equals-ignore-case",
            "a string",
        ),
        (json!({"a": [{"wildcard": "a**b"}]}), "/a/0/wildcard", "byte 1"),
        (json!({"a": [{"wildcard": "a\\b"}]}), "/a/0/wildcard", "backslash"),
        (json!({"a": [{"wildcard": "*a".repeat(17)}]}), "/a/0/wildcard", "at most 16"),
        (json!({"a": [{"anything-but": true}]}), "/a/0/anything-but", "takes"),
        (json!({"a": [{"anything-but": []}]}), "/a/0/anything-but", "not empty"),
        (
            json!({"a": [{"anything-but": ["a", 1]}]}),
            "/a/0/anything-but",
            "all strings or all numbers",
        ),
        (
            json!({"a": [{"anything-but": {"prefix": ["a", ""]}}]}),
            "/a/0/anything-but/prefix/1",
            "at least one",
        ),
        (
            json!({"a": [{"anything-but": {"cidr": "x"}}]}),
            "/a/0/anything-but/cidr",
            "there is prefix",
        ),
        (
            json!({"a": [{"anything-but": {"wildcard": "a**"}}]}),
            "/a/0/anything-but/wildcard",
            "byte 1",
        ),
        (json!({"a": [{"numeric": []}]}), "/a/0/numeric", "a range"),
        (json!({"a": [{"numeric": ["<"]}]}), "/a/0/numeric", "a range"),
        (json!({"a": [{"numeric": ["<>", 1]}]}), "/a/0/numeric", "a range"),
        (json!({"a": [{"numeric": ["<", "1"]}]}), "/a/0/numeric", "a range"),
        (json!({"a": [{"numeric": ["<", 1, ">", 0]}]}), "/a/0/numeric", "lower end first"),
        (json!({"a": [{"numeric": [">", 1, "<", 1]}]}), "/a/0/numeric", "less than"),
        (json!({"a": [{"numeric": [">", 1, "<", 30, false]}]}), "/a/0/numeric", "a range"),
        (json!({"a": [{"exists": 1}]}), "/a/0/exists", "true or false"),
        (json!({"a": [{"cidr": "10.0.0.1/8"}]}), "/a/0/cidr", "10.0.0.0/8"),
        (json!({"$or": {"a": [1]}}), "/$or", "at least two"),
        (json!({"$or": [{"a": [1]}]}), "/$or", "at least two"),
        (json!({"$or": [{"a": [1]}, 2]}), "/$or/1", "each a pattern"),
        (json!({"$or": [{"a": [1]}, {"numeric": [1]}]}), "/$or/1/numeric", "operator"),
        (json!({"a": [1], "$or": [{"b": [1]}, {"a": [2]}]}), "/$or/1/a", "named already"),
        (json!({"a": "x".repeat(1_025)}), "/a", "…"),
        (json!({"a": ["x".repeat(1_025)]}), "/a/0", "at most 1024 bytes"),
        (json!({"a": many}), "/a/2048", "at most 2048"),
        (Value::Object(wide), "/99", "at most 256 fields"),
        (exploding, "", "at most 256 combinations"),
        (Value::Object(either), "", "at most 256 combinations"),
        (large, "", "are indexed"),
    ] {
        let error = Pattern::parse(&pattern).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error} {pattern}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = Pattern::parse(&deep).unwrap_err();
    assert!(error.why.contains("at most 32"), "{error}");
    assert!(Pattern::parse_text("{").unwrap_err().why.contains("JSON"));
    assert!(Pattern::parse_text("{\"a\": [1e400]}").is_err());
}

#[test]
fn an_explanation_names_the_part_that_decided() {
    let pattern = Pattern::parse(&json!({
        "status": ["paid"],
        "items": {"sku": ["a"], "quantity": [{"numeric": [">", 1]}]}
    }))
    .unwrap();
    let explain = |payload: Value| serde_json::to_value(pattern.explain(&payload)).unwrap();

    let matched = explain(json!({"status": "paid", "items": [{"sku": "a", "quantity": 2}]}));
    assert_eq!(matched["matched"], json!(true));
    assert_eq!(matched["decided"], json!({"by": "all_fields"}));
    assert_eq!(
        matched["fields"][0],
        json!({
            "pattern": "/items/quantity", "path": ["items", "quantity"], "matched": true,
            "expected": [{"numeric": [">", 1]}],
            "found": [{"at": "/items/0/quantity", "value": 2, "is_object": false, "matched": true}],
            "more": 0
        })
    );

    let field = explain(json!({"status": "open", "items": [{"sku": "a", "quantity": 2}]}));
    assert_eq!(field["decided"], json!({"by": "field", "pattern": "/status"}));
    assert_eq!(field["fields"][2]["found"][0]["value"], json!("open"));

    let missing = explain(json!({"items": {"sku": "a", "quantity": 2}}));
    assert_eq!(missing["decided"], json!({"by": "field", "pattern": "/status"}));
    assert_eq!(missing["fields"][2]["found"], json!([]));

    let apart = explain(
        json!({"status": "paid", "items": [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 9}]}),
    );
    assert_eq!(apart["decided"], json!({"by": "one_element"}));

    let or = Pattern::parse(&json!({"$or": [{"a": [1], "b": [1]}, {"c": [1]}]})).unwrap();
    let closest = or.explain(&json!({"a": 1, "b": {"x": 1}}));
    assert_eq!(closest.decided, Decided::Field { pattern: "/$or/0/b".to_owned() });
    assert!(closest.fields[1].found[0].is_object);
}
