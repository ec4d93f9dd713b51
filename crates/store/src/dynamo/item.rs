//! A fact as items: their keys and their attributes.
//!
//! An item is written by units of 1 KB, names included, and no fact of ours is much longer than that:
//! so what counts is how many items there are. What a key says is in no attribute again.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, Event, EventId, Fact, SubscriptionId, millis,
};

use super::payload;
use crate::pieces::{List, Piece, Row, cut};
use crate::words;

/// The table's keys, and the attribute by which it removes what has expired.
pub(super) const PARTITION: &str = "customer_id";
pub(super) const SORT: &str = "event_id";
pub(super) const EXPIRES: &str = "expires_at";

/// Between an event's name and its piece's, and at the end of a list's name.
const MARK: char = '#';
/// Sorts after all digits of an id: so lists lie behind the events.
const BEHIND: char = '~';
/// The further parts of a payload.
const PART: &str = " part ";

pub(super) type Item = HashMap<String, AttributeValue>;

/// Where an item is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) customer: CustomerId,
    pub(super) name: String,
}

/// Events, a list of events, or a list of dead letters: what a query goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Events,
    Listed(List),
    Dead,
    DeadOf(SubscriptionId),
    /// The times at which this one was given up.
    Delivery(DeliveryId),
}

impl Shelf {
    /// What the names of all in it begin with.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Events => String::new(),
            Self::Listed(list) => format!("{BEHIND}{}{MARK}", list.name()),
            Self::Dead => format!("{BEHIND}dead{MARK}"),
            Self::DeadOf(subscription) => format!("{BEHIND}dead {subscription}{MARK}"),
            Self::Delivery(delivery) => format!("{BEHIND}delivery {delivery}{MARK}"),
        }
    }

    /// The names from that of one event to another's, both with all their pieces.
    pub(super) fn span(&self, first: EventId, last: EventId) -> (String, String) {
        let prefix = self.prefix();
        (format!("{prefix}{first}"), format!("{prefix}{last}{BEHIND}"))
    }

    /// A dead letter's name.
    pub(super) fn at(&self, at: i64, delivery: DeliveryId) -> String {
        match self {
            Self::Delivery(_) => format!("{}{at:014}", self.prefix()),
            _ => format!("{}{at:014}{MARK}{delivery}", self.prefix()),
        }
    }
}

/// An event's id and its piece's name.
pub(super) fn piece_of(name: &str) -> Option<(EventId, &str)> {
    let (id, piece) = name.split_once(MARK)?;
    Some((id.parse().ok()?, piece))
}

/// A piece's name and which part of its payload it is.
pub(super) fn part_of(piece: &str) -> (&str, usize) {
    let part = piece.split_once(PART);
    part.and_then(|(piece, number)| Some((piece, number.parse().ok()?))).unwrap_or((piece, 1))
}

/// All items of a fact; none once it has expired.
pub(super) fn items(
    fact: &Fact,
    retention: Option<Duration>,
    now: OffsetDateTime,
) -> Vec<(Key, Item)> {
    let expires = retention.map(|retention| expiry(fact.event_id(), retention));
    if expires.is_some_and(|at| at <= now.unix_timestamp()) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for row in cut(fact) {
        match &row.piece {
            Piece::Entry(list) => {
                let shelf = Shelf::Listed(list.clone());
                all.push((format!("{}{}", shelf.prefix(), row.event), Item::new()));
            }
            Piece::GivenUp(attempt) => all.extend(given_up(attempt)),
            Piece::Event(event) => all.extend(event_items(&row, event)),
            Piece::Matched { at } => all.push((name(&row), of([("matched_at", instant(*at))]))),
            Piece::Owed { delivery, workflow, .. } => all.push((
                name(&row),
                of([("delivery_id", text(&delivery.to_string())), ("workflow_id", text(workflow))]),
            )),
            Piece::Attempt(attempt) => all.push((name(&row), attempt_item(attempt))),
        }
    }
    let customer = fact.customer_id();
    let finish = |(name, mut item): (String, Item)| {
        item.insert(PARTITION.to_owned(), text(&customer.to_string()));
        item.insert(SORT.to_owned(), text(&name));
        item.extend(expires.map(|at| (EXPIRES.to_owned(), number(at))));
        (Key { customer, name }, item)
    };
    all.into_iter().map(finish).collect()
}

/// The first full second in which an event is kept no longer.
fn expiry(event: EventId, retention: Duration) -> i64 {
    let whole = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    millis(event.received_at()).saturating_add(whole).saturating_add(999) / 1_000
}

fn name(row: &Row<'_>) -> String {
    format!("{}{MARK}{}", row.event, row.piece.name())
}

fn event_items(row: &Row<'_>, event: &Event) -> Vec<(String, Item)> {
    let mut parts: Vec<_> = payload::split(&event.payload)
        .map(|part| {
            let (bytes, is_packed) = payload::pack(part);
            let name = if is_packed { "payload_zstd" } else { "payload" };
            of([(name, AttributeValue::B(Blob::new(bytes)))])
        })
        .collect();
    let count = parts.len();
    let extensions = event.extensions.iter().map(|(name, value)| (name.clone(), text(value)));
    let further = [
        ("event_type", Some(text(event.event_type.as_str()))),
        ("source", Some(text(&event.source))),
        ("subject", event.subject.as_deref().map(text)),
        ("occurred_at", Some(instant(event.occurred_at))),
        (
            "extensions",
            (!event.extensions.is_empty()).then(|| AttributeValue::M(extensions.collect())),
        ),
        ("traceparent", event.traceparent.as_deref().map(text)),
        ("quarantined", event.quarantined.as_deref().map(text)),
        ("parts", (count > 1).then(|| number(count))),
    ];
    if let Some(first) = parts.first_mut() {
        first.extend(given(further));
    }
    let event = name(row);
    let name = |index| {
        if index == 0 { event.clone() } else { format!("{event}{PART}{:02}", index + 1) }
    };
    parts.into_iter().enumerate().map(|(index, item)| (name(index), item)).collect()
}

fn attempt_item(attempt: &Attempt) -> Item {
    let (response, status, said) = words::of_response(&attempt.response);
    let (outcome, at, reason) = words::of_outcome(&attempt.outcome);
    given([
        ("delivery_id", Some(text(&attempt.delivery_id.to_string()))),
        ("latency_us", Some(number(attempt.latency.as_micros()))),
        ("response", Some(text(response))),
        ("response_status", status.map(number)),
        ("response_text", (!said.is_empty()).then(|| text(said))),
        ("outcome", Some(text(outcome))),
        ("outcome_at", at.map(instant)),
        ("outcome_text", reason.map(text)),
    ])
    .collect()
}

fn given_up(attempt: &Attempt) -> [(String, Item); 3] {
    let (at, delivery) = (millis(attempt.started_at), attempt.delivery_id);
    let item = || of([("event", text(&attempt.event_id.to_string()))]);
    [Shelf::Dead, Shelf::DeadOf(attempt.subscription_id), Shelf::Delivery(delivery)]
        .map(|shelf| (shelf.at(at, delivery), item()))
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: impl ToString + Copy) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn instant(at: OffsetDateTime) -> AttributeValue {
    number(millis(at))
}

fn of<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What there is of these.
fn given<const N: usize>(
    attributes: [(&str, Option<AttributeValue>); N],
) -> impl Iterator<Item = (String, AttributeValue)> {
    attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> EventId {
        "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
    }

    #[test]
    fn a_shelf_s_names_lie_together() {
        let lists = [Shelf::Listed(List::Held), Shelf::Listed(List::Type("a#b".to_owned()))];
        for shelf in lists.into_iter().chain([Shelf::Events]) {
            let (from, to) = shelf.span(id(), id());
            for piece in ["", "#event", "#owed x"] {
                let name = format!("{}{}{piece}", shelf.prefix(), id());
                assert!(from <= name && name < to, "{shelf:?} {piece}");
            }
            for other in [id().as_uuid().as_u128() - 1, id().as_uuid().as_u128() + 1] {
                let other = EventId::from_uuid(uuid::Uuid::from_u128(other));
                let name = format!("{}{other}#event", shelf.prefix());
                assert!(name < from || to < name, "{shelf:?}");
            }
        }
        let (_, events) = Shelf::Events.span(id(), EventId::from_uuid(uuid::Uuid::max()));
        assert!(events < Shelf::Dead.prefix());
    }

    #[test]
    fn names_are_read_back() {
        let name = format!("{}#attempt a#b", id());
        assert_eq!(piece_of(&name), Some((id(), "attempt a#b")));
        assert_eq!(piece_of("~held#1"), None);
        for (piece, read) in [
            ("event", ("event", 1)),
            ("event part 02", ("event", 2)),
            ("held part 13", ("held", 13)),
            ("owed s a part of it", ("owed s a part of it", 1)),
        ] {
            assert_eq!(part_of(piece), read, "{piece}");
        }
    }

    #[test]
    fn an_event_expires_in_a_full_second_and_is_not_written_after() {
        // Received at .350 of a second.
        let received = id().received_at();
        let expires = expiry(id(), Duration::from_secs(10));
        assert_eq!(expires, (received + Duration::from_secs(11)).unix_timestamp());
        let matched = triggerline_types::Matched {
            event_id: id(),
            customer_id: CustomerId::new(),
            at: received,
            owed: Vec::new(),
        };
        let fact = Fact::Matched(matched);
        for (after, count) in [(0, 2), (10, 2), (11, 0)] {
            let now = received + Duration::from_secs(after);
            let items = items(&fact, Some(Duration::from_secs(10)), now);
            assert_eq!(items.len(), count, "after {after} s");
            assert!(items.iter().all(|(_, item)| item[EXPIRES] == number(expires)));
        }
        assert!(items(&fact, None, received).iter().all(|(_, item)| !item.contains_key(EXPIRES)));
    }
}
