//! Making one request ([`crate::request`]) to a vetted address ([`crate::connect`]), within one
//! deadline.

use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use triggerline_guard::{Reach, check_url};
use triggerline_types::{Endpoint, Response};

use crate::config::DeliveryConfig;
use crate::connect::{Connections, NotAllowed, connections};
use crate::request::{Parcel, request};

/// How much of an answer's body is read; what comes after isn't waited for.
const BODY_BYTES: usize = 64 * 1_024;
/// How much of it is kept.
const EXCERPT_BYTES: usize = 4 * 1_024;

pub(crate) struct Sender {
    client: Connections,
    reach: Reach,
    timeout: Duration,
}

/// What came of a request.
pub(crate) struct Sent {
    pub(crate) response: Response,
    pub(crate) retry_after: Option<Duration>,
    /// The start of an answer's body.
    pub(crate) body: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(config: &DeliveryConfig) -> anyhow::Result<Self> {
        let reach = config.reach();
        let client = connections(reach.clone(), config.timeout, &config.resolvers)?;
        Ok(Self { client, reach, timeout: config.timeout })
    }

    pub(crate) async fn send(
        &self,
        parcel: Parcel<'_>,
        endpoint: &Endpoint,
        now: OffsetDateTime,
    ) -> Sent {
        // Checked when it was saved, and again: the rules may have changed since.
        let request = match check_url(&endpoint.url, &self.reach) {
            Ok(url) => match request(parcel, endpoint, url.as_str(), now) {
                Ok(request) => request,
                Err(error) => return not_sent(format!("the request can't be made: {error}")),
            },
            Err(refused) => return not_sent(format!("the URL {refused}")),
        };
        let timeout = endpoint.settings.timeout.unwrap_or(self.timeout);
        let deadline = Instant::now() + timeout;
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return from_error(&error),
            Err(_) => return failed(format!("no answer within {} ms", timeout.as_millis())),
        };
        let (head, body) = response.into_parts();
        // The status is the answer, whatever becomes of the body.
        let mut kept = Vec::new();
        let _ = timeout_at(deadline, read(body, &mut kept)).await;
        let excerpt = &kept[..kept.len().min(EXCERPT_BYTES)];
        let excerpt = String::from_utf8_lossy(excerpt).into_owned();
        Sent {
            retry_after: retry_after(&head.headers, now),
            response: Response::Answered { status: head.status.as_u16(), excerpt },
            body: kept,
        }
    }
}

/// The start of a body. A body that breaks off or is too long is still an answer.
async fn read(mut body: Incoming, kept: &mut Vec<u8>) {
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = BODY_BYTES - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if kept.len() == BODY_BYTES {
            break;
        }
    }
}

/// `Retry-After`, in seconds or as a date in any of the three forms (RFC 9110 §10.2.3, §5.6.7). A date
/// that has passed is now.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::from(httpdate::parse_http_date(text).ok()?);
    Some(Duration::try_from(at - now).unwrap_or_default())
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
    Sent { response: Response::Failed { error }, retry_after: None, body: Vec::new() }
}

fn not_sent(reason: String) -> Sent {
    Sent { response: Response::NotSent { reason }, retry_after: None, body: Vec::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        // Sun, 06 Nov 1994 08:48:37 GMT
        let now = OffsetDateTime::from_unix_timestamp(784_111_717).unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("-1", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:47:37 GMT", Some(0)),
            ("Sun, 31 Feb 1994 08:47:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
