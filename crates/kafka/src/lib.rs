//! Kafka, as Triggerline uses it. No other crate names rdkafka.
//!
//! - A [`Producer`] hands records to Kafka and says when all in-sync replicas have them.
//! - [`consume`] runs one service's [`Handler`] over its topics, many records at a time,
//!   and commits an offset only when that record and all before it are done. Its cast:
//!   a *poll thread*, a *lane* for each partition, and in each lane an [`InFlight`] window.
//!   Meanwhile a thread of its own asks Kafka how far the service is behind (`lag`).
//! - A [`Scan`] goes through a topic once, by time, for replays.
//! - [`Topics`] knows what the topics are called and how each is set up.
//!
//! **The invariant**: an offset is stored only after the handler returned `Ok`, and a
//! handler returns `Ok` only after the next hop acknowledged everything derived from the
//! record. See docs/ARCHITECTURE.md.

mod complaints;
mod config;
mod consumer;
mod error;
mod in_flight;
mod lag;
mod lane;
mod producer;
mod progress;
mod rebalance;
mod scan;
mod topics;
mod turn;
mod work;

pub use config::KafkaConfig;
pub use consumer::{Consumed, ConsumerConfig, Handler, HandlerError, Stop, Window, consume};
pub use error::KafkaError;
pub use in_flight::InFlight;
pub use producer::{Placed, ProduceError, Producer, ROOM};
pub use scan::{Place, Scan, Scanned};
pub use topics::{Tier, Topic, TopicSettings, Topics, apply, check_topics};
pub use turn::{GivenUp, Turn};
