//! Whoever asks, found before a handler of either door is reached: the key is checked and the
//! request counted against its limit.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use triggerline_types::{CustomerId, Scope};

use crate::Shared;
use crate::auth::Caller;
use crate::limits::{Cost, Standing};
use crate::problem::Problem;

/// Whoever asks, and where their limit stands.
#[derive(Clone)]
pub(crate) struct Asking {
    caller: Arc<Caller>,
    standing: Arc<Mutex<Standing>>,
}

/// Why a request goes no further.
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    /// Where a key was known.
    pub(crate) standing: Option<Standing>,
}

impl Asking {
    /// Counts the request as one.
    pub(crate) async fn identify(shared: &Shared, headers: &HeaderMap) -> Result<Self, Refusal> {
        let caller = shared.auth.check(headers).await;
        let caller = caller.map_err(|problem| Refusal { problem, standing: None })?;
        match shared.limiter.take(&caller.share, Cost::ONE).await {
            Ok(standing) => Ok(Self { caller, standing: Arc::new(Mutex::new(standing)) }),
            Err(exceeded) => {
                let standing = Some(exceeded.standing);
                Err(Refusal { problem: exceeded.problem(), standing })
            }
        }
    }

    /// The customer on whose behalf the caller may use `scope`.
    pub(crate) fn may(&self, scope: Scope) -> Result<CustomerId, Problem> {
        self.caller.require(scope)?;
        Ok(self.caller.customer())
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Counts one event more than the one that each request is.
    pub(crate) async fn take_one(&self, shared: &Shared) -> Result<(), Problem> {
        self.take(shared, Cost::ONE).await
    }

    /// Counts the events of a batch, of which the request itself has counted as the first.
    pub(crate) async fn take_batch(&self, shared: &Shared, events: usize) -> Result<(), Problem> {
        if events <= 1 {
            return Ok(());
        }
        self.take(shared, Cost::rest_of(events)).await
    }

    async fn take(&self, shared: &Shared, cost: Cost) -> Result<(), Problem> {
        let taken = shared.limiter.take(&self.caller.share, cost).await;
        let (standing, result) = match taken {
            Ok(standing) => (standing, Ok(())),
            Err(exceeded) => (exceeded.standing, Err(exceeded.problem())),
        };
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        result
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `RateLimit-Policy: "key";q=600;w=60` and `RateLimit: "key";r=12;t=30`
/// (draft-ietf-httpapi-ratelimit-headers-10; structured fields, RFC 9651): the quota and its
/// window in seconds; what is left, and in how many seconds all of it is free again.
pub(crate) fn add_fields(headers: &mut HeaderMap, standing: Standing) {
    let Standing { limit, remaining, reset } = standing;
    let reset = reset.as_millis().div_ceil(1_000);
    for (name, value) in [
        ("ratelimit-policy", format!("\"key\";q={};w={}", limit.quota(), limit.window().as_secs())),
        ("ratelimit", format!("\"key\";r={remaining};t={reset}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_are_in_seconds() {
        let mut headers = HeaderMap::new();
        let standing = Standing {
            limit: "600/1m".parse().unwrap(),
            remaining: 12,
            reset: Duration::from_millis(1_001),
        };
        add_fields(&mut headers, standing);
        assert_eq!(headers["ratelimit-policy"], "\"key\";q=600;w=60");
        assert_eq!(headers["ratelimit"], "\"key\";r=12;t=2");
    }
}
