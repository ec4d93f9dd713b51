//! Subscriptions, and the feed of their changes.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use triggerline_types::{Actor, CustomerId, Revision, Selector, Subscription, SubscriptionId};
use uuid::Uuid;

use super::exchange::Fault;
use super::{PostgresControl, audit, customers, failing, next_revision, now};
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
const REVISION: usize = 9;

pub(super) async fn create(
    store: &PostgresControl,
    new: NewSubscription,
    by: Actor,
) -> Result<SubscriptionCreation, StoreError> {
    store
        .change("create a subscription", async |transaction| {
            // Creations for one customer take turns here, so each counts all before it; counted
            // before the revision is taken, which holds all customers up.
            customers::lock(transaction, new.customer_id).await?;
            if has_as_many_as_it_may(transaction, new.customer_id).await? {
                return Ok(SubscriptionCreation::TooMany);
            }
            let revision = next_revision(transaction).await?;
            let made = new.into_subscription(revision, now());
            let columns = Columns::of(made.id, &made.endpoint, &store.keys);
            let insert = "INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, \
                 jsonpath, url, secret, state, reason, revision, created_at, updated_at, \
                 old_secrets, settings, pattern) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
            transaction
                .execute(
                    insert,
                    &[
                        made.id.as_uuid(),
                        made.customer_id.as_uuid(),
                        &made.workflow_id,
                        &fields::event_types_to_text(&made.event_types),
                        &made.selector.jsonpath,
                        &made.endpoint.url,
                        &columns.secret,
                        &made.state.as_str(),
                        &made.state.reason(),
                        &made.revision.0,
                        &made.created_at,
                        &made.updated_at,
                        &columns.old_secrets,
                        &columns.settings,
                        &made.selector.pattern,
                    ],
                )
                .await?;
            let (action, at) = (trail::SUBSCRIPTION_CREATED, made.created_at);
            let entry = trail::entry(made.customer_id, by, action, made.id, at);
            audit::record(transaction, entry).await?;
            Ok(SubscriptionCreation::Made(Box::new(made)))
        })
        .await
}

async fn has_as_many_as_it_may(
    transaction: &Transaction<'_>,
    customer: CustomerId,
) -> Result<bool, tokio_postgres::Error> {
    let query = "SELECT count(*) FROM (SELECT 1 FROM subscriptions \
         WHERE customer_id = $1 AND state <> 'deleted' LIMIT $2) AS counted";
    let most = super::rows(MAX_SUBSCRIPTIONS);
    let row = transaction.query_one(query, &[customer.as_uuid(), &most]).await?;
    Ok(row.get::<_, i64>(0) >= most)
}

pub(super) async fn one(
    store: &PostgresControl,
    customer: CustomerId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, StoreError> {
    store
        .ask("read a subscription", async |client| {
            let query =
                format!("{SUBSCRIPTION} WHERE id = $1 AND customer_id = $2 AND state <> 'deleted'");
            let row = client.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
            row.as_ref().map(|row| subscription(row, &store.keys)).transpose()
        })
        .await
}

pub(super) async fn page(
    store: &PostgresControl,
    customer: CustomerId,
    after: Option<SubscriptionId>,
    limit: usize,
) -> Result<Vec<Subscription>, StoreError> {
    store
        .ask("list subscriptions", async |client| {
            // The smallest id there could be, for a first page.
            let after = after.map_or(Uuid::nil(), |id| *id.as_uuid());
            let query = format!(
                "{SUBSCRIPTION} WHERE customer_id = $1 AND state <> 'deleted' AND id > $2 \
                 ORDER BY id LIMIT $3"
            );
            let limit = super::rows(limit);
            let rows = client.query(&query, &[customer.as_uuid(), &after, &limit]).await?;
            rows.iter().map(|row| subscription(row, &store.keys)).collect()
        })
        .await
}

pub(super) async fn edit(
    store: &PostgresControl,
    customer: CustomerId,
    id: SubscriptionId,
    edit: SubscriptionEdit,
    expected: Option<Revision>,
    by: Actor,
) -> Result<Edited, StoreError> {
    store
        .change("change a subscription", async |transaction| {
            // Locked before it is judged, so that two changes at once don't overwrite each other.
            let query = format!(
                "{SUBSCRIPTION} WHERE id = $1 AND customer_id = $2 AND state <> 'deleted' FOR UPDATE"
            );
            let row = transaction.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
            let Some(row) = row else {
                return Ok(Edited::Missing);
            };
            let mut changed = subscription(&row, &store.keys)?;
            if expected.is_some_and(|expected| expected != changed.revision) {
                return Ok(Edited::Stale);
            }
            let now = now();
            let Some(applied) = edit.apply(&mut changed, now) else {
                return Ok(Edited::Kept(Box::new(changed)));
            };
            changed.revision = next_revision(transaction).await?;
            changed.updated_at = now;
            let columns = Columns::of(id, &changed.endpoint, &store.keys);
            let update = "UPDATE subscriptions SET workflow_id = $2, event_types = $3, \
                 jsonpath = $4, url = $5, secret = $6, state = $7, reason = $8, revision = $9, \
                 updated_at = $10, old_secrets = $11, settings = $12, pattern = $13 WHERE id = $1";
            transaction
                .execute(
                    update,
                    &[
                        id.as_uuid(),
                        &changed.workflow_id,
                        &fields::event_types_to_text(&changed.event_types),
                        &changed.selector.jsonpath,
                        &changed.endpoint.url,
                        &columns.secret,
                        &changed.state.as_str(),
                        &changed.state.reason(),
                        &changed.revision.0,
                        &changed.updated_at,
                        &columns.old_secrets,
                        &columns.settings,
                        &changed.selector.pattern,
                    ],
                )
                .await?;
            if applied.begins_anew {
                failing::forget(&**transaction, id).await?;
            }
            let entry = trail::entry(customer, by, applied.action, id, now);
            audit::record(transaction, entry).await?;
            Ok(Edited::Kept(Box::new(changed)))
        })
        .await
}

pub(super) async fn changes_since(
    store: &PostgresControl,
    after: Revision,
    limit: usize,
) -> Result<Changes, StoreError> {
    store
        .ask("ask for changed subscriptions", async |client| {
            let query = format!("{SUBSCRIPTION} WHERE revision > $1 ORDER BY revision LIMIT $2");
            let statement = client.prepare_cached(&query).await?;
            let rows = client.query(&statement, &[&after.0, &super::rows(limit)]).await?;
            let read = |row: &Row| {
                let id = SubscriptionId::from_uuid(row.get(0));
                (Revision(row.get(REVISION)), id, subscription(row, &store.keys))
            };
            let rows = rows.iter().map(read).collect();
            Changes::of(after, limit, rows, |fault| fault.concerns_all(&store.keys))
        })
        .await
}

/// Subscriptions that are looked at in one transaction.
const RESEALED: usize = 100;

pub(super) async fn reseal(store: &PostgresControl) -> Result<u64, StoreError> {
    let (mut last, mut sealed) = (SubscriptionId::from_uuid(uuid::Uuid::nil()), 0);
    loop {
        let (seen, done) = store
            .change("seal secrets anew", async |transaction| {
                let query = format!("{SUBSCRIPTION} WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE");
                let limit = super::rows(RESEALED);
                let rows = transaction.query(&query, &[last.as_uuid(), &limit]).await?;
                let mut done = 0;
                for row in rows.iter().filter(|row| !columns(row).are_current(&store.keys)) {
                    let read = subscription(row, &store.keys)?;
                    let columns = Columns::of(read.id, &read.endpoint, &store.keys);
                    let update = "UPDATE subscriptions \
                         SET secret = $2, old_secrets = $3, settings = $4 WHERE id = $1";
                    let Columns { secret, old_secrets, settings } = columns;
                    let values: [&(dyn ToSql + Sync); 4] =
                        [read.id.as_uuid(), &secret, &old_secrets, &settings];
                    transaction.execute(update, &values).await?;
                    done += 1;
                }
                let seen = rows.last().map(|row| SubscriptionId::from_uuid(row.get(0)));
                Ok((seen, done))
            })
            .await?;
        sealed += done;
        match seen {
            Some(id) => last = id,
            None => return Ok(sealed),
        }
    }
}

fn columns(row: &Row) -> Columns {
    Columns { secret: row.get(6), old_secrets: row.get(12), settings: row.get(13) }
}

fn subscription(row: &Row, keys: &SecretKeys) -> Result<Subscription, Fault> {
    let unreadable = Fault::row("subscriptions");
    let id = SubscriptionId::from_uuid(row.get(0));
    Ok(Subscription {
        id,
        customer_id: CustomerId::from_uuid(row.get(1)),
        workflow_id: row.get(2),
        event_types: fields::event_types_from_text(row.get(3)).map_err(&unreadable)?,
        selector: Selector { pattern: row.get(14), jsonpath: row.get(4) },
        endpoint: columns(row).read(id, row.get(5), keys)?,
        state: fields::state(row.get(7), row.get(8)).map_err(&unreadable)?,
        revision: Revision(row.get(REVISION)),
        created_at: row.get(10),
        updated_at: row.get(11),
    })
}
