//! Why a subscription matches an event, or doesn't: of one that was stored and all subscriptions
//! (Explain), or of a draft and events that are given or were stored (Backtest). Decided by the code that
//! decides in the matcher; why, is found by looking at everything.
//!
//! One call may ask for hundreds of these: so it has one budget of steps, and room for so much of an
//! answer, and few calls are worked on at once.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use triggerline_matching::jsonpath::Budget;
use triggerline_matching::{Explained, Matching, Predicate, Rules};
use triggerline_store::InboxQuery;
use triggerline_types::{
    Event, EventId, EventType, EventTypePattern, Scope, Selector, Subscription, SubscriptionId,
    covers,
};

use crate::Shared;
use crate::asking::Asking;
use crate::inbox;
use crate::problem::{Kind, Problem};
use crate::subscriptions;

/// Steps of queries, for one call.
const STEPS: u64 = 20_000_000;
/// Bytes of an answer, and of the events or subscriptions that are read for one.
const ANSWER_BYTES: usize = 4 << 20;
const READ_BYTES: usize = 8 << 20;
/// Stored events that a draft is held against, where nothing else is said and at most.
const LAST: usize = 20;
const MAX_LAST: usize = 200;

/// Calls that are worked on at once: they take a while, and others want to be answered.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// What was asked of an event, and how it came out.
pub(crate) struct Why {
    pub(crate) matched: bool,
    /// Whether the event's type is one that is wanted.
    pub(crate) type_matched: bool,
    /// Of the payload, if that was looked at; or why nothing can be said.
    pub(crate) payload: Option<Result<Explained, String>>,
}

/// A selector, ready to be put to events.
struct Judge {
    rules: Rules<()>,
    predicate: Predicate,
}

impl Judge {
    fn of(selector: &Selector) -> Result<Self, String> {
        let predicate = Predicate::compile(selector).map_err(|error| error.to_string())?;
        Ok(Self { rules: Rules::one((), &predicate), predicate })
    }
}

/// An event as judges look at it.
struct Case<'a> {
    event_type: &'a EventType,
    payload: &'a [u8],
    value: Result<Value, serde_json::Error>,
}

impl<'a> Case<'a> {
    fn of(event_type: &'a EventType, payload: &'a [u8]) -> Self {
        Self { event_type, payload, value: serde_json::from_slice(payload) }
    }

    fn why(
        &self,
        event_types: &[EventTypePattern],
        judge: &Result<Judge, String>,
        budget: &mut Budget,
    ) -> Why {
        let type_matched = covers(event_types, self.event_type);
        let told = |matched, payload| Why { matched, type_matched, payload };
        if !type_matched {
            return told(false, None);
        }
        let judge = match judge {
            Ok(judge) => judge,
            Err(error) => return told(false, Some(Err(error.clone()))),
        };
        let Matching { keys, undecided } = judge.rules.matching(self.event_type, self.payload);
        if let Some(why) = undecided {
            return told(false, Some(Err(why)));
        }
        let explained = judge.predicate.looks().then(|| match &self.value {
            Ok(value) => judge.predicate.explain(value, budget).map_err(|error| error.to_string()),
            Err(error) => Err(format!("the payload: {error}")),
        });
        told(!keys.is_empty(), explained)
    }
}

/// What an explanation takes of an answer.
fn size(why: &Why) -> usize {
    let explained = why.payload.as_ref().and_then(|payload| payload.as_ref().ok());
    explained.and_then(|all| serde_json::to_vec(all).ok()).map_or(0, |text| text.len())
}

/// One subscription, and why it matches the event, or doesn't.
pub(crate) struct Explanation {
    pub(crate) subscription: Subscription,
    /// Whether the event was owed to it when it was matched.
    pub(crate) owed: bool,
    pub(crate) why: Why,
}

/// Some of a customer's subscriptions.
pub(crate) struct Explanations {
    pub(crate) all: Vec<Explanation>,
    /// There are others after the last one.
    pub(crate) more: bool,
}

/// An event held against the customer's subscriptions as they are now, in the order of their ids: one,
/// or those after `after`, until there are `limit` or the answer is full.
pub(crate) async fn event(
    shared: &Arc<Shared>,
    asking: &Asking,
    id: EventId,
    only: Option<SubscriptionId>,
    (after, limit): (Option<SubscriptionId>, usize),
) -> Result<Explanations, Problem> {
    // It shows selectors, as subscriptions do.
    asking.may(Scope::SubscriptionsRead)?;
    let customer = asking.may(Scope::EventsRead)?;
    let event = inbox::event(shared, customer, id).await?.event;
    let deliveries = shared.events.deliveries(customer, id).await?;
    let (subscriptions, others) = if let Some(id) = only {
        let found = shared.control.subscription(customer, id).await?;
        (vec![found.ok_or_else(Problem::not_found)?], false)
    } else {
        let page = subscriptions::page(shared, customer, after, limit, READ_BYTES).await?;
        (page.items, page.next.is_some())
    };
    aside(move |budget| {
        let case = Case::of(&event.event_type, &event.payload);
        let (mut all, mut bytes) = (Vec::new(), 0);
        let mut left = subscriptions.into_iter();
        while bytes < ANSWER_BYTES {
            let Some(subscription) = left.next() else { break };
            let judge = Judge::of(&subscription.selector);
            let why = case.why(&subscription.event_types, &judge, budget);
            let owed = deliveries.iter().any(|one| one.subscription_id == subscription.id);
            bytes += size(&why);
            all.push(Explanation { subscription, owed, why });
        }
        Explanations { all, more: others || left.next().is_some() }
    })
    .await
}

/// What a subscription would want.
pub(crate) struct Draft {
    pub(crate) event_types: Vec<EventTypePattern>,
    pub(crate) selector: Selector,
}

/// What a draft is held against.
pub(crate) enum Against {
    Given {
        event_type: String,
        payload: Bytes,
    },
    /// So many of the last ones.
    Stored {
        last: Option<usize>,
    },
}

/// An event that a draft was held against: what it is called, if it was stored, and how it came out.
pub(crate) struct Tried {
    pub(crate) stored: Option<(EventId, OffsetDateTime)>,
    pub(crate) event_type: EventType,
    pub(crate) why: Why,
}

/// A draft held against an event that is given, or the customer's last ones, newest first: as many as are
/// wished for, or as there are, or as have room in an answer.
pub(crate) async fn draft(
    shared: &Arc<Shared>,
    asking: &Asking,
    draft: Draft,
    against: Against,
) -> Result<Vec<Tried>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let events: Vec<(Option<Event>, EventType, Bytes)> = match against {
        Against::Given { event_type, payload } => {
            let event_type = EventType::parse(event_type)
                .map_err(|error| Problem::field("/event/event_type", error.to_string()))?;
            vec![(None, event_type, payload)]
        }
        Against::Stored { last } => {
            let last = last.unwrap_or(LAST);
            if !(1..=MAX_LAST).contains(&last) {
                return Err(Problem::field("/last", format!("is a number from 1 to {MAX_LAST}")));
            }
            let query = InboxQuery { limit: last, ..InboxQuery::default() };
            let listed = inbox::list(shared, customer, None, query, READ_BYTES).await?;
            let events = listed.events.into_iter().map(|stored| stored.event);
            events
                .map(|event| {
                    let (event_type, payload) = (event.event_type.clone(), event.payload.clone());
                    (Some(event), event_type, payload)
                })
                .collect()
        }
    };
    aside(move |budget| {
        let judge = Judge::of(&draft.selector);
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (stored, event_type, payload) in events {
            if bytes >= ANSWER_BYTES {
                break;
            }
            let why = Case::of(&event_type, &payload).why(&draft.event_types, &judge, budget);
            bytes += size(&why);
            let stored = stored.map(|event| (event.id, event.received_at));
            all.push(Tried { stored, event_type, why });
        }
        all
    })
    .await
}

/// Away from the threads that answer others.
async fn aside<T: Send + 'static>(
    work: impl FnOnce(&mut Budget) -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = AT_ONCE.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&mut Budget::new(STEPS))
    });
    done.await.map_err(|error| {
        tracing::error!(%error, "explaining a selector");
        Problem::new(Kind::Internal, "The error has been logged.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(types: &[&str], pattern: &str, event_type: &str, payload: &str) -> Why {
        let types = types.iter().map(|text| EventTypePattern::parse(*text).unwrap());
        let selector = Selector { pattern: Some(pattern.to_owned()), jsonpath: None };
        let event_type = EventType::parse(event_type).unwrap();
        let case = Case::of(&event_type, payload.as_bytes());
        let types: Vec<_> = types.collect();
        case.why(&types, &Judge::of(&selector), &mut Budget::new(STEPS))
    }

    #[test]
    fn it_is_decided_as_the_matcher_decides() {
        let pattern = r#"{"a": [1]}"#;
        for (types, pattern, event_type, payload, matched, explained) in [
            (&["e"][..], pattern, "e", r#"{"a": 1}"#, true, Some(true)),
            (&["e"], pattern, "e", r#"{"a": 2}"#, false, Some(true)),
            (&["e"], pattern, "f", r#"{"a": 1}"#, false, None),
            // It looks only where the rule does; there is no tree of it to explain.
            (&["e"], pattern, "e", r#"{"a": 1, "b": 1e400}"#, true, Some(false)),
            (&["e"], pattern, "e", r#"{"a": 1e400}"#, false, Some(false)),
            // A selector that a later version let in.
            (&["e"], r#"{"a": [{"new": 1}]}"#, "e", r#"{"a": 1}"#, false, Some(false)),
            // Triggerline's own events are for who names them.
            (&["*"], pattern, "triggerline.x", r#"{"a": 1}"#, false, None),
            (&[], pattern, "triggerline.x", r#"{"a": 1}"#, false, None),
            (&["triggerline.*"], pattern, "triggerline.x", r#"{"a": 1}"#, true, Some(true)),
        ] {
            let why = why(types, pattern, event_type, payload);
            let told = why.payload.as_ref().map(Result::is_ok);
            assert_eq!((why.matched, told), (matched, explained), "{pattern} {payload}");
        }
    }
}
