//! How fields are written in every backend's columns.

use triggerline_types::{
    Actor, DeliveryId, EventType, EventTypePattern, RateLimit, ReplayState, SchemaMode, Scope,
    Source, Standing, SubscriptionId, SubscriptionState,
};
use uuid::Uuid;

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

pub(crate) fn state(name: &str, reason: Option<String>) -> Result<SubscriptionState, String> {
    match name {
        "active" => Ok(SubscriptionState::Active),
        "paused" => Ok(SubscriptionState::Paused),
        "unsubscribed" => {
            Ok(SubscriptionState::Unsubscribed { reason: reason.unwrap_or_default() })
        }
        "disabled" => Ok(SubscriptionState::Disabled { reason: reason.unwrap_or_default() }),
        "deleted" => Ok(SubscriptionState::Deleted),
        other => Err(format!("the state {other:?}")),
    }
}

/// The only one that a replay is for.
pub(crate) fn replayed_delivery(source: &Source) -> Option<DeliveryId> {
    match source {
        Source::Events { .. } | Source::Topic { .. } => None,
        Source::DeadLetters { delivery_id, .. } => *delivery_id,
    }
}

pub(crate) fn standing_to_text(source: &Source) -> String {
    source.standing().iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn source(
    name: &str,
    subscription: Option<Uuid>,
    delivery: Option<Uuid>,
    standing: &str,
) -> Result<Source, String> {
    let subscription_id = subscription.map(SubscriptionId::from_uuid);
    match (name, subscription_id) {
        ("events" | "topic", Some(subscription_id)) => {
            let parse =
                |text| Standing::parse(text).ok_or_else(|| format!("the standing {text:?}"));
            let standing = standing.split_whitespace().map(parse).collect::<Result<_, _>>()?;
            Ok(match name {
                "topic" => Source::Topic { subscription_id, standing },
                _ => Source::Events { subscription_id, standing },
            })
        }
        ("dead_letters", subscription_id) => {
            let delivery_id = delivery.map(DeliveryId::from_uuid);
            Ok(Source::DeadLetters { subscription_id, delivery_id })
        }
        (other, _) => Err(format!("the source {other:?}")),
    }
}

pub(crate) fn replay_state(name: &str, reason: Option<String>) -> Result<ReplayState, String> {
    match name {
        "running" => Ok(ReplayState::Running),
        "completed" => Ok(ReplayState::Completed),
        "cancelled" => Ok(ReplayState::Cancelled),
        "failed" => Ok(ReplayState::Failed { reason: reason.unwrap_or_default() }),
        other => Err(format!("the state {other:?}")),
    }
}

pub(crate) fn rate_limit_to_text(limit: Option<RateLimit>) -> Option<String> {
    limit.map(|limit| limit.to_string())
}

pub(crate) fn rate_limit_from_text(text: Option<&str>) -> Result<Option<RateLimit>, String> {
    text.map(|text| text.parse().map_err(|_| format!("the rate limit {text:?}"))).transpose()
}

pub(crate) fn hash(bytes: &[u8]) -> Result<[u8; 32], String> {
    bytes.try_into().map_err(|_| format!("a hash of {} bytes", bytes.len()))
}

pub(crate) fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).map_err(|error| error.to_string())
}

pub(crate) fn schema_mode(text: &str) -> Result<SchemaMode, String> {
    SchemaMode::parse(text).ok_or_else(|| format!("the mode {text:?}"))
}

pub(crate) fn actor(text: &str) -> Result<Actor, String> {
    Actor::parse(text).ok_or_else(|| format!("the actor {text:?}"))
}
