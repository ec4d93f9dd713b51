//! What every backend must do, as code: one suite for each trait.
//!
//! A backend's test opens an empty store and calls [`control_store`] or [`event_store`]. Each
//! case makes customers of its own, so that they don't meet, and says in its panic what it
//! expected.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test suite, by intent")]

mod access;
mod control;
mod crowd;
mod erasures;
mod events;
mod keys;
mod queue;
mod replays;
mod sealing;

pub use control::control_store;
pub use crowd::crowd;
pub use events::{event_store, expiry};
pub use sealing::sealing;
