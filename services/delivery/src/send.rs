//! Making one request: signed, to a vetted address, within one deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use triggerline_guard::{Reach, check_url, is_allowed};
use triggerline_types::{Delivery, Endpoint, Response, format_instant};
use triggerline_wire::webhook;

use crate::config::DeliveryConfig;

/// How much of an answer's body is read; what comes after isn't waited for.
const BODY_BYTES: usize = 64 * 1_024;
/// How much of it is kept.
const EXCERPT_BYTES: usize = 4 * 1_024;

pub(crate) struct Sender {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    reach: Reach,
    timeout: Duration,
}

/// What came of a request.
pub(crate) struct Sent {
    pub(crate) response: Response,
    pub(crate) retry_after: Option<Duration>,
}

impl Sender {
    pub(crate) fn new(config: &DeliveryConfig) -> Self {
        let reach = config.reach();
        let mut http = HttpConnector::new_with_resolver(Resolver { reach });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.timeout));
        // No proxy: hyper-util reads none from the environment, unlike reqwest.
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            .build(https);
        Self { client, reach, timeout: config.timeout }
    }

    pub(crate) async fn send(
        &self,
        delivery: &Delivery,
        endpoint: &Endpoint,
        now: OffsetDateTime,
    ) -> Sent {
        // Checked when it was saved, and again: the rules may have changed since.
        let request = match check_url(&endpoint.url, self.reach) {
            Ok(url) => match request(delivery, endpoint, url.as_str(), now) {
                Ok(request) => request,
                Err(error) => return not_sent(format!("the request can't be made: {error}")),
            },
            Err(refused) => return not_sent(format!("the URL {refused}")),
        };
        let deadline = Instant::now() + self.timeout;
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return from_error(&error),
            Err(_) => return failed(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        let (head, body) = response.into_parts();
        // The status is the answer, whatever becomes of the body.
        let mut excerpt = Vec::new();
        let _ = timeout_at(deadline, read(body, &mut excerpt)).await;
        let excerpt = String::from_utf8_lossy(&excerpt).into_owned();
        Sent {
            retry_after: retry_after(&head.headers),
            response: Response::Answered { status: head.status.as_u16(), excerpt },
        }
    }
}

fn request(
    delivery: &Delivery,
    endpoint: &Endpoint,
    url: &str,
    now: OffsetDateTime,
) -> http::Result<Request<Full<Bytes>>> {
    let event = &delivery.event;
    let body = webhook::body(event);
    let timestamp = now.unix_timestamp();
    let signature = webhook::sign(&endpoint.secret, &delivery.id, timestamp, &body);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("Triggerline/", env!("CARGO_PKG_VERSION")))
        .header(webhook::ID, delivery.id.to_string())
        .header(webhook::TIMESTAMP, timestamp)
        .header(webhook::SIGNATURE, signature)
        .header("ce-specversion", "1.0")
        .header("ce-id", event.id.to_string())
        .header("ce-type", event.event_type.as_str())
        .header("ce-source", percent_encoded(&event.source))
        .header("ce-time", format_instant(event.occurred_at));
    if let Some(subject) = &event.subject {
        request = request.header("ce-subject", percent_encoded(subject));
    }
    for (name, value) in &event.extensions {
        // A record that someone put into Kafka by hand may hold any name.
        if let Ok(name) = HeaderName::try_from(format!("ce-{name}")) {
            request = request.header(name, percent_encoded(value));
        }
    }
    if let Some(traceparent) = &event.traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.body(Full::new(body))
}

/// A header value of the CloudEvents HTTP binding: printable ASCII stays, the rest is
/// percent-encoded as UTF-8 (§3.1.3.2).
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'"' | b'%' => format!("%{byte:02X}"),
        0x21..=0x7e => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The start of a body. A body that breaks off or is too long is still an answer.
async fn read(mut body: Incoming, kept: &mut Vec<u8>) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        read += data.len();
        let room = EXCERPT_BYTES - kept.len().min(EXCERPT_BYTES);
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if read >= BODY_BYTES {
            break;
        }
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). As a date it is left to our own schedule.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn from_error(error: &hyper_util::client::legacy::Error) -> Sent {
    let mut causes = Vec::new();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(refused) = refused.downcast_ref::<NotAllowed>()
        {
            return not_sent(refused.to_string());
        }
        causes.push(cause.to_string());
        source = cause.source();
    }
    failed(causes.join(": "))
}

fn failed(error: String) -> Sent {
    Sent { response: Response::Failed { error }, retry_after: None }
}

fn not_sent(reason: String) -> Sent {
    Sent { response: Response::NotSent { reason }, retry_after: None }
}

/// The status that a receiver gave, for logs.
pub(crate) fn told(response: &Response) -> String {
    match response {
        Response::Answered { status, .. } => StatusCode::from_u16(*status)
            .map_or_else(|_| status.to_string(), |status| status.to_string()),
        Response::Failed { error } => error.clone(),
        Response::NotSent { reason } => reason.clone(),
    }
}

/// Looks names up, and lets through only addresses that a webhook may go to. The connector
/// connects to what this returns and to nothing else. (Hosts that are addresses never come
/// here; [`check_url`] has judged them.)
#[derive(Clone)]
struct Resolver {
    reach: Reach,
}

/// A name led to an address that isn't allowed. One is enough: a name that points both
/// outside and inside is an attack or a mistake.
#[derive(Debug, thiserror::Error)]
#[error("{name} leads to {address}, which is not an address on the public internet")]
struct NotAllowed {
    name: String,
    address: SocketAddr,
}

type Looked = Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Looked;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.reach;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|address| !is_allowed(address.ip(), reach)) {
                Some(address) => Err(io::Error::other(NotAllowed {
                    name: name.as_str().to_owned(),
                    address: *address,
                })),
                None => Ok(found.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_printable_ascii() {
        for (text, encoded) in [
            ("shop", "shop"),
            ("a b", "a%20b"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("100%\r\n", "100%25%0D%0A"),
        ] {
            assert_eq!(percent_encoded(text), encoded, "{text}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        for (value, seconds) in [("120", Some(120)), (" 5 ", Some(5)), ("-1", None), ("soon", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
