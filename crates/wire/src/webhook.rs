//! What a receiver gets: the body, and the signature over it (Standard Webhooks 1.0).
//!
//! The signed content is `<webhook-id>.<webhook-timestamp>.<body>`; the signature is `v1,` and the
//! base64 of its HMAC-SHA256 under the endpoint's secret, or `v1a,` and that of its ed25519 signature
//! (RFC 8032) with the endpoint's key. A receiver should compare in constant time and refuse time
//! stamps more than five minutes away.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::Serialize;
use sha2::Sha256;
use triggerline_types::{Event, EventId, PublicKey, Secret, SigningKey, format_instant};

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";
/// On what a replay sends: its id. Ours; the standard has nothing for it.
pub const REPLAY: &str = "triggerline-replay-id";

/// How far a receiver may find our clock from its own, in seconds.
pub const TOLERANCE_SECONDS: u64 = 300;

/// The body of a webhook: the event, its payload byte for byte as it was received.
pub fn body(event: &Event) -> Bytes {
    #[derive(Serialize)]
    struct Envelope<'a> {
        event_id: EventId,
        event_type: &'a str,
        source: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        occurred_at: String,
        received_at: String,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        extensions: &'a BTreeMap<String, String>,
    }
    let envelope = Envelope {
        event_id: event.id,
        event_type: event.event_type.as_str(),
        source: &event.source,
        subject: event.subject.as_deref(),
        occurred_at: format_instant(event.occurred_at),
        received_at: format_instant(event.received_at),
        extensions: &event.extensions,
    };
    // Strings only: nothing in it can fail to serialise.
    let head = serde_json::to_vec(&envelope).unwrap_or_default();
    let mut body = BytesMut::with_capacity(head.len() + event.payload.len() + 12);
    // The payload is put in as text, because a JSON library would be free to rewrite it.
    body.put_slice(head.strip_suffix(b"}").unwrap_or(&head));
    body.put_slice(b",\"payload\":");
    body.put_slice(&event.payload);
    body.put_u8(b'}');
    body.freeze()
}

/// The headers that tell of the event, as the CloudEvents HTTP binding has them, and its trace.
pub fn attributes(event: &Event) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("ce-specversion".to_owned(), "1.0".to_owned()),
        ("ce-id".to_owned(), event.id.to_string()),
        ("ce-type".to_owned(), event.event_type.as_str().to_owned()),
        ("ce-source".to_owned(), percent_encoded(&event.source)),
        ("ce-time".to_owned(), format_instant(event.occurred_at)),
    ];
    let subject = event.subject.as_deref().map(percent_encoded);
    attributes.extend(subject.map(|subject| ("ce-subject".to_owned(), subject)));
    let extension =
        |(name, value): (&String, &String)| (format!("ce-{name}"), percent_encoded(value));
    attributes.extend(event.extensions.iter().map(extension));
    attributes.extend(event.traceparent.clone().map(|parent| ("traceparent".to_owned(), parent)));
    attributes
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

/// A signature, as `webhook-signature` lists them.
pub fn sign(secret: &Secret, id: &impl Display, timestamp: i64, body: &[u8]) -> String {
    let id = id.to_string();
    match secret.signing_key() {
        SigningKey::Shared(key) => {
            let tag = mac(key, &id, timestamp, body).finalize().into_bytes();
            format!("v1,{}", STANDARD.encode(tag))
        }
        SigningKey::Ed25519(seed) => {
            #[allow(clippy::expect_used, reason = "it was one when the secret was made")]
            let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed");
            let signature = pair.sign(&content(&id, timestamp, body));
            format!("v1a,{}", STANDARD.encode(signature))
        }
    }
}

/// What a webhook is verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyingKey {
    Secret(Secret),
    Public(PublicKey),
}

impl VerifyingKey {
    /// Whether one of the signatures is genuine.
    fn fits(&self, signatures: &str, id: &str, timestamp: i64, body: &[u8]) -> bool {
        let of = |version: &'static str| {
            let given = signatures.split(' ').filter_map(move |one| one.strip_prefix(version));
            given.filter_map(|encoded| STANDARD.decode(encoded).ok())
        };
        let public = match self {
            Self::Public(public) => *public,
            Self::Secret(secret) => match (secret.signing_key(), secret.public_key()) {
                (SigningKey::Shared(key), _) => {
                    // Compares in constant time.
                    let genuine =
                        |tag: Vec<u8>| mac(key, id, timestamp, body).verify_slice(&tag).is_ok();
                    return of("v1,").any(genuine);
                }
                (SigningKey::Ed25519(_), Some(public)) => public,
                (SigningKey::Ed25519(_), None) => return false,
            },
        };
        let content = content(id, timestamp, body);
        let key = UnparsedPublicKey::new(&ED25519, public.as_bytes());
        of("v1a,").any(|signature| key.verify(&content, &signature).is_ok())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the time stamp {0:?} is not a number of seconds")]
    Timestamp(String),
    #[error("the time stamp is {seconds} s old; at most {tolerance} s are allowed")]
    TooOld { seconds: u64, tolerance: u64 },
    #[error("the time stamp is {seconds} s ahead; at most {tolerance} s are allowed")]
    TooNew { seconds: u64, tolerance: u64 },
    #[error("no signature matches")]
    Signature,
}

/// Checks a webhook as a receiver would; `now` is in seconds since the Unix epoch.
pub fn verify(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: i64,
) -> Result<(), VerifyError> {
    let key = VerifyingKey::Secret(secret.clone());
    verify_within(TOLERANCE_SECONDS, &key, id, timestamp, signatures, body, now)
}

/// The same, with a tolerance of one's own.
pub fn verify_within(
    tolerance: u64,
    key: &VerifyingKey,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: i64,
) -> Result<(), VerifyError> {
    let at: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp(timestamp.to_owned()))?;
    let seconds = now.abs_diff(at);
    if seconds > tolerance {
        let old = at < now;
        return Err(if old {
            VerifyError::TooOld { seconds, tolerance }
        } else {
            VerifyError::TooNew { seconds, tolerance }
        });
    }
    if key.fits(signatures, id, at, body) { Ok(()) } else { Err(VerifyError::Signature) }
}

/// What is signed.
fn content(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body].concat()
}

fn mac(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 §2)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::sample;
    use triggerline_types::DeliveryId;

    /// The example of the Standard Webhooks reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const GENUINE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn check(id: &str, timestamp: &str, signatures: &str, now: i64) -> Result<(), VerifyError> {
        verify(&Secret::parse(SECRET).unwrap(), id, timestamp, signatures, BODY, now)
    }

    #[test]
    fn signatures_are_those_of_the_reference_libraries() {
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        assert_eq!(check(id, at, GENUINE, 1_614_265_330), Ok(()));
        assert_eq!(check(id, at, &format!("v1,AAAA v2,x {GENUINE}"), 1_614_265_330), Ok(()));
        let wrong = Err(VerifyError::Signature);
        assert_eq!(check("msg_other", at, GENUINE, 1_614_265_330), wrong);
        assert_eq!(check(id, "1614265331", GENUINE, 1_614_265_330), wrong);
        assert_eq!(check(id, at, "", 1_614_265_330), wrong);
        assert_eq!(check(id, at, "v1,not base64", 1_614_265_330), wrong);
        let (seconds, tolerance) = (301, 300);
        let old = Err(VerifyError::TooOld { seconds, tolerance });
        assert_eq!(check(id, at, GENUINE, 1_614_265_631), old);
        let new = Err(VerifyError::TooNew { seconds, tolerance });
        assert_eq!(check(id, at, GENUINE, 1_614_265_029), new);
        let (lowest, seconds) = (i64::MIN.to_string(), 1 << 63);
        let old = Err(VerifyError::TooOld { seconds, tolerance });
        assert_eq!(check(id, &lowest, GENUINE, 0), old, "no overflow");
        assert_eq!(
            check(id, "soon", GENUINE, 1_614_265_330),
            Err(VerifyError::Timestamp("soon".to_owned()))
        );
    }

    #[test]
    fn what_we_sign_verifies() {
        let (id, body) = (DeliveryId::from_uuid(*sample().id.as_uuid()), body(&sample()));
        let keys = |secret: &Secret| {
            let public = secret.public_key().map(VerifyingKey::Public);
            [Some(VerifyingKey::Secret(secret.clone())), public].into_iter().flatten()
        };
        let check = |key: &VerifyingKey, signatures: &str, body: &[u8]| {
            let (id, now) = (id.to_string(), 1_700_000_100);
            verify_within(300, key, &id, "1700000000", signatures, body, now)
        };
        let secrets = [Secret::generate(), Secret::generate_pair(), Secret::generate_pair()];
        let signed = secrets.each_ref().map(|secret| sign(secret, &id, 1_700_000_000, &body));
        for (secret, own) in secrets.iter().zip(&signed) {
            for key in keys(secret) {
                assert_eq!(check(&key, own, &body), Ok(()));
                assert_eq!(check(&key, &signed.join(" "), &body), Ok(()), "one that fits");
                assert_eq!(check(&key, own, b"{}"), Err(VerifyError::Signature));
                let others: Vec<_> = signed.iter().filter(|one| *one != own).cloned().collect();
                assert_eq!(check(&key, &others.join(" "), &body), Err(VerifyError::Signature));
            }
        }
    }

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
    fn the_payload_stands_in_the_body_byte_for_byte() {
        assert_eq!(
            body(&sample()),
            concat!(
                r#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","event_type":"order.created","#,
                r#""source":"shop","subject":"order/17","occurred_at":"2026-11-23T13:05:07.000Z","#,
                r#""received_at":"2026-11-23T13:05:07.123Z","payload":{"total": 1e2, "total":7}}"#
            )
        );
    }
}
