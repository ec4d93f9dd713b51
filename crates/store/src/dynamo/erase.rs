//! Deleting everything of a customer: all of it has the customer's partition key.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{DeleteRequest, WriteRequest};
use triggerline_types::{CustomerId, EventId};

use super::item::{Item, PARTITION, SORT, piece_of, text};
use super::{Ready, failed, write};
use crate::error::StoreError;
use crate::pieces::{EVENT, HELD};

const OPERATION: &str = "erase a customer's events";

/// Items that are deleted at once. (A query answers with 1 MB of items at most, however short what is
/// asked of them.)
const AT_ONCE: i32 = 1_000;

/// How many events are gone.
pub(super) async fn all(ready: Ready<'_>, customer: CustomerId) -> Result<u64, StoreError> {
    let (mut events, mut last) = (0, None);
    let mut start = None;
    loop {
        let (names, rest) = names(ready, customer, start).await?;
        for id in names.iter().filter_map(|name| event(name)) {
            // One that was held back and released has two such items, one after the other.
            events += u64::from(last.replace(id) != Some(id));
        }
        let deletions = names.into_iter().map(|name| {
            let customer = (PARTITION.to_owned(), text(&customer.to_string()));
            let key = HashMap::from([customer, (SORT.to_owned(), text(&name))]);
            let delete = DeleteRequest::builder().set_key(Some(key)).build();
            delete.map(|delete| WriteRequest::builder().delete_request(delete).build())
        });
        write::request(ready, OPERATION, deletions.collect()).await?;
        if rest.is_none() {
            return Ok(events);
        }
        start = rest;
    }
}

/// The event whose first item has this name, of all that it has.
fn event(name: &str) -> Option<EventId> {
    piece_of(name).filter(|(_, piece)| [EVENT, HELD].contains(piece)).map(|(id, _)| id)
}

async fn names(
    ready: Ready<'_>,
    customer: CustomerId,
    start: Option<Item>,
) -> Result<(Vec<String>, Option<Item>), StoreError> {
    let found = ready
        .client
        .query()
        .table_name(ready.table)
        .consistent_read(true)
        .limit(AT_ONCE)
        .set_exclusive_start_key(start)
        .key_condition_expression("#p = :p")
        .projection_expression("#s")
        .expression_attribute_names("#p", PARTITION)
        .expression_attribute_names("#s", SORT)
        .expression_attribute_values(":p", text(&customer.to_string()))
        .send()
        .await
        .map_err(|error| failed(OPERATION, error))?;
    let name = |mut item: Item| item.remove(SORT)?.as_s().ok().cloned();
    let names = found.items.unwrap_or_default().into_iter().filter_map(name).collect();
    Ok((names, found.last_evaluated_key.filter(|key| !key.is_empty())))
}
