//! Who a subscription's requests say they are from, as it is asked for and shown: the members
//! `client_certificate` and `oauth2` of `delivery`. What is secret in them is never shown again.

use serde::{Deserialize, Serialize};
use triggerline_guard::{Reach, check_url};
use triggerline_tls::Identity;
use triggerline_types::{ClientCertificate, ClientCredentials, CredentialsIn, DeliverySettings};
use utoipa::ToSchema;

use crate::problem::Problem;

/// For mutual TLS: shown to the endpoint in the handshake.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateBody {
    /// PEM (RFC 7468): the certificate, and those between it and its root; 10 at most.
    #[schema(max_length = 32_768, example = "-----BEGIN CERTIFICATE-----\n…")]
    certificate: String,
    /// PEM: PKCS #8, PKCS #1 or SEC 1, without a password. Not shown again.
    #[schema(max_length = 32_768, write_only)]
    private_key: String,
}

/// A token is fetched with these credentials (OAuth 2.0, RFC 6749 §4.4), sent as `Authorization:
/// Bearer` and used until it expires, or is answered 401.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OAuth2Body {
    /// The same rules as for the endpoint's URL.
    #[schema(max_length = 4_096, example = "https://login.example.com/oauth/token")]
    token_url: String,
    #[schema(min_length = 1, max_length = 4_096)]
    client_id: String,
    /// Not shown again.
    #[schema(max_length = 4_096, write_only)]
    client_secret: String,
    /// Names of scopes, a space between (RFC 6749 §3.3).
    #[schema(max_length = 4_096)]
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// For whom the token is; for servers that ask for it.
    #[schema(max_length = 4_096)]
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    /// `header` (HTTP Basic) if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials_in: Option<CredentialsInBody>,
}

/// Where the credentials stand in the request for a token (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CredentialsInBody {
    Header,
    Body,
}

/// What is shown again of a client certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateView {
    pub(crate) certificate: String,
}

/// What is shown again of credentials.
#[derive(Serialize, ToSchema)]
pub(crate) struct OAuth2View {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    pub(crate) credentials_in: CredentialsInBody,
}

pub(super) fn certificate(body: CertificateBody) -> Result<ClientCertificate, Problem> {
    let place = |name| format!("/delivery/client_certificate/{name}");
    let CertificateBody { certificate, private_key } = body;
    for (name, text) in [("certificate", &certificate), ("private_key", &private_key)] {
        if text.len() > ClientCertificate::MAX_BYTES {
            let detail = format!("is at most {} bytes long", ClientCertificate::MAX_BYTES);
            return Err(Problem::field(place(name), detail));
        }
    }
    Identity::parse(&certificate, &private_key).map_err(|invalid| {
        let name = if invalid.is_of_key() { "private_key" } else { "certificate" };
        Problem::field(place(name), invalid.to_string())
    })?;
    Ok(ClientCertificate { chain: certificate, private_key })
}

pub(super) fn oauth2(body: OAuth2Body, reach: &Reach) -> Result<ClientCredentials, Problem> {
    let place = |name| format!("/delivery/oauth2/{name}");
    let OAuth2Body { token_url, client_id, client_secret, scope, audience, credentials_in } = body;
    let most = ClientCredentials::MAX_BYTES;
    for (name, text) in [
        ("token_url", Some(&token_url)),
        ("client_id", Some(&client_id)),
        ("client_secret", Some(&client_secret)),
        ("scope", scope.as_ref()),
        ("audience", audience.as_ref()),
    ] {
        if text.is_some_and(|text| text.len() > most) {
            return Err(Problem::field(place(name), format!("is at most {most} bytes long")));
        }
    }
    if client_id.is_empty() {
        return Err(Problem::field(place("client_id"), "is not empty"));
    }
    let url = check_url(&token_url, reach)
        .map_err(|refused| Problem::field(place("token_url"), refused.to_string()))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(ClientCredentials {
        token_url: url.into(),
        client_id,
        client_secret,
        scope: given(scope),
        audience: given(audience),
        sent_in: match credentials_in {
            None | Some(CredentialsInBody::Header) => CredentialsIn::Header,
            Some(CredentialsInBody::Body) => CredentialsIn::Body,
        },
    })
}

/// A client certificate with its key, as a patch is merged into it.
pub(super) fn certificate_of(settings: &DeliverySettings) -> Option<CertificateBody> {
    let ClientCertificate { chain, private_key } = settings.client_certificate.clone()?;
    Some(CertificateBody { certificate: chain, private_key })
}

/// Credentials with their secret, as a patch is merged into them.
pub(super) fn oauth2_of(settings: &DeliverySettings) -> Option<OAuth2Body> {
    let ClientCredentials { token_url, client_id, client_secret, scope, audience, sent_in } =
        settings.oauth2.clone()?;
    let credentials_in = Some(sent_in.into());
    Some(OAuth2Body { token_url, client_id, client_secret, scope, audience, credentials_in })
}

pub(crate) fn certificate_view(settings: &DeliverySettings) -> Option<CertificateView> {
    let certificate = settings.client_certificate.as_ref()?.chain.clone();
    Some(CertificateView { certificate })
}

pub(crate) fn oauth2_view(settings: &DeliverySettings) -> Option<OAuth2View> {
    let ClientCredentials { token_url, client_id, scope, audience, sent_in, .. } =
        settings.oauth2.clone()?;
    Some(OAuth2View { token_url, client_id, scope, audience, credentials_in: sent_in.into() })
}

impl From<CredentialsIn> for CredentialsInBody {
    fn from(sent_in: CredentialsIn) -> Self {
        match sent_in {
            CredentialsIn::Header => Self::Header,
            CredentialsIn::Body => Self::Body,
        }
    }
}
