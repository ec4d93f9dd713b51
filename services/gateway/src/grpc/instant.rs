//! Instants as protobuf has them.

use prost_types::Timestamp;
use time::OffsetDateTime;
use triggerline_types::{check_instant, millis};

/// To the millisecond.
pub(super) fn to_timestamp(instant: OffsetDateTime) -> Timestamp {
    let ms = millis(instant);
    Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

/// `None` where it is none, or none that we can keep.
pub(super) fn from_timestamp(timestamp: &Timestamp) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    let instant = OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok()?;
    instant.replace_nanosecond(nanos).ok().and_then(check_instant)
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    #[test]
    fn an_instant_comes_back_and_what_is_none_is_refused() {
        for text in ["2026-11-23T13:05:07.123Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"]
        {
            let instant = parse_instant(text).unwrap();
            assert_eq!(from_timestamp(&to_timestamp(instant)), Some(instant), "{text}");
        }
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(from_timestamp(&Timestamp { seconds, nanos }), None, "{seconds}.{nanos}");
        }
    }
}
