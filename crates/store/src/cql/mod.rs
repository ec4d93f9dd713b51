//! The inbox in ScyllaDB or Cassandra.
//!
//! Rows are only ever added ([`crate::pieces`]), in partitions of a customer and a minute
//! ([`schema`]): a batch goes to the partition it is for, without reading first ([`write`]). A
//! page walks the minutes in its order, and looks at no more events than it may ([`walk`]).

mod address;
mod dead_letters;
mod durability;
mod erase;
mod read;
mod schema;
mod tls;
mod walk;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::{Session, TlsContext};
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency;
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
use schema::Statements;
use write::Known;

/// How long one statement may take; then the database counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct CqlEvents {
    address: Address,
    tls: Option<TlsContext>,
    session: OnceCell<Session>,
    statements: OnceCell<Statements>,
    known: Known,
}

/// A session with all that is said in it.
struct Ready<'a> {
    session: &'a Session,
    statements: &'a Statements,
}

impl CqlEvents {
    /// Returns at once, whether the database is there or not: it is connected to when it is needed.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        Ok(Self {
            tls: tls::context(&address)?,
            address,
            session: OnceCell::new(),
            statements: OnceCell::new(),
            known: Known::default(),
        })
    }

    async fn session(&self) -> Result<&Session, StoreError> {
        let connect = async || {
            let Address { nodes, user, datacenter, .. } = &self.address;
            let mut policy = DefaultPolicy::builder().token_aware(true);
            if let Some(name) = datacenter {
                policy = policy.prefer_datacenter(name.clone());
            }
            let profile = ExecutionProfile::builder()
                .consistency(Consistency::LocalQuorum)
                .request_timeout(Some(PATIENCE))
                .load_balancing_policy(policy.build())
                .build();
            let mut session = SessionBuilder::new()
                .known_nodes(nodes)
                .tls_context(self.tls.clone())
                .default_execution_profile_handle(profile.into_handle());
            if let Some((name, password)) = user {
                session = session.user(name, password);
            }
            session.build().await.map_err(|error| unavailable("connect to the inbox", error))
        };
        self.session.get_or_try_init(connect).await
    }

    async fn ready(&self) -> Result<Ready<'_>, StoreError> {
        let session = self.session().await?;
        let prepare = async || {
            const OPERATION: &str = "prepare the inbox's statements";
            let keyspace = &self.address.keyspace;
            session
                .use_keyspace(keyspace, false)
                .await
                .map_err(|error| unavailable(OPERATION, error))?;
            durability::warn(session, keyspace).await;
            Statements::prepare(session).await.map_err(|error| unavailable(OPERATION, error))
        };
        let statements = self.statements.get_or_try_init(prepare).await?;
        Ok(Ready { session, statements })
    }
}

fn unavailable(
    operation: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unavailable { operation, source: Box::new(source) }
}

#[async_trait]
impl EventStore for CqlEvents {
    async fn migrate(&self) -> Result<(), StoreError> {
        let session = self.session().await?;
        let Address { keyspace, replication_factor, .. } = &self.address;
        for statement in schema::statements(keyspace, *replication_factor) {
            session
                .query_unpaged(statement, ())
                .await
                .map_err(|error| unavailable("make the inbox's tables", error))?;
        }
        Ok(())
    }

    async fn apply(&self, facts: &[Fact], retention: &Retention) -> Result<(), StoreError> {
        let now = OffsetDateTime::now_utc();
        write::write(&self.ready().await?, &self.known, retention, facts, now).await
    }

    async fn erase(&self, customer: CustomerId) -> Result<u64, StoreError> {
        erase::all(&self.ready().await?, customer).await
    }

    async fn event(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let ready = self.ready().await?;
        let Some(mut stored) = ready.pieces(customer, id).await?.stored() else { return Ok(None) };
        ready.fill_in(customer, std::slice::from_mut(&mut stored)).await?;
        Ok(Some(stored))
    }

    async fn deliveries(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let pieces = self.ready().await?.pieces(customer, id).await?;
        Ok(pieces.into_deliveries())
    }

    async fn inbox(
        &self,
        customer: CustomerId,
        query: &InboxQuery,
    ) -> Result<Page<StoredEvent, Position>, StoreError> {
        let ready = self.ready().await?;
        let walk = walk::Walk::new(&ready, customer, query);
        let mut page = looking::page(walk, query).await?;
        ready.fill_in(customer, &mut page.items).await?;
        Ok(page)
    }

    async fn dead_letters(
        &self,
        customer: CustomerId,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter, (OffsetDateTime, DeliveryId)>, StoreError> {
        dead_letters::page(&self.ready().await?, customer, query).await
    }
}
