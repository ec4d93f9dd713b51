//! The inbox in DynamoDB.
//!
//! Items are only ever added ([`crate::pieces`]), all in one table ([`table`]), under names by which
//! an event's pieces lie together and events in the order in which they were received ([`item`]). A
//! batch of facts is written without reading first ([`write`]), long payloads compressed and in parts
//! ([`payload`]). A page goes through the events or one of the lists, and looks at no more events
//! than it may ([`walk`], [`dead_letters`]).

mod address;
mod dead_letters;
mod erase;
mod item;
mod payload;
mod read;
mod table;
mod walk;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use triggerline_types::{CustomerId, DeliveryId, EventId, Fact};

use crate::Retention;
use crate::error::StoreError;
use crate::event::{
    DeadLetter, DeadLetterQuery, EventStore, InboxQuery, Page, Position, StoredDelivery,
    StoredEvent,
};
use crate::looking;
use address::Address;

/// How long one operation may take, with all its tries; then the database counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one try of it may take, so that there is time for another.
const A_TRY: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(2);
/// Tries of one operation, the first of them included.
const TRIES: u32 = 4;

pub struct DynamoEvents {
    address: Address,
    client: OnceCell<Client>,
}

/// A client, and what each call needs to know beside.
#[derive(Clone, Copy)]
struct Ready<'a> {
    client: &'a Client,
    table: &'a str,
    now: OffsetDateTime,
}

#[derive(Debug, thiserror::Error)]
#[error("no region is known: write dynamodb:TABLE?region=NAME, or set AWS_REGION")]
struct NoRegion;

impl DynamoEvents {
    /// Returns at once, whether the database is there or not: it is connected to when it is needed.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self { address: Address::parse(url)?, client: OnceCell::new() })
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        let connect = async || {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(A_TRY)
                .operation_timeout(PATIENCE);
            let mut config = aws_config::defaults(BehaviorVersion::latest())
                .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
                .timeout_config(timeouts.build());
            config = if self.address.is_local() {
                // It takes any; each is a database of its own there.
                let anybody = Credentials::new("triggerline", "triggerline", None, None, "local");
                let region = Region::new("us-east-1");
                let client = Builder::new().build_http();
                config.credentials_provider(anybody).region(region).http_client(client)
            } else {
                let provider = tls::Provider::Rustls(CryptoMode::Ring);
                config.http_client(Builder::new().tls_provider(provider).build_https())
            };
            if let Some(region) = &self.address.region {
                config = config.region(Region::new(region.clone()));
            }
            if let Some(endpoint) = &self.address.endpoint {
                config = config.endpoint_url(endpoint);
            }
            let config = config.load().await;
            // Where a machine's role says it, it may come to be known later.
            if config.region().is_none() {
                let (operation, source) = ("connect to the inbox", Box::new(NoRegion));
                return Err(StoreError::Unavailable { operation, source });
            }
            Ok(Client::new(&config))
        };
        self.client.get_or_try_init(connect).await
    }

    async fn ready(&self) -> Result<Ready<'_>, StoreError> {
        Ok(Ready {
            client: self.client().await?,
            table: &self.address.table,
            now: OffsetDateTime::now_utc(),
        })
    }
}

/// Only what is wrong with an item itself stays so; a table, a permission or credentials that are
/// missing may come.
fn failed<E, R>(operation: &'static str, error: SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let is_item_s = is_item_s(error.code(), error.message().unwrap_or_default());
    let source = Box::new(error);
    if is_item_s {
        StoreError::Failed { operation, source }
    } else {
        StoreError::Unavailable { operation, source }
    }
}

fn is_item_s(code: Option<&str>, message: &str) -> bool {
    // Of items that a table with other keys doesn't take, DynamoDB says in several ways that a key is
    // missing or of another type; of a key of ours it can only say that it is too long.
    let is_table_s = message.contains("key") && !message.to_lowercase().contains("size");
    code == Some("ValidationException") && !is_table_s
}

#[async_trait]
impl EventStore for DynamoEvents {
    async fn migrate(&self) -> Result<(), StoreError> {
        table::make(self.client().await?, &self.address.table).await
    }

    async fn apply(&self, facts: &[Fact], retention: &Retention) -> Result<(), StoreError> {
        write::write(self.ready().await?, retention, facts).await
    }

    async fn erase(&self, customer: CustomerId) -> Result<u64, StoreError> {
        erase::all(self.ready().await?, customer).await
    }

    async fn event(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.ready().await?.pieces(customer, id, read::Payloads::Read).await?.stored())
    }

    async fn deliveries(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let pieces = self.ready().await?.pieces(customer, id, read::Payloads::Left).await?;
        Ok(pieces.into_deliveries())
    }

    async fn inbox(
        &self,
        customer: CustomerId,
        query: &InboxQuery,
    ) -> Result<Page<StoredEvent, Position>, StoreError> {
        let walk = walk::Walk::new(self.ready().await?, customer, query);
        looking::page(walk, query).await
    }

    async fn dead_letters(
        &self,
        customer: CustomerId,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter, (OffsetDateTime, DeliveryId)>, StoreError> {
        dead_letters::page(self.ready().await?, customer, query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_item_s_own_fault_is_final() {
        let validation = Some("ValidationException");
        for (code, message, expected) in [
            (validation, "Item size has exceeded the maximum allowed size", true),
            (validation, "Aggregated size of all range keys has exceeded the limit of 1024", true),
            (validation, "The provided key element does not match the schema", false),
            (validation, "One of the required keys was not given a value", false),
            (validation, "One or more parameter values were invalid: Missing the key a", false),
            (Some("ResourceNotFoundException"), "", false),
            (Some("ProvisionedThroughputExceededException"), "", false),
            (Some("AccessDeniedException"), "", false),
            (None, "", false),
        ] {
            assert_eq!(is_item_s(code, message), expected, "{code:?} {message}");
        }
    }
}
