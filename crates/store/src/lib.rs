//! What Triggerline remembers, and where.
//!
//! - A [`ControlStore`] holds what people set up: customers, API keys, schemas, subscriptions,
//!   and who changed what. PostgreSQL in production, SQLite embedded.
//! - An [`EventStore`] holds what happened: the inbox of events, deliveries and
//!   attempts. SQLite on one machine; ScyllaDB, Cassandra or DynamoDB behind the same promises.
//! - A [`Cache`] holds what may be forgotten without losing an event: rate limits and
//!   idempotency keys. Redis for several gateways, memory for one.
//! - A [`Following`] keeps one service's picture of all subscriptions up to date, so
//!   that no event waits for a database.
//!
//! The traits state promises, method by method; [`conformance`] and
//! [`cache::conformance`] hold every backend to them. No service names a database driver.

pub mod cache;
pub mod conformance;
mod control;
mod cql;
mod dynamo;
mod error;
mod event;
mod following;
mod looking;
mod pieces;
mod postgres;
mod retention;
mod rounds;
mod sqlite;
mod url;
mod words;

pub use cache::{
    Cache, Claim, Grant, IdempotencyKey, MemoryCache, RedisCache, Release, Reservation, Want,
};
pub use control::erasures::ErasureStore;
pub use control::queue::{
    Depth, Due, Fate, Held, Helping, Lease, NewQueued, QueueStore, Queued, Settled,
};
pub use control::replays::{MAX_RUNNING_REPLAYS, NewReplay, ReplayStore};
pub use control::seal::{InvalidSecretKeys, Locked, SecretKeys};
pub use control::{
    Access, AccessChange, AccessChanges, Changes, ControlStore, CustomerChange, Edited, FORGOTTEN,
    KeyCreation, KeyRotation, MAX_LIVE_KEYS, MAX_SCHEMAS, MAX_SCHEMAS_BYTES, MAX_SUBSCRIPTIONS,
    NewCustomer, NewSubscription, SchemaPut, SubscriptionCreation, SubscriptionEdit,
    SubscriptionFields,
};
pub use cql::CqlEvents;
pub use dynamo::DynamoEvents;
pub use error::StoreError;
pub use event::{
    DeadLetter, DeadLetterQuery, Direction, EventStore, InboxQuery, Page, Position, StoredDelivery,
    StoredEvent,
};
pub use following::{Following, FollowingHandle, View};
pub use postgres::PostgresControl;
pub use retention::{Retention, days};
pub use sqlite::{SqliteControl, SqliteEvents};
pub use url::{open_cache, open_control, open_events};
