//! The examples of RFC 9535, as its tables have them, and what its prose says where the compliance test suite has
//! no case.

use serde_json::{Value, json};
use triggerline_matching::jsonpath::{Budget, Query};

/// Paths and nodes that a query selects.
fn select(query: &str, document: &Value) -> Vec<(String, Value)> {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let found = query.located_nodes(document, &mut Budget::default());
    let found = found.unwrap_or_else(|error| panic!("{query}: {error}"));
    found.iter().map(|located| (located.path.to_string(), located.node.clone())).collect()
}

fn nodes(query: &str, document: &Value) -> Vec<Value> {
    select(query, document).into_iter().map(|(_, node)| node).collect()
}

/// Each row: a query and the nodes that it selects, in order.
fn check(document: &Value, rows: &[(&str, Value)]) {
    for (query, expected) in rows {
        assert_eq!(Value::Array(nodes(query, document)), *expected, "{query}");
    }
}

#[test]
fn section_1_5_the_bookstore() {
    let store = json!({"store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
            {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99}
        ],
        "bicycle": {"color": "red", "price": 399}
    }});
    let authors = json!(["Nigel Rees", "Evelyn Waugh", "Herman Melville", "J. R. R. Tolkien"]);
    let book = |index: usize| store["store"]["book"][index].clone();
    check(
        &store,
        &[
            ("$.store.book[*].author", authors.clone()),
            ("$..author", authors),
            ("$.store.*", json!([store["store"]["bicycle"], store["store"]["book"]])),
            ("$.store..price", json!([399, 8.95, 12.99, 8.99, 22.99])),
            ("$..book[2]", json!([book(2)])),
            ("$..book[2].author", json!(["Herman Melville"])),
            ("$..book[2].publisher", json!([])),
            ("$..book[-1]", json!([book(3)])),
            ("$..book[0,1]", json!([book(0), book(1)])),
            ("$..book[:2]", json!([book(0), book(1)])),
            ("$..book[?@.isbn]", json!([book(2), book(3)])),
            ("$..book[?@.price<10]", json!([book(0), book(2)])),
            ("$.store.book[?@.price < 10].title", json!(["Sayings of the Century", "Moby Dick"])),
        ],
    );
    assert_eq!(nodes("$..*", &store).len(), 27);
    let paths: Vec<_> = select("$.store.book[?@.price < 10].title", &store)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(paths, ["$['store']['book'][0]['title']", "$['store']['book'][2]['title']"]);
}

#[test]
fn section_2_3_selectors() {
    check(
        &json!({"o": {"j j": {"k.k": 3}}, "'": {"@": 2}}),
        &[
            ("$.o['j j']", json!([{"k.k": 3}])),
            ("$.o['j j']['k.k']", json!([3])),
            (r#"$.o["j j"]["k.k"]"#, json!([3])),
            (r#"$["'"]["@"]"#, json!([2])),
        ],
    );
    check(
        &json!({"o": {"j": 1, "k": 2}, "a": [5, 3]}),
        &[
            ("$[*]", json!([[5, 3], {"j": 1, "k": 2}])),
            ("$.o[*]", json!([1, 2])),
            ("$.o[*, *]", json!([1, 2, 1, 2])),
            ("$.a[*]", json!([5, 3])),
        ],
    );
    check(&json!(["a", "b"]), &[("$[1]", json!(["b"])), ("$[-2]", json!(["a"]))]);
    check(
        &json!(["a", "b", "c", "d", "e", "f", "g"]),
        &[
            ("$[1:3]", json!(["b", "c"])),
            ("$[5:]", json!(["f", "g"])),
            ("$[1:5:2]", json!(["b", "d"])),
            ("$[5:1:-2]", json!(["f", "d"])),
            ("$[::-1]", json!(["g", "f", "e", "d", "c", "b", "a"])),
            ("$[0:3:0]", json!([])),
            ("$[-9007199254740991:9007199254740991:9007199254740991]", json!(["a"])),
            ("$[9007199254740991:-9007199254740991:-9007199254740991]", json!(["g"])),
        ],
    );
}

#[test]
fn section_2_3_5_comparisons() {
    let document = json!({"obj": {"x": "y"}, "arr": [2, 3]});
    // Table 11. A filter looks at the children; each row holds for all of them or for none.
    for (comparison, holds) in [
        ("$.absent1 == $.absent2", true),
        ("$.absent1 <= $.absent2", true),
        ("$.absent == 'g'", false),
        ("$.absent1 != $.absent2", false),
        ("$.absent != 'g'", true),
        ("1 <= 2", true),
        ("1 > 2", false),
        ("13 == '13'", false),
        ("'a' <= 'b'", true),
        ("'a' > 'b'", false),
        ("$.obj == $.arr", false),
        ("$.obj != $.arr", true),
        ("$.obj == $.obj", true),
        ("$.obj != $.obj", false),
        ("$.arr == $.arr", true),
        ("$.arr != $.arr", false),
        ("$.obj == 17", false),
        ("$.obj != 17", true),
        ("$.obj <= $.arr", false),
        ("$.obj < $.arr", false),
        ("$.obj <= $.obj", true),
        ("$.arr <= $.arr", true),
        ("1 <= $.arr", false),
        ("1 >= $.arr", false),
        ("1 > $.arr", false),
        ("1 < $.arr", false),
        ("true <= true", true),
        ("true > true", false),
        // Beyond the table.
        ("true < false", false),
        ("false <= true", false),
        ("null <= null", true),
        ("null < null", false),
        ("null == false", false),
        ("null == 0", false),
        ("$.absent == null", false),
        ("1 == 1.0", true),
        ("100 == 1e2", true),
        ("0 == -0", true),
        ("-0.0 == 0", true),
        ("9007199254740993 == 9007199254740992", false),
        ("9007199254740993 > 9007199254740992.0", true),
        ("18446744073709551615 == 18446744073709551614", false),
        ("1e400 == 1e400", true),
        ("$.arr[0] < 1e400", true),
        // By Unicode scalar values, where UTF-16 would say otherwise.
        ("'\u{ffff}' < '\u{10000}'", true),
        ("'a' < 'aa'", true),
        ("'' < 'a'", true),
        ("'Z' < 'a'", true),
        ("'\u{e9}' == 'e\u{301}'", false), // no normalization
        ("'\\u00e9' == '\u{e9}'", true),
        ("'\\ud83d\\uDE00' == '\u{1f600}'", true),
    ] {
        let query = format!("$[?{comparison}]");
        assert_eq!(nodes(&query, &document).len(), if holds { 2 } else { 0 }, "{comparison}");
        let query = format!("$[?!({comparison})]");
        assert_eq!(nodes(&query, &document).len(), if holds { 0 } else { 2 }, "!({comparison})");
    }
}

#[test]
fn section_2_3_5_filters() {
    let document = json!({
        "a": [3, 5, 1, 2, 4, 6, {"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}],
        "o": {"p": 1, "q": 2, "r": 3, "s": 5, "t": {"u": 6}},
        "e": "f"
    });
    check(
        &document,
        &[
            ("$.a[?@.b == 'kilo']", json!([{"b": "kilo"}])),
            ("$.a[?(@.b == 'kilo')]", json!([{"b": "kilo"}])),
            ("$.a[?@>3.5]", json!([5, 4, 6])),
            ("$.a[?@.b]", json!([{"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}])),
            ("$[?@.*]", json!([document["a"], document["o"]])),
            ("$[?@[?@.b]]", json!([document["a"]])),
            ("$.o[?@<3, ?@<3]", json!([1, 2, 1, 2])),
            ("$.a[?@<2 || @.b == \"k\"]", json!([1, {"b": "k"}])),
            ("$.a[?match(@.b, \"[jk]\")]", json!([{"b": "j"}, {"b": "k"}])),
            ("$.a[?search(@.b, \"[jk]\")]", json!([{"b": "j"}, {"b": "k"}, {"b": "kilo"}])),
            ("$.o[?@>1 && @<4]", json!([2, 3])),
            ("$.o[?@.u || @.x]", json!([{"u": 6}])),
            ("$.a[?@.b == $.x]", json!([3, 5, 1, 2, 4, 6])),
            ("$.a[?@ == @]", document["a"].clone()),
        ],
    );
}

#[test]
fn section_2_4_functions() {
    let document = json!([
        {"s": "", "n": 0},
        {"s": "aé☺\u{1f600}", "n": 4},
        {"s": [1, 2], "n": 2},
        {"s": {"x": 1}, "n": 1},
        {"s": 7, "n": 1},
        {"s": null, "n": 0}
    ]);
    check(
        &document,
        &[
            ("$[?length(@.s) == @.n].n", json!([0, 4, 2, 1])),
            ("$[?length(@.s) == @.absent].n", json!([1, 0])), // nothing equals nothing
            ("$[?length('aé') == 2 && @.n == 4].n", json!([4])),
            ("$[?count(@.s.*) == @.n].n", json!([0, 2, 1, 0])),
            ("$[?count(@['s', 's']) == 2].n", json!([0, 4, 2, 1, 1, 0])), // duplicates count
            ("$[?value(@..x) == 1].n", json!([1])),
            ("$[?value(@.*) == 0].n", json!([])), // several
            ("$[?value(@..s) == 7].n", json!([1])),
            ("$[?length(value(@.s)) == 4].n", json!([4])),
        ],
    );
    // Table 15, and other things that are not well-typed.
    for (query, accepted) in [
        ("$[?length(@) < 3]", true),
        ("$[?length(@.*) < 3]", false),
        ("$[?count(@.*) == 1]", true),
        ("$[?count(1) == 1]", false),
        ("$[?count(foo(@.*)) == 1]", false),
        ("$[?match(@.timezone, 'Europe/.*')]", true),
        ("$[?match(@.timezone, 'Europe/.*') == true]", false),
        ("$[?value(@..color) == \"red\"]", true),
        ("$[?value(@..color)]", false),
        ("$[?length(count(@.*)) < 3]", true),
        ("$[?length(match(@, 'a')) < 3]", false),
        ("$[?length(@.a == 1) < 3]", false),
        ("$[?length((@.a)) < 3]", false),
        ("$[?length(!@.a) < 3]", false),
        ("$[?count((@.*)) < 3]", false),
        ("$[?count(value(@.*)) < 3]", false),
        ("$[?match(length(@.a), 'a')]", true),
        ("$[?match(@.a, @..b)]", false),
        ("$[?match(@.a, value(@..b))]", true),
        ("$[?!length(@.a)]", false),
        ("$[?!match(@.a, 'a')]", true),
        ("$[?!match(@.a, 'a') == false]", false),
        ("$[?Length(@) == 1]", false),
        ("$[?length (@) == 1]", false),
        ("$[?length( @ ) == 1]", true),
        // A singular query has no blank space inside of its brackets, only between its segments.
        ("$[?@ ['a'] [0] == 1]", true),
        ("$[?@[ 'a'] == 1]", false),
        ("$[?@['a' ] == 1]", false),
        ("$[?length(@[ 0 ]) == 1]", false),
        ("$[?@[ 'a' ]]", true),
        ("$[?count(@[ 'a' ]) == 1]", true),
    ] {
        assert_eq!(Query::parse(query).is_ok(), accepted, "{query}");
    }
}

#[test]
fn what_is_no_i_regexp_matches_nothing() {
    let document = json!(["a", "1", "\\d", ""]);
    check(
        &document,
        &[
            (r"$[?search(@, '\\d')]", json!([])),
            ("$[?search(@, '(?i)A')]", json!([])),
            ("$[?search(@, 'a*?')]", json!([])),
            ("$[?!search(@, '[')]", document.clone()),
            (r"$[?search(@, '\\p{Nd}')]", json!(["1"])),
            ("$[?match(@, '')]", json!([""])),
        ],
    );
    // The same where the payload brings the expression.
    check(
        &json!({"texts": ["a", "ab", 1], "whole": "a", "bad": "\\w", "number": 1}),
        &[
            ("$.texts[?match(@, $.whole)]", json!(["a"])),
            ("$.texts[?search(@, $.whole)]", json!(["a", "ab"])),
            ("$.texts[?search(@, $.bad)]", json!([])),
            ("$.texts[?search(@, $.number)]", json!([])),
            ("$.texts[?search(@, $.absent)]", json!([])),
            ("$.texts[?search(@, value($.whole)) && match(@, $.whole)]", json!(["a"])),
        ],
    );
}

#[test]
fn section_2_5_segments() {
    check(
        &json!(["a", "b", "c", "d", "e", "f", "g"]),
        &[
            ("$[0, 3]", json!(["a", "d"])),
            ("$[0:2, 5]", json!(["a", "b", "f"])),
            ("$[0, 0]", json!(["a", "a"])),
        ],
    );
    let document = json!({"o": {"j": 1, "k": 2}, "a": [5, 3, [{"j": 4}, {"k": 6}]]});
    check(
        &document,
        &[
            ("$..j", json!([4, 1])),
            ("$..[0]", json!([5, {"j": 4}])),
            ("$..o", json!([{"j": 1, "k": 2}])),
            ("$.o..[*, *]", json!([1, 2, 1, 2])),
            ("$.a..[0, 1]", json!([5, 3, {"j": 4}, {"k": 6}])),
        ],
    );
    assert_eq!(nodes("$..*", &document).len(), 11);
    assert_eq!(nodes("$..[*]", &document).len(), 11);
}

#[test]
fn section_2_6_null() {
    check(
        &json!({"a": null, "b": [null], "c": [{}], "null": 1}),
        &[
            ("$.a", json!([null])),
            ("$.a[0]", json!([])),
            ("$.a.d", json!([])),
            ("$.b[0]", json!([null])),
            ("$.b[*]", json!([null])),
            ("$.b[?@]", json!([null])),
            ("$.b[?@==null]", json!([null])),
            ("$.c[?@.d==null]", json!([])),
            ("$.null", json!([1])),
        ],
    );
}
