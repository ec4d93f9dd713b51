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

/// Any RFC 3339 instant, at any offset; kept to the millisecond.
pub fn parse_instant(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|instant| truncate_to_millis(instant.to_offset(time::UtcOffset::UTC)))
}

/// The same instant without what is finer than a millisecond.
pub fn truncate_to_millis(instant: OffsetDateTime) -> OffsetDateTime {
    instant.replace_nanosecond(u32::from(instant.millisecond()) * 1_000_000).unwrap_or(instant)
}

/// Milliseconds since the Unix epoch.
pub fn millis(instant: OffsetDateTime) -> i64 {
    instant.unix_timestamp() * 1_000 + i64::from(instant.millisecond())
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
    fn millis_counts_from_the_epoch() {
        assert_eq!(millis(parse_instant("1970-01-01T00:00:01.005Z").unwrap()), 1_005);
        assert_eq!(millis(parse_instant("1969-12-31T23:59:59.500Z").unwrap()), -500);
    }
}
