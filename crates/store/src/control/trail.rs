//! What changes are called in the audit trail.

use std::fmt::Display;

use time::OffsetDateTime;
use triggerline_types::{Actor, AuditEntry, AuditId, CustomerId, SubscriptionState};

pub(crate) const CUSTOMER_CREATED: &str = "customer.created";
pub(crate) const CUSTOMER_UPDATED: &str = "customer.updated";
pub(crate) const CUSTOMER_ERASED: &str = "customer.erased";
pub(crate) const API_KEY_CREATED: &str = "api_key.created";
pub(crate) const API_KEY_REVOKED: &str = "api_key.revoked";
pub(crate) const API_KEY_ROTATED: &str = "api_key.rotated";
pub(crate) const SCHEMA_PUT: &str = "schema.put";
pub(crate) const SCHEMA_DELETED: &str = "schema.deleted";
pub(crate) const SUBSCRIPTION_CREATED: &str = "subscription.created";
pub(crate) const SUBSCRIPTION_UPDATED: &str = "subscription.updated";
pub(crate) const SUBSCRIPTION_SECRET_ROTATED: &str = "subscription.secret_rotated";
pub(crate) const REPLAY_CREATED: &str = "replay.created";
pub(crate) const REPLAY_CANCELLED: &str = "replay.cancelled";

/// Putting a subscription into this state.
pub(crate) fn subscription_set(state: &SubscriptionState) -> &'static str {
    match state {
        SubscriptionState::Active => "subscription.resumed",
        SubscriptionState::Paused => "subscription.paused",
        SubscriptionState::Unsubscribed { .. } => "subscription.unsubscribed",
        SubscriptionState::Disabled { .. } => "subscription.disabled",
        SubscriptionState::Deleted => "subscription.deleted",
    }
}

/// An entry for a change that is being made. Called once the change has its revision, so that
/// ids, which sort by time, are in the order of the changes.
pub(crate) fn entry(
    customer_id: CustomerId,
    actor: Actor,
    action: &str,
    target: impl Display,
    at: OffsetDateTime,
) -> AuditEntry {
    let (action, target) = (action.to_owned(), target.to_string());
    AuditEntry { id: AuditId::new(), customer_id, at, actor, action, target }
}
