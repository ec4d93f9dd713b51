//! Asking a gateway.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::Gateway;

pub(super) struct Api {
    client: reqwest::Client,
    base: Url,
    key: String,
}

impl Api {
    pub(super) fn new(gateway: &Gateway) -> anyhow::Result<Self> {
        let Gateway { url, api_key, .. } = gateway;
        let base = Url::parse(url).with_context(|| format!("--url {url}"))?;
        anyhow::ensure!(
            matches!(base.scheme(), "http" | "https"),
            "--url {url}: it begins with http:// or https://"
        );
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            // A key goes nowhere but where it was meant for.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, base, key: api_key.clone() })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(Method::GET, url, None).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        self.ask(Method::POST, self.at(path)?, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.ask(Method::DELETE, self.at(path)?, None).await
    }

    fn at(&self, path: &str) -> anyhow::Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        Ok(Url::parse(&format!("{base}{path}"))?)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let mut request = self.client.request(method, url.clone()).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let told = || format!("ask {}", url.origin().ascii_serialization());
        let answer = request.send().await.with_context(told)?;
        let status = answer.status();
        let bytes = answer.bytes().await.with_context(told)?;
        if status.is_success() {
            let answer = if bytes.is_empty() { &b"null"[..] } else { &bytes };
            let told = || format!("{url}: the answer is not as was expected");
            return serde_json::from_slice(answer).with_context(told);
        }
        Err(anyhow::anyhow!(refusal(status, serde_json::from_slice(&bytes).ok().as_ref())))
    }

    /// Up to `limit` entries of a list, however many pages that takes.
    pub(super) async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut entries = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let ask = (limit - entries.len()).min(200);
            let mut query = query.to_vec();
            query.push(("limit", ask.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) {
                entries.extend(data);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if entries.len() >= limit || cursor.is_none() {
                return Ok(entries);
            }
        }
    }
}

/// What a problem document (RFC 9457) says, on one line.
fn refusal(status: StatusCode, problem: Option<&Value>) -> String {
    let text = |name| problem.and_then(|problem| problem[name].as_str());
    let title = text("title").or(status.canonical_reason()).unwrap_or_default();
    let mut told = format!("{} {title}", status.as_u16());
    if let Some(detail) = text("detail") {
        told = format!("{told}: {detail}");
    }
    if status == StatusCode::UNAUTHORIZED {
        told.push_str(" (the key is TRIGGERLINE_API_KEY, or --api-key)");
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_on_a_line() {
        let problem = json!({"title": "Conflict", "detail": "The subscription is paused."});
        let told = refusal(StatusCode::CONFLICT, Some(&problem));
        assert_eq!(told, "409 Conflict: The subscription is paused.");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, None), "502 Bad Gateway");
    }
}
