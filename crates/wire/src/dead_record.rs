//! A record that nobody here can read, kept on `events.dlq`: its key, value and headers
//! as they were found, and beside them where it stood and what is wrong with it.

use std::borrow::Cow;

use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::format_instant;

use crate::Record;

/// Where a record stood.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
}

pub fn encode(
    found: &Record,
    origin: Origin<'_>,
    read_by: &str,
    cause: &str,
    at: OffsetDateTime,
) -> Record {
    let mut record = found.clone();
    let mut push = |name: &'static str, value: String| {
        record.headers.push((Cow::Borrowed(name), Bytes::from(value)));
    };
    push("tl_dead_letter_reason", cause.to_owned());
    push("tl_dead_letter_at", format_instant(at));
    push("tl_dead_letter_group", read_by.to_owned());
    push("tl_source_topic", origin.topic.to_owned());
    push("tl_source_partition", origin.partition.to_string());
    push("tl_source_offset", origin.offset.to_string());
    record
}
