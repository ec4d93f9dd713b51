//! An admitted event's way into Kafka: the last thing before 202.

use triggerline_kafka::{ProduceError, Producer, Topic, Topics};
use triggerline_types::Event;
use triggerline_wire as wire;

use crate::problem::{Kind, Problem};

pub(crate) struct Publisher {
    producer: Producer,
    topic: String,
}

impl Publisher {
    pub(crate) fn new(producer: Producer, topics: &Topics) -> Self {
        Self { producer, topic: topics.name(Topic::Events) }
    }

    /// `Ok` means that all in-sync replicas have the event.
    pub(crate) async fn publish(&self, event: &Event) -> Result<(), Problem> {
        match self.producer.try_send(&self.topic, &wire::event::encode(event)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(problem(event, &error)),
        }
    }
}

fn problem(event: &Event, error: &ProduceError) -> Problem {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(event = %event.id, %error, source, "an event was not accepted");
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
