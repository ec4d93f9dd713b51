//! Facts as puts without a condition; puts and deletions, up to 25 in a request, several requests
//! at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use triggerline_types::Fact;

use super::item::{Item, Key, items};
use super::{PATIENCE, Ready, failed};
use crate::Retention;
use crate::error::StoreError;

/// Items in a request: what DynamoDB takes. With 400 KB each it is not too long either (16 MB).
const BATCH: usize = 25;
/// Requests under way at once, of one call.
const AT_ONCE: usize = 16;
/// How long the first pause is before what was not taken is sent again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

const OPERATION: &str = "store facts";

#[derive(Debug, thiserror::Error)]
#[error("{left} items were not taken within {} s: the table or a partition of it is at its limit", PATIENCE.as_secs())]
struct NotTaken {
    left: usize,
}

pub(super) async fn write(
    ready: Ready<'_>,
    retention: &Retention,
    facts: &[Fact],
) -> Result<(), StoreError> {
    let of = |fact: &Fact| items(fact, retention.of(fact.customer_id()), ready.now);
    // Twice the same key in a request is refused; and under one key is the same, whenever.
    let items: BTreeMap<Key, Item> = facts.iter().flat_map(of).collect();
    let puts = items.into_values().map(|item| {
        let put = PutRequest::builder().set_item(Some(item)).build();
        put.map(|put| WriteRequest::builder().put_request(put).build())
    });
    request(ready, OPERATION, puts.collect::<Result<_, _>>()).await
}

/// Has all of these done.
pub(super) async fn request(
    Ready { client, table, .. }: Ready<'_>,
    operation: &'static str,
    requests: Result<Vec<WriteRequest>, BuildError>,
) -> Result<(), StoreError> {
    let mut requests =
        requests.map_err(|error| StoreError::Failed { operation, source: Box::new(error) })?;
    let deadline = Instant::now() + PATIENCE;
    let mut batches = Vec::new();
    while !requests.is_empty() {
        batches.push(requests.split_off(requests.len().saturating_sub(BATCH)));
    }
    stream::iter(batches.into_iter().map(|batch| send(client, table, operation, batch, deadline)))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Sends again what was not taken, until all of it is.
async fn send(
    client: &Client,
    table: &str,
    operation: &'static str,
    mut batch: Vec<WriteRequest>,
    deadline: Instant,
) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        let sent = client
            .batch_write_item()
            .set_request_items(Some(HashMap::from([(table.to_owned(), batch)])))
            .send()
            .await
            .map_err(|error| failed(operation, error))?;
        // Under the table's name, or its ARN: it is the only one that was asked.
        batch =
            sent.unprocessed_items.into_iter().flat_map(HashMap::into_values).flatten().collect();
        if batch.is_empty() {
            return Ok(());
        }
        let pause = pause(tries, rand::random());
        if Instant::now() + pause >= deadline {
            let source = Box::new(NotTaken { left: batch.len() });
            return Err(StoreError::Unavailable { operation, source });
        }
        tokio::time::sleep(pause).await;
        tries += 1;
    }
}

/// Half of it at least, so that there is one; the rest by chance, so that not all come at once.
fn pause(tries: u32, chance: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_PAUSE);
    whole.mul_f64(f64::midpoint(1.0, chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        for (tries, chance, expected) in [
            (0, 0.0, 25),
            (0, 1.0, 50),
            (1, 1.0, 100),
            (3, 0.5, 300),
            (6, 1.0, 2_000),
            (40, 0.0, 1_000),
            (u32::MAX, 1.0, 2_000),
        ] {
            assert_eq!(pause(tries, chance), Duration::from_millis(expected), "{tries} {chance}");
        }
    }
}
