//! Customers.

use libsql::{Connection, Row, params};
use triggerline_types::{Actor, ApiKey, Customer, CustomerId, millis};

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, keys, next_revision, now, rows};
use crate::control::{CustomerChange, NewCustomer, fields, trail};
use crate::error::StoreError;

/// Read back by [`customer`]; `c` is the customers' table.
pub(super) const COLUMNS: &str =
    "c.id, c.name, c.plan, c.rate_limit, c.retention_days, c.created_at";
const TABLE: &str = "customers";

pub(super) async fn create(
    store: &SqliteControl,
    new: NewCustomer,
    by: Actor,
) -> Result<Customer, StoreError> {
    store
        .change("create a customer", async move |connection: &Connection| {
            let made = new.into_customer(now());
            insert(connection, &made, by).await?;
            Ok(made)
        })
        .await
}

pub(super) async fn create_with_key(
    store: &SqliteControl,
    new: NewCustomer,
    key: &ApiKey,
    by: Actor,
) -> Result<Customer, StoreError> {
    let key = key.clone();
    store
        .change("create a customer and its first key", async move |connection: &Connection| {
            let made = new.into_customer(now());
            insert(connection, &made, by).await?;
            keys::keep(connection, made.id, &key, by, made.created_at).await?;
            Ok(made)
        })
        .await
}

async fn insert(connection: &Connection, made: &Customer, by: Actor) -> Result<(), Fault> {
    let insert = "INSERT INTO customers (id, name, plan, rate_limit, retention_days, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        blob(made.id.as_uuid()),
        made.name.clone(),
        made.plan.clone(),
        fields::rate_limit_to_text(made.rate_limit),
        made.retention_days.map(i64::from),
        millis(made.created_at)
    ];
    connection.execute(insert, values).await?;
    // Nobody follows a customer without keys: no revision.
    let entry = trail::entry(made.id, by, trail::CUSTOMER_CREATED, made.id, made.created_at);
    audit::record(connection, entry).await
}

pub(super) async fn one(
    store: &SqliteControl,
    id: CustomerId,
) -> Result<Option<Customer>, StoreError> {
    store
        .lite
        .read("read a customer", async move |connection: &Connection| find(connection, id).await)
        .await
}

pub(super) async fn page(
    store: &SqliteControl,
    after: Option<CustomerId>,
    limit: usize,
) -> Result<Vec<Customer>, StoreError> {
    store
        .lite
        .read("list customers", async move |connection: &Connection| {
            let found = if let Some(after) = after {
                let query = format!(
                    "SELECT {COLUMNS} FROM customers c \
                     WHERE id > ?1 AND erased_at IS NULL ORDER BY id LIMIT ?2"
                );
                connection.query(&query, params![blob(after.as_uuid()), rows(limit)]).await?
            } else {
                let query = format!(
                    "SELECT {COLUMNS} FROM customers c \
                     WHERE erased_at IS NULL ORDER BY id LIMIT ?1"
                );
                connection.query(&query, params![rows(limit)]).await?
            };
            collect(found, |row| customer(row, 0)).await
        })
        .await
}

pub(super) async fn update(
    store: &SqliteControl,
    id: CustomerId,
    change: CustomerChange,
    by: Actor,
) -> Result<Option<Customer>, StoreError> {
    store
        .change("change a customer", async move |connection: &Connection| {
            let Some(before) = find(connection, id).await? else {
                return Ok(None);
            };
            let changed = change.applied_to(&before);
            if changed == before {
                return Ok(Some(before));
            }
            let revision = next_revision(connection).await?;
            let update = "UPDATE customers \
                 SET name = ?2, plan = ?3, rate_limit = ?4, retention_days = ?5 WHERE id = ?1";
            let values = params![
                blob(id.as_uuid()),
                changed.name.clone(),
                changed.plan.clone(),
                fields::rate_limit_to_text(changed.rate_limit),
                changed.retention_days.map(i64::from)
            ];
            connection.execute(update, values).await?;
            let update = "UPDATE api_keys SET revision = ?2 WHERE customer_id = ?1";
            connection.execute(update, params![blob(id.as_uuid()), revision.0]).await?;
            let entry = trail::entry(id, by, trail::CUSTOMER_UPDATED, id, now());
            audit::record(connection, entry).await?;
            Ok(Some(changed))
        })
        .await
}

pub(super) async fn find(
    connection: &Connection,
    id: CustomerId,
) -> Result<Option<Customer>, Fault> {
    let query = format!("SELECT {COLUMNS} FROM customers c WHERE id = ?1 AND erased_at IS NULL");
    let found = connection.query(&query, params![blob(id.as_uuid())]).await?;
    Ok(collect(found, |row| customer(row, 0)).await?.pop())
}

/// From the [`COLUMNS`] that begin at `at`.
pub(super) fn customer(row: &Row, at: i32) -> Result<Customer, Fault> {
    let limit = fields::rate_limit_from_text(row.get::<Option<String>>(at + 3)?.as_deref());
    Ok(Customer {
        id: CustomerId::from_uuid(column::id(row, TABLE, at)?),
        name: row.get(at + 1)?,
        plan: row.get(at + 2)?,
        rate_limit: limit.map_err(|what| Fault::row(TABLE, what))?,
        retention_days: retention(row.get(at + 4)?)?,
        created_at: column::instant(row, TABLE, at + 5)?,
    })
}

pub(super) fn retention(days: Option<i64>) -> Result<Option<u16>, Fault> {
    let unreadable = |days| Fault::row(TABLE, format!("a retention of {days} days"));
    days.map(|days| u16::try_from(days).map_err(|_| unreadable(days))).transpose()
}
