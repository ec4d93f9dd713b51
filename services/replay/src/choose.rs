//! What of that which is kept a replay sends. Pure.

use triggerline_matching::{Predicate, Rules};
use triggerline_store::StoredDelivery;
use triggerline_types::{
    Event, EventType, EventTypePattern, Selection, Standing, Subscription, SubscriptionState,
};

/// Whom a replay of events goes to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) subscription: Subscription,
    /// Its own alone: decided as the matcher decides.
    rules: Rules<()>,
}

impl Target {
    /// An error says why nothing can be sent to it.
    pub(crate) fn of(subscription: Option<Subscription>) -> Result<Self, String> {
        let subscription = subscription.ok_or("there is no such subscription")?;
        if subscription.state != SubscriptionState::Active {
            return Err(format!("the subscription is {}", subscription.state.as_str()));
        }
        let predicate = Predicate::compile(&subscription.selector)
            .map_err(|error| format!("the subscription's selector: {error}"))?;
        Ok(Self { subscription, rules: Rules::one((), &predicate) })
    }

    /// Whether the event is one that the subscription would be owed if it arrived now.
    pub(crate) fn wants(&self, event: &Event, is_held_back: bool) -> bool {
        !is_held_back
            && self.subscription.covers(&event.event_type)
            && !self.rules.matching(&event.event_type, &event.payload).keys.is_empty()
    }

    /// How the delivery of an event to it stands, given all deliveries of that event.
    pub(crate) fn standing(&self, deliveries: &[StoredDelivery]) -> Standing {
        let ours = deliveries.iter().find(|one| one.subscription_id == self.subscription.id);
        ours.map_or(Standing::Missing, |one| Standing::Owed(one.state))
    }
}

/// Whether events of this type are selected.
pub(crate) fn selects(selection: &Selection, event_type: &EventType) -> bool {
    let patterns = &selection.event_types;
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(event_type))
}

/// The one type that is selected, for the store to look for; `None` where there may be several.
pub(crate) fn only_type(patterns: &[EventTypePattern]) -> Option<EventType> {
    match patterns {
        [one] => EventType::parse(one.as_str()).ok(),
        _ => None,
    }
}

/// Whether a subscription may be sent what was given up for it; otherwise why not.
pub(crate) fn takes_back(subscription: Option<&Subscription>) -> Result<&Subscription, String> {
    let subscription = subscription.ok_or("there is no such subscription")?;
    match subscription.state {
        // What was matched before a pause is still owed.
        SubscriptionState::Active | SubscriptionState::Paused => Ok(subscription),
        _ => Err(format!("the subscription is {}", subscription.state.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use triggerline_types::{
        CustomerId, DeliveryId, DeliveryState, Endpoint, EventId, Revision, Secret, Selector,
        Source, SubscriptionId,
    };

    use super::*;

    fn subscription(state: SubscriptionState, jsonpath: Option<&str>) -> Subscription {
        let now = OffsetDateTime::UNIX_EPOCH;
        Subscription {
            id: SubscriptionId::new(),
            customer_id: CustomerId::new(),
            workflow_id: "w".to_owned(),
            event_types: vec![EventTypePattern::parse("order.*").unwrap()],
            selector: Selector { pattern: None, jsonpath: jsonpath.map(str::to_owned) },
            endpoint: Endpoint::new("https://a.example/", Secret::generate()),
            state,
            revision: Revision(3),
            created_at: now,
            updated_at: now,
        }
    }

    fn event(event_type: &str, payload: &'static str) -> Event {
        let now = OffsetDateTime::UNIX_EPOCH;
        Event {
            id: EventId::new(),
            customer_id: CustomerId::new(),
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

    #[test]
    fn an_event_is_wanted_as_if_it_arrived_now() {
        for (jsonpath, event_type, payload, is_held_back, wanted) in [
            (None, "order.created", "{}", false, true),
            (None, "order.created", "{}", true, false),
            (None, "payment.made", "{}", false, false),
            (None, "triggerline.endpoint.disabled", "{}", false, false),
            (Some("$.a"), "order.created", r#"{"a":1}"#, false, true),
            (Some("$.a"), "order.created", r#"{"b":1}"#, false, false),
            (Some("$.a"), "order.created", "1e400", false, false),
        ] {
            let target = Target::of(Some(subscription(SubscriptionState::Active, jsonpath)));
            let wants = target.unwrap().wants(&event(event_type, payload), is_held_back);
            assert_eq!(wants, wanted, "{jsonpath:?} {event_type}");
        }
    }

    #[test]
    fn only_those_who_still_take_deliveries_are_sent_any() {
        let reason = || "410".to_owned();
        for (state, events, dead_letters) in [
            (SubscriptionState::Active, true, true),
            (SubscriptionState::Paused, false, true),
            (SubscriptionState::Deleted, false, false),
            (SubscriptionState::Unsubscribed { reason: reason() }, false, false),
            (SubscriptionState::Disabled { reason: reason() }, false, false),
        ] {
            let subscription = subscription(state, None);
            assert_eq!(takes_back(Some(&subscription)).is_ok(), dead_letters, "{subscription:?}");
            assert_eq!(Target::of(Some(subscription)).is_ok(), events);
        }
        assert!(takes_back(None).is_err() && Target::of(None).is_err());
    }

    #[test]
    fn a_delivery_stands_as_the_subscriptions_own_does() {
        let target = Target::of(Some(subscription(SubscriptionState::Active, None))).unwrap();
        let delivery = |subscription_id, state| StoredDelivery {
            id: DeliveryId::of(EventId::new(), subscription_id),
            subscription_id,
            workflow_id: "w".to_owned(),
            state,
            attempts: Vec::new(),
        };
        let another = delivery(SubscriptionId::new(), DeliveryState::Delivered);
        assert_eq!(target.standing(std::slice::from_ref(&another)), Standing::Missing);
        let ours = delivery(target.subscription.id, DeliveryState::DeadLettered);
        let standing = target.standing(&[another, ours]);
        assert_eq!(standing, Standing::Owed(DeliveryState::DeadLettered));
    }

    #[test]
    fn types_are_selected_by_pattern_and_one_alone_by_name() {
        let selection = |patterns: &[&str]| Selection {
            source: Source::DeadLetters { subscription_id: None, delivery_id: None },
            from: None,
            to: OffsetDateTime::UNIX_EPOCH,
            event_types: patterns.iter().map(|p| EventTypePattern::parse(*p).unwrap()).collect(),
        };
        let a = EventType::parse("a.one").unwrap();
        for (patterns, selected, only) in [
            (vec![], true, None),
            (vec!["a.one"], true, Some("a.one")),
            (vec!["b"], false, Some("b")),
            (vec!["a.*"], true, None),
            (vec!["b", "a.*"], true, None),
            (vec!["b", "c"], false, None),
        ] {
            let selection = selection(&patterns);
            assert_eq!(selects(&selection, &a), selected, "{patterns:?}");
            let one = only_type(&selection.event_types);
            assert_eq!(one.as_ref().map(EventType::as_str), only, "{patterns:?}");
        }
    }
}
