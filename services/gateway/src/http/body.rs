//! Reading a request's body: up to its limit, within its time, and within what all bodies
//! together may take of this process's memory.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use crate::Shared;
use crate::admit::MAX_BYTES;
use crate::batch::{self, MAX_BATCH_BYTES};
use crate::cloud_events;
use crate::problem::{Kind, Problem};
use crate::room::Held;

/// The largest body of anything but a batch: a payload of the largest size and its envelope.
pub(super) const MAX_BODY_BYTES: usize = MAX_BYTES + 48_576;

/// A body, and the room that it takes; kept until the request is answered.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Held,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Received, Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        let detail = format!("The content encoding is {encoding:?}; send the body as it is.");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let too_large = || Problem::new(Kind::TooLarge, format!("The body is at most {limit} bytes."));
    // What says that it is too large is refused before it is read.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse().ok()).is_some_and(|n: u64| n > limit as u64) {
        return Err(too_large());
    }
    let deadline = Instant::now() + shared.settings.limits.body_timeout;
    let mut body = std::pin::pin!(body);
    let mut room = Held::default();
    // Most bodies are one piece, which is taken as it is.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| {
            let seconds = shared.settings.limits.body_timeout.as_secs();
            Problem::new(Kind::Timeout, format!("The body did not arrive within {seconds} s."))
        })?;
        let Some(frame) = frame else {
            break;
        };
        let frame = frame.map_err(|_| {
            Problem::new(Kind::MalformedBody, "The body broke off while it was read.")
        })?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let received = first.len() + rest.len() + piece.len();
        if received > limit {
            return Err(too_large());
        }
        room.grow(&shared.room, received)?;
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&piece);
        }
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Received { bytes, _room: room })
}

/// What a body is, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Envelope,
    Structured,
    Binary,
    Batch(batch::Form),
}

impl Form {
    pub(super) fn limit(self) -> usize {
        match self {
            Self::Batch(_) => MAX_BATCH_BYTES,
            _ => MAX_BODY_BYTES,
        }
    }
}

/// What the body of `POST /v1/events` is.
pub(super) fn event_form(headers: &HeaderMap) -> Result<Form, Problem> {
    let media_type = media_type(headers);
    match media_type.as_deref() {
        Some("application/cloudevents+json") => Ok(Form::Structured),
        Some("application/cloudevents-batch+json") => Ok(Form::Batch(batch::Form::CloudEvents)),
        other if cloud_events::is_binary(headers) => match other {
            Some(text) if !cloud_events::is_json(text) => Err(unsupported(
                text,
                "the data of an event is JSON, so its content type is application/json",
            )),
            _ => Ok(Form::Binary),
        },
        None | Some("application/json") => Ok(Form::Envelope),
        Some(text) => Err(unsupported(
            text,
            "send application/json, application/cloudevents+json or, with ce- headers, a CloudEvent's data",
        )),
    }
}

/// What the body of `POST /v1/events/batch` is.
pub(super) fn batch_form(headers: &HeaderMap) -> Result<batch::Form, Problem> {
    match media_type(headers).as_deref() {
        None | Some("application/json") => Ok(batch::Form::Array),
        // None of them is registered; these are the ones in use.
        Some(
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/jsonlines",
        ) => Ok(batch::Form::Lines),
        Some("application/cloudevents-batch+json") => Ok(batch::Form::CloudEvents),
        Some(text) => Err(unsupported(
            text,
            "send application/json, application/x-ndjson or application/cloudevents-batch+json",
        )),
    }
}

/// What everything that takes one JSON document takes.
pub(super) const JSON: &[&str] = &["application/json"];
/// What a change takes: RFC 7396's own type, and what people send.
pub(super) const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Whether the body is of one of the types, or doesn't say.
pub(super) fn expect(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    match media_type(headers) {
        Some(text) if !types.contains(&&*text) => {
            Err(unsupported(&text, &format!("send {}", types.join(" or "))))
        }
        _ => Ok(()),
    }
}

/// Without parameters, in lower case; whole, and so unknown, where it says that the text is not
/// in UTF-8 (RFC 8259 §8.1).
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("?").to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_owned();
    let charset = parts.find_map(|part| part.strip_prefix("charset="));
    match charset.map(|name| name.trim_matches('"')) {
        None | Some("utf-8" | "us-ascii") => Some(essence),
        Some(_) => Some(text),
    }
}

fn unsupported(found: &str, told: &str) -> Problem {
    let detail = format!("The content type is {found:?}; {told}.");
    Problem::new(Kind::UnsupportedMediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_page_has_the_limits_that_hold() {
        let page = include_str!("../../../../docs/errors/too-large.md");
        for (limit, told) in [
            (MAX_BYTES, "1,000,000 bytes |"),
            (MAX_BODY_BYTES, "1,048,576 bytes |"),
            (MAX_BATCH_BYTES, "5,000,000 bytes, "),
            (batch::MAX_EVENTS, "1,000 events |"),
        ] {
            let digits: String = told.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(digits, limit.to_string());
            assert!(page.contains(told), "{told}");
        }
    }

    #[test]
    fn a_change_is_a_merge_patch() {
        for (text, json, patch) in [
            (None, true, true),
            (Some("application/json; charset=utf-8"), true, true),
            (Some("application/merge-patch+json"), false, true),
            (Some("Application/Merge-Patch+JSON; charset=utf-8"), false, true),
            (Some("application/json-patch+json"), false, false),
            (Some("text/plain"), false, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            }
            let taken = (expect(&headers, JSON).is_ok(), expect(&headers, MERGE_PATCH).is_ok());
            assert_eq!(taken, (json, patch), "{text:?}");
        }
    }

    /// What the document says that a call takes, the call takes.
    #[test]
    fn documented_types_are_taken() {
        let document = super::super::document();
        let mut types = 0;
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let content = operation["requestBody"]["content"].as_object();
                for text in content.into_iter().flat_map(|content| content.keys()) {
                    let mut headers = HeaderMap::new();
                    headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
                    let taken = match operation["operationId"].as_str().unwrap() {
                        "publishEvent" => event_form(&headers).is_ok(),
                        "publishBatch" => batch_form(&headers).is_ok(),
                        "updateCustomer" | "updateSubscription" => {
                            expect(&headers, MERGE_PATCH).is_ok()
                        }
                        _ => expect(&headers, JSON).is_ok(),
                    };
                    assert!(taken, "{text} of {}", operation["operationId"]);
                    types += 1;
                }
            }
        }
        assert!(types >= 16, "{types}");
    }

    #[test]
    fn headers_say_what_a_body_is() {
        let form = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            (event_form(&headers).ok(), batch_form(&headers).ok())
        };
        let (content, version) = ("content-type", ("ce-specversion", "1.0"));
        let clouds = batch::Form::CloudEvents;
        for (pairs, event, batch) in [
            (&[][..], Some(Form::Envelope), Some(batch::Form::Array)),
            (
                &[(content, "Application/JSON; charset=utf-8")],
                Some(Form::Envelope),
                Some(batch::Form::Array),
            ),
            (&[(content, "application/x-ndjson")], None, Some(batch::Form::Lines)),
            (&[(content, "application/ndjson")], None, Some(batch::Form::Lines)),
            (&[(content, "application/jsonl")], None, Some(batch::Form::Lines)),
            (&[(content, "application/jsonlines")], None, Some(batch::Form::Lines)),
            (&[(content, "application/json-lines")], None, None),
            (
                &[(content, "application/cloudevents+json; charset=UTF-8")],
                Some(Form::Structured),
                None,
            ),
            (
                &[(content, "application/cloudevents-batch+json")],
                Some(Form::Batch(clouds)),
                Some(clouds),
            ),
            (
                &[(content, "application/json"), version],
                Some(Form::Binary),
                Some(batch::Form::Array),
            ),
            (&[(content, "application/vnd.a+json"), version], Some(Form::Binary), None),
            (&[(content, "text/xml"), version], None, None),
            (&[(content, "text/plain")], None, None),
            (&[(content, "application/json; charset=utf-16")], None, None),
        ] {
            assert_eq!(form(pairs), (event, batch), "{pairs:?}");
        }
    }
}
