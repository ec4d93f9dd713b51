//! Deliveries that were given up, for either door: a page of them, one with its event, and redrives,
//! which are replays ([`crate::replays`]).

use triggerline_store::{DeadLetter, DeadLetterQuery, Direction, StoredEvent};
use triggerline_types::{
    CustomerId, DeliveryId, EventType, EventTypePattern, Outcome, Replay, Response, Scope, Source,
    SubscriptionId, millis,
};

use crate::Shared;
use crate::asking::Asking;
use crate::inbox::Filling;
use crate::problem::{Kind, Problem};
use crate::replays::{self, Pace, Span};

/// A page of dead letters.
pub(crate) struct Listed {
    pub(crate) letters: Vec<DeadLetter>,
    /// The cursor of the next page, where there is one.
    pub(crate) next: Option<String>,
}

/// A page that ends at the query's limit, or at about `room` bytes. `cursor`: where the one before
/// ended; `foreign` is the problem with one that is another query's, or nobody's.
pub(crate) async fn list(
    shared: &Shared,
    asking: &Asking,
    mut query: DeadLetterQuery,
    cursor: Option<&str>,
    room: usize,
    foreign: fn() -> Problem,
) -> Result<Listed, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let named = named(&query);
    if let Some(cursor) = cursor {
        let (at, id) = shared.cursors.read_at(cursor, customer, &named).ok_or_else(foreign)?;
        query.after = Some((at, DeliveryId::from_uuid(id)));
    }
    let mut page = Filling::new(query.limit, room);
    loop {
        query.limit = page.asks();
        let found = shared.events.dead_letters(customer, &query).await?;
        if page.take(found, size, DeadLetter::place) {
            break;
        }
        query.after = page.next;
    }
    let next = page.next.map(|(at, id)| (at, *id.as_uuid()));
    let next = next.map(|place| shared.cursors.write_at(place, customer, &named));
    Ok(Listed { letters: page.items, next })
}

/// About what a dead letter takes in an answer: what endpoints said, mostly.
fn size(letter: &DeadLetter) -> usize {
    let said = letter.delivery.attempts.iter().map(|attempt| match &attempt.response {
        Response::Answered { excerpt, .. } => excerpt.len(),
        Response::Failed { error } => error.len(),
        Response::NotSent { reason } => reason.len(),
    });
    said.map(|said| said + ATTEMPT_BYTES).sum::<usize>() + LETTER_BYTES
}

/// What is told of an attempt beside what the endpoint said, and of a dead letter beside its attempts.
const ATTEMPT_BYTES: usize = 200;
const LETTER_BYTES: usize = 500;

/// What tells a query's pages from another's.
fn named(query: &DeadLetterQuery) -> String {
    let DeadLetterQuery {
        direction,
        subscription_id,
        delivery_id: _,
        event_type,
        from,
        to,
        after: _,
        limit: _,
    } = query;
    let up = *direction == Direction::OldestFirst;
    let (from, to) = (from.map(millis), to.map(millis));
    let event_type = event_type.as_ref().map(EventType::as_str);
    format!("dead {up}{subscription_id:?}{event_type:?}{from:?}{to:?}")
}

/// Why it was given up.
pub(crate) fn reason(letter: &DeadLetter) -> String {
    let reasons = letter.delivery.attempts.iter().rev().filter_map(|one| match &one.outcome {
        Outcome::DeadLettered { reason } => Some(reason.clone()),
        _ => None,
    });
    reasons.take(1).collect()
}

pub(crate) async fn show(
    shared: &Shared,
    asking: &Asking,
    id: DeliveryId,
) -> Result<(DeadLetter, StoredEvent), Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    let letter = find(shared, customer, id).await?;
    let event = shared.events.event(customer, letter.event_id).await?;
    Ok((letter, event.ok_or_else(Problem::not_found)?))
}

async fn find(
    shared: &Shared,
    customer: CustomerId,
    id: DeliveryId,
) -> Result<DeadLetter, Problem> {
    let query = DeadLetterQuery { delivery_id: Some(id), limit: 1, ..DeadLetterQuery::default() };
    let found = shared.events.dead_letters(customer, &query).await?.items.pop();
    found.ok_or_else(|| {
        let detail = "There is no such dead letter: the delivery was not given up, or it has been \
                      handed over again.";
        Problem::new(Kind::NotFound, detail)
    })
}

/// Hands over again all that are selected: of one subscription or of all.
pub(crate) async fn redrive(
    shared: &Shared,
    asking: &Asking,
    subscription_id: Option<SubscriptionId>,
    span: Span,
    event_types: Vec<EventTypePattern>,
    pace: Pace,
) -> Result<Replay, Problem> {
    let source = Source::DeadLetters { subscription_id, delivery_id: None };
    replays::start(shared, asking, source, span, event_types, pace).await
}

/// Hands over one again.
pub(crate) async fn redrive_one(
    shared: &Shared,
    asking: &Asking,
    id: DeliveryId,
) -> Result<Replay, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let letter = find(shared, customer, id).await?;
    let source = Source::DeadLetters {
        subscription_id: Some(letter.delivery.subscription_id),
        delivery_id: Some(id),
    };
    let span = Span::new(None, None)?;
    replays::start(shared, asking, source, span, Vec::new(), Pace::default()).await
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    #[test]
    fn queries_are_told_apart_and_pages_of_one_are_not() {
        let query = DeadLetterQuery::default;
        let from = Some(parse_instant("2026-11-23T00:00:00Z").unwrap());
        let event_type = Some(EventType::parse("a").unwrap());
        for other in [
            DeadLetterQuery { direction: Direction::OldestFirst, ..query() },
            DeadLetterQuery { event_type, ..query() },
            DeadLetterQuery { from, ..query() },
            DeadLetterQuery { to: from, ..query() },
            DeadLetterQuery { subscription_id: Some(SubscriptionId::new()), ..query() },
        ] {
            assert_ne!(named(&other), named(&query()));
        }
        assert_eq!(named(&DeadLetterQuery { limit: 3, ..query() }), named(&query()));
    }
}
