//! Who changed what.

use libsql::{Connection, Row, params};
use triggerline_types::{AuditEntry, AuditId, CustomerId, millis};

use super::super::{Fault, column};
use super::{SqliteControl, blob, collect, rows};
use crate::control::fields;
use crate::error::StoreError;

const TABLE: &str = "audit";

/// Writes the entry of the change that the transaction makes.
pub(super) async fn record(connection: &Connection, entry: AuditEntry) -> Result<(), Fault> {
    let insert = "INSERT INTO audit (customer_id, id, at, actor, action, target) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        blob(entry.customer_id.as_uuid()),
        blob(entry.id.as_uuid()),
        millis(entry.at),
        entry.actor.to_string(),
        entry.action,
        entry.target
    ];
    connection.execute(insert, values).await?;
    Ok(())
}

pub(super) async fn page(
    store: &SqliteControl,
    customer: CustomerId,
    after: Option<AuditId>,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    store
        .lite
        .read("read the audit trail", async move |connection: &Connection| {
            const ENTRY: &str = "SELECT customer_id, id, at, actor, action, target FROM audit";
            let customer = blob(customer.as_uuid());
            let found = if let Some(after) = after {
                let query =
                    format!("{ENTRY} WHERE customer_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
                let values = params![customer, blob(after.as_uuid()), rows(limit)];
                connection.query(&query, values).await?
            } else {
                let query = format!("{ENTRY} WHERE customer_id = ?1 ORDER BY id DESC LIMIT ?2");
                connection.query(&query, params![customer, rows(limit)]).await?
            };
            collect(found, entry).await
        })
        .await
}

fn entry(row: &Row) -> Result<AuditEntry, Fault> {
    let actor = fields::actor(&row.get::<String>(3)?);
    Ok(AuditEntry {
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 0)?),
        id: AuditId::from_uuid(column::id(row, TABLE, 1)?),
        at: column::instant(row, TABLE, 2)?,
        actor: actor.map_err(|what| Fault::row(TABLE, what))?,
        action: row.get(4)?,
        target: row.get(5)?,
    })
}
