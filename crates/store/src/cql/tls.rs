//! TLS to the nodes, by OpenSSL: it is here already, for Kafka, and the driver's rustls is not.

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use scylla::client::session::{OpenSsl010Config, TlsContext};
use triggerline_tls::server::{SslMode, SslParameters};

use super::address::Address;
use crate::error::StoreError;

/// `X509_V_ERR_IP_ADDRESS_MISMATCH` of OpenSSL's x509_vfy.h.
const OTHER_ADDRESS: i32 = 64;

/// None where the address doesn't want it. The files are read now.
pub(super) fn context(address: &Address) -> Result<Option<TlsContext>, StoreError> {
    if address.ssl_mode == SslMode::Disable {
        return Ok(None);
    }
    // Says of each file what is wrong with it, in words that OpenSSL doesn't have.
    address.ssl.client(address.ssl_mode)?;
    let built = build(&address.ssl, address.ssl_mode);
    built.map(Some).map_err(|error| StoreError::Address(error.to_string()))
}

fn build(
    SslParameters { root, cert, key, .. }: &SslParameters,
    mode: SslMode,
) -> Result<TlsContext, openssl::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    // The builder has the system's roots as well, wherever this OpenSSL looks for them.
    builder.set_cert_store(X509StoreBuilder::new()?.build());
    if let Some(root) = root {
        builder.set_ca_file(root)?;
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        builder.set_certificate_chain_file(cert)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
    }
    // The driver has a node's certificate held against the node's address.
    builder.set_verify(SslVerifyMode::PEER);
    if mode < SslMode::VerifyFull {
        builder.set_verify_callback(SslVerifyMode::PEER, |right, judged| {
            right || judged.error().as_raw() == OTHER_ADDRESS
        });
    }
    Ok(OpenSsl010Config::new(builder).into())
}
