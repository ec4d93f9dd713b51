//! Schemas.

use libsql::{Connection, Row, params};
use triggerline_types::{Actor, CustomerId, EventType, Revision, Schema, SchemaMode, millis};

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, next_revision, now};
use crate::control::{SchemaPut, fields, has_room, trail};
use crate::error::StoreError;

const SCHEMA: &str =
    "SELECT customer_id, event_type, mode, document, created_at, updated_at FROM schemas";
const TABLE: &str = "schemas";

pub(super) async fn put(
    store: &SqliteControl,
    customer: CustomerId,
    event_type: &EventType,
    mode: SchemaMode,
    document: &str,
    by: Actor,
) -> Result<SchemaPut, StoreError> {
    let (event_type, document) = (event_type.clone(), document.to_owned());
    store
        .change("put a schema", async move |connection: &Connection| {
            // One that can't be read is there to be replaced.
            let there = match find(connection, customer, &event_type).await {
                Err(Fault::Row { .. }) => None,
                found => found?,
            };
            if let Some(there) = &there
                && there.mode == mode
                && there.document == document
            {
                return Ok(SchemaPut::Kept(there.clone()));
            }
            let bytes = there.as_ref().map(|there| there.document.len());
            let others = others(connection, customer, &event_type).await?;
            if !has_room(document.len(), bytes, others) {
                return Ok(SchemaPut::TooMany);
            }
            let revision = next_revision(connection).await?;
            let now = now();
            let schema = Schema {
                customer_id: customer,
                event_type,
                mode,
                document,
                created_at: there.map_or(now, |there| there.created_at),
                updated_at: now,
            };
            let upsert = "INSERT INTO schemas \
                 (customer_id, event_type, mode, document, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (customer_id, event_type) DO UPDATE \
                 SET mode = excluded.mode, document = excluded.document, \
                     updated_at = excluded.updated_at";
            let values = params![
                blob(customer.as_uuid()),
                schema.event_type.as_str(),
                mode.as_str(),
                schema.document.clone(),
                millis(schema.created_at),
                millis(schema.updated_at)
            ];
            connection.execute(upsert, values).await?;
            mark(connection, customer, revision).await?;
            let entry = trail::entry(customer, by, trail::SCHEMA_PUT, &schema.event_type, now);
            audit::record(connection, entry).await?;
            Ok(SchemaPut::Kept(schema))
        })
        .await
}

pub(super) async fn one(
    store: &SqliteControl,
    customer: CustomerId,
    event_type: &EventType,
) -> Result<Option<Schema>, StoreError> {
    let event_type = event_type.clone();
    store
        .lite
        .read("read a schema", async move |connection: &Connection| {
            find(connection, customer, &event_type).await
        })
        .await
}

pub(super) async fn all(
    store: &SqliteControl,
    customer: CustomerId,
) -> Result<Vec<Schema>, StoreError> {
    store
        .lite
        .read("list schemas", async move |connection: &Connection| {
            let query = format!("{SCHEMA} WHERE customer_id = ?1 ORDER BY event_type");
            let found = connection.query(&query, params![blob(customer.as_uuid())]).await?;
            collect(found, schema).await
        })
        .await
}

pub(super) async fn delete(
    store: &SqliteControl,
    customer: CustomerId,
    event_type: &EventType,
    by: Actor,
) -> Result<bool, StoreError> {
    let event_type = event_type.clone();
    store
        .change("delete a schema", async move |connection: &Connection| {
            let delete = "DELETE FROM schemas WHERE customer_id = ?1 AND event_type = ?2";
            let values = params![blob(customer.as_uuid()), event_type.as_str()];
            if connection.execute(delete, values).await? == 0 {
                return Ok(false);
            }
            mark(connection, customer, next_revision(connection).await?).await?;
            let entry = trail::entry(customer, by, trail::SCHEMA_DELETED, &event_type, now());
            audit::record(connection, entry).await?;
            Ok(true)
        })
        .await
}

/// All of the customer's; how many there were.
pub(super) async fn erase(connection: &Connection, customer: CustomerId) -> Result<u64, Fault> {
    let delete = "DELETE FROM schemas WHERE customer_id = ?1";
    let gone = connection.execute(delete, params![blob(customer.as_uuid())]).await?;
    if gone > 0 {
        mark(connection, customer, next_revision(connection).await?).await?;
    }
    Ok(gone)
}

/// The number and the bytes of the customer's schemas, but for one.
async fn others(
    connection: &Connection,
    customer: CustomerId,
    event_type: &EventType,
) -> Result<(usize, usize), Fault> {
    let query = "SELECT count(*), coalesce(sum(length(CAST(document AS BLOB))), 0) \
         FROM schemas WHERE customer_id = ?1 AND event_type <> ?2";
    let values = params![blob(customer.as_uuid()), event_type.as_str()];
    let counts = |row: &Row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
    let counts = collect(connection.query(query, values).await?, counts).await?.pop();
    let (number, bytes) = counts.unwrap_or_default();
    let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Ok((count(number), count(bytes)))
}

/// The customer's schemas have changed.
async fn mark(
    connection: &Connection,
    customer: CustomerId,
    revision: Revision,
) -> Result<(), Fault> {
    let upsert = "INSERT INTO schema_changes (customer_id, revision) VALUES (?1, ?2) \
         ON CONFLICT (customer_id) DO UPDATE SET revision = excluded.revision";
    connection.execute(upsert, params![blob(customer.as_uuid()), revision.0]).await?;
    Ok(())
}

async fn find(
    connection: &Connection,
    customer: CustomerId,
    event_type: &EventType,
) -> Result<Option<Schema>, Fault> {
    let query = format!("{SCHEMA} WHERE customer_id = ?1 AND event_type = ?2");
    let values = params![blob(customer.as_uuid()), event_type.as_str()];
    Ok(collect(connection.query(&query, values).await?, schema).await?.pop())
}

fn schema(row: &Row) -> Result<Schema, Fault> {
    let unreadable = |what: String| Fault::row(TABLE, what);
    Ok(Schema {
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 0)?),
        event_type: fields::event_type(&row.get::<String>(1)?).map_err(unreadable)?,
        mode: fields::schema_mode(&row.get::<String>(2)?).map_err(unreadable)?,
        document: row.get(3)?,
        created_at: column::instant(row, TABLE, 4)?,
        updated_at: column::instant(row, TABLE, 5)?,
    })
}
