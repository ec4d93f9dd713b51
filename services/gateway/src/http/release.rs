//! `POST /v1/events/{id}/release` and `/v1/schemas/{event_type}/release`: quarantined events that
//! their schema allows by now are produced once more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use triggerline_store::{Direction, InboxQuery, Position};
use triggerline_types::{CustomerId, Event, EventId, EventStatus, Scope};
use utoipa::{IntoParams, ToSchema};

use super::paging::foreign_cursor;
use super::schemas::parse;
use super::{Id, Query};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Fault, Kind, Problem};

/// What one call looks at for release, at most: events, bytes of their payloads, and time, for a
/// schema may take a while over each.
const RELEASED_AT_ONCE: usize = 50;
const RELEASED_BYTES: usize = 8 << 20;
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
/// Events that are read at once: each may be a megabyte.
const READ_AT_ONCE: usize = 8;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseParameters {
    /// `next_cursor` of the call before.
    cursor: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ReleaseView {
    released: usize,
    /// Looked at, and still not as their schema wants them.
    still_quarantined: usize,
    /// Whether there may be some that were not looked at.
    more: bool,
    /// For the call that goes on after them; null where there are no more.
    next_cursor: Option<String>,
}

/// How far a call has come.
struct Progress {
    /// The last event that was looked at, by this call or the ones before.
    last: Option<Position>,
    released: usize,
    held: usize,
    bytes: usize,
    /// There are no more.
    ended: bool,
}

impl Progress {
    fn after(last: Option<Position>) -> Self {
        Self { last, released: 0, held: 0, bytes: 0, ended: false }
    }

    fn looked_at(&self) -> usize {
        self.released + self.held
    }

    /// Whether the call has done enough in this time.
    fn is_full(&self, elapsed: Duration) -> bool {
        self.looked_at() >= RELEASED_AT_ONCE
            || self.bytes >= RELEASED_BYTES
            || (elapsed >= RELEASED_WITHIN && self.looked_at() > 0)
    }

    /// What became of the next event. An error ends a call that has come to nothing yet; after
    /// that it is for the next one, which begins there, so that what was done is told. Whether to
    /// go on.
    fn pass(
        &mut self,
        at: Position,
        bytes: usize,
        result: Result<(), Problem>,
    ) -> Result<bool, Problem> {
        match result {
            Ok(()) => self.released += 1,
            Err(problem) if problem.kind == Kind::SchemaViolation => self.held += 1,
            Err(_) if self.looked_at() > 0 => return Ok(false),
            Err(problem) => return Err(problem),
        }
        self.last = Some(at);
        self.bytes += bytes;
        Ok(true)
    }
}

/// Release a type's quarantined events
///
/// Those that the schema allows by now, oldest first, some at a time (50 at most): call again with
/// `next_cursor` until there is none. Each event that is looked at counts against the key's limit.
#[utoipa::path(
    post, path = "/v1/schemas/{event_type}/release", tag = "Schemas", operation_id = "releaseEvents",
    params(
        ("event_type" = String, Path, description = "The event type; a `/` in it is written `%2F`.", min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._/:-]+$"),
        ReleaseParameters,
    ),
    responses(
        (status = 200, description = "How many were released.", body = ReleaseView),
    )
)]
pub(super) async fn all(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(event_type): Id<String>,
    Query(parameters): Query<ReleaseParameters>,
) -> Result<Json<ReleaseView>, Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let event_type = parse(event_type)?;
    let list = format!("release {event_type}");
    let after = parameters
        .cursor
        .as_deref()
        .map(|cursor| shared.cursors.read(cursor, customer, &list).ok_or_else(foreign_cursor));
    let mut progress = Progress::after(after.transpose()?);
    let mut query = InboxQuery {
        direction: Direction::OldestFirst,
        event_type: Some(event_type),
        status: Some(EventStatus::Quarantined),
        limit: READ_AT_ONCE,
        ..InboxQuery::default()
    };
    release_some(&shared, &asking, customer, &mut query, &mut progress).await?;
    let next = progress.last.filter(|_| !progress.ended);
    Ok(Json(ReleaseView {
        released: progress.released,
        still_quarantined: progress.held,
        more: !progress.ended,
        next_cursor: next.map(|at| shared.cursors.write(at, customer, &list)),
    }))
}

/// Looks at events until there are no more, or it is enough for one call.
async fn release_some(
    shared: &Shared,
    asking: &Asking,
    customer: CustomerId,
    query: &mut InboxQuery,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let started = Instant::now();
    while !progress.ended {
        query.after = progress.last;
        let found = match shared.events.inbox(customer, query).await.map_err(Problem::from) {
            Ok(found) => found,
            Err(_) if progress.looked_at() > 0 => return Ok(()),
            Err(problem) => return Err(problem),
        };
        for stored in found.items {
            // The request itself has counted as the first.
            let enough = progress.is_full(started.elapsed())
                || (progress.looked_at() > 0 && asking.take_one(shared).await.is_err());
            let (at, bytes) = (stored.position(), stored.event.payload.len());
            if enough
                || !progress.pass(at, bytes, publish_again(shared, customer, stored.event).await)?
            {
                return Ok(());
            }
        }
        progress.ended = found.next.is_none();
        progress.last = found.next.or(progress.last);
        if started.elapsed() >= RELEASED_WITHIN {
            return Ok(());
        }
    }
    Ok(())
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReleasedEventView {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    status: &'static str,
}

/// Release a quarantined event
///
/// If its schema allows it by now. It keeps its id, and is matched and delivered like any other.
#[utoipa::path(
    post, path = "/v1/events/{id}/release", tag = "Schemas", operation_id = "releaseEvent",
    params(("id" = Uuid, Path, description = "The event's id.")),
    responses(
        (status = 202, description = "Kafka has it again.", body = ReleasedEventView),
        (status = 409, description = "It is not quarantined."),
        (status = 422, description = "Its schema still doesn't allow it."),
    )
)]
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<EventId>,
) -> Result<(StatusCode, Json<ReleasedEventView>), Problem> {
    let customer = asking.may(Scope::EventsWrite)?;
    let found = shared.events.event(customer, id).await?.ok_or_else(Problem::not_found)?;
    if found.status != EventStatus::Quarantined {
        return Err(Problem::new(Kind::Conflict, "The event is not quarantined."));
    }
    publish_again(&shared, customer, found.event).await?;
    Ok((StatusCode::ACCEPTED, Json(ReleasedEventView { event_id: id, status: "accepted" })))
}

/// Produces a quarantined event once more, as one that is not: under its id, so that doing it
/// twice does nothing twice.
async fn publish_again(shared: &Shared, customer: CustomerId, event: Event) -> Result<(), Problem> {
    let judge = shared.schemas.of(customer, HashSet::from([&event.event_type])).await?;
    let passed = judge.pass(vec![Ok(event)]).await?;
    let missing = || Problem::new(Kind::Internal, "The error has been logged.");
    let (event, notice) = passed.into_iter().next().ok_or_else(missing)??;
    if let Some(notice) = notice.filter(|notice| notice.quarantined) {
        let detail = "The payload still breaks its schema; mend the schema first.";
        let faults: Vec<Fault> = notice.faults;
        return Err(Problem { faults, ..Problem::new(Kind::SchemaViolation, detail) });
    }
    shared.publisher.start(&Event { quarantined: None, ..event })?.await
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    fn at(number: u64) -> Position {
        let received_at = parse_instant("2026-11-23T13:05:07.123Z").unwrap();
        Position { received_at, id: EventId::from_uuid(uuid::Uuid::from_u128(number.into())) }
    }

    #[test]
    fn a_call_for_release_is_bounded_in_each_way() {
        let (none, mega) = (Duration::ZERO, 1 << 20);
        for (events, bytes, elapsed, full) in [
            (0, 0, RELEASED_WITHIN, false),
            (1, 1, none, false),
            (1, 1, RELEASED_WITHIN, true),
            (RELEASED_AT_ONCE - 1, 1, none, false),
            (RELEASED_AT_ONCE, 1, none, true),
            (7, mega, none, false),
            (8, mega, none, true),
        ] {
            let mut progress = Progress::after(None);
            for number in 0..events {
                assert_eq!(progress.pass(at(number as u64), bytes, Ok(())), Ok(true));
            }
            assert_eq!(progress.is_full(elapsed), full, "{events} of {bytes} in {elapsed:?}");
        }
    }

    #[test]
    fn what_was_done_is_told_and_the_next_call_goes_on_there() {
        let fails = |kind| Err(Problem::new(kind, ""));
        for (results, going_on, done, last) in [
            (vec![Ok(())], Some(true), (1, 0), Some(1)),
            (vec![fails(Kind::SchemaViolation)], Some(true), (0, 1), Some(1)),
            (vec![Ok(()), fails(Kind::SchemaViolation)], Some(true), (1, 1), Some(2)),
            (vec![Ok(()), fails(Kind::Unavailable)], Some(false), (1, 0), Some(1)),
            (
                vec![fails(Kind::SchemaViolation), fails(Kind::Internal)],
                Some(false),
                (0, 1),
                Some(1),
            ),
            (vec![fails(Kind::Unavailable)], None, (0, 0), None),
        ] {
            let mut progress = Progress::after(None);
            let mut passed = Ok(true);
            for (number, result) in (1..).zip(results.clone()) {
                passed = progress.pass(at(number), 1, result);
            }
            assert_eq!(passed.ok(), going_on, "{results:?}");
            assert_eq!((progress.released, progress.held), done, "{results:?}");
            assert_eq!(progress.last, last.map(at), "{results:?}");
        }
    }
}
