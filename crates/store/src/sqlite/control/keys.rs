//! API keys, and the feed of what caches of them must forget.

use libsql::{Connection, Row, params};
use time::OffsetDateTime;
use triggerline_types::{
    Actor, ApiKey, ApiKeyId, CustomerId, Revision, millis, truncate_to_millis,
};

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, customers, next_revision, now};
use crate::control::{
    Access, AccessChange, AccessChanges, KeyCreation, KeyRotation, MAX_LIVE_KEYS, fields,
    rotated_expiry, trail,
};
use crate::error::StoreError;

/// Read back by [`key`]; `k` is the keys' table.
const COLUMNS: &str = "k.id, k.customer_id, k.name, k.hint, k.hash, k.scopes, k.rate_limit, \
     k.created_at, k.expires_at, k.revoked_at, k.last_used_at";
/// How many [`COLUMNS`] there are.
const WIDTH: i32 = 11;
const TABLE: &str = "api_keys";

pub(super) async fn create(
    store: &SqliteControl,
    key: &ApiKey,
    by: Actor,
) -> Result<KeyCreation, StoreError> {
    let key = key.clone();
    store
        .change("create an API key", async move |connection: &Connection| {
            let (now, customer) = (now(), key.customer_id);
            if customers::find(connection, customer).await?.is_none() {
                return Ok(KeyCreation::NoSuchCustomer);
            }
            if live_keys(connection, customer, now).await? >= MAX_LIVE_KEYS {
                return Ok(KeyCreation::TooMany);
            }
            keep(connection, customer, &key, by, now).await?;
            Ok(KeyCreation::Made)
        })
        .await
}

/// Keeps a new key as the customer's.
pub(super) async fn keep(
    connection: &Connection,
    customer: CustomerId,
    key: &ApiKey,
    by: Actor,
    now: OffsetDateTime,
) -> Result<(), Fault> {
    insert(connection, customer, key, next_revision(connection).await?).await?;
    let entry = trail::entry(customer, by, trail::API_KEY_CREATED, key.id, now);
    audit::record(connection, entry).await
}

pub(super) async fn all(
    store: &SqliteControl,
    customer: CustomerId,
) -> Result<Vec<ApiKey>, StoreError> {
    store
        .lite
        .read("list API keys", async move |connection: &Connection| {
            let query =
                format!("SELECT {COLUMNS} FROM api_keys k WHERE customer_id = ?1 ORDER BY id");
            let found = connection.query(&query, params![blob(customer.as_uuid())]).await?;
            collect(found, key).await
        })
        .await
}

pub(super) async fn one(
    store: &SqliteControl,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    store
        .lite
        .read("read an API key", async move |connection: &Connection| {
            find(connection, customer, id).await
        })
        .await
}

pub(super) async fn access(
    store: &SqliteControl,
    hash: &[u8; 32],
) -> Result<Option<Access>, StoreError> {
    let hash = *hash;
    store
        .lite
        .read("look up an API key", async move |connection: &Connection| {
            let query = format!(
                "SELECT {COLUMNS}, {} FROM api_keys k JOIN customers c ON c.id = k.customer_id \
                 WHERE k.hash = ?1",
                customers::COLUMNS
            );
            let found = connection.query(&query, params![hash.to_vec()]).await?;
            let access = |row: &Row| {
                Ok(Access { key: key(row)?, customer: customers::customer(row, WIDTH)? })
            };
            Ok(collect(found, access).await?.pop())
        })
        .await
}

pub(super) async fn revoke(
    store: &SqliteControl,
    customer: CustomerId,
    id: ApiKeyId,
    by: Actor,
) -> Result<Option<ApiKey>, StoreError> {
    store
        .change("revoke an API key", async move |connection: &Connection| {
            let Some(mut found) = find(connection, customer, id).await? else {
                return Ok(None);
            };
            if found.revoked_at.is_some() {
                return Ok(Some(found));
            }
            let now = now();
            let revision = next_revision(connection).await?;
            let update = "UPDATE api_keys SET revoked_at = ?2, revision = ?3 WHERE id = ?1";
            let values = params![blob(id.as_uuid()), millis(now), revision.0];
            connection.execute(update, values).await?;
            found.revoked_at = Some(now);
            let entry = trail::entry(customer, by, trail::API_KEY_REVOKED, id, now);
            audit::record(connection, entry).await?;
            Ok(Some(found))
        })
        .await
}

pub(super) async fn rotate(
    store: &SqliteControl,
    customer: CustomerId,
    id: ApiKeyId,
    new: &ApiKey,
    old_expires_at: OffsetDateTime,
    by: Actor,
) -> Result<KeyRotation, StoreError> {
    let new = new.clone();
    store
        .change("rotate an API key", async move |connection: &Connection| {
            let now = now();
            let found = find(connection, customer, id).await?;
            let Some(mut old) = found.filter(|old| old.is_live(now)) else {
                return Ok(KeyRotation::NoSuchKey);
            };
            // One of them is the old one.
            if live_keys(connection, customer, now).await? > MAX_LIVE_KEYS {
                return Ok(KeyRotation::TooMany);
            }
            let expires_at = rotated_expiry(&old, old_expires_at);
            old.expires_at = Some(expires_at);
            let revision = next_revision(connection).await?;
            let update = "UPDATE api_keys SET expires_at = ?2, revision = ?3 WHERE id = ?1";
            let values = params![blob(id.as_uuid()), millis(expires_at), revision.0];
            connection.execute(update, values).await?;
            insert(connection, customer, &new, revision).await?;
            let entry = trail::entry(customer, by, trail::API_KEY_ROTATED, id, now);
            audit::record(connection, entry).await?;
            Ok(KeyRotation::Made { old })
        })
        .await
}

pub(super) async fn touch(
    store: &SqliteControl,
    used: &[(ApiKeyId, OffsetDateTime)],
) -> Result<(), StoreError> {
    if used.is_empty() {
        return Ok(());
    }
    let used = used.to_vec();
    // Nothing that anybody follows.
    store
        .lite
        .write("write down when API keys were used", async move |connection: &Connection| {
            for (id, at) in used {
                let update = "UPDATE api_keys SET last_used_at = ?2 \
                     WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)";
                let values = params![blob(id.as_uuid()), millis(truncate_to_millis(at))];
                connection.execute(update, values).await?;
            }
            Ok(())
        })
        .await
}

pub(super) async fn changes(
    store: &SqliteControl,
    after: Option<Revision>,
) -> Result<AccessChanges, StoreError> {
    store
        .lite
        .read("ask for changed API keys and schemas", async move |connection: &Connection| {
            // One snapshot for all three.
            let present = connection.query("SELECT value FROM revision", ()).await?;
            let present = collect(present, |row| Ok(Revision(row.get(0)?))).await?.pop();
            let revision = present.ok_or_else(|| Fault::row("revision", "no row"))?;
            let Some(after) = after else {
                return Ok(AccessChanges { revision, changes: Vec::new() });
            };
            let query = "SELECT hash FROM api_keys WHERE revision > ?1";
            let found = connection.query(query, params![after.0]).await?;
            let mut changes = collect(found, |row| Ok(AccessChange::Key(hash(row, 0)?))).await?;
            let query = "SELECT customer_id FROM schema_changes WHERE revision > ?1";
            let found = connection.query(query, params![after.0]).await?;
            let of_schemas = |row: &Row| {
                let customer = column::id(row, "schema_changes", 0)?;
                Ok(AccessChange::Schemas(CustomerId::from_uuid(customer)))
            };
            changes.extend(collect(found, of_schemas).await?);
            Ok(AccessChanges { revision, changes })
        })
        .await
}

async fn find(
    connection: &Connection,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, Fault> {
    let query = format!("SELECT {COLUMNS} FROM api_keys k WHERE id = ?1 AND customer_id = ?2");
    let values = params![blob(id.as_uuid()), blob(customer.as_uuid())];
    Ok(collect(connection.query(&query, values).await?, key).await?.pop())
}

/// As [`ApiKey::is_live`] judges.
async fn live_keys(
    connection: &Connection,
    customer: CustomerId,
    now: OffsetDateTime,
) -> Result<usize, Fault> {
    let query = "SELECT count(*) FROM api_keys WHERE customer_id = ?1 AND revoked_at IS NULL \
         AND (expires_at IS NULL OR ?2 < expires_at)";
    let found = connection.query(query, params![blob(customer.as_uuid()), millis(now)]).await?;
    let count = collect(found, |row| Ok(row.get::<i64>(0)?)).await?.pop();
    Ok(usize::try_from(count.unwrap_or_default()).unwrap_or(usize::MAX))
}

async fn insert(
    connection: &Connection,
    customer: CustomerId,
    key: &ApiKey,
    revision: Revision,
) -> Result<(), Fault> {
    let insert = "INSERT INTO api_keys (id, customer_id, name, hint, hash, scopes, rate_limit, \
         created_at, expires_at, revoked_at, last_used_at, revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let values = params![
        blob(key.id.as_uuid()),
        blob(customer.as_uuid()),
        key.name.clone(),
        key.hint.clone(),
        key.hash.to_vec(),
        fields::scopes_to_text(&key.scopes),
        fields::rate_limit_to_text(key.rate_limit),
        millis(key.created_at),
        key.expires_at.map(millis),
        key.revoked_at.map(millis),
        key.last_used_at.map(millis),
        revision.0
    ];
    connection.execute(insert, values).await?;
    Ok(())
}

fn hash(row: &Row, at: i32) -> Result<[u8; 32], Fault> {
    fields::hash(&row.get::<Vec<u8>>(at)?).map_err(|what| Fault::row(TABLE, what))
}

fn key(row: &Row) -> Result<ApiKey, Fault> {
    let limit = fields::rate_limit_from_text(row.get::<Option<String>>(6)?.as_deref());
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(column::id(row, TABLE, 0)?),
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 1)?),
        name: row.get(2)?,
        hint: row.get(3)?,
        hash: hash(row, 4)?,
        scopes: fields::scopes_from_text(&row.get::<String>(5)?),
        rate_limit: limit.map_err(|what| Fault::row(TABLE, what))?,
        created_at: column::instant(row, TABLE, 7)?,
        expires_at: column::instant_or_none(row, TABLE, 8)?,
        revoked_at: column::instant_or_none(row, TABLE, 9)?,
        last_used_at: column::instant_or_none(row, TABLE, 10)?,
    })
}
