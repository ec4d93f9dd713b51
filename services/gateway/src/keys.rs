//! API keys: how they look, how they are made, what is kept of them, and what one may do to
//! another. Pure but for the random bits.
//!
//! A key is `tl_<env>_<33 characters><6 characters>`: 192 random bits in base 62, and the
//! CRC-32 of everything before it in base 62, so that a mistyped key is told from an unknown
//! one without a look-up, and secret scanners can find keys with few false alarms.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use sha2::Sha256;
use time::OffsetDateTime;
use triggerline_types::{ApiKey, ApiKeyId, CustomerId, RateLimit, Scope, truncate_to_millis};

const RANDOM_DIGITS: usize = 33;
const CHECK_DIGITS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key for the environment `env` (`live`, `test`, `dev`).
pub fn generate(env: &str) -> String {
    let bits: [u8; 24] = rand::rng().random();
    let high = u128::from_be_bytes([&[0; 4], &bits[..12]].concat().try_into().unwrap_or_default());
    let low = u128::from_be_bytes([&[0; 4], &bits[12..]].concat().try_into().unwrap_or_default());
    // Each half of 96 bits takes 17 digits; the first digit of the first half is always 0.
    let random = format!("{}{}", base62(high, 17), base62(low, 17));
    let body = format!("tl_{env}_{}", &random[random.len() - RANDOM_DIGITS..]);
    let check = base62(u128::from(crc32fast::hash(body.as_bytes())), CHECK_DIGITS);
    format!("{body}{check}")
}

/// A key that was just made, to be shown this once.
pub struct NewKey {
    pub text: String,
    /// What is kept of it.
    pub key: ApiKey,
}

/// Characters of a key that are shown later on: its prefix and a few of its 33 digits.
const HINT_DIGITS: usize = 4;

/// A new key, which never expires and asks as often as its customer may.
pub fn new_key(
    pepper: &Pepper,
    env: &str,
    customer_id: CustomerId,
    name: String,
    scopes: Vec<Scope>,
) -> NewKey {
    let text = generate(env);
    let hint = text[..text.len() - RANDOM_DIGITS - CHECK_DIGITS + HINT_DIGITS].to_owned();
    let key = ApiKey {
        id: ApiKeyId::new(),
        customer_id,
        name,
        hint,
        hash: pepper.hash(&text),
        scopes,
        rate_limit: None,
        created_at: truncate_to_millis(OffsetDateTime::now_utc()),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    NewKey { text, key }
}

/// A scope that `target` has and `own` lacks. Who lacks one can neither make such a key nor take
/// it away.
pub(crate) fn scope_beyond(own: &ApiKey, target: &ApiKey) -> Option<Scope> {
    target.scopes.iter().copied().find(|scope| !own.allows(*scope))
}

/// The earlier of two ends; `None` is never.
pub(crate) fn earlier(
    one: Option<OffsetDateTime>,
    other: Option<OffsetDateTime>,
) -> Option<OffsetDateTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The lower of two keys' own limits; `None` is the customer's. Lower is what allows less in the
/// long run, or else less at once.
pub(crate) fn lower(
    one: Option<RateLimit>,
    other: Option<RateLimit>,
    customers: RateLimit,
) -> Option<RateLimit> {
    let (a, b) = (one.unwrap_or(customers), other.unwrap_or(customers));
    let over = |limit: RateLimit, by: RateLimit| u128::from(limit.quota()) * by.window().as_nanos();
    if (over(b, a), b.quota()) < (over(a, b), a.quota()) { other } else { one }
}

/// Whether `text` has the form of a key and its check digits are right.
pub fn is_well_formed(text: &str) -> bool {
    let Some((env, digits)) = text.strip_prefix("tl_").and_then(|rest| rest.rsplit_once('_'))
    else {
        return false;
    };
    if env.is_empty()
        || digits.len() != RANDOM_DIGITS + CHECK_DIGITS
        || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return false;
    }
    let (body, check) = text.split_at(text.len() - CHECK_DIGITS);
    base62(u128::from(crc32fast::hash(body.as_bytes())), CHECK_DIGITS) == check
}

fn base62(mut number: u128, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    text.into_iter().map(char::from).collect()
}

/// The installation's own secret. Without it, the stored hashes are of no use to anyone.
#[derive(Clone)]
pub struct Pepper(Vec<u8>);

/// Fewer bytes than this are guessable.
const SHORTEST_PEPPER: usize = 16;

impl Pepper {
    /// `None` where it is too short to be a secret.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() >= SHORTEST_PEPPER).then(|| Self(text.as_bytes().to_vec()))
    }

    /// What is kept of a key.
    pub fn hash(&self, key: &str) -> [u8; 32] {
        self.mac("api-key", key.as_bytes())
    }

    /// HMAC-SHA256 under the pepper, apart for each purpose.
    pub(crate) fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 §2)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_well_formed_and_a_mistyped_one_is_not() {
        for _ in 0..1_000 {
            let key = generate("live");
            assert_eq!(key.len(), "tl_live_".len() + 39, "{key}");
            assert!(is_well_formed(&key), "{key}");
            let mut mistyped = key.clone().into_bytes();
            mistyped[20] = if mistyped[20] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed(std::str::from_utf8(&mistyped).unwrap()), "{key}");
        }
        for text in ["", "tl_", "tl_live_", "sk_live_abc", "tl_live_ü", "tl__x"] {
            assert!(!is_well_formed(text), "{text}");
        }
    }

    #[test]
    fn hashes_depend_on_the_key_the_pepper_and_the_purpose() {
        let pepper = Pepper::new("0123456789abcdef").unwrap();
        let other = Pepper::new("0123456789abcdeF").unwrap();
        assert_ne!(pepper.hash("a"), pepper.hash("b"));
        assert_ne!(pepper.hash("a"), other.hash("a"));
        assert_ne!(pepper.hash("a"), pepper.mac("cursor", b"a"));
        assert!(Pepper::new("short").is_none());
    }

    #[test]
    fn a_key_reaches_no_mightier_one() {
        use Scope::{Admin, EventsWrite, KeysRead, KeysWrite};
        let pepper = Pepper::new("0123456789abcdef").unwrap();
        let key = |scopes: &[Scope]| {
            new_key(&pepper, "test", CustomerId::new(), "k".to_owned(), scopes.to_vec()).key
        };
        for (own, target, beyond) in [
            (&[KeysWrite][..], &[KeysWrite][..], None),
            (&[KeysWrite, EventsWrite], &[EventsWrite], None),
            (&[KeysWrite], &[KeysWrite, EventsWrite], Some(EventsWrite)),
            (&[KeysWrite, EventsWrite], &[Admin], Some(Admin)),
            (&[KeysWrite, Admin], &[KeysRead, Admin], Some(KeysRead)),
        ] {
            assert_eq!(scope_beyond(&key(own), &key(target)), beyond, "{own:?} {target:?}");
        }
    }

    #[test]
    fn of_two_ends_and_limits_the_tighter_one_counts() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        for (one, other, expected) in [
            (None, None, None),
            (Some(1), None, Some(1)),
            (None, Some(1), Some(1)),
            (Some(1), Some(2), Some(1)),
            (Some(2), Some(1), Some(1)),
        ] {
            assert_eq!(earlier(one.map(at), other.map(at)), expected.map(at));
        }
        // The customer's is 600/1m.
        for (one, other, expected) in [
            (None, None, None),
            (Some("9/1s"), None, Some("9/1s")),
            (None, Some("9/1s"), Some("9/1s")),
            (Some("11/1s"), None, None),
            (None, Some("11/1s"), None),
            (Some("10/1s"), None, Some("10/1s")),
            (Some("600/1h"), Some("9/1s"), Some("600/1h")),
            (Some("9/1s"), Some("600/1h"), Some("600/1h")),
            (Some("4000000000/1s"), Some("1/1d"), Some("1/1d")),
        ] {
            let limit = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            let lower = lower(limit(one), limit(other), "600/1m".parse().unwrap());
            assert_eq!(lower, limit(expected), "{one:?} {other:?}");
        }
    }
}
