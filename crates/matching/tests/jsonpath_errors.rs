//! A query that is refused says where and what would be right.

use triggerline_matching::jsonpath::{MAX_NESTING, MAX_QUERY_BYTES, MAX_SEGMENTS, Query};

/// The byte and a part of the reason, for each text.
fn check(rows: &[(&str, usize, &str)]) {
    for (text, at, why) in rows {
        let error = Query::parse(text).expect_err(text);
        assert_eq!(error.at, *at, "{text}: {error}");
        assert!(error.why.contains(why), "{text}: {error}");
    }
}

#[test]
fn paths() {
    check(&[
        ("", 0, "expected '$'"),
        ("total", 0, "expected '$', with which a query begins; found 't'"),
        (" $", 0, "expected '$'"),
        ("$ ", 1, "no blank space may follow"),
        ("$.a\n", 3, "no blank space may follow"),
        ("$x", 1, "expected '.name', '..name' or '[…]', or the end"),
        ("$.", 2, "expected a name or '*' after '.'; found the end"),
        ("$.1", 2, "in brackets"),
        ("$.a-b", 3, "or the end of the query; found '-'"),
        ("$. a", 2, "no blank space may follow '.'"),
        ("$.a b", 4, "or the end of the query; found 'b'"),
        ("$.['a']", 1, "no '.' stands before '['"),
        ("$.'a'", 2, "in brackets"),
        ("$..", 3, "expected a name or '*'"),
        ("$...a", 3, "expected a name or '*'"),
        ("$.ü.&", 5, "expected a name or '*' after '.'; found '&'"),
        ("$[", 2, "expected a selector: 'name', *, an index"),
        ("$[]", 2, "expected a selector"),
        ("$[a]", 2, "stands in quotes"),
        ("$['a'", 5, "expected ',' or ']' after a selector; found the end"),
        ("$['a' 'b']", 6, "expected ',' or ']' after a selector; found '\\''"),
        ("$['a',]", 6, "expected a selector"),
        ("$[@.a]", 2, "a filter begins with '?'"),
        ("$[(@.a)]", 2, "a filter begins with '?'"),
    ]);
}

#[test]
fn strings_and_numbers() {
    check(&[
        ("$['a", 4, "expected ', which ends the string that begins at byte 2"),
        ("$[\"a']", 6, "expected \""),
        ("$['a\nb']", 4, "written \\u000a"),
        (r"$['\x']", 3, "after \\ in a string comes one of"),
        (r"$['\']", 6, "expected '"),
        (r#"$['\"']"#, 3, "\" is not escaped"),
        (r"$['\u00g0']", 7, "four hexadecimal digits"),
        (r"$['\u00", 7, "found the end"),
        (r"$['\ud800']", 3, "followed by a low one"),
        (r"$['\ud800\n']", 3, "followed by a low one"),
        (r"$['\ud800\u0041']", 3, "followed by a low one"),
        (r"$['\udc00']", 3, "follows a high one"),
        ("$[01]", 3, "no leading zeros"),
        ("$[-0]", 2, "written 0, not -0"),
        ("$[-]", 3, "expected a digit"),
        ("$[1.0]", 3, "expected ',' or ']'"),
        ("$[9007199254740992]", 2, "an index is between"),
        ("$[-9007199254740992]", 2, "an index is between"),
        ("$[99999999999999999999]", 2, "an index is between"),
        ("$[1:9007199254740992]", 4, "an index is between"),
        ("$[1:2:-0]", 6, "written 0, not -0"),
        ("$[1:2:3:4]", 7, "expected ',' or ']'"),
        ("$[?@.a == 01]", 11, "no leading zeros"),
        ("$[?@.a == 1.]", 12, "a digit after the decimal point"),
        ("$[?@.a == .5]", 10, "expected '@', '$', a literal"),
        ("$[?@.a == 1e]", 12, "a digit of the exponent"),
        ("$[?@.a == +1]", 10, "expected '@', '$', a literal"),
    ]);
}

#[test]
fn filters() {
    check(&[
        ("$[?]", 3, "expected '@', '$', a literal"),
        ("$[?@.total >]", 12, "expected '@', '$', a literal"),
        ("$[?total > 100]", 3, "a member is written @.name"),
        ("$[?@.a == eur]", 10, "a string 'text'"),
        ("$[?@.a == True]", 10, "none of true, false and null"),
        ("$[?@.a = 1]", 7, "'is equal' is written =="),
        ("$[?@.a === 1]", 9, "the comparisons are"),
        ("$[?@.a =~ 'x']", 7, "match(…) or search(…)"),
        ("$[?@.a == 1 and @.b]", 12, "'and' is written &&"),
        ("$[?@.a == 1 & @.b]", 12, "'and' is written &&"),
        ("$[?@.a == 1 or @.b]", 12, "'or' is written ||"),
        ("$[?@.a == 1 x]", 12, "expected '&&', '||', ',' or ']'"),
        ("$[?@.a == 1 &&]", 14, "expected '@', '$', a literal"),
        ("$[?(@.a == 1]", 12, "expected '&&', '||', ')'; found ']'"),
        ("$[?(@.a) == 1]", 9, "it can't be compared"),
        ("$[?1 == (@.a)]", 8, "it can't be compared"),
        ("$[?1 == 1 == 1]", 10, "joined by '&&' or '||'"),
        ("$[?!@.a == 1]", 3, "needs parentheses"),
        ("$[?!!@.a]", 4, "'!' stands once"),
        ("$[?1]", 3, "a literal has to be compared"),
        ("$[?true && @.a]", 3, "a literal has to be compared"),
        ("$[?@.* == 1]", 4, "only a query that selects one node at most"),
        ("$[?@.a == @..b]", 11, "only a query that selects one node at most"),
        ("$[?@.a == @.b['c', 'd']]", 13, "this segment can select several"),
        ("$[?@[ 'a'] == 1]", 5, "without blank space inside of its brackets"),
        ("$[??@.a]", 3, "'?' stands once"),
        ("$[?foo(@.a)]", 3, "there is no function foo()"),
        ("$[?length(@.a)]", 3, "gives a value, which has to be compared"),
        ("$[?match(@.a, 'b') == true]", 3, "is true or false"),
        ("$[?length() == 1]", 10, "takes one argument"),
        ("$[?length(@.a, @.b) == 1]", 13, "takes one argument"),
        ("$[?match(@.a)]", 12, "takes two arguments"),
        ("$[?length(@.*) == 1]", 11, "takes a query that selects one node at most"),
        ("$[?length(@.a == 1) == 1]", 14, "takes a value"),
        ("$[?length((@.a)) == 1]", 10, "takes a value"),
        ("$[?count(1) == 1]", 9, "takes a query, such as @.a[*]"),
        ("$[?count(@.a == 1]", 13, "takes a value"),
        ("$[?length (@.a) == 1]", 9, "expected '(' right after length"),
    ]);
}

#[test]
fn limits() {
    let long = format!("$['{}']", "ü".repeat(MAX_QUERY_BYTES / 2));
    let segments = format!("${}", ".a".repeat(MAX_SEGMENTS + 1));
    let inside = format!("$[?@{}]", ".a".repeat(MAX_SEGMENTS));
    let nested = |open: &str, close: &str, times: usize| {
        format!("$[?{}@.a{}]", open.repeat(times), close.repeat(times))
    };
    let selectors = format!("$[{}0]", "0,".repeat(600));
    let patterns = format!("$[?{}@]", "match(@, '[a-z]{100}') || ".repeat(40));
    check(&[
        (&long, MAX_QUERY_BYTES - 1, "at most 4096 bytes"), // the next byte begins a character
        (&segments, 2 * MAX_SEGMENTS + 1, "at most 128 segments"),
        (&inside, 2 * MAX_SEGMENTS + 2, "at most 128 segments"),
        (&nested("(", ")", MAX_NESTING), 3 + MAX_NESTING, "at most 32 deep"),
        (&nested("@[?", "]", MAX_NESTING), 3 + 3 * MAX_NESTING, "at most 32 deep"),
        (&selectors, 2 + 2 * 512, "at most 512 selectors"),
        (&patterns, 3 + 26 + 9, "too large together"),
        (r"$[?match(@, '\\p{L}{99}')]", 12, "the regular expression is too large"),
        ("$[?match(@, 'a{2000}')]", 12, "the regular expression is too large"),
    ]);
    assert!(Query::parse(&nested("(", ")", MAX_NESTING - 1)).is_ok());
    assert!(Query::parse(&nested("!(", ")", MAX_NESTING - 1)).is_ok());
    assert!(Query::parse(&nested("@[?", "]", MAX_NESTING - 1)).is_ok());
    assert!(Query::parse(&format!("${}", ".a".repeat(MAX_SEGMENTS))).is_ok());
}
