//! CloudEvents 1.0 over HTTP (HTTP Protocol Binding v1.0.2): structured mode, where the body is
//! the event, and binary mode, where the body is its data and the rest is in `ce-` headers.
//!
//! | CloudEvents | Here |
//! |---|---|
//! | `type` | `event_type` |
//! | `source`, `subject`, `time` | `source`, `subject`, `occurred_at` |
//! | `data`, or `data_base64` whose content is JSON | `payload`; `null` where there is none |
//! | `traceparent` (extension) | the trace context |
//! | `dataschema` and extensions | `extensions`, as text; passed on to receivers |
//! | `id` | checked, not kept: an event's id is ours, and the producer's belongs in `Idempotency-Key` |
//!
//! Pure: from headers and bytes to a [`Draft`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::admit::{Draft, instant};
use crate::json;
use crate::problem::{Kind, Problem};

const NULL: Bytes = Bytes::from_static(b"null");

/// An event in structured mode.
pub(crate) fn structured(body: &Bytes, traceparent: Option<String>) -> Result<Draft, Problem> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = json::read(body)?;
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(raw) => serde_json::from_str::<Option<String>>(raw.get())
            .map_err(|_| Problem::at(Kind::MalformedBody, format!("/{name}"), "is not a string")),
    };
    if let Some(name) = members.keys().find(|name| !is_attribute_name(name)) {
        let told = "is not the name of a CloudEvents attribute: lower-case letters and digits only";
        return Err(Problem::at(Kind::MalformedBody, format!("/{name}"), told));
    }
    let attributes = Attributes {
        specversion: text("specversion")?,
        id: text("id")?,
        source: text("source")?,
        kind: text("type")?,
        subject: text("subject")?,
        time: text("time")?,
        extensions: extensions(&members)?,
        place: |name| format!("/{name}"),
    };
    let content_type = text("datacontenttype")?;
    let payload = match (members.get("data"), text("data_base64")?) {
        (Some(_), Some(_)) => {
            let told = "comes beside data; an event has one of them (JSON Event Format §3.1)";
            return Err(Problem::at(Kind::MalformedBody, "/data_base64", told));
        }
        (Some(raw), None) => {
            check_json_type(content_type.as_deref())?;
            body.slice_ref(raw.get().as_bytes())
        }
        (None, Some(encoded)) => {
            check_json_type(content_type.as_deref())?;
            let decoded = STANDARD.decode(encoded).map_err(|error| {
                Problem::at(Kind::MalformedBody, "/data_base64", format!("is not base64: {error}"))
            })?;
            checked("/data_base64", decoded.into())?
        }
        (None, None) => NULL,
    };
    attributes.draft(text("traceparent")?.or(traceparent), payload)
}

/// Whether a request is an event in binary mode (§3.1: it has the `ce-` headers).
pub(crate) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// An event in binary mode. The content type has been seen to be JSON.
pub(crate) fn binary(
    headers: &HeaderMap,
    body: &Bytes,
    traceparent: Option<String>,
) -> Result<Draft, Problem> {
    let text = |name: &str| {
        let Some(value) = headers.get(format!("ce-{name}")) else {
            return Ok(None);
        };
        // §3.1.3.2: what isn't printable ASCII travels percent-encoded.
        let value = value.to_str().ok().map(|text| percent_decode_str(text).decode_utf8());
        if let Some(Ok(text)) = value {
            return Ok(Some(text.into_owned()));
        }
        let told = format!("The header ce-{name} is not percent-encoded UTF-8.");
        Err(Problem::new(Kind::InvalidParameter, told))
    };
    let names = headers.keys().filter_map(|name| name.as_str().strip_prefix("ce-"));
    let attributes = Attributes {
        specversion: text("specversion")?,
        id: text("id")?,
        source: text("source")?,
        kind: text("type")?,
        subject: text("subject")?,
        time: text("time")?,
        extensions: names
            .filter(|name| !OWN.contains(name))
            .map(|name| Ok((name.to_owned(), text(name)?.unwrap_or_default())))
            .collect::<Result<_, Problem>>()?,
        place: |name| format!("ce-{name}"),
    };
    let payload = if body.is_empty() { NULL } else { checked("", body.clone())? };
    attributes.draft(text("traceparent")?.or(traceparent), payload)
}

/// Attributes that have a place of their own, and what isn't one.
const OWN: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "data",
    "data_base64",
    "traceparent",
];

/// The attributes that have no place of their own: texts, whole numbers and truth values
/// (JSON Event Format §2.2). `null` is absent.
fn extensions(
    members: &BTreeMap<Cow<'_, str>, &RawValue>,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut extensions = BTreeMap::new();
    for (name, raw) in members.iter().filter(|(name, _)| !OWN.contains(&&***name)) {
        let value = match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => text,
            Ok(Value::Bool(truth)) => truth.to_string(),
            Ok(Value::Number(number)) if number.is_i64() => number.to_string(),
            Ok(Value::Null) => continue,
            _ => {
                let told = "is not a string, a whole number or a truth value";
                return Err(Problem::at(Kind::MalformedBody, format!("/{name}"), told));
            }
        };
        extensions.insert(name.clone().into_owned(), value);
    }
    Ok(extensions)
}

/// The context attributes that mean something here, wherever they stood.
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    extensions: BTreeMap<String, String>,
    /// What a caller would call the place of an attribute.
    place: fn(&str) -> String,
}

impl Attributes {
    fn draft(self, traceparent: Option<String>, payload: Bytes) -> Result<Draft, Problem> {
        let place = self.place;
        let required = |name: &str, value: Option<String>| {
            value.filter(|text| !text.is_empty()).ok_or_else(|| {
                let told = "is missing or empty; CloudEvents 1.0 requires it";
                Problem::field(place(name), told)
            })
        };
        let version = required("specversion", self.specversion)?;
        if version != "1.0" {
            let told = format!("is {version:?}; only \"1.0\" is supported");
            return Err(Problem::field(place("specversion"), told));
        }
        required("id", self.id)?;
        Ok(Draft {
            event_type: required("type", self.kind)?,
            source: Some(required("source", self.source)?),
            subject: self.subject,
            occurred_at: self.time.map(|text| instant(&place("time"), &text)).transpose()?,
            extensions: self.extensions,
            traceparent,
            payload,
        })
    }
}

fn checked(pointer: &str, payload: Bytes) -> Result<Bytes, Problem> {
    json::check(&payload)
        .map(|()| payload)
        .map_err(|error| Problem::at(Kind::MalformedBody, pointer, format!("is not JSON: {error}")))
}

/// JSON Event Format §3.1: where `datacontenttype` is absent, data is JSON.
fn check_json_type(content_type: Option<&str>) -> Result<(), Problem> {
    match content_type {
        Some(text) if !is_json(text) => {
            let told = format!("is {text:?}; a payload is JSON, so it must be application/json");
            Err(Problem::at(Kind::UnsupportedMediaType, "/datacontenttype", told))
        }
        _ => Ok(()),
    }
}

/// `application/json`, or anything that ends in `+json` (RFC 6839 §3.1).
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// CloudEvents §3.1: lower-case letters and digits. `data_base64` is the JSON format's own.
fn is_attribute_name(name: &str) -> bool {
    name == "data_base64"
        || (!name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Result<Draft, Problem> {
        structured(&Bytes::copy_from_slice(text.as_bytes()), None)
    }

    /// The required attributes, with `more` beside them.
    fn event(more: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"17","source":"/shop","type":"a.b"{more}}}"#)
    }

    #[test]
    fn a_structured_event_is_read() {
        let draft = of_text(&event(
            r#","subject":"s","time":"2026-11-23T13:05:07Z","datacontenttype":"application/json",
               "traceparent":"00-x","myext":7,"data": {"n" : 1.0}"#,
        ))
        .unwrap();
        assert_eq!((draft.event_type.as_str(), draft.source.as_deref()), ("a.b", Some("/shop")));
        assert_eq!(draft.subject.as_deref(), Some("s"));
        assert_eq!(draft.occurred_at.unwrap().unix_timestamp(), 1_795_439_107);
        assert_eq!(draft.traceparent.as_deref(), Some("00-x"));
        assert_eq!(draft.payload, r#"{"n" : 1.0}"#, "byte for byte");
        assert_eq!(draft.extensions, [("myext".to_owned(), "7".to_owned())].into());
        assert_eq!(of_text(&event("")).unwrap().payload, "null");
        let encoded = event(r#","data_base64":"eyJuIjoxfQ==""#);
        assert_eq!(of_text(&encoded).unwrap().payload, r#"{"n":1}"#);
    }

    #[test]
    fn what_is_wrong_with_a_structured_event_is_named() {
        for (text, kind, pointer) in [
            ("[".to_owned(), Kind::MalformedBody, ""),
            (r#"{"specversion":"1.0"}"#.to_owned(), Kind::InvalidField, "/id"),
            (event("").replace("1.0", "0.3"), Kind::InvalidField, "/specversion"),
            (event("").replace("\"17\"", "\"\""), Kind::InvalidField, "/id"),
            (event("").replace("\"17\"", "17"), Kind::MalformedBody, "/id"),
            (event(r#","time":"now""#), Kind::InvalidField, "/time"),
            (event(r#","Bad-Name":1"#), Kind::MalformedBody, "/Bad-Name"),
            (event(r#","myext":{}"#), Kind::MalformedBody, "/myext"),
            (
                event(r#","datacontenttype":"text/xml","data":"<a/>""#),
                Kind::UnsupportedMediaType,
                "/datacontenttype",
            ),
            (event(r#","data":1,"data_base64":"MQ==""#), Kind::MalformedBody, "/data_base64"),
            (event(r#","data_base64":"?""#), Kind::MalformedBody, "/data_base64"),
            (event(r#","data_base64":"Pz8=""#), Kind::MalformedBody, "/data_base64"),
        ] {
            let problem = of_text(&text).unwrap_err();
            assert_eq!((problem.kind, &*problem.faults[0].pointer), (kind, pointer), "{text}");
        }
    }

    #[test]
    fn a_binary_event_is_read_from_its_headers() {
        let mut headers = HeaderMap::new();
        assert!(!is_binary(&headers));
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "17"),
            ("ce-source", "/shop%20%C3%BC"),
            ("ce-type", "a.b"),
            ("ce-myext", "x"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert!(is_binary(&headers));
        let draft = binary(&headers, &Bytes::from_static(b" [1] "), None).unwrap();
        assert_eq!(draft.source.as_deref(), Some("/shop ü"));
        assert_eq!(draft.payload, " [1] ");
        assert_eq!(draft.extensions, [("myext".to_owned(), "x".to_owned())].into());
        assert_eq!(binary(&headers, &Bytes::new(), None).unwrap().payload, "null");
        assert!(binary(&headers, &Bytes::from_static(b"<a/>"), None).is_err());
        headers.insert("ce-source", "%FF".parse().unwrap());
        let problem = binary(&headers, &Bytes::new(), None).unwrap_err();
        assert!(problem.detail.contains("ce-source"), "{problem:?}");
        headers.remove("ce-source");
        let problem = binary(&headers, &Bytes::new(), None).unwrap_err();
        assert!(problem.detail.starts_with("ce-source"), "{problem:?}");
    }

    #[test]
    fn json_has_many_names() {
        for (text, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.shop.order+json", true),
            ("text/plain", false),
            ("application/jsonish", false),
        ] {
            assert_eq!(is_json(text), json, "{text}");
        }
    }
}
