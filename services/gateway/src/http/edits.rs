//! Changing a subscription: `PATCH /v1/subscriptions/{id}` and `POST …/rotate-secret`, each only if
//! it still is what the caller has seen (`If-Match`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use triggerline_guard::Reach;
use triggerline_store::{Edited, SubscriptionEdit, SubscriptionFields};
use triggerline_types::{Revision, Scope, Secret, Subscription, SubscriptionId};
use utoipa::ToSchema;

use super::body::MERGE_PATCH;
use super::elsewhere;
use super::identity::{self, CredentialsInBody};
use super::selector::SelectorView;
use super::subscriptions::{Described, SubscriptionView};
use super::terms::{self, BatchBody, ModeBody, OrderingBody, RetryBody, SignatureBody};
use super::{Id, accept_patch, read_json_as, read_json_or_nothing};
use crate::Shared;
use crate::asking::Asking;
use crate::json;
use crate::problem::{Kind, Problem};

/// How long a rotated secret goes on signing where nothing else is asked for, and at most.
const OVERLAP: Duration = Duration::from_hours(24);
const MAX_OVERLAP: Duration = Duration::from_hours(24 * 7);
/// Edits of others that an edit without `If-Match` is made again after.
const TRIES: usize = 10;

/// A JSON Merge Patch (RFC 7396): what is absent stays, `null` removes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "says what a patch may hold, for the document")]
struct SubscriptionPatchBody {
    #[schema(min_length = 1, max_length = 255, required = false, nullable = false)]
    workflow_id: Option<String>,
    /// As a whole; every type where it is removed.
    #[schema(max_items = 100)]
    event_types: Option<Vec<String>>,
    selector: Option<SelectorPatchBody>,
    /// What was not delivered before comes as it is said here from then on; nothing is lost.
    mode: Option<ModeBody>,
    #[schema(required = false, nullable = false)]
    delivery: Option<DeliveryPatchBody>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see above")]
struct SelectorPatchBody {
    /// As a whole.
    #[schema(value_type = Option<Object>)]
    pattern: Option<Value>,
    jsonpath: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see above")]
struct DeliveryPatchBody {
    /// To another origin, only with all headers and OAuth2's secret given again, or taken out.
    #[schema(required = false, nullable = false)]
    url: Option<String>,
    /// Member by member; a value of `null` removes a header.
    #[schema(value_type = Option<std::collections::BTreeMap<String, Option<String>>>)]
    headers: Option<Value>,
    #[schema(minimum = 1_000, maximum = 30_000)]
    timeout_ms: Option<u64>,
    retry: Option<RetryBody>,
    rate_limit: Option<ThrottlePatchBody>,
    batch: Option<BatchBody>,
    ordering: Option<OrderingBody>,
    client_certificate: Option<CertificatePatchBody>,
    oauth2: Option<OAuth2PatchBody>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see above")]
struct CertificatePatchBody {
    #[schema(max_length = 32_768, required = false, nullable = false)]
    certificate: Option<String>,
    #[schema(max_length = 32_768, required = false, nullable = false)]
    private_key: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see above")]
struct OAuth2PatchBody {
    #[schema(max_length = 4_096, required = false, nullable = false)]
    token_url: Option<String>,
    #[schema(min_length = 1, max_length = 4_096, required = false, nullable = false)]
    client_id: Option<String>,
    #[schema(max_length = 4_096, required = false, nullable = false)]
    client_secret: Option<String>,
    #[schema(max_length = 4_096)]
    scope: Option<String>,
    #[schema(max_length = 4_096)]
    audience: Option<String>,
    credentials_in: Option<CredentialsInBody>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see above")]
struct ThrottlePatchBody {
    #[schema(required = false, nullable = false, example = "10/1s")]
    rate: Option<String>,
    #[schema(minimum = 1, maximum = 10_000)]
    burst: Option<u32>,
}

/// Change a subscription
///
/// A JSON Merge Patch (RFC 7396): `application/merge-patch+json`, or `application/json` read as one.
/// With `If-Match`, only if the subscription is as its `ETag` says. The secret is changed by rotating
/// it. Counts within a second; what was matched before is delivered as the subscription is then.
#[utoipa::path(
    patch, path = "/v1/subscriptions/{id}", tag = "Subscriptions", operation_id = "updateSubscription",
    params(
        ("id" = Uuid, Path, description = "The subscription's id."),
        ("If-Match" = Option<String>, Header, description = "An `ETag` that was given before, or `*`."),
    ),
    request_body(
        content(
            (SubscriptionPatchBody = "application/merge-patch+json"),
            (SubscriptionPatchBody = "application/json"),
        ),
    ),
    responses(
        (status = 200, description = "The subscription as it is now.", body = SubscriptionView),
        (status = 412, description = "It is not as `If-Match` says."),
        (status = 422, description = "The selector can't be compiled."),
    )
)]
pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let changed = async {
        asking.may(Scope::SubscriptionsWrite)?;
        let condition = Condition::of(&headers)?;
        let patch: Map<String, Value> = read_json_as(MERGE_PATCH, &shared, &headers, body).await?;
        let patch = Value::Object(patch);
        edit(&shared, &asking, id, &condition, |_| patch.clone()).await
    };
    changed.await.map(|changed| answer(&changed, None)).map_err(accept_patch)
}

/// Makes of a subscription what `patch` makes of it as it is.
pub(crate) async fn edit(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    condition: &Condition,
    patch: impl Fn(&Subscription) -> Value,
) -> Result<Subscription, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    for _ in 0..TRIES {
        let found = shared.control.subscription(customer, id).await?;
        let found = found.ok_or_else(Problem::not_found)?;
        condition.check(found.revision)?;
        let fields = patched(&found, &patch(&found), &shared.reach)?;
        let edit = SubscriptionEdit::Fields(Box::new(fields));
        let (expected, by) = (Some(found.revision), asking.caller().actor());
        match shared.control.edit_subscription(customer, id, edit, expected, by).await? {
            Edited::Kept(changed) => return Ok(*changed),
            Edited::Missing => return Err(Problem::not_found()),
            // Somebody was faster: patched again, unless that is not what the caller has seen.
            Edited::Stale => {}
        }
    }
    Err(Problem::new(Kind::Unavailable, "The subscription is being changed by others; try again."))
}

/// What a patch makes of a subscription: its document is patched, and judged like a new one's.
fn patched(
    subscription: &Subscription,
    patch: &Value,
    reach: &Reach,
) -> Result<SubscriptionFields, Problem> {
    let named = ["secret", "signature"]
        .into_iter()
        .find(|name| patch.pointer(&format!("/delivery/{name}")).is_some());
    if let Some(name) = named {
        let detail = "can't be patched: POST …/rotate-secret makes a new one, beside which the old \
                      one signs for a while";
        return Err(Problem::field(format!("/delivery/{name}"), detail));
    }
    let settings = &subscription.endpoint.settings;
    let asked = patch.pointer("/delivery/headers").and_then(Value::as_object);
    let headers = settings.headers.iter();
    let headers: Map<_, _> =
        headers.map(|(name, value)| (spelt(name, asked), json!(value))).collect();
    let mut document = json!({
        "workflow_id": subscription.workflow_id,
        "event_types": subscription.event_types.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "selector": SelectorView::of(&subscription.selector),
        "mode": ModeBody::from(settings.mode),
        "delivery": {
            "url": Some(&subscription.endpoint.url).filter(|url| !url.is_empty()),
            "headers": headers,
            "timeout_ms": settings.timeout.map(|timeout| timeout.as_millis()),
            "retry": terms::retry_of(settings),
            "rate_limit": terms::throttle_of(settings),
            "batch": terms::batch_of(settings),
            "ordering": terms::ordering_of(settings),
            "client_certificate": identity::certificate_of(settings),
            "oauth2": identity::oauth2_of(settings),
        },
    });
    // Its members are the payload's, not ours: a new pattern is not mixed with the old one.
    if patch.pointer("/selector/pattern").is_some() {
        document["selector"]["pattern"] = Value::Null;
    }
    merge(&mut document, patch);
    if document.get("event_types").is_none() {
        document["event_types"] = json!([]);
    }
    let fields =
        json::read::<json::Object<Described>>(document.to_string().as_bytes())?.0.judge(reach)?;
    elsewhere::check(&subscription.endpoint, patch)?;
    Ok(fields)
}

/// A header's name as the patch spells it: upper and lower case are the same there (RFC 9110 §5.1).
fn spelt(name: &str, asked: Option<&Map<String, Value>>) -> String {
    let asked = asked.filter(|asked| !asked.contains_key(name));
    let spelt = asked.and_then(|asked| asked.keys().find(|one| one.eq_ignore_ascii_case(name)));
    spelt.map_or(name, String::as_str).to_owned()
}

/// RFC 7396 §2. How deep it goes is bounded by how deep JSON is read.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretRotationBody {
    /// How long both secrets sign; 86,400 (a day) if absent.
    #[schema(minimum = 0, maximum = 604_800)]
    pub(crate) overlap_seconds: Option<u64>,
    /// The new one; made here if absent.
    pub(crate) secret: Option<String>,
    /// Which kind is made here; as before, if absent.
    pub(crate) signature: Option<SignatureBody>,
}

/// Rotate a subscription's secret
///
/// The answer shows the new secret this once. While both sign, `webhook-signature` has a signature
/// of each, the newest first, so that receivers can change over at their leisure. At most four
/// secrets sign at once.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/rotate-secret", tag = "Subscriptions", operation_id = "rotateSubscriptionSecret",
    params(
        ("id" = Uuid, Path, description = "The subscription's id."),
        ("If-Match" = Option<String>, Header, description = "An `ETag` that was given before, or `*`."),
    ),
    request_body = Option<SecretRotationBody>,
    responses(
        (status = 200, description = "The subscription as it is now, with its secret.", body = SubscriptionView),
        (status = 412, description = "It is not as `If-Match` says."),
    )
)]
pub(super) async fn rotate(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    asking.may(Scope::SubscriptionsWrite)?;
    let condition = Condition::of(&headers)?;
    let body: Option<SecretRotationBody> = read_json_or_nothing(&shared, &headers, body).await?;
    let rotated = rotated(&shared, &asking, id, &condition, body.unwrap_or_default()).await?;
    Ok(answer(&rotated, Some(rotated.endpoint.secret.for_receivers())))
}

pub(crate) async fn rotated(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    condition: &Condition,
    body: SecretRotationBody,
) -> Result<Subscription, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let SecretRotationBody { overlap_seconds, secret, signature } = body;
    let overlap = overlap_seconds.map_or(OVERLAP, Duration::from_secs);
    if overlap > MAX_OVERLAP {
        let detail = format!("is a number from 0 to {}", MAX_OVERLAP.as_secs());
        return Err(Problem::field("/overlap_seconds", detail));
    }
    let given = secret.map(|text| {
        Secret::parse(&text).map_err(|error| Problem::field("/secret", error.to_string()))
    });
    let given = given.transpose()?;
    let found = shared.control.subscription(customer, id).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    let made = || signature.map_or_else(|| found.endpoint.secret.another(), SignatureBody::make);
    let secret = given.unwrap_or_else(made);
    condition.check(found.revision)?;
    // Two rotations at once would each show a secret, of which one signs for a moment only.
    let expected = Some(found.revision);
    let edit = SubscriptionEdit::Rotate { secret, overlap };
    let by = asking.caller().actor();
    match shared.control.edit_subscription(customer, id, edit, expected, by).await? {
        Edited::Kept(changed) => Ok(*changed),
        Edited::Missing => Err(Problem::not_found()),
        Edited::Stale if *condition == Condition::None => {
            let detail = "The subscription was changed at the same moment; look, and try again.";
            Err(Problem::new(Kind::Conflict, detail))
        }
        Edited::Stale => Err(stale()),
    }
}

/// A subscription with its entity tag.
pub(super) fn answer(subscription: &Subscription, secret: Option<String>) -> Response {
    let view = SubscriptionView::with(subscription, secret);
    let mut response = Json(view).into_response();
    if let Ok(tag) = HeaderValue::try_from(tag(subscription)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The entity tag of a subscription as it is.
pub(crate) fn tag(subscription: &Subscription) -> String {
    format!("\"{}\"", subscription.revision.0)
}

/// What `If-Match` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// One of these revisions. A tag that never was ours is none of them.
    OneOf(Vec<i64>),
}

impl Condition {
    /// RFC 9110 §13.1.1.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut revisions = Vec::new();
        let mut asked = false;
        for value in headers.get_all(header::IF_MATCH) {
            asked = true;
            let tags = value.to_str().ok().and_then(Self::tags).ok_or_else(|| {
                let told = "is * or entity tags as they were given in ETag: \"17\", say";
                Problem::parameter("If-Match", told)
            })?;
            match tags {
                Self::None => return Ok(Self::None),
                Self::OneOf(tags) => revisions.extend(tags),
            }
        }
        Ok(if asked { Self::OneOf(revisions) } else { Self::None })
    }

    /// `*` or entity tags. They are compared strongly, so a weak one never fits.
    pub(crate) fn tags(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            // It must exist; it is looked for in any case.
            return Some(Self::None);
        }
        let mut revisions = Vec::new();
        for tag in text.split(',').map(str::trim) {
            let weak = tag.strip_prefix("W/");
            let opaque = weak.unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
            revisions.extend(opaque.parse::<i64>().ok().filter(|_| weak.is_none()));
        }
        Some(Self::OneOf(revisions))
    }

    fn check(&self, revision: Revision) -> Result<(), Problem> {
        match self {
            Self::OneOf(revisions) if !revisions.contains(&revision.0) => Err(stale()),
            Self::None | Self::OneOf(_) => Ok(()),
        }
    }
}

fn stale() -> Problem {
    let detail =
        "The subscription is not as was asked for: somebody has changed it. Read it again.";
    Problem::new(Kind::PreconditionFailed, detail)
}

#[cfg(test)]
mod tests {
    use triggerline_types::{
        Batching, ClientCredentials, CustomerId, DeliverySettings, Endpoint, EventTypePattern,
        Mode, Selector, SubscriptionState, Throttle,
    };

    use super::*;

    fn subscription() -> Subscription {
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let settings = DeliverySettings {
            mode: Mode::Both,
            ordering_key: Some("$.id".to_owned()),
            headers: [("x-a".to_owned(), "1".to_owned()), ("x-b".to_owned(), "2".to_owned())]
                .into(),
            timeout: Some(Duration::from_secs(5)),
            max_attempts: Some(3),
            schedule: vec![Duration::from_secs(90)],
            throttle: Some(Throttle { rate: "10/1s".parse().unwrap(), burst: 5 }),
            batch: Some(Batching::DEFAULT),
            client_certificate: None,
            oauth2: None,
        };
        Subscription {
            id: SubscriptionId::new(),
            customer_id: CustomerId::new(),
            workflow_id: "w".to_owned(),
            event_types: vec![EventTypePattern::parse("a.*").unwrap()],
            selector: Selector { pattern: None, jsonpath: Some("$.a".to_owned()) },
            endpoint: Endpoint {
                settings,
                ..Endpoint::new("https://a.example/", Secret::generate())
            },
            state: SubscriptionState::Active,
            revision: Revision(7),
            created_at: now,
            updated_at: now,
        }
    }

    fn patch(patch: &Value) -> Result<SubscriptionFields, Problem> {
        patched(&subscription(), patch, &Reach::default())
    }

    #[test]
    fn what_a_patch_does_not_name_stays() {
        let before = SubscriptionFields::of(&subscription());
        assert_eq!(patch(&json!({})).unwrap(), before);
        let after = patch(&json!({"workflow_id": "v"})).unwrap();
        assert_eq!(after, SubscriptionFields { workflow_id: "v".to_owned(), ..before.clone() });
        let after = patch(&json!({"delivery": {"headers": {"x-a": null, "X-C": "3"}}})).unwrap();
        let names: Vec<_> = after.settings.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["x-b", "x-c"]);
        let after = patch(&json!({"delivery": {"headers": {"X-A": null, "X-B": "3"}}})).unwrap();
        assert_eq!(after.settings.headers, [("x-b".to_owned(), "3".to_owned())].into());
        assert_eq!(after.settings.throttle, before.settings.throttle);
        let after = patch(&json!({"event_types": null, "selector": null, "delivery": {
            "timeout_ms": null, "retry": null, "rate_limit": {"burst": 1}}}))
        .unwrap();
        assert_eq!((after.event_types, after.selector), (Vec::new(), Selector::default()));
        assert_eq!((after.settings.timeout, after.settings.max_attempts), (None, None));
        assert_eq!(after.settings.schedule, [] as [Duration; 0]);
        assert_eq!(after.settings.throttle.map(|throttle| throttle.burst), Some(1));
        let after = patch(&json!({"mode": null, "delivery": {"ordering": null}})).unwrap();
        assert_eq!((after.settings.mode, after.settings.ordering_key), (Mode::Webhook, None));
        let oauth2 = json!({"token_url": "https://b.example/t", "client_id": "c",
            "client_secret": "s", "scope": "a b", "credentials_in": "body"});
        let before = patch(&json!({"delivery": {"oauth2": oauth2}})).unwrap();
        let mut changed = subscription();
        changed.endpoint.settings = before.settings.clone();
        let change = json!({"delivery": {"oauth2": {"client_secret": "t", "scope": null}}});
        let after = patched(&changed, &change, &Reach::default()).unwrap();
        let (before, after) = (before.settings.oauth2.unwrap(), after.settings.oauth2.unwrap());
        let client_secret = "t".to_owned();
        assert_eq!(after, ClientCredentials { client_secret, scope: None, ..before });
        let after = patch(&json!({"mode": "pull", "delivery": {"url": null}})).unwrap();
        assert_eq!(after.url, "");
        let pattern = |name: &str| json!({"selector": {"pattern": {name: [1]}}});
        let before = patch(&pattern("a")).unwrap();
        let mut changed = subscription();
        changed.selector = before.selector;
        let after = patched(&changed, &pattern("b"), &Reach::default()).unwrap().selector;
        assert_eq!(after.pattern.as_deref(), Some("{\"b\":[1]}"), "as a whole");
        assert_eq!(after.jsonpath.as_deref(), Some("$.a"), "and nothing else");
    }

    #[test]
    fn a_patch_is_refused_with_its_place() {
        let oauth2 = |url: &str, client: &str| json!({"token_url": url, "client_id": client, "client_secret": "s"});
        let too_many: Map<_, _> = (0..21).map(|n| (format!("x-{n}"), json!("1"))).collect();
        for (body, pointer) in [
            (json!({"workflow_id": ""}), "/workflow_id"),
            (json!({"workflow_id": null}), ""),
            (json!({"nobody": 1}), "/nobody"),
            (json!({"event_types": ["a b"]}), "/event_types/0"),
            (json!({"selector": {"jsonpath": "$["}}), "/selector/jsonpath"),
            (json!({"delivery": null}), "/delivery/url"),
            (json!({"delivery": {"url": null}}), "/delivery/url"),
            (json!({"mode": "push"}), "/mode"),
            (json!({"delivery": {"ordering": {"per_key": null}}}), "/delivery/ordering"),
            (json!({"delivery": {"ordering": {"per_key": "a"}}}), "/delivery/ordering/per_key"),
            (json!({"delivery": {"url": "http://10.0.0.1/"}}), "/delivery/url"),
            (json!({"delivery": {"secret": "whsec_x"}}), "/delivery/secret"),
            (json!({"delivery": {"signature": "v1a"}}), "/delivery/signature"),
            (json!({"delivery": {"headers": {"a b": "1"}}}), "/delivery/headers/a b"),
            (json!({"delivery": {"headers": {"Host": "1"}}}), "/delivery/headers/Host"),
            (json!({"delivery": {"headers": {"webhook-id": "1"}}}), "/delivery/headers/webhook-id"),
            (json!({"delivery": {"headers": {"x": "a\r\nb"}}}), "/delivery/headers/x"),
            (json!({"delivery": {"headers": {"x": "é"}}}), "/delivery/headers/x"),
            (json!({"delivery": {"headers": {"x": "a".repeat(4_096)}}}), "/delivery/headers/x"),
            (json!({"delivery": {"headers": {"X-A": "1", "x-a": "2"}}}), "/delivery/headers/x-a"),
            (json!({"delivery": {"headers": too_many}}), "/delivery/headers"),
            (json!({"delivery": {"timeout_ms": 999}}), "/delivery/timeout_ms"),
            (json!({"delivery": {"timeout_ms": 30_001}}), "/delivery/timeout_ms"),
            (json!({"delivery": {"retry": {"max_attempts": 0}}}), "/delivery/retry/max_attempts"),
            (json!({"delivery": {"retry": {"max_attempts": 51}}}), "/delivery/retry/max_attempts"),
            (
                json!({"delivery": {"retry": {"schedule": ["1s", "0s"]}}}),
                "/delivery/retry/schedule/1",
            ),
            (json!({"delivery": {"retry": {"schedule": ["25h"]}}}), "/delivery/retry/schedule/0"),
            (json!({"delivery": {"rate_limit": {"rate": "often"}}}), "/delivery/rate_limit/rate"),
            (json!({"delivery": {"rate_limit": {"burst": 0}}}), "/delivery/rate_limit/burst"),
            (json!({"delivery": {"batch": {"max_events": 1_001}}}), "/delivery/batch/max_events"),
            (json!({"delivery": {"batch": {"max_bytes": 999}}}), "/delivery/batch/max_bytes"),
            (json!({"delivery": {"oauth2": {"client_id": "c"}}}), "/delivery/oauth2"),
            (
                json!({"delivery": {"oauth2": oauth2("http://b.example/", "c")}}),
                "/delivery/oauth2/token_url",
            ),
            (
                json!({"delivery": {"oauth2": oauth2("https://10.0.0.1/", "c")}}),
                "/delivery/oauth2/token_url",
            ),
            (
                json!({"delivery": {"oauth2": oauth2("https://b.example/", "")}}),
                "/delivery/oauth2/client_id",
            ),
            (
                json!({"delivery": {"oauth2": oauth2("https://b.example/", "c"),
                    "headers": {"Authorization": "Basic"}}}),
                "/delivery/headers/authorization",
            ),
            (
                json!({"delivery": {"client_certificate":
                    {"certificate": "-----BEGIN", "private_key": "k"}}}),
                "/delivery/client_certificate/certificate",
            ),
            (
                json!({"delivery": {"batch": {"max_wait_ms": 60_001}}}),
                "/delivery/batch/max_wait_ms",
            ),
        ] {
            let problem = patch(&body).unwrap_err();
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
        }
    }

    #[test]
    fn a_condition_is_met_by_a_strong_tag_only() {
        for (value, met) in [
            ("\"7\"", true),
            ("*", true),
            ("\"6\", \"7\"", true),
            ("W/\"7\"", false),
            ("\"6\"", false),
            ("\"another's\"", false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
            let checked = Condition::of(&headers).unwrap().check(Revision(7));
            assert_eq!(checked.is_ok(), met, "{value}");
        }
        for value in ["7", "\"7", ""] {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
            assert_eq!(
                Condition::of(&headers).unwrap_err().kind,
                Kind::InvalidParameter,
                "{value}"
            );
        }
        assert_eq!(Condition::of(&HeaderMap::new()).unwrap(), Condition::None);
    }
}
