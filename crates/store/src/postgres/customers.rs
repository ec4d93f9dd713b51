//! Customers.

use tokio_postgres::{Row, Transaction};
use triggerline_types::{Actor, ApiKey, Customer, CustomerId};

use super::exchange::Fault;
use super::{PostgresControl, audit, keys, next_revision, now};
use crate::control::{CustomerChange, NewCustomer, fields, trail};
use crate::error::StoreError;

/// Read back by [`customer`]; `c` is the customers' table.
pub(super) const COLUMNS: &str =
    "c.id, c.name, c.plan, c.rate_limit, c.retention_days, c.created_at";

pub(super) async fn create(
    store: &PostgresControl,
    new: NewCustomer,
    by: Actor,
) -> Result<Customer, StoreError> {
    let made = new.into_customer(now());
    store
        .change("create a customer", async |transaction| insert(transaction, &made, by).await)
        .await?;
    Ok(made)
}

pub(super) async fn create_with_key(
    store: &PostgresControl,
    new: NewCustomer,
    key: &ApiKey,
    by: Actor,
) -> Result<Customer, StoreError> {
    let made = new.into_customer(now());
    store
        .change("create a customer and its first key", async |transaction| {
            insert(transaction, &made, by).await?;
            keys::keep(transaction, made.id, key, by, made.created_at).await
        })
        .await?;
    Ok(made)
}

async fn insert(transaction: &Transaction<'_>, made: &Customer, by: Actor) -> Result<(), Fault> {
    let insert = "INSERT INTO customers (id, name, plan, rate_limit, retention_days, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    let limit = fields::rate_limit_to_text(made.rate_limit);
    transaction
        .execute(
            insert,
            &[
                made.id.as_uuid(),
                &made.name,
                &made.plan,
                &limit,
                &made.retention_days.map(i32::from),
                &made.created_at,
            ],
        )
        .await?;
    // Nobody follows a customer without keys: no revision.
    let entry = trail::entry(made.id, by, trail::CUSTOMER_CREATED, made.id, made.created_at);
    Ok(audit::record(transaction, entry).await?)
}

pub(super) async fn one(
    store: &PostgresControl,
    id: CustomerId,
) -> Result<Option<Customer>, StoreError> {
    store
        .ask("read a customer", async |client| {
            let query =
                format!("SELECT {COLUMNS} FROM customers c WHERE id = $1 AND erased_at IS NULL");
            let row = client.query_opt(&query, &[id.as_uuid()]).await?;
            row.map(|row| customer(&row, 0)).transpose()
        })
        .await
}

pub(super) async fn page(
    store: &PostgresControl,
    after: Option<CustomerId>,
    limit: usize,
) -> Result<Vec<Customer>, StoreError> {
    store
        .ask("list customers", async |client| {
            let limit = super::rows(limit);
            let rows = if let Some(after) = after {
                let query = format!(
                    "SELECT {COLUMNS} FROM customers c \
                     WHERE id > $1 AND erased_at IS NULL ORDER BY id LIMIT $2"
                );
                client.query(&query, &[after.as_uuid(), &limit]).await?
            } else {
                let query = format!(
                    "SELECT {COLUMNS} FROM customers c \
                     WHERE erased_at IS NULL ORDER BY id LIMIT $1"
                );
                client.query(&query, &[&limit]).await?
            };
            rows.iter().map(|row| customer(row, 0)).collect()
        })
        .await
}

pub(super) async fn update(
    store: &PostgresControl,
    id: CustomerId,
    change: CustomerChange,
    by: Actor,
) -> Result<Option<Customer>, StoreError> {
    store
        .change("change a customer", async |transaction| {
            let Some(before) = lock(transaction, id).await? else {
                return Ok(None);
            };
            let changed = change.applied_to(&before);
            if changed == before {
                return Ok(Some(before));
            }
            let revision = next_revision(transaction).await?;
            let update = "UPDATE customers \
                 SET name = $2, plan = $3, rate_limit = $4, retention_days = $5 WHERE id = $1";
            let days = changed.retention_days.map(i32::from);
            let limit = fields::rate_limit_to_text(changed.rate_limit);
            transaction
                .execute(update, &[id.as_uuid(), &changed.name, &changed.plan, &limit, &days])
                .await?;
            // Locked in the order of their ids, as `touch` does, so that the two don't lock
            // each other out.
            let update = "UPDATE api_keys k SET revision = $2 FROM (SELECT id FROM api_keys \
                 WHERE customer_id = $1 ORDER BY id FOR NO KEY UPDATE) locked \
                 WHERE k.id = locked.id";
            transaction.execute(update, &[id.as_uuid(), &revision.0]).await?;
            let entry = trail::entry(id, by, trail::CUSTOMER_UPDATED, id, now());
            audit::record(transaction, entry).await?;
            Ok(Some(changed))
        })
        .await
}

/// The customer, who doesn't change until the transaction ends, nor do its keys: whoever wants
/// to change them asks here first. (Rows may refer to it meanwhile: NO KEY.)
pub(super) async fn lock(
    transaction: &Transaction<'_>,
    id: CustomerId,
) -> Result<Option<Customer>, Fault> {
    let query = format!(
        "SELECT {COLUMNS} FROM customers c \
         WHERE id = $1 AND erased_at IS NULL FOR NO KEY UPDATE"
    );
    let row = transaction.query_opt(&query, &[id.as_uuid()]).await?;
    row.map(|row| customer(&row, 0)).transpose()
}

/// From the [`COLUMNS`] that begin at `at`.
pub(super) fn customer(row: &Row, at: usize) -> Result<Customer, Fault> {
    let limit = fields::rate_limit_from_text(row.get(at + 3));
    Ok(Customer {
        id: CustomerId::from_uuid(row.get(at)),
        name: row.get(at + 1),
        plan: row.get(at + 2),
        rate_limit: limit.map_err(Fault::row("customers"))?,
        retention_days: retention(row.get(at + 4))?,
        created_at: row.get(at + 5),
    })
}

pub(super) fn retention(days: Option<i32>) -> Result<Option<u16>, Fault> {
    let read = |days| u16::try_from(days).map_err(|_| format!("a retention of {days} days"));
    days.map(read).transpose().map_err(Fault::row("customers"))
}
