use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::{ClientCertificate, ClientCredentials, RateLimit};

/// How a subscription wants its deliveries. What it doesn't say is the installation's to say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeliverySettings {
    pub mode: Mode,
    /// An RFC 9535 query over the payload: deliveries for which it selects the same go one after the
    /// other, in the order of their events. One for which it selects nothing goes by itself.
    pub ordering_key: Option<String>,
    /// Sent with each request beside our own; names are lower case. Values may be as secret as a
    /// password: no log has them.
    pub headers: BTreeMap<String, String>,
    /// For a whole request, its answer included.
    pub timeout: Option<Duration>,
    /// Attempts at a delivery before it is given up.
    pub max_attempts: Option<u32>,
    /// What to wait after the first attempt, after the second and so on; after more than these the
    /// last. Empty means: as the installation's retry tiers are.
    pub schedule: Vec<Duration>,
    pub throttle: Option<Throttle>,
    /// Several events in one request.
    pub batch: Option<Batching>,
    pub client_certificate: Option<ClientCertificate>,
    pub oauth2: Option<ClientCredentials>,
}

impl DeliverySettings {
    /// Whether its deliveries wait in a queue for whoever takes them, rather than in Kafka.
    pub fn is_queued(&self) -> bool {
        self.mode != Mode::Webhook || self.ordering_key.is_some()
    }

    pub const MAX_HEADERS: usize = 20;
    /// Of a header's name and value together.
    pub const MAX_HEADER_BYTES: usize = 4_096;
    pub const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
    pub const MAX_ATTEMPTS: u32 = 50;
    pub const MAX_WAITS: usize = 50;
    pub const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
    pub const MAX_BURST: u32 = 10_000;
}

/// How a subscription's deliveries come to its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are sent.
    #[default]
    Webhook,
    /// They are leased and acknowledged by whoever asks for them.
    Pull,
    /// They are sent, and whoever asks may have those that have not arrived.
    Both,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Pull, Self::Both];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Pull => "pull",
            Self::Both => "both",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// Whether webhooks are sent.
    pub fn pushes(self) -> bool {
        self != Self::Pull
    }

    /// Whether deliveries may be leased; what comes while it is paused is kept then.
    pub fn pulls(self) -> bool {
        self != Self::Webhook
    }
}

/// What goes in one request, at most, and how long the first waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    pub max_events: u32,
    /// Of their payloads together. One that is larger goes alone.
    pub max_bytes: usize,
    pub max_wait: Duration,
}

impl Batching {
    pub const DEFAULT: Self =
        Self { max_events: 100, max_bytes: 1_000_000, max_wait: Duration::from_secs(1) };
    pub const MAX_EVENTS: u32 = 1_000;
    pub const BYTES: (usize, usize) = (1_000, 5_000_000);
    pub const MAX_WAIT: Duration = Duration::from_mins(1);
}

impl fmt::Debug for DeliverySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
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
        } = self;
        f.debug_struct("DeliverySettings")
            .field("mode", mode)
            .field("ordering_key", ordering_key)
            .field("headers", &headers.keys())
            .field("timeout", timeout)
            .field("max_attempts", max_attempts)
            .field("schedule", schedule)
            .field("throttle", throttle)
            .field("batch", batch)
            .field("client_certificate", client_certificate)
            .field("oauth2", oauth2)
            .finish()
    }
}

/// How often an endpoint may be asked: evenly, but for so many at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub rate: RateLimit,
    pub burst: u32,
}

impl Throttle {
    /// What a rate allows at once where nothing else is said: a second's worth, at least one.
    pub fn burst_of(rate: RateLimit) -> u32 {
        let seconds = u32::try_from(rate.window().as_secs()).unwrap_or(u32::MAX).max(1);
        (rate.quota() / seconds).clamp(1, DeliverySettings::MAX_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_what_headers_hold() {
        let headers = [("authorization".to_owned(), "Bearer hidden".to_owned())].into();
        let shown = format!("{:?}", DeliverySettings { headers, ..DeliverySettings::default() });
        assert!(shown.contains("authorization") && !shown.contains("hidden"), "{shown}");
    }
}
