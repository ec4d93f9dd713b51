//! Queues. Only one transaction writes at a time, so that nothing here is locked.

use std::sync::Arc;

use async_trait::async_trait;
use libsql::{Connection, Row, params};
use time::OffsetDateTime;
use triggerline_types::{CustomerId, DeliveryId, EventId, SubscriptionId, millis};
use uuid::Uuid;

use super::super::{Fault, column};
use super::{SqliteControl, blob, collect, rows};
use crate::control::queue::{
    Depth, Fate, Held, Helping, Lease, NewQueued, QueueStore, Queued, Settled, WAKEN, within,
};
use crate::error::StoreError;

const TABLE: &str = "queue";
const QUEUED: &str = "customer_id, subscription_id, delivery_id, order_key, record, attempt, \
     last_attempt, enqueued_at";

#[async_trait]
impl QueueStore for SqliteControl {
    async fn enqueue(&self, new: &[NewQueued], now: OffsetDateTime) -> Result<(), StoreError> {
        let new = new.to_vec();
        let add = async move |connection: &Connection| {
            let insert = "INSERT INTO queue (customer_id, subscription_id, delivery_id, event_id, \
                 order_key, head, record, attempt, last_attempt, enqueued_at, free_at, due_at, \
                 asleep) \
                 VALUES (?1, ?2, ?3, ?4, ?5, \
                     ?5 IS NULL OR NOT EXISTS (SELECT 1 FROM queue \
                         WHERE subscription_id = ?2 AND order_key = ?5), \
                     ?6, ?7, ?8, ?9, ?9, ?10, ?11) \
                 ON CONFLICT (subscription_id, delivery_id) DO NOTHING";
            for row in new {
                let values = params![
                    blob(row.customer_id.as_uuid()),
                    blob(row.subscription_id.as_uuid()),
                    blob(row.delivery_id.as_uuid()),
                    blob(row.event_id.as_uuid()),
                    row.key.as_ref().map(blob),
                    row.record,
                    row.attempt,
                    row.last_attempt,
                    millis(now),
                    millis(row.due.at()),
                    i64::from(row.due.is_asleep())
                ];
                connection.execute(insert, values).await?;
            }
            Ok(())
        };
        self.lite.write("add to the queue", add).await
    }

    async fn lease(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Lease,
        helping: Helping,
    ) -> Result<Vec<Queued>, StoreError> {
        let free = Find {
            which: "subscription_id = ?3 AND customer_id = ?4 AND head AND free_at <= ?1 \
                 AND attempt <= last_attempt ORDER BY position",
            of: vec![blob(subscription.as_uuid()), blob(customer.as_uuid())],
            // Once it is the last attempt, the delivery service looks after it.
            take: "due_at = CASE WHEN asleep AND attempt < last_attempt THEN due_at \
                     WHEN asleep THEN ?4 ELSE max(due_at, ?4) END, \
                 asleep = asleep AND attempt < last_attempt, attempt = attempt + 1",
        };
        let leased = self.take("lease from a queue", free, lease, helping).await?;
        let count = |row: Queued| Queued { attempt: row.attempt.saturating_sub(1), ..row };
        Ok(leased.into_iter().map(count).collect())
    }

    async fn lease_due(&self, lease: Lease, helping: Helping) -> Result<Vec<Queued>, StoreError> {
        let due = Find {
            which: "head AND due_at <= ?1 ORDER BY due_at, position",
            of: Vec::new(),
            take: "due_at = ?4, asleep = 0",
        };
        self.take("lease what is due", due, lease, helping).await
    }

    async fn held(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
    ) -> Result<Vec<Held>, StoreError> {
        let read = async move |connection: &Connection| {
            let query = "SELECT delivery_id, event_id, order_key, attempt, leased_at FROM queue \
                 WHERE lease = ?1 AND subscription_id = ?2 AND customer_id = ?3 ORDER BY position";
            let values =
                params![blob(&lease), blob(subscription.as_uuid()), blob(customer.as_uuid())];
            let held = |row: &Row| {
                Ok(Held {
                    delivery_id: DeliveryId::from_uuid(column::id(row, TABLE, 0)?),
                    event_id: EventId::from_uuid(column::id(row, TABLE, 1)?),
                    key: key(row, 2)?,
                    attempt: row.get::<u32>(3)?.saturating_sub(1),
                    leased_at: column::instant(row, TABLE, 4)?,
                })
            };
            collect(connection.query(query, values).await?, held).await
        };
        let mut held = self.lite.read("look at a lease", read).await?;
        held.retain(|one| deliveries.is_none_or(|named| named.contains(&one.delivery_id)));
        Ok(held)
    }

    async fn settle(
        &self,
        lease: Uuid,
        settled: &[Settled],
        now: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let settled = settled.to_vec();
        let settle = async move |connection: &Connection| {
            let mut held = Vec::new();
            for one in settled {
                let of = (blob(one.subscription_id.as_uuid()), blob(one.delivery_id.as_uuid()));
                let is = "lease = ?1 AND subscription_id = ?2 AND delivery_id = ?3";
                let changed = match one.fate {
                    Fate::Done => {
                        let delete = format!("DELETE FROM queue WHERE {is}");
                        let values = params![blob(&lease), of.0.clone(), of.1];
                        let gone = connection.execute(&delete, values).await?;
                        if let Some(key) = one.key.filter(|_| gone > 0) {
                            let promote = "UPDATE queue SET head = 1 WHERE position = (\
                                 SELECT position FROM queue WHERE subscription_id = ?1 \
                                     AND order_key = ?2 ORDER BY position LIMIT 1)";
                            connection.execute(promote, params![of.0, blob(&key)]).await?;
                        }
                        gone
                    }
                    Fate::Stays { attempt, last_attempt, due } => {
                        let update = format!(
                            "UPDATE queue SET lease = NULL, leased_at = NULL, attempt = ?4, \
                                 last_attempt = ?5, free_at = ?6, due_at = ?7, asleep = ?8 \
                             WHERE {is}"
                        );
                        let values = params![
                            blob(&lease),
                            of.0,
                            of.1,
                            attempt,
                            last_attempt,
                            millis(now),
                            millis(due.at()),
                            i64::from(due.is_asleep())
                        ];
                        connection.execute(&update, values).await?
                    }
                };
                if changed > 0 {
                    held.push(one.delivery_id);
                }
            }
            Ok(held)
        };
        self.lite.write("settle what was leased", settle).await
    }

    async fn release(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        at: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let update = "lease = NULL, leased_at = NULL, free_at = ?1, \
             due_at = CASE WHEN asleep THEN due_at ELSE ?1 END";
        let held = self.held(customer, subscription, lease, deliveries).await?;
        self.move_lease("release what was leased", update, subscription, lease, held, at).await
    }

    async fn extend(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        until: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let update = "free_at = ?1, due_at = CASE WHEN asleep THEN due_at ELSE ?1 END";
        let held = self.held(customer, subscription, lease, deliveries).await?;
        self.move_lease("extend a lease", update, subscription, lease, held, until).await
    }

    async fn keep(&self, lease: Uuid, until: OffsetDateTime) -> Result<(), StoreError> {
        let keep = async move |connection: &Connection| {
            let update = "UPDATE queue SET free_at = ?2, due_at = ?2 WHERE lease = ?1";
            connection.execute(update, params![blob(&lease), millis(until)]).await?;
            Ok(())
        };
        self.lite.write("keep a lease", keep).await
    }

    async fn asleep(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        let read = async move |connection: &Connection| {
            // From one to the next by the index, over however many rows each has.
            let query = "WITH RECURSIVE of (id) AS ( \
                 SELECT (SELECT min(subscription_id) FROM queue WHERE asleep) \
                 UNION ALL \
                 SELECT (SELECT min(subscription_id) FROM queue \
                         WHERE asleep AND subscription_id > of.id) \
                 FROM of WHERE of.id IS NOT NULL) \
                 SELECT id FROM of WHERE id IS NOT NULL";
            let id = |row: &Row| Ok(SubscriptionId::from_uuid(column::id(row, TABLE, 0)?));
            collect(connection.query(query, ()).await?, id).await
        };
        self.lite.read("look for sleeping queues", read).await
    }

    async fn wake(
        &self,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let wake = async move |connection: &Connection| {
            let update = "UPDATE queue SET asleep = 0, due_at = max(free_at, ?2) \
                 WHERE position IN (SELECT position FROM queue \
                     WHERE subscription_id = ?1 AND asleep ORDER BY position LIMIT ?3)";
            let values = params![blob(subscription.as_uuid()), millis(now), WAKEN];
            Ok(connection.execute(update, values).await? >= WAKEN.unsigned_abs())
        };
        self.lite.write("wake a queue", wake).await
    }

    async fn depth(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<Depth, StoreError> {
        let read = async move |connection: &Connection| {
            let query = "SELECT count(*), \
                     count(*) FILTER (WHERE lease IS NOT NULL AND free_at > ?3), min(enqueued_at) \
                 FROM (SELECT lease, free_at, enqueued_at FROM queue \
                     WHERE subscription_id = ?1 AND customer_id = ?2 LIMIT ?4)";
            let values = params![
                blob(subscription.as_uuid()),
                blob(customer.as_uuid()),
                millis(now),
                rows(Depth::MOST)
            ];
            let depth = |row: &Row| {
                let count = |at| Ok::<_, Fault>(usize::try_from(row.get::<i64>(at)?).unwrap_or(0));
                let oldest = column::instant_or_none(row, TABLE, 2)?;
                Ok(Depth { rows: count(0)?, leased: count(1)?, oldest })
            };
            let found = collect(connection.query(query, values).await?, depth).await?;
            Ok(found.into_iter().next().unwrap_or_default())
        };
        self.lite.read("measure a queue", read).await
    }
}

/// Which rows are leased, and what changes with it beside the lease.
struct Find {
    /// ?1 is now.
    which: &'static str,
    /// ?3 and on.
    of: Vec<Vec<u8>>,
    /// ?4 is the end of the lease.
    take: &'static str,
}

impl SqliteControl {
    /// Leases those of the rows that the helping has room for, and returns them in their order.
    async fn take(
        &self,
        operation: &'static str,
        find: Find,
        lease: Lease,
        helping: Helping,
    ) -> Result<Vec<Queued>, StoreError> {
        let find = Arc::new(find);
        // Looked for first without writing, because mostly there is none.
        let looked = Arc::clone(&find);
        let look = async move |connection: &Connection| {
            Ok(!positions(connection, &looked, lease.now, 1).await?.is_empty())
        };
        if !self.lite.read(operation, look).await? {
            return Ok(Vec::new());
        }
        let take = async move |connection: &Connection| {
            let found = positions(connection, &find, lease.now, helping.rows).await?;
            let update = format!(
                "UPDATE queue SET lease = ?2, leased_at = ?3, free_at = ?4, {} \
                 WHERE position = ?1",
                find.take
            );
            let read = format!("SELECT {QUEUED} FROM queue WHERE position = ?1");
            let mut taken = Vec::new();
            for position in within(found, helping.bytes) {
                let (now, until) = (millis(lease.now), millis(lease.until));
                let values = params![position, blob(&lease.id), now, until];
                connection.execute(&update, values).await?;
                taken.extend(collect(connection.query(&read, [position]).await?, queued).await?);
            }
            Ok(taken)
        };
        self.lite.write(operation, take).await
    }

    /// Does `update` (?1 is the instant) to those rows that the lease still holds.
    async fn move_lease(
        &self,
        operation: &'static str,
        update: &'static str,
        subscription: SubscriptionId,
        lease: Uuid,
        held: Vec<Held>,
        at: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let write = async move |connection: &Connection| {
            let update = format!(
                "UPDATE queue SET {update} \
                 WHERE lease = ?2 AND subscription_id = ?3 AND delivery_id = ?4"
            );
            let mut moved = Vec::new();
            for Held { delivery_id, .. } in held {
                let values = params![
                    millis(at),
                    blob(&lease),
                    blob(subscription.as_uuid()),
                    blob(delivery_id.as_uuid())
                ];
                if connection.execute(&update, values).await? > 0 {
                    moved.push(delivery_id);
                }
            }
            Ok(moved)
        };
        self.lite.write(operation, write).await
    }
}

/// The rows' positions and the sizes of their records.
async fn positions(
    connection: &Connection,
    find: &Find,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Vec<(i64, usize)>, Fault> {
    let query = format!("SELECT position, length(record) FROM queue WHERE {} LIMIT ?2", find.which);
    let mut values = vec![libsql::Value::Integer(millis(now)), libsql::Value::Integer(rows(limit))];
    values.extend(find.of.iter().cloned().map(libsql::Value::Blob));
    let read =
        |row: &Row| Ok((row.get(0)?, usize::try_from(row.get::<i64>(1)?).unwrap_or(usize::MAX)));
    collect(connection.query(&query, values).await?, read).await
}

fn queued(row: &Row) -> Result<Queued, Fault> {
    Ok(Queued {
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 0)?),
        subscription_id: SubscriptionId::from_uuid(column::id(row, TABLE, 1)?),
        delivery_id: DeliveryId::from_uuid(column::id(row, TABLE, 2)?),
        key: key(row, 3)?,
        record: row.get(4)?,
        attempt: row.get(5)?,
        last_attempt: row.get(6)?,
        enqueued_at: column::instant(row, TABLE, 7)?,
    })
}

fn key(row: &Row, at: i32) -> Result<Option<Uuid>, Fault> {
    match row.get::<Option<Vec<u8>>>(at)? {
        None => Ok(None),
        Some(_) => column::id(row, TABLE, at).map(Some),
    }
}
