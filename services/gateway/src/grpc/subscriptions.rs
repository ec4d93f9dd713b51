//! `triggerline.v1.Subscriptions`. What a message says becomes the document that the HTTP door
//! reads ([`document`], [`patch`]), and is judged there: the same rules, and a fault is at the same
//! place, because the messages are shaped like the documents.

use serde_json::{Value, json};
use tonic::{Request, Response, Status};
use triggerline_types::{Mode, Scope, Selector, Subscription, SubscriptionId, SubscriptionState};
use triggerline_wire::proto::subscriptions_server::Subscriptions;
use triggerline_wire::proto::{
    self, CreateSubscriptionRequest, DeleteSubscriptionRequest, GetSubscriptionRequest,
    ListSubscriptionsRequest, ListSubscriptionsResponse, MatchSelectorRequest,
    MatchSelectorResponse, PauseSubscriptionRequest, ResumeSubscriptionRequest,
    RotateSubscriptionSecretRequest, UpdateSubscriptionRequest,
};

use super::call::{Call, Door};
use super::inbox::{PAGE_BYTES, after, page_size};
use super::instant::to_timestamp;
use crate::explain::{self, Against, Draft, Tried};
use crate::http::edits::{self, Condition, SecretRotationBody};
use crate::http::identity::{self, CredentialsInBody};
use crate::http::selector::SelectorBody;
use crate::http::subscriptions::{event_types, make};
use crate::http::terms::{self, SignatureBody};
use crate::json::{self, Object};
use crate::problem::Problem;
use crate::subscriptions::{self, LIST, Listed};

/// What an update may name.
const PATHS: [&str; 13] = [
    "workflow_id",
    "event_types",
    "selector",
    "delivery.url",
    "delivery.headers",
    "delivery.timeout_ms",
    "delivery.retry",
    "delivery.rate_limit",
    "delivery.batch",
    "delivery.ordering",
    "delivery.client_certificate",
    "delivery.oauth2",
    "mode",
];

impl Door {
    async fn set(
        &self,
        call: &Call,
        id: &str,
        state: SubscriptionState,
    ) -> Result<Response<proto::Subscription>, Status> {
        let work =
            async { subscriptions::set_state(&self.shared, &call.asking, read(id)?, state).await };
        Ok(Response::new(shown(&call.within(work).await?)))
    }
}

#[tonic::async_trait]
impl Subscriptions for Door {
    async fn create_subscription(
        &self,
        request: Request<CreateSubscriptionRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            call.asking.may(Scope::SubscriptionsWrite)?;
            let Object(described) = json::read(document(message).to_string().as_bytes())?;
            make(&self.shared, &call.asking, described).await
        };
        Ok(Response::new(shown_with_secret(&call.within(work).await?)))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::SubscriptionsRead)?;
            let after = after(&self.shared.cursors, &message.page_token, customer, LIST)?;
            let after = after.map(SubscriptionId::from_uuid);
            let limit = page_size(message.page_size)?;
            subscriptions::list(&self.shared, &call.asking, after, limit, PAGE_BYTES).await
        };
        let Listed { subscriptions, next } = call.within(work).await?;
        let subscriptions = subscriptions.iter().map(shown).collect();
        let next_page_token = next.unwrap_or_default();
        Ok(Response::new(ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn get_subscription(
        &self,
        request: Request<GetSubscriptionRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::SubscriptionsRead)?;
            let id = read(&message.subscription_id)?;
            let found = self.shared.control.subscription(customer, id).await?;
            found.ok_or_else(Problem::not_found)
        };
        Ok(Response::new(shown(&call.within(work).await?)))
    }

    async fn update_subscription(
        &self,
        request: Request<UpdateSubscriptionRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            call.asking.may(Scope::SubscriptionsWrite)?;
            let (id, condition) = (read(&message.subscription_id)?, condition(&message.etag)?);
            let paths = paths(&message)?;
            let patch = |found: &Subscription| patch(&message, &paths, found);
            edits::edit(&self.shared, &call.asking, id, &condition, patch).await
        };
        Ok(Response::new(shown(&call.within(work).await?)))
    }

    async fn pause_subscription(
        &self,
        request: Request<PauseSubscriptionRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        self.set(&call, &message.subscription_id, SubscriptionState::Paused).await
    }

    async fn resume_subscription(
        &self,
        request: Request<ResumeSubscriptionRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        self.set(&call, &message.subscription_id, SubscriptionState::Active).await
    }

    async fn delete_subscription(
        &self,
        request: Request<DeleteSubscriptionRequest>,
    ) -> Result<Response<()>, Status> {
        let (call, message) = Call::of(request)?;
        self.set(&call, &message.subscription_id, SubscriptionState::Deleted).await?;
        Ok(Response::new(()))
    }

    async fn match_selector(
        &self,
        request: Request<MatchSelectorRequest>,
    ) -> Result<Response<MatchSelectorResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let selector = selector_of(message.selector.as_ref()).to_string();
            let selector = json::read::<Option<Object<SelectorBody>>>(selector.as_bytes())?;
            let selector = selector.unwrap_or_default().0.judge()?;
            let draft = Draft { event_types: event_types(message.event_types)?, selector };
            let last = message.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
            let given = message.event.map(|proto::GivenEvent { event_type, payload }| {
                Against::Given { event_type, payload }
            });
            let against = given.unwrap_or(Against::Stored { last });
            explain::draft(&self.shared, &call.asking, draft, against).await
        };
        let events: Vec<_> = call.within(work).await?.into_iter().map(tried).collect();
        let matched = events.iter().filter(|one| one.why.as_ref().is_some_and(|why| why.matched));
        let matched = u32::try_from(matched.count()).unwrap_or(u32::MAX);
        Ok(Response::new(MatchSelectorResponse { matched, events }))
    }

    async fn rotate_subscription_secret(
        &self,
        request: Request<RotateSubscriptionSecretRequest>,
    ) -> Result<Response<proto::Subscription>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            call.asking.may(Scope::SubscriptionsWrite)?;
            let (id, condition) = (read(&message.subscription_id)?, condition(&message.etag)?);
            let signature = signature_of(message.signature());
            let RotateSubscriptionSecretRequest { overlap_seconds, secret, .. } = message;
            let body = SecretRotationBody { overlap_seconds, secret: given(secret), signature };
            edits::rotated(&self.shared, &call.asking, id, &condition, body).await
        };
        Ok(Response::new(shown_with_secret(&call.within(work).await?)))
    }
}

pub(super) fn read(id: &str) -> Result<SubscriptionId, Problem> {
    id.parse()
        .map_err(|_| Problem::field("/subscription_id", "is a UUID, as CreateSubscription gave it"))
}

fn condition(etag: &str) -> Result<Condition, Problem> {
    if etag.is_empty() {
        return Ok(Condition::None);
    }
    let told = "is one that the subscription had, quotes and all, or empty";
    Condition::tags(etag).ok_or_else(|| Problem::field("/etag", told))
}

/// In proto3 an absent text is an empty one.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A new subscription as the HTTP door reads it.
fn document(message: CreateSubscriptionRequest) -> Value {
    let mode = mode_of(message.mode());
    let CreateSubscriptionRequest { workflow_id, event_types, selector, delivery, mode: _ } =
        message;
    let delivery = delivery.unwrap_or_default();
    let signature = signature_of(delivery.signature());
    json!({
        "workflow_id": workflow_id,
        "event_types": event_types,
        "selector": selector_of(selector.as_ref()),
        "mode": mode,
        "delivery": {
            "url": given(delivery.url),
            "headers": delivery.headers,
            "timeout_ms": delivery.timeout_ms,
            "retry": retry_of(delivery.retry.as_ref()),
            "rate_limit": rate_limit_of(delivery.rate_limit.as_ref()),
            "batch": batch_of(delivery.batch.as_ref()),
            "ordering": ordering_of(delivery.ordering.as_ref()),
            "client_certificate": certificate_of(delivery.client_certificate.as_ref()),
            "oauth2": oauth2_of(delivery.oauth2.as_ref()),
            "signature": signature,
            "secret": given(delivery.secret),
        },
    })
}

// Members that are absent are null: in a new document as good as absent, in a patch removed.

fn selector_of(selector: Option<&proto::Selector>) -> Value {
    json!(selector.map(|proto::Selector { jsonpath, pattern }| {
        // What isn't JSON is a text, which is no pattern either.
        let pattern = given(pattern.clone())
            .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        json!({"jsonpath": given(jsonpath.clone()), "pattern": pattern})
    }))
}

fn retry_of(retry: Option<&proto::RetryPolicy>) -> Value {
    json!(retry.map(|proto::RetryPolicy { max_attempts, schedule }| {
        let schedule = (!schedule.is_empty()).then_some(schedule);
        json!({"max_attempts": max_attempts, "schedule": schedule})
    }))
}

fn rate_limit_of(limit: Option<&proto::Throttle>) -> Value {
    json!(limit.map(|proto::Throttle { rate, burst }| json!({"rate": rate, "burst": burst})))
}

fn batch_of(batch: Option<&proto::Batch>) -> Value {
    json!(batch.map(|proto::Batch { max_events, max_bytes, max_wait_ms }| {
        json!({"max_events": max_events, "max_bytes": max_bytes, "max_wait_ms": max_wait_ms})
    }))
}

fn ordering_of(ordering: Option<&proto::Ordering>) -> Value {
    json!(ordering.map(|proto::Ordering { per_key }| json!({"per_key": per_key})))
}

fn certificate_of(certificate: Option<&proto::ClientCertificate>) -> Value {
    json!(certificate.map(|proto::ClientCertificate { certificate, private_key }| {
        json!({"certificate": certificate, "private_key": private_key})
    }))
}

fn oauth2_of(oauth2: Option<&proto::OAuth2>) -> Value {
    json!(oauth2.map(|given| {
        let credentials_in = match given.credentials_in() {
            proto::CredentialsIn::Unspecified => Value::Null,
            proto::CredentialsIn::Header => json!("header"),
            proto::CredentialsIn::Body => json!("body"),
        };
        json!({
            "token_url": given.token_url,
            "client_id": given.client_id,
            "client_secret": given.client_secret,
            "scope": self::given(given.scope.clone()),
            "audience": self::given(given.audience.clone()),
            "credentials_in": credentials_in,
        })
    }))
}

fn signature_of(signature: proto::SignatureVersion) -> Option<SignatureBody> {
    match signature {
        proto::SignatureVersion::Unspecified => None,
        proto::SignatureVersion::V1 => Some(SignatureBody::V1),
        proto::SignatureVersion::V1a => Some(SignatureBody::V1a),
    }
}

fn mode_of(mode: proto::DeliveryMode) -> Value {
    match mode {
        proto::DeliveryMode::Unspecified => Value::Null,
        proto::DeliveryMode::Webhook => json!(Mode::Webhook.as_str()),
        proto::DeliveryMode::Pull => json!(Mode::Pull.as_str()),
        proto::DeliveryMode::Both => json!(Mode::Both.as_str()),
    }
}

/// What is to change: what the mask names, or all that the message has.
fn paths(message: &UpdateSubscriptionRequest) -> Result<Vec<&str>, Problem> {
    let none = proto::Endpoint::default();
    let delivery = message.delivery.as_ref().unwrap_or(&none);
    if !delivery.secret.is_empty() {
        let told = "can't be updated: RotateSubscriptionSecret makes a new one";
        return Err(Problem::field("/delivery/secret", told));
    }
    let named = message.update_mask.iter().flat_map(|mask| &mask.paths);
    let named: Vec<_> = named.map(String::as_str).collect();
    if let Some(unknown) = named.iter().find(|path| !PATHS.contains(path)) {
        let told = format!("names {unknown:?}; it may name {}", PATHS.join(", "));
        return Err(Problem::field("/update_mask", told));
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let there = [
        !message.workflow_id.is_empty(),
        !message.event_types.is_empty(),
        message.selector.is_some(),
        !delivery.url.is_empty(),
        !delivery.headers.is_empty(),
        delivery.timeout_ms.is_some(),
        delivery.retry.is_some(),
        delivery.rate_limit.is_some(),
        delivery.batch.is_some(),
        delivery.ordering.is_some(),
        delivery.client_certificate.is_some(),
        delivery.oauth2.is_some(),
        message.mode() != proto::DeliveryMode::Unspecified,
    ];
    Ok(PATHS.into_iter().zip(there).filter_map(|(path, there)| there.then_some(path)).collect())
}

/// The merge patch (RFC 7396) that an update comes to. What a path names is replaced as a whole.
fn patch(message: &UpdateSubscriptionRequest, paths: &[&str], found: &Subscription) -> Value {
    let none = proto::Endpoint::default();
    let given = message.delivery.as_ref().unwrap_or(&none);
    let mut patch = json!({});
    for path in paths {
        let value = match *path {
            "workflow_id" => json!(message.workflow_id),
            "event_types" => json!(message.event_types),
            "selector" => selector_of(message.selector.as_ref()),
            "delivery.url" => json!(self::given(given.url.clone())),
            "delivery.timeout_ms" => json!(given.timeout_ms),
            "delivery.retry" => retry_of(given.retry.as_ref()),
            "delivery.rate_limit" => rate_limit_of(given.rate_limit.as_ref()),
            "delivery.batch" => batch_of(given.batch.as_ref()),
            "delivery.ordering" => ordering_of(given.ordering.as_ref()),
            "delivery.client_certificate" => certificate_of(given.client_certificate.as_ref()),
            "delivery.oauth2" => oauth2_of(given.oauth2.as_ref()),
            "mode" => mode_of(message.mode()),
            _ => {
                let before = found.endpoint.settings.headers.keys();
                let mut headers: serde_json::Map<_, _> =
                    before.map(|name| (name.clone(), Value::Null)).collect();
                headers
                    .extend(given.headers.iter().map(|(name, text)| (name.clone(), json!(text))));
                Value::Object(headers)
            }
        };
        match path.split_once('.') {
            Some((parent, member)) => patch[parent][member] = value,
            None => patch[*path] = value,
        }
    }
    patch
}

fn shown_with_secret(subscription: &Subscription) -> proto::Subscription {
    let secret = subscription.endpoint.secret.for_receivers();
    proto::Subscription { secret, ..shown(subscription) }
}

fn shown(subscription: &Subscription) -> proto::Subscription {
    let endpoint = &subscription.endpoint;
    let settings = &endpoint.settings;
    let public_key = endpoint.secret.public_key();
    let now = time::OffsetDateTime::now_utc();
    let old = endpoint.old_secrets.iter().filter(|old| old.until > now);
    let timeout = settings.timeout.map(|timeout| timeout.as_millis());
    let delivery = proto::Endpoint {
        url: endpoint.url.clone(),
        secret: String::new(),
        headers: std::collections::HashMap::new(),
        timeout_ms: timeout.and_then(|millis| millis.try_into().ok()),
        retry: terms::retry_of(settings).map(|retry| proto::RetryPolicy {
            max_attempts: retry.max_attempts,
            schedule: retry.schedule.unwrap_or_default(),
        }),
        rate_limit: settings.throttle.map(|throttle| proto::Throttle {
            rate: throttle.rate.to_string(),
            burst: Some(throttle.burst),
        }),
        batch: settings.batch.map(|batch| proto::Batch {
            max_events: Some(batch.max_events),
            max_bytes: batch.max_bytes.try_into().ok(),
            max_wait_ms: batch.max_wait.as_millis().try_into().ok(),
        }),
        client_certificate: identity::certificate_view(settings).map(|shown| {
            let certificate = shown.certificate;
            proto::ClientCertificate { certificate, private_key: String::new() }
        }),
        oauth2: identity::oauth2_view(settings).map(|shown| proto::OAuth2 {
            token_url: shown.token_url,
            client_id: shown.client_id,
            client_secret: String::new(),
            scope: shown.scope.unwrap_or_default(),
            audience: shown.audience.unwrap_or_default(),
            credentials_in: match shown.credentials_in {
                CredentialsInBody::Header => proto::CredentialsIn::Header,
                CredentialsInBody::Body => proto::CredentialsIn::Body,
            }
            .into(),
        }),
        ordering: settings.ordering_key.clone().map(|per_key| proto::Ordering { per_key }),
        signature: match public_key {
            None => proto::SignatureVersion::V1,
            Some(_) => proto::SignatureVersion::V1a,
        }
        .into(),
        public_key: public_key.map(|key| key.to_string()).unwrap_or_default(),
    };
    proto::Subscription {
        subscription_id: subscription.id.to_string(),
        workflow_id: subscription.workflow_id.clone(),
        event_types: subscription.event_types.iter().map(ToString::to_string).collect(),
        selector: selector_shown(&subscription.selector),
        delivery: Some(delivery),
        header_names: settings.headers.keys().cloned().collect(),
        old_secrets_until: old.map(|old| to_timestamp(old.until)).collect(),
        state: state(&subscription.state).into(),
        reason: subscription.state.reason().unwrap_or_default().to_owned(),
        secret: String::new(),
        etag: edits::tag(subscription),
        created_at: Some(to_timestamp(subscription.created_at)),
        updated_at: Some(to_timestamp(subscription.updated_at)),
        mode: match settings.mode {
            Mode::Webhook => proto::DeliveryMode::Webhook,
            Mode::Pull => proto::DeliveryMode::Pull,
            Mode::Both => proto::DeliveryMode::Both,
        }
        .into(),
    }
}

fn state(state: &SubscriptionState) -> proto::SubscriptionState {
    match state {
        SubscriptionState::Active => proto::SubscriptionState::Active,
        SubscriptionState::Paused => proto::SubscriptionState::Paused,
        SubscriptionState::Unsubscribed { .. } => proto::SubscriptionState::Unsubscribed,
        SubscriptionState::Disabled { .. } => proto::SubscriptionState::Disabled,
        // Never shown.
        SubscriptionState::Deleted => proto::SubscriptionState::Unspecified,
    }
}

fn tried(Tried { stored, event_type, why }: Tried) -> proto::MatchedEvent {
    proto::MatchedEvent {
        event_id: stored.map(|(id, _)| id.to_string()).unwrap_or_default(),
        event_type: event_type.as_str().to_owned(),
        received_at: stored.map(|(_, at)| to_timestamp(at)),
        why: Some(super::inbox::why(why)),
    }
}

fn selector_shown(selector: &Selector) -> Option<proto::Selector> {
    let Selector { pattern, jsonpath } = selector.clone();
    (selector != &Selector::default()).then(|| proto::Selector {
        pattern: pattern.unwrap_or_default(),
        jsonpath: jsonpath.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;
    use triggerline_types::{CustomerId, DeliverySettings, Endpoint, Revision, Secret};

    use super::*;

    fn found() -> Subscription {
        let headers = [("x-a".to_owned(), "1".to_owned())].into();
        let settings = DeliverySettings { headers, ..DeliverySettings::default() };
        let now = time::OffsetDateTime::UNIX_EPOCH;
        Subscription {
            id: SubscriptionId::new(),
            customer_id: CustomerId::new(),
            workflow_id: "w".to_owned(),
            event_types: Vec::new(),
            selector: Selector::default(),
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

    #[test]
    fn an_update_changes_what_its_mask_names_or_what_it_has() {
        let message = || UpdateSubscriptionRequest {
            workflow_id: "v".to_owned(),
            delivery: Some(proto::Endpoint {
                headers: [("X-B".to_owned(), "2".to_owned())].into(),
                retry: Some(proto::RetryPolicy { max_attempts: Some(3), schedule: Vec::new() }),
                ..proto::Endpoint::default()
            }),
            ..UpdateSubscriptionRequest::default()
        };
        let retry = json!({"max_attempts": 3, "schedule": null});
        let headers = json!({"x-a": null, "X-B": "2"});
        let all = json!({"workflow_id": "v", "delivery": {"headers": headers, "retry": retry}});
        for (mask, expected) in [
            (vec![], all),
            (vec!["workflow_id"], json!({"workflow_id": "v"})),
            (vec!["delivery.retry"], json!({"delivery": {"retry": retry}})),
            (
                vec!["selector", "event_types", "delivery.timeout_ms", "delivery.rate_limit"],
                json!({"selector": null, "event_types": [],
                    "delivery": {"timeout_ms": null, "rate_limit": null}}),
            ),
            (vec!["delivery.url"], json!({"delivery": {"url": null}})),
            (
                vec!["delivery.ordering", "mode"],
                json!({"delivery": {"ordering": null}, "mode": null}),
            ),
        ] {
            let paths = mask.iter().map(ToString::to_string).collect();
            let message =
                UpdateSubscriptionRequest { update_mask: Some(FieldMask { paths }), ..message() };
            let paths = self::paths(&message).unwrap();
            assert_eq!(patch(&message, &paths, &found()), expected, "{mask:?}");
        }
        let unset = UpdateSubscriptionRequest { update_mask: None, ..message() };
        assert_eq!(paths(&unset).unwrap(), ["workflow_id", "delivery.headers", "delivery.retry"]);
        let paths = vec!["delivery".to_owned()];
        let unknown =
            UpdateSubscriptionRequest { update_mask: Some(FieldMask { paths }), ..message() };
        assert_eq!(self::paths(&unknown).unwrap_err().faults[0].pointer, "/update_mask");
    }

    #[test]
    fn a_condition_is_an_etag_that_was_shown() {
        let tag = shown(&found()).etag;
        assert_eq!(condition(&tag).unwrap(), Condition::OneOf(vec![7]));
        assert_eq!(condition("").unwrap(), Condition::None);
        assert_eq!(condition("7").unwrap_err().faults[0].pointer, "/etag");
    }
}
