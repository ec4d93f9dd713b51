//! How a subscription wants its deliveries, as it is asked for and shown: the members of `delivery`
//! beside its URL and secret, and its `mode`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use triggerline_guard::Reach;
use triggerline_matching::jsonpath::Query;
use triggerline_service::config::duration;
use triggerline_types::{Batching, DeliverySettings, Mode, RateLimit, Secret, Throttle};
use utoipa::ToSchema;

use super::identity::{self, CertificateBody, OAuth2Body};
use crate::json::Object;
use crate::problem::{Kind, Problem};

/// Names (and beginnings of names) that are ours, or the connection's.
const OURS: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const OUR_BEGINNINGS: [&str; 4] = ["webhook-", "ce-", "triggerline-", "proxy-"];

#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryBody {
    /// Attempts before it is given up. One more than `schedule` has waits, where that is given;
    /// else the installation's (8).
    #[schema(minimum = 1, maximum = 50)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<u32>,
    /// What to wait after the first attempt, after the second and so on, ±20 %; after more than
    /// these the last. From 1s to 24h each.
    #[schema(max_items = 50, example = json!(["5s", "1m", "10m"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ThrottleBody {
    /// So many requests in so long, evenly.
    #[schema(pattern = "^[1-9][0-9]{0,8}/[1-9][0-9]{0,3}[smh]$", example = "10/1s")]
    rate: String,
    /// So many at once after a rest; a second's worth if absent, at least 1.
    #[schema(minimum = 1, maximum = 10_000)]
    burst: Option<u32>,
}

#[allow(clippy::struct_field_names, reason = "as they are called in the API")]
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchBody {
    /// 100 if absent.
    #[schema(minimum = 1, maximum = 1_000)]
    max_events: Option<u32>,
    /// Of the payloads together; 1,000,000 if absent. A larger event goes alone.
    #[schema(minimum = 1_000, maximum = 5_000_000)]
    max_bytes: Option<usize>,
    /// How long the first waits for others; 1,000 if absent.
    #[schema(minimum = 0, maximum = 60_000)]
    max_wait_ms: Option<u64>,
}

/// How deliveries come.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeBody {
    Webhook,
    Pull,
    Both,
}

impl From<ModeBody> for Mode {
    fn from(body: ModeBody) -> Self {
        match body {
            ModeBody::Webhook => Self::Webhook,
            ModeBody::Pull => Self::Pull,
            ModeBody::Both => Self::Both,
        }
    }
}

impl From<Mode> for ModeBody {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Webhook => Self::Webhook,
            Mode::Pull => Self::Pull,
            Mode::Both => Self::Both,
        }
    }
}

/// What signs webhooks.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SignatureBody {
    V1,
    V1a,
}

impl SignatureBody {
    pub(crate) fn make(self) -> Secret {
        match self {
            Self::V1 => Secret::generate(),
            Self::V1a => Secret::generate_pair(),
        }
    }
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderingBody {
    /// A JSONPath (RFC 9535) over the payload. Deliveries for which it selects the same go one after
    /// the other, in the order of their events; while one is being retried, those behind it wait,
    /// and nobody else. One for which it selects nothing goes by itself.
    #[schema(max_length = 4_096, example = "$.order.id")]
    per_key: String,
}

/// What may stand in `delivery` beside the URL and the secret.
pub(super) struct Terms {
    pub(super) mode: Option<ModeBody>,
    pub(super) ordering: Option<Object<OrderingBody>>,
    pub(super) headers: Option<BTreeMap<String, String>>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) retry: Option<Object<RetryBody>>,
    pub(super) rate_limit: Option<Object<ThrottleBody>>,
    pub(super) batch: Option<Object<BatchBody>>,
    pub(super) client_certificate: Option<Object<CertificateBody>>,
    pub(super) oauth2: Option<Object<OAuth2Body>>,
}

pub(super) fn judge(terms: Terms, reach: &Reach) -> Result<DeliverySettings, Problem> {
    let retry = terms.retry.map(|Object(retry)| retry).unwrap_or_default();
    let oauth2 = terms.oauth2.map(|Object(body)| identity::oauth2(body, reach)).transpose()?;
    let headers = headers(terms.headers.unwrap_or_default())?;
    if oauth2.is_some() && headers.contains_key(header::AUTHORIZATION.as_str()) {
        let detail = "is set by oauth2; give the one or the other";
        return Err(Problem::field("/delivery/headers/authorization", detail));
    }
    Ok(DeliverySettings {
        mode: terms.mode.map(Mode::from).unwrap_or_default(),
        ordering_key: terms.ordering.map(|Object(body)| ordering(body)).transpose()?,
        headers,
        timeout: terms.timeout_ms.map(timeout).transpose()?,
        max_attempts: retry.max_attempts.map(max_attempts).transpose()?,
        schedule: schedule(&retry.schedule.unwrap_or_default())?,
        throttle: terms.rate_limit.map(|Object(body)| throttle(&body)).transpose()?,
        batch: terms.batch.map(|Object(body)| batch(&body)).transpose()?,
        client_certificate: terms
            .client_certificate
            .map(|Object(body)| identity::certificate(body))
            .transpose()?,
        oauth2,
    })
}

fn ordering(body: OrderingBody) -> Result<String, Problem> {
    Query::parse(&body.per_key).map_err(|error| {
        Problem::at(Kind::InvalidSelector, "/delivery/ordering/per_key", error.to_string())
    })?;
    Ok(body.per_key)
}

pub(super) fn ordering_of(settings: &DeliverySettings) -> Option<OrderingBody> {
    settings.ordering_key.clone().map(|per_key| OrderingBody { per_key })
}

fn headers(asked: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    let place = |name: &str| format!("/delivery/headers/{}", pointed(name));
    if asked.len() > DeliverySettings::MAX_HEADERS {
        let detail = format!("has at most {} members", DeliverySettings::MAX_HEADERS);
        return Err(Problem::field("/delivery/headers", detail));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in asked {
        if name.len() + value.len() > DeliverySettings::MAX_HEADER_BYTES {
            let most = DeliverySettings::MAX_HEADER_BYTES;
            let detail = format!("has at most {most} bytes, name and value together");
            return Err(Problem::field(place(&name), detail));
        }
        let Ok(known) = HeaderName::try_from(&name) else {
            let detail =
                "is not a header's name: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)";
            return Err(Problem::field(place(&name), detail));
        };
        let lower = known.as_str();
        if OURS.contains(&lower) || OUR_BEGINNINGS.iter().any(|ours| lower.starts_with(ours)) {
            return Err(Problem::field(
                place(&name),
                "is a header that is set here; choose another",
            ));
        }
        let printable = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        if !printable || value.trim() != value || HeaderValue::try_from(&value).is_err() {
            let detail = "is printable ASCII, without spaces around it";
            return Err(Problem::field(place(&name), detail));
        }
        if headers.insert(lower.to_owned(), value).is_some() {
            return Err(Problem::field(
                place(&name),
                "is there twice, but for upper and lower case",
            ));
        }
    }
    Ok(headers)
}

/// A name in a JSON Pointer (RFC 6901 §3).
pub(super) fn pointed(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn timeout(millis: u64) -> Result<Duration, Problem> {
    let (least, most) = DeliverySettings::TIMEOUTS;
    let timeout = Duration::from_millis(millis);
    if !(least..=most).contains(&timeout) {
        let detail = format!("is a number from {} to {}", least.as_millis(), most.as_millis());
        return Err(Problem::field("/delivery/timeout_ms", detail));
    }
    Ok(timeout)
}

fn max_attempts(count: u32) -> Result<u32, Problem> {
    if !(1..=DeliverySettings::MAX_ATTEMPTS).contains(&count) {
        let detail = format!("is a number from 1 to {}", DeliverySettings::MAX_ATTEMPTS);
        return Err(Problem::field("/delivery/retry/max_attempts", detail));
    }
    Ok(count)
}

fn schedule(texts: &[String]) -> Result<Vec<Duration>, Problem> {
    if texts.len() > DeliverySettings::MAX_WAITS {
        let detail = format!("has at most {} items", DeliverySettings::MAX_WAITS);
        return Err(Problem::field("/delivery/retry/schedule", detail));
    }
    let (least, most) = DeliverySettings::WAITS;
    let read = |(index, text): (usize, &String)| {
        let wait = duration::parse(text).filter(|wait| (least..=most).contains(wait));
        wait.ok_or_else(|| {
            let place = format!("/delivery/retry/schedule/{index}");
            Problem::field(place, "is a time from 1s to 24h, such as 30s, 10m or 2h")
        })
    };
    texts.iter().enumerate().map(read).collect()
}

fn throttle(body: &ThrottleBody) -> Result<Throttle, Problem> {
    let rate: RateLimit = body.rate.parse().map_err(|error| {
        Problem::field("/delivery/rate_limit/rate", format!("is invalid: {error}"))
    })?;
    let burst = body.burst.unwrap_or_else(|| Throttle::burst_of(rate));
    if !(1..=DeliverySettings::MAX_BURST).contains(&burst) {
        let detail = format!("is a number from 1 to {}", DeliverySettings::MAX_BURST);
        return Err(Problem::field("/delivery/rate_limit/burst", detail));
    }
    Ok(Throttle { rate, burst })
}

fn batch(body: &BatchBody) -> Result<Batching, Problem> {
    let BatchBody { max_events, max_bytes, max_wait_ms } = *body;
    let default = Batching::DEFAULT;
    let batching = Batching {
        max_events: max_events.unwrap_or(default.max_events),
        max_bytes: max_bytes.unwrap_or(default.max_bytes),
        max_wait: max_wait_ms.map_or(default.max_wait, Duration::from_millis),
    };
    let (least, most) = Batching::BYTES;
    let range = |name, from: usize, to: u128| {
        let detail = format!("is a number from {from} to {to}");
        Err(Problem::field(format!("/delivery/batch/{name}"), detail))
    };
    if !(1..=Batching::MAX_EVENTS).contains(&batching.max_events) {
        return range("max_events", 1, Batching::MAX_EVENTS.into());
    }
    if !(least..=most).contains(&batching.max_bytes) {
        return range("max_bytes", least, most as u128);
    }
    if batching.max_wait > Batching::MAX_WAIT {
        return range("max_wait_ms", 0, Batching::MAX_WAIT.as_millis());
    }
    Ok(batching)
}

pub(super) fn batch_of(settings: &DeliverySettings) -> Option<BatchBody> {
    let shown = |Batching { max_events, max_bytes, max_wait }| BatchBody {
        max_events: Some(max_events),
        max_bytes: Some(max_bytes),
        max_wait_ms: u64::try_from(max_wait.as_millis()).ok(),
    };
    settings.batch.map(shown)
}

/// What is shown again of the retries, where anything was said.
pub(crate) fn retry_of(settings: &DeliverySettings) -> Option<RetryBody> {
    let DeliverySettings { max_attempts, schedule, .. } = settings;
    let schedule = (!schedule.is_empty()).then(|| schedule.iter().map(written).collect());
    (max_attempts.is_some() || schedule.is_some())
        .then_some(RetryBody { max_attempts: *max_attempts, schedule })
}

pub(super) fn throttle_of(settings: &DeliverySettings) -> Option<ThrottleBody> {
    let shown = |Throttle { rate, burst }: Throttle| ThrottleBody {
        rate: rate.to_string(),
        burst: Some(burst),
    };
    settings.throttle.map(shown)
}

fn written(wait: &Duration) -> String {
    let millis = wait.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["1s", "1500ms", "90s", "2m", "24h"] {
            let read = duration::parse(text).unwrap();
            assert_eq!(written(&read), text);
        }
    }

    #[test]
    fn names_in_pointers_are_escaped() {
        assert_eq!(pointed("a/b~c"), "a~1b~0c");
    }
}
