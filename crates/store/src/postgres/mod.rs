//! Customers, API keys, schemas, subscriptions and the audit trail in PostgreSQL.
//!
//! Where it is, and with which TLS it is reached: [`address`]. A pool of connections ([`exchange`]): every wait has a limit on this side too, so that a
//! server that is gone, or is there and says nothing, is an error within seconds and never a
//! hang. A **listener** ([`listen`]) has a connection of its own and hears of changes that any
//! process makes.
//!
//! Locks are taken in one order, so that changes at once wait for each other but never in a
//! circle: the customer's row, then a key's or a subscription's, then the revision
//! ([`next_revision`]), then the rest of the customer's.

mod address;
mod audit;
mod customers;
mod erasures;
mod exchange;
mod failing;
mod keys;
mod listen;
mod queue;
mod replays;
mod schemas;
mod subscriptions;

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_postgres::{Row, Transaction};
use triggerline_types::{
    Actor, ApiKey, ApiKeyId, AuditEntry, AuditId, Customer, CustomerId, EventType, Revision,
    Schema, SchemaMode, Subscription, SubscriptionId, truncate_to_millis,
};

use crate::control::seal::SecretKeys;
use crate::control::{
    Access, AccessChanges, Changes, ControlStore, CustomerChange, Edited, KeyCreation, KeyRotation,
    NewCustomer, NewSubscription, SchemaPut, SubscriptionCreation, SubscriptionEdit,
};
use crate::error::StoreError;
use address::Address;
use exchange::Fault;
use listen::Listener;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The advisory lock that migrations are made under: "tline" in ASCII.
const MIGRATION_LOCK: i64 = 0x74_6c69_6e65;

pub struct PostgresControl {
    pool: Pool,
    keys: SecretKeys,
    /// For the listener's own connection.
    address: Address,
    ticks: watch::Sender<u64>,
    /// From the first call of `changes` on: who doesn't follow costs no connection.
    listener: OnceLock<Listener>,
}

impl PostgresControl {
    /// Reads the address. The server is first asked when something is wanted of it. Secrets are
    /// sealed and opened with `keys`.
    pub fn connect(url: &str, keys: SecretKeys) -> Result<Self, StoreError> {
        let mut address = Address::parse(url)?;
        exchange::be_impatient(&mut address.config);
        let pool = exchange::pool(address.clone())?;
        Ok(Self { pool, keys, address, ticks: watch::Sender::new(0), listener: OnceLock::new() })
    }
}

/// The next number of the one sequence; nobody else gets one until this transaction ends.
async fn next_revision(transaction: &Transaction<'_>) -> Result<Revision, tokio_postgres::Error> {
    let update = "UPDATE subscription_revision SET value = value + 1 RETURNING value";
    Ok(Revision(transaction.query_one(update, &[]).await?.get(0)))
}

/// A number of rows as LIMIT takes it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Back from [`count`].
fn number(row: &Row, table: &'static str, at: usize) -> Result<u64, Fault> {
    let found: i64 = row.get(at);
    u64::try_from(found).map_err(|_| Fault::row(table)(format!("the number {found}")))
}

/// As an interval takes them.
fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}

#[async_trait]
impl ControlStore for PostgresControl {
    async fn migrate(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "migrate PostgreSQL";
        // A migration may take longer than a request, so from here on only TCP limits the wait;
        // that the server answers at all is found out first.
        let mut client = self
            .ask_and_keep(OPERATION, async |client: &mut Object| {
                Ok(client.batch_execute("SET statement_timeout = 0").await?)
            })
            .await?;
        // The lock lets only one process do it.
        client
            .query_one("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(|error| exchange::Fault::Sql(error).into_store_error(OPERATION))?;
        let migrated = embedded::migrations::runner().run_async(&mut **client).await;
        // The session ends with the connection, and the lock with it.
        drop(Object::take(client));
        migrated
            .map(drop)
            .map_err(|error| StoreError::Failed { operation: OPERATION, source: error.into() })
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
        self.listener.get_or_init(|| Listener::start(self.address.clone(), self.ticks.clone()));
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
