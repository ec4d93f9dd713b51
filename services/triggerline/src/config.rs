//! All settings in one place: what is shared, and a section for each service.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use triggerline_delivery::DeliveryConfig;
use triggerline_gateway::GatewayConfig;
use triggerline_gateway::keys::Pepper;
use triggerline_kafka::{KafkaConfig, TopicSettings};
use triggerline_matcher::MatcherConfig;
use triggerline_replay::ReplayConfig;
use triggerline_service::ConfigError;
use triggerline_service::admin::AdminConfig;
use triggerline_service::config::{LogConfig, duration, list, load};
use triggerline_storage::StorageConfig;
use triggerline_store::SecretKeys;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) kafka: KafkaConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) control: ControlConfig,
    pub(crate) cache: CacheConfig,
    pub(crate) inbox: InboxConfig,
    pub(crate) admin: AdminConfig,
    pub(crate) log: LogConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) matcher: MatcherConfig,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) storage: StorageConfig,
    pub(crate) replay: ReplayConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicsConfig {
    partitions: i32,
    replication: i32,
    #[serde(deserialize_with = "duration::deserialize")]
    retention: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlConfig {
    pub(crate) url: String,
    pub(crate) pepper: String,
    #[serde(deserialize_with = "list::deserialize")]
    secret_keys: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheConfig {
    pub(crate) url: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InboxConfig {
    pub(crate) url: String,
    #[serde(deserialize_with = "duration::optional")]
    pub(crate) retention: Option<Duration>,
}

impl Config {
    pub(crate) fn load(
        file: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let config: Self = load(&defaults(), file, overrides)?;
        config.delivery.check()?;
        config.gateway.check()?;
        config.replay.check()?;
        config.secret_keys()?;
        if let Some((name, why)) = config.kafka.wrong_property() {
            return Err(ConfigError::key(format!("kafka.properties.{name}"), why));
        }
        if config.topics.partitions < 1 {
            return Err(ConfigError::key("topics.partitions", "is at least 1"));
        }
        Ok(config)
    }

    pub(crate) fn topic_settings(&self) -> TopicSettings {
        let TopicsConfig { partitions, replication, retention } = self.topics;
        TopicSettings { partitions, replication, retention }
    }

    pub(crate) fn secret_keys(&self) -> Result<SecretKeys, ConfigError> {
        SecretKeys::parse(&self.control.secret_keys)
            .map_err(|error| ConfigError::key("control.secret_keys", error.to_string()))
    }

    pub(crate) fn pepper(&self) -> Result<Pepper, ConfigError> {
        Pepper::new(&self.control.pepper).ok_or_else(|| {
            let why = "is a secret of at least 16 characters, the same for every gateway; \
                       make one with: openssl rand -hex 32";
            ConfigError::key("control.pepper", why)
        })
    }
}

/// The commented default files, one after the other: what `triggerline config` prints.
pub(crate) fn defaults() -> String {
    [
        include_str!("config.default.toml"),
        triggerline_gateway::DEFAULTS,
        triggerline_matcher::DEFAULTS,
        triggerline_delivery::DEFAULTS,
        triggerline_storage::DEFAULTS,
        triggerline_replay::DEFAULTS,
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_settings_themselves() {
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(config.kafka.prefix, "triggerline.");
        assert_eq!(config.topics.retention, Duration::from_hours(14 * 24));
        let error = config.pepper().err().unwrap().to_string();
        assert!(error.contains("control.pepper"), "{error}");
    }

    #[test]
    fn limits_are_checked() {
        for (key, value) in [
            ("delivery.timeout", "31s"),
            ("delivery.max_attempts", "0"),
            ("delivery.allow_networks", "10.0.0.0/33"),
            ("delivery.ports", "443,https"),
            ("delivery.ports", "9-1"),
            ("control.secret_keys", "k1:c2hvcnQ="),
            ("topics.partitions", "0"),
            ("replay.workers", "0"),
            ("replay.lease", "4s"),
            ("matcher.window_records", "-1"),
            ("gateway.plans.default.rate_limit", "many"),
            ("gateway.idempotency_without_cache", "local"),
            ("gateway.limits.connections", "0"),
            ("gateway.key_environment", "Live!"),
        ] {
            let error = Config::load(None, &[(key.to_owned(), value.to_owned())]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn properties_of_kafka_are_checked_and_not_quoted() {
        for (name, value) in [("sasl_pasword", "s3cret"), ("security_protocol", "hunter2")] {
            let set = [(format!("kafka.properties.{name}"), value.to_owned())];
            let error = Config::load(None, &set).unwrap_err().to_string();
            let key = format!("kafka.properties.{}", name.replace('_', "."));
            assert!(error.contains(&key) && !error.contains(value), "{error}");
        }
        let set = [("kafka.properties.security_protocol".to_owned(), "ssl".to_owned())];
        assert!(Config::load(None, &set).is_ok());
    }
}
