//! Ids. One newtype for each thing that has one, so that a subscription's id can't
//! be passed where an event's is wanted.
//!
//! Made ids are UUIDv7 (RFC 9562 §5.7): they sort by time, which keeps an inbox in
//! order by its primary key. A delivery's id is derived instead (UUIDv5, §5.5), so
//! that doing a hand-off twice mints the same one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{from_millis, millis};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! made {
    ($($name:ident),*) => {$(
        impl $name {
            /// A new id; sorts after every one made before it in this process.
            #[allow(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }
    )*};
}

id!(
    /// The tenant's id: on every row and every record.
    CustomerId
);
id!(
    /// An event's id, given once when it is accepted (`X-Event-ID`, `ce_id`).
    EventId
);
id!(
    /// A subscription's id.
    SubscriptionId
);
id!(
    /// A delivery's id: the `webhook-id` that a receiver sees on every attempt.
    DeliveryId
);
id!(
    /// The public half of an API key: safe to show, to log and to revoke by.
    ApiKeyId
);
id!(
    /// An audit entry's id; in the order of the changes.
    AuditId
);
id!(
    /// A replay's id: receivers see it on what it sends.
    ReplayId
);
made!(CustomerId, EventId, SubscriptionId, ApiKeyId, AuditId, ReplayId);

impl EventId {
    /// A new id of an event received at `at`, to the millisecond.
    pub fn received(at: OffsetDateTime) -> Self {
        let millis = u64::try_from(millis(at)).unwrap_or_default();
        let new = Uuid::now_v7();
        let random = new.as_bytes().last_chunk().unwrap_or(&[0; 10]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
    }

    /// When the event was received: its id's first 48 bits (RFC 9562 §5.7). Events stand in the
    /// order of their ids, which so is the order in which they were received.
    pub fn received_at(self) -> OffsetDateTime {
        let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or_default();
        from_millis(millis).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// No event received at `at` or later has a lesser id, and none received before has a greater.
    pub fn first_at(at: OffsetDateTime) -> Self {
        let millis = u64::try_from(millis(at)).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// The id of an event of Triggerline's own, as of `at`: the same one each time that it is told.
    pub fn told(of: Uuid, name: &[u8], at: OffsetDateTime) -> Self {
        let hash = Uuid::new_v5(&of, name);
        let random = hash.as_bytes().first_chunk().unwrap_or(&[0; 10]);
        let millis = u64::try_from(millis(at)).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
    }

    /// The id of the `index`th event of a batch whose first event has this id: the same one
    /// each time, and in the batch's order. (What is counted up is the random tail of the
    /// UUID, 62 bits; its version and variant bits stay.)
    pub fn nth(self, index: u64) -> Self {
        const TAIL: u128 = (1 << 62) - 1;
        let bits = self.0.as_u128();
        let tail = ((bits & TAIL) + u128::from(index)) & TAIL;
        Self(Uuid::from_u128((bits & !TAIL) | tail))
    }
}

/// Triggerline's own UUIDv5 name space. Changing it would change the id of every
/// delivery that is still in flight, so it never changes.
const DELIVERIES: Uuid = Uuid::from_u128(0x6f2d_9c1e_58b7_5d0a_9e43_1f0c_7a66_d2b1);

impl DeliveryId {
    /// The id of the delivery that `event` owes to `subscription`: always the same one.
    pub fn of(event: EventId, subscription: SubscriptionId) -> Self {
        let mut name = [0; 32];
        name[..16].copy_from_slice(event.0.as_bytes());
        name[16..].copy_from_slice(subscription.0.as_bytes());
        Self(Uuid::new_v5(&DELIVERIES, &name))
    }

    /// The id of a batch of deliveries: the same one for the same deliveries, in any order.
    pub fn of_batch(deliveries: impl IntoIterator<Item = Self>) -> Self {
        let mut ids: Vec<_> = deliveries.into_iter().map(|id| *id.0.as_bytes()).collect();
        ids.sort_unstable();
        Self(Uuid::new_v5(&DELIVERIES, &ids.concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_is_a_function_of_its_event_and_subscription() {
        let event: EventId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let subscription: SubscriptionId = "01890a5d-ac96-7ab2-80e2-4536629c90de".parse().unwrap();
        let id = DeliveryId::of(event, subscription);
        // Golden: receivers deduplicate by this value, across releases too.
        assert_eq!(id.to_string(), "3f9eabf9-3093-5201-ad99-9d268678e1fc");
        assert_eq!(id.as_uuid().get_version_num(), 5);
    }

    #[test]
    fn the_ids_of_a_batch_are_its_firsts_and_those_after_it() {
        let first: EventId = "01890a5d-ac96-774b-bcce-b302099a80ff".parse().unwrap();
        assert_eq!(first.nth(0), first);
        assert_eq!(first.nth(1).to_string(), "01890a5d-ac96-774b-bcce-b302099a8100");
        let last: EventId = "01890a5d-ac96-774b-bfff-ffffffffffff".parse().unwrap();
        assert_eq!(last.nth(1).to_string(), "01890a5d-ac96-774b-8000-000000000000");
    }

    #[test]
    fn an_event_id_tells_when_the_event_was_received() {
        let id: EventId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let at = id.received_at();
        assert_eq!(millis(at), 0x0189_0a5d_ac96);
        assert_eq!(id.nth(17).received_at(), at);
        assert_eq!(EventId::received(at).received_at(), at);
        assert_eq!(EventId::received(at).as_uuid().get_version_num(), 7);
        assert!(EventId::first_at(at) <= id && EventId::first_at(at) <= EventId::received(at));
        assert!(EventId::first_at(at + time::Duration::milliseconds(1)) > id);
    }

    #[test]
    fn made_ids_sort_by_the_order_in_which_they_were_made() {
        let ids: Vec<EventId> = (0..1_000).map(|_| EventId::new()).collect();
        assert!(ids.is_sorted());
    }
}
