//! What tests, benches and the demo share: a world of their own, and a way to know whether
//! anything was lost in it.
//!
//! - A [`Client`] is a producer: it speaks to the gateway over HTTP.
//! - A [`Receiver`] is a customer's endpoint: it verifies every webhook, keeps what it got,
//!   and answers as it was told to.
//! - The [`Oracle`] knows what was sent and what each subscription is owed, by its own rules,
//!   and judges what arrived.
//! - A [`World`] is an installation of its own; a [`Process`] in it is a running `triggerline`, to
//!   be asked, terminated or killed, and what it counts are its [`Metrics`]; [`Services`] are all of them.
//! - [`wait_until`] waits for a condition that can say why it doesn't hold yet.

mod client;
mod metrics;
mod oracle;
mod process;
mod receiver;
mod services;
mod wait;
mod world;

pub use client::{Answer, Client};
pub use metrics::Metrics;
pub use oracle::{Oracle, Sent, Verdict};
pub use process::Process;
pub use receiver::{Received, Receiver, Script};
pub use services::Services;
pub use wait::wait_until;
pub use world::{Parts, World, subscribe};
