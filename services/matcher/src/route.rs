//! Who is owed an event. Pure.

use serde_json::Value;
use time::OffsetDateTime;
use triggerline_matching::Selector;
use triggerline_types::{
    Delivery, DeliveryId, Event, Matched, Owed, Subscription, SubscriptionState,
};

/// What the matcher makes of a live subscription.
#[derive(Debug)]
pub(crate) struct Compiled {
    selector: Option<Selector>,
}

impl Compiled {
    /// `None` where it matches nothing: unsubscribed, disabled or deleted, or paused where it is
    /// not pulled.
    pub(crate) fn of(subscription: &Subscription) -> Option<Self> {
        let keeps = subscription.endpoint.settings.mode.pulls();
        match subscription.state {
            SubscriptionState::Active => {}
            // It is not given anything, but finds all of it when it is resumed.
            SubscriptionState::Paused if keeps => {}
            _ => return None,
        }
        match subscription.jsonpath.as_deref().map(Selector::compile).transpose() {
            Ok(selector) => Some(Self { selector }),
            // It was compiled when it was saved; only another version can have let it in.
            Err(error) => {
                tracing::error!(id = %subscription.id, %error, "a stored selector doesn't compile");
                None
            }
        }
    }
}

/// What an event leads to.
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

/// Holds an event against its customer's live subscriptions.
pub(crate) fn route<'a>(
    event: &Event,
    live: impl IntoIterator<Item = (&'a Subscription, &'a Compiled)>,
    now: OffsetDateTime,
) -> Routed {
    let mut payload: Option<Result<Value, serde_json::Error>> = None;
    let mut deliveries = Vec::new();
    let mut owed = Vec::new();
    let mut in_order = false;
    for (subscription, compiled) in live {
        // The picture is the customer's own; this line is what a mistake there would meet.
        if subscription.customer_id != event.customer_id || !subscription.covers(&event.event_type)
        {
            continue;
        }
        if let Some(selector) = &compiled.selector {
            // Parsed at most once, and only if someone looks inside.
            let payload = payload.get_or_insert_with(|| serde_json::from_slice(&event.payload));
            match payload {
                Ok(payload) if selector.matches(payload) => {}
                _ => continue,
            }
        }
        in_order |= subscription.endpoint.settings.is_queued();
        let id = DeliveryId::of(event.id, subscription.id);
        owed.push(Owed {
            delivery_id: id,
            subscription_id: subscription.id,
            workflow_id: subscription.workflow_id.clone(),
        });
        deliveries.push(Delivery {
            id,
            subscription_id: subscription.id,
            subscription_revision: subscription.revision,
            event: event.clone(),
            attempt: 1,
            not_before: None,
            replay_id: None,
        });
    }
    let summary = Matched { event_id: event.id, customer_id: event.customer_id, at: now, owed };
    let undecided = payload.and_then(Result::err).map(|error| format!("the payload: {error}"));
    Routed { deliveries, summary, undecided, in_order }
}

#[cfg(test)]
mod tests {
    use triggerline_types::{
        CustomerId, Endpoint, EventId, EventType, EventTypePattern, Mode, Revision, Secret,
        SubscriptionId,
    };

    use super::*;

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
            jsonpath: jsonpath.map(str::to_owned),
            endpoint: Endpoint::new("https://a.example/", Secret::generate()),
            state: SubscriptionState::Active,
            revision: Revision(3),
            created_at: now,
            updated_at: now,
        }
    }

    fn routed(event: &Event, subscriptions: &[Subscription]) -> Routed {
        let compiled: Vec<_> =
            subscriptions.iter().filter_map(|s| Some((s, Compiled::of(s)?))).collect();
        route(event, compiled.iter().map(|(s, c)| (*s, c)), OffsetDateTime::UNIX_EPOCH)
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
