//! Queues.
//!
//! Whoever adds or takes away rows with keys holds a lock on their subscription meanwhile: a row
//! that is added while the one before it is taken away would otherwise be nobody's to make a head.
//! Leases lock nothing but their rows, and pass over those that others lease.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use time::OffsetDateTime;
use tokio_postgres::Row;
use triggerline_types::{CustomerId, DeliveryId, EventId, SubscriptionId};
use uuid::Uuid;

use super::exchange::Fault;
use super::{PostgresControl, rows};
use crate::control::queue::{
    Depth, Fate, Held, Helping, Lease, NewQueued, QueueStore, Queued, Settled, WAKEN, within,
};
use crate::error::StoreError;

const QUEUED: &str = "customer_id, subscription_id, delivery_id, order_key, record, attempt, \
     last_attempt, enqueued_at";

#[async_trait]
impl QueueStore for PostgresControl {
    async fn enqueue(&self, new: &[NewQueued], now: OffsetDateTime) -> Result<(), StoreError> {
        self.change("add to the queue", async |transaction| {
            let keyed = || new.iter().filter_map(|row| Some((row.subscription_id, row.key?)));
            lock(transaction, keyed().map(|(id, _)| id)).await?;
            let insert = "INSERT INTO queue (customer_id, subscription_id, delivery_id, event_id, \
                 order_key, head, record, attempt, last_attempt, enqueued_at, free_at, due_at, \
                 asleep) \
                 SELECT customer_id, subscription_id, delivery_id, event_id, order_key, \
                     order_key IS NULL, record, attempt, last_attempt, $1, $1, due_at, asleep \
                 FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], \
                     $7::bytea[], $8::int[], $9::int[], $10::timestamptz[], $11::bool[]) \
                     WITH ORDINALITY AS new (customer_id, subscription_id, delivery_id, event_id, \
                     order_key, record, attempt, last_attempt, due_at, asleep, place) \
                 ORDER BY place ON CONFLICT (subscription_id, delivery_id) DO NOTHING";
            let insert = transaction.prepare_cached(insert).await?;
            let ids = |id: fn(&NewQueued) -> Uuid| new.iter().map(id).collect::<Vec<_>>();
            transaction
                .execute(
                    &insert,
                    &[
                        &now,
                        &ids(|row| *row.customer_id.as_uuid()),
                        &ids(|row| *row.subscription_id.as_uuid()),
                        &ids(|row| *row.delivery_id.as_uuid()),
                        &ids(|row| *row.event_id.as_uuid()),
                        &new.iter().map(|row| row.key).collect::<Vec<_>>(),
                        &new.iter().map(|row| &row.record[..]).collect::<Vec<_>>(),
                        &new.iter().map(|row| number(row.attempt)).collect::<Vec<_>>(),
                        &new.iter().map(|row| number(row.last_attempt)).collect::<Vec<_>>(),
                        &new.iter().map(|row| row.due.at()).collect::<Vec<_>>(),
                        &new.iter().map(|row| row.due.is_asleep()).collect::<Vec<_>>(),
                    ],
                )
                .await?;
            promote(transaction, keyed()).await
        })
        .await
    }

    async fn lease(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Lease,
        helping: Helping,
    ) -> Result<Vec<Queued>, StoreError> {
        self.change("lease from a queue", async |transaction| {
            let free = "SELECT position, octet_length(record) FROM queue \
                 WHERE subscription_id = $1 AND customer_id = $2 AND head AND free_at <= $3 \
                     AND attempt <= last_attempt \
                 ORDER BY position LIMIT $4 FOR UPDATE SKIP LOCKED";
            let free = transaction.prepare_cached(free).await?;
            let of = [subscription.as_uuid(), customer.as_uuid()];
            let found =
                transaction.query(&free, &[of[0], of[1], &lease.now, &rows(helping.rows)]).await?;
            // Once it is the last attempt, the delivery service looks after it.
            let take = format!(
                "UPDATE queue SET lease = $2, leased_at = $3, free_at = $4, \
                     due_at = CASE WHEN asleep AND attempt < last_attempt THEN due_at \
                              WHEN asleep THEN $4 ELSE greatest(due_at, $4) END, \
                     asleep = asleep AND attempt < last_attempt, attempt = attempt + 1 \
                 WHERE position = ANY($1) RETURNING position, {QUEUED}"
            );
            let leased = take_all(transaction, &take, &found, lease, helping).await?;
            let count = |row: Queued| Queued { attempt: row.attempt.saturating_sub(1), ..row };
            Ok(leased.into_iter().map(count).collect())
        })
        .await
    }

    async fn lease_due(&self, lease: Lease, helping: Helping) -> Result<Vec<Queued>, StoreError> {
        self.change("lease what is due", async |transaction| {
            let due = "SELECT position, octet_length(record) FROM queue \
                 WHERE head AND due_at <= $1 \
                 ORDER BY due_at, position LIMIT $2 FOR UPDATE SKIP LOCKED";
            let due = transaction.prepare_cached(due).await?;
            let found = transaction.query(&due, &[&lease.now, &rows(helping.rows)]).await?;
            let take = format!(
                "UPDATE queue SET lease = $2, leased_at = $3, free_at = $4, due_at = $4, \
                     asleep = false \
                 WHERE position = ANY($1) RETURNING position, {QUEUED}"
            );
            take_all(transaction, &take, &found, lease, helping).await
        })
        .await
    }

    async fn held(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
    ) -> Result<Vec<Held>, StoreError> {
        self.ask("look at a lease", async |client| {
            let query = "SELECT delivery_id, event_id, order_key, attempt, leased_at FROM queue \
                 WHERE lease = $1 AND subscription_id = $2 AND customer_id = $3 \
                     AND ($4::uuid[] IS NULL OR delivery_id = ANY($4)) ORDER BY position";
            let query = client.prepare_cached(query).await?;
            let (of, named) = ([subscription.as_uuid(), customer.as_uuid()], deliveries.map(uuids));
            let found = client.query(&query, &[&lease, of[0], of[1], &named]).await?;
            let held = |row: &Row| {
                Ok(Held {
                    delivery_id: DeliveryId::from_uuid(row.get(0)),
                    event_id: EventId::from_uuid(row.get(1)),
                    key: row.get(2),
                    attempt: attempt(row, 3)?.saturating_sub(1),
                    leased_at: row.get(4),
                })
            };
            found.iter().map(held).collect()
        })
        .await
    }

    async fn settle(
        &self,
        lease: Uuid,
        settled: &[Settled],
        now: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        self.change("settle what was leased", async |transaction| {
            let done = || settled.iter().filter(|one| one.fate == Fate::Done);
            let keyed = || done().filter_map(|one| Some((one.subscription_id, one.key?)));
            lock(transaction, keyed().map(|(id, _)| id)).await?;
            let mut held = Vec::new();
            if done().next().is_some() {
                let delete = "DELETE FROM queue USING unnest($2::uuid[], $3::uuid[]) \
                         AS done (subscription_id, delivery_id) \
                     WHERE lease = $1 AND queue.subscription_id = done.subscription_id \
                         AND queue.delivery_id = done.delivery_id \
                     RETURNING queue.delivery_id";
                let delete = transaction.prepare_cached(delete).await?;
                let of: Vec<_> = done().map(|one| *one.subscription_id.as_uuid()).collect();
                let ids: Vec<_> = done().map(|one| *one.delivery_id.as_uuid()).collect();
                held.extend(transaction.query(&delete, &[&lease, &of, &ids]).await?);
                promote(transaction, keyed()).await?;
            }
            let stay = "UPDATE queue SET lease = NULL, leased_at = NULL, attempt = $4, \
                 last_attempt = $5, free_at = $6, due_at = $7, asleep = $8 \
                 WHERE lease = $1 AND subscription_id = $2 AND delivery_id = $3 \
                 RETURNING delivery_id";
            let stay = transaction.prepare_cached(stay).await?;
            for one in settled {
                let Fate::Stays { attempt, last_attempt, due } = one.fate else {
                    continue;
                };
                let found = transaction
                    .query(
                        &stay,
                        &[
                            &lease,
                            one.subscription_id.as_uuid(),
                            one.delivery_id.as_uuid(),
                            &number(attempt),
                            &number(last_attempt),
                            &now,
                            &due.at(),
                            &due.is_asleep(),
                        ],
                    )
                    .await?;
                held.extend(found);
            }
            Ok(ids(&held))
        })
        .await
    }

    async fn release(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        at: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let update = "UPDATE queue SET lease = NULL, leased_at = NULL, free_at = $5, \
                 due_at = CASE WHEN asleep THEN due_at ELSE $5 END";
        self.move_lease(
            "release what was leased",
            update,
            (customer, subscription),
            lease,
            (deliveries, at),
        )
        .await
    }

    async fn extend(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        lease: Uuid,
        deliveries: Option<&[DeliveryId]>,
        until: OffsetDateTime,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let update = "UPDATE queue SET free_at = $5, \
                 due_at = CASE WHEN asleep THEN due_at ELSE $5 END";
        self.move_lease(
            "extend a lease",
            update,
            (customer, subscription),
            lease,
            (deliveries, until),
        )
        .await
    }

    async fn keep(&self, lease: Uuid, until: OffsetDateTime) -> Result<(), StoreError> {
        self.ask("keep a lease", async |client| {
            let update = "UPDATE queue SET free_at = $2, due_at = $2 WHERE lease = $1";
            client.execute(update, &[&lease, &until]).await?;
            Ok(())
        })
        .await
    }

    async fn asleep(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        self.ask("look for sleeping queues", async |client| {
            // From one to the next by the index, over however many rows each has.
            let query = "WITH RECURSIVE of AS ( \
                 (SELECT subscription_id FROM queue WHERE asleep \
                  ORDER BY subscription_id LIMIT 1) \
                 UNION ALL \
                 SELECT (SELECT queue.subscription_id FROM queue \
                         WHERE asleep AND queue.subscription_id > of.subscription_id \
                         ORDER BY queue.subscription_id LIMIT 1) \
                 FROM of WHERE of.subscription_id IS NOT NULL) \
                 SELECT subscription_id FROM of WHERE subscription_id IS NOT NULL";
            let found = client.query(query, &[]).await?;
            Ok(found.iter().map(|row| SubscriptionId::from_uuid(row.get(0))).collect())
        })
        .await
    }

    async fn wake(
        &self,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        self.ask("wake a queue", async |client| {
            let update = "UPDATE queue SET asleep = false, due_at = greatest(free_at, $2) \
                 WHERE position IN (SELECT position FROM queue \
                     WHERE subscription_id = $1 AND asleep ORDER BY position LIMIT $3)";
            let woken = client.execute(update, &[subscription.as_uuid(), &now, &WAKEN]).await?;
            Ok(woken >= WAKEN.unsigned_abs())
        })
        .await
    }

    async fn depth(
        &self,
        customer: CustomerId,
        subscription: SubscriptionId,
        now: OffsetDateTime,
    ) -> Result<Depth, StoreError> {
        self.ask("measure a queue", async |client| {
            let query = "SELECT count(*), count(*) FILTER (WHERE lease IS NOT NULL \
                     AND free_at > $3), min(enqueued_at) \
                 FROM (SELECT lease, free_at, enqueued_at FROM queue \
                     WHERE subscription_id = $1 AND customer_id = $2 LIMIT $4) AS first";
            let of = [subscription.as_uuid(), customer.as_uuid()];
            let row = client.query_one(query, &[of[0], of[1], &now, &rows(Depth::MOST)]).await?;
            let count = |at: usize| usize::try_from(row.get::<_, i64>(at)).unwrap_or_default();
            Ok(Depth { rows: count(0), leased: count(1), oldest: row.get(2) })
        })
        .await
    }
}

impl PostgresControl {
    /// Does `update` ($5 is the instant) to the rows that a lease holds.
    async fn move_lease(
        &self,
        operation: &'static str,
        update: &str,
        (customer, subscription): (CustomerId, SubscriptionId),
        lease: Uuid,
        (deliveries, at): (Option<&[DeliveryId]>, OffsetDateTime),
    ) -> Result<Vec<DeliveryId>, StoreError> {
        self.ask(operation, async |client| {
            let update = format!(
                "{update} WHERE lease = $1 AND subscription_id = $2 AND customer_id = $3 \
                 AND ($4::uuid[] IS NULL OR delivery_id = ANY($4)) RETURNING delivery_id"
            );
            let update = client.prepare_cached(&update).await?;
            let (of, named) = ([subscription.as_uuid(), customer.as_uuid()], deliveries.map(uuids));
            Ok(ids(&client.query(&update, &[&lease, of[0], of[1], &named, &at]).await?))
        })
        .await
    }
}

/// Until the transaction ends, nobody else adds rows with keys to these subscriptions, or takes
/// them away. In their order, so that two don't wait for each other.
async fn lock(
    transaction: &Transaction<'_>,
    subscriptions: impl Iterator<Item = SubscriptionId>,
) -> Result<(), Fault> {
    let mut all: Vec<_> =
        subscriptions.map(|id| id.as_uuid().as_u64_pair().1.cast_signed()).collect();
    all.sort_unstable();
    all.dedup();
    if !all.is_empty() {
        let lock = "SELECT pg_advisory_xact_lock(id) FROM unnest($1::bigint[]) AS locked (id)";
        let lock = transaction.prepare_cached(lock).await?;
        transaction.query(&lock, &[&all]).await?;
    }
    Ok(())
}

/// Makes the first row of each key a head.
async fn promote(
    transaction: &Transaction<'_>,
    keys: impl Iterator<Item = (SubscriptionId, Uuid)>,
) -> Result<(), Fault> {
    let (of, keys): (Vec<Uuid>, Vec<Uuid>) = keys.map(|(id, key)| (*id.as_uuid(), key)).unzip();
    if keys.is_empty() {
        return Ok(());
    }
    let update = "UPDATE queue SET head = true WHERE NOT head AND position IN ( \
         SELECT first.position FROM unnest($1::uuid[], $2::uuid[]) AS touched (id, key), \
             LATERAL (SELECT position FROM queue \
                 WHERE subscription_id = touched.id AND order_key = touched.key \
                 ORDER BY position LIMIT 1) AS first)";
    let update = transaction.prepare_cached(update).await?;
    transaction.execute(&update, &[&of, &keys]).await?;
    Ok(())
}

/// Leases those of the rows that the helping has room for, and returns them in their order.
async fn take_all(
    transaction: &Transaction<'_>,
    take: &str,
    found: &[Row],
    lease: Lease,
    helping: Helping,
) -> Result<Vec<Queued>, Fault> {
    let size = |row: &Row| {
        let bytes: i32 = row.get(1);
        (row.get::<_, i64>(0), usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    let positions = within(found.iter().map(size), helping.bytes);
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let take = transaction.prepare_cached(take).await?;
    let values = (&positions, &lease.id, &lease.now, &lease.until);
    let mut taken = transaction.query(&take, &[values.0, values.1, values.2, values.3]).await?;
    taken.sort_by_key(|row| {
        let position: i64 = row.get(0);
        positions.iter().position(|one| *one == position)
    });
    taken.iter().map(queued).collect()
}

fn queued(row: &Row) -> Result<Queued, Fault> {
    Ok(Queued {
        customer_id: CustomerId::from_uuid(row.get(1)),
        subscription_id: SubscriptionId::from_uuid(row.get(2)),
        delivery_id: DeliveryId::from_uuid(row.get(3)),
        key: row.get(4),
        record: row.get(5),
        attempt: attempt(row, 6)?,
        last_attempt: attempt(row, 7)?,
        enqueued_at: row.get(8),
    })
}

fn attempt(row: &Row, at: usize) -> Result<u32, Fault> {
    let found: i32 = row.get(at);
    u32::try_from(found).map_err(|_| Fault::row("queue")(format!("the attempt {found}")))
}

fn number(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn uuids(deliveries: &[DeliveryId]) -> Vec<Uuid> {
    deliveries.iter().map(|id| *id.as_uuid()).collect()
}

fn ids(rows: &[Row]) -> Vec<DeliveryId> {
    rows.iter().map(|row| DeliveryId::from_uuid(row.get(0))).collect()
}
