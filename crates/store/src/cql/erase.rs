//! Deleting everything of a customer.
//!
//! `minutes` leads to each partition of `events`, and what stands there to everything else. Of it
//! the partitions go last: if this ends in between, the next time finds the rest.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use time::OffsetDateTime;
use triggerline_types::{CustomerId, SubscriptionId, millis};
use uuid::Uuid;

use super::write::minute;
use super::{Ready, dead_letters, unavailable};
use crate::error::StoreError;
use crate::pieces::{EVENT, HELD};
use crate::words::DEAD_LETTERED;

const OPERATION: &str = "erase a customer's events";
/// Requests under way at once.
const AT_ONCE: usize = 64;
/// A process that wrote something of a minute counts on its row in `minutes` for an hour: so long it
/// stays, and a little longer.
const YOUNG: i64 = 24 * 3_600_000;

/// What is said to the database, prepared.
struct Statements {
    minutes: PreparedStatement,
    rows: PreparedStatement,
    dead_letter: PreparedStatement,
    delivery: PreparedStatement,
    list: PreparedStatement,
    partition: PreparedStatement,
    minute: PreparedStatement,
}

/// A row of `events`, as far as it leads to other tables.
#[derive(Debug, DeserializeRow)]
struct Row {
    list: String,
    event_id: Uuid,
    piece: String,
    subscription_id: Option<Uuid>,
    delivery_id: Option<Uuid>,
    started_at: Option<OffsetDateTime>,
    outcome: Option<String>,
}

/// A delivery that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GivenUp {
    at: i64,
    delivery: Uuid,
    subscription: Uuid,
}

/// What one partition of `events` leads to.
#[derive(Debug, Default)]
struct Found {
    is_empty: bool,
    events: u64,
    lists: BTreeSet<String>,
    given_up: BTreeSet<GivenUp>,
}

/// How many events are gone.
pub(super) async fn all(ready: &Ready<'_>, customer: CustomerId) -> Result<u64, StoreError> {
    let statements = Statements::prepare(ready.session).await?;
    let erasing = Erasing { ready, statements: &statements, id: customer.as_uuid() };
    let now = millis(OffsetDateTime::now_utc());
    let minutes = erasing.minutes().await?;
    let mut events = 0;
    for minute in minutes {
        events += erasing.minute(minute, now).await?;
    }
    erasing.list(&dead_letters::list(None)).await?;
    Ok(events)
}

struct Erasing<'a> {
    ready: &'a Ready<'a>,
    statements: &'a Statements,
    id: &'a Uuid,
}

impl Erasing<'_> {
    async fn minutes(&self) -> Result<Vec<i64>, StoreError> {
        let asked = self.ready.session.execute_iter(self.statements.minutes.clone(), (self.id,));
        let rows = asked.await.map_err(|error| unavailable(OPERATION, error))?;
        let rows = rows.rows_stream::<(CqlTimestamp,)>();
        let rows = rows.map_err(|error| unavailable(OPERATION, error))?;
        rows.map_ok(|(minute,)| minute.0)
            .try_collect()
            .await
            .map_err(|error| unavailable(OPERATION, error))
    }

    /// How many events were in it.
    async fn minute(&self, minute: i64, now: i64) -> Result<u64, StoreError> {
        let found = self.look_at(minute).await?;
        if !found.is_empty {
            let given_up = found.given_up.iter().map(|one| self.given_up(*one));
            stream::iter(given_up.collect::<Vec<_>>())
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            for list in &found.lists {
                self.list(list).await?;
            }
            let key = (self.id, CqlTimestamp(minute));
            self.execute(&self.statements.partition, key).await?;
        } else if now - minute > YOUNG {
            let key = (self.id, CqlTimestamp(minute));
            self.execute(&self.statements.minute, key).await?;
        }
        Ok(found.events)
    }

    async fn look_at(&self, minute: i64) -> Result<Found, StoreError> {
        let key = (self.id, CqlTimestamp(minute));
        let asked = self.ready.session.execute_iter(self.statements.rows.clone(), key);
        let rows = asked.await.map_err(|error| unavailable(OPERATION, error))?;
        let rows = rows.rows_stream::<Row>().map_err(|error| unavailable(OPERATION, error))?;
        let start = (Found { is_empty: true, ..Found::default() }, None);
        let found = rows.try_fold(start, async |(mut found, mut last), row| {
            // One that was held back and released has two such rows, one after the other.
            if row.list.is_empty() && [EVENT, HELD].contains(&row.piece.as_str()) {
                found.events += u64::from(last.replace(row.event_id) != Some(row.event_id));
            }
            found.add(row);
            Ok((found, last))
        });
        let (found, _) = found.await.map_err(|error| unavailable(OPERATION, error))?;
        Ok(found)
    }

    async fn given_up(
        &self,
        GivenUp { at, delivery, subscription }: GivenUp,
    ) -> Result<(), StoreError> {
        let subscription = SubscriptionId::from_uuid(subscription);
        for list in [None, Some(subscription)].map(dead_letters::list) {
            let key = (self.id, list, CqlTimestamp(minute(at)), CqlTimestamp(at), delivery);
            self.execute(&self.statements.dead_letter, key).await?;
        }
        self.execute(&self.statements.delivery, (self.id, delivery)).await
    }

    /// The minutes of a list: nobody looks for it any more.
    async fn list(&self, list: &str) -> Result<(), StoreError> {
        self.execute(&self.statements.list, (self.id, list)).await
    }

    async fn execute(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        let done = self.ready.session.execute_unpaged(statement, values).await;
        done.map(drop).map_err(|error| unavailable(OPERATION, error))
    }
}

impl Found {
    fn add(&mut self, row: Row) {
        self.is_empty = false;
        if !row.list.is_empty() {
            self.lists.insert(row.list);
        } else if row.outcome.as_deref() == Some(DEAD_LETTERED)
            && let Some(((at, delivery), subscription)) =
                row.started_at.zip(row.delivery_id).zip(row.subscription_id)
        {
            let list = dead_letters::list(Some(SubscriptionId::from_uuid(subscription)));
            self.lists.insert(list);
            self.given_up.insert(GivenUp { at: millis(at), delivery, subscription });
        }
    }
}

impl Statements {
    async fn prepare(session: &Session) -> Result<Self, StoreError> {
        let prepare = async |cql: &str| {
            let mut statement =
                session.prepare(cql).await.map_err(|error| unavailable(OPERATION, error))?;
            statement.set_is_idempotent(true);
            Ok::<_, StoreError>(statement)
        };
        Ok(Self {
            minutes: prepare("SELECT minute FROM minutes WHERE customer_id = ? AND list = ''")
                .await?,
            rows: prepare(
                "SELECT list, event_id, piece, subscription_id, delivery_id, started_at, outcome \
                 FROM events WHERE customer_id = ? AND minute = ?",
            )
            .await?,
            dead_letter: prepare(
                "DELETE FROM dead_letters WHERE customer_id = ? AND list = ? AND minute = ? \
                 AND at = ? AND delivery_id = ?",
            )
            .await?,
            delivery: prepare("DELETE FROM deliveries WHERE customer_id = ? AND delivery_id = ?")
                .await?,
            list: prepare("DELETE FROM minutes WHERE customer_id = ? AND list = ?").await?,
            partition: prepare("DELETE FROM events WHERE customer_id = ? AND minute = ?").await?,
            minute: prepare(
                "DELETE FROM minutes WHERE customer_id = ? AND list = '' AND minute = ?",
            )
            .await?,
        })
    }
}
