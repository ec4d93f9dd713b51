//! Customers, API keys and subscriptions in PostgreSQL.
//!
//! A pool of connections; every wait has a limit, so that a server that is gone is an error
//! within seconds and never a hang. TLS to the server is not built yet.

use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use time::OffsetDateTime;
use tokio_postgres::{NoTls, Row, Transaction};
use triggerline_types::{
    ApiKey, ApiKeyId, Customer, CustomerId, Revision, Subscription, SubscriptionId,
    SubscriptionState, truncate_to_millis,
};

use crate::control::{ControlStore, NewSubscription, fields};
use crate::error::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// For a connection to be made, to be handed out, and for a statement to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 16;
/// The advisory lock that migrations are made under: "tline" in ASCII.
const MIGRATION_LOCK: i64 = 0x74_6c69_6e65;

pub struct PostgresControl {
    pool: Pool,
}

impl PostgresControl {
    /// Reads the address. The server is first asked when something is wanted of it.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let mut config = tokio_postgres::Config::from_str(url)
            .map_err(|error| StoreError::Address(format!("is not a PostgreSQL URL: {error}")))?;
        config.connect_timeout(PATIENCE);
        // A server that went silent is given up by the kernel, not waited for.
        config.tcp_user_timeout(PATIENCE);
        config.application_name("triggerline");
        config.options(format!("-c statement_timeout={}", PATIENCE.as_millis()));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(PATIENCE))
            .wait_timeout(Some(PATIENCE))
            .recycle_timeout(Some(PATIENCE))
            .build()
            .map_err(|error| StoreError::Address(error.to_string()))?;
        Ok(Self { pool })
    }

    async fn client(&self, operation: &'static str) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(operation)(error),
            error => StoreError::Unavailable { operation, source: error.into() },
        })
    }
}

/// What PostgreSQL answered is its last word, unless it says that it is going away (class 57),
/// has no room (53) or that two transactions met (40). No answer at all may be one later.
fn failed(operation: &'static str) -> impl Fn(tokio_postgres::Error) -> StoreError {
    move |error| {
        let final_word = error.code().is_some_and(|state| {
            !["40", "53", "57"].iter().any(|class| state.code().starts_with(class))
        });
        let source = error.into();
        if final_word {
            StoreError::Failed { operation, source }
        } else {
            StoreError::Unavailable { operation, source }
        }
    }
}

const SUBSCRIPTION: &str = "SELECT id, customer_id, workflow_id, event_types, jsonpath, url, \
     secret, state, reason, revision, created_at, updated_at FROM subscriptions";

#[async_trait]
impl ControlStore for PostgresControl {
    async fn migrate(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "migrate PostgreSQL";
        let mut client = self.client(OPERATION).await?;
        let failed = failed(OPERATION);
        // A migration may take longer than a request; the lock lets only one process do it.
        client.batch_execute("SET statement_timeout = 0").await.map_err(&failed)?;
        client
            .query_one("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(&failed)?;
        let migrated = embedded::migrations::runner().run_async(&mut **client).await;
        // The session ends with the connection, and the lock with it.
        drop(Object::take(client));
        migrated
            .map(drop)
            .map_err(|error| StoreError::Failed { operation: OPERATION, source: error.into() })
    }

    async fn create_customer(&self, name: &str) -> Result<Customer, StoreError> {
        const OPERATION: &str = "create a customer";
        let customer = Customer { id: CustomerId::new(), name: name.to_owned(), created_at: now() };
        let insert = "INSERT INTO customers VALUES ($1, $2, $3)";
        self.client(OPERATION)
            .await?
            .execute(insert, &[customer.id.as_uuid(), &customer.name, &customer.created_at])
            .await
            .map_err(failed(OPERATION))?;
        Ok(customer)
    }

    async fn customers(&self) -> Result<Vec<Customer>, StoreError> {
        const OPERATION: &str = "list customers";
        let query = "SELECT id, name, created_at FROM customers ORDER BY id";
        let rows = self.client(OPERATION).await?.query(query, &[]).await;
        let rows = rows.map_err(failed(OPERATION))?;
        let customers = rows.iter().map(|row| Customer {
            id: CustomerId::from_uuid(row.get(0)),
            name: row.get(1),
            created_at: row.get(2),
        });
        Ok(customers.collect())
    }

    async fn create_api_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        const OPERATION: &str = "create an API key";
        let insert = "INSERT INTO api_keys VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.client(OPERATION)
            .await?
            .execute(
                insert,
                &[
                    key.id.as_uuid(),
                    key.customer_id.as_uuid(),
                    &key.name,
                    &&key.hash[..],
                    &fields::scopes_to_text(&key.scopes),
                    &key.created_at,
                    &key.expires_at,
                    &key.revoked_at,
                ],
            )
            .await
            .map_err(failed(OPERATION))?;
        Ok(())
    }

    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        const OPERATION: &str = "look up an API key";
        let query = "SELECT id, customer_id, name, scopes, created_at, expires_at, revoked_at \
             FROM api_keys WHERE hash = $1";
        let client = self.client(OPERATION).await?;
        let statement = client.prepare_cached(query).await.map_err(failed(OPERATION))?;
        let row = client.query_opt(&statement, &[&&hash[..]]).await.map_err(failed(OPERATION))?;
        Ok(row.map(|row| ApiKey {
            id: ApiKeyId::from_uuid(row.get(0)),
            customer_id: CustomerId::from_uuid(row.get(1)),
            name: row.get(2),
            hash: *hash,
            scopes: fields::scopes_from_text(row.get(3)),
            created_at: row.get(4),
            expires_at: row.get(5),
            revoked_at: row.get(6),
        }))
    }

    async fn revoke_api_key(
        &self,
        customer: CustomerId,
        key: ApiKeyId,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "revoke an API key";
        let update = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) \
             WHERE id = $1 AND customer_id = $2";
        self.client(OPERATION)
            .await?
            .execute(update, &[key.as_uuid(), customer.as_uuid(), &now()])
            .await
            .map(|changed| changed > 0)
            .map_err(failed(OPERATION))
    }

    async fn create_subscription(&self, new: NewSubscription) -> Result<Subscription, StoreError> {
        const OPERATION: &str = "create a subscription";
        let failed = failed(OPERATION);
        let mut client = self.client(OPERATION).await?;
        let transaction = client.build_transaction().start().await.map_err(&failed)?;
        let revision = next_revision(&transaction).await.map_err(&failed)?;
        let made = new.into_subscription(revision, now());
        let insert = "INSERT INTO subscriptions \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        transaction
            .execute(
                insert,
                &[
                    made.id.as_uuid(),
                    made.customer_id.as_uuid(),
                    &made.workflow_id,
                    &fields::event_types_to_text(&made.event_types),
                    &made.jsonpath,
                    &made.endpoint.url,
                    &made.endpoint.secret.as_bytes(),
                    &made.state.as_str(),
                    &fields::reason(&made.state),
                    &made.revision.0,
                    &made.created_at,
                    &made.updated_at,
                ],
            )
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(made)
    }

    async fn subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        const OPERATION: &str = "read a subscription";
        let query =
            format!("{SUBSCRIPTION} WHERE id = $1 AND customer_id = $2 AND state <> 'deleted'");
        let client = self.client(OPERATION).await?;
        let row = client.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await;
        row.map_err(failed(OPERATION))?.map(|row| subscription(OPERATION, &row)).transpose()
    }

    async fn subscriptions(&self, customer: CustomerId) -> Result<Vec<Subscription>, StoreError> {
        const OPERATION: &str = "list subscriptions";
        let query =
            format!("{SUBSCRIPTION} WHERE customer_id = $1 AND state <> 'deleted' ORDER BY id");
        let rows = self.client(OPERATION).await?.query(&query, &[customer.as_uuid()]).await;
        let rows = rows.map_err(failed(OPERATION))?;
        rows.iter().map(|row| subscription(OPERATION, row)).collect()
    }

    async fn set_subscription_state(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        state: SubscriptionState,
    ) -> Result<Option<Subscription>, StoreError> {
        const OPERATION: &str = "change a subscription";
        let failed = failed(OPERATION);
        let mut client = self.client(OPERATION).await?;
        let transaction = client.build_transaction().start().await.map_err(&failed)?;
        // Locked before it is judged, so that two changes at once don't overwrite each other.
        let query = format!(
            "{SUBSCRIPTION} WHERE id = $1 AND customer_id = $2 AND state <> 'deleted' FOR UPDATE"
        );
        let row = transaction.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await;
        let Some(row) = row.map_err(&failed)? else {
            return Ok(None);
        };
        let mut changed = subscription(OPERATION, &row)?;
        if changed.state == state {
            return Ok(Some(changed));
        }
        changed.state = state;
        changed.revision = next_revision(&transaction).await.map_err(&failed)?;
        changed.updated_at = now();
        let update = "UPDATE subscriptions SET state = $2, reason = $3, revision = $4, \
             updated_at = $5 WHERE id = $1";
        transaction
            .execute(
                update,
                &[
                    id.as_uuid(),
                    &changed.state.as_str(),
                    &fields::reason(&changed.state),
                    &changed.revision.0,
                    &changed.updated_at,
                ],
            )
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(Some(changed))
    }

    async fn changes_since(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        const OPERATION: &str = "ask for changed subscriptions";
        let query = format!("{SUBSCRIPTION} WHERE revision > $1 ORDER BY revision LIMIT $2");
        let client = self.client(OPERATION).await?;
        let statement = client.prepare_cached(&query).await.map_err(failed(OPERATION))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows =
            client.query(&statement, &[&after.0, &limit]).await.map_err(failed(OPERATION))?;
        rows.iter().map(|row| subscription(OPERATION, row)).collect()
    }
}

/// The next number of the one sequence; nobody else gets one until this transaction ends.
async fn next_revision(transaction: &Transaction<'_>) -> Result<Revision, tokio_postgres::Error> {
    let update = "UPDATE subscription_revision SET value = value + 1 RETURNING value";
    Ok(Revision(transaction.query_one(update, &[]).await?.get(0)))
}

fn subscription(operation: &'static str, row: &Row) -> Result<Subscription, StoreError> {
    let unreadable = |what| StoreError::Unreadable { operation, table: "subscriptions", what };
    Ok(Subscription {
        id: SubscriptionId::from_uuid(row.get(0)),
        customer_id: CustomerId::from_uuid(row.get(1)),
        workflow_id: row.get(2),
        event_types: fields::event_types_from_text(row.get(3)).map_err(unreadable)?,
        jsonpath: row.get(4),
        endpoint: fields::endpoint(row.get(5), row.get(6)).map_err(unreadable)?,
        state: fields::state(row.get(7), row.get(8)).map_err(unreadable)?,
        revision: Revision(row.get(9)),
        created_at: row.get(10),
        updated_at: row.get(11),
    })
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}
