//! The real parts, as they are in production: now and then not there, and reached by TLS.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod killed;
mod secured;

use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
const LIMIT: Duration = Duration::from_mins(3);
