//! TLS where we are the client: whom we believe ([`Trust`]), and who we say we are ([`Identity`]).
//!
//! To receivers: the gateway judges the client certificates that customers give; the delivery
//! service shows them. To our own databases: [`server`], as their addresses say.
//!
//! The cryptography is ring's, said outright: with a second provider linked (a dependency of the
//! embedded broker brings one), rustls would otherwise panic wherever no `main` has chosen for it.

pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

/// Certificates in one chain, at most.
const CHAIN: usize = 10;

/// The roots that a receiver's certificate may stem from.
#[derive(Clone)]
pub struct Trust(Arc<RootCertStore>);

#[derive(Debug, thiserror::Error)]
pub enum InvalidTrust {
    #[error("can't read {}: {why}", .path.display())]
    Unreadable { path: PathBuf, why: pem::Error },
    #[error("{} holds no certificates (PEM, BEGIN CERTIFICATE)", .0.display())]
    Empty(PathBuf),
    #[error("{} holds a certificate, the {nth}., that can't be a root: {why}", .path.display())]
    Root { path: PathBuf, nth: usize, why: rustls::Error },
}

impl Trust {
    /// The roots of the web (Mozilla's), and those in a PEM file.
    pub fn new(more: Option<&Path>) -> Result<Self, InvalidTrust> {
        let mut roots = roots_of_the_web();
        if let Some(path) = more {
            roots.extend(roots_in(path)?.roots);
        }
        Ok(Self(Arc::new(roots)))
    }

    /// How a client goes about TLS. The application protocols are the caller's to add.
    pub fn client(&self, identity: Option<&Identity>) -> ClientConfig {
        let anonymous = || builder().with_root_certificates(Arc::clone(&self.0));
        let named = identity.and_then(|Identity { chain, key }| {
            // It was tried when it was read.
            anonymous().with_client_auth_cert(chain.clone(), key.clone_key()).ok()
        });
        named.unwrap_or_else(|| anonymous().with_no_client_auth())
    }
}

fn roots_of_the_web() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// Those in a PEM file, one at least.
fn roots_in(path: &Path) -> Result<RootCertStore, InvalidTrust> {
    let unreadable = |why| InvalidTrust::Unreadable { path: path.to_owned(), why };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(unreadable)?;
    if found.is_empty() {
        return Err(InvalidTrust::Empty(path.to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for (nth, root) in (1..).zip(found) {
        let path = path.to_owned();
        roots.add(root).map_err(|why| InvalidTrust::Root { path, nth, why })?;
    }
    Ok(roots)
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
}

/// A client certificate and its private key, which fit together.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// No error quotes what it read: it may be the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    #[error(
        "holds 1 to {CHAIN} certificates in PEM (RFC 7468), from -----BEGIN CERTIFICATE----- on, \
         the client's own first; here are {0}"
    )]
    Chain(usize),
    #[error("is PEM (RFC 7468) with something wrong in it")]
    ChainForm,
    #[error(
        "holds a private key in PEM (RFC 7468), from -----BEGIN PRIVATE KEY----- on, without a \
         password"
    )]
    Key,
    #[error("is not the key of the certificate")]
    OtherKey,
    #[error(
        "is a key that TLS can't use: RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
    )]
    UnusableKey,
    #[error("holds a certificate that can't be read (X.509)")]
    Certificate,
}

impl InvalidIdentity {
    /// Whether it is the key that is wrong, rather than the certificate.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::Key | Self::OtherKey | Self::UnusableKey)
    }
}

impl Identity {
    pub fn parse(chain: &str, key: &str) -> Result<Self, InvalidIdentity> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidIdentity::ChainForm)?;
        if chain.is_empty() || chain.len() > CHAIN {
            return Err(InvalidIdentity::Chain(chain.len()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| InvalidIdentity::Key)?;
        ring::sign::any_supported_type(&key).map_err(|_| InvalidIdentity::UnusableKey)?;
        let tried = builder()
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain.clone(), key.clone_key());
        match tried {
            Ok(_) => Ok(Self { chain, key }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(InvalidIdentity::OtherKey),
            Err(_) => Err(InvalidIdentity::Certificate),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn an_identity_is_a_certificate_and_its_key() {
        let ((chain, key), (_, other)) = (made(), made());
        assert!(Identity::parse(&chain, &key).is_ok());
        assert!(Identity::parse(&format!("{chain}{}", made().0), &key).is_ok());
        let cut = &chain[..chain.len() / 2];
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (chain, key, error) in [
            ("", key.as_str(), InvalidIdentity::Chain(0)),
            (&key, &key, InvalidIdentity::Chain(0)),
            (&chain.repeat(11), &key, InvalidIdentity::Chain(11)),
            (cut, &key, InvalidIdentity::ChainForm),
            (&chain, "", InvalidIdentity::Key),
            (&chain, &chain, InvalidIdentity::Key),
            (&chain, no_key, InvalidIdentity::UnusableKey),
            (&chain, &other, InvalidIdentity::OtherKey),
            (no_certificate, &key, InvalidIdentity::Certificate),
        ] {
            assert_eq!(Identity::parse(chain, key).unwrap_err(), error, "{chain} {key}");
        }
    }

    #[test]
    fn roots_are_read_from_a_file_or_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = folder.path().join("roots.pem");
            std::fs::write(&path, text).unwrap();
            Trust::new(Some(&path)).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(file(&made().0), Ok(()));
        assert!(file("").unwrap_err().contains("no certificates"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(file(broken).unwrap_err().contains("the 1., that can't be a root"));
        let missing = Trust::new(Some(&folder.path().join("missing"))).err().unwrap();
        assert!(missing.to_string().contains("can't read"), "{missing}");
    }
}
