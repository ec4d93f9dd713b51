//! Customers, API keys and subscriptions in a SQLite file.

use std::path::Path;

use async_trait::async_trait;
use libsql::{Connection, Row, params};
use time::OffsetDateTime;
use triggerline_types::{
    ApiKey, ApiKeyId, Customer, CustomerId, Revision, Subscription, SubscriptionId,
    SubscriptionState, millis, truncate_to_millis,
};

use super::{Fault, Lite, column};
use crate::control::{ControlStore, NewSubscription, fields};
use crate::error::StoreError;

const MIGRATIONS: &[&str] = &[include_str!("control.sql")];

pub struct SqliteControl {
    lite: Lite,
}

impl SqliteControl {
    /// Opens the file, making it and its folder if they are missing.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { lite: Lite::open(path).await? })
    }
}

const SUBSCRIPTION: &str = "SELECT id, customer_id, workflow_id, event_types, jsonpath, url, \
     secret, state, reason, revision, created_at, updated_at FROM subscriptions";

#[async_trait]
impl ControlStore for SqliteControl {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.lite.migrate(MIGRATIONS).await
    }

    async fn create_customer(&self, name: &str) -> Result<Customer, StoreError> {
        let customer = Customer { id: CustomerId::new(), name: name.to_owned(), created_at: now() };
        let row = customer.clone();
        self.lite
            .write("create a customer", async move |connection: &Connection| {
                let values = params![blob(row.id.as_uuid()), row.name, millis(row.created_at)];
                connection.execute("INSERT INTO customers VALUES (?1, ?2, ?3)", values).await?;
                Ok(())
            })
            .await?;
        Ok(customer)
    }

    async fn customers(&self) -> Result<Vec<Customer>, StoreError> {
        self.lite
            .read("list customers", async |connection: &Connection| {
                let query = "SELECT id, name, created_at FROM customers ORDER BY id";
                let mut rows = connection.query(query, ()).await?;
                let mut customers = Vec::new();
                while let Some(row) = rows.next().await? {
                    customers.push(Customer {
                        id: CustomerId::from_uuid(column::id(&row, "customers", 0)?),
                        name: row.get(1)?,
                        created_at: column::instant(&row, "customers", 2)?,
                    });
                }
                Ok(customers)
            })
            .await
    }

    async fn create_api_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.lite
            .write("create an API key", async move |connection: &Connection| {
                let values = params![
                    blob(key.id.as_uuid()),
                    blob(key.customer_id.as_uuid()),
                    key.name,
                    key.hash.to_vec(),
                    fields::scopes_to_text(&key.scopes),
                    millis(key.created_at),
                    key.expires_at.map(millis),
                    key.revoked_at.map(millis)
                ];
                let insert = "INSERT INTO api_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
                connection.execute(insert, values).await?;
                Ok(())
            })
            .await
    }

    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let hash = *hash;
        self.lite
            .read("look up an API key", async move |connection: &Connection| {
                let query = "SELECT id, customer_id, name, scopes, created_at, expires_at, \
                             revoked_at FROM api_keys WHERE hash = ?1";
                let mut rows = connection.query(query, params![hash.to_vec()]).await?;
                let Some(row) = rows.next().await? else {
                    return Ok(None);
                };
                Ok(Some(ApiKey {
                    id: ApiKeyId::from_uuid(column::id(&row, "api_keys", 0)?),
                    customer_id: CustomerId::from_uuid(column::id(&row, "api_keys", 1)?),
                    name: row.get(2)?,
                    hash,
                    scopes: fields::scopes_from_text(&row.get::<String>(3)?),
                    created_at: column::instant(&row, "api_keys", 4)?,
                    expires_at: column::instant_or_none(&row, "api_keys", 5)?,
                    revoked_at: column::instant_or_none(&row, "api_keys", 6)?,
                }))
            })
            .await
    }

    async fn revoke_api_key(
        &self,
        customer: CustomerId,
        key: ApiKeyId,
    ) -> Result<bool, StoreError> {
        self.lite
            .write("revoke an API key", async move |connection: &Connection| {
                let update = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?3) \
                              WHERE id = ?1 AND customer_id = ?2";
                let values = params![blob(key.as_uuid()), blob(customer.as_uuid()), millis(now())];
                Ok(connection.execute(update, values).await? > 0)
            })
            .await
    }

    async fn create_subscription(&self, new: NewSubscription) -> Result<Subscription, StoreError> {
        self.lite
            .write("create a subscription", async move |connection: &Connection| {
                let subscription = new.into_subscription(next_revision(connection).await?, now());
                let insert = "INSERT INTO subscriptions \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
                connection
                    .execute(
                        insert,
                        params![
                            blob(subscription.id.as_uuid()),
                            blob(subscription.customer_id.as_uuid()),
                            subscription.workflow_id.clone(),
                            fields::event_types_to_text(&subscription.event_types),
                            subscription.jsonpath.clone(),
                            subscription.endpoint.url.clone(),
                            subscription.endpoint.secret.as_bytes().to_vec(),
                            subscription.state.as_str(),
                            fields::reason(&subscription.state),
                            subscription.revision.0,
                            millis(subscription.created_at),
                            millis(subscription.updated_at)
                        ],
                    )
                    .await?;
                Ok(subscription)
            })
            .await
    }

    async fn subscription(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        self.lite
            .read("read a subscription", async move |connection: &Connection| {
                find(connection, customer, id).await
            })
            .await
    }

    async fn subscriptions(&self, customer: CustomerId) -> Result<Vec<Subscription>, StoreError> {
        self.lite
            .read("list subscriptions", async move |connection: &Connection| {
                let query = format!(
                    "{SUBSCRIPTION} WHERE customer_id = ?1 AND state <> 'deleted' ORDER BY id"
                );
                let rows = connection.query(&query, params![blob(customer.as_uuid())]).await?;
                collect(rows).await
            })
            .await
    }

    async fn set_subscription_state(
        &self,
        customer: CustomerId,
        id: SubscriptionId,
        state: SubscriptionState,
    ) -> Result<Option<Subscription>, StoreError> {
        self.lite
            .write("change a subscription", async move |connection: &Connection| {
                let Some(mut subscription) = find(connection, customer, id).await? else {
                    return Ok(None);
                };
                if subscription.state == state {
                    return Ok(Some(subscription));
                }
                subscription.state = state;
                subscription.revision = next_revision(connection).await?;
                subscription.updated_at = now();
                let update = "UPDATE subscriptions SET state = ?2, reason = ?3, revision = ?4, \
                              updated_at = ?5 WHERE id = ?1";
                let values = params![
                    blob(id.as_uuid()),
                    subscription.state.as_str(),
                    fields::reason(&subscription.state),
                    subscription.revision.0,
                    millis(subscription.updated_at)
                ];
                connection.execute(update, values).await?;
                Ok(Some(subscription))
            })
            .await
    }

    async fn changes_since(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lite
            .read("ask for changed subscriptions", async move |connection: &Connection| {
                let query =
                    format!("{SUBSCRIPTION} WHERE revision > ?1 ORDER BY revision LIMIT ?2");
                collect(connection.query(&query, params![after.0, limit]).await?).await
            })
            .await
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

async fn find(
    connection: &Connection,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, Fault> {
    let query = format!("{SUBSCRIPTION} WHERE id = ?1 AND customer_id = ?2 AND state <> 'deleted'");
    let values = params![blob(id.as_uuid()), blob(customer.as_uuid())];
    Ok(collect(connection.query(&query, values).await?).await?.pop())
}

async fn collect(mut rows: libsql::Rows) -> Result<Vec<Subscription>, Fault> {
    let mut subscriptions = Vec::new();
    while let Some(row) = rows.next().await? {
        subscriptions.push(subscription(&row)?);
    }
    Ok(subscriptions)
}

fn subscription(row: &Row) -> Result<Subscription, Fault> {
    const TABLE: &str = "subscriptions";
    let unreadable = |what: String| Fault::row(TABLE, what);
    Ok(Subscription {
        id: SubscriptionId::from_uuid(column::id(row, TABLE, 0)?),
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 1)?),
        workflow_id: row.get(2)?,
        event_types: fields::event_types_from_text(&row.get::<String>(3)?).map_err(unreadable)?,
        jsonpath: row.get(4)?,
        endpoint: fields::endpoint(row.get(5)?, row.get(6)?).map_err(unreadable)?,
        state: fields::state(&row.get::<String>(7)?, row.get(8)?).map_err(unreadable)?,
        revision: Revision(row.get(9)?),
        created_at: column::instant(row, TABLE, 10)?,
        updated_at: column::instant(row, TABLE, 11)?,
    })
}

fn blob(id: &uuid::Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn now() -> OffsetDateTime {
    truncate_to_millis(OffsetDateTime::now_utc())
}
