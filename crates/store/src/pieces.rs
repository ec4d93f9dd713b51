//! An event in pieces: rows that are only ever added, for databases without transactions over
//! several rows (ScyllaDB, Cassandra, DynamoDB).
//!
//! Each [`Fact`] becomes [`Piece`]s under the event they are about ([`cut`]). A piece has a name of
//! its own, under which it says the same each time: so writing it twice, or after another, changes
//! nothing, and no write has to read first. What follows from all of them (a delivery's state, the
//! event's status) is worked out when they are read ([`Pieces`]), by the rules in
//! `triggerline-types`.
//!
//! Filters need something to go by: beside its pieces an event is entered in [`List`]s. An entry
//! says what *may* be so, and is never taken back (an event that was given up and handed over again
//! stays in the list of those given up): whoever reads a list looks at the event as well.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, DeliveryState, Event, EventId, EventStatus, Fact, Outcome,
    SubscriptionId, millis,
};

use crate::event::{DeadLetter, InboxQuery, StoredDelivery, StoredEvent};

/// One row of an event, or of a list that it is in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) customer: CustomerId,
    pub(crate) event: EventId,
    pub(crate) piece: Piece<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// The event itself, held back or not: two pieces, as the first may come after the second.
    Event(&'a Event),
    /// That the matcher's summary has been seen, which said that nothing is owed.
    Matched {
        at: OffsetDateTime,
    },
    Owed {
        subscription: SubscriptionId,
        delivery: DeliveryId,
        workflow: &'a str,
    },
    Attempt(&'a Attempt),
    /// Not a piece, but a list that leads to the event.
    Entry(List),
    /// The same for a delivery that was given up, which has lists of its own.
    GivenUp(&'a Attempt),
}

impl Piece<'_> {
    /// Its name among the event's pieces.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Event(Event { quarantined: None, .. }) => EVENT.to_owned(),
            Self::Event(_) => HELD.to_owned(),
            Self::Matched { .. } => MATCHED.to_owned(),
            // Where two summaries name different workflows both stay, and reading decides.
            Self::Owed { subscription, workflow, .. } => {
                format!("{OWED}{subscription} {workflow}")
            }
            Self::Attempt(Attempt { subscription_id, started_at, number, .. }) => {
                format!("{ATTEMPT}{subscription_id} {:014} {number:010}", millis(*started_at))
            }
            Self::Entry(_) | Self::GivenUp(_) => String::new(),
        }
    }
}

pub(crate) const EVENT: &str = "event";
pub(crate) const HELD: &str = "held";
pub(crate) const MATCHED: &str = "matched";
pub(crate) const OWED: &str = "owed ";
pub(crate) const ATTEMPT: &str = "attempt ";

/// What an inbox can be read by, beside the events themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Type(String),
    Workflow(String),
    /// Was held back.
    Held,
    /// A summary said that nobody wants it.
    Unmatched,
    /// A delivery of it was given up or cancelled.
    Unwell,
}

impl List {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Type(event_type) => format!("type {event_type}"),
            Self::Workflow(workflow) => format!("workflow {workflow}"),
            Self::Held => "held".to_owned(),
            Self::Unmatched => "unmatched".to_owned(),
            Self::Unwell => "unwell".to_owned(),
        }
    }

    /// The list that leads to what is asked for with the fewest detours; none, where all events have
    /// to be looked at.
    pub(crate) fn for_query(query: &InboxQuery) -> Option<Self> {
        let by_status = query.status.and_then(|status| match status {
            EventStatus::Quarantined => Some(Self::Held),
            EventStatus::Failed | EventStatus::PartiallyDelivered => Some(Self::Unwell),
            EventStatus::Unmatched => Some(Self::Unmatched),
            EventStatus::Accepted | EventStatus::PendingDelivery | EventStatus::Delivered => None,
        });
        // What goes wrong is rarer than any type or workflow; what nobody wants may not be.
        let rare = by_status.clone().filter(|list| *list != Self::Unmatched);
        let workflow = || query.workflow_id.clone().map(Self::Workflow);
        let event_type = || query.event_type.as_ref().map(|one| Self::Type(one.as_str().into()));
        rare.or_else(workflow).or_else(event_type).or(by_status)
    }
}

/// The rows that a fact is kept as.
pub(crate) fn cut(fact: &Fact) -> Vec<Row<'_>> {
    let mut pieces = Vec::new();
    match fact {
        Fact::Event(event) => {
            pieces.push(Piece::Event(event));
            pieces.push(Piece::Entry(List::Type(event.event_type.as_str().to_owned())));
            if event.quarantined.is_some() {
                pieces.push(Piece::Entry(List::Held));
            }
        }
        Fact::Matched(matched) => {
            // What is owed says that the matcher has been here.
            if matched.owed.is_empty() {
                pieces.push(Piece::Matched { at: matched.at });
                pieces.push(Piece::Entry(List::Unmatched));
            }
            for owed in &matched.owed {
                pieces.push(Piece::Owed {
                    subscription: owed.subscription_id,
                    delivery: owed.delivery_id,
                    workflow: &owed.workflow_id,
                });
                pieces.push(Piece::Entry(List::Workflow(owed.workflow_id.clone())));
            }
        }
        Fact::Attempted(attempt) => {
            pieces.push(Piece::Attempt(attempt));
            if matches!(attempt.outcome, Outcome::DeadLettered { .. } | Outcome::Cancelled { .. }) {
                pieces.push(Piece::Entry(List::Unwell));
            }
            if matches!(attempt.outcome, Outcome::DeadLettered { .. }) {
                pieces.push(Piece::GivenUp(attempt));
            }
        }
    }
    let (customer, event) = (fact.customer_id(), fact.event_id());
    pieces.into_iter().map(|piece| Row { customer, event, piece }).collect()
}

/// What has been read of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pieces {
    pub(crate) event: Option<Event>,
    pub(crate) held: Option<Event>,
    /// It was said that nothing is owed. (What is owed says itself that the matcher has been here.)
    pub(crate) is_matched: bool,
    pub(crate) owed: BTreeMap<SubscriptionId, (DeliveryId, String)>,
    pub(crate) attempts: Vec<Attempt>,
}

impl Pieces {
    pub(crate) fn owe(
        &mut self,
        subscription: SubscriptionId,
        delivery: DeliveryId,
        workflow: String,
    ) {
        let known = self.owed.entry(subscription).or_insert_with(|| (delivery, String::new()));
        if known.1 < workflow {
            known.1 = workflow;
        }
    }

    /// `None` while the event itself has not come.
    pub(crate) fn stored(&self) -> Option<StoredEvent> {
        // Released once is released for good.
        let (is_held, event) = match (&self.event, &self.held) {
            (Some(event), _) => (false, event),
            (None, Some(held)) => (true, held),
            (None, None) => return None,
        };
        let attempts = self.attempts_by_subscription();
        let states: Vec<_> = attempts.into_values().map(DeliveryState::after).collect();
        let delivered = states.iter().filter(|state| **state == DeliveryState::Delivered).count();
        let is_told = self.is_matched || !self.owed.is_empty();
        let owed = is_told.then_some(states.len());
        Some(StoredEvent {
            event: event.clone(),
            status: EventStatus::of(is_held, owed, states.iter().copied()),
            deliveries: states.len(),
            delivered,
        })
    }

    /// Of each subscription that is owed a delivery, or was sent one: the attempts at it.
    fn attempts_by_subscription(&self) -> BTreeMap<SubscriptionId, Vec<&Attempt>> {
        let mut all: BTreeMap<_, Vec<_>> = self.owed.keys().map(|id| (*id, Vec::new())).collect();
        for attempt in &self.attempts {
            all.entry(attempt.subscription_id).or_default().push(attempt);
        }
        all
    }

    /// By subscription, each with its attempts by start.
    fn deliveries(&self) -> Vec<StoredDelivery> {
        let all = self.attempts_by_subscription().into_iter();
        let deliveries = all.filter_map(|(subscription_id, mut attempts)| {
            attempts.sort_by_key(|one| (one.started_at, one.number));
            let (id, workflow_id) = match self.owed.get(&subscription_id) {
                Some((id, workflow)) => (*id, workflow.clone()),
                None => (attempts.first()?.delivery_id, String::new()),
            };
            Some(StoredDelivery {
                id,
                subscription_id,
                workflow_id,
                state: DeliveryState::after(attempts.iter().copied()),
                attempts: attempts.into_iter().cloned().collect(),
            })
        });
        deliveries.collect()
    }

    /// The deliveries; none while the event itself has not come.
    pub(crate) fn into_deliveries(self) -> Vec<StoredDelivery> {
        if self.event.is_none() && self.held.is_none() { Vec::new() } else { self.deliveries() }
    }

    /// Whether an event with these pieces, of which `stored` is made, is asked for.
    pub(crate) fn answer(&self, query: &InboxQuery, stored: &StoredEvent) -> bool {
        let InboxQuery { event_type, status, workflow_id, .. } = query;
        let owes = |workflow: &String| self.owed.values().any(|(_, one)| one == workflow);
        event_type.as_ref().is_none_or(|one| *one == stored.event.event_type)
            && status.is_none_or(|one| one == stored.status)
            && workflow_id.as_ref().is_none_or(owes)
    }

    /// The dead letter that was made of this delivery at `at`, if it is one still.
    pub(crate) fn dead_letter(&self, id: DeliveryId, at: OffsetDateTime) -> Option<DeadLetter> {
        let event = self.event.as_ref().or(self.held.as_ref())?;
        let delivery = self.deliveries().into_iter().find(|one| one.id == id)?;
        let last = delivery.attempts.last()?.started_at;
        (delivery.state == DeliveryState::DeadLettered && last == at).then(|| DeadLetter {
            event_id: event.id,
            event_type: event.event_type.clone(),
            received_at: event.received_at,
            at,
            delivery,
        })
    }
}

#[cfg(test)]
mod tests {
    use triggerline_types::EventType;

    use super::*;

    #[test]
    fn a_query_goes_by_the_list_that_leads_there_soonest() {
        let event_type = || Some(EventType::parse("a").unwrap());
        let workflow_id = || Some("w".to_owned());
        let status = |status| InboxQuery { status: Some(status), ..InboxQuery::default() };
        let (by_type, by_workflow) = (List::Type("a".to_owned()), List::Workflow("w".to_owned()));
        for (query, list) in [
            (InboxQuery::default(), None),
            (status(EventStatus::Delivered), None),
            (status(EventStatus::PendingDelivery), None),
            (status(EventStatus::Failed), Some(List::Unwell)),
            (status(EventStatus::PartiallyDelivered), Some(List::Unwell)),
            (status(EventStatus::Quarantined), Some(List::Held)),
            (status(EventStatus::Unmatched), Some(List::Unmatched)),
            (
                InboxQuery { event_type: event_type(), ..InboxQuery::default() },
                Some(by_type.clone()),
            ),
            (
                InboxQuery {
                    event_type: event_type(),
                    workflow_id: workflow_id(),
                    ..InboxQuery::default()
                },
                Some(by_workflow),
            ),
            (
                InboxQuery { event_type: event_type(), ..status(EventStatus::Unmatched) },
                Some(by_type),
            ),
            (
                InboxQuery { event_type: event_type(), ..status(EventStatus::Failed) },
                Some(List::Unwell),
            ),
        ] {
            assert_eq!(List::for_query(&query), list, "{query:?}");
        }
    }
}
