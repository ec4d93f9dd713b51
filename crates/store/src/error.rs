//! What can go wrong with a store, in the words that decide what to do about it.

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
    /// The store's address makes no sense.
    #[error("{0}")]
    Address(String),
}
