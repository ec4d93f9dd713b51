//! `/v1/subscriptions`: create, list, show, pause, resume, delete. Other changes are in
//! [`super::edits`], how deliveries are wanted in [`super::terms`].

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use triggerline_guard::{Reach, check_url};
use triggerline_store::{NewSubscription, SubscriptionFields};
use triggerline_types::{
    CustomerId, Endpoint, EventTypePattern, Mode, Scope, Secret, Subscription, SubscriptionId,
    SubscriptionState, format_instant,
};
use utoipa::ToSchema;

use super::edits::answer;
use super::identity::{self, CertificateBody, CertificateView, OAuth2Body, OAuth2View};
use super::inbox::PAGE_BYTES;
use super::paging::{Page, Paging};
use super::selector::{SelectorBody, SelectorView};
use super::terms::{
    self, BatchBody, ModeBody, OrderingBody, RetryBody, SignatureBody, Terms, ThrottleBody,
};
use super::{Id, Query, read_json};
use crate::Shared;
use crate::asking::Asking;
use crate::json::Object;
use crate::problem::Problem;
use crate::subscriptions::{self, LIST, Listed, set_state};

/// Event types that one subscription may name.
const MAX_EVENT_TYPES: usize = 100;
/// The longest workflow id, in bytes.
const MAX_WORKFLOW_BYTES: usize = 255;
/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// A subscription as its owner describes it.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewSubscriptionBody)]
#[serde(deny_unknown_fields)]
pub(crate) struct Described {
    /// The caller's own name for what it starts.
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    workflow_id: String,
    /// Exact, or with `*`; every type where it is empty.
    #[schema(max_items = 100, example = json!(["order.*"]))]
    #[serde(default)]
    event_types: Vec<String>,
    #[schema(value_type = Option<SelectorBody>)]
    selector: Option<Object<SelectorBody>>,
    /// `webhook` if absent: deliveries are sent. With `pull` they wait to be leased and acknowledged;
    /// with `both` they are sent, and those that have not arrived may be leased.
    mode: Option<ModeBody>,
    /// Where and how they are sent. Needs its `url`, unless the mode is `pull`.
    #[schema(value_type = DeliveryBody)]
    #[serde(default)]
    delivery: Object<DeliveryBody>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeliveryBody {
    url: Option<String>,
    /// `whsec_…` and the base64 of 24 to 64 bytes, or `whsk_…` and that of an ed25519 key; made here if
    /// absent.
    secret: Option<String>,
    /// Which kind of secret is made here: `v1`, a shared one, if absent; `v1a`, an ed25519 key pair, of
    /// which the answer shows the public key.
    signature: Option<SignatureBody>,
    /// Sent with each request; 20 at most, 4,096 bytes each. Values are not shown again.
    headers: Option<BTreeMap<String, String>>,
    /// For a request and its answer; the installation's (15,000) if absent.
    #[schema(minimum = 1_000, maximum = 30_000)]
    timeout_ms: Option<u64>,
    /// When it is tried again, and how often.
    #[schema(value_type = Option<RetryBody>)]
    retry: Option<Object<RetryBody>>,
    /// How often the endpoint is asked, at most.
    #[schema(value_type = Option<ThrottleBody>)]
    rate_limit: Option<Object<ThrottleBody>>,
    /// Several events in one request, as a JSON array.
    #[schema(value_type = Option<BatchBody>)]
    batch: Option<Object<BatchBody>>,
    /// In which order they go; in any, if absent.
    #[schema(value_type = Option<OrderingBody>)]
    ordering: Option<Object<OrderingBody>>,
    /// Shown to the endpoint, which may ask for one (mutual TLS).
    #[schema(value_type = Option<CertificateBody>)]
    client_certificate: Option<Object<CertificateBody>>,
    /// Where the token comes from that the endpoint wants to see.
    #[schema(value_type = Option<OAuth2Body>)]
    oauth2: Option<Object<OAuth2Body>>,
}

/// Create a subscription
///
/// From within a second on, every event that its types and its selector cover is delivered. The
/// answer shows the signing secret this once.
#[utoipa::path(
    post, path = "/v1/subscriptions", tag = "Subscriptions", operation_id = "createSubscription",
    request_body = Described,
    responses(
        (status = 201, description = "Made.", body = SubscriptionView),
        (status = 409, description = "The customer has 100,000 subscriptions already."),
        (status = 422, description = "The selector can't be compiled."),
    )
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Response), Problem> {
    asking.may(Scope::SubscriptionsWrite)?;
    let described = read_json(&shared, &headers, body).await?;
    let created = make(&shared, &asking, described).await?;
    // The one time that the secret is shown.
    let secret = Some(created.endpoint.secret.for_receivers());
    Ok((StatusCode::CREATED, answer(&created, secret)))
}

pub(crate) async fn make(
    shared: &Shared,
    asking: &Asking,
    described: Described,
) -> Result<Subscription, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let new = judge(described, customer, &shared.reach)?;
    subscriptions::create(shared, asking, new).await
}

/// List subscriptions
///
/// Oldest first, a page at a time. A page ends at about 8 MiB as well.
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "Subscriptions", operation_id = "listSubscriptions",
    params(Paging),
    responses(
        (status = 200, description = "A page of subscriptions.", body = Page<SubscriptionView>),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<SubscriptionView>>, Problem> {
    let customer = asking.may(Scope::SubscriptionsRead)?;
    let (after, limit) = paging.read(&shared.cursors, customer, LIST)?;
    let after = after.map(SubscriptionId::from_uuid);
    let Listed { subscriptions, next } =
        subscriptions::list(&shared, &asking, after, limit, PAGE_BYTES).await?;
    let data = subscriptions.iter().map(SubscriptionView::of).collect();
    Ok(Json(Page { data, next_cursor: next }))
}

/// Show a subscription
#[utoipa::path(
    get, path = "/v1/subscriptions/{id}", tag = "Subscriptions", operation_id = "getSubscription",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    responses(
        (status = 200, description = "The subscription as it is now.", body = SubscriptionView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
) -> Result<Response, Problem> {
    let customer = asking.may(Scope::SubscriptionsRead)?;
    let found = shared.control.subscription(customer, id).await?;
    Ok(answer(&found.ok_or_else(Problem::not_found)?, None))
}

/// Pause a subscription
///
/// What comes meanwhile is not delivered to it; where the mode is `pull` or `both`, it is kept until
/// the subscription is resumed.
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/pause", tag = "Subscriptions", operation_id = "pauseSubscription",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    responses(
        (status = 200, description = "The subscription as it is now.", body = SubscriptionView),
    )
)]
pub(super) async fn pause(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
) -> Result<Response, Problem> {
    let paused = set_state(&shared, &asking, id, SubscriptionState::Paused).await?;
    Ok(answer(&paused, None))
}

/// Resume a subscription
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/resume", tag = "Subscriptions", operation_id = "resumeSubscription",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    responses(
        (status = 200, description = "The subscription as it is now.", body = SubscriptionView),
    )
)]
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
) -> Result<Response, Problem> {
    let resumed = set_state(&shared, &asking, id, SubscriptionState::Active).await?;
    Ok(answer(&resumed, None))
}

/// Delete a subscription
#[utoipa::path(
    delete, path = "/v1/subscriptions/{id}", tag = "Subscriptions", operation_id = "deleteSubscription",
    params(("id" = Uuid, Path, description = "The subscription's id.")),
    responses(
        (status = 204, description = "It is gone."),
    )
)]
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<SubscriptionId>,
) -> Result<StatusCode, Problem> {
    set_state(&shared, &asking, id, SubscriptionState::Deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Described {
    /// What is asked for, if it can be had. Pure.
    pub(super) fn judge(self, reach: &Reach) -> Result<SubscriptionFields, Problem> {
        let Object(delivery) = self.delivery;
        if self.workflow_id.is_empty()
            || self.workflow_id.len() > MAX_WORKFLOW_BYTES
            || self.workflow_id.chars().any(char::is_control)
        {
            let detail =
                format!("is 1 to {MAX_WORKFLOW_BYTES} bytes long, without control characters");
            return Err(Problem::field("/workflow_id", detail));
        }
        let event_types = event_types(self.event_types)?;
        let Object(selector) = self.selector.unwrap_or_default();
        let selector = selector.judge()?;
        let terms = Terms {
            mode: self.mode,
            ordering: delivery.ordering,
            headers: delivery.headers,
            timeout_ms: delivery.timeout_ms,
            retry: delivery.retry,
            rate_limit: delivery.rate_limit,
            batch: delivery.batch,
            client_certificate: delivery.client_certificate,
            oauth2: delivery.oauth2,
        };
        let settings = terms::judge(terms, reach)?;
        let url = url(delivery.url.as_deref(), settings.mode, reach)?;
        Ok(SubscriptionFields {
            workflow_id: self.workflow_id,
            event_types,
            selector,
            url,
            settings,
        })
    }
}

/// Where webhooks go; nowhere, where none are sent and none is named.
fn url(text: Option<&str>, mode: Mode, reach: &Reach) -> Result<String, Problem> {
    let place = "/delivery/url";
    let Some(text) = text else {
        if !mode.pushes() {
            return Ok(String::new());
        }
        let detail = "is missing: it says where webhooks go (only the mode \"pull\" needs none)";
        return Err(Problem::field(place, detail));
    };
    if text.len() > MAX_URL_BYTES {
        return Err(Problem::field(place, format!("is at most {MAX_URL_BYTES} bytes long")));
    }
    let url =
        check_url(text, reach).map_err(|refused| Problem::field(place, refused.to_string()))?;
    Ok(url.into())
}

/// Judges a new subscription. Pure, but for the secret where none is given.
fn judge(
    mut body: Described,
    customer_id: CustomerId,
    reach: &Reach,
) -> Result<NewSubscription, Problem> {
    let secret = match body.delivery.0.secret.take() {
        Some(text) => Secret::parse(&text)
            .map_err(|error| Problem::field("/delivery/secret", error.to_string()))?,
        None => body.delivery.0.signature.unwrap_or(SignatureBody::V1).make(),
    };
    let fields = body.judge(reach)?;
    let SubscriptionFields { workflow_id, event_types, selector, url, settings } = fields;
    let endpoint = Endpoint { settings, ..Endpoint::new(url, secret) };
    Ok(NewSubscription { customer_id, workflow_id, event_types, selector, endpoint })
}

/// The member `event_types`.
pub(crate) fn event_types(texts: Vec<String>) -> Result<Vec<EventTypePattern>, Problem> {
    if texts.len() > MAX_EVENT_TYPES {
        return Err(Problem::field("/event_types", format!("has at most {MAX_EVENT_TYPES} items")));
    }
    let parse = |(index, text)| {
        EventTypePattern::parse(text).map_err(|error| {
            Problem::field(format!("/event_types/{index}"), format!("is invalid: {error}"))
        })
    };
    texts.into_iter().enumerate().map(parse).collect()
}

#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionView {
    #[schema(value_type = String, format = Uuid)]
    id: SubscriptionId,
    workflow_id: String,
    event_types: Vec<String>,
    selector: SelectorView,
    mode: ModeBody,
    delivery: EndpointView,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What receivers verify with, `whsec_…` or `whpk_…`; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

#[derive(Serialize, ToSchema)]
struct EndpointView {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Names of the headers that are sent beside ours.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    header_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<ThrottleBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering: Option<OrderingBody>,
    /// Without its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<CertificateView>,
    /// Without the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2: Option<OAuth2View>,
    /// What verifies `v1a` signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When secrets that were rotated out stop signing, newest first.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    old_secrets_until: Vec<String>,
}

impl SubscriptionView {
    fn of(subscription: &Subscription) -> Self {
        Self::with(subscription, None)
    }

    pub(super) fn with(subscription: &Subscription, secret: Option<String>) -> Self {
        let Endpoint { url, old_secrets, settings, .. } = &subscription.endpoint;
        let now = OffsetDateTime::now_utc();
        let old = old_secrets.iter().filter(|old| old.until > now);
        let event_types = subscription.event_types.iter().map(ToString::to_string).collect();
        Self {
            id: subscription.id,
            workflow_id: subscription.workflow_id.clone(),
            event_types,
            selector: SelectorView::of(&subscription.selector),
            mode: settings.mode.into(),
            delivery: EndpointView {
                url: (!url.is_empty()).then(|| url.clone()),
                header_names: settings.headers.keys().cloned().collect(),
                timeout_ms: settings.timeout.map(|timeout| timeout.as_millis()),
                retry: terms::retry_of(settings),
                rate_limit: terms::throttle_of(settings),
                batch: terms::batch_of(settings),
                ordering: terms::ordering_of(settings),
                client_certificate: identity::certificate_view(settings),
                oauth2: identity::oauth2_view(settings),
                public_key: subscription.endpoint.secret.public_key().map(|key| key.to_string()),
                old_secrets_until: old.map(|old| format_instant(old.until)).collect(),
            },
            state: subscription.state.as_str(),
            reason: subscription.state.reason().map(str::to_owned),
            secret,
            created_at: format_instant(subscription.created_at),
            updated_at: format_instant(subscription.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::problem::Kind;

    fn judged(body: &str) -> Result<NewSubscription, Problem> {
        let Object(body) = json::read(body.as_bytes())?;
        judge(body, CustomerId::new(), &Reach::default())
    }

    #[test]
    fn a_good_subscription_is_taken() {
        let new = judged(
            r#"{"workflow_id":"w","event_types":["order.*"],"selector":{"jsonpath":"$.total"},
                "delivery":{"url":"https://example.com/hook"}}"#,
        )
        .unwrap();
        assert_eq!(new.workflow_id, "w");
        assert_eq!(new.selector.jsonpath.as_deref(), Some("$.total"));
        assert_eq!(new.endpoint.url, "https://example.com/hook");
    }

    #[test]
    fn who_pulls_needs_no_url() {
        let new = judged(r#"{"workflow_id":"w","mode":"pull"}"#).unwrap();
        assert_eq!((new.endpoint.url.as_str(), new.endpoint.settings.mode), ("", Mode::Pull));
        let ordered = r#"{"workflow_id":"w","mode":"pull","delivery":{"url":"https://a.example/",
            "ordering":{"per_key":"$.id"}}}"#;
        let new = judged(ordered).unwrap();
        assert_eq!(new.endpoint.url, "https://a.example/", "kept for when webhooks are sent again");
        assert_eq!(new.endpoint.settings.ordering_key.as_deref(), Some("$.id"));
    }

    #[test]
    fn a_bad_one_is_refused_with_the_place() {
        let with = |fields: &str| format!(r#"{{"workflow_id":"w",{fields}}}"#);
        let url = r#""delivery":{"url":"https://example.com/"}"#;
        for (body, kind, pointer) in [
            ("[".to_owned(), Kind::MalformedBody, ""),
            (with(r#""delivery":{}"#), Kind::InvalidField, "/delivery/url"),
            (with(r#""mode":"both""#), Kind::InvalidField, "/delivery/url"),
            (with(r#""mode":"push""#), Kind::MalformedBody, "/mode"),
            (
                with(r#""mode":"pull","delivery":{"ordering":{"per_key":"$["}}"#),
                Kind::InvalidSelector,
                "/delivery/ordering/per_key",
            ),
            (with(r#""delivery":{"url":7}"#), Kind::MalformedBody, "/delivery/url"),
            (
                with(r#""delivery":{"url":"http://127.0.0.1/"}"#),
                Kind::InvalidField,
                "/delivery/url",
            ),
            (
                with(&format!(r#"{url},"event_types":["a","b c"]"#)),
                Kind::InvalidField,
                "/event_types/1",
            ),
            (
                with(&format!(r#"{url},"selector":{{"jsonpath":"$["}}"#)),
                Kind::InvalidSelector,
                "/selector/jsonpath",
            ),
            (
                with(r#""delivery":{"url":"https://example.com/","secret":"x"}"#),
                Kind::InvalidField,
                "/delivery/secret",
            ),
            (format!(r#"{{"workflow_id":"",{url}}}"#), Kind::InvalidField, "/workflow_id"),
        ] {
            let problem = judged(&body).unwrap_err();
            assert_eq!(problem.kind, kind, "{body}: {problem:?}");
            assert_eq!(problem.faults[0].pointer, pointer, "{body}: {problem:?}");
        }
    }
}
