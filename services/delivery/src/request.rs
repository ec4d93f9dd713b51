//! The request that an attempt is: the event's envelope, signed, with its CloudEvents attributes; or
//! the envelopes of a batch.

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderName, Method, Request, header};
use http_body_util::Full;
use time::OffsetDateTime;
use triggerline_types::{Delivery, DeliveryId, Endpoint, format_instant};
use triggerline_wire::webhook;

/// What goes in one request.
#[derive(Clone, Copy)]
pub(crate) enum Parcel<'a> {
    One(&'a Delivery),
    /// A batch: a JSON array, even if there is only one in it.
    Several(&'a [Delivery]),
}

impl Parcel<'_> {
    fn id(self) -> DeliveryId {
        match self {
            Self::One(delivery) => delivery.id,
            Self::Several(deliveries) => DeliveryId::of_batch(deliveries.iter().map(|one| one.id)),
        }
    }

    fn body(self) -> Bytes {
        match self {
            Self::One(delivery) => webhook::body(&delivery.event),
            Self::Several(deliveries) => {
                let bodies: Vec<_> =
                    deliveries.iter().map(|delivery| webhook::body(&delivery.event)).collect();
                [b"[", bodies.join(&b","[..]).as_slice(), b"]"].concat().into()
            }
        }
    }

    /// What tells of the event; each in a batch tells of itself.
    fn attributes(self, mut request: Builder) -> Builder {
        let Self::One(Delivery { event, replay_id, .. }) = self else {
            return request;
        };
        request = request
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
        if let Some(id) = replay_id {
            request = request.header(webhook::REPLAY, id.to_string());
        }
        if let Some(traceparent) = &event.traceparent {
            request = request.header("traceparent", traceparent);
        }
        request
    }
}

pub(crate) fn request(
    parcel: Parcel<'_>,
    endpoint: &Endpoint,
    url: &str,
    now: OffsetDateTime,
) -> http::Result<Request<Full<Bytes>>> {
    let (id, body) = (parcel.id(), parcel.body());
    let timestamp = now.unix_timestamp();
    // While a secret is rotated, what it replaces signs as well; receivers need one that fits.
    let signatures = endpoint
        .secrets(now)
        .map(|secret| webhook::sign(secret, &id, timestamp, &body))
        .collect::<Vec<_>>()
        .join(" ");
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("Triggerline/", env!("CARGO_PKG_VERSION")))
        .header(webhook::ID, id.to_string())
        .header(webhook::TIMESTAMP, timestamp)
        .header(webhook::SIGNATURE, signatures);
    request = parcel.attributes(request);
    for (name, value) in &endpoint.settings.headers {
        request = request.header(name, value);
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
}
