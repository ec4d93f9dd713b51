//! Customers, API keys, schemas, subscriptions and the audit trail in a SQLite file.
//!
//! Whatever changes something is one transaction that writes ([`SqliteControl::change`]), of
//! which SQLite allows one at a time: nothing here needs a lock of its own. Who follows the
//! changes is woken by those made through the same [`SqliteControl`].

mod audit;
mod customers;
mod erasures;
mod failing;
mod keys;
mod queue;
mod replays;
mod schemas;
mod subscriptions;

use std::path::Path;

use async_trait::async_trait;
use libsql::{Connection, Rows};
use time::OffsetDateTime;
use tokio::sync::watch;
use triggerline_types::{
    Actor, ApiKey, ApiKeyId, AuditEntry, AuditId, Customer, CustomerId, EventType, Revision,
    Schema, SchemaMode, Subscription, SubscriptionId, truncate_to_millis,
};

use super::{Fault, Lite};
use crate::control::seal::SecretKeys;
use crate::control::{
    Access, AccessChanges, Changes, ControlStore, CustomerChange, Edited, KeyCreation, KeyRotation,
    NewCustomer, NewSubscription, SchemaPut, SubscriptionCreation, SubscriptionEdit,
};
use crate::error::StoreError;

const MIGRATIONS: &[&str] = &[
    include_str!("../control.sql"),
    include_str!("../control_2.sql"),
    include_str!("../control_3.sql"),
    include_str!("../control_4.sql"),
    include_str!("../control_5.sql"),
    include_str!("../control_6.sql"),
    include_str!("../control_7.sql"),
    include_str!("../control_8.sql"),
    include_str!("../control_9.sql"),
];

pub struct SqliteControl {
    lite: Lite,
    keys: SecretKeys,
    ticks: watch::Sender<u64>,
}

impl SqliteControl {
    /// Opens the file, making it and its folder if they are missing. Secrets are sealed and opened
    /// with `keys`.
    pub async fn open(path: &Path, keys: SecretKeys) -> Result<Self, StoreError> {
        Ok(Self { lite: Lite::open(path).await?, keys, ticks: watch::Sender::new(0) })
    }

    /// Does `work` in a transaction that writes, then wakes who follows.
    async fn change<R: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, StoreError> {
        let result = self.lite.write(operation, work).await;
        self.ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
        result
    }
}

/// The next number of the one sequence. The transaction writes, so it is the only one.
async fn next_revision(connection: &Connection) -> Result<Revision, Fault> {
    let update = "UPDATE revision SET value = value + 1 RETURNING value";
    let mut rows = connection.query(update, ()).await?;
    let row = rows.next().await?.ok_or_else(|| Fault::row("revision", "no row"))?;
    let value = row.get(0)?;
    // Until it has been stepped to its end, the statement isn't done.
    while rows.next().await?.is_some() {}
    Ok(Revision(value))
}

/// All rows, each as `read` reads it.
async fn collect<T>(
    mut rows: Rows,
    read: impl Fn(&libsql::Row) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().await? {
        all.push(read(&row)?);
    }
    Ok(all)
}

/// A number of rows as LIMIT takes it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Back from [`count`].
fn number(row: &libsql::Row, table: &'static str, at: i32) -> Result<u64, Fault> {
    let found: i64 = row.get(at)?;
    u64::try_from(found).map_err(|_| Fault::row(table, format!("the number {found}")))
}

fn blob(id: &uuid::Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}

#[async_trait]
impl ControlStore for SqliteControl {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.lite.migrate(MIGRATIONS).await
    }

    async fn create_customer(&self, new: NewCustomer, by: Actor) -> Result<Customer, StoreError> {
        customers::create(self, new, by).await
    }

    async fn create_customer_with_key(
        &self,
        new: NewCustomer,
        key: &ApiKey,
        by: Actor,
    ) -> Result<Customer, StoreError> {
        customers::create_with_key(self, new, key, by).await
    }

    async fn customer(&self, id: CustomerId) -> Result<Option<Customer>, StoreError> {
        customers::one(self, id).await
    }

    async fn customers(
        &self,
        after: Option<CustomerId>,
        limit: usize,
    ) -> Result<Vec<Customer>, StoreError> {
        customers::page(self, after, limit).await
    }

    async fn update_customer(
        &self,
        id: CustomerId,
        change: CustomerChange,
        by: Actor,
    ) -> Result<Option<Customer>, StoreError> {
        customers::update(self, id, change, by).await
    }

    async fn create_api_key(&self, key: &ApiKey, by: Actor) -> Result<KeyCreation, StoreError> {
        keys::create(self, key, by).await
    }

    async fn api_keys(&self, customer: CustomerId) -> Result<Vec<ApiKey>, StoreError> {
        keys::all(self, customer).await
    }

    async fn api_key_of(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        keys::one(self, customer, id).await
    }

    async fn access(&self, hash: &[u8; 32]) -> Result<Option<Access>, StoreError> {
        keys::access(self, hash).await
    }

    async fn revoke_api_key(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
        by: Actor,
    ) -> Result<Option<ApiKey>, StoreError> {
        keys::revoke(self, customer, id, by).await
    }

    async fn rotate_api_key(
        &self,
        customer: CustomerId,
        id: ApiKeyId,
        new: &ApiKey,
        old_expires_at: OffsetDateTime,
        by: Actor,
    ) -> Result<KeyRotation, StoreError> {
        keys::rotate(self, customer, id, new, old_expires_at, by).await
    }

    async fn touch_api_keys(&self, used: &[(ApiKeyId, OffsetDateTime)]) -> Result<(), StoreError> {
        keys::touch(self, used).await
    }

    async fn access_changes(&self, after: Option<Revision>) -> Result<AccessChanges, StoreError> {
        keys::changes(self, after).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    async fn put_schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
        mode: SchemaMode,
        document: &str,
        by: Actor,
    ) -> Result<SchemaPut, StoreError> {
        schemas::put(self, customer, event_type, mode, document, by).await
    }

    async fn schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
    ) -> Result<Option<Schema>, StoreError> {
        schemas::one(self, customer, event_type).await
    }

    async fn schemas(&self, customer: CustomerId) -> Result<Vec<Schema>, StoreError> {
        schemas::all(self, customer).await
    }

    async fn delete_schema(
        &self,
        customer: CustomerId,
        event_type: &EventType,
        by: Actor,
    ) -> Result<bool, StoreError> {
        schemas::delete(self, customer, event_type, by).await
    }

    async fn create_subscription(
        &self,
        new: NewSubscription,
        by: Actor,
    ) -> Result<SubscriptionCreation, StoreError> {
        subscriptions::create(self, new, by).await
    }

    async fn subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        subscriptions::one(self, customer, id).await
    }

    async fn subscriptions(
        &self,
        customer: CustomerId,
        after: Option<SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        subscriptions::page(self, customer, after, limit).await
    }

    async fn edit_subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        edit: SubscriptionEdit,
        expected: Option<Revision>,
        by: Actor,
    ) -> Result<Edited, StoreError> {
        subscriptions::edit(self, customer, id, edit, expected, by).await
    }

    async fn endpoint_failed(
        &self,
        id: SubscriptionId,
        at: OffsetDateTime,
    ) -> Result<OffsetDateTime, StoreError> {
        failing::failed(self, id, at).await
    }

    async fn endpoint_recovered(&self, id: SubscriptionId) -> Result<(), StoreError> {
        failing::recovered(self, id).await
    }

    async fn failing_endpoints(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        failing::all(self).await
    }

    async fn changes_since(&self, after: Revision, limit: usize) -> Result<Changes, StoreError> {
        subscriptions::changes_since(self, after, limit).await
    }

    async fn reseal(&self) -> Result<u64, StoreError> {
        subscriptions::reseal(self).await
    }

    async fn audit(
        &self,
        customer: CustomerId,
        after: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        audit::page(self, customer, after, limit).await
    }
}
