use std::time::Duration;

use serde::Deserialize;
use triggerline_service::config::duration;

/// The commented default file *is* the default.
pub const DEFAULTS: &str = include_str!("config.default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub http_listen: String,
    pub grpc_listen: String,
    #[serde(deserialize_with = "duration::deserialize")]
    pub produce_patience: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub key_cache: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain: Duration,
}
