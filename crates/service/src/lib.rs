//! What every service needs to be a good process: where its settings come from
//! ([`config`]), how it tells what it does ([`telemetry`]), how it is told to end
//! ([`signals`]) and how others see whether it is well ([`admin`]).

pub mod admin;
pub mod config;
pub mod signals;
pub mod telemetry;

pub use config::ConfigError;
