//! One event on its way through the matcher: decode, route, hand over, wait for Kafka.

use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;
use time::OffsetDateTime;
use triggerline_kafka::{Consumed, Handler, HandlerError, Producer, Stop, Topic, Topics};
use triggerline_store::Following;
use triggerline_types::truncate_to_millis;
use triggerline_wire as wire;

use crate::metrics::Events;
use crate::route::route;
use crate::view::Live;

pub(crate) struct Matcher {
    subscriptions: Arc<Following<Live>>,
    producer: Producer,
    deliveries: String,
    attempts: String,
    events: Events,
}

impl Matcher {
    pub(crate) fn new(
        subscriptions: Arc<Following<Live>>,
        producer: Producer,
        topics: &Topics,
    ) -> Self {
        Self {
            subscriptions,
            producer,
            deliveries: topics.name(Topic::Deliveries),
            attempts: topics.name(Topic::Attempts),
            events: Events::new(),
        }
    }
}

impl Handler for Matcher {
    async fn handle(&self, consumed: &Consumed, _stop: &Stop) -> Result<(), HandlerError> {
        let event = wire::event::decode(&consumed.record)?;
        if event.quarantined.is_some() {
            // Released, it comes again.
            return Ok(());
        }
        let begun = Instant::now();
        let view = self.subscriptions.of_customer(event.customer_id);
        let owed = view.map(|view| view.owed(&event)).unwrap_or_default();
        let now = truncate_to_millis(OffsetDateTime::now_utc());
        let routed = route(&event, owed, now);
        self.events.count(&routed, begun.elapsed());
        // All at once: they leave in one batch. Sent again after an error, they carry the
        // same ids.
        if routed.in_order {
            consumed.turn.reached().await?;
        } else {
            consumed.turn.pass();
        }
        let mut reports = Vec::with_capacity(routed.deliveries.len());
        for delivery in &routed.deliveries {
            let record = wire::delivery::encode(delivery);
            reports.push(self.producer.begin(&self.deliveries, &record).await?);
        }
        // They stand in Kafka's queue: who comes next stands behind them.
        consumed.turn.pass();
        let summary = async {
            let record = wire::fact::encode_matched(&routed.summary);
            self.producer.send(&self.attempts, &record).await
        };
        futures::try_join!(try_join_all(reports), summary)?;
        // What could be decided is on its way; the rest is kept for a person to look at.
        routed.undecided.map_or(Ok(()), |cause| Err(HandlerError::Poison(cause)))
    }
}
