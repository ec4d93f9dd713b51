//! Whether an event is admitted. Pure: the clock and the id come in as arguments.
//!
//! Both doors build a [`Draft`] from what came in; [`admit`] judges it. The payload is never
//! parsed into a tree: it is checked to be JSON, its depth is counted, and its bytes go on as
//! they are.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, Event, EventId, EventType, parse_instant};

use crate::problem::{Kind, Problem};

/// The largest payload, in bytes.
pub(crate) const MAX_BYTES: usize = 1_000_000;
/// The deepest nesting of arrays and objects in a payload. Anyone downstream who parses JSON
/// by recursion can read what we let through.
pub(crate) const MAX_DEPTH: usize = 100;
/// The longest `source` and `subject`, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;
/// What `source` is where the producer says nothing.
const DEFAULT_SOURCE: &str = "api";

/// An event as it was handed in.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) event_type: String,
    pub(crate) source: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) occurred_at: Option<OffsetDateTime>,
    pub(crate) traceparent: Option<String>,
    /// Known to be JSON.
    pub(crate) payload: Bytes,
}

impl Draft {
    /// Reads the body of `POST /v1/events`. The payload is a slice of it, not a copy.
    pub(crate) fn from_json(body: &Bytes, traceparent: Option<String>) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Envelope<'a> {
            event_type: String,
            #[serde(borrow)]
            payload: &'a RawValue,
            source: Option<String>,
            subject: Option<String>,
            occurred_at: Option<String>,
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let envelope: Envelope<'_> = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| malformed(&error.path().to_string(), error.inner()))?;
        json.end().map_err(|error| malformed(".", &error))?;
        let occurred_at = envelope
            .occurred_at
            .map(|text| {
                parse_instant(&text).map_err(|_| {
                    let detail = format!(
                        "is {text:?}; an instant is RFC 3339, such as 2026-11-23T13:05:07.123Z"
                    );
                    Problem::field("/occurred_at", detail)
                })
            })
            .transpose()?;
        Ok(Self {
            event_type: envelope.event_type,
            source: envelope.source,
            subject: envelope.subject,
            occurred_at,
            traceparent,
            payload: body.slice_ref(envelope.payload.get().as_bytes()),
        })
    }

    /// Checks that `payload` is JSON, for the door that takes it as bytes.
    pub(crate) fn json_payload(payload: Bytes) -> Result<Bytes, Problem> {
        let checked: Result<&RawValue, _> = serde_json::from_slice(&payload);
        match checked {
            Ok(_) => Ok(payload),
            Err(error) => {
                Err(Problem::at(Kind::MalformedBody, "/payload", format!("is not JSON: {error}")))
            }
        }
    }
}

/// Judges a draft.
pub(crate) fn admit(
    draft: Draft,
    customer_id: CustomerId,
    id: EventId,
    now: OffsetDateTime,
) -> Result<Event, Problem> {
    let event_type = EventType::parse(draft.event_type)
        .map_err(|error| Problem::field("/event_type", format!("is invalid: {error}")))?;
    let source = draft.source.unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
    check_text("/source", &source)?;
    if let Some(subject) = &draft.subject {
        check_text("/subject", subject)?;
    }
    if draft.payload.len() > MAX_BYTES {
        let detail = format!("A payload is at most {MAX_BYTES} bytes.");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    if depth(&draft.payload) > MAX_DEPTH {
        let detail = format!("nests arrays and objects deeper than {MAX_DEPTH} levels");
        return Err(Problem::field("/payload", detail));
    }
    Ok(Event {
        id,
        customer_id,
        event_type,
        source,
        subject: draft.subject,
        occurred_at: draft.occurred_at.unwrap_or(now),
        received_at: now,
        traceparent: draft.traceparent.filter(|text| is_traceparent(text)),
        payload: draft.payload,
    })
}

fn check_text(pointer: &'static str, text: &str) -> Result<(), Problem> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        let detail = format!("is 1 to {MAX_TEXT_BYTES} bytes long; this one has {}", text.len());
        return Err(Problem::field(pointer, detail));
    }
    // They travel as headers, where a line break would end one.
    if text.chars().any(char::is_control) {
        return Err(Problem::field(pointer, "has no control characters"));
    }
    Ok(())
}

/// The form of W3C Trace Context §3.2, version 00. Anything else is dropped, as §3.2.2 says.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}

/// How deep a JSON text nests. The text is known to be JSON, so brackets outside of strings
/// are balanced.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn malformed(path: &str, error: &serde_json::Error) -> Problem {
    let pointer = match path {
        "." | "?" => String::new(),
        path => format!("/{}", path.replace('.', "/")),
    };
    let detail = if error.is_data() {
        error.to_string()
    } else {
        format!("is not well-formed JSON: {error}")
    };
    Problem::at(Kind::MalformedBody, pointer, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(body: &str) -> Result<Event, Problem> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let draft = Draft::from_json(&body, None)?;
        admit(draft, CustomerId::new(), EventId::new(), OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_payload_passes_byte_for_byte() {
        for payload in [
            r#"{"b":1,  "a": 1.0e2, "a": "\u00e9"}"#,
            "[1,2]",
            "\"text\"",
            "null",
            "1e400",
            r#""]]]]\"[[[""#,
        ] {
            let event =
                admitted(&format!(r#"{{"event_type":"a.b","payload": {payload} }}"#)).unwrap();
            assert_eq!(event.payload, payload);
            assert_eq!((event.source.as_str(), event.subject), ("api", None));
            assert_eq!(event.occurred_at, event.received_at);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let deep = format!(
            r#"{{"event_type":"a","payload":{}{}}}"#,
            "[".repeat(MAX_DEPTH + 1),
            "]".repeat(MAX_DEPTH + 1)
        );
        for (body, kind, pointer, told) in [
            ("", Kind::MalformedBody, "", "EOF"),
            ("{", Kind::MalformedBody, "", "EOF"),
            ("[]", Kind::MalformedBody, "", ""),
            (r#"{"payload":{}}"#, Kind::MalformedBody, "", "event_type"),
            (r#"{"event_type":"a"}"#, Kind::MalformedBody, "", "payload"),
            (r#"{"event_type":7,"payload":{}}"#, Kind::MalformedBody, "/event_type", "string"),
            (
                r#"{"event_type":"a","payload":{},"x":1}"#,
                Kind::MalformedBody,
                "/x",
                "unknown field",
            ),
            (r#"{"event_type":"a","payload":{]}"#, Kind::MalformedBody, "/payload", "line 1"),
            (r#"{"event_type":"a","payload":{}} {}"#, Kind::MalformedBody, "", "trailing"),
            (r#"{"event_type":"a b","payload":{}}"#, Kind::InvalidField, "/event_type", "byte 1"),
            (
                r#"{"event_type":"a","payload":{},"source":""}"#,
                Kind::InvalidField,
                "/source",
                "1 to",
            ),
            (
                r#"{"event_type":"a","payload":{},"subject":"a\nb"}"#,
                Kind::InvalidField,
                "/subject",
                "control",
            ),
            (
                r#"{"event_type":"a","payload":{},"occurred_at":"now"}"#,
                Kind::InvalidField,
                "/occurred_at",
                "RFC 3339",
            ),
            (&deep, Kind::InvalidField, "/payload", "deeper than 100"),
        ] {
            let problem = admitted(body).unwrap_err();
            assert_eq!(problem.kind, kind, "{body}: {problem:?}");
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
            assert!(problem.detail.contains(told), "{body}: {problem:?}");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_dropped() {
        for (text, kept) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-short-b7ad6b7169203331-01", false),
            ("hello", false),
        ] {
            assert_eq!(is_traceparent(text), kept, "{text}");
        }
    }

    #[test]
    fn depth_ignores_what_is_in_strings() {
        for (json, expected) in
            [("1", 0), ("[]", 1), (r#"{"a":[{}]}"#, 3), (r#"["[[[\"[["]"#, 1), (r#""\\""#, 0)]
        {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}
