//! Access tokens for receivers that want one: asked for with a subscription's own credentials (OAuth
//! 2.0, RFC 6749 §4.4), and used until they expire. What a token server says of them is never shown: it
//! may quote them.
//!
//! Of those who need the same token at once, one asks ([`Tokens::token`]) and the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use triggerline_guard::{Reach, check_url};
use triggerline_types::{ClientCredentials, CredentialsIn, SubscriptionId};
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::connect::{Connections, basic};

/// An answer with a token in it, at most.
const ANSWER_BYTES: usize = 64 * 1_024;
/// A token that says nothing of it is taken to live so long.
const LIFE: Duration = Duration::from_mins(5);
/// So long before its end it isn't used any more; or for a tenth of its life, if that is less.
const MARGIN: Duration = Duration::from_secs(30);
/// The longest that a token is used.
const LONGEST: Duration = Duration::from_hours(24);

#[derive(Default)]
pub(crate) struct Tokens {
    held: Mutex<HashMap<SubscriptionId, Arc<Held>>>,
}

/// A subscription's token; locked while somebody asks for it.
type Held = tokio::sync::Mutex<Option<Token>>;

struct Token {
    credentials: ClientCredentials,
    authorization: HeaderValue,
    until: Instant,
}

/// A token that may be sent.
pub(crate) struct Given {
    pub(crate) authorization: HeaderValue,
    /// Whether it was there already; a receiver may have forgotten it since.
    pub(crate) old: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("the token URL {0}")]
    Refused(#[from] triggerline_guard::Refused),
    #[error("the request for a token can't be made: {0}")]
    Request(#[from] http::Error),
    #[error("no answer from the token URL")]
    Unanswered(#[from] hyper_util::client::legacy::Error),
    #[error("the token URL answered {0}{1}")]
    Answered(StatusCode, String),
    #[error("the token URL answered with something else than a bearer token (RFC 6749 §5.1)")]
    NoBearer,
}

impl Tokens {
    /// The token for a subscription's requests: the one that is held, or a new one.
    pub(crate) async fn token(
        &self,
        subscription: SubscriptionId,
        credentials: &ClientCredentials,
        client: &Connections,
        reach: &Reach,
    ) -> Result<Given, NoToken> {
        let held = self.held(subscription);
        let mut held = held.lock().await;
        let now = Instant::now();
        if let Some(token) = held.as_ref()
            && token.until > now
            && token.credentials == *credentials
        {
            return Ok(Given { authorization: token.authorization.clone(), old: true });
        }
        *held = None;
        let (authorization, life) = ask(credentials, client, reach).await?;
        let until = now + usable(life);
        let credentials = credentials.clone();
        *held = Some(Token { credentials, authorization: authorization.clone(), until });
        Ok(Given { authorization, old: false })
    }

    /// Forgets a token that a receiver didn't take.
    pub(crate) async fn forget(&self, subscription: SubscriptionId, refused: &HeaderValue) {
        let held = self.held(subscription);
        let mut held = held.lock().await;
        if held.as_ref().is_some_and(|token| token.authorization == *refused) {
            *held = None;
        }
    }

    fn held(&self, subscription: SubscriptionId) -> Arc<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.get(&subscription) {
            return Arc::clone(held);
        }
        // Swept when it has doubled since the last time, so that each entry is paid for once.
        if held.len() == held.capacity() {
            let now = Instant::now();
            held.retain(|_, held| {
                let token = held.try_lock();
                token.map_or(true, |token| token.as_ref().is_some_and(|token| token.until > now))
            });
        }
        let new = Arc::new(Held::default());
        held.insert(subscription, Arc::clone(&new));
        new
    }
}

/// For how long a token is used that lives for so long.
fn usable(life: Option<Duration>) -> Duration {
    let life = life.unwrap_or(LIFE).min(LONGEST);
    life.saturating_sub(MARGIN.min(life / 10))
}

async fn ask(
    credentials: &ClientCredentials,
    client: &Connections,
    reach: &Reach,
) -> Result<(HeaderValue, Option<Duration>), NoToken> {
    let url = check_url(&credentials.token_url, reach)?;
    let answer = client.request(question(credentials, url.as_str())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map_err(|_| NoToken::NoBearer)?.to_bytes();
    if status != StatusCode::OK {
        return Err(NoToken::Answered(status, error_code(&body)));
    }
    token(&body).ok_or(NoToken::NoBearer)
}

/// RFC 6749 §4.4.2, with the credentials as §2.3.1 has them.
fn question(credentials: &ClientCredentials, url: &str) -> http::Result<Request<Full<Bytes>>> {
    let ClientCredentials { client_id, client_secret, scope, audience, sent_in, .. } = credentials;
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", scope), ("audience", audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("Triggerline/", env!("CARGO_PKG_VERSION")));
    match sent_in {
        CredentialsIn::Header => {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            if let Some(value) = basic(&encoded(client_id), &encoded(client_secret)) {
                request = request.header(header::AUTHORIZATION, value);
            }
        }
        CredentialsIn::Body => {
            form.append_pair("client_id", client_id).append_pair("client_secret", client_secret);
        }
    }
    request.body(Full::from(form.finish()))
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<f64>,
}

/// RFC 6749 §5.1.
fn token(body: &[u8]) -> Option<(HeaderValue, Option<Duration>)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") || answer.access_token.is_empty() {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", answer.access_token)).ok()?;
    value.set_sensitive(true);
    let life = answer.expires_in.and_then(|life| Duration::try_from_secs_f64(life).ok());
    Some((value, life))
}

/// The code of an error, where it is one of RFC 6749 §5.2; anything else might quote what it was sent.
fn error_code(body: &[u8]) -> String {
    const CODES: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    #[derive(Deserialize)]
    struct Told {
        error: String,
    }
    let told: Option<Told> = serde_json::from_slice(body).ok();
    let code = told.and_then(|told| CODES.into_iter().find(|code| *code == told.error));
    code.map_or_else(String::new, |code| format!(": {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(sent_in: CredentialsIn) -> ClientCredentials {
        ClientCredentials {
            token_url: "https://a.example/token".to_owned(),
            client_id: "a:b".to_owned(),
            client_secret: "c d&".to_owned(),
            scope: Some("x y".to_owned()),
            audience: None,
            sent_in,
        }
    }

    #[tokio::test]
    async fn credentials_are_sent_as_asked_for() {
        // base64 of "a%3Ab:c+d%26": both are form-encoded first (RFC 6749 §2.3.1).
        for (sent_in, authorization, form) in [
            (
                CredentialsIn::Header,
                Some("Basic YSUzQWI6YytkJTI2"),
                "grant_type=client_credentials&scope=x+y",
            ),
            (
                CredentialsIn::Body,
                None,
                "grant_type=client_credentials&scope=x+y&client_id=a%3Ab&client_secret=c+d%26",
            ),
        ] {
            let request = question(&credentials(sent_in), "https://a.example/token").unwrap();
            let given = request.headers().get(header::AUTHORIZATION);
            assert_eq!(given.map(|value| value.to_str().unwrap()), authorization);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, form.as_bytes());
        }
    }

    #[test]
    fn an_answer_is_a_bearer_token_or_none() {
        let seconds = |body: &str| token(body.as_bytes()).map(|(_, life)| life);
        for (body, expected) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#, Some(Some(60))),
            (r#"{"access_token":"t","token_type":"bearer"}"#, Some(None)),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":-1}"#, Some(None)),
            (r#"{"access_token":"t","token_type":"mac"}"#, None),
            (r#"{"access_token":"","token_type":"bearer"}"#, None),
            (r#"{"access_token":"a\nb","token_type":"bearer"}"#, None),
            ("<html>", None),
        ] {
            let expected = expected.map(|life| life.map(Duration::from_secs));
            assert_eq!(seconds(body), expected, "{body}");
        }
    }

    #[test]
    fn a_token_is_not_used_up_to_its_very_end() {
        for (life, used) in [(3_600, 3_570), (60, 54), (0, 0), (1_000_000, 86_370)] {
            assert_eq!(usable(Some(Duration::from_secs(life))), Duration::from_secs(used));
        }
        assert_eq!(usable(None), Duration::from_secs(270));
    }

    #[test]
    fn of_an_error_only_its_code_is_told() {
        for (body, told) in [
            (
                r#"{"error":"invalid_client","error_description":"secret was hidden"}"#,
                ": invalid_client",
            ),
            (r#"{"error":"hidden"}"#, ""),
            ("hidden", ""),
        ] {
            assert_eq!(error_code(body.as_bytes()), told, "{body}");
        }
    }
}
