//! How we show receivers who we are, where their owner wants more than a signature: a client
//! certificate (mutual TLS), or an access token that is fetched with the receiver's own credentials
//! (OAuth 2.0, RFC 6749 §4.4). What is secret in them is hidden from `Debug`.

use std::fmt;

/// Shown to an endpoint in the TLS handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM (RFC 7468): the certificate, and those between it and its root.
    pub chain: String,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: String,
}

impl ClientCertificate {
    /// Of the chain and of the key, each, in bytes.
    pub const MAX_BYTES: usize = 32_768;
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Where a token comes from that is sent as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub scope: Option<String>,
    /// For whom the token is; asked for by some authorisation servers, in no RFC.
    pub audience: Option<String>,
    pub sent_in: CredentialsIn,
}

impl ClientCredentials {
    /// Of each member, in bytes.
    pub const MAX_BYTES: usize = 4_096;
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("token_url", &self.token_url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Where the credentials stand in a request for a token (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialsIn {
    /// HTTP Basic.
    #[default]
    Header,
    /// `client_id` and `client_secret`.
    Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_what_is_secret() {
        let certificate =
            ClientCertificate { chain: "public".to_owned(), private_key: "hidden".to_owned() };
        let credentials = ClientCredentials {
            token_url: "https://a.example/token".to_owned(),
            client_id: "public".to_owned(),
            client_secret: "hidden".to_owned(),
            scope: None,
            audience: None,
            sent_in: CredentialsIn::Body,
        };
        let shown = format!("{certificate:?} {credentials:?}");
        assert!(shown.contains("public") && !shown.contains("hidden"), "{shown}");
    }
}
