//! What every service needs to be a good process: where its settings come from
//! ([`config`], `environment`), how it tells what it does ([`telemetry`]), how it is told to end
//! ([`signals`]), what time it is ([`clock`]), how others see whether it is well ([`admin`]) and
//! what it counts (`metrics`).

pub mod admin;
pub mod clock;
pub mod config;
mod environment;
mod metrics;
pub mod signals;
pub mod telemetry;

pub use config::ConfigError;
