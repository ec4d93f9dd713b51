//! `/v1/api-keys`: a customer's own keys, and `/v1/customers/{id}/api-keys`, the same for the
//! installation's administrator.
//!
//! A key can only make keys that may do what it may itself, as often and as long at most, and only
//! end such keys. How often that is, is the administrator's to say.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use triggerline_store::{KeyCreation, KeyRotation, MAX_LIVE_KEYS};
use triggerline_types::{
    ApiKey, ApiKeyId, CustomerId, RateLimit, Scope, check_name, format_instant, truncate_to_millis,
};
use utoipa::ToSchema;

use super::{Id, List, read_json};
use crate::Shared;
use crate::admit::instant;
use crate::asking::Asking;
use crate::keys::{NewKey, earlier, lower, new_key, scope_beyond};
use crate::problem::{Kind, Problem};

/// How long a rotated key goes on working where nothing else is asked for, and at most.
const OVERLAP: Duration = Duration::from_hours(24);
const MAX_OVERLAP: Duration = Duration::from_hours(24 * 30);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKeyBody {
    /// What it is for.
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    #[schema(value_type = Vec<ScopeName>, min_items = 1)]
    scopes: Vec<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// For administrators: such as `600/1m`.
    #[schema(pattern = "^[1-9][0-9]{0,8}/[1-9][0-9]{0,3}[smh]$", example = "600/1m")]
    rate_limit: Option<String>,
}

/// What a key may be allowed to do.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "names what `Scope` parses, for the document")]
enum ScopeName {
    #[serde(rename = "events:write")]
    EventsWrite,
    #[serde(rename = "events:read")]
    EventsRead,
    #[serde(rename = "subscriptions:read")]
    SubscriptionsRead,
    #[serde(rename = "subscriptions:write")]
    SubscriptionsWrite,
    #[serde(rename = "schemas:read")]
    SchemasRead,
    #[serde(rename = "schemas:write")]
    SchemasWrite,
    #[serde(rename = "keys:read")]
    KeysRead,
    #[serde(rename = "keys:write")]
    KeysWrite,
    #[serde(rename = "audit:read")]
    AuditRead,
    #[serde(rename = "admin")]
    Admin,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ApiKeyView {
    #[schema(value_type = String, format = Uuid)]
    id: ApiKeyId,
    name: String,
    /// How the key begins.
    hint: String,
    scopes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<String>,
    state: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl ApiKeyView {
    fn of(key: &ApiKey) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id: key.id,
            name: key.name.clone(),
            hint: key.hint.clone(),
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
            rate_limit: key.rate_limit.map(|limit| limit.to_string()),
            state: match key.revoked_at {
                Some(_) => "revoked",
                None if key.is_live(now) => "live",
                None => "expired",
            },
            created_at: format_instant(key.created_at),
            expires_at: key.expires_at.map(format_instant),
            revoked_at: key.revoked_at.map(format_instant),
            last_used_at: key.last_used_at.map(format_instant),
            key: None,
        }
    }

    pub(super) fn with_key(made: &NewKey) -> Self {
        Self { key: Some(made.text.clone()), ..Self::of(&made.key) }
    }
}

/// Create an API key
///
/// It may do at most what the key may that makes it. The answer shows the key this once.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "API keys", operation_id = "createApiKey",
    request_body = NewApiKeyBody,
    responses(
        (status = 201, description = "Made.", body = ApiKeyView),
        (status = 409, description = "The customer has 100 live keys already."),
    )
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ApiKeyView>), Problem> {
    let customer = asking.may(Scope::KeysWrite)?;
    let body = read_json(&shared, &headers, body).await?;
    make(&shared, &asking, customer, judge(body, &asking)?).await
}

/// Create a customer's API key
///
/// For administrators.
#[utoipa::path(
    post, path = "/v1/customers/{id}/api-keys", tag = "API keys", operation_id = "createCustomerApiKey",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    request_body = NewApiKeyBody,
    responses(
        (status = 201, description = "Made.", body = ApiKeyView),
        (status = 409, description = "The customer has 100 live keys already."),
    )
)]
pub(super) async fn create_for(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(customer): Id<CustomerId>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ApiKeyView>), Problem> {
    asking.may(Scope::Admin)?;
    let body = read_json(&shared, &headers, body).await?;
    make(&shared, &asking, customer, judge(body, &asking)?).await
}

async fn make(
    shared: &Shared,
    asking: &Asking,
    customer: CustomerId,
    wanted: Wanted,
) -> Result<(StatusCode, Json<ApiKeyView>), Problem> {
    let Wanted { name, scopes, mut expires_at, mut rate_limit } = wanted;
    let own = &asking.caller().key;
    if !own.allows(Scope::Admin) {
        // Nor does it outlive its maker, or ask more often than it was allowed to itself.
        expires_at = earlier(expires_at, own.expires_at);
        rate_limit = rate_limit.or(own.rate_limit);
    }
    let env = &shared.settings.key_environment;
    let mut made = new_key(&shared.pepper, env, customer, name, scopes);
    made.key.expires_at = expires_at;
    made.key.rate_limit = rate_limit;
    match shared.control.create_api_key(&made.key, asking.caller().actor()).await? {
        KeyCreation::Made => Ok((StatusCode::CREATED, Json(ApiKeyView::with_key(&made)))),
        KeyCreation::NoSuchCustomer => Err(Problem::not_found()),
        KeyCreation::TooMany => Err(too_many()),
    }
}

fn too_many() -> Problem {
    let detail = format!("A customer has at most {MAX_LIVE_KEYS} live keys; revoke some.");
    Problem::new(Kind::Conflict, detail)
}

/// List API keys
///
/// All of the customer's, oldest first, revoked and expired ones too; never the keys themselves.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "API keys", operation_id = "listApiKeys",
    responses(
        (status = 200, description = "All of them.", body = List<ApiKeyView>),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
) -> Result<Json<List<ApiKeyView>>, Problem> {
    let customer = asking.may(Scope::KeysRead)?;
    all(&shared, customer).await
}

/// List a customer's API keys
///
/// For administrators.
#[utoipa::path(
    get, path = "/v1/customers/{id}/api-keys", tag = "API keys", operation_id = "listCustomerApiKeys",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    responses(
        (status = 200, description = "All of them.", body = List<ApiKeyView>),
    )
)]
pub(super) async fn list_for(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(customer): Id<CustomerId>,
) -> Result<Json<List<ApiKeyView>>, Problem> {
    asking.may(Scope::Admin)?;
    shared.control.customer(customer).await?.ok_or_else(Problem::not_found)?;
    all(&shared, customer).await
}

async fn all(shared: &Shared, customer: CustomerId) -> Result<Json<List<ApiKeyView>>, Problem> {
    let keys = shared.control.api_keys(customer).await?;
    Ok(Json(List { data: keys.iter().map(ApiKeyView::of).collect() }))
}

/// Show an API key
#[utoipa::path(
    get, path = "/v1/api-keys/{id}", tag = "API keys", operation_id = "getApiKey",
    params(("id" = Uuid, Path, description = "The key's id.")),
    responses(
        (status = 200, description = "The key.", body = ApiKeyView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<ApiKeyId>,
) -> Result<Json<ApiKeyView>, Problem> {
    let customer = asking.may(Scope::KeysRead)?;
    let found = shared.control.api_key_of(customer, id).await?;
    Ok(Json(ApiKeyView::of(&found.ok_or_else(Problem::not_found)?)))
}

/// Revoke an API key
///
/// For good. It opens nothing any more within a second, on every gateway. A key can't revoke one
/// that may do more than itself.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "API keys", operation_id = "revokeApiKey",
    params(("id" = Uuid, Path, description = "The key's id.")),
    responses(
        (status = 200, description = "Revoked.", body = ApiKeyView),
    )
)]
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<ApiKeyId>,
) -> Result<Json<ApiKeyView>, Problem> {
    let customer = asking.may(Scope::KeysWrite)?;
    // An administrator could at the other door.
    if !asking.caller().key.allows(Scope::Admin) {
        find_within_reach(&shared, &asking, customer, id).await?;
    }
    revoke_of(&shared, &asking, customer, id).await
}

/// Revoke a customer's API key
///
/// For administrators.
#[utoipa::path(
    delete, path = "/v1/customers/{id}/api-keys/{key}", tag = "API keys", operation_id = "revokeCustomerApiKey",
    params(
        ("id" = Uuid, Path, description = "The customer's id."),
        ("key" = Uuid, Path, description = "The key's id."),
    ),
    responses(
        (status = 200, description = "Revoked.", body = ApiKeyView),
    )
)]
pub(super) async fn revoke_for(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id((customer, id)): Id<(CustomerId, ApiKeyId)>,
) -> Result<Json<ApiKeyView>, Problem> {
    asking.may(Scope::Admin)?;
    revoke_of(&shared, &asking, customer, id).await
}

/// The customer's key, which may do nothing that the caller may not.
async fn find_within_reach(
    shared: &Shared,
    asking: &Asking,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<ApiKey, Problem> {
    let found = shared.control.api_key_of(customer, id).await?.ok_or_else(Problem::not_found)?;
    if let Some(scope) = scope_beyond(&asking.caller().key, &found) {
        asking.may(scope)?;
    }
    Ok(found)
}

async fn revoke_of(
    shared: &Shared,
    asking: &Asking,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<Json<ApiKeyView>, Problem> {
    let revoked = shared.control.revoke_api_key(customer, id, asking.caller().actor()).await?;
    Ok(Json(ApiKeyView::of(&revoked.ok_or_else(Problem::not_found)?)))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct RotateBody {
    /// Seconds.
    overlap_seconds: Option<u64>,
}

/// Rotate an API key
///
/// Makes a key like this one, which goes on working beside it for a while and then expires. The new
/// one works no longer, and asks no more often, than the key that asks for it.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/rotate", tag = "API keys", operation_id = "rotateApiKey",
    params(("id" = Uuid, Path, description = "The key's id.")),
    request_body = Option<RotateBody>,
    responses(
        (status = 201, description = "The new key, shown this once.", body = ApiKeyView),
        (status = 409, description = "The key is dead already, or the customer has 100 live ones."),
    )
)]
pub(super) async fn rotate(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<ApiKeyId>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ApiKeyView>), Problem> {
    let customer = asking.may(Scope::KeysWrite)?;
    let body: Option<RotateBody> = super::read_json_or_nothing(&shared, &headers, body).await?;
    let overlap = body.unwrap_or_default().overlap_seconds.map_or(OVERLAP, Duration::from_secs);
    if overlap > MAX_OVERLAP {
        let told = format!("is at most {}", MAX_OVERLAP.as_secs());
        return Err(Problem::field("/overlap_seconds", told));
    }
    // What the new key may do is what the old one may, which the caller must be able to give.
    let old = find_within_reach(&shared, &asking, customer, id).await?;
    let (mut expires_at, mut rate_limit) = (old.expires_at, old.rate_limit);
    let own = &asking.caller().key;
    if !own.allows(Scope::Admin) {
        let found = shared.control.customer(customer).await?.ok_or_else(Problem::not_found)?;
        let plans = &shared.settings.plans;
        let limit = found.rate_limit.unwrap_or_else(|| plans.rate_limit(&found.plan));
        expires_at = earlier(expires_at, own.expires_at);
        rate_limit = lower(rate_limit, own.rate_limit, limit);
    }
    let env = &shared.settings.key_environment;
    let mut made = new_key(&shared.pepper, env, customer, old.name, old.scopes);
    made.key.rate_limit = rate_limit;
    made.key.expires_at = expires_at;
    let until = truncate_to_millis(OffsetDateTime::now_utc() + overlap);
    let actor = asking.caller().actor();
    match shared.control.rotate_api_key(customer, id, &made.key, until, actor).await? {
        KeyRotation::Made { .. } => Ok((StatusCode::CREATED, Json(ApiKeyView::with_key(&made)))),
        KeyRotation::TooMany => Err(too_many()),
        KeyRotation::NoSuchKey => {
            let detail = "The key is revoked or has expired; make a new one instead.";
            Err(Problem::new(Kind::Conflict, detail))
        }
    }
}

struct Wanted {
    name: String,
    scopes: Vec<Scope>,
    expires_at: Option<OffsetDateTime>,
    rate_limit: Option<RateLimit>,
}

fn judge(body: NewApiKeyBody, asking: &Asking) -> Result<Wanted, Problem> {
    judge_name("/name", &body.name)?;
    let mut scopes = Vec::new();
    for (index, text) in body.scopes.iter().enumerate() {
        let scope = Scope::parse(text).ok_or_else(|| {
            let all = Scope::ALL.map(Scope::as_str).join(", ");
            Problem::field(format!("/scopes/{index}"), format!("is {text:?}; scopes are {all}"))
        })?;
        asking.may(scope)?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        return Err(Problem::field("/scopes", "names no scope: such a key could do nothing"));
    }
    let expires_at = body.expires_at.map(|text| instant("/expires_at", &text)).transpose()?;
    if expires_at.is_some_and(|at| at <= OffsetDateTime::now_utc()) {
        return Err(Problem::field("/expires_at", "is in the past"));
    }
    let rate_limit = rate_limit(body.rate_limit.as_deref())?;
    if rate_limit.is_some() {
        asking.may(Scope::Admin)?;
    }
    Ok(Wanted { name: body.name, scopes, expires_at, rate_limit })
}

pub(super) fn judge_name(pointer: &str, name: &str) -> Result<(), Problem> {
    check_name(name).map_err(|error| Problem::field(pointer, error.to_string()))
}

pub(super) fn rate_limit(text: Option<&str>) -> Result<Option<RateLimit>, Problem> {
    text.map(|text| {
        text.parse().map_err(|error| Problem::field("/rate_limit", format!("is {text:?}; {error}")))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn the_document_names_every_scope() {
        let named = serde_json::to_value(ScopeName::schema()).unwrap();
        assert_eq!(named["enum"], serde_json::json!(Scope::ALL.map(Scope::as_str)));
    }
}
