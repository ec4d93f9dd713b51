//! The one path that an event takes from a door to Kafka, whichever door it came by:
//!
//! drafts → admitted ([`crate::admit`]) → their schemas fetched ([`crate::schemas`]) → reserved,
//! where there is an idempotency key ([`crate::idempotency`]) → held against their schemas →
//! published ([`crate::publish`]) → the answer kept → a [`Receipt`].
//!
//! One event and a batch differ only in how many there are. From the reservation on it goes its way
//! in a task of its own: who stops listening (a deadline, a broken connection) doesn't leave the
//! key reserved and the answer untold.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use triggerline_store::{Claim, IdempotencyKey, Release, Reservation, StoreError};
use triggerline_types::{CustomerId, EventId};
use uuid::Uuid;

use crate::Shared;
use crate::admit::{Admitted, Draft};
use crate::config::WithoutCache;
use crate::idempotency::{self, Answer};
use crate::problem::{Kind, Problem};
use crate::schemas::{Judge, Notice};

/// How long an idempotency key is remembered.
const KEEP: Duration = Duration::from_hours(24);
/// A lease outlasts the wait for Kafka by this much: for the cache and for slow moments.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// An event that Kafka has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) event_id: EventId,
    pub(crate) received_at: OffsetDateTime,
    /// Where its schema doesn't allow it, and it was accepted all the same.
    pub(crate) notice: Option<Notice>,
}

pub(crate) type Outcome = Result<Accepted, Problem>;

/// What became of each event, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) results: Vec<Outcome>,
    /// It is the answer to an earlier request with the same idempotency key.
    pub(crate) replayed: bool,
}

/// Accepts one event.
pub(crate) async fn one(
    shared: &Arc<Shared>,
    customer: CustomerId,
    draft: Draft,
    key: Option<String>,
) -> Result<(Accepted, bool), Problem> {
    let Receipt { mut results, replayed } = many(shared, customer, vec![Ok(draft)], key).await?;
    let accepted = results.pop().ok_or_else(internal)??;
    Ok((accepted, replayed))
}

/// Accepts what is good of `items`.
pub(crate) async fn many(
    shared: &Arc<Shared>,
    customer: CustomerId,
    items: Vec<Result<Draft, Problem>>,
    key: Option<String>,
) -> Result<Receipt, Problem> {
    let items: Vec<_> = items.into_iter().map(|item| item.and_then(Draft::admit)).collect();
    let event_id = EventId::new();
    let received_at = event_id.received_at();
    // Before the key is reserved: where they can't be had, or only slowly, it stays free.
    let types: HashSet<_> = items.iter().flatten().map(|one| &one.event_type).collect();
    let judge = shared.schemas.of(customer, types).await?;
    // What can't be accepted at all doesn't use up its key: mended, it may come again.
    let Some(key) = key.filter(|_| items.iter().any(Result::is_ok)) else {
        let results = publish(shared, customer, &judge, items, event_id, received_at).await?;
        return Ok(Receipt { results, replayed: false });
    };
    let claim = Claim {
        key: IdempotencyKey { customer, key },
        fingerprint: idempotency::fingerprint(&items),
        event_id,
        received_at,
        token: Uuid::now_v7(),
        lease: shared.settings.produce_patience + LEASE_MARGIN,
        keep: KEEP,
    };
    let shared = Arc::clone(shared);
    let claimed = tokio::spawn(async move { under(&shared, &claim, &judge, items).await });
    claimed.await.map_err(|error| {
        tracing::error!(%error, "a request with an idempotency key ended in a panic");
        internal()
    })?
}

/// Accepts events once for their idempotency key.
async fn under(
    shared: &Shared,
    claim: &Claim,
    judge: &Judge,
    items: Vec<Result<Admitted, Problem>>,
) -> Result<Receipt, Problem> {
    let customer = claim.key.customer;
    let publish = async |items, event_id, received_at| {
        publish(shared, customer, judge, items, event_id, received_at).await
    };
    let found = &shared.counted.idempotency;
    match shared.cache.reserve(claim).await {
        Ok(Reservation::Ours { event_id, received_at }) => {
            found.reserved.increment(1);
            let results = publish(items, event_id, received_at).await;
            let kept = results.as_deref().unwrap_or_default();
            keep(shared, claim, event_id, received_at, kept).await;
            Ok(Receipt { results: results?, replayed: false })
        }
        Ok(Reservation::Settled { answer, .. }) => {
            found.replayed.increment(1);
            Ok(replay(&Answer::read(&answer)?))
        }
        Ok(Reservation::Running { retry_after }) => {
            found.running.increment(1);
            let detail = "A request with this idempotency key has not been answered yet.";
            Err(Problem::new(Kind::IdempotencyKeyInUse, detail).retry_after(retry_after))
        }
        Ok(Reservation::Different) => {
            found.different.increment(1);
            let detail = "This idempotency key came with another event in the last 24 hours.";
            Err(Problem::new(Kind::IdempotencyKeyReused, detail))
        }
        Err(error) if shared.settings.idempotency_without_cache == WithoutCache::Accept => {
            found.unavailable.increment(1);
            warn(&error, "an idempotency key is passed over");
            let results = publish(items, claim.event_id, claim.received_at).await?;
            Ok(Receipt { results, replayed: false })
        }
        Err(error) => {
            found.unavailable.increment(1);
            warn(&error, "an idempotency key can't be looked up");
            let detail = "The idempotency key can't be checked at the moment. Nothing was done.";
            Err(Problem::new(Kind::Unavailable, detail))
        }
    }
}

/// Produces what was admitted and what its schemas let pass, in its order, and waits for all of
/// Kafka's reports. Fails as a whole where nothing can be judged.
async fn publish(
    shared: &Shared,
    customer: CustomerId,
    judge: &Judge,
    items: Vec<Result<Admitted, Problem>>,
    first: EventId,
    received_at: OffsetDateTime,
) -> Result<Vec<Outcome>, Problem> {
    let passed = judge.pass(items).await?;
    let started = passed.into_iter().zip(0..).map(|(passed, index)| {
        let (admitted, notice) = passed?;
        let held = notice.as_ref().and_then(Notice::reason_to_hold);
        let event = admitted.into_event(customer, first.nth(index), received_at, held);
        let report = shared.publisher.start(&event)?;
        let accepted = Accepted { event_id: event.id, received_at, notice };
        Ok(async move { report.await.map(|()| accepted) })
    });
    // Collected first, so that all are on their way before the first is waited for.
    let started: Vec<Result<_, Problem>> = started.collect();
    let finished = started.into_iter().map(|started| async {
        match started {
            Ok(report) => report.await,
            Err(problem) => Err(problem),
        }
    });
    let outcomes = join_all(finished).await;
    for outcome in &outcomes {
        shared.publisher.counted.count(outcome);
    }
    Ok(outcomes)
}

/// Keeps the answer for those who ask again. What Kafka may or may not have is no answer: the
/// reservation is given back, id and all, and a retry produces under the same ids. Where nothing
/// was accepted for good, the key is free again, for the events mended. `results` is empty where
/// it didn't come so far as to have any.
async fn keep(
    shared: &Shared,
    claim: &Claim,
    event_id: EventId,
    received_at: OffsetDateTime,
    results: &[Outcome],
) {
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let mut passing = results.is_empty();
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(accepted) => {
                notices.extend(accepted.notice.clone().map(|notice| (index, notice)));
            }
            Err(problem) => {
                passing |= problem.kind == Kind::Unavailable;
                problems.push((index, problem.clone()));
            }
        }
    }
    // An earlier claim, whose id this is, may have been accepted after all.
    let first = event_id == claim.event_id;
    let kept = if passing || (!first && problems.len() == results.len()) {
        shared.cache.release(&claim.key, claim.token, Release::Unknown).await
    } else if problems.len() == results.len() {
        shared.cache.release(&claim.key, claim.token, Release::Forget).await
    } else {
        let answer = Answer::new(event_id, received_at, results.len(), problems, notices);
        shared.cache.settle(&claim.key, claim.token, &answer.write()).await.map(drop)
    };
    // The events are accepted all the same; the lease ends by itself, and a retry gets the
    // same ids.
    if let Err(error) = kept {
        warn(&error, "an answer was not kept");
    }
}

fn replay(answer: &Answer) -> Receipt {
    let received_at = answer.received_at();
    let mut results: Vec<Outcome> = (0..answer.events as u64)
        .map(|index| {
            let event_id = answer.event_id.nth(index);
            Ok(Accepted { event_id, received_at, notice: None })
        })
        .collect();
    for (index, notice) in &answer.notices {
        if let Some(Ok(accepted)) = results.get_mut(*index) {
            accepted.notice = Some(notice.clone());
        }
    }
    for (index, problem) in &answer.problems {
        if let Some(result) = results.get_mut(*index) {
            *result = Err(problem.clone());
        }
    }
    Receipt { results, replayed: true }
}

fn internal() -> Problem {
    Problem::new(Kind::Internal, "The error has been logged.")
}

fn warn(error: &StoreError, message: &str) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, source, "{message}");
}
