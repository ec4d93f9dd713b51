//! Items back into pieces.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, Event, EventId, EventType, SubscriptionId, from_millis,
};

use super::item::{EXPIRES, Item, PARTITION, SORT, Shelf, part_of, piece_of, text};
use super::payload::{Parts, unpack};
use super::{Ready, failed};
use crate::error::StoreError;
use crate::pieces::{ATTEMPT, EVENT, HELD, MATCHED, OWED, Pieces};
use crate::words;

pub(super) const OPERATION: &str = "read the inbox";

/// All attributes but the payload.
const SMALL: [&str; 20] = [
    SORT,
    EXPIRES,
    "event_type",
    "source",
    "subject",
    "occurred_at",
    "extensions",
    "traceparent",
    "quarantined",
    "parts",
    "delivery_id",
    "workflow_id",
    "latency_us",
    "response",
    "response_status",
    "response_text",
    "outcome",
    "outcome_at",
    "outcome_text",
    "event",
];

/// Whether payloads are fetched. It costs no units to do so, as a whole item is counted either way:
/// only time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payloads {
    Read,
    Left,
}

/// Which items of a customer's, and in which order.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) customer: CustomerId,
    /// The first and the last name, both of them in it.
    pub(super) span: (String, String),
    pub(super) down: bool,
    pub(super) payloads: Payloads,
}

/// Items by name, and where to go on; nowhere, if there are no more.
type Answer = (Vec<(String, Item)>, Option<Item>);

/// An event of which pieces are being read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pieces: Pieces,
    event: Payload,
    held: Payload,
}

#[derive(Debug, Default)]
struct Payload {
    parts: Parts,
    of: usize,
}

impl Gathered {
    /// `Err`: what is wrong with it.
    pub(super) fn add(
        &mut self,
        customer: CustomerId,
        id: EventId,
        piece: &str,
        mut item: Item,
    ) -> Result<(), String> {
        let missing = |what: &str| format!("an item {piece:?} without its {what}");
        match part_of(piece) {
            (MATCHED, _) => self.pieces.is_matched = true,
            (name @ (EVENT | HELD), part) => {
                let (place, payload) = if name == HELD {
                    (&mut self.pieces.held, &mut self.held)
                } else {
                    (&mut self.pieces.event, &mut self.event)
                };
                payload.parts.add(part, take_payload(&mut item)?);
                if part == 1 {
                    payload.of = take_number(&mut item, "parts").unwrap_or(1);
                    *place = Some(event(customer, id, item).map_err(|what| missing(&what))?);
                }
            }
            (name, _) if name.starts_with(OWED) => {
                let subscription = name[OWED.len()..].split(' ').next();
                let subscription = subscription.and_then(|id| id.parse().ok());
                let subscription = subscription.ok_or_else(|| missing("subscription"))?;
                let delivery = take_id(&mut item, "delivery_id");
                let delivery = delivery.ok_or_else(|| missing("delivery_id"))?;
                let workflow = take_text(&mut item, "workflow_id").unwrap_or_default();
                self.pieces.owe(subscription, delivery, workflow);
            }
            (name, _) if name.starts_with(ATTEMPT) => {
                let attempt = attempt(customer, id, &name[ATTEMPT.len()..], item);
                self.pieces.attempts.push(attempt.map_err(|what| missing(&what))?);
            }
            // A later version's: what this one knows of is all there.
            _ => {}
        }
        Ok(())
    }

    /// With no event, where parts of its payload have not come.
    pub(super) fn finish(self) -> Pieces {
        let Self { mut pieces, event, held } = self;
        for (place, payload) in [(&mut pieces.event, event), (&mut pieces.held, held)] {
            let whole = payload.parts.join(payload.of);
            *place = place.take().zip(whole).map(|(event, payload)| Event { payload, ..event });
        }
        pieces
    }
}

/// `Err`: what is missing.
fn event(customer: CustomerId, id: EventId, mut item: Item) -> Result<Event, String> {
    let event_type = take_text(&mut item, "event_type").unwrap_or_default();
    let extensions = match item.remove("extensions") {
        Some(AttributeValue::M(extensions)) => extensions
            .into_iter()
            .filter_map(|(name, value)| match value {
                AttributeValue::S(value) => Some((name, value)),
                _ => None,
            })
            .collect(),
        _ => BTreeMap::new(),
    };
    Ok(Event {
        id,
        customer_id: customer,
        event_type: EventType::parse(event_type).map_err(|_| "event_type".to_owned())?,
        source: take_text(&mut item, "source").unwrap_or_default(),
        subject: take_text(&mut item, "subject"),
        occurred_at: take_instant(&mut item, "occurred_at").unwrap_or_else(|| id.received_at()),
        received_at: id.received_at(),
        extensions,
        traceparent: take_text(&mut item, "traceparent"),
        quarantined: take_text(&mut item, "quarantined"),
        payload: bytes::Bytes::new(),
    })
}

/// An attempt by the rest of its name, `SUBSCRIPTION STARTED NUMBER`. `Err`: what is missing.
fn attempt(
    customer: CustomerId,
    id: EventId,
    name: &str,
    mut item: Item,
) -> Result<Attempt, String> {
    let mut words = name.split(' ');
    let subscription = words.next().and_then(|id| id.parse::<SubscriptionId>().ok());
    let started = words.next().and_then(|at| at.parse().ok()).and_then(from_millis);
    let number = words.next().and_then(|number| number.parse().ok());
    let (Some(subscription_id), Some(started_at), Some(number)) = (subscription, started, number)
    else {
        return Err("subscription, start and number".to_owned());
    };
    let delivery_id: Option<DeliveryId> = take_id(&mut item, "delivery_id");
    let mut take = |name| take_text(&mut item, name);
    let (response, outcome) = (take("response"), take("outcome"));
    let (said, reason) = (take("response_text"), take("outcome_text"));
    let status = take_number(&mut item, "response_status");
    let (response, outcome) = (response.unwrap_or_default(), outcome.unwrap_or_default());
    Ok(Attempt {
        delivery_id: delivery_id.ok_or("delivery_id")?,
        event_id: id,
        customer_id: customer,
        subscription_id,
        number,
        started_at,
        latency: Duration::from_micros(take_number(&mut item, "latency_us").unwrap_or_default()),
        response: words::to_response(&response, status, said.unwrap_or_default())?,
        outcome: words::to_outcome(&outcome, take_instant(&mut item, "outcome_at"), reason)?,
    })
}

/// Empty, where it was not fetched.
fn take_payload(item: &mut Item) -> Result<Vec<u8>, String> {
    match (item.remove("payload"), item.remove("payload_zstd")) {
        (_, Some(AttributeValue::B(packed))) => unpack(packed.as_ref()),
        (Some(AttributeValue::B(plain)), _) => Ok(plain.into_inner()),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn take_text(item: &mut Item, name: &str) -> Option<String> {
    match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn take_id<T: FromStr>(item: &mut Item, name: &str) -> Option<T> {
    take_text(item, name)?.parse().ok()
}

fn take_number<T: FromStr>(item: &mut Item, name: &str) -> Option<T> {
    match item.remove(name) {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    }
}

fn take_instant(item: &mut Item, name: &str) -> Option<OffsetDateTime> {
    take_number(item, name).and_then(from_millis)
}

/// DynamoDB takes its time to remove what has expired: days, it may be.
pub(super) fn has_expired(item: &Item, now: OffsetDateTime) -> bool {
    let at = item.get(EXPIRES).and_then(|at| at.as_n().ok());
    at.and_then(|at| at.parse::<i64>().ok()).is_some_and(|at| at <= now.unix_timestamp())
}

impl Ready<'_> {
    /// Some of what is asked for: at most `limit` items and 1 MB, from `start` on.
    pub(super) async fn query(
        &self,
        asked: &Asked,
        limit: Option<i32>,
        start: Option<Item>,
    ) -> Result<Answer, StoreError> {
        let (first, last) = &asked.span;
        let mut request = self
            .client
            .query()
            .table_name(self.table)
            // What `apply` returned for is there.
            .consistent_read(true)
            .key_condition_expression("#customer = :customer AND #name BETWEEN :first AND :last")
            .expression_attribute_names("#customer", PARTITION)
            .expression_attribute_names("#name", SORT)
            .expression_attribute_values(":customer", text(&asked.customer.to_string()))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .scan_index_forward(!asked.down)
            .set_limit(limit)
            .set_exclusive_start_key(start);
        if asked.payloads == Payloads::Left {
            // By other names, as some of these are words of its language.
            let names: Vec<_> = (0..SMALL.len()).map(|index| format!("#a{index}")).collect();
            request = request.projection_expression(names.join(", "));
            for (name, attribute) in names.into_iter().zip(SMALL) {
                request = request.expression_attribute_names(name, attribute);
            }
        }
        let answer = request.send().await.map_err(|error| failed(OPERATION, error))?;
        let named = |mut item: Item| Some((take_text(&mut item, SORT)?, item));
        let items = answer.items.unwrap_or_default().into_iter().filter_map(named).collect();
        Ok((items, answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }

    /// What is known of an event.
    pub(super) async fn pieces(
        &self,
        customer: CustomerId,
        id: EventId,
        payloads: Payloads,
    ) -> Result<Pieces, StoreError> {
        let span = Shelf::Events.span(id, id);
        let asked = Asked { customer, span, down: false, payloads };
        let (mut gathered, mut start) = (Gathered::default(), None);
        loop {
            let (items, rest) = self.query(&asked, None, start).await?;
            for (name, item) in items {
                if let Some((_, piece)) = piece_of(&name)
                    && !has_expired(&item, self.now)
                {
                    gathered.add(customer, id, piece, item).map_err(|what| unreadable(&what))?;
                }
            }
            if rest.is_none() {
                return Ok(gathered.finish());
            }
            start = rest;
        }
    }
}

pub(super) fn unreadable(what: &impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { operation: OPERATION, table: "the table", what: what.to_string() }
}
