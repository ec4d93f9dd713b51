//! The inbox in a SQLite file.
//!
//! Each fact goes into its own table, where doing it twice changes nothing; then the rows
//! that are derived (a delivery's state, an event's status and counts) are worked out again
//! for the events that the batch touched, by the rules in `triggerline-types`. So neither the
//! order nor the number of times that facts come makes a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use libsql::{Connection, Row, Rows, Value, params};
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, DeliveryState, Event, EventId, EventStatus, EventType, Fact,
    Matched, SubscriptionId, millis,
};
use uuid::Uuid;

use super::prepared::Prepared;
use super::{Fault, Lite, column, dead_letters, expiry};
use crate::Retention;
use crate::error::StoreError;
use crate::event::{
    DeadLetter, DeadLetterQuery, Direction, EventStore, InboxQuery, Page, Position, StoredDelivery,
    StoredEvent,
};
use crate::words;

const MIGRATIONS: &[&str] =
    &[include_str!("events.sql"), include_str!("events_2.sql"), include_str!("events_3.sql")];

pub struct SqliteEvents {
    lite: Lite,
}

impl SqliteEvents {
    /// Opens the file, making it and its folder if they are missing.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { lite: Lite::open(path).await? })
    }
}

#[cfg(test)]
impl SqliteEvents {
    /// How SQLite would answer a query.
    pub(super) async fn plan(&self, sql: &str, values: Vec<Value>) -> String {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let plan = self.lite.read("explain", async move |connection: &Connection| {
            let mut rows = connection.query(&sql, values).await?;
            let mut plan = Vec::new();
            while let Some(row) = rows.next().await? {
                plan.push(row.get::<String>(3)?);
            }
            Ok(plan.join("\n"))
        });
        plan.await.unwrap()
    }
}

#[async_trait]
impl EventStore for SqliteEvents {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.lite.migrate(MIGRATIONS).await
    }

    /// Kept until [`EventStore::expire`] removes them.
    async fn apply(&self, facts: &[Fact], _retention: &Retention) -> Result<(), StoreError> {
        let facts = facts.to_vec();
        self.lite
            .write("store facts", async move |connection: &Connection| {
                let mut database = Prepared::new(connection);
                let mut touched = BTreeSet::new();
                for fact in &facts {
                    touched.insert((*fact.customer_id().as_uuid(), *fact.event_id().as_uuid()));
                    match fact {
                        Fact::Event(event) => put_event(&mut database, event).await?,
                        Fact::Matched(matched) => put_summary(&mut database, matched).await?,
                        Fact::Attempted(attempt) => put_attempt(&mut database, attempt).await?,
                    }
                }
                for (customer, event) in touched {
                    derive(&mut database, customer, event).await?;
                }
                Ok(())
            })
            .await
    }

    async fn expire(&self, retention: &Retention) -> Result<bool, StoreError> {
        let (retention, now) = (retention.clone(), OffsetDateTime::now_utc());
        self.lite
            .write("remove what has expired", async move |connection: &Connection| {
                expiry::remove(connection, &retention, now).await
            })
            .await
    }

    async fn erase(&self, customer: CustomerId) -> Result<u64, StoreError> {
        let mut events = 0;
        loop {
            let erase =
                async move |connection: &Connection| expiry::erase(connection, customer).await;
            let (removed, more) = self.lite.write("erase a customer's events", erase).await?;
            events += removed;
            if !more {
                return Ok(events);
            }
        }
    }

    async fn event(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        self.lite
            .read("read an event", async move |connection: &Connection| {
                let query = format!("{EVENT} WHERE customer_id = ?1 AND event_id = ?2");
                let keys = params![blob(customer.as_uuid()), blob(id.as_uuid())];
                let mut rows = connection.query(&query, keys).await?;
                rows.next().await?.map(|row| stored_event(&row)).transpose()
            })
            .await
    }

    async fn deliveries(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        self.lite
            .read("read an event's deliveries", async move |connection: &Connection| {
                let keys = || params![blob(customer.as_uuid()), blob(id.as_uuid())];
                let query = "SELECT d.subscription_id, d.delivery_id, d.workflow_id, d.state \
                     FROM deliveries d JOIN events e USING (customer_id, event_id) \
                     WHERE customer_id = ?1 AND event_id = ?2 ORDER BY d.subscription_id";
                let mut rows = connection.query(query, keys()).await?;
                let mut deliveries = Vec::new();
                while let Some(row) = rows.next().await? {
                    let state: String = row.get(3)?;
                    deliveries.push(StoredDelivery {
                        id: DeliveryId::from_uuid(column::id(&row, "deliveries", 1)?),
                        subscription_id: subscription_id(&row, "deliveries", 0)?,
                        workflow_id: row.get(2)?,
                        state: DeliveryState::parse(&state)
                            .ok_or_else(|| Fault::row("deliveries", state))?,
                        attempts: Vec::new(),
                    });
                }
                let rows = connection.query(ATTEMPTS, keys()).await?;
                for attempt in attempts(rows, *customer.as_uuid(), *id.as_uuid()).await? {
                    let place = deliveries.iter_mut();
                    let mut place =
                        place.filter(|one| one.subscription_id == attempt.subscription_id);
                    if let Some(delivery) = place.next() {
                        delivery.attempts.push(attempt);
                    }
                }
                Ok(deliveries)
            })
            .await
    }

    async fn inbox(
        &self,
        customer: CustomerId,
        query: &InboxQuery,
    ) -> Result<Page<StoredEvent, Position>, StoreError> {
        let (sql, values) = inbox_query(customer, query);
        let found = self
            .lite
            .read("read the inbox", async move |connection: &Connection| {
                let mut rows = connection.query(&sql, values).await?;
                let mut events = Vec::new();
                while let Some(row) = rows.next().await? {
                    events.push(stored_event(&row)?);
                }
                Ok(events)
            })
            .await?;
        Ok(Page::full(found, query.limit, StoredEvent::position))
    }

    async fn dead_letters(
        &self,
        customer: CustomerId,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter, (OffsetDateTime, DeliveryId)>, StoreError> {
        let (limit, query) = (query.limit, query.clone());
        let found = self
            .lite
            .read("list dead letters", async move |connection: &Connection| {
                dead_letters::page(connection, customer, &query).await
            })
            .await?;
        Ok(Page::full(found, limit, DeadLetter::place))
    }
}

const EVENT: &str = "SELECT customer_id, event_id, event_type, source, subject, occurred_at, \
     received_at, traceparent, payload, status, deliveries, delivered, quarantined, extensions FROM events";

/// The statement for a page, and its values. Only what is asked for stands in it, so that
/// SQLite picks the index that fits.
fn inbox_query(customer: CustomerId, query: &InboxQuery) -> (String, Vec<Value>) {
    let mut sql = format!("{EVENT} WHERE customer_id = ?");
    let mut values: Vec<Value> = vec![blob(customer.as_uuid()).into()];
    let mut and = |condition: &str, more: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend(more);
    };
    if let Some(event_type) = &query.event_type {
        and("event_type = ?", vec![event_type.as_str().into()]);
    }
    if let Some(status) = query.status {
        and("status = ?", vec![status.as_str().into()]);
    }
    if let Some(from) = query.from {
        and("received_at >= ?", vec![millis(from).into()]);
    }
    if let Some(to) = query.to {
        and("received_at < ?", vec![millis(to).into()]);
    }
    if let Some(workflow_id) = &query.workflow_id {
        and(
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.customer_id = events.customer_id \
             AND d.event_id = events.event_id AND d.workflow_id = ?)",
            vec![workflow_id.as_str().into()],
        );
    }
    let (past, order) = match query.direction {
        Direction::NewestFirst => ("(received_at, event_id) < (?, ?)", "DESC"),
        Direction::OldestFirst => ("(received_at, event_id) > (?, ?)", "ASC"),
    };
    if let Some(after) = query.after {
        and(past, vec![millis(after.received_at).into(), blob(after.id.as_uuid()).into()]);
    }
    values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
    (format!("{sql} ORDER BY received_at {order}, event_id {order} LIMIT ?"), values)
}

async fn put_event(database: &mut Prepared<'_>, event: &Event) -> Result<(), Fault> {
    // Released once is released for good, in whichever order the two records come.
    let insert = "INSERT INTO events \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'accepted', 0, 0, ?10, ?11) \
         ON CONFLICT DO UPDATE SET quarantined = \
             CASE WHEN excluded.quarantined IS NULL THEN NULL ELSE quarantined END";
    database
        .execute(
            insert,
            params![
                blob(event.customer_id.as_uuid()),
                blob(event.id.as_uuid()),
                event.event_type.as_str(),
                event.source.as_str(),
                event.subject.clone(),
                millis(event.occurred_at),
                millis(event.received_at),
                event.traceparent.clone(),
                event.payload.to_vec(),
                event.quarantined.clone(),
                extensions_to_text(&event.extensions)
            ],
        )
        .await?;
    Ok(())
}

async fn put_summary(database: &mut Prepared<'_>, matched: &Matched) -> Result<(), Fault> {
    let (customer, event) = (matched.customer_id.as_uuid(), matched.event_id.as_uuid());
    let insert = "INSERT INTO summaries VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET at = min(at, excluded.at)";
    database.execute(insert, params![blob(customer), blob(event), millis(matched.at)]).await?;
    for owed in &matched.owed {
        let insert = "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, 'pending', NULL) \
             ON CONFLICT DO UPDATE SET workflow_id = max(workflow_id, excluded.workflow_id)";
        let values = params![
            blob(customer),
            blob(event),
            blob(owed.subscription_id.as_uuid()),
            blob(owed.delivery_id.as_uuid()),
            owed.workflow_id.as_str()
        ];
        database.execute(insert, values).await?;
    }
    Ok(())
}

async fn put_attempt(database: &mut Prepared<'_>, attempt: &Attempt) -> Result<(), Fault> {
    let (customer, event) = (attempt.customer_id.as_uuid(), attempt.event_id.as_uuid());
    let (subscription, delivery) =
        (attempt.subscription_id.as_uuid(), attempt.delivery_id.as_uuid());
    let insert = "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, '', 'pending', NULL) \
         ON CONFLICT DO NOTHING";
    let values = params![blob(customer), blob(event), blob(subscription), blob(delivery)];
    database.execute(insert, values).await?;
    let (response, status, text) = words::of_response(&attempt.response);
    let (outcome, at, reason) = words::of_outcome(&attempt.outcome);
    let insert = "INSERT INTO attempts \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING";
    database
        .execute(
            insert,
            params![
                blob(customer),
                blob(event),
                blob(subscription),
                millis(attempt.started_at),
                i64::from(attempt.number),
                blob(delivery),
                i64::try_from(attempt.latency.as_micros()).unwrap_or(i64::MAX),
                response,
                status.map(i64::from),
                text,
                outcome,
                at.map(millis),
                reason.map(str::to_owned)
            ],
        )
        .await?;
    Ok(())
}

/// Works out again what follows from the facts about one event.
async fn derive(database: &mut Prepared<'_>, customer: Uuid, event: Uuid) -> Result<(), Fault> {
    let keys = || params![blob(&customer), blob(&event)];
    let attempts = attempts(database.query(ATTEMPTS, keys()).await?, customer, event).await?;
    let query = "SELECT subscription_id, state, last_at FROM deliveries \
         WHERE customer_id = ?1 AND event_id = ?2";
    let mut rows = database.query(query, keys()).await?;
    let mut known = Vec::new();
    while let Some(row) = rows.next().await? {
        let stored = (row.get::<String>(1)?, row.get::<Option<i64>>(2)?);
        known.push((subscription_id(&row, "deliveries", 0)?, stored));
    }
    let mut states = Vec::with_capacity(known.len());
    for (subscription, stored) in known {
        let its_own = || attempts.iter().filter(|one| one.subscription_id == subscription);
        let state = DeliveryState::after(its_own());
        let last_at = its_own().map(|one| millis(one.started_at)).max();
        states.push(state);
        if (state.as_str(), last_at) != (stored.0.as_str(), stored.1) {
            let update = "UPDATE deliveries SET state = ?4, last_at = ?5 \
                 WHERE customer_id = ?1 AND event_id = ?2 AND subscription_id = ?3";
            let subscription = blob(subscription.as_uuid());
            let values =
                params![blob(&customer), blob(&event), subscription, state.as_str(), last_at];
            database.execute(update, values).await?;
        }
    }
    let query = "SELECT 1 FROM summaries WHERE customer_id = ?1 AND event_id = ?2";
    let summarised = database.query(query, keys()).await?.next().await?.is_some();
    let delivered = states.iter().filter(|state| **state == DeliveryState::Delivered).count();
    let query = "SELECT 1 FROM events \
         WHERE customer_id = ?1 AND event_id = ?2 AND quarantined IS NOT NULL";
    let held = database.query(query, keys()).await?.next().await?.is_some();
    let derived = EventStatus::of(held, summarised.then_some(states.len()), states.iter().copied());
    let update = "UPDATE events SET status = ?3, deliveries = ?4, delivered = ?5 \
         WHERE customer_id = ?1 AND event_id = ?2";
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let values = params![
        blob(&customer),
        blob(&event),
        derived.as_str(),
        count(states.len()),
        count(delivered)
    ];
    database.execute(update, values).await?;
    Ok(())
}

/// An event's attempts, in the order in which they started.
const ATTEMPTS: &str = "SELECT subscription_id, started_at, number, delivery_id, latency_us, \
     response, response_status, response_text, outcome, outcome_at, outcome_text FROM attempts \
     WHERE customer_id = ?1 AND event_id = ?2 ORDER BY started_at, number";

/// What is found by [`ATTEMPTS`].
async fn attempts(mut rows: Rows, customer: Uuid, event: Uuid) -> Result<Vec<Attempt>, Fault> {
    let mut attempts = Vec::new();
    while let Some(row) = rows.next().await? {
        attempts.push(attempt(&row, customer, event)?);
    }
    Ok(attempts)
}

pub(super) fn attempt(row: &Row, customer: Uuid, event: Uuid) -> Result<Attempt, Fault> {
    const TABLE: &str = "attempts";
    let status = row.get::<Option<i64>>(6)?.map(|_| number(row, TABLE, 6)).transpose()?;
    Ok(Attempt {
        delivery_id: DeliveryId::from_uuid(column::id(row, TABLE, 3)?),
        event_id: EventId::from_uuid(event),
        customer_id: CustomerId::from_uuid(customer),
        subscription_id: subscription_id(row, TABLE, 0)?,
        number: number(row, TABLE, 2)?,
        started_at: column::instant(row, TABLE, 1)?,
        latency: Duration::from_micros(number(row, TABLE, 4)?),
        response: words::to_response(&row.get::<String>(5)?, status, row.get(7)?)
            .map_err(|what| Fault::row(TABLE, what))?,
        outcome: words::to_outcome(
            &row.get::<String>(8)?,
            column::instant_or_none(row, TABLE, 9)?,
            row.get(10)?,
        )
        .map_err(|what| Fault::row(TABLE, what))?,
    })
}

/// A JSON object; none for none.
fn extensions_to_text(extensions: &BTreeMap<String, String>) -> Option<String> {
    (!extensions.is_empty()).then(|| serde_json::to_string(extensions).unwrap_or_default())
}

fn extensions_from_text(text: Option<&str>) -> Result<BTreeMap<String, String>, Fault> {
    let text = text.map(serde_json::from_str);
    Ok(text.transpose().map_err(|error| Fault::row("events", error))?.unwrap_or_default())
}

fn stored_event(row: &Row) -> Result<StoredEvent, Fault> {
    const TABLE: &str = "events";
    let status: String = row.get(9)?;
    Ok(StoredEvent {
        event: Event {
            id: EventId::from_uuid(column::id(row, TABLE, 1)?),
            customer_id: CustomerId::from_uuid(column::id(row, TABLE, 0)?),
            event_type: EventType::parse(row.get::<String>(2)?)
                .map_err(|error| Fault::row(TABLE, error))?,
            source: row.get(3)?,
            subject: row.get(4)?,
            occurred_at: column::instant(row, TABLE, 5)?,
            received_at: column::instant(row, TABLE, 6)?,
            traceparent: row.get(7)?,
            payload: row.get::<Vec<u8>>(8)?.into(),
            quarantined: row.get(12)?,
            extensions: extensions_from_text(row.get::<Option<String>>(13)?.as_deref())?,
        },
        status: EventStatus::parse(&status).ok_or_else(|| Fault::row(TABLE, status))?,
        deliveries: number(row, TABLE, 10)?,
        delivered: number(row, TABLE, 11)?,
    })
}

fn subscription_id(row: &Row, table: &'static str, at: i32) -> Result<SubscriptionId, Fault> {
    column::id(row, table, at).map(SubscriptionId::from_uuid)
}

fn number<N: TryFrom<i64>>(row: &Row, table: &'static str, at: i32) -> Result<N, Fault> {
    let found: i64 = row.get(at)?;
    N::try_from(found).map_err(|_| Fault::row(table, format!("the number {found}")))
}

pub(super) fn blob(id: &Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page must cost the same however many events there are: each query walks an index.
    #[tokio::test]
    async fn every_page_walks_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEvents::open(&folder.path().join("inbox.db")).await.unwrap();
        store.migrate().await.unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let after = Some(Position { received_at: now, id: EventId::new() });
        let event_type = Some(EventType::parse("a").unwrap());
        let status = Some(EventStatus::Failed);
        for query in [
            InboxQuery::default(),
            InboxQuery { after, ..InboxQuery::default() },
            InboxQuery { direction: Direction::OldestFirst, after, ..InboxQuery::default() },
            InboxQuery { from: Some(now), to: Some(now), after, ..InboxQuery::default() },
            InboxQuery { event_type: event_type.clone(), after, ..InboxQuery::default() },
            InboxQuery { status, after, ..InboxQuery::default() },
            InboxQuery { event_type, status, after, ..InboxQuery::default() },
            InboxQuery { workflow_id: Some("w".into()), after, ..InboxQuery::default() },
        ] {
            let (sql, values) = inbox_query(CustomerId::new(), &query);
            let plan = store.plan(&sql, values).await;
            assert!(plan.contains("USING INDEX events_"), "{query:?}:\n{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{query:?}:\n{plan}");
        }
    }
}
