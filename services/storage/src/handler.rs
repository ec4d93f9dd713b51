//! One record on its way into the store.

use triggerline_kafka::{Consumed, Handler, HandlerError, Stop, Topic};
use triggerline_types::Fact;
use triggerline_wire as wire;

use crate::batch::Batcher;

pub(crate) struct Keeper {
    batcher: Batcher,
}

impl Keeper {
    pub(crate) fn new(batcher: Batcher) -> Self {
        Self { batcher }
    }
}

impl Handler for Keeper {
    async fn handle(&self, consumed: &Consumed, _stop: &Stop) -> Result<(), HandlerError> {
        let fact = match consumed.topic {
            Topic::Attempts => wire::fact::decode(&consumed.record)?,
            _ => Fact::Event(wire::event::decode(&consumed.record)?),
        };
        self.batcher.keep(fact).await
    }
}
