//! Subscriptions, and the feed of their changes.

use libsql::{Connection, Row, params};
use triggerline_types::{
    Actor, CustomerId, Revision, Subscription, SubscriptionId, SubscriptionState, millis,
};

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, failing, next_revision, now, rows};
use crate::control::{Changes, NewSubscription, fields, trail};
use crate::error::StoreError;

const SUBSCRIPTION: &str = "SELECT id, customer_id, workflow_id, event_types, jsonpath, url, \
     secret, state, reason, revision, created_at, updated_at FROM subscriptions";
/// Where the revision stands in it.
const REVISION: i32 = 9;

pub(super) async fn create(
    store: &SqliteControl,
    new: NewSubscription,
    by: Actor,
) -> Result<Subscription, StoreError> {
    store
        .change("create a subscription", async move |connection: &Connection| {
            let made = new.into_subscription(next_revision(connection).await?, now());
            let insert = "INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, \
                 jsonpath, url, secret, state, reason, revision, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            let values = params![
                blob(made.id.as_uuid()),
                blob(made.customer_id.as_uuid()),
                made.workflow_id.clone(),
                fields::event_types_to_text(&made.event_types),
                made.jsonpath.clone(),
                made.endpoint.url.clone(),
                made.endpoint.secret.as_bytes().to_vec(),
                made.state.as_str(),
                made.state.reason(),
                made.revision.0,
                millis(made.created_at),
                millis(made.updated_at)
            ];
            connection.execute(insert, values).await?;
            let (action, at) = (trail::SUBSCRIPTION_CREATED, made.created_at);
            let entry = trail::entry(made.customer_id, by, action, made.id, at);
            audit::record(connection, entry).await?;
            Ok(made)
        })
        .await
}

pub(super) async fn one(
    store: &SqliteControl,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, StoreError> {
    store
        .lite
        .read("read a subscription", async move |connection: &Connection| {
            find(connection, customer, id).await
        })
        .await
}

pub(super) async fn all(
    store: &SqliteControl,
    customer: CustomerId,
) -> Result<Vec<Subscription>, StoreError> {
    store
        .lite
        .read("list subscriptions", async move |connection: &Connection| {
            let query =
                format!("{SUBSCRIPTION} WHERE customer_id = ?1 AND state <> 'deleted' ORDER BY id");
            let found = connection.query(&query, params![blob(customer.as_uuid())]).await?;
            collect(found, subscription).await
        })
        .await
}

pub(super) async fn set_state(
    store: &SqliteControl,
    customer: CustomerId,
    id: SubscriptionId,
    state: SubscriptionState,
    by: Actor,
) -> Result<Option<Subscription>, StoreError> {
    store
        .change("change a subscription", async move |connection: &Connection| {
            let Some(mut changed) = find(connection, customer, id).await? else {
                return Ok(None);
            };
            if changed.state == state {
                return Ok(Some(changed));
            }
            changed.state = state;
            changed.revision = next_revision(connection).await?;
            changed.updated_at = now();
            let update = "UPDATE subscriptions SET state = ?2, reason = ?3, revision = ?4, \
                 updated_at = ?5 WHERE id = ?1";
            let values = params![
                blob(id.as_uuid()),
                changed.state.as_str(),
                changed.state.reason(),
                changed.revision.0,
                millis(changed.updated_at)
            ];
            connection.execute(update, values).await?;
            // Its endpoint is judged anew.
            failing::forget(connection, id).await?;
            let action = trail::subscription_set(&changed.state);
            let entry = trail::entry(customer, by, action, id, changed.updated_at);
            audit::record(connection, entry).await?;
            Ok(Some(changed))
        })
        .await
}

pub(super) async fn changes_since(
    store: &SqliteControl,
    after: Revision,
    limit: usize,
) -> Result<Changes, StoreError> {
    store
        .lite
        .read("ask for changed subscriptions", async move |connection: &Connection| {
            let query = format!("{SUBSCRIPTION} WHERE revision > ?1 ORDER BY revision LIMIT ?2");
            let found = connection.query(&query, params![after.0, rows(limit)]).await?;
            let read = |row: &Row| Ok((Revision(row.get(REVISION)?), subscription(row)));
            Ok(Changes::of(after, limit, collect(found, read).await?))
        })
        .await
}

async fn find(
    connection: &Connection,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, Fault> {
    let query = format!("{SUBSCRIPTION} WHERE id = ?1 AND customer_id = ?2 AND state <> 'deleted'");
    let values = params![blob(id.as_uuid()), blob(customer.as_uuid())];
    Ok(collect(connection.query(&query, values).await?, subscription).await?.pop())
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
        revision: Revision(row.get(REVISION)?),
        created_at: column::instant(row, TABLE, 10)?,
        updated_at: column::instant(row, TABLE, 11)?,
    })
}
