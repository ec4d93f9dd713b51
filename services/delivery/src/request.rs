//! The request that an attempt is: the event's envelope, signed, with its CloudEvents attributes; or
//! the envelopes of a batch.

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderName, Method, Request, header};
use http_body_util::Full;
use time::OffsetDateTime;
use triggerline_types::{Delivery, DeliveryId, Endpoint};
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
        for (name, value) in webhook::attributes(event) {
            // A record that someone put into Kafka by hand may hold any name.
            if let Ok(name) = HeaderName::try_from(name) {
                request = request.header(name, value);
            }
        }
        if let Some(id) = replay_id {
            request = request.header(webhook::REPLAY, id.to_string());
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
