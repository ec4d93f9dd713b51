//! Who changed what, and telling everybody that something has changed.

use tokio_postgres::{Row, Transaction};
use triggerline_types::{AuditEntry, AuditId, CustomerId};

use super::PostgresControl;
use super::exchange::Fault;
use crate::control::fields;
use crate::error::StoreError;

const ENTRY: &str = "SELECT customer_id, id, at, actor, action, target FROM audit";

/// Writes the entry of the change that the transaction makes, and wakes all that listen once
/// it is committed: one statement, because the revision is held meanwhile.
pub(super) async fn record(
    transaction: &Transaction<'_>,
    entry: AuditEntry,
) -> Result<(), tokio_postgres::Error> {
    let insert = "INSERT INTO audit (customer_id, id, at, actor, action, target) \
         SELECT $1, $2, $3, $4, $5, $6 FROM pg_notify('triggerline_control', '')";
    transaction
        .execute(
            insert,
            &[
                entry.customer_id.as_uuid(),
                entry.id.as_uuid(),
                &entry.at,
                &entry.actor.to_string(),
                &entry.action,
                &entry.target,
            ],
        )
        .await
        .map(drop)
}

pub(super) async fn page(
    store: &PostgresControl,
    customer: CustomerId,
    after: Option<AuditId>,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    store
        .ask("read the audit trail", async |client| {
            let limit = super::rows(limit);
            let rows = if let Some(after) = after {
                let query =
                    format!("{ENTRY} WHERE customer_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
                client.query(&query, &[customer.as_uuid(), after.as_uuid(), &limit]).await?
            } else {
                let query = format!("{ENTRY} WHERE customer_id = $1 ORDER BY id DESC LIMIT $2");
                client.query(&query, &[customer.as_uuid(), &limit]).await?
            };
            rows.iter().map(entry).collect()
        })
        .await
}

fn entry(row: &Row) -> Result<AuditEntry, Fault> {
    Ok(AuditEntry {
        customer_id: CustomerId::from_uuid(row.get(0)),
        id: AuditId::from_uuid(row.get(1)),
        at: row.get(2),
        actor: fields::actor(row.get(3)).map_err(Fault::row("audit"))?,
        action: row.get(4),
        target: row.get(5),
    })
}
