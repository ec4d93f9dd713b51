//! What an event leads to, given who is owed it. Pure.

use std::sync::Arc;

use time::OffsetDateTime;
use triggerline_matching::Matching;
use triggerline_types::{Delivery, DeliveryId, Event, Matched, Owed, Subscription};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) summary: Matched,
    /// Why some selector could not be held against the payload. Those who asked for the type
    /// alone are owed the event all the same.
    pub(crate) undecided: Option<String>,
    /// Someone who is owed it wants deliveries in their order.
    pub(crate) in_order: bool,
}

pub(crate) fn route(
    event: &Event,
    matching: Matching<Arc<Subscription>>,
    now: OffsetDateTime,
) -> Routed {
    let Matching { keys: subscriptions, undecided } = matching;
    let owed = |subscription: &Arc<Subscription>| Owed {
        delivery_id: DeliveryId::of(event.id, subscription.id),
        subscription_id: subscription.id,
        workflow_id: subscription.workflow_id.clone(),
    };
    let delivery = |subscription: &Arc<Subscription>| Delivery {
        id: DeliveryId::of(event.id, subscription.id),
        subscription_id: subscription.id,
        subscription_revision: subscription.revision,
        event: event.clone(),
        attempt: 1,
        not_before: None,
        replay_id: None,
    };
    Routed {
        deliveries: subscriptions.iter().map(delivery).collect(),
        summary: Matched {
            event_id: event.id,
            customer_id: event.customer_id,
            at: now,
            owed: subscriptions.iter().map(owed).collect(),
        },
        undecided: undecided.map(|why| format!("the payload: {why}")),
        in_order: subscriptions.iter().any(|one| one.endpoint.settings.is_queued()),
    }
}

#[cfg(test)]
mod tests {
    use triggerline_store::View as _;
    use triggerline_types::{
        CustomerId, Endpoint, EventId, EventType, EventTypePattern, Mode, Revision, Secret,
        Selector, SubscriptionId, SubscriptionState,
    };

    use super::*;
    use crate::view::Live;

    fn event(customer_id: CustomerId, event_type: &str, payload: &'static str) -> Event {
        let now = OffsetDateTime::UNIX_EPOCH;
        Event {
            id: EventId::new(),
            customer_id,
            event_type: EventType::parse(event_type).unwrap(),
            source: "test".to_owned(),
            subject: None,
            occurred_at: now,
            received_at: now,
            extensions: std::collections::BTreeMap::new(),
            traceparent: None,
            quarantined: None,
            payload: payload.into(),
        }
    }

    fn subscription(
        customer_id: CustomerId,
        event_type: &str,
        jsonpath: Option<&str>,
    ) -> Subscription {
        let now = OffsetDateTime::UNIX_EPOCH;
        Subscription {
            id: SubscriptionId::new(),
            customer_id,
            workflow_id: "w".to_owned(),
            event_types: vec![EventTypePattern::parse(event_type).unwrap()],
            selector: Selector { pattern: None, jsonpath: jsonpath.map(str::to_owned) },
            endpoint: Endpoint::new("https://a.example/", Secret::generate()),
            state: SubscriptionState::Active,
            revision: Revision(3),
            created_at: now,
            updated_at: now,
        }
    }

    fn routed(event: &Event, subscriptions: &[Subscription]) -> Routed {
        let mut live = Live::default();
        for subscription in subscriptions {
            live.change(&Arc::new(subscription.clone()));
        }
        route(event, live.owed(event), OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn type_and_selector_both_decide() {
        let ours = CustomerId::new();
        let event = event(ours, "order.created", r#"{"order": {"total": 120}}"#);
        for (event_type, jsonpath, owed) in [
            ("order.created", None, true),
            ("order.*", None, true),
            ("payment.*", None, false),
            ("order.*", Some("$.order[?@ > 100]"), true),
            ("order.*", Some("$.order[?@ > 200]"), false),
            ("payment.*", Some("$.order"), false),
        ] {
            let subscription = subscription(ours, event_type, jsonpath);
            let routed = routed(&event, std::slice::from_ref(&subscription));
            assert_eq!(routed.deliveries.len(), usize::from(owed), "{event_type} {jsonpath:?}");
            assert_eq!(routed.summary.owed.len(), usize::from(owed));
            for delivery in routed.deliveries {
                assert_eq!(delivery.id, DeliveryId::of(event.id, subscription.id));
                assert_eq!(delivery.subscription_revision, Revision(3));
                assert_eq!(delivery.event, event);
                assert_eq!(delivery.attempt, 1);
            }
        }
    }

    #[test]
    fn another_customers_subscription_is_owed_nothing() {
        let event = event(CustomerId::new(), "order.created", "{}");
        let theirs = subscription(CustomerId::new(), "*", None);
        assert!(routed(&event, &[theirs]).deliveries.is_empty());
    }

    #[test]
    fn only_the_active_are_owed_anything() {
        let ours = CustomerId::new();
        let event = event(ours, "order.created", "{}");
        let unsubscribed = || SubscriptionState::Unsubscribed { reason: "410".to_owned() };
        for (state, mode, owed) in [
            (SubscriptionState::Active, Mode::Pull, 1),
            (SubscriptionState::Paused, Mode::Webhook, 0),
            (SubscriptionState::Paused, Mode::Pull, 1),
            (SubscriptionState::Paused, Mode::Both, 1),
            (SubscriptionState::Deleted, Mode::Pull, 0),
            (unsubscribed(), Mode::Webhook, 0),
            (unsubscribed(), Mode::Both, 0),
        ] {
            let told = format!("{state:?} {mode:?}");
            let mut subscription = Subscription { state, ..subscription(ours, "*", None) };
            subscription.endpoint.settings.mode = mode;
            assert_eq!(routed(&event, &[subscription]).deliveries.len(), owed, "{told}");
        }
    }

    #[test]
    fn a_payload_is_parsed_only_for_who_looks_inside() {
        let ours = CustomerId::new();
        let event = event(ours, "order.created", "1e400");
        let plain = || subscription(ours, "*", None);
        let looks = |event_type| subscription(ours, event_type, Some("$.a"));
        for (subscriptions, owed, undecided) in [
            (vec![plain()], 1, false),
            (vec![plain(), looks("payment.*")], 1, false),
            (vec![looks("*"), plain()], 1, true),
            (vec![looks("*")], 0, true),
        ] {
            let routed = routed(&event, &subscriptions);
            assert_eq!(routed.deliveries.len(), owed);
            assert_eq!(routed.undecided.is_some(), undecided, "{:?}", routed.undecided);
        }
    }
}
