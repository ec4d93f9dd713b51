//! Secrets as they are kept: sealed with AES-256-GCM (NIST SP 800-38D) under a key that the store
//! never sees, so that a copy of the database signs nothing. They are opened in the memory of the
//! services that use them, and nowhere else.
//!
//! A sealed text is `sealed:KEY:BASE64`: the name of the key, then a random nonce, the ciphertext and
//! its tag. Whose it is and what it is ([`Place`]) is sealed with it: put elsewhere, it doesn't open.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use triggerline_types::SubscriptionId;

const SEALED: &str = "sealed:";

/// The keys that secrets are sealed with. The first seals; all open. Without any, secrets are kept as
/// they are.
#[derive(Clone, Default)]
pub struct SecretKeys(Arc<[Named]>);

struct Named {
    name: String,
    key: LessSafeKey,
    /// It has opened something: so it is the right one.
    proven: AtomicBool,
}

/// What a sealed text is of.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) subscription: SubscriptionId,
    pub(crate) what: &'static str,
}

/// What is kept can't be opened with the keys that are here. Nobody may go on as if it weren't there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Locked {
    #[error("a secret that is sealed with the key {0:?}, which control.secret_keys doesn't have")]
    Missing(String),
    #[error(
        "a secret that the key {0:?} of control.secret_keys doesn't open: it is another key, or the row was tampered with"
    )]
    Wrong(String),
    #[error("a sealed secret that was cut off")]
    Malformed,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretKeys {
    #[error(
        "is NAME:KEY, several separated by commas, the key in base64; make one with: echo \"k1:$(openssl rand -base64 32)\""
    )]
    Form,
    #[error("has a name, {0:?}, that is not 1 to 32 letters, digits, - and _")]
    Name(String),
    #[error("has a key, {name:?}, of {bytes} bytes; 32 are needed: openssl rand -base64 32")]
    Length { name: String, bytes: usize },
    #[error("names {0:?} twice")]
    Twice(String),
}

impl SecretKeys {
    /// Out of `NAME:BASE64` each.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, InvalidSecretKeys> {
        let mut keys: Vec<Named> = Vec::new();
        for text in texts {
            let (name, key) = text.as_ref().split_once(':').ok_or(InvalidSecretKeys::Form)?;
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > 32 || !name.bytes().all(known) {
                return Err(InvalidSecretKeys::Name(name.to_owned()));
            }
            let key = STANDARD.decode(key).map_err(|_| InvalidSecretKeys::Form)?;
            let (name, bytes) = (name.to_owned(), key.len());
            let Ok(key) = UnboundKey::new(&AES_256_GCM, &key) else {
                return Err(InvalidSecretKeys::Length { name, bytes });
            };
            if keys.iter().any(|other| other.name == name) {
                return Err(InvalidSecretKeys::Twice(name));
            }
            let key = LessSafeKey::new(key);
            keys.push(Named { name, key, proven: AtomicBool::new(false) });
        }
        Ok(Self(keys.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it is kept; `None` without keys.
    pub(crate) fn seal(&self, place: Place, plain: &[u8]) -> Option<String> {
        let Named { name, key, .. } = self.0.first()?;
        // Random nonces: good for 2^32 of them under one key (SP 800-38D §8.3).
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill(&mut nonce[..]);
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.bytes()),
            &mut sealed,
        )
        // Only what is longer than 64 GB can't be sealed.
        .ok()?;
        let text = STANDARD.encode([&nonce[..], &sealed].concat());
        Some(format!("{SEALED}{name}:{text}"))
    }

    /// What `kept` holds, where it is sealed; `None` where it isn't.
    pub(crate) fn open(&self, place: Place, kept: &str) -> Result<Option<Vec<u8>>, Locked> {
        let Some(sealed) = kept.strip_prefix(SEALED) else {
            return Ok(None);
        };
        let (name, text) = sealed.split_once(':').ok_or(Locked::Malformed)?;
        let named = self.0.iter().find(|known| known.name == name);
        let named = named.ok_or_else(|| Locked::Missing(name.to_owned()))?;
        let bytes = STANDARD.decode(text).map_err(|_| Locked::Malformed)?;
        let (nonce, rest) = bytes.split_first_chunk().ok_or(Locked::Malformed)?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = named.key.open_in_place(nonce, Aad::from(place.bytes()), &mut rest);
        let plain = plain.map_err(|_| Locked::Wrong(name.to_owned()))?.to_vec();
        named.proven.store(true, Ordering::Relaxed);
        Ok(Some(plain))
    }

    /// Whether it is the row that is wrong, and not the keys.
    pub(crate) fn blame_the_row(&self, locked: &Locked) -> bool {
        match locked {
            Locked::Missing(_) => false,
            Locked::Malformed => true,
            Locked::Wrong(name) => {
                let named = self.0.iter().find(|known| known.name == *name);
                named.is_some_and(|named| named.proven.load(Ordering::Relaxed))
            }
        }
    }

    /// Whether what is kept is as it would be written today.
    pub(crate) fn is_current(&self, kept: &str) -> bool {
        let sealed = kept.strip_prefix(SEALED).and_then(|rest| rest.split_once(':'));
        sealed.map(|(name, _)| name) == self.0.first().map(|first| first.name.as_str())
    }
}

impl Place {
    fn bytes(self) -> Vec<u8> {
        [self.subscription.as_uuid().as_bytes(), self.what.as_bytes()].concat()
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|named| &named.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> SecretKeys {
        let key = |name: &&str| format!("{name}:{}", STANDARD.encode([name.as_bytes()[1]; 32]));
        SecretKeys::parse(&names.iter().map(key).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_where_it_belongs_and_nowhere_else() {
        let place = Place { subscription: SubscriptionId::new(), what: "secret" };
        let sealed = keys(&["k1"]).seal(place, b"hidden").unwrap();
        assert!(sealed.starts_with("sealed:k1:") && !sealed.contains("hidden"), "{sealed}");
        assert_ne!(Some(&sealed), keys(&["k1"]).seal(place, b"hidden").as_ref());
        // A rotated key still opens.
        for known in [&["k1"][..], &["k2", "k1"]] {
            assert_eq!(keys(known).open(place, &sealed), Ok(Some(b"hidden".to_vec())));
        }
        let elsewhere = [
            Place { subscription: SubscriptionId::new(), ..place },
            Place { what: "settings", ..place },
        ];
        for place in elsewhere {
            assert_eq!(keys(&["k1"]).open(place, &sealed), Err(Locked::Wrong("k1".to_owned())));
        }
        assert_eq!(keys(&["k2"]).open(place, &sealed), Err(Locked::Missing("k1".to_owned())));
        let other = SecretKeys::parse(&[format!("k1:{}", STANDARD.encode([9; 32]))]).unwrap();
        assert_eq!(other.open(place, &sealed), Err(Locked::Wrong("k1".to_owned())));
        for cut in ["sealed:", "sealed:k1:", "sealed:k1:AAAA", "sealed:k1:not base64"] {
            assert_eq!(keys(&["k1"]).open(place, cut), Err(Locked::Malformed), "{cut}");
        }
        assert_eq!(keys(&["k1"]).open(place, "whsec_plain"), Ok(None));
        assert_eq!(SecretKeys::default().seal(place, b"plain"), None);
    }

    #[test]
    fn what_is_current_is_sealed_with_the_first_key() {
        let place = Place { subscription: SubscriptionId::new(), what: "secret" };
        let (none, one, two) = (SecretKeys::default(), keys(&["k1"]), keys(&["k2", "k1"]));
        let sealed = one.seal(place, b"hidden").unwrap();
        assert!(one.is_current(&sealed) && !two.is_current(&sealed) && !none.is_current(&sealed));
        assert!(none.is_current("[]") && !one.is_current("[]"));
    }

    #[test]
    fn bad_keys_are_refused_with_what_is_wrong() {
        let good = STANDARD.encode([1; 32]);
        for (texts, error) in [
            (vec!["k1".to_owned()], InvalidSecretKeys::Form),
            (vec!["k1:%".to_owned()], InvalidSecretKeys::Form),
            (vec![format!(":{good}")], InvalidSecretKeys::Name(String::new())),
            (vec![format!("k 1:{good}")], InvalidSecretKeys::Name("k 1".to_owned())),
            (
                vec!["k1:AAAA".to_owned()],
                InvalidSecretKeys::Length { name: "k1".to_owned(), bytes: 3 },
            ),
            (
                vec![format!("k1:{good}"), format!("k1:{good}")],
                InvalidSecretKeys::Twice("k1".to_owned()),
            ),
        ] {
            assert_eq!(SecretKeys::parse(&texts).unwrap_err(), error, "{texts:?}");
        }
        let shown = format!("{:?}", keys(&["k1"]));
        assert_eq!(shown, "[\"k1\"]");
    }
}
