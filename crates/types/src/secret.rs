//! What signs webhooks, and what they are verified with, in the forms of Standard Webhooks 1.0: a
//! shared secret (`whsec_` and the base64 of 24 to 64 bytes; signatures `v1`), or an ed25519 key pair,
//! of which the private half signs (`whsk_`) and anybody may know the public one (`whpk_`; signatures
//! `v1a`).
//!
//! The text forms are what owners see; a secret never reaches a log, because it has no `Display` and
//! its `Debug` hides it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const SHARED: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";
/// Before the bytes of a key pair where secrets are kept: that makes one more than a shared secret
/// may have.
const PAIR: u8 = 1;

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Shared(Vec<u8>),
    Pair { seed: [u8; 32], public: PublicKey },
}

/// What to sign with.
#[derive(Clone, Copy)]
pub enum SigningKey<'a> {
    /// For HMAC-SHA256.
    Shared(&'a [u8]),
    /// The seed of an ed25519 key pair (RFC 8032 §5.1.5).
    Ed25519(&'a [u8; 32]),
}

/// The public half of an ed25519 key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error(
        "a signing secret starts with {SHARED:?}, or with {PRIVATE:?} where it is an ed25519 key"
    )]
    Prefix,
    #[error("a public key starts with {PUBLIC:?}")]
    NotPublic,
    #[error("what follows the prefix of a secret or a key is base64 (RFC 4648 §4)")]
    Encoding,
    #[error("a signing secret holds 24 to 64 bytes; this one has {0}")]
    Length(usize),
    #[error(
        "an ed25519 key holds 32 bytes, a private one 64 where the public one follows it; this one has {0}"
    )]
    KeyLength(usize),
    #[error("the public half of the ed25519 key is not that of its private half")]
    Pair,
}

impl Secret {
    /// As it is kept ([`Self::to_bytes`]), at most.
    pub const MAX_BYTES: usize = 65;

    /// 32 random bytes to share.
    pub fn generate() -> Self {
        Self(Kind::Shared(random().to_vec()))
    }

    /// A new ed25519 key pair.
    pub fn generate_pair() -> Self {
        // Any 32 bytes are a good seed.
        let seed = random();
        Self::pair(&seed).unwrap_or_else(|_| Self::generate_pair())
    }

    fn pair(bytes: &[u8]) -> Result<Self, InvalidSecret> {
        let (seed, given) =
            bytes.split_at_checked(32).ok_or(InvalidSecret::KeyLength(bytes.len()))?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| InvalidSecret::KeyLength(bytes.len()))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| InvalidSecret::Pair)?;
        let public = pair.public_key().as_ref();
        match given.len() {
            0 => {}
            32 if given == public => {}
            32 => return Err(InvalidSecret::Pair),
            _ => return Err(InvalidSecret::KeyLength(bytes.len())),
        }
        let public = public.try_into().map_err(|_| InvalidSecret::Pair)?;
        Ok(Self(Kind::Pair { seed, public: PublicKey(public) }))
    }

    /// Out of what [`Self::to_bytes`] made.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        match bytes.split_first() {
            Some((&PAIR, pair)) if pair.len() == 64 => Self::pair(pair),
            _ if (24..=64).contains(&bytes.len()) => Ok(Self(Kind::Shared(bytes))),
            _ => Err(InvalidSecret::Length(bytes.len())),
        }
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Shared(bytes) => bytes.clone(),
            Kind::Pair { seed, public } => [&[PAIR], &seed[..], &public.0[..]].concat(),
        }
    }

    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        if let Some(encoded) = text.strip_prefix(PRIVATE) {
            return Self::pair(&decode(encoded)?);
        }
        let bytes = decode(text.strip_prefix(SHARED).ok_or(InvalidSecret::Prefix)?)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(InvalidSecret::Length(bytes.len()));
        }
        Ok(Self(Kind::Shared(bytes)))
    }

    pub fn signing_key(&self) -> SigningKey<'_> {
        match &self.0 {
            Kind::Shared(bytes) => SigningKey::Shared(bytes),
            Kind::Pair { seed, .. } => SigningKey::Ed25519(seed),
        }
    }

    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.0 {
            Kind::Shared(_) => None,
            Kind::Pair { public, .. } => Some(*public),
        }
    }

    /// A new one of the same kind.
    pub fn another(&self) -> Self {
        match &self.0 {
            Kind::Shared(_) => Self::generate(),
            Kind::Pair { .. } => Self::generate_pair(),
        }
    }

    /// The whole of it as text, for its owner's eyes.
    pub fn reveal(&self) -> String {
        match &self.0 {
            Kind::Shared(bytes) => format!("{SHARED}{}", STANDARD.encode(bytes)),
            Kind::Pair { seed, public } => {
                format!("{PRIVATE}{}", STANDARD.encode([&seed[..], &public.0[..]].concat()))
            }
        }
    }

    /// What a receiver verifies with: the shared secret, or the public key.
    pub fn for_receivers(&self) -> String {
        self.public_key().map_or_else(|| self.reveal(), |public| public.to_string())
    }
}

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = decode(text.strip_prefix(PUBLIC).ok_or(InvalidSecret::NotPublic)?)?;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_| InvalidSecret::KeyLength(length))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

fn decode(encoded: &str) -> Result<Vec<u8>, InvalidSecret> {
    STANDARD.decode(encoded).map_err(|_| InvalidSecret::Encoding)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of RFC 8032 §7.1, TEST 1.
    const WHSK: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
    const WHPK: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn the_text_form_is_read_back_and_debug_hides_it() {
        for secret in [Secret::generate(), Secret::generate_pair(), Secret::parse(WHSK).unwrap()] {
            assert_eq!(Secret::parse(&secret.reveal()), Ok(secret.clone()));
            assert_eq!(Secret::from_bytes(secret.to_bytes()), Ok(secret.clone()));
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
    }

    #[test]
    fn receivers_are_given_no_more_than_they_need() {
        let pair = Secret::parse(WHSK).unwrap();
        assert_eq!(pair.for_receivers(), WHPK);
        assert_eq!(PublicKey::parse(WHPK).ok(), pair.public_key());
        let seed = format!("whsk_{}", STANDARD.encode(&pair.to_bytes()[1..33]));
        assert_eq!(Secret::parse(&seed).unwrap(), pair, "the public half follows from it");
        let shared = Secret::generate();
        assert_eq!((shared.for_receivers(), shared.public_key()), (shared.reveal(), None));
        assert!(shared.another().public_key().is_none() && pair.another().public_key().is_some());
    }

    #[test]
    fn a_bad_secret_says_what_is_wrong() {
        let other = WHSK.replace('n', "o");
        for (text, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", InvalidSecret::Prefix),
            (WHPK, InvalidSecret::Prefix),
            ("whsec_not base64", InvalidSecret::Encoding),
            ("whsec_c2hvcnQ=", InvalidSecret::Length(5)),
            ("whsk_c2hvcnQ=", InvalidSecret::KeyLength(5)),
            (&other, InvalidSecret::Pair),
        ] {
            assert_eq!(Secret::parse(text), Err(error), "{text}");
        }
        assert_eq!(PublicKey::parse(WHSK), Err(InvalidSecret::NotPublic));
        assert_eq!(PublicKey::parse("whpk_c2hvcnQ="), Err(InvalidSecret::KeyLength(5)));
    }
}
