//! How an endpoint is written in every backend's columns. JSON, of which a version reads what it
//! knows: settings that come later need no column.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use triggerline_types::{
    Batching, DeliverySettings, Endpoint, Mode, OldSecret, RateLimit, Secret, Throttle, millis,
};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schedule_ms: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle: Option<Throttled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batched>,
}

#[derive(Serialize, Deserialize)]
struct Batched {
    events: u32,
    bytes: usize,
    wait_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Throttled {
    rate: String,
    burst: u32,
}

#[derive(Serialize, Deserialize)]
struct Old {
    secret: String,
    until_ms: i64,
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn settings_to_text(settings: &DeliverySettings) -> String {
    let DeliverySettings {
        mode,
        ordering_key,
        headers,
        timeout,
        max_attempts,
        schedule,
        throttle,
        batch,
    } = settings.clone();
    let settings = Settings {
        mode: (mode != Mode::default()).then(|| mode.as_str().to_owned()),
        ordering_key,
        headers,
        timeout_ms: timeout.map(in_millis),
        max_attempts,
        schedule_ms: schedule.into_iter().map(in_millis).collect(),
        throttle: throttle
            .map(|Throttle { rate, burst }| Throttled { rate: rate.to_string(), burst }),
        batch: batch.map(|Batching { max_events, max_bytes, max_wait }| Batched {
            events: max_events,
            bytes: max_bytes,
            wait_ms: in_millis(max_wait),
        }),
    };
    // Strings and numbers: nothing in it can fail to serialise.
    serde_json::to_string(&settings).unwrap_or_default()
}

fn settings(text: &str) -> Result<DeliverySettings, String> {
    let read: Settings = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let throttle = read.throttle.map(|Throttled { rate, burst }| {
        let rate: RateLimit = rate.parse().map_err(|_| format!("the rate {rate:?}"))?;
        Ok::<_, String>(Throttle { rate, burst })
    });
    let mode = read.mode.map(|mode| Mode::parse(&mode).ok_or_else(|| format!("the mode {mode:?}")));
    Ok(DeliverySettings {
        mode: mode.transpose()?.unwrap_or_default(),
        ordering_key: read.ordering_key,
        headers: read.headers,
        timeout: read.timeout_ms.map(Duration::from_millis),
        max_attempts: read.max_attempts,
        schedule: read.schedule_ms.into_iter().map(Duration::from_millis).collect(),
        throttle: throttle.transpose()?,
        batch: read.batch.map(|Batched { events, bytes, wait_ms }| Batching {
            max_events: events,
            max_bytes: bytes,
            max_wait: Duration::from_millis(wait_ms),
        }),
    })
}

pub(crate) fn old_secrets_to_text(old: &[OldSecret]) -> String {
    let write = |old: &OldSecret| Old { secret: old.secret.reveal(), until_ms: millis(old.until) };
    let old: Vec<_> = old.iter().map(write).collect();
    serde_json::to_string(&old).unwrap_or_default()
}

fn old_secrets(text: &str) -> Result<Vec<OldSecret>, String> {
    // Not as serde tells it: that may quote what it read.
    let read: Vec<Old> = serde_json::from_str(text).map_err(|_| "the old secrets".to_owned())?;
    let read = read.into_iter().map(|Old { secret, until_ms }| {
        let secret = Secret::parse(&secret).map_err(|error| error.to_string())?;
        let until = OffsetDateTime::from_unix_timestamp_nanos(i128::from(until_ms) * 1_000_000)
            .map_err(|error| error.to_string())?;
        Ok(OldSecret { secret, until })
    });
    read.collect()
}

/// An endpoint out of its columns.
pub(crate) fn endpoint(
    url: String,
    secret: Vec<u8>,
    old: &str,
    text: &str,
) -> Result<Endpoint, String> {
    let secret = Secret::from_bytes(secret).map_err(|error| error.to_string())?;
    Ok(Endpoint { url, secret, old_secrets: old_secrets(old)?, settings: settings(text)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_wrote_is_read() {
        assert_eq!(settings("{}").unwrap(), DeliverySettings::default());
        assert_eq!(settings_to_text(&DeliverySettings::default()), "{}");
        let newer = r#"{"timeout_ms": 1500, "what_comes_later": {"a": 1}}"#;
        assert_eq!(settings(newer).unwrap().timeout, Some(Duration::from_millis(1_500)));
        assert!(settings(r#"{"throttle": {"rate": "often", "burst": 1}}"#).is_err());
        assert!(!old_secrets(r#"["whsec_hidden"]"#).unwrap_err().contains("hidden"));
    }
}
