//! Subscriptions, and the feed of their changes.

use libsql::{Connection, Row, params};
use triggerline_types::{
    Actor, CustomerId, Revision, Selector, Subscription, SubscriptionId, millis,
};
use uuid::Uuid;

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, failing, next_revision, now, rows};
use crate::control::endpoint::Columns;
use crate::control::seal::SecretKeys;
use crate::control::{
    Changes, Edited, MAX_SUBSCRIPTIONS, NewSubscription, SubscriptionCreation, SubscriptionEdit,
    fields, trail,
};
use crate::error::StoreError;

const SUBSCRIPTION: &str = "SELECT id, customer_id, workflow_id, event_types, jsonpath, url, \
     secret, state, reason, revision, created_at, updated_at, old_secrets, settings, pattern FROM subscriptions";
/// Where the revision stands in it.
const REVISION: i32 = 9;

pub(super) async fn create(
    store: &SqliteControl,
    new: NewSubscription,
    by: Actor,
) -> Result<SubscriptionCreation, StoreError> {
    let keys = store.keys.clone();
    store
        .change("create a subscription", async move |connection: &Connection| {
            if has_as_many_as_it_may(connection, new.customer_id).await? {
                return Ok(SubscriptionCreation::TooMany);
            }
            let made = new.into_subscription(next_revision(connection).await?, now());
            let columns = Columns::of(made.id, &made.endpoint, &keys);
            let insert = "INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, \
                 jsonpath, url, secret, state, reason, revision, created_at, updated_at, \
                 old_secrets, settings, pattern) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
            let values = params![
                blob(made.id.as_uuid()),
                blob(made.customer_id.as_uuid()),
                made.workflow_id.clone(),
                fields::event_types_to_text(&made.event_types),
                made.selector.jsonpath.clone(),
                made.endpoint.url.clone(),
                columns.secret,
                made.state.as_str(),
                made.state.reason(),
                made.revision.0,
                millis(made.created_at),
                millis(made.updated_at),
                columns.old_secrets,
                columns.settings,
                made.selector.pattern.clone()
            ];
            connection.execute(insert, values).await?;
            let (action, at) = (trail::SUBSCRIPTION_CREATED, made.created_at);
            let entry = trail::entry(made.customer_id, by, action, made.id, at);
            audit::record(connection, entry).await?;
            Ok(SubscriptionCreation::Made(Box::new(made)))
        })
        .await
}

async fn has_as_many_as_it_may(
    connection: &Connection,
    customer: CustomerId,
) -> Result<bool, Fault> {
    let query = "SELECT count(*) FROM (SELECT 1 FROM subscriptions \
         WHERE customer_id = ?1 AND state <> 'deleted' LIMIT ?2)";
    let most = rows(MAX_SUBSCRIPTIONS);
    let found = connection.query(query, params![blob(customer.as_uuid()), most]).await?;
    let count = collect(found, |row| Ok(row.get::<i64>(0)?)).await?.pop();
    Ok(count.unwrap_or_default() >= most)
}

pub(super) async fn one(
    store: &SqliteControl,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, StoreError> {
    let keys = store.keys.clone();
    store
        .lite
        .read("read a subscription", async move |connection: &Connection| {
            find(connection, customer, id, &keys).await
        })
        .await
}

pub(super) async fn page(
    store: &SqliteControl,
    customer: CustomerId,
    after: Option<SubscriptionId>,
    limit: usize,
) -> Result<Vec<Subscription>, StoreError> {
    let keys = store.keys.clone();
    store
        .lite
        .read("list subscriptions", async move |connection: &Connection| {
            // The smallest id there could be, for a first page.
            let after = after.map_or(Uuid::nil(), |id| *id.as_uuid());
            let query = format!(
                "{SUBSCRIPTION} WHERE customer_id = ?1 AND state <> 'deleted' AND id > ?2 \
                 ORDER BY id LIMIT ?3"
            );
            let values = params![blob(customer.as_uuid()), blob(&after), rows(limit)];
            let found = connection.query(&query, values).await?;
            collect(found, |row| subscription(row, &keys)).await
        })
        .await
}

pub(super) async fn edit(
    store: &SqliteControl,
    customer: CustomerId,
    id: SubscriptionId,
    edit: SubscriptionEdit,
    expected: Option<Revision>,
    by: Actor,
) -> Result<Edited, StoreError> {
    let keys = store.keys.clone();
    store
        .change("change a subscription", async move |connection: &Connection| {
            let Some(mut changed) = find(connection, customer, id, &keys).await? else {
                return Ok(Edited::Missing);
            };
            if expected.is_some_and(|expected| expected != changed.revision) {
                return Ok(Edited::Stale);
            }
            let now = now();
            let Some(applied) = edit.apply(&mut changed, now) else {
                return Ok(Edited::Kept(Box::new(changed)));
            };
            changed.revision = next_revision(connection).await?;
            changed.updated_at = now;
            let columns = Columns::of(id, &changed.endpoint, &keys);
            let update = "UPDATE subscriptions SET workflow_id = ?2, event_types = ?3, \
                 jsonpath = ?4, url = ?5, secret = ?6, state = ?7, reason = ?8, revision = ?9, \
                 updated_at = ?10, old_secrets = ?11, settings = ?12, pattern = ?13 WHERE id = ?1";
            let values = params![
                blob(id.as_uuid()),
                changed.workflow_id.clone(),
                fields::event_types_to_text(&changed.event_types),
                changed.selector.jsonpath.clone(),
                changed.endpoint.url.clone(),
                columns.secret,
                changed.state.as_str(),
                changed.state.reason(),
                changed.revision.0,
                millis(changed.updated_at),
                columns.old_secrets,
                columns.settings,
                changed.selector.pattern.clone()
            ];
            connection.execute(update, values).await?;
            if applied.begins_anew {
                failing::forget(connection, id).await?;
            }
            let entry = trail::entry(customer, by, applied.action, id, now);
            audit::record(connection, entry).await?;
            Ok(Edited::Kept(Box::new(changed)))
        })
        .await
}

pub(super) async fn changes_since(
    store: &SqliteControl,
    after: Revision,
    limit: usize,
) -> Result<Changes, StoreError> {
    let keys = store.keys.clone();
    store
        .lite
        .read("ask for changed subscriptions", async move |connection: &Connection| {
            let query = format!("{SUBSCRIPTION} WHERE revision > ?1 ORDER BY revision LIMIT ?2");
            let found = connection.query(&query, params![after.0, rows(limit)]).await?;
            let read = |row: &Row| {
                let id = SubscriptionId::from_uuid(column::id(row, "subscriptions", 0)?);
                Ok((Revision(row.get(REVISION)?), id, subscription(row, &keys)))
            };
            let rows = collect(found, read).await?;
            Changes::of(after, limit, rows, |fault| fault.concerns_all(&keys))
        })
        .await
}

async fn find(
    connection: &Connection,
    customer: CustomerId,
    id: SubscriptionId,
    keys: &SecretKeys,
) -> Result<Option<Subscription>, Fault> {
    let query = format!("{SUBSCRIPTION} WHERE id = ?1 AND customer_id = ?2 AND state <> 'deleted'");
    let values = params![blob(id.as_uuid()), blob(customer.as_uuid())];
    let found = connection.query(&query, values).await?;
    Ok(collect(found, |row| subscription(row, keys)).await?.pop())
}

pub(super) async fn reseal(store: &SqliteControl) -> Result<u64, StoreError> {
    let keys = store.keys.clone();
    store
        .change("seal secrets anew", async move |connection: &Connection| {
            let read = |row: &Row| {
                let current = columns(row)?.are_current(&keys);
                (!current).then(|| subscription(row, &keys)).transpose()
            };
            let found = collect(connection.query(SUBSCRIPTION, ()).await?, read).await?;
            let mut sealed = 0;
            for read in found.into_iter().flatten() {
                let Columns { secret, old_secrets, settings } =
                    Columns::of(read.id, &read.endpoint, &keys);
                let update = "UPDATE subscriptions \
                     SET secret = ?2, old_secrets = ?3, settings = ?4 WHERE id = ?1";
                let values = params![blob(read.id.as_uuid()), secret, old_secrets, settings];
                connection.execute(update, values).await?;
                sealed += 1;
            }
            Ok(sealed)
        })
        .await
}

fn columns(row: &Row) -> Result<Columns, Fault> {
    Ok(Columns { secret: row.get(6)?, old_secrets: row.get(12)?, settings: row.get(13)? })
}

fn subscription(row: &Row, keys: &SecretKeys) -> Result<Subscription, Fault> {
    const TABLE: &str = "subscriptions";
    let unreadable = |what: String| Fault::row(TABLE, what);
    let id = SubscriptionId::from_uuid(column::id(row, TABLE, 0)?);
    Ok(Subscription {
        id,
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 1)?),
        workflow_id: row.get(2)?,
        event_types: fields::event_types_from_text(&row.get::<String>(3)?).map_err(unreadable)?,
        selector: Selector { pattern: row.get(14)?, jsonpath: row.get(4)? },
        endpoint: columns(row)?.read(id, row.get(5)?, keys)?,
        state: fields::state(&row.get::<String>(7)?, row.get(8)?).map_err(unreadable)?,
        revision: Revision(row.get(REVISION)?),
        created_at: column::instant(row, TABLE, 10)?,
        updated_at: column::instant(row, TABLE, 11)?,
    })
}
