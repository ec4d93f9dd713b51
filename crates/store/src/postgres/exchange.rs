//! Asking PostgreSQL something, with limits, and what its errors mean.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Transaction,
};
use tokio_postgres::Config;

use super::PostgresControl;
use super::address::Address;
use crate::control::endpoint::Unreadable;
use crate::control::seal::{Locked, SecretKeys};
use crate::error::StoreError;

/// For a connection to be made, to be handed out, and for all that one call asks.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The server's own limit. A little less, so that a slow statement is an answer and its
/// connection stays.
const STATEMENT: Duration = Duration::from_secs(4);
/// How long a transaction may wait for its next statement: a process that was stopped in the
/// middle must not keep the revision from all others.
const IDLE_TRANSACTION: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 16;

/// What can go wrong while the server is asked.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(tokio_postgres::Error),
    /// A row that this version can't read.
    Row {
        table: &'static str,
        what: String,
    },
    /// A secret that can't be opened.
    Locked(Locked),
}

impl Fault {
    /// Whether it says something about all rows: the keys are not those of before.
    pub(super) fn concerns_all(&self, keys: &SecretKeys) -> bool {
        matches!(self, Self::Locked(locked) if !keys.blame_the_row(locked))
    }
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Row(what) => Self::Row { table: "subscriptions", what },
            Unreadable::Locked(locked) => Self::Locked(locked),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Row { table, what } => write!(f, "{table} holds {what}"),
            Self::Locked(locked) => locked.fmt(f),
        }
    }
}

impl Fault {
    /// For `map_err`: what can't be read, and in which table.
    pub(super) fn row(table: &'static str) -> impl Fn(String) -> Self {
        move |what| Self::Row { table, what }
    }

    /// What PostgreSQL answered is its last word, unless it says that it lost its connection
    /// (class 08), that it is going away (57), has no room (53) or that two transactions met
    /// (40). No answer at all may be one later.
    pub(super) fn into_store_error(self, operation: &'static str) -> StoreError {
        const PASSING: [&str; 4] = ["08", "40", "53", "57"];
        match self {
            Self::Row { table, what } => StoreError::Unreadable { operation, table, what },
            Self::Locked(locked) => StoreError::Locked { operation, source: locked },
            Self::Sql(error) => {
                let final_word = error.code().is_some_and(|state| {
                    !PASSING.iter().any(|class| state.code().starts_with(class))
                });
                let source = error.into();
                if final_word {
                    StoreError::Failed { operation, source }
                } else {
                    StoreError::Unavailable { operation, source }
                }
            }
        }
    }
}

/// The limits that a connection carries itself.
pub(super) fn be_impatient(config: &mut Config) {
    config.connect_timeout(PATIENCE);
    // A server that went silent is given up by the kernel, not waited for.
    config.tcp_user_timeout(PATIENCE);
    config.application_name("triggerline");
    config.options(format!(
        "-c statement_timeout={} -c idle_in_transaction_session_timeout={}",
        STATEMENT.as_millis(),
        IDLE_TRANSACTION.as_millis()
    ));
}

pub(super) fn pool(address: Address) -> Result<Pool, StoreError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_config(address.config, address.tls, recycling))
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(PATIENCE))
        .wait_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .build()
        .map_err(|error| StoreError::Address(error.to_string()))
}

impl PostgresControl {
    /// Asks with a connection of the pool, for so long.
    pub(super) async fn ask<R>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Object) -> Result<R, Fault>,
    ) -> Result<R, StoreError> {
        let (answer, _client) = self.exchange(operation, work).await?;
        Ok(answer)
    }

    /// As [`Self::ask`], for whoever needs the same connection again.
    pub(super) async fn ask_and_keep(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Object) -> Result<(), Fault>,
    ) -> Result<Object, StoreError> {
        let ((), client) = self.exchange(operation, work).await?;
        Ok(client)
    }

    /// Does `work` in a transaction, which is committed when it returns `Ok`.
    pub(super) async fn change<R>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<R, Fault>,
    ) -> Result<R, StoreError> {
        self.ask(operation, async move |client: &mut Object| {
            let transaction = client.build_transaction().start().await?;
            let result = work(&transaction).await?;
            transaction.commit().await?;
            Ok(result)
        })
        .await
    }

    async fn exchange<R>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Object) -> Result<R, Fault>,
    ) -> Result<(R, Object), StoreError> {
        let mut client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Fault::Sql(error).into_store_error(operation),
            error => StoreError::Unavailable { operation, source: error.into() },
        })?;
        match tokio::time::timeout(PATIENCE, work(&mut client)).await {
            Ok(answer) => match answer {
                Ok(answer) => Ok((answer, client)),
                Err(fault) => Err(fault.into_store_error(operation)),
            },
            Err(late) => {
                // Its answer may still come: whoever used it next would wait behind that.
                drop(Object::take(client));
                Err(StoreError::Unavailable { operation, source: late.into() })
            }
        }
    }
}
