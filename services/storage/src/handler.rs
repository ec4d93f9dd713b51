//! One record on its way into the store.

use triggerline_kafka::{Consumed, Handler, HandlerError, Stop, Topic};
use triggerline_types::Fact;
use triggerline_wire as wire;

use crate::batch::Batcher;
use crate::retention::Known;

pub(crate) struct Keeper {
    batcher: Batcher,
    retention: Known,
}

impl Keeper {
    pub(crate) fn new(batcher: Batcher, retention: Known) -> Self {
        Self { batcher, retention }
    }
}

impl Handler for Keeper {
    async fn handle(&self, consumed: &Consumed, _stop: &Stop) -> Result<(), HandlerError> {
        let fact = match consumed.topic {
            Topic::Attempts => wire::fact::decode(&consumed.record)?,
            _ => Fact::Event(wire::event::decode(&consumed.record)?),
        };
        // Of whom nothing is to be kept any more.
        if self.retention.borrow().is_erased(fact.customer_id()) {
            return Ok(());
        }
        self.batcher.keep(fact).await
    }
}
