//! A record as a store keeps it: its headers and its value, as protobuf. The key is not kept; whoever
//! decodes what the record holds doesn't look at it.

use bytes::Bytes;
use prost::Message as _;

use crate::record::{DecodeError, Record};

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

pub fn encode(record: &Record) -> Vec<u8> {
    let headers = record.headers.iter();
    let headers =
        headers.map(|(name, value)| Header { name: name.to_string(), value: value.clone() });
    Stored { headers: headers.collect(), value: record.value.clone() }.encode_to_vec()
}

pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let stored = Stored::decode(bytes).map_err(|error| DecodeError::Value(error.to_string()))?;
    let headers = stored.headers.into_iter().map(|header| (header.name.into(), header.value));
    Ok(Record { key: Bytes::new(), headers: headers.collect(), value: stored.value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut record = Record { value: Bytes::from_static(b"{}"), ..Record::default() };
        record.push("a", "1");
        record.push("a", "\u{fc}");
        let bytes = encode(&record);
        assert_eq!(bytes, b"\n\x06\n\x01a\x12\x011\n\x07\n\x01a\x12\x02\xc3\xbc\x12\x02{}");
        assert_eq!(decode(&bytes).unwrap(), record);
        assert!(decode(b"\x0a\xff").is_err());
    }
}
