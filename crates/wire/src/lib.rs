//! How the types travel: as Kafka records and as protobuf.
//!
//! A record on `events` or `deliveries` is a CloudEvents 1.0 event in the Kafka
//! binding's *binary* mode (CloudEvents Kafka Protocol Binding §3.2): the value is the
//! payload exactly as the producer sent it, and everything else is in headers (`ce_*`
//! by the specification, `tl_*` our own). A record on `attempts` is a small JSON
//! document of our own. So every topic can be read, and replayed, with the console
//! tools of Kafka.
//!
//! | Module | Encodes |
//! |---|---|
//! | [`event`] | an event, on `events` |
//! | [`delivery`] | a delivery, on `deliveries` and the retry tiers; with a cause, on `deliveries.dlq` |
//! | [`fact`] | the matcher's summary and each attempt, on `attempts` |
//! | [`dead_record`] | a record that could not be read, on `events.dlq` |
//! | [`webhook`] | the body and the signature that a receiver gets |
//! | [`proto`] | the gRPC messages, from `proto/`, read by [`codec`] |

pub mod codec;
pub mod dead_record;
pub mod delivery;
pub mod event;
pub mod fact;
mod record;
pub mod stored;
pub mod webhook;

pub use record::{DecodeError, Record};

/// The protobuf messages and gRPC stubs of `triggerline.v1`, as generated.
#[allow(clippy::pedantic, clippy::unwrap_used, unreachable_pub, reason = "generated code")]
pub mod proto {
    tonic::include_proto!("triggerline.v1");

    /// All of proto/, as a `FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
