//! Logs, to standard error: standard output belongs to what a person asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Starts logging for the whole process. `RUST_LOG` wins over the settings.
pub fn init(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .map_err(|error| ConfigError::key("RUST_LOG", error.to_string()))?,
        _ => EnvFilter::try_new(&config.filter)
            .map_err(|error| ConfigError::key("log.filter", error.to_string()))?,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    // In tests several services start in one process; the first one's logging serves all.
    if installed.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
