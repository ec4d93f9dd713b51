//! Schemas. No row of theirs is locked before the revision: who has that has all of them.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use triggerline_types::{Actor, CustomerId, EventType, Revision, Schema, SchemaMode};

use super::exchange::Fault;
use super::{PostgresControl, audit, next_revision, now};
use crate::control::{SchemaPut, fields, has_room, trail};
use crate::error::StoreError;

const SCHEMA: &str =
    "SELECT customer_id, event_type, mode, document, created_at, updated_at FROM schemas";
const ONE: &str = "WHERE customer_id = $1 AND event_type = $2";

pub(super) async fn put(
    store: &PostgresControl,
    customer: CustomerId,
    event_type: &EventType,
    mode: SchemaMode,
    document: &str,
    by: Actor,
) -> Result<SchemaPut, StoreError> {
    store
        .change("put a schema", async |transaction| {
            let name = event_type.as_str();
            let query = format!("{SCHEMA} {ONE}");
            let row = transaction.query_opt(&query, &[customer.as_uuid(), &name]).await?;
            // One that can't be read is there to be replaced.
            let there = row.and_then(|row| schema(&row).ok());
            let bytes = there.as_ref().map(|there| there.document.len());
            if let Some(there) = there
                && there.mode == mode
                && there.document == document
            {
                return Ok(SchemaPut::Kept(there));
            }
            let revision = next_revision(transaction).await?;
            // Who has the revision counts all that were put before.
            if !has_room(document.len(), bytes, others(transaction, customer, name).await?) {
                return Ok(SchemaPut::TooMany);
            }
            let now = now();
            let upsert = "INSERT INTO schemas \
                 (customer_id, event_type, mode, document, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (customer_id, event_type) DO UPDATE \
                 SET mode = excluded.mode, document = excluded.document, \
                     updated_at = excluded.updated_at \
                 RETURNING customer_id, event_type, mode, document, created_at, updated_at";
            let values: [&(dyn ToSql + Sync); 5] =
                [customer.as_uuid(), &name, &mode.as_str(), &document, &now];
            let row = transaction.query_one(upsert, &values).await?;
            mark(transaction, customer, revision).await?;
            let entry = trail::entry(customer, by, trail::SCHEMA_PUT, event_type, now);
            audit::record(transaction, entry).await?;
            schema(&row).map(SchemaPut::Kept)
        })
        .await
}

pub(super) async fn one(
    store: &PostgresControl,
    customer: CustomerId,
    event_type: &EventType,
) -> Result<Option<Schema>, StoreError> {
    store
        .ask("read a schema", async |client| {
            let statement = client.prepare_cached(&format!("{SCHEMA} {ONE}")).await?;
            let name = event_type.as_str();
            let row = client.query_opt(&statement, &[customer.as_uuid(), &name]).await?;
            row.as_ref().map(schema).transpose()
        })
        .await
}

pub(super) async fn all(
    store: &PostgresControl,
    customer: CustomerId,
) -> Result<Vec<Schema>, StoreError> {
    store
        .ask("list schemas", async |client| {
            let query = format!("{SCHEMA} WHERE customer_id = $1 ORDER BY event_type");
            client.query(&query, &[customer.as_uuid()]).await?.iter().map(schema).collect()
        })
        .await
}

pub(super) async fn delete(
    store: &PostgresControl,
    customer: CustomerId,
    event_type: &EventType,
    by: Actor,
) -> Result<bool, StoreError> {
    store
        .change("delete a schema", async |transaction| {
            let revision = next_revision(transaction).await?;
            let delete = format!("DELETE FROM schemas {ONE}");
            let name = event_type.as_str();
            if transaction.execute(&delete, &[customer.as_uuid(), &name]).await? == 0 {
                // A revision that nothing has.
                return Ok(false);
            }
            mark(transaction, customer, revision).await?;
            let entry = trail::entry(customer, by, trail::SCHEMA_DELETED, event_type, now());
            audit::record(transaction, entry).await?;
            Ok(true)
        })
        .await
}

/// All of the customer's; how many there were.
pub(super) async fn erase(
    transaction: &Transaction<'_>,
    customer: CustomerId,
) -> Result<u64, Fault> {
    let any = "SELECT 1 FROM schemas WHERE customer_id = $1 LIMIT 1";
    if transaction.query_opt(any, &[customer.as_uuid()]).await?.is_none() {
        return Ok(0);
    }
    let revision = next_revision(transaction).await?;
    let delete = "DELETE FROM schemas WHERE customer_id = $1";
    let gone = transaction.execute(delete, &[customer.as_uuid()]).await?;
    mark(transaction, customer, revision).await?;
    Ok(gone)
}

/// The number and the bytes of the customer's schemas, but for one.
async fn others(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    event_type: &str,
) -> Result<(usize, usize), tokio_postgres::Error> {
    let query = "SELECT count(*), coalesce(sum(octet_length(document)), 0)::bigint \
         FROM schemas WHERE customer_id = $1 AND event_type <> $2";
    let row = transaction.query_one(query, &[customer.as_uuid(), &event_type]).await?;
    let count = |index| usize::try_from(row.get::<_, i64>(index)).unwrap_or(usize::MAX);
    Ok((count(0), count(1)))
}

/// The customer's schemas have changed.
async fn mark(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    revision: Revision,
) -> Result<(), tokio_postgres::Error> {
    let upsert = "INSERT INTO schema_changes (customer_id, revision) VALUES ($1, $2) \
         ON CONFLICT (customer_id) DO UPDATE SET revision = excluded.revision";
    transaction.execute(upsert, &[customer.as_uuid(), &revision.0]).await.map(drop)
}

fn schema(row: &Row) -> Result<Schema, Fault> {
    let unreadable = Fault::row("schemas");
    Ok(Schema {
        customer_id: CustomerId::from_uuid(row.get(0)),
        event_type: fields::event_type(row.get(1)).map_err(&unreadable)?,
        mode: fields::schema_mode(row.get(2)).map_err(&unreadable)?,
        document: row.get(3),
        created_at: row.get(4),
        updated_at: row.get(5),
    })
}
