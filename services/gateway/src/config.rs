use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use triggerline_service::ConfigError;
use triggerline_service::config::{duration, list};
use triggerline_types::{Customer, RateLimit};

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
    pub lame_duck: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain: Duration,
    pub access_log: AccessLog,
    pub key_environment: String,
    pub idempotency_without_cache: WithoutCache,
    pub rate_limit_without_cache: WithoutCache,
    pub limits: LimitsConfig,
    pub tls: TlsConfig,
    pub cors: CorsConfig,
    pub plans: Plans,
}

/// What one client, and all of them together, may take of this process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub connections: usize,
    pub streams_per_connection: u32,
    pub stream_events: usize,
    pub waiting_events: u32,
    pub body_bytes: usize,
    #[serde(deserialize_with = "duration::deserialize")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub write_timeout: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM; empty for no TLS.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    #[serde(deserialize_with = "list::deserialize")]
    pub origins: Vec<String>,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    Off,
    Errors,
    All,
}

/// What goes on when the cache does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutCache {
    /// Each gateway counts by itself.
    Local,
    Accept,
    Refuse,
}

impl WithoutCache {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Accept => "accept",
            Self::Refuse => "refuse",
        }
    }
}

/// What customers have agreed on, by the plan's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Plans(BTreeMap<String, Plan>);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(deserialize_with = "rate_limit")]
    rate_limit: RateLimit,
}

impl Plans {
    /// The plan's limit. A plan that the settings don't name (they were changed under a
    /// customer) counts as the default one.
    pub(crate) fn rate_limit(&self, plan: &str) -> RateLimit {
        let plan = self.0.get(plan).or_else(|| self.0.get(Customer::DEFAULT_PLAN));
        // `check` has seen that there is a default.
        plan.map_or(RateLimit::LOWEST, |plan| plan.rate_limit)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn rate_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RateLimit, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

impl GatewayConfig {
    /// What a type alone doesn't say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError::key(format!("gateway.{key}"), why));
        if !self.plans.0.contains_key(Customer::DEFAULT_PLAN) {
            return wrong("plans", "has no plan with the name \"default\"");
        }
        if self.idempotency_without_cache == WithoutCache::Local {
            return wrong("idempotency_without_cache", "is refuse or accept");
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return wrong("tls", "needs both a certificate and a key, or neither");
        }
        let env = &self.key_environment;
        if env.is_empty() || env.len() > 16 || !env.bytes().all(|b| b.is_ascii_lowercase()) {
            return wrong("key_environment", "is 1 to 16 lower-case letters, such as live or test");
        }
        let any = self.cors.origins.iter().any(|origin| origin == "*");
        let fits = |origin: &String| {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', ' ', '*']))
        };
        if !(self.cors.origins.iter().all(fits) || any && self.cors.origins.len() == 1) {
            let why = "are scheme, host and port, such as https://console.example.com, or only *";
            return wrong("cors.origins", why);
        }
        let limits = &self.limits;
        let second = Duration::from_secs(1);
        for (key, value) in [
            ("produce_patience", self.produce_patience),
            ("limits.header_timeout", limits.header_timeout),
            ("limits.body_timeout", limits.body_timeout),
            ("limits.write_timeout", limits.write_timeout),
        ] {
            if !(second..=Duration::from_mins(5)).contains(&value) {
                return wrong(key, "is from 1s to 5m");
            }
        }
        if !(second..=Duration::from_hours(1)).contains(&limits.idle_timeout) {
            return wrong("limits.idle_timeout", "is from 1s to 1h");
        }
        for (key, value) in [
            ("limits.connections", limits.connections),
            ("limits.stream_events", limits.stream_events),
            ("limits.waiting_events", limits.waiting_events as usize),
            ("limits.streams_per_connection", limits.streams_per_connection as usize),
        ] {
            if !(1..=1_000_000).contains(&value) {
                return wrong(key, "is a number from 1 to 1000000");
            }
        }
        // One body must fit, and a semaphore counts it.
        if !(16 << 20..=1 << 40).contains(&limits.body_bytes) {
            return wrong("limits.body_bytes", "is a number from 16777216 (16 MiB) on");
        }
        Ok(())
    }
}
