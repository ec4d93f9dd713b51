//! An event on the `events` topic.
//!
//! | Header | Holds |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | the event id (UUIDv7) |
//! | `ce_type` | the event type |
//! | `ce_source` | where it happened |
//! | `ce_subject` | what it happened to; absent where the producer said nothing |
//! | `ce_time` | when it happened (RFC 3339, ms) |
//! | `ce_…` | any other CloudEvents attribute that the producer gave |
//! | `content-type` | `application/json` |
//! | `traceparent` | W3C trace context; absent where the producer sent none |
//! | `tl_customer_id` | whose it is (UUIDv7); also the record's key |
//! | `tl_quarantined` | why its schema doesn't allow it, while it is held back; absent otherwise |
//! | `tl_received_at` | when the gateway received it (RFC 3339, ms) |

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use triggerline_types::{Event, EventType, format_instant};

use crate::record::{DecodeError, Record, invalid};

pub(crate) const ID: &str = "ce_id";
const SPEC_VERSION: &str = "ce_specversion";
const TYPE: &str = "ce_type";
const SOURCE: &str = "ce_source";
const SUBJECT: &str = "ce_subject";
const TIME: &str = "ce_time";
/// What has a place of its own in [`Event`].
const OWN: [&str; 6] = [SPEC_VERSION, ID, TYPE, SOURCE, SUBJECT, TIME];
const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const TRACEPARENT: &str = "traceparent";
pub(crate) const CUSTOMER_ID: &str = "tl_customer_id";
const QUARANTINED: &str = "tl_quarantined";
const RECEIVED_AT: &str = "tl_received_at";

pub fn encode(event: &Event) -> Record {
    let mut record =
        Record { key: Bytes::from(event.customer_id.to_string()), ..headers_and_value(event) };
    record.headers.shrink_to_fit();
    record
}

/// The part of an event that it has wherever it travels.
pub(crate) fn headers_and_value(event: &Event) -> Record {
    let mut record =
        Record { key: Bytes::new(), headers: Vec::with_capacity(16), value: event.payload.clone() };
    record.push(SPEC_VERSION, "1.0");
    record.push_display(ID, event.id);
    record.push_display(TYPE, &event.event_type);
    record.push(SOURCE, event.source.clone());
    if let Some(subject) = &event.subject {
        record.push(SUBJECT, subject.clone());
    }
    record.push(TIME, format_instant(event.occurred_at));
    for (name, value) in &event.extensions {
        let name = Cow::Owned(format!("{PREFIX}{name}"));
        record.headers.push((name, Bytes::from(value.clone())));
    }
    record.push(CONTENT_TYPE, "application/json");
    if let Some(traceparent) = &event.traceparent {
        record.push(TRACEPARENT, traceparent.clone());
    }
    record.push_display(CUSTOMER_ID, event.customer_id);
    record.push(RECEIVED_AT, format_instant(event.received_at));
    if let Some(why) = &event.quarantined {
        record.push(QUARANTINED, why.clone());
    }
    record
}

/// Reads an event. Its payload is taken as it is, not parsed.
pub fn decode(record: &Record) -> Result<Event, DecodeError> {
    let event_type = record.required(TYPE)?;
    let event_type = EventType::parse(event_type).map_err(|why| invalid(TYPE, event_type, why))?;
    let received_at = record.instant(RECEIVED_AT)?.ok_or(DecodeError::Missing(RECEIVED_AT))?;
    Ok(Event {
        id: record.parse(ID)?,
        customer_id: record.parse(CUSTOMER_ID)?,
        event_type,
        source: record.required(SOURCE)?.to_owned(),
        subject: record.text(SUBJECT)?.map(str::to_owned),
        occurred_at: record.instant(TIME)?.unwrap_or(received_at),
        extensions: extensions(record),
        received_at,
        traceparent: record.text(TRACEPARENT)?.map(str::to_owned),
        quarantined: record.text(QUARANTINED)?.map(str::to_owned),
        payload: record.value.clone(),
    })
}

/// What isn't text can't have been written by us; it is left out.
fn extensions(record: &Record) -> BTreeMap<String, String> {
    let others = record.headers.iter().filter(|(name, _)| !OWN.contains(&&**name));
    let texts = others.filter_map(|(name, value)| {
        let name = name.strip_prefix(PREFIX)?;
        Some((name.to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
    });
    texts.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    pub(crate) fn sample() -> Event {
        Event {
            id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            customer_id: "01890a5d-0000-7000-8000-000000000001".parse().unwrap(),
            event_type: EventType::parse("order.created").unwrap(),
            source: "shop".to_owned(),
            subject: Some("order/17".to_owned()),
            occurred_at: parse_instant("2026-11-23T13:05:07Z").unwrap(),
            received_at: parse_instant("2026-11-23T13:05:07.123Z").unwrap(),
            extensions: BTreeMap::new(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            quarantined: None,
            payload: Bytes::from_static(b"{\"total\": 1e2, \"total\":7}"),
        }
    }

    fn lines(record: &Record) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        record.headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect()
    }

    #[test]
    fn golden() {
        let record = encode(&sample());
        assert_eq!(record.key, "01890a5d-0000-7000-8000-000000000001");
        assert_eq!(record.value, sample().payload, "the payload passes through byte for byte");
        assert_eq!(
            lines(&record),
            [
                "ce_specversion: 1.0",
                "ce_id: 01890a5d-ac96-774b-bcce-b302099a8057",
                "ce_type: order.created",
                "ce_source: shop",
                "ce_subject: order/17",
                "ce_time: 2026-11-23T13:05:07.000Z",
                "content-type: application/json",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "tl_customer_id: 01890a5d-0000-7000-8000-000000000001",
                "tl_received_at: 2026-11-23T13:05:07.123Z",
            ]
        );
        assert_eq!(decode(&record), Ok(sample()));
    }

    #[test]
    fn extensions_travel_as_attributes() {
        let extensions = [("dataschema", "/s"), ("tenant", "ü")];
        let extensions = extensions.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let event = Event { extensions: extensions.into(), ..sample() };
        assert_eq!(encode(&event).text("ce_tenant"), Ok(Some("ü")));
        assert_eq!(decode(&encode(&event)), Ok(event));
    }

    #[test]
    fn a_quarantined_event_says_why() {
        let held = Event { quarantined: Some("/payload is wrong".to_owned()), ..sample() };
        assert_eq!(encode(&held).text(QUARANTINED), Ok(Some("/payload is wrong")));
        assert_eq!(decode(&encode(&held)), Ok(held));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let without = |name: &str| {
            let mut record = encode(&sample());
            record.headers.retain(|(found, _)| found != name);
            decode(&record)
        };
        let with = |name: &'static str, value: &'static [u8]| {
            let mut record = encode(&sample());
            record.push(name, value);
            decode(&record).unwrap_err().to_string()
        };
        for name in ["ce_id", "ce_type", "ce_source", "tl_customer_id", "tl_received_at"] {
            assert!(
                matches!(without(name), Err(DecodeError::Missing(missing)) if missing == name),
                "{name}"
            );
        }
        for name in ["ce_subject", "ce_time", "traceparent"] {
            assert!(without(name).is_ok(), "{name} is optional");
        }
        for (name, value, told) in [
            ("ce_id", &b"17"[..], "header ce_id is \"17\""),
            ("ce_type", b"a b", "found ' ' at byte 1"),
            ("tl_received_at", b"yesterday", "header tl_received_at is \"yesterday\""),
            ("ce_source", b"\xff\xfe", "invalid utf-8"),
        ] {
            let error = with(name, value);
            assert!(error.contains(told), "{name}: {error}");
        }
    }
}
