//! Reading JSON that came in, with an error that names the place.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use crate::problem::{Kind, Problem};

/// Reads all of `body` as one `T`.
pub(crate) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| malformed(&pointer(error.path()), error.inner()))?;
    json.end().map_err(|error| malformed("", &error))?;
    Ok(read)
}

/// Whether all of `body` is one JSON text. No tree is built.
pub(crate) fn check(body: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<&RawValue>(body).map(|_| ())
}

/// A struct that comes as a JSON object, and as nothing else: serde takes one from an array as
/// well, member by member, which no document says.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

fn malformed(pointer: &str, error: &serde_json::Error) -> Problem {
    let detail = if error.is_data() {
        error.to_string()
    } else {
        format!("is not well-formed JSON: {error}")
    };
    Problem::at(Kind::MalformedBody, pointer, detail)
}

/// A JSON Pointer (RFC 6901). What serde lost sight of ends it.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_place_is_a_json_pointer() {
        type Numbers = BTreeMap<String, Vec<u8>>;
        for (body, pointer) in [
            (r#"{"a":[1,"2"]}"#, "/a/1"),
            (r#"{"a/b~c":[null]}"#, "/a~1b~0c/0"),
            (r#"{"a":[1]"#, ""),
            (r#"{"a":[1]} {}"#, ""),
            ("7", ""),
        ] {
            let problem = read::<Numbers>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, Kind::MalformedBody);
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
        }
        assert_eq!(read::<Numbers>(br#" {"a":[1]} "#).unwrap()["a"], [1]);
    }

    #[test]
    fn an_object_is_no_array() {
        #[derive(Deserialize)]
        struct Point {
            x: u8,
            next: Option<Object<Box<Point>>>,
        }
        let Object(point) = read::<Object<Point>>(br#"{"x":1,"next":{"x":2}}"#).unwrap();
        assert_eq!((point.x, point.next.unwrap().0.x), (1, 2));
        for (body, pointer) in [
            ("[1]", ""),
            (r#"{"x":1,"next":[2]}"#, "/next"),
            (r#"{"x":1,"next":{"x":"2"}}"#, "/next/x"),
        ] {
            let problem = read::<Object<Point>>(body.as_bytes()).err().unwrap();
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
        }
    }
}
