//! The dead letters among the deliveries.

use libsql::{Connection, Row, Value, params};
use triggerline_types::{
    CustomerId, DeliveryId, DeliveryState, EventId, EventType, SubscriptionId, millis,
};

use super::events::{attempt, blob};
use super::{Fault, column};
use crate::event::{DeadLetter, DeadLetterQuery, Direction, StoredDelivery};

pub(super) async fn page(
    connection: &Connection,
    customer: CustomerId,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>, Fault> {
    let (sql, values) = statement(customer, query);
    let mut rows = connection.query(&sql, values).await?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().await? {
        found.push(dead_letter(&row)?);
    }
    for one in &mut found {
        let query = "SELECT subscription_id, started_at, number, delivery_id, latency_us, \
             response, response_status, response_text, outcome, outcome_at, outcome_text \
             FROM attempts WHERE customer_id = ?1 AND event_id = ?2 AND subscription_id = ?3 \
             ORDER BY started_at, number";
        let (event, subscription) = (one.event_id.as_uuid(), one.delivery.subscription_id);
        let keys = params![blob(customer.as_uuid()), blob(event), blob(subscription.as_uuid())];
        let mut rows = connection.query(query, keys).await?;
        while let Some(row) = rows.next().await? {
            one.delivery.attempts.push(attempt(&row, *customer.as_uuid(), *event)?);
        }
    }
    Ok(found)
}

/// Only what is asked for stands in it, so that SQLite picks the index that fits.
fn statement(customer: CustomerId, query: &DeadLetterQuery) -> (String, Vec<Value>) {
    let mut sql = "SELECT d.delivery_id, d.event_id, d.subscription_id, d.workflow_id, d.last_at, \
         e.event_type, e.received_at FROM deliveries d JOIN events e USING (customer_id, event_id) \
         WHERE d.customer_id = ? AND d.state = 'dead_lettered'"
        .to_owned();
    let mut values: Vec<Value> = vec![blob(customer.as_uuid()).into()];
    let mut and = |condition: &str, more: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend(more);
    };
    if let Some(id) = query.delivery_id {
        and("d.delivery_id = ?", vec![blob(id.as_uuid()).into()]);
    }
    if let Some(id) = query.subscription_id {
        and("d.subscription_id = ?", vec![blob(id.as_uuid()).into()]);
    }
    if let Some(event_type) = &query.event_type {
        and("e.event_type = ?", vec![event_type.as_str().into()]);
    }
    if let Some(from) = query.from {
        and("d.last_at >= ?", vec![millis(from).into()]);
    }
    if let Some(to) = query.to {
        and("d.last_at < ?", vec![millis(to).into()]);
    }
    let (past, order) = match query.direction {
        Direction::NewestFirst => ("(d.last_at, d.delivery_id) < (?, ?)", "DESC"),
        Direction::OldestFirst => ("(d.last_at, d.delivery_id) > (?, ?)", "ASC"),
    };
    if let Some((at, id)) = query.after {
        and(past, vec![millis(at).into(), blob(id.as_uuid()).into()]);
    }
    values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
    (format!("{sql} ORDER BY d.last_at {order}, d.delivery_id {order} LIMIT ?"), values)
}

fn dead_letter(row: &Row) -> Result<DeadLetter, Fault> {
    let event_type = EventType::parse(row.get::<String>(5)?);
    Ok(DeadLetter {
        event_id: EventId::from_uuid(column::id(row, "deliveries", 1)?),
        event_type: event_type.map_err(|error| Fault::row("events", error))?,
        received_at: column::instant(row, "events", 6)?,
        at: column::instant(row, "deliveries", 4)?,
        delivery: StoredDelivery {
            id: DeliveryId::from_uuid(column::id(row, "deliveries", 0)?),
            subscription_id: SubscriptionId::from_uuid(column::id(row, "deliveries", 2)?),
            workflow_id: row.get(3)?,
            state: DeliveryState::DeadLettered,
            attempts: Vec::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::event::EventStore as _;
    use crate::sqlite::SqliteEvents;

    #[tokio::test]
    async fn every_page_walks_an_index_of_dead_letters() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEvents::open(&folder.path().join("inbox.db")).await.unwrap();
        store.migrate().await.unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let uuid = uuid::Uuid::nil();
        let after = Some((now, DeliveryId::from_uuid(uuid)));
        let subscription_id = Some(SubscriptionId::new());
        let event_type = Some(EventType::parse("a").unwrap());
        for query in [
            DeadLetterQuery::default(),
            DeadLetterQuery { after, ..DeadLetterQuery::default() },
            DeadLetterQuery {
                direction: Direction::OldestFirst,
                from: Some(now),
                to: Some(now),
                after,
                ..DeadLetterQuery::default()
            },
            DeadLetterQuery { event_type, after, ..DeadLetterQuery::default() },
            DeadLetterQuery { subscription_id, after, ..DeadLetterQuery::default() },
            DeadLetterQuery {
                delivery_id: Some(DeliveryId::from_uuid(uuid)),
                ..DeadLetterQuery::default()
            },
        ] {
            let (sql, values) = statement(CustomerId::new(), &query);
            let plan = store.plan(&sql, values).await;
            assert!(plan.contains("USING INDEX deliveries_dead"), "{query:?}:\n{plan}");
            let sorts = plan.contains("TEMP B-TREE") && query.delivery_id.is_none();
            assert!(!plan.contains("SCAN") && !sorts, "{query:?}:\n{plan}");
        }
    }
}
