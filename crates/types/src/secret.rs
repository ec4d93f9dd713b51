//! The signing secret of a webhook, in the form of Standard Webhooks 1.0
//! (`whsec_` + base64 of 24–64 bytes). The text form is what owners see; it never
//! reaches a log, because it has no `Display` and its `Debug` hides it.

use std::fmt;

use rand::RngExt;

const PREFIX: &str = "whsec_";

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("a signing secret starts with {PREFIX:?}")]
    Prefix,
    #[error("what follows {PREFIX:?} in a signing secret is base64 (RFC 4648 §4)")]
    Encoding,
    #[error("a signing secret holds 24 to 64 bytes; this one has {0}")]
    Length(usize),
}

impl Secret {
    /// 32 random bytes.
    pub fn generate() -> Self {
        let mut bytes = vec![0; 32];
        rand::rng().fill(&mut bytes[..]);
        Self(bytes)
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(InvalidSecret::Length(bytes.len()))
        }
    }

    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        use base64::Engine as _;
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| InvalidSecret::Encoding)?;
        Self::from_bytes(bytes)
    }

    /// The key for HMAC.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `whsec_…` form, for its owner's eyes.
    pub fn reveal(&self) -> String {
        use base64::Engine as _;
        format!("{PREFIX}{}", base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_back_and_debug_hides_it() {
        let secret = Secret::generate();
        assert_eq!(Secret::parse(&secret.reveal()), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_bad_secret_says_what_is_wrong() {
        for (text, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", InvalidSecret::Prefix),
            ("whsec_not base64", InvalidSecret::Encoding),
            ("whsec_c2hvcnQ=", InvalidSecret::Length(5)),
        ] {
            assert_eq!(Secret::parse(text), Err(error), "{text}");
        }
    }
}
