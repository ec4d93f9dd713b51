//! `triggerline jsonpath` and `triggerline match`: selectors by hand, without any server, decided by the
//! code that decides in the matcher.
//!
//! Each answers one question, or, given none, one for each line of standard input.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]
#![allow(clippy::print_stderr, reason = "what is wrong with their input is told here")]

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use triggerline_matching::Predicate;
use triggerline_matching::jsonpath::{Budget, Query};
use triggerline_types::Selector;

/// `EX_DATAERR` of sysexits.h: what was given can't be read.
const EXIT_BAD_DATA: u8 = 65;

const JSONPATH_EXAMPLE: &str = "\
Examples:

  echo '{\"order\": {\"items\": [{\"sku\": \"a\"}, {\"sku\": \"b\"}]}}' > order.json
  triggerline jsonpath '$.order.items[?@.sku == \"b\"]' order.json
  triggerline jsonpath --paths '$..sku' order.json

  # One question a line, one answer a line:
  echo '{\"query\": \"$.a\", \"document\": {\"a\": 1}}' | triggerline jsonpath

A subscription's `jsonpath` holds where the query selects something. The status is 0 even where it
selects nothing, 65 where the query or the document can't be read.";

const MATCH_EXAMPLE: &str = "\
Examples:

  echo '{\"total\": [{\"numeric\": [\">\", 100]}], \"currency\": [\"EUR\", \"CHF\"]}' > rule.json
  echo '{\"total\": 120, \"currency\": \"USD\"}' > event.json
  triggerline match --rule rule.json --event event.json --explain

  # One question a line, one answer a line:
  echo '{\"rule\": {\"total\": [120]}, \"event\": {\"total\": 120}}' | triggerline match

A rule is an event pattern (a JSON object) or a JSONPath query (a JSON string). The event is the payload.
The status is 0 where it matches, 1 where it doesn't, 65 where rule or event can't be read.";

#[derive(Debug, Args)]
#[command(after_help = JSONPATH_EXAMPLE)]
pub(crate) struct JsonPath {
    /// An RFC 9535 query. Without one, lines of {"query": …, "document": …} are read from standard input
    /// and answered {"nodes": […]} or {"error": …}, line by line.
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    /// The document, JSON; standard input where absent or `-`.
    #[arg(value_name = "FILE", requires = "query")]
    document: Option<PathBuf>,
    /// Print where each node stands as well: {"nodes": […], "paths": […]}, normalized (RFC 9535 §2.7).
    #[arg(long)]
    paths: bool,
}

#[derive(Debug, Args)]
#[command(after_help = MATCH_EXAMPLE)]
pub(crate) struct Match {
    /// A file with the rule. Without one, lines of {"rule": …, "event": …} are read from standard input
    /// and answered {"match": true}, {"match": false} or {"error": …}, line by line.
    #[arg(long, value_name = "FILE", requires = "event")]
    rule: Option<PathBuf>,
    /// A file with the event's payload; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "rule")]
    event: Option<PathBuf>,
    /// Print which part decided, what was expected and what was found.
    #[arg(long)]
    explain: bool,
}

pub(crate) fn jsonpath(asked: &JsonPath) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Line<'a> {
        query: String,
        #[serde(borrow)]
        document: &'a RawValue,
    }

    let Some(query) = &asked.query else {
        return each_line(|line| {
            let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let (nodes, paths) = select(&line.query, line.document.get())?;
            Ok(if asked.paths {
                json!({"nodes": nodes, "paths": paths})
            } else {
                json!({"nodes": nodes})
            })
        });
    };
    let document = read(asked.document.as_deref())?;
    Ok(match select(query, &document) {
        Ok((nodes, paths)) if asked.paths => said(&json!({"nodes": nodes, "paths": paths})),
        Ok((nodes, _)) => said(&json!(nodes)),
        Err(error) => refused(&error),
    })
}

pub(crate) fn r#match(asked: &Match) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        rule: &'a RawValue,
        #[serde(borrow)]
        event: &'a RawValue,
    }

    let (Some(rule), Some(event)) = (&asked.rule, &asked.event) else {
        return each_line(|line| {
            let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
            decide(line.rule.get(), line.event.get(), asked.explain).map(|(_, answer)| answer)
        });
    };
    let (rule, event) = (read(Some(rule))?, read(Some(event))?);
    Ok(match decide(&rule, &event, asked.explain) {
        Ok((matches, answer)) => {
            said(&answer);
            if matches { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => refused(&error),
    })
}

/// What a query selects, and where that stands.
fn select(query: &str, document: &str) -> Result<(Vec<Value>, Vec<String>), String> {
    let query = Query::parse(query).map_err(|error| format!("the query: {error}"))?;
    let document: Value =
        serde_json::from_str(document).map_err(|error| format!("the document: {error}"))?;
    let located = query.located_nodes(&document, &mut Budget::default());
    let located = located.map_err(|error| error.to_string())?;
    Ok(located.iter().map(|one| (one.node.clone(), one.path.to_string())).unzip())
}

/// Whether a rule matches an event, and that in words.
fn decide(rule: &str, event: &str, explain: bool) -> Result<(bool, Value), String> {
    let selector = match serde_json::from_str(rule).map_err(|error| format!("the rule: {error}"))? {
        Value::String(query) => Selector { pattern: None, jsonpath: Some(query) },
        _ => Selector { pattern: Some(rule.to_owned()), jsonpath: None },
    };
    let predicate = Predicate::compile(&selector).map_err(|error| format!("the rule: {error}"))?;
    let event: Value =
        serde_json::from_str(event).map_err(|error| format!("the event: {error}"))?;
    let explained = predicate.explain(&event, &mut Budget::default());
    let explained = explained.map_err(|error| error.to_string())?;
    let matches = explained.matched;
    Ok((
        matches,
        if explain {
            json!({"match": matches, "explain": explained})
        } else {
            json!({"match": matches})
        },
    ))
}

/// Answers each line of standard input with a line, in order.
fn each_line(answer: impl Fn(&str) -> Result<Value, String>) -> anyhow::Result<ExitCode> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line.context("read standard input")?;
        let answer = answer(&line).unwrap_or_else(|error| json!({"error": error}));
        writeln!(output, "{answer}").context("write to standard output")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: Option<&Path>) -> anyhow::Result<String> {
    match file {
        Some(path) if path != Path::new("-") => {
            fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        }
        _ => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("read standard input")?;
            Ok(text)
        }
    }
}

fn said(answer: &Value) -> ExitCode {
    println!("{answer}");
    ExitCode::SUCCESS
}

fn refused(why: &str) -> ExitCode {
    eprintln!("triggerline: {why}");
    ExitCode::from(EXIT_BAD_DATA)
}
