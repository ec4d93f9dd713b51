//! Removing what has been kept for long enough. An event's id begins with when it was received, and
//! every table begins with customer and event: so what is old is a range of each table's key, and
//! so is what a customer has.

use libsql::{Connection, params};
use time::OffsetDateTime;
use triggerline_types::{CustomerId, EventId};
use uuid::Uuid;

use super::Fault;
use super::events::blob;
use crate::Retention;

/// Events whose rows are removed in one transaction, so that the writer has its turn again soon.
const AT_ONCE: u32 = 1_000;

/// The event first: without it nothing of it is shown.
const TABLES: [&str; 4] = ["events", "summaries", "deliveries", "attempts"];

/// Some of what has expired at `now`. Whether there may be more.
pub(super) async fn remove(
    connection: &Connection,
    retention: &Retention,
    now: OffsetDateTime,
) -> Result<bool, Fault> {
    for table in TABLES {
        // One step of an index for each customer, however many events they have.
        let first = format!("SELECT customer_id, event_id FROM {table} ORDER BY 1, 2 LIMIT 1");
        let next = format!(
            "SELECT customer_id, event_id FROM {table} WHERE customer_id > ?1 ORDER BY 1, 2 LIMIT 1"
        );
        let mut rows = connection.query(&first, ()).await?;
        while let Some(row) = rows.next().await? {
            let (customer, oldest): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let id = Uuid::from_slice(&customer).map_err(|error| Fault::row(table, error))?;
            let kept = retention.of(CustomerId::from_uuid(id));
            let before = kept.map(|kept| blob(EventId::first_at(now - kept).as_uuid()));
            if let Some(before) = before
                && oldest < before
            {
                remove_before(connection, table, customer, before).await?;
                return Ok(true);
            }
            rows = connection.query(&next, params![customer]).await?;
        }
    }
    Ok(false)
}

/// Some of what a customer has. How many events are gone, and whether there may be more.
pub(super) async fn erase(
    connection: &Connection,
    customer: CustomerId,
) -> Result<(u64, bool), Fault> {
    for table in TABLES {
        let (customer, all) = (blob(customer.as_uuid()), blob(&Uuid::max()));
        let removed = remove_before(connection, table, customer, all).await?;
        if removed > 0 {
            return Ok((if table == TABLES[0] { removed } else { 0 }, true));
        }
    }
    Ok((0, false))
}

/// Of the oldest events, up to [`AT_ONCE`]. How many rows are gone.
async fn remove_before(
    connection: &Connection,
    table: &str,
    customer: Vec<u8>,
    before: Vec<u8>,
) -> Result<u64, Fault> {
    let remove = format!(
        "DELETE FROM {table} WHERE customer_id = ?1 AND event_id IN (\
             SELECT DISTINCT event_id FROM {table} \
             WHERE customer_id = ?1 AND event_id < ?2 ORDER BY event_id LIMIT ?3)"
    );
    Ok(connection.execute(&remove, params![customer, before, AT_ONCE]).await?)
}
