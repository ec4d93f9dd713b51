//! What people set up, and the promises of whatever keeps it.
//!
//! The **trait** ([`ControlStore`]) is what services hold. What it is **asked** for and answers
//! with stands in [`asked`], a change of a subscription in [`edit`]; how both backends write it into
//! columns in [`fields`] and [`endpoint`], what is secret of it sealed ([`seal`]); what they call a change in the audit trail in [`trail`].

mod asked;
mod edit;
pub(crate) mod endpoint;
pub(crate) mod erasures;
pub(crate) mod fields;
pub(crate) mod queue;
pub(crate) mod replays;
pub(crate) mod seal;
pub(crate) mod trail;

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use triggerline_types::{
    Actor, ApiKey, ApiKeyId, AuditEntry, AuditId, Customer, CustomerId, EventType, Revision,
    Schema, SchemaMode, Subscription, SubscriptionId, SubscriptionState,
};

use crate::StoreError;
use erasures::ErasureStore;
use queue::QueueStore;
use replays::ReplayStore;

pub use asked::{
    Access, AccessChange, AccessChanges, Changes, CustomerChange, KeyCreation, KeyRotation,
    MAX_LIVE_KEYS, MAX_SCHEMAS, MAX_SCHEMAS_BYTES, MAX_SUBSCRIPTIONS, NewCustomer, NewSubscription,
    SchemaPut, SubscriptionCreation,
};
pub(crate) use asked::{has_room, rotated_expiry};
pub use edit::{Edited, SubscriptionEdit, SubscriptionFields};

/// After so long without a failure nobody knows that an endpoint still fails.
pub const FORGOTTEN: Duration = Duration::from_hours(48);

/// What people set up.
///
/// Whatever returns `Ok` is durable. Reads see every write that returned before them.
///
/// Every change that takes an [`Actor`] leaves one [`AuditEntry`], in the same transaction; a
/// call that changes nothing leaves none.
///
/// Changes of subscriptions, of keys, of customers and of schemas are counted in one sequence
/// of [`Revision`]s, which become visible in their order: once a caller has seen revision *n*,
/// no smaller one appears that it has not seen. (A plain database sequence does not promise
/// this, because a later number may commit first.)
#[async_trait]
pub trait ControlStore: ReplayStore + QueueStore + ErasureStore {
    /// Brings the schema up to this version; harmless when it is there already, and when
    /// several processes do it at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    async fn create_customer(&self, new: NewCustomer, by: Actor) -> Result<Customer, StoreError>;

    /// Makes a customer and its first key; both or neither. The key is kept as the new customer's,
    /// whosever it says that it is. Each leaves its own [`AuditEntry`].
    async fn create_customer_with_key(
        &self,
        new: NewCustomer,
        key: &ApiKey,
        by: Actor,
    ) -> Result<Customer, StoreError>;

    /// `None`: there is no such customer, or it was erased.
    async fn customer(&self, id: CustomerId) -> Result<Option<Customer>, StoreError>;

    /// Up to `limit` customers in the order of their ids, which is the order in which they were
    /// made; only those past `after`.
    async fn customers(
        &self,
        after: Option<CustomerId>,
        limit: usize,
    ) -> Result<Vec<Customer>, StoreError>;

    /// Changes what `change` names and returns the customer as it is then; `None` where there
    /// is no such customer. It counts as a change of each of the customer's keys.
    async fn update_customer(
        &self,
        id: CustomerId,
        change: CustomerChange,
        by: Actor,
    ) -> Result<Option<Customer>, StoreError>;

    /// Keeps a key that was just made, unless its customer has [`MAX_LIVE_KEYS`] live ones:
    /// however many are created at once, there are never more. Its hash must be new.
    async fn create_api_key(&self, key: &ApiKey, by: Actor) -> Result<KeyCreation, StoreError>;

    /// All of the customer's keys, oldest first; revoked and expired ones too.
    async fn api_keys(&self, customer: CustomerId) -> Result<Vec<ApiKey>, StoreError>;

    /// The customer's key, live or not. Another customer's is `None`.
    async fn api_key_of(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// The key with this hash and whose it is, live or not: judging it is the caller's.
    async fn access(&self, hash: &[u8; 32]) -> Result<Option<Access>, StoreError>;

    /// Revokes a key for good and returns it as it is then; `None` where the customer has no
    /// such key. Repeating it changes nothing: the first instant stays.
    async fn revoke_api_key(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
        by: Actor,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Keeps `new`, as the same customer's, and lets the key that it replaces expire at
    /// `old_expires_at`, never later than it would anyway; both or neither.
    ///
    /// The old key doesn't count towards [`MAX_LIVE_KEYS`], so that who has as many can still
    /// rotate one of them (and has one more until it expires, never two).
    async fn rotate_api_key(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
        new: &ApiKey,
        old_expires_at: OffsetDateTime,
        by: Actor,
    ) -> Result<KeyRotation, StoreError>;

    /// Writes down when keys were last used. An instant only moves forward, so neither the order
    /// nor the number of times matters; a key that isn't there is passed over. Nobody's change:
    /// no audit entry, no revision.
    async fn touch_api_keys(&self, used: &[(ApiKeyId, OffsetDateTime)]) -> Result<(), StoreError>;

    /// What a cache of [`Access`] and of schemas must forget: everything whose last change is
    /// newer than `after`, and the revision to ask with next time. Each key and each customer
    /// once, however often it changed. `None` answers the present revision and no changes: for a
    /// cache with nothing in it.
    ///
    /// A revision smaller than `after` means that the store was set back, say to a backup; then
    /// nothing that is cached can be trusted.
    async fn access_changes(&self, after: Option<Revision>) -> Result<AccessChanges, StoreError>;

    /// Ticks soon after something that is followed (subscriptions, keys, customers, schemas) has
    /// changed. It may tick for nothing, and may miss what another process changed: followers
    /// also ask every so often. Called inside a tokio runtime.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Keeps the schema of one type of the customer's events, in place of the one that there
    /// is, unless the customer would have too many: however many are put at once, there are never
    /// more. The one that it is already changes nothing.
    async fn put_schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
        mode: SchemaMode,
        document: &str,
        by: Actor,
    ) -> Result<SchemaPut, StoreError>;

    async fn schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
    ) -> Result<Option<Schema>, StoreError>;

    /// The customer's schemas in the order of their event types.
    async fn schemas(&self, customer: CustomerId) -> Result<Vec<Schema>, StoreError>;

    /// `false` where there is no such schema.
    async fn delete_schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
        by: Actor,
    ) -> Result<bool, StoreError>;

    /// Makes a subscription, unless its customer has [`MAX_SUBSCRIPTIONS`] that were not deleted:
    /// however many are created at once, there are never more.
    async fn create_subscription(
        &self,
        new: NewSubscription,
        by: Actor,
    ) -> Result<SubscriptionCreation, StoreError>;

    /// The customer's subscription, unless it was deleted. Another customer's is `None`.
    async fn subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Up to `limit` of the customer's subscriptions that were not deleted, in the order of their
    /// ids, which is the order in which they were made; only those past `after`.
    async fn subscriptions(
        &self,
        customer: CustomerId,
        after: Option<SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// Puts a subscription into another state, under a new revision, and returns it as it
    /// is then; `None` where the customer has no such subscription. A deleted one stays
    /// deleted (`None`). A state that it has already changes nothing, revision included.
    async fn set_subscription_state(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        state: SubscriptionState,
        by: Actor,
    ) -> Result<Option<Subscription>, StoreError> {
        let edit = SubscriptionEdit::State(state);
        Ok(match self.edit_subscription(customer, id, edit, None, by).await? {
            Edited::Kept(subscription) => Some(*subscription),
            Edited::Stale | Edited::Missing => None,
        })
    }

    /// Changes a subscription, under a new revision, if it is at the revision that is
    /// `expected`, where one is. An edit that changes nothing leaves all as it is.
    async fn edit_subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        edit: SubscriptionEdit,
        expected: Option<Revision>,
        by: Actor,
    ) -> Result<Edited, StoreError>;

    /// Notes that a subscription's endpoint failed at `at`, and returns since when it has done
    /// nothing else, as far as was noted: since the first failure after it recovered, after its
    /// subscription changed its state, or after [`FORGOTTEN`] without any.
    async fn endpoint_failed(
        &self,
        id: SubscriptionId,
        at: OffsetDateTime,
    ) -> Result<OffsetDateTime, StoreError>;

    /// Notes that a subscription's endpoint took a delivery.
    async fn endpoint_recovered(&self, id: SubscriptionId) -> Result<(), StoreError>;

    /// Of all customers, those whose endpoints have failed and not been noted to recover.
    async fn failing_endpoints(&self) -> Result<Vec<SubscriptionId>, StoreError>;

    /// Up to `limit` subscriptions of all customers, deleted ones included, whose last
    /// change is newer than `after`, in the order of their revisions.
    ///
    /// A row that this version can't read is logged and passed over: it takes one of the
    /// `limit` places, and the answer's revision is past it. Not so a secret that can't be opened:
    /// whoever has not been given the keys must not go on without the subscriptions.
    async fn changes_since(&self, after: Revision, limit: usize) -> Result<Changes, StoreError>;

    /// Seals secrets that aren't sealed with the first key, and says of how many subscriptions. Can be
    /// cut off and repeated. Nothing that anybody sees changes: no revision, no audit entry.
    async fn reseal(&self) -> Result<u64, StoreError>;

    /// Up to `limit` of the customer's audit entries, newest first; only those older than
    /// `after`. Pages neither skip nor repeat what was there when the first was read.
    async fn audit(
        &self,
        customer: CustomerId,
        after: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError>;
}
