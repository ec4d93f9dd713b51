//! What can go wrong with a store, in the words that decide what to do about it.

use triggerline_tls::server::InvalidSsl;

use crate::control::seal::Locked;

/// Every error names the operation and keeps the driver's own error as its source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or not in time: the same call may succeed later.
    #[error("{operation}: the store is unavailable")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered that it won't: the same call will fail again.
    #[error("{operation}")]
    Failed {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds something that this version can't read.
    #[error("{operation}: {table} holds {what}")]
    Unreadable { operation: &'static str, table: &'static str, what: String },
    /// A secret can't be opened with the keys that are given.
    #[error("{operation}")]
    Locked { operation: &'static str, source: Locked },
    /// The store's address makes no sense.
    #[error("{0}")]
    Address(String),
}

/// What an address says of TLS, wherever it is the address of.
impl From<InvalidSsl> for StoreError {
    fn from(invalid: InvalidSsl) -> Self {
        Self::Address(invalid.to_string())
    }
}

impl StoreError {
    /// The same error for somebody else who waited for the same answer. Of its source only the
    /// words are kept.
    pub(crate) fn retold(&self) -> Self {
        match self {
            Self::Unavailable { operation, source } => {
                Self::Unavailable { operation, source: words(&**source).into() }
            }
            Self::Failed { operation, source } => {
                Self::Failed { operation, source: words(&**source).into() }
            }
            Self::Unreadable { operation, table, what } => {
                Self::Unreadable { operation, table, what: what.clone() }
            }
            Self::Locked { operation, source } => {
                Self::Locked { operation, source: source.clone() }
            }
            Self::Address(what) => Self::Address(what.clone()),
        }
    }
}

/// An error and all that caused it.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
