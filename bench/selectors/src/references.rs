//! The references that are crates: the same rules, prepared as their documentation says. They only say
//! how many of the rules want an event.

use std::hint::black_box;

use anyhow::Context as _;
use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use quamina::Quamina;
use serde_json::Value;
use serde_json_path::JsonPath;

pub(crate) fn quamina(patterns: impl Iterator<Item = Value>) -> anyhow::Result<Quamina<u32>> {
    let mut quamina = Quamina::new();
    for (key, pattern) in (0..).zip(patterns) {
        quamina.add_pattern(key, &pattern.to_string()).context("quamina refuses a pattern")?;
    }
    Ok(quamina)
}

/// All queries, one after the other.
pub(crate) struct JsonPathRust(Vec<JpQuery>);

impl JsonPathRust {
    pub(crate) fn new(queries: &[String]) -> anyhow::Result<Self> {
        Ok(Self(queries.iter().map(|query| parse_json_path(query)).collect::<Result<_, _>>()?))
    }

    pub(crate) fn matching(&self, event: &Value) -> usize {
        let selects = |query: &&JpQuery| {
            js_path_process(query, event).is_ok_and(|nodes| !black_box(nodes).is_empty())
        };
        self.0.iter().filter(selects).count()
    }
}

/// All queries, one after the other.
pub(crate) struct SerdeJsonPath(Vec<JsonPath>);

impl SerdeJsonPath {
    pub(crate) fn new(queries: &[String]) -> anyhow::Result<Self> {
        Ok(Self(queries.iter().map(|query| JsonPath::parse(query)).collect::<Result<_, _>>()?))
    }

    pub(crate) fn matching(&self, event: &Value) -> usize {
        self.0.iter().filter(|query| !black_box(query.query(event)).is_empty()).count()
    }
}
