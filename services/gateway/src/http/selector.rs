//! The member `selector`: what a subscription wants of payloads.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerline_matching::Predicate;
use triggerline_types::Selector;
use utoipa::ToSchema;

use crate::problem::{Kind, Problem};

/// All that is given must hold; everything is wanted where nothing is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectorBody {
    /// An event pattern over the payload, as EventBridge has them: its shape, and for each field what it
    /// may be.
    #[schema(
        value_type = Option<Object>,
        example = json!({"total": [{"numeric": [">", 100]}], "currency": ["EUR", "CHF"]})
    )]
    pattern: Option<Box<RawValue>>,
    /// A query over the payload (RFC 9535, at most 4,096 bytes). It holds where the query selects
    /// something.
    #[schema(example = "$[?@.total > 100]")]
    jsonpath: Option<String>,
}

impl SelectorBody {
    /// What it says, if that can be compiled.
    pub(crate) fn judge(self) -> Result<Selector, Problem> {
        // Without white space: what is kept is what counts against its size.
        let pattern = self.pattern.map(|pattern| minified(&pattern));
        let selector = Selector { pattern, jsonpath: self.jsonpath };
        Predicate::compile(&selector).map_err(|error| {
            Problem::at(Kind::InvalidSelector, format!("/selector{}", error.pointer), error.why)
        })?;
        Ok(selector)
    }
}

/// The same JSON without the white space between its parts.
fn minified(json: &RawValue) -> String {
    let mut text = String::with_capacity(json.get().len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.get().chars() {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        text.push(c);
    }
    text
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SelectorView {
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonpath: Option<String>,
}

impl SelectorView {
    pub(crate) fn of(selector: &Selector) -> Self {
        // It was JSON when it was saved.
        let pattern = selector.pattern.clone().and_then(|text| RawValue::from_string(text).ok());
        Self { pattern, jsonpath: selector.jsonpath.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Object};

    fn judged(body: &str) -> Result<Selector, Problem> {
        let Object(body) = json::read::<Object<SelectorBody>>(body.as_bytes())?;
        body.judge()
    }

    #[test]
    fn a_selector_is_kept_as_it_was_given() {
        let given = r#"{"pattern": {"a b" : [ "x \" y", 1.0 ]}, "jsonpath": "$.a"}"#;
        let selector = judged(given).unwrap();
        assert_eq!(selector.pattern.as_deref(), Some(r#"{"a b":["x \" y",1.0]}"#));
        let shown = serde_json::to_string(&SelectorView::of(&selector)).unwrap();
        assert_eq!(shown, r#"{"pattern":{"a b":["x \" y",1.0]},"jsonpath":"$.a"}"#);
        for nothing in ["{}", r#"{"pattern":null,"jsonpath":null}"#] {
            assert_eq!(judged(nothing).unwrap(), Selector::default());
        }
    }

    #[test]
    fn a_bad_selector_is_refused_with_the_place() {
        for (body, pointer) in [
            (r#"{"jsonpath":"$["}"#, "/selector/jsonpath"),
            (r#"{"pattern":[]}"#, "/selector/pattern"),
            (r#"{"pattern":{"a":1}}"#, "/selector/pattern/a"),
            (r#"{"pattern":{"a":[{"numeric":[">","1"]}]}}"#, "/selector/pattern/a/0/numeric"),
            (r#"{"pattern":{"a":{"b":[{"sufix":"x"}]}}}"#, "/selector/pattern/a/b/0/sufix"),
        ] {
            let problem = judged(body).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidSelector);
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
        }
    }
}
