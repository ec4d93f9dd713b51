//! Deliveries that wait in the store's queue, because their subscription is pulled or ordered.
//!
//! A delivery that comes from Kafka is put in by the **clerk** ([`scribe`]), in the order of the
//! partition. There the gateway leases it to whoever pulls. The **drain** ([`drain`]) leases what is
//! due: webhooks, and what is to be given up. What it does with a row is [`next`]; a row that is put
//! off or tried again stays where it is, and holds up those of its key.

mod drain;
mod next;
mod scribe;

use time::OffsetDateTime;
use triggerline_matching::jsonpath::{Budget, Query};
use triggerline_store::NewQueued;
use triggerline_types::{Delivery, Subscription};
use triggerline_wire as wire;
use uuid::Uuid;

use crate::handler::Deliverer;

pub(crate) use drain::Drain;
pub(crate) use scribe::Scribe;

/// Puts deliveries into the queue.
pub(crate) type Clerk = Scribe<NewQueued>;

/// The row that a delivery makes.
pub(crate) fn row(
    delivery: &Delivery,
    subscription: &Subscription,
    deliverer: &Deliverer,
) -> NewQueued {
    let settings = &subscription.endpoint.settings;
    let now = deliverer.now();
    let delivery = Delivery { not_before: None, ..delivery.clone() };
    NewQueued {
        customer_id: delivery.event.customer_id,
        subscription_id: delivery.subscription_id,
        delivery_id: delivery.id,
        event_id: delivery.event.id,
        key: settings.ordering_key.as_deref().and_then(|query| key(query, &delivery)),
        record: wire::stored::encode(&wire::delivery::encode(&delivery)),
        attempt: delivery.attempt,
        last_attempt: deliverer.policy.of(settings).max_attempts,
        due: next::due(subscription, now, now + deliverer.keep),
    }
}

/// What keeps a delivery behind others; `None` where nothing does, or where that is too much to find out.
fn key(query: &str, delivery: &Delivery) -> Option<Uuid> {
    let payload = serde_json::from_slice(&delivery.event.payload).ok()?;
    let key = Query::parse(query).ok()?.key(&payload, &mut Budget::default()).ok()??;
    Some(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()))
}

/// When a row is given up that nobody has taken.
fn end(enqueued_at: OffsetDateTime, deliverer: &Deliverer) -> OffsetDateTime {
    enqueued_at + deliverer.keep
}
