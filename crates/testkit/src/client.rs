//! A producer, and a reader of the inbox: a plain HTTP client.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    /// `http://host:port`
    base: String,
    key: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The body of an answer that must have this status.
    pub fn expect(&self, status: StatusCode) -> anyhow::Result<Value> {
        anyhow::ensure!(
            self.status == status,
            "expected {status}, got {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        if self.body.is_empty() { Ok(Value::Null) } else { self.json() }
    }
}

impl Client {
    pub fn new(base: impl Into<String>, key: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Self { pool, base: base.into(), key: key.into() }
    }

    /// The same connections with another key.
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// All entries of a list, page by page from `path` on, which has parameters already.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}{cursor}")).await?.expect(StatusCode::OK)?;
            let Value::Array(data) = page["data"].take() else { anyhow::bail!("{path}: no data") };
            all.extend(data);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.request(Method::DELETE, path, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.request(Method::POST, path, body.into()).await
    }

    /// Posts an event with the payload as it is; no answer is an error (its fate is unknown).
    pub async fn publish(&self, event_type: &str, payload: &[u8]) -> anyhow::Result<Answer> {
        let mut body = format!("{{\"event_type\":\"{event_type}\",\"payload\":").into_bytes();
        body.extend_from_slice(payload);
        body.push(b'}');
        self.post("/v1/events", body).await
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let json = ("content-type", "application/json");
        let headers = if body.is_empty() { &[][..] } else { &[json] };
        self.send(method, path, headers, body).await
    }

    /// Any request, with these headers beside the key.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        let exchange = async {
            let response = self.pool.request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(Duration::from_secs(30), exchange)
            .await
            .with_context(|| format!("{path}: no answer within 30 s"))?
    }
}
