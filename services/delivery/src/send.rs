//! Making one request ([`crate::request`]) to a vetted address ([`crate::connect`]), with an access
//! token where its receiver wants one ([`crate::token`]), all within one deadline.

use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use triggerline_guard::{Reach, check_url};
use triggerline_types::{Endpoint, Response, SubscriptionId};

use crate::config::DeliveryConfig;
use crate::connect::Clients;
use crate::request::{Parcel, request};
use crate::resolve::NotAllowed;
use crate::token::{NoToken, Tokens};

/// How much of an answer's body is read; what comes after isn't waited for.
const BODY_BYTES: usize = 64 * 1_024;
/// How much of it is kept.
const EXCERPT_BYTES: usize = 4 * 1_024;

pub(crate) struct Sender {
    clients: Clients,
    tokens: Tokens,
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
        Ok(Self {
            clients: Clients::new(config)?,
            tokens: Tokens::default(),
            reach: config.reach(),
            timeout: config.timeout,
        })
    }

    pub(crate) async fn send(
        &self,
        parcel: Parcel<'_>,
        to: SubscriptionId,
        endpoint: &Endpoint,
        now: OffsetDateTime,
    ) -> Sent {
        let timeout = endpoint.settings.timeout.unwrap_or(self.timeout);
        let deadline = Instant::now() + timeout;
        let response = match timeout_at(deadline, self.ask(parcel, to, endpoint, now)).await {
            Ok(Ok(response)) => response,
            Ok(Err(sent)) => return sent,
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

    /// Makes the request, with a token where one is wanted. A token that the receiver doesn't take
    /// (401) may have been revoked since it was given: then there is a second request, with a new one.
    async fn ask(
        &self,
        parcel: Parcel<'_>,
        to: SubscriptionId,
        endpoint: &Endpoint,
        now: OffsetDateTime,
    ) -> Result<http::Response<Incoming>, Sent> {
        // Checked when it was saved, and again: the rules may have changed since.
        let url = check_url(&endpoint.url, &self.reach)
            .map_err(|refused| not_sent(format!("the URL {refused}")))?;
        let mut request = request(parcel, endpoint, url.as_str(), now)
            .map_err(|error| not_sent(format!("the request can't be made: {error}")))?;
        let client = self
            .clients
            .of(to, endpoint.settings.client_certificate.as_ref())
            .map_err(|invalid| not_sent(format!("the client certificate {invalid}")))?;
        let Some(credentials) = &endpoint.settings.oauth2 else {
            return client.request(request).await.map_err(|error| from_error(&error));
        };
        loop {
            let token = self.tokens.token(to, credentials, self.clients.anonymous(), &self.reach);
            let token = token.await.map_err(|none| no_token(&none))?;
            let authorization = token.authorization.clone();
            request.headers_mut().insert(header::AUTHORIZATION, token.authorization);
            let response = client.request(request.clone()).await;
            let response = response.map_err(|error| from_error(&error))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            self.tokens.forget(to, &authorization).await;
            if !token.old {
                return Ok(response);
            }
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
    let (told, refused) = causes(error);
    if refused { not_sent(told) } else { failed(told) }
}

fn no_token(none: &NoToken) -> Sent {
    let (told, refused) = causes(none);
    if refused || matches!(none, NoToken::Refused(_)) {
        return not_sent(format!("no access token: {told}"));
    }
    failed(format!("no access token: {told}"))
}

/// An error with its causes; or the one cause that is all there is to say, that the address is not
/// allowed.
fn causes(error: &(dyn std::error::Error + 'static)) -> (String, bool) {
    let mut causes = Vec::new();
    let mut source = Some(error);
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let refused = inner.and_then(|inner| inner.downcast_ref::<NotAllowed>());
        if let Some(refused) = refused.or_else(|| cause.downcast_ref()) {
            return (refused.to_string(), true);
        }
        causes.push(cause.to_string());
        source = cause.source();
    }
    (causes.join(": "), false)
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
