//! Customers who are forgotten.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::{Row, Transaction};
use triggerline_types::{Actor, CustomerId, Erased, Erasure, SubscriptionId};
use uuid::Uuid;

use super::exchange::Fault;
use super::{
    PostgresControl, audit, count, customers, failing, milliseconds, next_revision, now, number,
    rows, schemas,
};
use crate::control::endpoint::Columns;
use crate::control::erasures::{AT_ONCE, ErasureStore, NOWHERE, nothing};
use crate::control::trail;
use crate::error::StoreError;
use crate::retention::{Retention, days};

const FIELDS: &str = "customer_id, requested_at, topics_until, erased_at, completed_at, api_keys, \
     subscriptions, schemas, replays, queued, events";

#[async_trait]
impl ErasureStore for PostgresControl {
    async fn erase_customer(
        &self,
        id: CustomerId,
        topics_until: OffsetDateTime,
        by: Actor,
    ) -> Result<Option<Erasure>, StoreError> {
        self.change("begin to erase a customer", async |transaction| {
            if customers::lock(transaction, id).await?.is_some() {
                let at = now();
                let update = "UPDATE customers SET name = '', plan = 'default', rate_limit = NULL, \
                     retention_days = NULL, erased_at = $2 WHERE id = $1";
                transaction.execute(update, &[id.as_uuid(), &at]).await?;
                let keys = count(erase_keys(transaction, id).await?);
                let insert = "INSERT INTO erasures (customer_id, requested_at, topics_until, due_at, \
                     api_keys, subscriptions, schemas, replays, queued, events) \
                     VALUES ($1, $2, $3, $2, $4, 0, 0, 0, 0, 0)";
                transaction.execute(insert, &[id.as_uuid(), &at, &topics_until, &keys]).await?;
                let entry = trail::entry(id, by, trail::CUSTOMER_ERASED, id, at);
                audit::record(transaction, entry).await?;
            }
            let query = format!("SELECT {FIELDS} FROM erasures WHERE customer_id = $1");
            let row = transaction.query_opt(&query, &[id.as_uuid()]).await?;
            row.as_ref().map(erasure).transpose()
        })
        .await
    }

    async fn erasure(&self, customer: CustomerId) -> Result<Option<Erasure>, StoreError> {
        self.ask("read an erasure", async |client| {
            let query = format!("SELECT {FIELDS} FROM erasures WHERE customer_id = $1");
            let row = client.query_opt(&query, &[customer.as_uuid()]).await?;
            row.as_ref().map(erasure).transpose()
        })
        .await
    }

    async fn claim_erasure(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Erasure>, StoreError> {
        self.ask("claim an erasure", async |client| {
            // By the server's clock, which all who ask share.
            let update = format!(
                "UPDATE erasures SET owner = $1, leased_until = now() + $2 * interval '1 ms' \
                 WHERE customer_id = (SELECT customer_id FROM erasures WHERE due_at <= now() \
                     AND (leased_until IS NULL OR leased_until < now()) \
                     ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING {FIELDS}"
            );
            let statement = client.prepare_cached(&update).await?;
            let row = client.query_opt(&statement, &[&owner, &milliseconds(lease)]).await?;
            row.as_ref().map(erasure).transpose()
        })
        .await
    }

    async fn erase_set_up(&self, customer: CustomerId) -> Result<(Erased, bool), StoreError> {
        self.change("erase what a customer had set up", async |transaction| {
            let subscriptions = erase_subscriptions(self, transaction, customer).await?;
            let queued = "DELETE FROM queue WHERE position IN (\
                 SELECT position FROM queue WHERE subscription_id IN \
                     (SELECT id FROM subscriptions WHERE customer_id = $1) LIMIT $2)";
            let queued = transaction.execute(queued, &[customer.as_uuid(), &rows(AT_ONCE)]).await?;
            let replays = "DELETE FROM replays WHERE customer_id = $1";
            let erased = Erased {
                api_keys: erase_keys(transaction, customer).await?,
                subscriptions,
                schemas: schemas::erase(transaction, customer).await?,
                replays: transaction.execute(replays, &[customer.as_uuid()]).await?,
                queued,
                events: 0,
            };
            Ok((erased, subscriptions.max(queued) >= AT_ONCE as u64))
        })
        .await
    }

    async fn keep_erasure(
        &self,
        erasure: &Erasure,
        owner: Uuid,
        due: Option<OffsetDateTime>,
        lease: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.ask("keep how far an erasure is", async |client| {
            let update = "UPDATE erasures SET erased_at = $3, completed_at = $4, api_keys = $5, \
                 subscriptions = $6, schemas = $7, replays = $8, queued = $9, events = $10, \
                 due_at = $11, leased_until = now() + $12 * interval '1 ms' \
                 WHERE customer_id = $1 AND owner = $2";
            let Erased { api_keys, subscriptions, schemas, replays, queued, events } =
                erasure.erased;
            let changed = client
                .execute(
                    update,
                    &[
                        erasure.customer_id.as_uuid(),
                        &owner,
                        &erasure.erased_at,
                        &erasure.completed_at,
                        &count(api_keys),
                        &count(subscriptions),
                        &count(schemas),
                        &count(replays),
                        &count(queued),
                        &count(events),
                        &due,
                        &lease.map(milliseconds),
                    ],
                )
                .await?;
            Ok(changed > 0)
        })
        .await
    }

    async fn retention(&self, standard: Option<Duration>) -> Result<Retention, StoreError> {
        self.ask("ask how long events are kept", async |client| {
            let query = "SELECT id, retention_days, erased_at FROM customers \
                 WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL";
            let statement = client.prepare_cached(query).await?;
            let mut retention = Retention::of_all(standard);
            for row in client.query(&statement, &[]).await? {
                let id = CustomerId::from_uuid(row.get(0));
                if row.get::<_, Option<OffsetDateTime>>(2).is_some() {
                    retention.erased.insert(id);
                } else if let Some(own) = customers::retention(row.get(1))? {
                    retention.own.insert(id, days(own));
                }
            }
            Ok(retention)
        })
        .await
    }
}

/// They stay for those who follow them, revoked, with neither name nor hint.
async fn erase_keys(transaction: &Transaction<'_>, customer: CustomerId) -> Result<u64, Fault> {
    let any = "SELECT 1 FROM api_keys WHERE customer_id = $1 \
         AND (revoked_at IS NULL OR name <> '') LIMIT 1";
    if transaction.query_opt(any, &[customer.as_uuid()]).await?.is_none() {
        return Ok(0);
    }
    let revision = next_revision(transaction).await?;
    // Locked in the order of their ids, as `touch` does.
    let update = "UPDATE api_keys k SET revision = $2, name = '', hint = '', \
         revoked_at = coalesce(revoked_at, $3) FROM (SELECT id FROM api_keys \
         WHERE customer_id = $1 AND (revoked_at IS NULL OR name <> '') \
         ORDER BY id FOR NO KEY UPDATE) locked WHERE k.id = locked.id";
    Ok(transaction.execute(update, &[customer.as_uuid(), &revision.0, &now()]).await?)
}

async fn erase_subscriptions(
    store: &PostgresControl,
    transaction: &Transaction<'_>,
    customer: CustomerId,
) -> Result<u64, Fault> {
    let query = "SELECT id FROM subscriptions WHERE customer_id = $1 AND url <> $2 \
         ORDER BY id LIMIT $3 FOR NO KEY UPDATE";
    let some = rows(AT_ONCE);
    let found = transaction.query(query, &[customer.as_uuid(), &NOWHERE, &some]).await?;
    let update = "UPDATE subscriptions SET state = 'deleted', reason = NULL, workflow_id = '', \
         event_types = '', jsonpath = NULL, pattern = NULL, url = $2, secret = $3, \
         old_secrets = $4, settings = $5, revision = $6, updated_at = $7 WHERE id = $1";
    let update = transaction.prepare(update).await?;
    for row in &found {
        let id = SubscriptionId::from_uuid(row.get(0));
        let revision = next_revision(transaction).await?;
        let Columns { secret, old_secrets, settings } = nothing(id, &store.keys);
        let id = id.as_uuid();
        transaction
            .execute(
                &update,
                &[id, &NOWHERE, &secret, &old_secrets, &settings, &revision.0, &now()],
            )
            .await?;
        failing::forget(transaction, SubscriptionId::from_uuid(*id)).await?;
    }
    Ok(found.len() as u64)
}

fn erasure(row: &Row) -> Result<Erasure, Fault> {
    let number = |at| number(row, "erasures", at);
    Ok(Erasure {
        customer_id: CustomerId::from_uuid(row.get(0)),
        requested_at: row.get(1),
        topics_until: row.get(2),
        erased_at: row.get(3),
        completed_at: row.get(4),
        erased: Erased {
            api_keys: number(5)?,
            subscriptions: number(6)?,
            schemas: number(7)?,
            replays: number(8)?,
            queued: number(9)?,
            events: number(10)?,
        },
    })
}
