//! Endpoints that answer with nothing but failure.

use libsql::{Connection, params};
use time::OffsetDateTime;
use triggerline_types::{SubscriptionId, millis};

use super::super::{Fault, column};
use super::{SqliteControl, blob, collect};
use crate::control::FORGOTTEN;
use crate::error::StoreError;

pub(super) async fn failed(
    store: &SqliteControl,
    id: SubscriptionId,
    at: OffsetDateTime,
) -> Result<OffsetDateTime, StoreError> {
    let write = async move |connection: &Connection| {
        let insert = "INSERT INTO failing_endpoints VALUES (?1, ?2, ?2) ON CONFLICT DO UPDATE SET \
             since = CASE WHEN last < ?3 THEN excluded.since ELSE min(since, excluded.since) END, \
             last = max(last, excluded.last)";
        let values = params![blob(id.as_uuid()), millis(at), millis(at - FORGOTTEN)];
        connection.execute(insert, values).await?;
        let query = "SELECT since FROM failing_endpoints WHERE subscription_id = ?1";
        let found = connection.query(query, params![blob(id.as_uuid())]).await?;
        let since = collect(found, |row| column::instant(row, "failing_endpoints", 0)).await?.pop();
        since.ok_or_else(|| Fault::row("failing_endpoints", "no row"))
    };
    store.lite.write("note that an endpoint failed", write).await
}

pub(super) async fn all(store: &SqliteControl) -> Result<Vec<SubscriptionId>, StoreError> {
    let read = async |connection: &Connection| {
        let query = "SELECT subscription_id FROM failing_endpoints";
        let found = connection.query(query, ()).await?;
        let id = |row: &libsql::Row| {
            column::id(row, "failing_endpoints", 0).map(SubscriptionId::from_uuid)
        };
        collect(found, id).await
    };
    store.lite.read("list failing endpoints", read).await
}

pub(super) async fn recovered(store: &SqliteControl, id: SubscriptionId) -> Result<(), StoreError> {
    let write = async move |connection: &Connection| forget(connection, id).await;
    store.lite.write("note that an endpoint answers", write).await
}

pub(super) async fn forget(connection: &Connection, id: SubscriptionId) -> Result<(), Fault> {
    let delete = "DELETE FROM failing_endpoints WHERE subscription_id = ?1";
    connection.execute(delete, params![blob(id.as_uuid())]).await?;
    Ok(())
}
