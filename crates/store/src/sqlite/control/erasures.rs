//! Customers who are forgotten.

use std::time::Duration;

use async_trait::async_trait;
use libsql::{Connection, Row, params};
use time::OffsetDateTime;
use triggerline_types::{Actor, CustomerId, Erased, Erasure, SubscriptionId, millis};
use uuid::Uuid;

use super::super::{Fault, column};
use super::{
    SqliteControl, audit, blob, collect, count, customers, failing, next_revision, now, number,
    rows, schemas,
};
use crate::control::endpoint::Columns;
use crate::control::erasures::{AT_ONCE, ErasureStore, NOWHERE, nothing};
use crate::control::seal::SecretKeys;
use crate::control::trail;
use crate::error::StoreError;
use crate::retention::{Retention, days};

const ERASURE: &str = "SELECT customer_id, requested_at, topics_until, erased_at, completed_at, \
     api_keys, subscriptions, schemas, replays, queued, events FROM erasures";
const TABLE: &str = "erasures";

#[async_trait]
impl ErasureStore for SqliteControl {
    async fn erase_customer(
        &self,
        id: CustomerId,
        topics_until: OffsetDateTime,
        by: Actor,
    ) -> Result<Option<Erasure>, StoreError> {
        self.change("begin to erase a customer", async move |connection: &Connection| {
            if customers::find(connection, id).await?.is_some() {
                let at = now();
                let update = "UPDATE customers SET name = '', plan = 'default', rate_limit = NULL, \
                     retention_days = NULL, erased_at = ?2 WHERE id = ?1";
                connection.execute(update, params![blob(id.as_uuid()), millis(at)]).await?;
                let keys = erase_keys(connection, id).await?;
                let insert = "INSERT INTO erasures (customer_id, requested_at, topics_until, due_at, \
                     api_keys, subscriptions, schemas, replays, queued, events) \
                     VALUES (?1, ?2, ?3, ?2, ?4, 0, 0, 0, 0, 0)";
                let values =
                    params![blob(id.as_uuid()), millis(at), millis(topics_until), count(keys)];
                connection.execute(insert, values).await?;
                let entry = trail::entry(id, by, trail::CUSTOMER_ERASED, id, at);
                audit::record(connection, entry).await?;
            }
            find(connection, id).await
        })
        .await
    }

    async fn erasure(&self, customer: CustomerId) -> Result<Option<Erasure>, StoreError> {
        let read = async move |connection: &Connection| find(connection, customer).await;
        self.lite.read("read an erasure", read).await
    }

    async fn claim_erasure(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Erasure>, StoreError> {
        let is_due = "due_at <= ?1 AND (leased_until IS NULL OR leased_until < ?1)";
        // Looked for first without writing, because mostly there is none.
        let look = async move |connection: &Connection| {
            let query = format!("SELECT 1 FROM erasures WHERE {is_due} LIMIT 1");
            let found = connection.query(&query, params![millis(now())]).await?;
            Ok(!collect(found, |_| Ok(())).await?.is_empty())
        };
        if !self.lite.read("look for erasures", look).await? {
            return Ok(None);
        }
        let claim = async move |connection: &Connection| {
            let now = now();
            let query = format!("{ERASURE} WHERE {is_due} ORDER BY due_at LIMIT 1");
            let found = connection.query(&query, params![millis(now)]).await?;
            let Some(found) = collect(found, erasure).await?.pop() else {
                return Ok(None);
            };
            let update = "UPDATE erasures SET owner = ?2, leased_until = ?3 WHERE customer_id = ?1";
            let id = blob(found.customer_id.as_uuid());
            connection.execute(update, params![id, blob(&owner), millis(now + lease)]).await?;
            Ok(Some(found))
        };
        self.lite.write("claim an erasure", claim).await
    }

    async fn erase_set_up(&self, customer: CustomerId) -> Result<(Erased, bool), StoreError> {
        let keys = self.keys.clone();
        self.change("erase what a customer had set up", async move |connection: &Connection| {
            let subscriptions = erase_subscriptions(connection, &keys, customer).await?;
            let queued = "DELETE FROM queue WHERE position IN (\
                 SELECT position FROM queue WHERE subscription_id IN \
                     (SELECT id FROM subscriptions WHERE customer_id = ?1) LIMIT ?2)";
            let id = || blob(customer.as_uuid());
            let queued = connection.execute(queued, params![id(), rows(AT_ONCE)]).await?;
            let replays = "DELETE FROM replays WHERE customer_id = ?1";
            let erased = Erased {
                api_keys: erase_keys(connection, customer).await?,
                subscriptions,
                schemas: schemas::erase(connection, customer).await?,
                replays: connection.execute(replays, params![id()]).await?,
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
        let erasure = erasure.clone();
        let write = async move |connection: &Connection| {
            let update = "UPDATE erasures SET erased_at = ?3, completed_at = ?4, api_keys = ?5, \
                 subscriptions = ?6, schemas = ?7, replays = ?8, queued = ?9, events = ?10, \
                 due_at = ?11, leased_until = ?12 WHERE customer_id = ?1 AND owner = ?2";
            let Erased { api_keys, subscriptions, schemas, replays, queued, events } =
                erasure.erased;
            let values = params![
                blob(erasure.customer_id.as_uuid()),
                blob(&owner),
                erasure.erased_at.map(millis),
                erasure.completed_at.map(millis),
                count(api_keys),
                count(subscriptions),
                count(schemas),
                count(replays),
                count(queued),
                count(events),
                due.map(millis),
                lease.map(|lease| millis(now() + lease))
            ];
            Ok(connection.execute(update, values).await? > 0)
        };
        self.lite.write("keep how far an erasure is", write).await
    }

    async fn retention(&self, standard: Option<Duration>) -> Result<Retention, StoreError> {
        let read = async move |connection: &Connection| {
            let query = "SELECT id, retention_days, erased_at FROM customers \
                 WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL";
            let mut retention = Retention::of_all(standard);
            let mut found = connection.query(query, ()).await?;
            while let Some(row) = found.next().await? {
                let id = CustomerId::from_uuid(column::id(&row, "customers", 0)?);
                if row.get::<Option<i64>>(2)?.is_some() {
                    retention.erased.insert(id);
                } else if let Some(own) = customers::retention(row.get(1)?)? {
                    retention.own.insert(id, days(own));
                }
            }
            Ok(retention)
        };
        self.lite.read("ask how long events are kept", read).await
    }
}

/// They stay for those who follow them, revoked, with neither name nor hint.
async fn erase_keys(connection: &Connection, customer: CustomerId) -> Result<u64, Fault> {
    let revision = next_revision(connection).await?;
    let update = "UPDATE api_keys SET revision = ?2, name = '', hint = '', \
         revoked_at = coalesce(revoked_at, ?3) \
         WHERE customer_id = ?1 AND (revoked_at IS NULL OR name <> '')";
    let values = params![blob(customer.as_uuid()), revision.0, millis(now())];
    Ok(connection.execute(update, values).await?)
}

async fn erase_subscriptions(
    connection: &Connection,
    keys: &SecretKeys,
    customer: CustomerId,
) -> Result<u64, Fault> {
    let query = "SELECT id FROM subscriptions WHERE customer_id = ?1 AND url <> ?2 \
         ORDER BY id LIMIT ?3";
    let values = params![blob(customer.as_uuid()), NOWHERE, rows(AT_ONCE)];
    let found = connection.query(query, values).await?;
    let found = collect(found, |row| column::id(row, "subscriptions", 0)).await?;
    let update = "UPDATE subscriptions SET state = 'deleted', reason = NULL, workflow_id = '', \
         event_types = '', jsonpath = NULL, pattern = NULL, url = ?2, secret = ?3, \
         old_secrets = ?4, settings = ?5, revision = ?6, updated_at = ?7 WHERE id = ?1";
    for id in &found {
        let revision = next_revision(connection).await?;
        let Columns { secret, old_secrets, settings } =
            nothing(SubscriptionId::from_uuid(*id), keys);
        let now = millis(now());
        let values = params![blob(id), NOWHERE, secret, old_secrets, settings, revision.0, now];
        connection.execute(update, values).await?;
        failing::forget(connection, SubscriptionId::from_uuid(*id)).await?;
    }
    Ok(found.len() as u64)
}

async fn find(connection: &Connection, id: CustomerId) -> Result<Option<Erasure>, Fault> {
    let query = format!("{ERASURE} WHERE customer_id = ?1");
    let found = connection.query(&query, params![blob(id.as_uuid())]).await?;
    Ok(collect(found, erasure).await?.pop())
}

fn erasure(row: &Row) -> Result<Erasure, Fault> {
    let number = |at| number(row, TABLE, at);
    Ok(Erasure {
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 0)?),
        requested_at: column::instant(row, TABLE, 1)?,
        topics_until: column::instant(row, TABLE, 2)?,
        erased_at: column::instant_or_none(row, TABLE, 3)?,
        completed_at: column::instant_or_none(row, TABLE, 4)?,
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
