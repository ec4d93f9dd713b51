//! Changing a subscription. Pure.

use std::time::Duration;

use time::OffsetDateTime;
use triggerline_types::{
    DeliverySettings, EventTypePattern, Secret, Selector, Subscription, SubscriptionState,
};

use super::trail;

#[derive(Clone, Debug)]
pub enum SubscriptionEdit {
    State(SubscriptionState),
    /// All that its owner can change, as it is from now on.
    Fields(Box<SubscriptionFields>),
    /// A new secret; the one of before signs as well for as long as `overlap`.
    Rotate {
        secret: Secret,
        overlap: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionFields {
    pub workflow_id: String,
    pub event_types: Vec<EventTypePattern>,
    pub selector: Selector,
    pub url: String,
    pub settings: DeliverySettings,
}

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edited {
    /// As it is now; under its revision of before, if the edit changed nothing.
    Kept(Box<Subscription>),
    /// It is at another revision than was expected.
    Stale,
    /// The customer has no such subscription.
    Missing,
}

impl SubscriptionFields {
    pub fn of(subscription: &Subscription) -> Self {
        Self {
            workflow_id: subscription.workflow_id.clone(),
            event_types: subscription.event_types.clone(),
            selector: subscription.selector.clone(),
            url: subscription.endpoint.url.clone(),
            settings: subscription.endpoint.settings.clone(),
        }
    }
}

/// What an edit did.
pub(crate) struct Applied {
    /// What it is called in the audit trail.
    pub(crate) action: &'static str,
    /// Whether what is known of the endpoint's failures is of another endpoint.
    pub(crate) begins_anew: bool,
}

impl SubscriptionEdit {
    /// Changes all of `subscription` but its revision and dates; `None` where there is nothing to
    /// change.
    pub(crate) fn apply(
        self,
        subscription: &mut Subscription,
        now: OffsetDateTime,
    ) -> Option<Applied> {
        match self {
            Self::State(state) => {
                if subscription.state == state {
                    return None;
                }
                let action = trail::subscription_set(&state);
                subscription.state = state;
                Some(Applied { action, begins_anew: true })
            }
            Self::Fields(fields) => {
                if *fields == SubscriptionFields::of(subscription) {
                    return None;
                }
                let SubscriptionFields { workflow_id, event_types, selector, url, settings } =
                    *fields;
                let begins_anew = url != subscription.endpoint.url;
                subscription.workflow_id = workflow_id;
                subscription.event_types = event_types;
                subscription.selector = selector;
                subscription.endpoint.url = url;
                subscription.endpoint.settings = settings;
                Some(Applied { action: trail::SUBSCRIPTION_UPDATED, begins_anew })
            }
            Self::Rotate { secret, overlap } => {
                subscription.endpoint.rotate(secret, now, now + overlap);
                Some(Applied { action: trail::SUBSCRIPTION_SECRET_ROTATED, begins_anew: false })
            }
        }
    }
}
