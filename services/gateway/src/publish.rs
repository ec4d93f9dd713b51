//! An admitted event's way into Kafka: the last thing before 202. Also that of acknowledgements.

use std::time::Instant;

use triggerline_kafka::{ProduceError, Producer, Topic, Topics};
use triggerline_types::{Attempt, Event, EventId};
use triggerline_wire as wire;

use crate::metrics;
use crate::problem::{Kind, Problem};

pub(crate) struct Publisher {
    producer: Producer,
    topic: String,
    attempts: String,
    pub(crate) counted: metrics::Events,
}

impl Publisher {
    pub(crate) fn new(producer: Producer, topics: &Topics) -> Self {
        let counted = metrics::Events::new();
        let (topic, attempts) = (topics.name(Topic::Events), topics.name(Topic::Attempts));
        Self { producer, topic, attempts, counted }
    }

    /// Hands the event to Kafka's client, now, so that events started one after the other stand
    /// in that order. What it returns is `Ok` when all in-sync replicas have the event.
    pub(crate) fn start(
        &self,
        event: &Event,
    ) -> Result<impl Future<Output = Result<(), Problem>> + use<>, Problem> {
        let (id, started) = (event.id, Instant::now());
        let seconds = self.counted.produce_seconds.clone();
        let report = self
            .producer
            .start(&self.topic, &wire::event::encode(event))
            .map_err(|error| problem(id, &error))?;
        Ok(async move {
            let report = report.await;
            seconds.record(started.elapsed());
            report.map(drop).map_err(|error| problem(id, &error))
        })
    }

    /// Reports what came of a delivery; `Ok` when all in-sync replicas have it.
    pub(crate) async fn report(&self, attempt: Attempt) -> Result<(), Problem> {
        let record = wire::fact::encode_attempt(&attempt);
        self.producer.send(&self.attempts, &record).await.map(drop).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(delivery = %attempt.delivery_id, %error, source, "not acknowledged");
            let detail = "Kafka did not take note of it in time. Acknowledge it again.";
            Problem::new(Kind::Unavailable, detail)
        })
    }
}

fn problem(event: EventId, error: &ProduceError) -> Problem {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%event, %error, source, "an event was not accepted");
    let detail = match error {
        ProduceError::Full => "Too many events are waiting for Kafka. This one was not accepted.",
        ProduceError::Unknown(_) => {
            "Kafka did not acknowledge the event in time. It may or may not have been accepted."
        }
        ProduceError::TooLarge => {
            let detail = "The event is too large for Kafka. It was not accepted.";
            return Problem::new(Kind::TooLarge, detail);
        }
        ProduceError::Refused(_) => "Kafka refused the event. It was not accepted.",
    };
    Problem::new(Kind::Unavailable, detail)
}
