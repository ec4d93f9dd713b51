//! Credentials are never shown again once they are given, and so a patch must not send them to somewhere
//! that whoever patches has chosen to be shown them. Where `url` goes to another origin (RFC 6454 §4),
//! what is sent there must be given again or taken out: headers, and the secret that access tokens are
//! got with; that secret too where `token_url` changes. Pure.

use serde_json::{Map, Value, json};
use triggerline_types::{DeliverySettings, Endpoint};
use url::Url;

use super::terms::pointed;
use crate::problem::Problem;

pub(super) fn check(endpoint: &Endpoint, patch: &Value) -> Result<(), Problem> {
    let Endpoint { url, settings, .. } = endpoint;
    let moved = patch.pointer("/delivery/url").and_then(Value::as_str);
    let moved = moved.is_some_and(|to| !url.is_empty() && !is_same_origin(url, to));
    if moved && let Some(name) = kept_header(settings, patch) {
        let detail = "is missing: where `url` goes to another origin, a header's value that is kept is not \
                      sent along; give it again, or null";
        return Err(Problem::field(format!("/delivery/headers/{}", pointed(name)), detail));
    }
    let secret = "/delivery/oauth2/client_secret";
    if keeps_oauth2(settings, patch) && (moved || token_url_changes(settings, patch)) {
        let detail = "is missing: where `url` goes to another origin or `token_url` changes, the secret that \
                      is kept is not used";
        return Err(Problem::field(secret, detail));
    }
    Ok(())
}

fn is_same_origin(one: &str, other: &str) -> bool {
    // What is no URL is refused with what is wrong with it, later.
    let (Ok(one), Ok(other)) = (Url::parse(one), Url::parse(other)) else { return true };
    one.origin() == other.origin()
}

/// A header whose value the patch leaves as it is.
fn kept_header<'s>(settings: &'s DeliverySettings, patch: &Value) -> Option<&'s str> {
    let headers = patch.pointer("/delivery/headers");
    // `null` takes all of them out.
    if headers.is_some_and(Value::is_null) {
        return None;
    }
    let given = headers.and_then(Value::as_object);
    let is_given = |name: &str| {
        given
            .is_some_and(|given: &Map<_, _>| given.keys().any(|one| one.eq_ignore_ascii_case(name)))
    };
    settings.headers.keys().map(String::as_str).find(|name| !is_given(name))
}

fn keeps_oauth2(settings: &DeliverySettings, patch: &Value) -> bool {
    let taken_out = patch.pointer("/delivery/oauth2").is_some_and(Value::is_null);
    let given = patch.pointer("/delivery/oauth2/client_secret").is_some();
    settings.oauth2.is_some() && !taken_out && !given
}

fn token_url_changes(settings: &DeliverySettings, patch: &Value) -> bool {
    let asked = patch.pointer("/delivery/oauth2/token_url");
    settings.oauth2.as_ref().zip(asked).is_some_and(|(kept, url)| *url != json!(kept.token_url))
}

#[cfg(test)]
mod tests {
    use triggerline_types::{ClientCredentials, CredentialsIn, Secret};

    use super::*;

    #[test]
    fn what_is_kept_goes_nowhere_else() {
        let mut endpoint = Endpoint::new("https://a.example/hook", Secret::generate());
        endpoint.settings.headers = [("x-key".to_owned(), "k".to_owned())].into();
        endpoint.settings.oauth2 = Some(ClientCredentials {
            token_url: "https://t.example/token".to_owned(),
            client_id: "c".to_owned(),
            client_secret: "s".to_owned(),
            scope: None,
            audience: None,
            sent_in: CredentialsIn::Header,
        });
        let (there, elsewhere) = ("https://a.example:443/other", "https://b.example/hook");
        let (headers, secret) =
            (Some("/delivery/headers/x-key"), Some("/delivery/oauth2/client_secret"));
        for (delivery, refused) in [
            (json!({}), None),
            (json!({"url": there}), None),
            (json!({"url": "no URL"}), None),
            (json!({"url": null}), None),
            (json!({"url": elsewhere}), headers),
            (json!({"url": "http://a.example/hook"}), headers),
            (json!({"url": elsewhere, "headers": {"x-other": "o"}}), headers),
            (json!({"url": elsewhere, "headers": {"X-Key": "k"}}), secret),
            (json!({"url": elsewhere, "headers": {"x-key": null}}), secret),
            (json!({"url": elsewhere, "headers": null}), secret),
            (json!({"url": elsewhere, "headers": null, "oauth2": null}), None),
            (json!({"url": elsewhere, "headers": null, "oauth2": {"client_secret": "s"}}), None),
            (json!({"oauth2": {"token_url": "https://u.example/token"}}), secret),
            (json!({"oauth2": {"token_url": "https://t.example/token"}}), None),
            (
                json!({"oauth2": {"token_url": "https://u.example/token", "client_secret": "s"}}),
                None,
            ),
        ] {
            let found = check(&endpoint, &json!({"delivery": delivery})).err();
            let found = found.map(|problem| problem.faults[0].pointer.clone());
            assert_eq!(found.as_deref(), refused, "{delivery}");
        }
    }
}
