//! What runs inside the one process when nobody brings their own: a Kafka broker.
//!
//! In the order a request meets them: `broker` accepts, `connection` frames, `records` answers Produce,
//! Fetch and ListOffsets, `log` keeps the batches, `sequence` tells a retry from a gap. Everything else
//! that a client may ask (topics, groups, committed offsets, producer ids) is answered by Tansu.

pub(crate) mod broker;
mod connection;
mod log;
mod records;
mod sequence;
