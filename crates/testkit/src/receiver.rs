//! A customer's endpoint. Each path of it stands for one subscription, with a secret and a
//! script of its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use triggerline_types::{EventId, Secret};
use triggerline_wire::webhook;

use crate::oracle::digest;

/// What an endpoint answers: these statuses first, then 200 for good.
pub type Script = Vec<u16>;

/// One webhook that came in.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub webhook_id: String,
    pub event_id: Option<EventId>,
    /// Its headers whose names begin with `x-`.
    pub extra: Vec<(String, String)>,
    /// The replay that sent it, if one did.
    pub replay_id: Option<String>,
    /// Of the payload's bytes, as they stood in the body.
    pub digest: [u8; 32],
    /// Why the signature or the form of it was wrong, if it was.
    pub fault: Option<String>,
    /// What it was answered.
    pub status: u16,
    pub at: OffsetDateTime,
}

pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Whether timestamps may be of any time.
    timeless: AtomicBool,
    endpoints: Mutex<HashMap<String, Endpoint>>,
    received: Mutex<Vec<Received>>,
}

struct Endpoint {
    secret: Secret,
    script: VecDeque<u16>,
    /// Whether it answers; whoever asks meanwhile waits.
    answers: watch::Sender<bool>,
    asked: usize,
    /// Payloads, by their digests, that are answered 503 for now.
    refused: HashSet<[u8; 32]>,
}

impl Receiver {
    /// Listens on a port of its own, on loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/{path}", post(receive))
            .layer(DefaultBodyLimit::max(4 << 20))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // Only an error of the listener ends it, and then its test fails for what is missing.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// Makes an endpoint and returns its URL.
    pub fn endpoint(&self, path: &str, secret: Secret, script: Script) -> String {
        let answers = watch::Sender::new(true);
        let (script, refused) = (script.into(), HashSet::new());
        let endpoint = Endpoint { secret, script, answers, asked: 0, refused };
        lock(&self.shared.endpoints).insert(path.to_owned(), endpoint);
        format!("http://{}/{path}", self.address)
    }

    /// What signs the webhooks to an endpoint; a new one where there is no such endpoint.
    pub fn secret(&self, path: &str) -> Secret {
        let endpoints = lock(&self.shared.endpoints);
        endpoints.get(path).map_or_else(Secret::generate, |endpoint| endpoint.secret.clone())
    }

    /// Whether an endpoint answers; while it doesn't, it takes requests and says nothing.
    pub fn answers(&self, path: &str, answers: bool) {
        if let Some(endpoint) = lock(&self.shared.endpoints).get(path) {
            endpoint.answers.send_replace(answers);
        }
    }

    /// Takes signatures of any time: for senders whose clock was put forward.
    pub fn ignores_time(&self) {
        self.shared.timeless.store(true, Ordering::Relaxed);
    }

    /// Lets an endpoint answer 503 to these payloads, and to no others.
    pub fn refuses(&self, path: &str, payloads: &[&[u8]]) {
        let refused = payloads.iter().map(|payload| digest(payload)).collect();
        if let Some(endpoint) = lock(&self.shared.endpoints).get_mut(path) {
            endpoint.refused = refused;
        }
    }

    /// How often an endpoint was asked, answered or not.
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.shared.endpoints).get(path).map_or(0, |endpoint| endpoint.asked)
    }

    /// Everything that came in so far, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// What came in after the first `seen`.
    pub fn received_since(&self, seen: usize) -> Vec<Received> {
        lock(&self.shared.received).get(seen..).unwrap_or_default().to_vec()
    }

    /// The digest that a payload would have in [`Received`].
    pub fn digest_of(&self, payload: &[u8]) -> [u8; 32] {
        digest(payload)
    }

    pub fn count(&self) -> usize {
        lock(&self.shared.received).len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answers = lock(&shared.endpoints).get_mut(&path).map(|endpoint| {
        endpoint.asked += 1;
        endpoint.answers.subscribe()
    });
    if let Some(mut answers) = answers {
        // An endpoint that is made anew answers as well.
        let _ = answers.wait_for(|answers| *answers).await;
    }
    let at = OffsetDateTime::now_utc();
    let timeless = shared.timeless.load(Ordering::Relaxed);
    let now = (!timeless).then_some(at);
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(&body).ok();
    let digest =
        digest(envelope.as_ref().map_or(&[], |envelope| envelope.payload.get().as_bytes()));
    let (fault, status) = {
        let mut endpoints = lock(&shared.endpoints);
        match endpoints.get_mut(&path) {
            None => (Some("no such endpoint".to_owned()), 404),
            Some(endpoint) => match verify(&endpoint.secret, &headers, &body, now) {
                Ok(()) if endpoint.refused.contains(&digest) => (None, 503),
                Ok(()) => (None, endpoint.script.pop_front().unwrap_or(200)),
                Err(fault) => (Some(fault), 401),
            },
        }
    };
    let received = Received {
        webhook_id: header(&headers, webhook::ID).to_owned(),
        event_id: envelope.as_ref().map(|envelope| envelope.event_id),
        extra: extra(&headers),
        replay_id: Some(header(&headers, webhook::REPLAY).to_owned()).filter(|id| !id.is_empty()),
        digest,
        fault,
        status,
        at,
        path,
    };
    lock(&shared.received).push(received);
    StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    event_id: EventId,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn verify(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Option<OffsetDateTime>,
) -> Result<(), String> {
    let (id, timestamp, signatures) = (
        header(headers, webhook::ID),
        header(headers, webhook::TIMESTAMP),
        header(headers, webhook::SIGNATURE),
    );
    let now =
        now.map_or_else(|| timestamp.parse().unwrap_or_default(), OffsetDateTime::unix_timestamp);
    webhook::verify(secret, id, timestamp, signatures, body, now).map_err(|error| error.to_string())
}

fn extra(headers: &HeaderMap) -> Vec<(String, String)> {
    let extra = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-"));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    extra.map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
