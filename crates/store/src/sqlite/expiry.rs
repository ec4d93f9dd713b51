//! Removing what has been kept for long enough. An event's id begins with when it was received, and
//! every table begins with customer and event: so what is old is a range of each table's key.

use libsql::{Connection, params};
use triggerline_types::EventId;

use super::Fault;
use super::events::blob;

/// Events whose rows are removed in one transaction, so that the writer has its turn again soon.
const AT_ONCE: u32 = 1_000;

/// Some of what is about events before `before`. Whether there may be more.
pub(super) async fn remove(connection: &Connection, before: EventId) -> Result<bool, Fault> {
    // The event first: without it nothing of it is shown.
    for table in ["events", "summaries", "deliveries", "attempts"] {
        // One step of an index for each customer, however many events they have.
        let first = format!("SELECT customer_id, event_id FROM {table} ORDER BY 1, 2 LIMIT 1");
        let next = format!(
            "SELECT customer_id, event_id FROM {table} WHERE customer_id > ?1 ORDER BY 1, 2 LIMIT 1"
        );
        let mut rows = connection.query(&first, ()).await?;
        while let Some(row) = rows.next().await? {
            let (customer, oldest): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if oldest < blob(before.as_uuid()) {
                let remove = format!(
                    "DELETE FROM {table} WHERE customer_id = ?1 AND event_id IN (\
                         SELECT DISTINCT event_id FROM {table} \
                         WHERE customer_id = ?1 AND event_id < ?2 ORDER BY event_id LIMIT ?3)"
                );
                let values = params![customer, blob(before.as_uuid()), AT_ONCE];
                connection.execute(&remove, values).await?;
                return Ok(true);
            }
            rows = connection.query(&next, params![customer]).await?;
        }
    }
    Ok(false)
}
