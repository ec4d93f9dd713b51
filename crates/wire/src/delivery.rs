//! A delivery on `deliveries`, on a retry tier or, with its cause, on `deliveries.dlq`.
//!
//! The headers of its event (see [`crate::event`]) and, beside these:
//!
//! | Header | Holds |
//! |---|---|
//! | `tl_delivery_id` | UUIDv5 of event and subscription: the `webhook-id` |
//! | `tl_subscription_id` | also the record's key |
//! | `tl_subscription_revision` | the subscription as the matcher knew it |
//! | `tl_attempt` | the number of the attempt that is due, from 1 |
//! | `tl_not_before` | when it is due (RFC 3339, ms); absent: now |
//! | `tl_replay_id` | the replay that sends it again, if one does |
//! | `tl_dead_letter_reason`, `tl_dead_letter_at` | on the dead-letter topic only; ignored when read |

use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::{Delivery, Revision, format_instant};

use crate::event;
use crate::record::{DecodeError, Record};

const DELIVERY_ID: &str = "tl_delivery_id";
const SUBSCRIPTION_ID: &str = "tl_subscription_id";
const SUBSCRIPTION_REVISION: &str = "tl_subscription_revision";
const ATTEMPT: &str = "tl_attempt";
const NOT_BEFORE: &str = "tl_not_before";
const REPLAY_ID: &str = "tl_replay_id";
const DEAD_LETTER_REASON: &str = "tl_dead_letter_reason";
const DEAD_LETTER_AT: &str = "tl_dead_letter_at";

pub fn encode(delivery: &Delivery) -> Record {
    let mut record = event::headers_and_value(&delivery.event);
    record.key = Bytes::from(delivery.subscription_id.to_string());
    record.push_display(DELIVERY_ID, delivery.id);
    record.push_display(SUBSCRIPTION_ID, delivery.subscription_id);
    record.push_display(SUBSCRIPTION_REVISION, delivery.subscription_revision.0);
    record.push_display(ATTEMPT, delivery.attempt);
    if let Some(at) = delivery.not_before {
        record.push(NOT_BEFORE, format_instant(at));
    }
    if let Some(id) = delivery.replay_id {
        record.push_display(REPLAY_ID, id);
    }
    record
}

/// The record of a delivery that was given up, readable as a delivery again (redrive).
pub fn encode_dead_letter(delivery: &Delivery, reason: &str, at: OffsetDateTime) -> Record {
    let mut record = encode(delivery);
    record.push(DEAD_LETTER_REASON, reason.to_owned());
    record.push(DEAD_LETTER_AT, format_instant(at));
    record
}

pub fn decode(record: &Record) -> Result<Delivery, DecodeError> {
    Ok(Delivery {
        id: record.parse(DELIVERY_ID)?,
        subscription_id: record.parse(SUBSCRIPTION_ID)?,
        subscription_revision: Revision(record.parse(SUBSCRIPTION_REVISION)?),
        attempt: record.parse(ATTEMPT)?,
        not_before: record.instant(NOT_BEFORE)?,
        replay_id: record.parse_optional(REPLAY_ID)?,
        event: event::decode(record)?,
    })
}

#[cfg(test)]
mod tests {
    use triggerline_types::{DeliveryId, SubscriptionId, parse_instant};

    use super::*;

    fn sample() -> Delivery {
        let event = event::tests::sample();
        let subscription_id: SubscriptionId =
            "01890a5d-ac96-7ab2-80e2-4536629c90de".parse().unwrap();
        Delivery {
            id: DeliveryId::of(event.id, subscription_id),
            subscription_id,
            subscription_revision: Revision(7),
            event,
            attempt: 2,
            not_before: Some(parse_instant("2026-11-23T13:05:12.250Z").unwrap()),
            replay_id: Some("01890a5d-ac96-7ab2-80e2-4536629c90df".parse().unwrap()),
        }
    }

    #[test]
    fn golden() {
        let record = encode(&sample());
        assert_eq!(record.key, "01890a5d-ac96-7ab2-80e2-4536629c90de");
        for (name, value) in [
            ("ce_id", "01890a5d-ac96-774b-bcce-b302099a8057"),
            ("tl_delivery_id", "3f9eabf9-3093-5201-ad99-9d268678e1fc"),
            ("tl_subscription_id", "01890a5d-ac96-7ab2-80e2-4536629c90de"),
            ("tl_subscription_revision", "7"),
            ("tl_attempt", "2"),
            ("tl_replay_id", "01890a5d-ac96-7ab2-80e2-4536629c90df"),
            ("tl_not_before", "2026-11-23T13:05:12.250Z"),
        ] {
            assert_eq!(record.text(name), Ok(Some(value)), "{name}");
        }
        assert_eq!(decode(&record), Ok(sample()));
    }

    #[test]
    fn a_dead_letter_is_still_a_delivery() {
        let at = parse_instant("2026-11-24T00:00:00Z").unwrap();
        let record = encode_dead_letter(&sample(), "the receiver answered 404", at);
        assert_eq!(record.text(DEAD_LETTER_REASON), Ok(Some("the receiver answered 404")));
        assert_eq!(decode(&record), Ok(sample()));
    }
}
