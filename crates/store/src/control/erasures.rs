//! Customers who are forgotten.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use triggerline_types::{Actor, CustomerId, Endpoint, Erased, Erasure, Secret, SubscriptionId};
use uuid::Uuid;

use crate::control::endpoint::Columns;
use crate::{Retention, StoreError};

/// Part of [`crate::ControlStore`], with its promises.
#[async_trait]
pub trait ErasureStore: Send + Sync + 'static {
    /// From now on the customer is not there: it isn't found, its keys are revoked, its name and
    /// settings are gone. What else it had goes with [`Self::erase_set_up`]. Asked again, nothing
    /// changes. `None`: there was never such a customer.
    async fn erase_customer(
        &self,
        id: CustomerId,
        topics_until: OffsetDateTime,
        by: Actor,
    ) -> Result<Option<Erasure>, StoreError>;

    /// How far the erasure of a customer is; `None` where nobody asked for one.
    async fn erasure(&self, customer: CustomerId) -> Result<Option<Erasure>, StoreError>;

    /// Gives an erasure that is due and that nobody holds to `owner`, for as long as `lease`; that
    /// which has been due longest. However many ask at once, each is given to one.
    async fn claim_erasure(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Erasure>, StoreError>;

    /// Removes some of what an erased customer had set up, and of what waits to be taken; what it
    /// came to, and whether there may be more. The audit trail stays, which has ids only. Deleted
    /// subscriptions stay for whoever follows them, with nothing in them.
    async fn erase_set_up(&self, customer: CustomerId) -> Result<(Erased, bool), StoreError>;

    /// Keeps how far `owner` is with an erasure, which is due again at `due`, or never, where `None`;
    /// `lease` begins anew, and none lets somebody else go on. `false` where it isn't the owner's (any
    /// more). Then nothing is changed.
    async fn keep_erasure(
        &self,
        erasure: &Erasure,
        owner: Uuid,
        due: Option<OffsetDateTime>,
        lease: Option<Duration>,
    ) -> Result<bool, StoreError>;

    /// For how long what is kept, where `standard` is what holds for most.
    async fn retention(&self, standard: Option<Duration>) -> Result<Retention, StoreError>;
}

/// Subscriptions that one call of [`ErasureStore::erase_set_up`] empties, and rows of the queue that it
/// removes.
pub(crate) const AT_ONCE: usize = 500;

/// Where an emptied subscription points to: nowhere (RFC 6761 §6.4). By it one is known.
pub(crate) const NOWHERE: &str = "https://erased.invalid/";

/// What stands in an emptied subscription.
pub(crate) fn nothing(id: SubscriptionId, keys: &super::seal::SecretKeys) -> Columns {
    let endpoint = Endpoint {
        url: NOWHERE.to_owned(),
        secret: Secret::generate(),
        old_secrets: Vec::new(),
        settings: triggerline_types::DeliverySettings::default(),
    };
    Columns::of(id, &endpoint, keys)
}
