//! A page of what a replay goes through, read from the stores or from Kafka.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use triggerline_kafka::{KafkaConfig, KafkaError, Place, Scan, Topic, Topics};
use triggerline_store::{
    ControlStore, DeadLetter, DeadLetterQuery, Direction, EventStore, InboxQuery, Position,
    StoreError,
};
use triggerline_types::{
    CustomerId, Delivery, DeliveryId, Event, EventId, EventStatus, Owed, Replay, Selection, Source,
    Standing, Subscription, SubscriptionId,
};
use triggerline_wire as wire;
use uuid::Uuid;

use crate::choose::{Target, only_type, selects, takes_back};

/// Events that are read at once: each may be a megabyte.
const READ_AT_ONCE: u32 = 50;
/// How long a page is looked for in a topic, where others' events are between.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct Reader {
    pub(crate) kafka: KafkaConfig,
    pub(crate) control: Arc<dyn ControlStore>,
    pub(crate) events: Arc<dyn EventStore>,
}

/// What was found, in the order in which it is gone through; maybe nothing.
pub(crate) struct Page {
    pub(crate) entries: Vec<Looked>,
    /// How far it goes, where that is further than its last entry.
    pub(crate) until: Option<(OffsetDateTime, Uuid)>,
    pub(crate) is_last: bool,
}

/// An event or a dead letter that was looked at.
pub(crate) struct Looked {
    /// The next page begins after this.
    pub(crate) at: (OffsetDateTime, Uuid),
    pub(crate) send: Option<Send>,
}

pub(crate) struct Send {
    pub(crate) delivery: Delivery,
    /// For the inbox, where the event may not have been owed to the subscription so far.
    pub(crate) owed: Owed,
    /// Where handing it over stands among its attempts; now, where that is not known. After the
    /// attempt that gave it up, by that attempt's clock: a clock of ours that is ahead must not put
    /// it after a failure that follows, which would be a dead letter that nobody sees.
    pub(crate) follows: Option<OffsetDateTime>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It will not go better another time.
    #[error("{0}")]
    Impossible(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {}", .0.operation, .0.source)]
    Kafka(#[from] KafkaError),
}

impl Reader {
    /// What comes after `replay.progress`. A page takes about a second to send, at most, so that
    /// progress is kept, and word of a cancellation heard, about as often.
    /// `scan` is where the page before left a topic, and is left where this page ends; without one
    /// it is opened anew.
    pub(crate) async fn next(
        &self,
        replay: &Replay,
        scan: &mut Option<Scan>,
    ) -> Result<Page, ReadError> {
        let limit = replay.rate.clamp(1, READ_AT_ONCE) as usize;
        match &replay.selection.source {
            Source::Events { subscription_id, standing } => {
                self.events(replay, *subscription_id, standing, limit).await
            }
            Source::Topic { subscription_id, standing } => {
                self.topic(replay, *subscription_id, standing, limit, scan).await
            }
            Source::DeadLetters { subscription_id, delivery_id } => {
                self.dead_letters(replay, *subscription_id, *delivery_id, limit).await
            }
        }
    }

    async fn events(
        &self,
        replay: &Replay,
        subscription_id: SubscriptionId,
        standing: &[Standing],
        limit: usize,
    ) -> Result<Page, ReadError> {
        let (customer, selection) = (replay.customer_id, &replay.selection);
        let target = Target::of(self.control.subscription(customer, subscription_id).await?);
        let target = target.map_err(ReadError::Impossible)?;
        let query = InboxQuery {
            direction: Direction::OldestFirst,
            from: selection.from,
            to: Some(selection.to),
            event_type: only_type(&selection.event_types),
            after: replay
                .progress
                .after
                .map(|(received_at, id)| Position { received_at, id: EventId::from_uuid(id) }),
            limit,
            ..InboxQuery::default()
        };
        let found = self.events.inbox(customer, &query).await?;
        let until = found.next.map(|at| (at.received_at, *at.id.as_uuid()));
        let mut entries = Vec::with_capacity(found.items.len());
        for stored in found.items {
            let at = (stored.event.received_at, *stored.event.id.as_uuid());
            let is_held_back = stored.status == EventStatus::Quarantined;
            let send = self.due(replay, &target, standing, stored.event, is_held_back).await?;
            entries.push(Looked { at, send });
        }
        Ok(Page { entries, until, is_last: until.is_none() })
    }

    /// A page out of the topic, or what is found of it in a short while: all customers' events are
    /// looked at.
    async fn topic(
        &self,
        replay: &Replay,
        subscription_id: SubscriptionId,
        standing: &[Standing],
        limit: usize,
        scan: &mut Option<Scan>,
    ) -> Result<Page, ReadError> {
        let (customer, Selection { from, to, .. }) = (replay.customer_id, &replay.selection);
        let target = Target::of(self.control.subscription(customer, subscription_id).await?);
        let target = target.map_err(ReadError::Impossible)?;
        let mut until = replay.progress.after;
        let mut open = if let Some(open) = scan.take() {
            open
        } else {
            let topic = Topics::new(&self.kafka).name(Topic::Events);
            Scan::open(&self.kafka, topic, *from, *to, until.map(|(_, id)| place(id))).await?
        };
        let (mut entries, mut is_last) = (Vec::new(), false);
        let end = Instant::now() + LOOK;
        while entries.len() < limit && Instant::now() < end {
            let Some(found) = open.next().await? else {
                is_last = true;
                break;
            };
            let at = (found.at, id_of(found.place));
            until = Some(at);
            // What can't be read was found so by the matcher, and is among the dead letters of events.
            let event = wire::event::decode(&found.record).ok();
            let Some(event) = event.filter(|event| event.customer_id == customer) else { continue };
            let is_held_back = event.quarantined.is_some();
            let send = self.due(replay, &target, standing, event, is_held_back).await?;
            entries.push(Looked { at, send });
        }
        *scan = Some(open);
        Ok(Page { entries, until, is_last })
    }

    /// What to send for an event, if it is to be sent.
    async fn due(
        &self,
        replay: &Replay,
        target: &Target,
        standing: &[Standing],
        event: Event,
        is_held_back: bool,
    ) -> Result<Option<Send>, StoreError> {
        let is_due = selects(&replay.selection, &event.event_type)
            && target.wants(&event, is_held_back)
            && self.stands(replay.customer_id, event.id, target, standing).await?;
        Ok(is_due.then(|| Send::of(replay, &target.subscription, event, None)))
    }

    /// Whether the event's delivery stands as was asked for.
    async fn stands(
        &self,
        customer: CustomerId,
        event: EventId,
        target: &Target,
        asked: &[Standing],
    ) -> Result<bool, StoreError> {
        if asked.is_empty() {
            return Ok(true);
        }
        let deliveries = self.events.deliveries(customer, event).await?;
        Ok(asked.contains(&target.standing(&deliveries)))
    }

    async fn dead_letters(
        &self,
        replay: &Replay,
        subscription_id: Option<SubscriptionId>,
        delivery_id: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let selection = &replay.selection;
        let query = DeadLetterQuery {
            direction: Direction::OldestFirst,
            subscription_id,
            delivery_id,
            event_type: only_type(&selection.event_types),
            from: selection.from,
            to: Some(selection.to),
            after: replay.progress.after.map(|(at, id)| (at, DeliveryId::from_uuid(id))),
            limit,
        };
        let found = self.events.dead_letters(replay.customer_id, &query).await?;
        let until = found.next.map(|(at, id)| (at, *id.as_uuid()));
        let mut subscriptions = HashMap::new();
        let mut entries = Vec::with_capacity(found.items.len());
        for letter in found.items {
            let at = (letter.at, *letter.delivery.id.as_uuid());
            let send = if selects(selection, &letter.event_type) {
                match self.given_up(replay, letter, &mut subscriptions).await? {
                    Ok(send) => send,
                    // That one was asked for by name: its owner wants to know.
                    Err(reason) if delivery_id.is_some() => {
                        return Err(ReadError::Impossible(reason));
                    }
                    Err(_) => None,
                }
            } else {
                None
            };
            entries.push(Looked { at, send });
        }
        Ok(Page { entries, until, is_last: until.is_none() })
    }

    /// What to send for a dead letter, or why nothing can be.
    async fn given_up(
        &self,
        replay: &Replay,
        letter: DeadLetter,
        subscriptions: &mut HashMap<SubscriptionId, Option<Subscription>>,
    ) -> Result<Result<Option<Send>, String>, StoreError> {
        let (customer, id) = (replay.customer_id, letter.delivery.subscription_id);
        let subscription = match subscriptions.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.control.subscription(customer, id).await?),
        };
        let subscription = match takes_back(subscription.as_ref()) {
            Ok(subscription) => subscription,
            Err(reason) => return Ok(Err(reason)),
        };
        let event = self.events.event(customer, letter.event_id).await?;
        let follows = Some(letter.at);
        Ok(Ok(event.map(|stored| Send::of(replay, subscription, stored.event, follows))))
    }
}

/// A place in a topic as progress is kept.
fn id_of(Place { partition, offset }: Place) -> Uuid {
    Uuid::from_u64_pair(u64::from(partition.unsigned_abs()), offset.cast_unsigned())
}

fn place(id: Uuid) -> Place {
    let (partition, offset) = id.as_u64_pair();
    Place { partition: i32::try_from(partition).unwrap_or(i32::MAX), offset: offset.cast_signed() }
}

impl Send {
    fn of(
        replay: &Replay,
        subscription: &Subscription,
        event: Event,
        follows: Option<OffsetDateTime>,
    ) -> Self {
        let delivery_id = DeliveryId::of(event.id, subscription.id);
        Self {
            follows,
            owed: Owed {
                delivery_id,
                subscription_id: subscription.id,
                workflow_id: subscription.workflow_id.clone(),
            },
            delivery: Delivery {
                id: delivery_id,
                subscription_id: subscription.id,
                subscription_revision: subscription.revision,
                // Whoever still held it back was asked.
                event: Event { quarantined: None, ..event },
                attempt: 1,
                not_before: None,
                replay_id: Some(replay.id),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_as_an_id() {
        for (partition, offset) in [(0, 0), (5, 7), (i32::MAX, i64::MAX)] {
            let at = Place { partition, offset };
            assert_eq!(place(id_of(at)), at);
        }
    }
}
