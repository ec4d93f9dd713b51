//! The topics: what they are called, and how `triggerline topics apply` sets them up.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;

use crate::complaints::{Complaints, why};
use crate::producer::MAX_RECORD_BYTES;
use crate::{KafkaConfig, KafkaError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What was accepted, by customer.
    Events,
    /// What is owed now, by subscription.
    Deliveries,
    /// What is owed later.
    Retry(Tier),
    /// Deliveries that were given up.
    DeliveriesDlq,
    /// Records that could not be read.
    EventsDlq,
    /// What the matcher and the delivery service did, by customer.
    Attempts,
}

/// A delay that a retry topic stands for. Every record in it waits about as long, so it is
/// first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    Seconds5,
    Minute1,
    Minutes5,
    Minutes30,
    Hours2,
    Hours6,
    Hours12,
}

impl Tier {
    /// From the shortest to the longest.
    pub const ALL: [Self; 7] = [
        Self::Seconds5,
        Self::Minute1,
        Self::Minutes5,
        Self::Minutes30,
        Self::Hours2,
        Self::Hours6,
        Self::Hours12,
    ];

    pub const fn delay(self) -> Duration {
        Duration::from_secs(match self {
            Self::Seconds5 => 5,
            Self::Minute1 => 60,
            Self::Minutes5 => 5 * 60,
            Self::Minutes30 => 30 * 60,
            Self::Hours2 => 2 * 3_600,
            Self::Hours6 => 6 * 3_600,
            Self::Hours12 => 12 * 3_600,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Seconds5 => "5s",
            Self::Minute1 => "1m",
            Self::Minutes5 => "5m",
            Self::Minutes30 => "30m",
            Self::Hours2 => "2h",
            Self::Hours6 => "6h",
            Self::Hours12 => "12h",
        }
    }
}

/// The names of all topics under one prefix.
#[derive(Clone, Debug)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    pub fn new(config: &KafkaConfig) -> Self {
        Self { prefix: config.prefix.clone() }
    }

    pub fn all() -> impl Iterator<Item = Topic> {
        [Topic::Events, Topic::Deliveries].into_iter().chain(Tier::ALL.map(Topic::Retry)).chain([
            Topic::DeliveriesDlq,
            Topic::EventsDlq,
            Topic::Attempts,
        ])
    }

    pub fn name(&self, topic: Topic) -> String {
        let prefix = &self.prefix;
        match topic {
            Topic::Events => format!("{prefix}events"),
            Topic::Deliveries => format!("{prefix}deliveries"),
            Topic::Retry(tier) => format!("{prefix}deliveries.retry.{}", tier.name()),
            Topic::DeliveriesDlq => format!("{prefix}deliveries.dlq"),
            Topic::EventsDlq => format!("{prefix}events.dlq"),
            Topic::Attempts => format!("{prefix}attempts"),
        }
    }

    /// The topic of this name; `None` for one that isn't ours.
    pub fn parse(&self, name: &str) -> Option<Topic> {
        Self::all().find(|topic| self.name(*topic) == name)
    }
}

/// How topics are made.
#[derive(Clone, Copy, Debug)]
pub struct TopicSettings {
    pub partitions: i32,
    pub replication: i32,
    pub retention: Duration,
}

impl TopicSettings {
    /// How long a topic may have a record. Kafka removes a segment once the last record in it is past
    /// the retention, and begins another after 7 days at the latest (`segment.ms`).
    pub fn longest(self) -> Duration {
        const SEGMENT: Duration = Duration::from_hours(7 * 24);
        self.retention.saturating_add(SEGMENT)
    }
}

/// Makes the topics that are missing and returns the names of those that it made, leaving those
/// that exist as they are. (Asked first: brokers log an attempt to make one twice as an error.)
pub async fn apply(
    config: &KafkaConfig,
    settings: TopicSettings,
) -> Result<Vec<String>, KafkaError> {
    let client: AdminClient<DefaultClientContext> = config
        .client("admin")
        .create()
        .map_err(|error| KafkaError::new("set up the Kafka admin client", error))?;
    let existing = existing(config).await?;
    let topics = Topics::new(config);
    let missing: Vec<String> = Topics::all()
        .map(|topic| topics.name(topic))
        .filter(|name| !existing.contains(name))
        .collect();
    let retention = settings.retention.as_millis().to_string();
    let new = missing.iter().map(|name| {
        NewTopic::new(name, settings.partitions, TopicReplication::Fixed(settings.replication))
            .set("retention.ms", &retention)
            .set("max.message.bytes", MAX_RECORD_BYTES)
    });
    let new: Vec<NewTopic<'_>> = new.collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new()
        .operation_timeout(Some(Duration::from_secs(30)))
        .request_timeout(Some(Duration::from_secs(30)));
    let results = client
        .create_topics(&new, &options)
        .await
        .map_err(|error| KafkaError::new("create topics", error))?;
    let mut made = Vec::new();
    for result in results {
        match result {
            Ok(name) => made.push(name),
            // Someone else was quicker, or the metadata was behind.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(KafkaError::new(format!("create topic {name}"), code.to_string()));
            }
        }
    }
    Ok(made)
}

/// Waits up to `patience` until Kafka answers and all topics are there: a service that starts
/// beside its broker isn't wrong yet.
pub async fn check_topics(config: &KafkaConfig, patience: Duration) -> Result<(), KafkaError> {
    let topics = Topics::new(config);
    let until = Instant::now() + patience;
    loop {
        let problem = match existing(config).await {
            Ok(existing) => {
                let mut names = Topics::all().map(|topic| topics.name(topic));
                match names.find(|name| !existing.contains(name)) {
                    None => return Ok(()),
                    Some(name) => KafkaError::new(
                        format!("topic {name} is missing in Kafka at {}", config.brokers),
                        "run `triggerline topics apply`",
                    ),
                }
            }
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(problem);
        }
        tracing::info!(error = %problem, reason = %problem.source, "waiting for Kafka");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn existing(config: &KafkaConfig) -> Result<Vec<String>, KafkaError> {
    let config = config.client("admin");
    let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let client = config
            .create_with_context::<_, BaseConsumer<_>>(Complaints::new("admin"))
            .map_err(|error| error.to_string())?;
        let metadata = client.fetch_metadata(None, Duration::from_secs(15));
        let metadata = metadata.map_err(|error| why(&client, &error))?;
        Ok::<_, String>(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    listed
        .await
        .map_err(|error| KafkaError::new("list topics", error))?
        .map_err(|why| KafkaError::new(format!("list the topics of Kafka at {brokers}"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let config = KafkaConfig {
            brokers: String::new(),
            prefix: "test.".to_owned(),
            properties: std::collections::BTreeMap::new(),
        };
        let topics = Topics::new(&config);
        for topic in Topics::all() {
            assert_eq!(topics.parse(&topics.name(topic)), Some(topic));
        }
        assert_eq!(topics.name(Topic::Retry(Tier::Minutes30)), "test.deliveries.retry.30m");
        assert_eq!(topics.parse("events"), None);
    }

    #[test]
    fn tiers_grow() {
        assert!(Tier::ALL.is_sorted_by_key(|tier| tier.delay()));
    }
}
