use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

/// How to reach Kafka. The same for every service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Put before the name of every topic and consumer group.
    pub prefix: String,
    /// Any further property of librdkafka, for TLS, SASL and the like
    /// (`"security.protocol" = "SASL_SSL"`); a `_` is read as a `.`, which no environment variable
    /// has in its name. What this crate's promises rest on can't be changed here: see
    /// `producer.rs` and `consumer.rs`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// A client's configuration: the operator's properties first, so that ours win.
    pub(crate) fn client(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            // Of those that text can set, none has a `_` of its own.
            config.set(name.replace('_', "."), value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("triggerline-{role}"))
            // A broker that is restarted is found again quickly.
            .set("reconnect.backoff.max.ms", "1000");
        config
    }

    /// What is wrong with the further properties, if anything: which, and why.
    pub fn wrong_property(&self) -> Option<(String, String)> {
        match self.client("check").create_native_config() {
            // Its value is not told: it may be a password under another's name.
            Err(rdkafka::error::KafkaError::ClientConfig(_, why, name, value)) => {
                Some((name, why.replace(&format!("\"{value}\""), "what it is set to")))
            }
            _ => None,
        }
    }

    pub fn group(&self, service: &str) -> String {
        format!("{}{service}", self.prefix)
    }
}
