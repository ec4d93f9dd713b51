//! What may stand in a query string: the parameters that a call's documentation has, each once. All
//! else is refused, of every call that wants a key: a misspelt filter that was passed over would
//! answer a question that nobody asked.
//!
//! One table for all calls, read from the OpenAPI document; handlers only read what they take.
//! Most requests, and events above all, have no query: for them this is one look.

use axum::extract::Query;
use http::{Method, Uri};
use serde_json::Value;

use crate::problem::{Kind, Problem, cut};

pub(super) struct Known {
    calls: Vec<Call>,
}

struct Call {
    method: String,
    /// `{…}` stands for any.
    path: Vec<String>,
    parameters: Vec<String>,
}

impl Known {
    pub(super) fn of(document: &Value) -> Self {
        let mut calls = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let names = parameters
                    .filter(|parameter| parameter["in"] == "query")
                    .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned));
                calls.push(Call {
                    method: method.to_ascii_uppercase(),
                    path: path.split('/').map(str::to_owned).collect(),
                    parameters: names.collect(),
                });
            }
        }
        Self { calls }
    }

    /// Whether the query has nothing but what the call knows.
    pub(super) fn check(&self, method: &Method, uri: &Uri) -> Result<(), Problem> {
        if uri.query().is_none() {
            return Ok(());
        }
        let Query(asked) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(Kind::InvalidParameter, error.body_text()))?;
        let Some(call) = self.find(method, uri.path()) else {
            return Ok(());
        };
        for (at, (name, _)) in asked.iter().enumerate() {
            if !call.parameters.contains(name) {
                let told = match call.parameters.join(", ") {
                    all if all.is_empty() => "is not known: this call has no parameters".to_owned(),
                    all => format!("is not known: this call has {all}"),
                };
                return Err(Problem::parameter(&cut(name.clone()), told));
            }
            if asked[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::parameter(name, "comes more than once"));
            }
        }
        Ok(())
    }

    /// The call that a request is, by the path with the fewest variables.
    fn find(&self, method: &Method, path: &str) -> Option<&Call> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        // `/events` and `/inbox` are the same handlers.
        let short = !path.starts_with("/v1/");
        let parts: Vec<&str> = if short { &["", "v1"][..] } else { &[] }
            .iter()
            .copied()
            .chain(path.split('/').skip(usize::from(short)))
            .collect();
        let fits = |call: &&Call| {
            call.method == method
                && call.path.len() == parts.len()
                && call.path.iter().zip(&parts).all(|(known, part)| known == part || is_any(known))
        };
        let variables = |call: &&Call| call.path.iter().filter(|part| is_any(part)).count();
        self.calls.iter().filter(fits).min_by_key(variables)
    }
}

fn is_any(part: &str) -> bool {
    part.starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn only_what_is_documented_is_asked() {
        let known = Known::of(&document());
        let inbox = "from, to, event_type, status, workflow_id, order, limit, cursor";
        let none = "nobody is not known: this call has no parameters";
        for (method, uri, told) in [
            (Method::GET, "/v1/inbox", None),
            (Method::GET, "/v1/inbox?", None),
            (Method::GET, "/v1/inbox?limit=1&event_type=a", None),
            (Method::HEAD, "/v1/inbox?limit=1", None),
            (Method::GET, "/inbox?limit=1", None),
            (
                Method::GET,
                "/inbox?nobody=1",
                Some(format!("nobody is not known: this call has {inbox}")),
            ),
            (
                Method::GET,
                "/v1/events?Limit=1",
                Some(format!("Limit is not known: this call has {inbox}")),
            ),
            (
                Method::GET,
                "/v1/inbox?limit=1&limit=2",
                Some("limit comes more than once".to_owned()),
            ),
            (
                Method::GET,
                "/v1/inbox?limit=1&l%69mit=2",
                Some("limit comes more than once".to_owned()),
            ),
            (
                Method::GET,
                "/v1/audit?from=1",
                Some("from is not known: this call has limit, cursor".to_owned()),
            ),
            (Method::POST, "/v1/events?nobody", Some(none.to_owned())),
            (Method::POST, "/events?nobody", Some(none.to_owned())),
            (Method::POST, "/v1/events/batch?nobody", Some(none.to_owned())),
            (Method::GET, "/v1/events/0193/deliveries?nobody", Some(none.to_owned())),
            (Method::DELETE, "/v1/schemas/a?nobody", Some(none.to_owned())),
            (Method::POST, "/v1/schemas/a%2Fb/release?cursor=x", None),
            // No such call: 405 is for others to say.
            (Method::PATCH, "/v1/events?nobody", None),
        ] {
            let checked = known.check(&method, &uri.parse().unwrap());
            assert_eq!(checked.map_err(|problem| problem.detail).err(), told, "{method} {uri}");
        }
    }
}
