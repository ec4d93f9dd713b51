use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, de};
use triggerline_guard::Reach;
use triggerline_service::clock::Clock;
use triggerline_service::config::{ConfigError, duration, list};
use url::Url;

use crate::connect::basic;
use crate::decide::Policy;

/// The commented default file *is* the default.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// No endpoint may hold a request for longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
    pub max_attempts: u32,
    #[serde(deserialize_with = "duration::deserialize")]
    pub max_retry_after: Duration,
    pub allow_http: bool,
    pub allow_private_networks: bool,
    #[serde(deserialize_with = "networks")]
    pub allow_networks: Arc<[IpNet]>,
    #[serde(deserialize_with = "ports")]
    pub ports: Arc<[RangeInclusive<u16>]>,
    #[serde(deserialize_with = "servers")]
    pub resolvers: Vec<SocketAddr>,
    #[serde(deserialize_with = "proxy")]
    pub proxy: Option<Proxy>,
    pub proxy_resolves: bool,
    pub ca_file: PathBuf,
    pub connections: usize,
    #[serde(deserialize_with = "duration::deserialize")]
    pub refresh: Duration,
    pub endpoint_requests: u32,
    #[serde(deserialize_with = "duration::deserialize")]
    pub disable_after: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub keep_queued: Duration,
    pub clock_file: PathBuf,
    pub window_records: usize,
    pub window_bytes: usize,
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub produce_patience: Duration,
}

/// What stands between us and receivers.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub(crate) uri: Uri,
    pub(crate) authorization: Option<HeaderValue>,
}

impl DeliveryConfig {
    /// What the types alone can't say.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.timeout > LONGEST_TIMEOUT || self.timeout.is_zero() {
            return Err(ConfigError::key("delivery.timeout", "is more than 0s and at most 30s"));
        }
        if self.endpoint_requests == 0 {
            return Err(ConfigError::key("delivery.endpoint_requests", "is at least 1"));
        }
        if self.connections == 0 {
            return Err(ConfigError::key("delivery.connections", "is at least 1"));
        }
        if self.max_attempts == 0 {
            return Err(ConfigError::key("delivery.max_attempts", "is at least 1"));
        }
        Ok(())
    }

    pub(crate) fn clock(&self) -> Clock {
        match &self.clock_file {
            file if file.as_os_str().is_empty() => Clock::system(),
            file => Clock::following(file.clone()),
        }
    }

    pub fn reach(&self) -> Reach {
        Reach {
            http: self.allow_http,
            private_networks: self.allow_private_networks,
            networks: Arc::clone(&self.allow_networks),
            ports: Arc::clone(&self.ports),
        }
    }

    pub(crate) fn policy(&self) -> Policy<'static> {
        let Self { max_attempts, max_retry_after, .. } = *self;
        Policy { max_attempts, max_retry_after, schedule: &[] }
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[IpNet]>, D::Error> {
    let read = |text: String| {
        let told = || format!("{text:?} is not a network; write one such as 10.1.0.0/16");
        text.parse().map_err(|_| de::Error::custom(told()))
    };
    list::deserialize(deserializer)?.into_iter().map(read).collect()
}

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let read = |text: String| {
        let told = || format!("{text:?} is not a name server; write one such as 10.0.0.2:53");
        text.parse().map_err(|_| de::Error::custom(told()))
    };
    list::deserialize(deserializer)?.into_iter().map(read).collect()
}

fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Proxy>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    // Not as it was given: it may hold a password.
    let told = "is not a proxy; write one such as http://proxy.internal:3128, or \
                http://user:password@proxy.internal:3128 (to the proxy itself, TLS is not spoken)";
    read_proxy(&text).map(Some).ok_or_else(|| de::Error::custom(told))
}

fn read_proxy(text: &str) -> Option<Proxy> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.path() == "/")?;
    let port = url.port_or_known_default()?;
    let uri = format!("http://{}:{port}/", url.host_str()?).parse().ok()?;
    let plain = |text| percent_decode_str(text).decode_utf8().ok();
    let authorization = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(basic(&plain(user)?, &plain(password.unwrap_or_default())?)?),
    };
    Some(Proxy { uri, authorization })
}

fn ports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<[RangeInclusive<u16>]>, D::Error> {
    let read = |text: String| {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let range = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last);
        let told = || format!("{text:?} is not a port; write one such as 443, or 1024-65535");
        let (first, last): (u16, u16) = range.ok_or_else(|| de::Error::custom(told()))?;
        Ok(first..=last)
    };
    list::deserialize(deserializer)?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_credentials() {
        for (text, uri, credentials) in [
            ("http://proxy.internal:3128", "http://proxy.internal:3128/", None),
            ("http://10.0.0.1/", "http://10.0.0.1:80/", None),
            ("http://[::1]:8888", "http://[::1]:8888/", None),
            ("http://u:p%40ss@proxy:1", "http://proxy:1/", Some("Basic dTpwQHNz")),
            ("http://u@proxy:1", "http://proxy:1/", Some("Basic dTo=")),
        ] {
            let proxy = read_proxy(text).unwrap();
            let authorization = proxy.authorization.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(
                (proxy.uri.to_string().as_str(), authorization),
                (uri, credentials),
                "{text}"
            );
            assert!(!format!("{proxy:?}").contains("Basic"), "{proxy:?}");
        }
        for text in ["proxy:3128", "https://proxy:3128", "socks5://proxy", "http://proxy/x", "x"] {
            assert!(read_proxy(text).is_none(), "{text}");
        }
    }
}
