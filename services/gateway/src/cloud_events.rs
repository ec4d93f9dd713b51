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
use std::collections::btree_map::Entry;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fluent_uri::{Uri, UriRef};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::admit::{self, Draft, fault_of_depth, fault_of_text, read_instant};
use crate::json;
use crate::problem::{Kind, Problem, cut};

const NULL: Bytes = Bytes::from_static(b"null");
/// The longest name of an attribute: each becomes a header.
pub(crate) const MAX_NAME_BYTES: usize = 64;
const NO_NAME: &str =
    "is not the name of a CloudEvents attribute: 1 to 64 lower-case letters and digits";
/// The extensions hold it, because it has no other place here.
const DATASCHEMA: &str = "dataschema";
/// Members in structured mode that are no attributes.
const DATA: [&str; 2] = ["data", "data_base64"];

/// An event in structured mode.
pub(crate) fn structured(body: &Bytes, traceparent: Option<String>) -> Result<Draft, Problem> {
    let Members(members) = json::read(body)?;
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(raw) => serde_json::from_str::<Option<String>>(raw.get())
            .map_err(|_| Problem::at(Kind::MalformedBody, format!("/{name}"), "is not a string")),
    };
    let is_name = |name: &str| DATA.contains(&name) || is_attribute_name(name);
    if let Some(name) = members.keys().find(|name| !is_name(name)) {
        return Err(Problem::at(Kind::MalformedBody, format!("/{name}"), NO_NAME));
    }
    let attributes = Attributes {
        specversion: text("specversion")?,
        id: text("id")?,
        source: text("source")?,
        kind: text("type")?,
        subject: text("subject")?,
        time: text("time")?,
        extensions: extensions(&members)?,
        fault: |name, told| Problem::field(format!("/{name}"), told),
    };
    let content_type = text("datacontenttype")?;
    let (pointer, payload) = match (members.get("data"), text("data_base64")?) {
        (Some(_), Some(_)) => {
            let told = "comes beside data; an event has one of them (JSON Event Format §3.1)";
            return Err(Problem::at(Kind::MalformedBody, "/data_base64", told));
        }
        (Some(raw), None) => {
            check_json_type(content_type.as_deref())?;
            ("/data", body.slice_ref(raw.get().as_bytes()))
        }
        (None, Some(encoded)) => {
            check_json_type(content_type.as_deref())?;
            let decoded = STANDARD.decode(encoded).map_err(|error| {
                Problem::at(Kind::MalformedBody, "/data_base64", format!("is not base64: {error}"))
            })?;
            ("/data_base64", checked("/data_base64", decoded.into())?)
        }
        (None, None) => ("/data", NULL),
    };
    check_depth(pointer, &payload)?;
    attributes.draft(text("traceparent")?.or(traceparent), payload)
}

/// The members of a structured event, each once: of two, readers take one or the other.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, _>()? {
                    match members.entry(name) {
                        Entry::Vacant(place) => place.insert(value),
                        Entry::Occupied(other) => {
                            let told = format!("duplicate field `{}`", other.key());
                            return Err(A::Error::custom(told));
                        }
                    };
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(OfMap)
    }
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
        let mut values = headers.get_all(format!("ce-{name}")).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(in_header(name, "comes more than once".to_owned()));
        }
        // §3.1.3.2: what isn't printable ASCII travels percent-encoded.
        let value = value.to_str().ok().map(|text| percent_decode_str(text).decode_utf8());
        if let Some(Ok(text)) = value {
            return Ok(Some(text.into_owned()));
        }
        Err(in_header(name, "is not percent-encoded UTF-8".to_owned()))
    };
    let names = headers.keys().filter_map(|name| name.as_str().strip_prefix("ce-"));
    let mut extensions = BTreeMap::new();
    for name in names.filter(|name| !OWN.contains(name)) {
        if !is_attribute_name(name) {
            return Err(in_header(name, NO_NAME.to_owned()));
        }
        extensions.insert(name.to_owned(), text(name)?.unwrap_or_default());
    }
    let attributes = Attributes {
        specversion: text("specversion")?,
        id: text("id")?,
        source: text("source")?,
        kind: text("type")?,
        subject: text("subject")?,
        time: text("time")?,
        extensions,
        fault: in_header,
    };
    let payload = if body.is_empty() { NULL } else { checked("", body.clone())? };
    check_depth("", &payload)?;
    attributes.draft(text("traceparent")?.or(traceparent), payload)
}

/// A fault in a header, which no JSON Pointer can name: the detail begins with it.
fn in_header(name: &str, told: String) -> Problem {
    Problem::parameter(&format!("ce-{name}"), cut(told))
}

/// Attributes that have a place of their own. (In binary mode `Content-Type` is the content type;
/// a header `ce-datacontenttype`, which some write beside it, means nothing.)
const OWN: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "traceparent"];

/// CloudEvents §3.1 "Integer": what 32 bits with a sign can hold.
fn is_integer(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// The attributes that have no place of their own: texts, whole numbers and truth values
/// (JSON Event Format §2.2). `null` is absent.
fn extensions(
    members: &BTreeMap<Cow<'_, str>, &RawValue>,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut extensions = BTreeMap::new();
    for (name, raw) in members {
        if OWN.contains(&&**name) || DATA.contains(&&**name) {
            continue;
        }
        let value = match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => text,
            Ok(Value::Bool(truth)) => truth.to_string(),
            Ok(Value::Number(number)) if is_integer(&number) => number.to_string(),
            Ok(Value::Null) => continue,
            _ => {
                let told = "is not a string, a whole number of 32 bits or a truth value";
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
    /// A fault of an attribute, at the place that a caller knows it by.
    fault: fn(&str, String) -> Problem,
}

impl Attributes {
    /// Checks what CloudEvents asks of attributes, and what [`Draft::admit`] asks of them, which
    /// would name other places.
    fn draft(self, traceparent: Option<String>, payload: Bytes) -> Result<Draft, Problem> {
        let fault = self.fault;
        let required = |name: &str, value: Option<String>| {
            value.filter(|text| !text.is_empty()).ok_or_else(|| {
                fault(name, "is missing or empty; CloudEvents 1.0 requires it".to_owned())
            })
        };
        let version = required("specversion", self.specversion)?;
        if version != "1.0" {
            let told = format!("is {version:?}; only \"1.0\" is supported");
            return Err(fault("specversion", told));
        }
        required("id", self.id)?;
        let source = required("source", self.source)?;
        UriRef::parse(source.as_str()).map_err(|error| {
            fault("source", format!("is not a URI-reference (RFC 3986 §4.1): {error}"))
        })?;
        let event_type = required("type", self.kind)?;
        admit::event_type(event_type.clone()).map_err(|told| fault("type", told))?;
        if let Some(text) = self.extensions.get(DATASCHEMA) {
            Uri::parse(text.as_str()).map_err(|error| {
                fault(DATASCHEMA, format!("is not an absolute URI (RFC 3986 §3): {error}"))
            })?;
        }
        let texts = [("source", Some(&source)), ("subject", self.subject.as_ref())];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let extensions = self.extensions.iter().map(|(name, text)| (name.as_str(), text));
        for (name, text) in texts.chain(extensions) {
            if let Some(told) = fault_of_text(text) {
                return Err(fault(name, told));
            }
        }
        let occurred_at = self.time.map(|text| read_instant(&text)).transpose();
        Ok(Draft {
            event_type,
            source: Some(source),
            subject: self.subject,
            occurred_at: occurred_at.map_err(|told| fault("time", told))?,
            extensions: self.extensions,
            traceparent,
            payload,
        })
    }
}

fn check_depth(pointer: &str, payload: &[u8]) -> Result<(), Problem> {
    fault_of_depth(payload).map_or(Ok(()), |told| Err(Problem::field(pointer, told)))
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

/// CloudEvents §3.1: lower-case letters and digits. It recommends 20 of them at most; some
/// extensions have more.
fn is_attribute_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !DATA.contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
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
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        let long = format!("/{}", "x".repeat(65));
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
            (event("").replace("a.b", "a b"), Kind::InvalidField, "/type"),
            (event("").replace("/shop", "http://shop:port/"), Kind::InvalidField, "/source"),
            (event("").replace("/shop", "my shop"), Kind::InvalidField, "/source"),
            (event("").replace("/shop", "/käse"), Kind::InvalidField, "/source"),
            (event("").replace("/shop", "/100%"), Kind::InvalidField, "/source"),
            (event("").replace("/shop", &"x".repeat(1_025)), Kind::InvalidField, "/source"),
            (event(r#","subject":"""#), Kind::InvalidField, "/subject"),
            (event(r#","myext":"a\nb""#), Kind::InvalidField, "/myext"),
            (event(r#","dataschema":"""#), Kind::InvalidField, "/dataschema"),
            (event(r#","dataschema":"/relative""#), Kind::InvalidField, "/dataschema"),
            (event(r#","myext":2147483648"#), Kind::MalformedBody, "/myext"),
            (event(r#","myext":1.0"#), Kind::MalformedBody, "/myext"),
            (event(r#","id":"18""#), Kind::MalformedBody, ""),
            (event(r#","myext":1,"my\u0065xt":1"#), Kind::MalformedBody, ""),
            (event(r#","my_ext":1"#), Kind::MalformedBody, "/my_ext"),
            (event(&format!(r#","{0}":1"#, "x".repeat(65))), Kind::MalformedBody, &long),
            (event(&format!(r#","data":{deep}"#)), Kind::InvalidField, "/data"),
            (
                event(&format!(r#","data_base64":"{}""#, STANDARD.encode(&deep))),
                Kind::InvalidField,
                "/data_base64",
            ),
        ] {
            let problem = of_text(&text).unwrap_err();
            assert_eq!((problem.kind, &*problem.faults[0].pointer), (kind, pointer), "{text}");
        }
    }

    #[test]
    fn what_cloud_events_allow_is_taken() {
        for more in [
            r#","dataschema":"https://example.com/s.json#/$defs/a""#,
            r#","dataschema":"urn:example:schema""#,
            r#","a":-2147483648,"b":2147483647,"c":true,"d":null,"20characterslongname":"x""#,
        ] {
            of_text(&event(more)).unwrap().admit().unwrap();
        }
        for source in ["shop", "/a%20b", "https://example.com/a?b#c", "urn:uuid:6e8bc430", "?", "#"]
        {
            let draft = of_text(&event("").replace("/shop", source)).unwrap();
            assert_eq!(draft.source.as_deref(), Some(source));
            draft.admit().unwrap();
        }
    }

    const BINARY: [(&str, &str); 6] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "17"),
        ("ce-source", "/shop%2520x"),
        ("ce-type", "a.b"),
        ("ce-subject", "%C3%BC 1"),
        ("ce-myext", "x"),
    ];

    /// The headers of a good event, and others beside them or in their place.
    fn headers(others: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in BINARY.iter().chain(others) {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_binary_event_is_read_from_its_headers() {
        assert!(!is_binary(&HeaderMap::new()));
        // Some write it, though the binding has no such header.
        let headers = headers(&[("ce-datacontenttype", "application/json")]);
        assert!(is_binary(&headers));
        let draft = binary(&headers, &Bytes::from_static(b" [1] "), None).unwrap();
        assert_eq!(draft.source.as_deref(), Some("/shop%20x"), "decoded once");
        assert_eq!(draft.subject.as_deref(), Some("ü 1"));
        assert_eq!(draft.payload, " [1] ");
        assert_eq!(draft.extensions, [("myext".to_owned(), "x".to_owned())].into());
        assert_eq!(binary(&headers, &Bytes::new(), None).unwrap().payload, "null");
    }

    #[test]
    fn what_is_wrong_with_a_binary_event_is_named_by_its_header() {
        let refused = |headers: &HeaderMap| binary(headers, &Bytes::new(), None).unwrap_err();
        for (name, value) in [
            ("ce-specversion", "0.3"),
            ("ce-id", ""),
            ("ce-source", ""),
            ("ce-source", "%FF"),
            ("ce-source", "/a%20b"),
            ("ce-source", "/%C3%BC"),
            ("ce-type", "a b"),
            ("ce-subject", ""),
            ("ce-subject", "a%0Ab"),
            ("ce-time", "now"),
            ("ce-dataschema", "/relative"),
            ("ce-my-ext", "x"),
            ("ce-my_ext", "x"),
            ("ce-", "x"),
            ("ce-data", "x"),
        ] {
            let problem = refused(&headers(&[(name, value)]));
            assert_eq!(problem.kind, Kind::InvalidParameter, "{name}: {value}");
            assert!(problem.detail.starts_with(&format!("{name} ")), "{value}: {problem:?}");
            assert_eq!(problem.faults, [], "a header is at no JSON Pointer");
        }
        let mut twice = headers(&[]);
        twice.append("ce-myext", "y".parse().unwrap());
        assert_eq!(refused(&twice).detail, "ce-myext comes more than once");
        let mut without = headers(&[]);
        without.remove("ce-source");
        assert!(refused(&without).detail.starts_with("ce-source is missing"));
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        for (body, kind) in
            [(Bytes::from("<a/>"), Kind::MalformedBody), (Bytes::from(deep), Kind::InvalidField)]
        {
            let problem = binary(&headers(&[]), &body, None).unwrap_err();
            assert_eq!((problem.kind, &*problem.faults[0].pointer), (kind, ""));
        }
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
