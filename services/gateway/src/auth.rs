//! Who is asking. A key is checked against the control store, and trusted for a moment after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::future::Cache;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use triggerline_store::ControlStore;
use triggerline_types::{ApiKey, CustomerId, Scope};

use crate::keys::{Pepper, is_well_formed};
use crate::problem::{Kind, Problem};

/// Keys that are remembered at once; beyond this the least used are looked up again.
const CACHED_KEYS: u64 = 100_000;

/// How long a key that was seen goes on opening the door while the control store is away:
/// ingest must not stop with it.
const OUTAGE: Duration = Duration::from_hours(1);

pub(crate) struct Auth {
    control: Arc<dyn ControlStore>,
    pepper: Pepper,
    /// How long an answer of the store is taken as it is.
    trust: Duration,
    /// By hash.
    cache: Cache<[u8; 32], Seen>,
}

/// What the store said of a key, and when. `None` for a key that it doesn't know, so that
/// guessing costs it nothing either.
#[derive(Clone)]
struct Seen {
    key: Option<Arc<ApiKey>>,
    /// When the store said so.
    at: Instant,
    /// When it was last asked, with or without success.
    asked: Instant,
}

impl Auth {
    pub(crate) fn new(control: Arc<dyn ControlStore>, pepper: Pepper, trust: Duration) -> Self {
        let cache = Cache::builder().max_capacity(CACHED_KEYS).time_to_live(OUTAGE).build();
        Self { control, pepper, trust, cache }
    }

    async fn look_up(&self, hash: &[u8; 32]) -> Result<Option<Arc<ApiKey>>, Problem> {
        let seen = self.cache.get(hash).await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.asked.elapsed() < self.trust) {
            return Ok(seen.key.clone());
        }
        match self.control.api_key(hash).await {
            Ok(found) => {
                let key = found.map(Arc::new);
                let now = Instant::now();
                self.cache.insert(*hash, Seen { key: key.clone(), at: now, asked: now }).await;
                Ok(key)
            }
            Err(error) => {
                let seen = seen.filter(|seen| seen.at.elapsed() < OUTAGE && seen.key.is_some());
                let Some(seen) = seen else {
                    tracing::warn!(%error, "an API key can't be looked up");
                    let detail = "The API key can't be checked at the moment.";
                    return Err(Problem::new(Kind::Unavailable, detail));
                };
                tracing::debug!(%error, "an API key is taken as it was last seen");
                // Not asked again for a moment: each ask may wait for a time-out.
                let key = seen.key.clone();
                self.cache.insert(*hash, Seen { asked: Instant::now(), ..seen }).await;
                Ok(key)
            }
        }
    }

    /// The customer on whose behalf a request with these headers may use `scope`.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<CustomerId, Problem> {
        let key = presented(headers).filter(|key| is_well_formed(key)).ok_or_else(unauthorized)?;
        let hash = self.pepper.hash(key);
        let found = self.look_up(&hash).await?;
        // Unknown, expired and revoked look the same from outside.
        let key = found
            .filter(|key| {
                bool::from(key.hash.ct_eq(&hash)) && key.is_live(OffsetDateTime::now_utc())
            })
            .ok_or_else(unauthorized)?;
        if !key.allows(scope) {
            let detail = format!("This needs a key with the scope {scope}.");
            return Err(Problem::new(Kind::MissingScope, detail));
        }
        Ok(key.customer_id)
    }
}

/// `Authorization: Bearer …` (RFC 6750 §2.1), else `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

fn unauthorized() -> Problem {
    let detail = "Send a valid key as \"Authorization: Bearer tl_…\" or \"X-API-Key: tl_…\".";
    Problem::new(Kind::Unauthorized, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_either_header() {
        for (name, value, key) in [
            ("authorization", "Bearer tl_a", Some("tl_a")),
            ("authorization", "bearer  tl_a ", Some("tl_a")),
            ("authorization", "Basic tl_a", None),
            ("authorization", "tl_a", None),
            ("x-api-key", "tl_a", Some("tl_a")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented(&headers), key, "{name}: {value}");
        }
    }
}
