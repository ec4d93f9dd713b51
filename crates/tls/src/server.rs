//! TLS to our own servers (PostgreSQL, Redis, Cassandra): what an address says of it, in libpq's
//! words (PostgreSQL's documentation, §32.1.2), for each kind of server alike.
//!
//! | parameter | |
//! |---|---|
//! | `sslmode` | how much is asked of the server: [`SslMode`] |
//! | `sslrootcert` | a PEM file: the only roots that the server's certificate may stem from. Without it, the web's |
//! | `sslcert`, `sslkey` | PEM files: our own certificate and its key, for a server that asks for one |

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::{Identity, InvalidIdentity, InvalidTrust, builder, roots_in, roots_of_the_web};

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it, with whatever certificate.
    Prefer,
    /// TLS, with whatever certificate; as `verify-ca` where a root is given.
    Require,
    /// A certificate that stems from a root.
    VerifyCa,
    /// A certificate that stems from a root, and is of the host that was asked for.
    VerifyFull,
}

impl SslMode {
    const ALL: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// The parameters of an address that are about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SslParameters {
    pub mode: Option<SslMode>,
    pub root: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidSsl {
    #[error("has sslmode={0}; known are disable, prefer, require, verify-ca and verify-full")]
    Mode(String),
    #[error(
        "has sslmode=verify-ca without sslrootcert=FILE, so any certificate of the web would do; \
         name the root, or write verify-full"
    )]
    AnyOfTheWeb,
    #[error("has sslcert without sslkey, or sslkey without sslcert; they go together")]
    Half,
    #[error("has an sslrootcert that won't do: {0}")]
    Root(InvalidTrust),
    #[error("has an {parameter} that can't be read, {}: {why}", .path.display())]
    Unreadable { parameter: &'static str, path: PathBuf, why: std::io::Error },
    #[error("has an {parameter} that {why}")]
    Identity { parameter: &'static str, why: InvalidIdentity },
}

impl SslParameters {
    /// Whether `name` is one of these; then `value` is what it says.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, InvalidSsl> {
        match name {
            "sslmode" => {
                let known = SslMode::ALL.into_iter().find(|(name, _)| *name == value);
                let (_, mode) = known.ok_or_else(|| InvalidSsl::Mode(value.to_owned()))?;
                self.mode = Some(mode);
            }
            "sslrootcert" => self.root = Some(value.into()),
            "sslcert" => self.cert = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether anything is said of TLS at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What they come to, where nothing said means `otherwise`. Whoever names a root and no mode
    /// wants it used: `verify-full`.
    pub fn mode(&self, otherwise: SslMode) -> Result<SslMode, InvalidSsl> {
        if self.cert.is_some() != self.key.is_some() {
            return Err(InvalidSsl::Half);
        }
        let unsaid = if self.root.is_some() { SslMode::VerifyFull } else { otherwise };
        match (self.mode.unwrap_or(unsaid), &self.root) {
            (SslMode::VerifyCa, None) => Err(InvalidSsl::AnyOfTheWeb),
            (SslMode::Require, Some(_)) => Ok(SslMode::VerifyCa),
            (mode, _) => Ok(mode),
        }
    }

    /// How a client goes about TLS in this mode. The files are read now: who changes them restarts.
    pub fn client(&self, mode: SslMode) -> Result<ClientConfig, InvalidSsl> {
        let roots = match &self.root {
            Some(path) => roots_in(path).map_err(InvalidSsl::Root)?,
            None => roots_of_the_web(),
        };
        let verifier = Verifier::new(mode, roots);
        let builder = builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let Some(Identity { chain, key }) = self.identity()? else {
            return Ok(builder.with_no_client_auth());
        };
        builder.with_client_auth_cert(chain, key).map_err(|_| InvalidSsl::Identity {
            parameter: "sslcert",
            why: InvalidIdentity::Certificate,
        })
    }

    fn identity(&self) -> Result<Option<Identity>, InvalidSsl> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let read = |parameter, path: &PathBuf| {
            fs::read_to_string(path).map_err(|why| InvalidSsl::Unreadable {
                parameter,
                path: path.clone(),
                why,
            })
        };
        let identity = Identity::parse(&read("sslcert", cert)?, &read("sslkey", key)?);
        identity.map(Some).map_err(|why| {
            let parameter = if why.is_of_key() { "sslkey" } else { "sslcert" };
            InvalidSsl::Identity { parameter, why }
        })
    }
}

/// Judges a server's certificate as a mode says. That the server has the certificate's key is
/// proven in every mode.
#[derive(Debug)]
struct Verifier {
    mode: SslMode,
    /// None where there is nothing to judge by.
    web: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(mode: SslMode, roots: RootCertStore) -> Self {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let web = (mode >= SslMode::VerifyCa).then(|| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .expect("there is a root, and no revocation list to be wrong")
        });
        Self { mode, web, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(web) = &self.web else { return Ok(ServerCertVerified::assertion()) };
        match web.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at last: all else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode < SslMode::VerifyFull => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn said(text: &str) -> Result<SslParameters, InvalidSsl> {
        let mut said = SslParameters::default();
        for (name, value) in text.split('&').filter_map(|one| one.split_once('=')) {
            said.take(name, value)?;
        }
        Ok(said)
    }

    #[test]
    fn modes_are_what_libpq_makes_of_them() {
        use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
        for (text, mode) in [
            ("", Prefer),
            ("sslmode=disable", Disable),
            ("sslmode=require", Require),
            ("sslmode=require&sslrootcert=ca.pem", VerifyCa),
            ("sslmode=verify-ca&sslrootcert=ca.pem", VerifyCa),
            ("sslmode=verify-full", VerifyFull),
            ("sslrootcert=ca.pem", VerifyFull),
            ("sslmode=prefer&sslrootcert=ca.pem", Prefer),
        ] {
            assert_eq!(said(text).unwrap().mode(Prefer).unwrap(), mode, "{text}");
        }
        for (_, mode) in SslMode::ALL {
            assert_eq!(said(&format!("sslmode={}", mode.name())).unwrap().mode, Some(mode));
        }
        for (text, told) in [
            ("sslmode=verify_full", "verify-full"),
            ("sslmode=verify-ca", "sslrootcert=FILE"),
            ("sslcert=a.pem", "go together"),
        ] {
            let error = said(text).and_then(|said| said.mode(Prefer)).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
        assert!(!SslParameters::default().take("host", "a").unwrap());
    }

    #[test]
    fn files_that_wont_do_are_told_by_their_parameter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        fs::write(&path, "").unwrap();
        let (empty, missing) =
            (path.display(), folder.path().join("missing").display().to_string());
        for (text, told) in [
            (format!("sslrootcert={missing}"), "sslrootcert"),
            (format!("sslrootcert={empty}"), "no certificates"),
            (format!("sslcert={missing}&sslkey={empty}"), "sslcert that can't be read"),
            (format!("sslcert={empty}&sslkey={empty}"), "sslcert that holds 1 to 10"),
        ] {
            let error = said(&text).unwrap().client(SslMode::VerifyFull).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_certificate_is_judged_by_the_mode() {
        let authority = || {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority(), authority());
        let of = |issuer: &CertifiedIssuer<'_, KeyPair>, name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
        };
        let judged = |mode, cert: &CertificateDer<'_>| {
            let mut roots = RootCertStore::empty();
            roots.add(ours.der().clone()).unwrap();
            let name = ServerName::try_from("db.example").unwrap();
            let verifier = Verifier::new(mode, roots);
            verifier.verify_server_cert(cert, &[], &name, &[], UnixTime::now()).is_ok()
        };
        let (right, misnamed, foreign) =
            (of(&ours, "db.example"), of(&ours, "b.example"), of(&other, "db.example"));
        for (mode, expected) in [
            (SslMode::Require, [true, true, true]),
            (SslMode::VerifyCa, [true, true, false]),
            (SslMode::VerifyFull, [true, false, false]),
        ] {
            let found = [&right, &misnamed, &foreign].map(|cert| judged(mode, cert));
            assert_eq!(found, expected, "{mode:?}: right, misnamed, foreign");
        }
    }
}
