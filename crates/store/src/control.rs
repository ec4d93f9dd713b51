use async_trait::async_trait;
use time::OffsetDateTime;
use triggerline_types::{
    ApiKey, ApiKeyId, Customer, CustomerId, Endpoint, EventTypePattern, Revision, Subscription,
    SubscriptionId, SubscriptionState,
};

use crate::StoreError;

/// What people set up.
///
/// Whatever returns `Ok` is durable. Reads see every write that returned before them.
#[async_trait]
pub trait ControlStore: Send + Sync + 'static {
    /// Brings the schema up to this version; harmless when it is there already, and when
    /// several processes do it at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    async fn create_customer(&self, name: &str) -> Result<Customer, StoreError>;

    /// All customers, oldest first.
    async fn customers(&self) -> Result<Vec<Customer>, StoreError>;

    /// Keeps a key that was just made. Its hash must be new.
    async fn create_api_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// The key with this hash, live or not: judging it is the caller's.
    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError>;

    /// Revokes a key for good; `false` where the customer has no such key. Repeating it
    /// keeps the first instant.
    async fn revoke_api_key(&self, customer: CustomerId, key: ApiKeyId)
    -> Result<bool, StoreError>;

    async fn create_subscription(&self, new: NewSubscription) -> Result<Subscription, StoreError>;

    /// The customer's subscription, unless it was deleted. Another customer's is `None`.
    async fn subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError>;

    /// The customer's subscriptions that were not deleted, oldest first.
    async fn subscriptions(&self, customer: CustomerId) -> Result<Vec<Subscription>, StoreError>;

    /// Puts a subscription into another state, under a new revision, and returns it as it
    /// is then; `None` where the customer has no such subscription. A deleted one stays
    /// deleted (`None`). A state that it has already changes nothing, revision included.
    async fn set_subscription_state(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        state: SubscriptionState,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Up to `limit` subscriptions of all customers, deleted ones included, whose last
    /// change is newer than `after`, in the order of their revisions.
    ///
    /// Revisions become visible in their order: once a caller has seen revision *n*, no
    /// smaller one appears that it has not seen. (A plain database sequence does not
    /// promise this, because a later number may commit first.)
    async fn changes_since(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<Vec<Subscription>, StoreError>;
}

/// A subscription as its owner asks for it; the store gives it id, revision and dates.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    pub customer_id: CustomerId,
    pub workflow_id: String,
    pub event_types: Vec<EventTypePattern>,
    pub jsonpath: Option<String>,
    pub endpoint: Endpoint,
}

impl NewSubscription {
    /// As it is kept from now on.
    pub(crate) fn into_subscription(self, revision: Revision, now: OffsetDateTime) -> Subscription {
        Subscription {
            id: SubscriptionId::new(),
            customer_id: self.customer_id,
            workflow_id: self.workflow_id,
            event_types: self.event_types,
            jsonpath: self.jsonpath,
            endpoint: self.endpoint,
            state: SubscriptionState::Active,
            revision,
            created_at: now,
            updated_at: now,
        }
    }
}

/// How fields are written in every backend's columns.
pub(crate) mod fields {
    use triggerline_types::{Endpoint, EventTypePattern, Scope, Secret, SubscriptionState};

    pub(crate) fn scopes_to_text(scopes: &[Scope]) -> String {
        scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// A scope that this version doesn't know is one that it can't grant.
    pub(crate) fn scopes_from_text(text: &str) -> Vec<Scope> {
        text.split_whitespace().filter_map(Scope::parse).collect()
    }

    /// Event types have no spaces.
    pub(crate) fn event_types_to_text(patterns: &[EventTypePattern]) -> String {
        patterns.iter().map(EventTypePattern::as_str).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn event_types_from_text(text: &str) -> Result<Vec<EventTypePattern>, String> {
        let patterns = text.split_whitespace().map(EventTypePattern::parse);
        patterns.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    pub(crate) fn endpoint(url: String, secret: Vec<u8>) -> Result<Endpoint, String> {
        let secret = Secret::from_bytes(secret).map_err(|error| error.to_string())?;
        Ok(Endpoint { url, secret })
    }

    pub(crate) fn reason(state: &SubscriptionState) -> Option<String> {
        match state {
            SubscriptionState::Unsubscribed { reason } => Some(reason.clone()),
            _ => None,
        }
    }

    pub(crate) fn state(name: &str, reason: Option<String>) -> Result<SubscriptionState, String> {
        match name {
            "active" => Ok(SubscriptionState::Active),
            "paused" => Ok(SubscriptionState::Paused),
            "unsubscribed" => {
                Ok(SubscriptionState::Unsubscribed { reason: reason.unwrap_or_default() })
            }
            "deleted" => Ok(SubscriptionState::Deleted),
            other => Err(format!("the state {other:?}")),
        }
    }
}
