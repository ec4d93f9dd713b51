//! Whether an event is admitted. Pure: the clock and the id come in as arguments.
//!
//! Every door builds a [`Draft`] from what came in (this module from our own envelope,
//! [`crate::cloud_events`] from CloudEvents, gRPC from its message); [`Draft::admit`] judges it
//! and hands over an [`Admitted`], which becomes an event once it has an id. The payload is
//! never parsed into a tree: it is checked to be JSON, its depth is counted, and its bytes go on
//! as they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use triggerline_types::{
    CustomerId, Event, EventId, EventType, OPERATIONAL, millis, parse_instant,
};

use crate::json::{self, Object};
use crate::problem::{Kind, Problem};

/// The largest payload, in bytes.
pub(crate) const MAX_BYTES: usize = 1_000_000;
/// The deepest nesting of arrays and objects in a payload. Anyone downstream who parses JSON
/// by recursion can read what we let through.
pub(crate) const MAX_DEPTH: usize = 100;
/// The longest `source` and `subject`, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;
/// Extension attributes of one event: each is a header on every record of it.
const MAX_EXTENSIONS: usize = 32;
/// What `source` is where the producer says nothing.
const DEFAULT_SOURCE: &str = "api";

/// An event as it was handed in.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) event_type: String,
    pub(crate) source: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) occurred_at: Option<OffsetDateTime>,
    /// Further CloudEvents attributes, their names checked.
    pub(crate) extensions: BTreeMap<String, String>,
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
        let Object(envelope): Object<Envelope<'_>> = json::read(body)?;
        let occurred_at =
            envelope.occurred_at.map(|text| instant("/occurred_at", &text)).transpose()?;
        Ok(Self {
            event_type: envelope.event_type,
            source: envelope.source,
            subject: envelope.subject,
            occurred_at,
            extensions: BTreeMap::new(),
            traceparent,
            payload: body.slice_ref(envelope.payload.get().as_bytes()),
        })
    }

    /// Checks that `payload` is JSON, for the door that takes it as bytes.
    pub(crate) fn json_payload(payload: Bytes) -> Result<Bytes, Problem> {
        json::check(&payload).map(|()| payload).map_err(|error| {
            Problem::at(Kind::MalformedBody, "/payload", format!("is not JSON: {error}"))
        })
    }

    /// Judges the draft.
    ///
    /// Places are those of our own envelope; what calls them otherwise ([`crate::cloud_events`])
    /// looks first.
    pub(crate) fn admit(self) -> Result<Admitted, Problem> {
        let event_type =
            event_type(self.event_type).map_err(|told| Problem::field("/event_type", told))?;
        let source = self.source.unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
        check_text("/source", &source)?;
        if let Some(subject) = &self.subject {
            check_text("/subject", subject)?;
        }
        if self.extensions.len() > MAX_EXTENSIONS {
            let told = format!("The event has more than {MAX_EXTENSIONS} extension attributes.");
            return Err(Problem::new(Kind::InvalidField, told));
        }
        for (name, value) in &self.extensions {
            check_text(&format!("/{name}"), value)?;
        }
        if self.payload.len() > MAX_BYTES {
            let detail = format!("A payload is at most {MAX_BYTES} bytes.");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        if let Some(told) = fault_of_depth(&self.payload) {
            return Err(Problem::field("/payload", told));
        }
        Ok(Admitted {
            event_type,
            source,
            subject: self.subject,
            occurred_at: self.occurred_at,
            extensions: self.extensions,
            traceparent: self.traceparent.filter(|text| is_traceparent(text)),
            payload: self.payload,
        })
    }
}

/// A good event that has no id yet.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) event_type: EventType,
    source: String,
    subject: Option<String>,
    occurred_at: Option<OffsetDateTime>,
    extensions: BTreeMap<String, String>,
    traceparent: Option<String>,
    pub(crate) payload: Bytes,
}

impl Admitted {
    pub(crate) fn into_event(
        self,
        customer_id: CustomerId,
        id: EventId,
        received_at: OffsetDateTime,
        quarantined: Option<String>,
    ) -> Event {
        Event {
            id,
            customer_id,
            event_type: self.event_type,
            source: self.source,
            subject: self.subject,
            occurred_at: self.occurred_at.unwrap_or(received_at),
            extensions: self.extensions,
            received_at,
            traceparent: self.traceparent,
            quarantined,
            payload: self.payload,
        }
    }

    /// Adds what makes the event this one and no other: what its producer said of it, whichever
    /// door it came by, but not the trace context, which a retry may have anew. Each part is
    /// preceded by its length, and the extensions by their number, so that no two lists of events
    /// add up to the same bytes.
    pub(crate) fn fingerprint(&self, hash: &mut Sha256) {
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.event_type.as_str().as_bytes());
        part(self.source.as_bytes());
        part(self.subject.as_deref().unwrap_or_default().as_bytes());
        let occurred_at = self.occurred_at.map(|at| millis(at).to_be_bytes());
        part(occurred_at.as_ref().map_or(&[], |bytes| &bytes[..]));
        part(&self.payload);
        if self.extensions.is_empty() {
            return;
        }
        // Where another event would go on, it began with 0 or 1 ([`crate::idempotency`]).
        hash.update([2]);
        hash.update((self.extensions.len() as u64).to_be_bytes());
        for text in self.extensions.iter().flat_map(<[&String; 2]>::from) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
}

/// The type of an event that a customer may publish; else what is wrong with it.
pub(crate) fn event_type(text: String) -> Result<EventType, String> {
    match EventType::parse(text) {
        Ok(found) if found.is_operational() => {
            Err(format!("is invalid: {OPERATIONAL}* is what Triggerline itself publishes"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is invalid: {error}")),
    }
}

fn check_text(pointer: &str, text: &str) -> Result<(), Problem> {
    fault_of_text(text).map_or(Ok(()), |told| Err(Problem::field(pointer, told)))
}

/// What is wrong with a text that is to travel with an event, if anything is.
pub(crate) fn fault_of_text(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Some(format!("is 1 to {MAX_TEXT_BYTES} bytes long; this one has {}", text.len()));
    }
    // They travel as headers, where a line break would end one.
    text.chars().any(char::is_control).then(|| "has no control characters".to_owned())
}

/// What is wrong with how deep a payload nests, if anything is.
pub(crate) fn fault_of_depth(payload: &[u8]) -> Option<String> {
    (depth(payload) > MAX_DEPTH)
        .then(|| format!("nests arrays and objects deeper than {MAX_DEPTH} levels"))
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

/// An instant as a producer writes it.
pub(crate) fn instant(pointer: &str, text: &str) -> Result<OffsetDateTime, Problem> {
    read_instant(text).map_err(|told| Problem::field(pointer, told))
}

/// As [`instant`], with what is wrong where there is no pointer to its place.
pub(crate) fn read_instant(text: &str) -> Result<OffsetDateTime, String> {
    parse_instant(text).map_err(|_| {
        format!("is {text:?}; an instant is RFC 3339, such as 2026-11-23T13:05:07.123Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(body: &str) -> Result<Event, Problem> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let admitted = Draft::from_json(&body, None)?.admit()?;
        let at = OffsetDateTime::UNIX_EPOCH;
        Ok(admitted.into_event(CustomerId::new(), EventId::new(), at, None))
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
    fn a_fingerprint_tells_events_apart_and_nothing_else() {
        let fingerprint = |body: &str| {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let trace = EventId::new().to_string();
            let mut hash = Sha256::new();
            Draft::from_json(&body, Some(trace)).unwrap().admit().unwrap().fingerprint(&mut hash);
            hash.finalize()
        };
        let event = fingerprint(r#"{"event_type":"a","payload":{"n": 1}}"#);
        assert_eq!(event, fingerprint(r#"{"payload":{"n": 1}, "source":"api", "event_type":"a"}"#));
        for other in [
            r#"{"event_type":"b","payload":{"n": 1}}"#,
            r#"{"event_type":"a","payload":{"n":1}}"#,
            r#"{"event_type":"a","payload":{"n": 1},"source":"b"}"#,
            r#"{"event_type":"a","payload":{"n": 1},"subject":"b"}"#,
            r#"{"event_type":"a","payload":{"n": 1},"occurred_at":"2026-11-23T00:00:00Z"}"#,
        ] {
            assert_ne!(event, fingerprint(other), "{other}");
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
