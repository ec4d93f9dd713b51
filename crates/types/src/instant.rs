//! Instants as Triggerline writes them: RFC 3339 in UTC, to the millisecond.
//!
//! One precision everywhere, so that what a producer was told, what Kafka holds and
//! what a store gives back compare equal.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// `2026-11-23T13:05:07.123Z`
pub fn format_instant(instant: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    instant.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| instant.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an instant in RFC 3339, from the year 0000 to 9999 in UTC")]
pub struct InvalidInstant;

/// Any RFC 3339 instant, at any offset; kept to the millisecond. What [`format_instant`] could
/// not write again is refused.
pub fn parse_instant(text: &str) -> Result<OffsetDateTime, InvalidInstant> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(check_instant).ok_or(InvalidInstant)
}

/// The instant in UTC, to the millisecond; `None` outside of the years that RFC 3339 can write.
pub fn check_instant(instant: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = instant.checked_to_offset(time::UtcOffset::UTC)?;
    (0..=9999).contains(&utc.year()).then(|| truncate_to_millis(utc))
}

/// The same instant without what is finer than a millisecond.
pub fn truncate_to_millis(instant: OffsetDateTime) -> OffsetDateTime {
    instant.replace_nanosecond(u32::from(instant.millisecond()) * 1_000_000).unwrap_or(instant)
}

/// Milliseconds since the Unix epoch.
pub fn millis(instant: OffsetDateTime) -> i64 {
    instant.unix_timestamp() * 1_000 + i64::from(instant.millisecond())
}

/// The instant of so many milliseconds since the Unix epoch; `None` outside of the years that there
/// are instants for.
pub fn from_millis(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_round_trip_to_the_millisecond() {
        for (given, kept) in [
            ("2026-11-23T13:05:07.123Z", "2026-11-23T13:05:07.123Z"),
            ("2026-11-23T13:05:07Z", "2026-11-23T13:05:07.000Z"),
            ("2026-11-23T15:05:07.123999+02:00", "2026-11-23T13:05:07.123Z"),
        ] {
            assert_eq!(format_instant(parse_instant(given).unwrap()), kept, "{given}");
        }
    }

    #[test]
    fn what_could_not_be_written_again_is_refused() {
        for text in
            ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "yesterday", "2026-11-23"]
        {
            assert_eq!(parse_instant(text), Err(InvalidInstant), "{text}");
        }
        for text in ["9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00.000Z"] {
            assert_eq!(format_instant(parse_instant(text).unwrap()), text);
        }
    }

    #[test]
    fn millis_counts_from_the_epoch() {
        assert_eq!(millis(parse_instant("1970-01-01T00:00:01.005Z").unwrap()), 1_005);
        assert_eq!(millis(parse_instant("1969-12-31T23:59:59.500Z").unwrap()), -500);
    }
}
