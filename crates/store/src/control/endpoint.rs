//! How an endpoint is written in every backend's columns. JSON, of which a version reads what it
//! knows: settings that come later need no column. What is secret is sealed ([`super::seal`]), where
//! there are keys; the rest can be read by whoever looks into the database.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use triggerline_types::{
    Batching, ClientCertificate, ClientCredentials, CredentialsIn, DeliverySettings, Endpoint,
    Mode, OldSecret, RateLimit, Secret, SubscriptionId, Throttle, from_millis, millis,
};

use super::seal::{Locked, Place, SecretKeys};

/// An endpoint's columns, but for its URL.
pub(crate) struct Columns {
    /// A secret's bytes, or as text what they are sealed in. The latter is longer than any secret.
    pub(crate) secret: Vec<u8>,
    pub(crate) old_secrets: String,
    pub(crate) settings: String,
}

/// Why columns are no endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They hold something that this version can't read.
    Row(String),
    Locked(Locked),
}

impl From<String> for Unreadable {
    fn from(what: String) -> Self {
        Self::Row(what)
    }
}

impl From<Locked> for Unreadable {
    fn from(locked: Locked) -> Self {
        Self::Locked(locked)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    /// As versions before sealing wrote them; today they stand in `private`.
    #[serde(skip_serializing)]
    headers: BTreeMap<String, String>,
    /// [`Private`] as JSON, or what that is sealed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<String>,
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

/// Those settings that are as secret as a password.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Private {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2: Option<Credentials>,
}

#[derive(Serialize, Deserialize)]
struct Certificate {
    chain: String,
    private_key: String,
}

#[derive(Serialize, Deserialize)]
struct Credentials {
    token_url: String,
    client_id: String,
    client_secret: String,
    scope: Option<String>,
    audience: Option<String>,
    #[serde(default)]
    in_body: bool,
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

impl Columns {
    pub(crate) fn of(id: SubscriptionId, endpoint: &Endpoint, keys: &SecretKeys) -> Self {
        let place = |what| Place { subscription: id, what };
        let secret = endpoint.secret.to_bytes();
        let old_secrets = old_secrets_to_text(&endpoint.old_secrets);
        Self {
            secret: keys.seal(place("secret"), &secret).map_or(secret, String::into_bytes),
            old_secrets: if endpoint.old_secrets.is_empty() {
                old_secrets
            } else {
                keys.seal(place("old_secrets"), old_secrets.as_bytes()).unwrap_or(old_secrets)
            },
            settings: settings_to_text(place("settings"), &endpoint.settings, keys),
        }
    }

    /// An endpoint out of its columns.
    pub(crate) fn read(
        self,
        id: SubscriptionId,
        url: String,
        keys: &SecretKeys,
    ) -> Result<Endpoint, Unreadable> {
        let place = |what| Place { subscription: id, what };
        let Self { secret, old_secrets, settings } = self;
        let sealed = str::from_utf8(&secret).ok().filter(|_| secret.len() > Secret::MAX_BYTES);
        let secret = match sealed {
            Some(text) => keys.open(place("secret"), text)?.unwrap_or_default(),
            None => secret,
        };
        let secret = Secret::from_bytes(secret).map_err(|error| error.to_string())?;
        let opened = keys.open(place("old_secrets"), &old_secrets)?;
        let old_secrets = match &opened {
            Some(opened) => self::old_secrets(opened)?,
            None => self::old_secrets(old_secrets.as_bytes())?,
        };
        let settings = self::settings(place("settings"), &settings, keys)?;
        Ok(Endpoint { url, secret, old_secrets, settings })
    }

    /// Whether all that is secret in them is sealed as it would be today.
    pub(crate) fn are_current(&self, keys: &SecretKeys) -> bool {
        let read: Settings = serde_json::from_str(&self.settings).unwrap_or_default();
        let secret = String::from_utf8_lossy(&self.secret);
        let old = Some(&self.old_secrets).filter(|old| *old != "[]");
        keys.is_current(&secret)
            && old.is_none_or(|old| keys.is_current(old))
            && read.headers.is_empty()
            && read.private.is_none_or(|private| keys.is_current(&private))
    }
}

fn settings_to_text(place: Place, settings: &DeliverySettings, keys: &SecretKeys) -> String {
    let DeliverySettings {
        mode,
        ordering_key,
        headers,
        timeout,
        max_attempts,
        schedule,
        throttle,
        batch,
        client_certificate,
        oauth2,
    } = settings.clone();
    let has_private = !headers.is_empty() || client_certificate.is_some() || oauth2.is_some();
    let private = Private {
        headers,
        client_certificate: client_certificate
            .map(|ClientCertificate { chain, private_key }| Certificate { chain, private_key }),
        oauth2: oauth2.map(|given| Credentials {
            token_url: given.token_url,
            client_id: given.client_id,
            client_secret: given.client_secret,
            scope: given.scope,
            audience: given.audience,
            in_body: given.sent_in == CredentialsIn::Body,
        }),
    };
    let private = has_private.then(|| {
        let private = serde_json::to_string(&private).unwrap_or_default();
        keys.seal(place, private.as_bytes()).unwrap_or(private)
    });
    let settings = Settings {
        mode: (mode != Mode::default()).then(|| mode.as_str().to_owned()),
        ordering_key,
        headers: BTreeMap::new(),
        private,
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

fn settings(place: Place, text: &str, keys: &SecretKeys) -> Result<DeliverySettings, Unreadable> {
    let read: Settings = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let private = read.private.unwrap_or_else(|| "{}".to_owned());
    let opened = keys.open(place, &private)?;
    let private = opened.as_deref().unwrap_or(private.as_bytes());
    // Not as serde tells it: that may quote what it read.
    let mut private: Private =
        serde_json::from_slice(private).map_err(|_| "the private settings".to_owned())?;
    private.headers.extend(read.headers);
    let throttle = read.throttle.map(|Throttled { rate, burst }| {
        let rate: RateLimit = rate.parse().map_err(|_| format!("the rate {rate:?}"))?;
        Ok::<_, String>(Throttle { rate, burst })
    });
    let mode = read.mode.map(|mode| Mode::parse(&mode).ok_or_else(|| format!("the mode {mode:?}")));
    Ok(DeliverySettings {
        mode: mode.transpose()?.unwrap_or_default(),
        ordering_key: read.ordering_key,
        headers: private.headers,
        timeout: read.timeout_ms.map(Duration::from_millis),
        max_attempts: read.max_attempts,
        schedule: read.schedule_ms.into_iter().map(Duration::from_millis).collect(),
        throttle: throttle.transpose()?,
        batch: read.batch.map(|Batched { events, bytes, wait_ms }| Batching {
            max_events: events,
            max_bytes: bytes,
            max_wait: Duration::from_millis(wait_ms),
        }),
        client_certificate: private
            .client_certificate
            .map(|Certificate { chain, private_key }| ClientCertificate { chain, private_key }),
        oauth2: private.oauth2.map(|read| ClientCredentials {
            token_url: read.token_url,
            client_id: read.client_id,
            client_secret: read.client_secret,
            scope: read.scope,
            audience: read.audience,
            sent_in: if read.in_body { CredentialsIn::Body } else { CredentialsIn::Header },
        }),
    })
}

fn old_secrets_to_text(old: &[OldSecret]) -> String {
    let write = |old: &OldSecret| Old { secret: old.secret.reveal(), until_ms: millis(old.until) };
    let old: Vec<_> = old.iter().map(write).collect();
    serde_json::to_string(&old).unwrap_or_default()
}

fn old_secrets(text: &[u8]) -> Result<Vec<OldSecret>, String> {
    // See above.
    let read: Vec<Old> = serde_json::from_slice(text).map_err(|_| "the old secrets".to_owned())?;
    let read = read.into_iter().map(|Old { secret, until_ms }| {
        let secret = Secret::parse(&secret).map_err(|error| error.to_string())?;
        let until = from_millis(until_ms).ok_or_else(|| format!("the instant {until_ms}"))?;
        Ok(OldSecret { secret, until })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_wrote_is_read() {
        let (place, keys) = (
            Place { subscription: SubscriptionId::new(), what: "settings" },
            SecretKeys::default(),
        );
        let read = |text| settings(place, text, &keys);
        assert_eq!(read("{}").unwrap(), DeliverySettings::default());
        assert_eq!(settings_to_text(place, &DeliverySettings::default(), &keys), "{}");
        let newer = r#"{"timeout_ms": 1500, "what_comes_later": {"a": 1}}"#;
        assert_eq!(read(newer).unwrap().timeout, Some(Duration::from_millis(1_500)));
        let older = r#"{"headers": {"x-a": "1"}}"#;
        assert_eq!(read(older).unwrap().headers, [("x-a".to_owned(), "1".to_owned())].into());
        assert!(read(r#"{"throttle": {"rate": "often", "burst": 1}}"#).is_err());
        assert!(!old_secrets(br#"["whsec_hidden"]"#).unwrap_err().contains("hidden"));
        let error = read(r#"{"private": "{\"headers\": \"hidden\"}"}"#).unwrap_err();
        assert_eq!(error, Unreadable::Row("the private settings".to_owned()));
    }
}
