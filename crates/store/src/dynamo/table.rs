//! The table: made where it isn't there, and held against what we need where it is.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::{Instant, sleep};

use super::failed;
use super::item::{EXPIRES, PARTITION, SORT};
use crate::error::StoreError;

const OPERATION: &str = "make the inbox's table";
/// How long a new table may take; most take some seconds.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(500);

const KEYS: [(&str, KeyType); 2] = [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)];

#[derive(Debug, thiserror::Error)]
#[error("the table is not there yet")]
struct NotYet;

pub(super) async fn make(client: &Client, table: &str) -> Result<(), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match describe(client, table).await? {
            None => create(client, table).await?,
            Some(found) if has_keys(&found) => {
                // A table that is changed (UPDATING) can be written and read.
                if found.table_status() != Some(&TableStatus::Creating) {
                    break;
                }
            }
            Some(_) => {
                return Err(StoreError::Address(format!(
                    "names the table {table:?}, whose keys are not {PARTITION} and {SORT}: it is not \
                     Triggerline's"
                )));
            }
        }
        if Instant::now() >= deadline {
            return Err(StoreError::Unavailable { operation: OPERATION, source: Box::new(NotYet) });
        }
        sleep(PAUSE).await;
    }
    expire(client, table).await
}

async fn describe(client: &Client, table: &str) -> Result<Option<TableDescription>, StoreError> {
    match client.describe_table().table_name(table).send().await {
        Ok(found) => Ok(found.table),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(failed(OPERATION, error)),
    }
}

fn has_keys(table: &TableDescription) -> bool {
    let keys = table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type().clone()));
    keys.eq(KEYS)
}

async fn create(client: &Client, table: &str) -> Result<(), StoreError> {
    let wrong = |error| StoreError::Failed { operation: OPERATION, source: Box::new(error) };
    let mut request =
        client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, key) in KEYS {
        let key = KeySchemaElement::builder().attribute_name(name).key_type(key);
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        request = request
            .key_schema(key.build().map_err(wrong)?)
            .attribute_definitions(attribute.build().map_err(wrong)?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // Somebody else is making it.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(failed(OPERATION, error)),
    }
}

/// Has DynamoDB remove what has expired. What is asked first is whether it does already: then nobody
/// who only uses the table needs leave to change it.
async fn expire(client: &Client, table: &str) -> Result<(), StoreError> {
    let found = client.describe_time_to_live().table_name(table).send().await;
    let found = found.map_err(|error| failed(OPERATION, error))?;
    let status = found.time_to_live_description.and_then(|found| found.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let asked = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES).build();
    let asked = asked
        .map_err(|error| StoreError::Failed { operation: OPERATION, source: Box::new(error) })?;
    let request = client.update_time_to_live().table_name(table).time_to_live_specification(asked);
    match request.send().await {
        Ok(_) => Ok(()),
        // Somebody else has, since we asked.
        Err(error) if error.message().is_some_and(|said| said.contains("already enabled")) => {
            Ok(())
        }
        Err(error) => Err(failed(OPERATION, error)),
    }
}
