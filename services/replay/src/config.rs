use std::time::Duration;

use serde::Deserialize;
use triggerline_service::ConfigError;
use triggerline_service::config::duration;

/// The commented default file *is* the default.
pub const DEFAULTS: &str = include_str!("config.default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    pub workers: usize,
    #[serde(deserialize_with = "duration::deserialize")]
    pub poll: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub lease: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub produce_patience: Duration,
}

impl ReplayConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.workers == 0 {
            return Err(ConfigError::key("replay.workers", "is at least 1"));
        }
        if self.lease < Duration::from_secs(5) {
            return Err(ConfigError::key("replay.lease", "is at least 5s"));
        }
        Ok(())
    }
}
