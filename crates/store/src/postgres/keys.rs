//! API keys, and the feed of what caches of them must forget.

use time::OffsetDateTime;
use tokio_postgres::{Row, Transaction};
use triggerline_types::{Actor, ApiKey, ApiKeyId, CustomerId, Revision, truncate_to_millis};
use uuid::Uuid;

use super::exchange::Fault;
use super::{PostgresControl, audit, customers, next_revision, now};
use crate::control::{
    Access, AccessChange, AccessChanges, KeyCreation, KeyRotation, MAX_LIVE_KEYS, fields,
    rotated_expiry, trail,
};
use crate::error::StoreError;

/// Read back by [`key`]; `k` is the keys' table.
const COLUMNS: &str = "k.id, k.customer_id, k.name, k.hint, k.hash, k.scopes, k.rate_limit, \
     k.created_at, k.expires_at, k.revoked_at, k.last_used_at";
/// How many [`COLUMNS`] there are.
const WIDTH: usize = 11;

pub(super) async fn create(
    store: &PostgresControl,
    key: &ApiKey,
    by: Actor,
) -> Result<KeyCreation, StoreError> {
    store
        .change("create an API key", async |transaction| {
            let now = now();
            // Creations for one customer take turns here, so each counts all before it.
            if customers::lock(transaction, key.customer_id).await?.is_none() {
                return Ok(KeyCreation::NoSuchCustomer);
            }
            if live_keys(transaction, key.customer_id, now).await? >= MAX_LIVE_KEYS {
                return Ok(KeyCreation::TooMany);
            }
            keep(transaction, key.customer_id, key, by, now).await?;
            Ok(KeyCreation::Made)
        })
        .await
}

/// Keeps a new key as the customer's.
pub(super) async fn keep(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    key: &ApiKey,
    by: Actor,
    now: OffsetDateTime,
) -> Result<(), Fault> {
    let revision = next_revision(transaction).await?;
    insert(transaction, customer, key, revision).await?;
    let entry = trail::entry(customer, by, trail::API_KEY_CREATED, key.id, now);
    Ok(audit::record(transaction, entry).await?)
}

pub(super) async fn all(
    store: &PostgresControl,
    customer: CustomerId,
) -> Result<Vec<ApiKey>, StoreError> {
    store
        .ask("list API keys", async |client| {
            let query =
                format!("SELECT {COLUMNS} FROM api_keys k WHERE customer_id = $1 ORDER BY id");
            client.query(&query, &[customer.as_uuid()]).await?.iter().map(key).collect()
        })
        .await
}

pub(super) async fn one(
    store: &PostgresControl,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    store
        .ask("read an API key", async |client| {
            let query =
                format!("SELECT {COLUMNS} FROM api_keys k WHERE id = $1 AND customer_id = $2");
            let row = client.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
            row.as_ref().map(key).transpose()
        })
        .await
}

pub(super) async fn access(
    store: &PostgresControl,
    hash: &[u8; 32],
) -> Result<Option<Access>, StoreError> {
    store
        .ask("look up an API key", async |client| {
            let query = format!(
                "SELECT {COLUMNS}, {} FROM api_keys k JOIN customers c ON c.id = k.customer_id \
                 WHERE k.hash = $1",
                customers::COLUMNS
            );
            let statement = client.prepare_cached(&query).await?;
            let Some(row) = client.query_opt(&statement, &[&&hash[..]]).await? else {
                return Ok(None);
            };
            let customer = customers::customer(&row, WIDTH)?;
            Ok(Some(Access { key: key(&row)?, customer }))
        })
        .await
}

pub(super) async fn revoke(
    store: &PostgresControl,
    customer: CustomerId,
    id: ApiKeyId,
    by: Actor,
) -> Result<Option<ApiKey>, StoreError> {
    store
        .change("revoke an API key", async |transaction| {
            let Some(mut found) = find_locked(transaction, customer, id).await? else {
                return Ok(None);
            };
            if found.revoked_at.is_some() {
                return Ok(Some(found));
            }
            let now = now();
            let revision = next_revision(transaction).await?;
            let update = "UPDATE api_keys SET revoked_at = $2, revision = $3 WHERE id = $1";
            transaction.execute(update, &[id.as_uuid(), &now, &revision.0]).await?;
            found.revoked_at = Some(now);
            let entry = trail::entry(customer, by, trail::API_KEY_REVOKED, id, now);
            audit::record(transaction, entry).await?;
            Ok(Some(found))
        })
        .await
}

pub(super) async fn rotate(
    store: &PostgresControl,
    customer: CustomerId,
    id: ApiKeyId,
    new: &ApiKey,
    old_expires_at: OffsetDateTime,
    by: Actor,
) -> Result<KeyRotation, StoreError> {
    store
        .change("rotate an API key", async |transaction| {
            let now = now();
            let found = find_locked(transaction, customer, id).await?;
            let Some(mut old) = found.filter(|old| old.is_live(now)) else {
                return Ok(KeyRotation::NoSuchKey);
            };
            // One of them is the old one.
            if live_keys(transaction, customer, now).await? > MAX_LIVE_KEYS {
                return Ok(KeyRotation::TooMany);
            }
            let expires_at = rotated_expiry(&old, old_expires_at);
            old.expires_at = Some(expires_at);
            let revision = next_revision(transaction).await?;
            let update = "UPDATE api_keys SET expires_at = $2, revision = $3 WHERE id = $1";
            transaction.execute(update, &[id.as_uuid(), &expires_at, &revision.0]).await?;
            insert(transaction, customer, new, revision).await?;
            let entry = trail::entry(customer, by, trail::API_KEY_ROTATED, id, now);
            audit::record(transaction, entry).await?;
            Ok(KeyRotation::Made { old })
        })
        .await
}

pub(super) async fn touch(
    store: &PostgresControl,
    used: &[(ApiKeyId, OffsetDateTime)],
) -> Result<(), StoreError> {
    if used.is_empty() {
        return Ok(());
    }
    let (ids, instants): (Vec<Uuid>, Vec<OffsetDateTime>) =
        used.iter().map(|(id, at)| (*id.as_uuid(), truncate_to_millis(*at))).unzip();
    store
        .ask("write down when API keys were used", async |client| {
            // Several gateways do this at once: locked in the order of their ids, so that two
            // don't lock each other out.
            let update = "WITH used AS (SELECT id, max(at) AS at \
                     FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) GROUP BY id), \
                 locked AS (SELECT k.id, used.at FROM api_keys k JOIN used ON used.id = k.id \
                     WHERE k.last_used_at IS NULL OR k.last_used_at < used.at \
                     ORDER BY k.id FOR NO KEY UPDATE OF k) \
                 UPDATE api_keys k SET last_used_at = locked.at FROM locked \
                 WHERE k.id = locked.id AND (k.last_used_at IS NULL OR k.last_used_at < locked.at)";
            let statement = client.prepare_cached(update).await?;
            client.execute(&statement, &[&ids, &instants]).await?;
            Ok(())
        })
        .await
}

pub(super) async fn changes(
    store: &PostgresControl,
    after: Option<Revision>,
) -> Result<AccessChanges, StoreError> {
    store
        .ask("ask for changed API keys and schemas", async |client| {
            // One statement is one snapshot: what is newer than the revision isn't in it, and
            // what isn't newer is.
            let query = "SELECT value, NULL::bytea, NULL::uuid FROM subscription_revision \
                 UNION ALL SELECT revision, hash, NULL FROM api_keys WHERE revision > $1 \
                 UNION ALL SELECT revision, NULL, customer_id FROM schema_changes \
                     WHERE revision > $1";
            let statement = client.prepare_cached(query).await?;
            let after = after.map_or(i64::MAX, |after| after.0);
            let rows = client.query(&statement, &[&after]).await?;
            let mut answer = AccessChanges { revision: Revision::default(), changes: Vec::new() };
            for row in &rows {
                match (row.get::<_, Option<&[u8]>>(1), row.get::<_, Option<Uuid>>(2)) {
                    (Some(hash), _) => {
                        let hash = fields::hash(hash).map_err(Fault::row("api_keys"))?;
                        answer.changes.push(AccessChange::Key(hash));
                    }
                    (None, Some(customer)) => {
                        let customer = CustomerId::from_uuid(customer);
                        answer.changes.push(AccessChange::Schemas(customer));
                    }
                    (None, None) => answer.revision = Revision(row.get(0)),
                }
            }
            Ok(answer)
        })
        .await
}

/// The customer's key, which doesn't change until the transaction ends.
async fn find_locked(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, Fault> {
    if customers::lock(transaction, customer).await?.is_none() {
        return Ok(None);
    }
    // The key's row too: the version before revokes without asking for the customer's.
    let query = format!(
        "SELECT {COLUMNS} FROM api_keys k WHERE id = $1 AND customer_id = $2 FOR NO KEY UPDATE"
    );
    let row = transaction.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
    row.as_ref().map(key).transpose()
}

/// As [`ApiKey::is_live`] judges.
async fn live_keys(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    now: OffsetDateTime,
) -> Result<usize, tokio_postgres::Error> {
    let query = "SELECT count(*) FROM api_keys WHERE customer_id = $1 AND revoked_at IS NULL \
         AND (expires_at IS NULL OR $2 < expires_at)";
    let row = transaction.query_one(query, &[customer.as_uuid(), &now]).await?;
    Ok(usize::try_from(row.get::<_, i64>(0)).unwrap_or(usize::MAX))
}

async fn insert(
    transaction: &Transaction<'_>,
    customer: CustomerId,
    key: &ApiKey,
    revision: Revision,
) -> Result<(), tokio_postgres::Error> {
    let insert = "INSERT INTO api_keys (id, customer_id, name, hint, hash, scopes, rate_limit, \
         created_at, expires_at, revoked_at, last_used_at, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    transaction
        .execute(
            insert,
            &[
                key.id.as_uuid(),
                customer.as_uuid(),
                &key.name,
                &key.hint,
                &&key.hash[..],
                &fields::scopes_to_text(&key.scopes),
                &fields::rate_limit_to_text(key.rate_limit),
                &key.created_at,
                &key.expires_at,
                &key.revoked_at,
                &key.last_used_at,
                &revision.0,
            ],
        )
        .await
        .map(drop)
}

fn key(row: &Row) -> Result<ApiKey, Fault> {
    let unreadable = Fault::row("api_keys");
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(row.get(0)),
        customer_id: CustomerId::from_uuid(row.get(1)),
        name: row.get(2),
        hint: row.get(3),
        hash: fields::hash(row.get(4)).map_err(&unreadable)?,
        scopes: fields::scopes_from_text(row.get(5)),
        rate_limit: fields::rate_limit_from_text(row.get(6)).map_err(&unreadable)?,
        created_at: row.get(7),
        expires_at: row.get(8),
        revoked_at: row.get(9),
        last_used_at: row.get(10),
    })
}
