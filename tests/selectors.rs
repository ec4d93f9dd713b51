//! `triggerline jsonpath` and `triggerline match`, as whoever writes a selector uses them.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");

/// Runs it with this on its standard input.
async fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have refused its arguments, and gone.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_query_selects_nodes() {
    let document = r#"{"items": [{"sku": "a", "n": 1.50}, {"sku": "b"}]}"#;
    for (arguments, answer) in [
        (&["jsonpath", "$..sku"][..], json!(["a", "b"])),
        (&["jsonpath", "$.items[?@.n > 1]", "-"], json!([{"sku": "a", "n": 1.5}])),
        (&["jsonpath", "$.none"], json!([])),
        (
            &["jsonpath", "--paths", "$.items[1].sku"],
            json!({"nodes": ["b"], "paths": ["$['items'][1]['sku']"]}),
        ),
    ] {
        let output = run(arguments, document).await;
        assert_eq!(
            (output.status.code(), lines(&output)),
            (Some(0), vec![answer]),
            "{arguments:?}"
        );
    }
    for (query, document, told) in
        [("$[", "{}", "the query: at byte 2"), ("$", "{", "the document: EOF")]
    {
        let output = run(&["jsonpath", query], document).await;
        assert_eq!(output.status.code(), Some(65));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with(&format!("triggerline: {told}")), "{error}");
    }
}

#[tokio::test]
async fn a_rule_matches_and_says_why_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let event = file("event", r#"{"total": 120, "currency": "USD"}"#);
    for (rule, status, answer) in [
        (r#"{"total": [{"numeric": [">", 100]}]}"#, 0, json!([{"match": true}])),
        (r#"{"currency": ["EUR"]}"#, 1, json!([{"match": false}])),
        (r#""$[?@ > 100]""#, 0, json!([{"match": true}])),
        (r#""$.total[?@ > 100]""#, 1, json!([{"match": false}])),
        (r#"{"currency": "EUR"}"#, 65, json!([])),
        (r#""$[""#, 65, json!([])),
        ("{", 65, json!([])),
    ] {
        let rule_file = file("rule", rule);
        let output = run(&["match", "--rule", &rule_file, "--event", &event], "").await;
        assert_eq!((output.status.code(), json!(lines(&output))), (Some(status), answer), "{rule}");
    }
    let rule = file("rule", r#"{"total": [120], "currency": ["EUR", "CHF"]}"#);
    let output = run(&["match", "--rule", &rule, "--event", &event, "--explain"], "").await;
    let answer = &lines(&output)[0];
    let pattern = &answer["explain"]["pattern"];
    assert_eq!(pattern["decided"], json!({"by": "field", "pattern": "/currency"}), "{answer}");
    let mut fields = pattern["fields"].as_array().unwrap().iter();
    let field = fields.find(|field| field["pattern"] == "/currency").unwrap();
    assert_eq!(field["expected"], json!(["EUR", "CHF"]));
    assert_eq!(field["found"][0]["value"], "USD");
}

#[tokio::test]
async fn a_line_is_answered_with_a_line() {
    let input = [
        r#"{"query": "$.a", "document": {"a": 1}}"#,
        "",
        r#"{"query": "$.a", "document": {}}"#,
        r#"{"query": "$[", "document": {}}"#,
        r#"{"query": "$.a"}"#,
    ];
    let answers = lines(&run(&["jsonpath", "--paths"], &input.join("\n")).await);
    assert_eq!(answers[0], json!({"nodes": [1], "paths": ["$['a']"]}));
    assert_eq!(answers[2], json!({"nodes": [], "paths": []}));
    let errors: Vec<_> = answers.iter().map(|one| one["error"].is_string()).collect();
    assert_eq!(errors, [false, true, false, true, true], "{answers:?}");

    let input = [
        r#"{"rule": {"a": [1]}, "event": {"a": [2, 1.0]}}"#,
        r#"{"rule": {"a": [1]}, "event": {"a": "1"}}"#,
        r#"{"rule": {"a": 1}, "event": {}}"#,
    ];
    let answers = lines(&run(&["match"], &input.join("\n")).await);
    assert_eq!(answers[..2], [json!({"match": true}), json!({"match": false})]);
    assert!(answers[2]["error"].as_str().unwrap().contains("/pattern/a"), "{answers:?}");
}
