//! Many events in one body: a JSON array of our envelopes, one envelope on each line (NDJSON),
//! or a CloudEvents batch. Pure: from bytes to a list in which each event is a draft or the
//! problem with it, so that a bad one never sinks the others.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::admit::Draft;
use crate::cloud_events;
use crate::json;
use crate::problem::{Kind, Problem};

/// Events in one batch.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// The largest body of a batch.
pub(crate) const MAX_BATCH_BYTES: usize = 5_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON array of envelopes.
    Array,
    /// One envelope a line; empty lines are passed over.
    Lines,
    /// A JSON array of CloudEvents (JSON Batch Format).
    CloudEvents,
}

pub(crate) type Items = Vec<Result<Draft, Problem>>;

/// Reads a batch. `traceparent` is the request's, for each event that has none of its own.
pub(crate) fn read(form: Form, body: &Bytes, traceparent: Option<&str>) -> Result<Items, Problem> {
    let pieces: Vec<Bytes> = match form {
        Form::Array | Form::CloudEvents => {
            let items: Vec<&RawValue> = json::read(body)?;
            items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect()
        }
        Form::Lines => body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| body.slice_ref(line))
            .collect(),
    };
    check_length(pieces.len())?;
    let traceparent = || traceparent.map(str::to_owned);
    let items = pieces.iter().map(|piece| match form {
        Form::Array | Form::Lines => Draft::from_json(piece, traceparent()),
        Form::CloudEvents => cloud_events::structured(piece, traceparent()),
    });
    Ok(items.collect())
}

pub(crate) fn check_length(events: usize) -> Result<(), Problem> {
    match events {
        0 => Err(Problem::at(Kind::MalformedBody, "", "The batch has no events.")),
        n if n > MAX_EVENTS => {
            let detail = format!("A batch has at most {MAX_EVENTS} events; this one has {n}.");
            Err(Problem::new(Kind::TooLarge, detail))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(form: Form, text: &str) -> Result<Items, Problem> {
        read(form, &Bytes::copy_from_slice(text.as_bytes()), None)
    }

    #[test]
    fn each_item_stands_for_itself() {
        let good = r#"{"event_type":"a","payload":{"n":1}}"#;
        let bad = r#"{"event_type":"a"}"#;
        let cloud = r#"{"specversion":"1.0","id":"1","source":"s","type":"a","data":{"n":1}}"#;
        for (form, text) in [
            (Form::Array, format!("[{good}, {bad} ,7,{good}]")),
            (Form::Lines, format!("{good}\r\n{bad}\n\n7\n{good}")),
            (Form::Lines, format!("\n{good}\n{bad}\n{{\"a\n {good} \n")),
            (Form::CloudEvents, format!("[{cloud},{bad},[],{cloud}]")),
        ] {
            let items = read_text(form, &text).unwrap();
            let good: Vec<bool> = items.iter().map(Result::is_ok).collect();
            assert_eq!(good, [true, false, false, true], "{text}");
            assert_eq!(items[3].as_ref().unwrap().payload, r#"{"n":1}"#);
        }
    }

    #[test]
    fn what_is_no_batch_is_refused_as_a_whole() {
        let many = |n: usize| format!("[{}]", vec!["1"; n].join(","));
        for (form, text, kind) in [
            (Form::Array, "[]".to_owned(), Some(Kind::MalformedBody)),
            (Form::Array, "{}".to_owned(), Some(Kind::MalformedBody)),
            (Form::Array, "[1".to_owned(), Some(Kind::MalformedBody)),
            (Form::Lines, "\n \n".to_owned(), Some(Kind::MalformedBody)),
            (Form::Array, many(MAX_EVENTS), None),
            (Form::Array, many(MAX_EVENTS + 1), Some(Kind::TooLarge)),
        ] {
            assert_eq!(read_text(form, &text).err().map(|problem| problem.kind), kind);
        }
    }
}
