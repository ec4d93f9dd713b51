//! Endpoints that answer with nothing but failure.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use triggerline_types::SubscriptionId;

use super::PostgresControl;
use super::exchange::Fault;
use crate::control::FORGOTTEN;
use crate::error::StoreError;

pub(super) async fn failed(
    store: &PostgresControl,
    id: SubscriptionId,
    at: OffsetDateTime,
) -> Result<OffsetDateTime, StoreError> {
    store
        .ask("note that an endpoint failed", async |client| {
            let insert = "INSERT INTO failing_endpoints AS known VALUES ($1, $2, $2) \
                 ON CONFLICT (subscription_id) DO UPDATE SET \
                 since = CASE WHEN known.last < $3 THEN excluded.since \
                         ELSE least(known.since, excluded.since) END, \
                 last = greatest(known.last, excluded.last) RETURNING since";
            let row = client.query_one(insert, &[id.as_uuid(), &at, &(at - FORGOTTEN)]).await?;
            Ok(row.get(0))
        })
        .await
}

pub(super) async fn all(store: &PostgresControl) -> Result<Vec<SubscriptionId>, StoreError> {
    store
        .ask("list failing endpoints", async |client| {
            let rows = client.query("SELECT subscription_id FROM failing_endpoints", &[]).await?;
            Ok(rows.iter().map(|row| SubscriptionId::from_uuid(row.get(0))).collect())
        })
        .await
}

pub(super) async fn recovered(
    store: &PostgresControl,
    id: SubscriptionId,
) -> Result<(), StoreError> {
    store.ask("note that an endpoint answers", async |client| forget(&***client, id).await).await
}

pub(super) async fn forget(client: &impl GenericClient, id: SubscriptionId) -> Result<(), Fault> {
    let delete = "DELETE FROM failing_endpoints WHERE subscription_id = $1";
    client.execute(delete, &[id.as_uuid()]).await?;
    Ok(())
}
