//! Settings: the commented default file, then the operator's file, then the environment.
//!
//! How the environment names a key: [`crate::environment`]. A key that nobody knows is an error, as
//! is a value of the wrong kind, and the error names the key.

use std::path::Path;

use ::config::{Config, Environment, File, FileFormat, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::environment;

/// The exit status for settings that make no sense (`EX_USAGE` of sysexits.h).
pub const EXIT_BAD_CONFIG: u8 = 64;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read the settings: {0}")]
    Unreadable(String),
    /// Names the key and what is wrong with it.
    #[error("setting {key}: {why}")]
    Key { key: String, why: String },
}

impl ConfigError {
    pub fn key(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Key { key: key.into(), why: why.into() }
    }
}

/// What TOML says by itself.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let source = File::from_str(text, FileFormat::Toml);
    let read = Config::builder().add_source(source).build().and_then(Config::try_deserialize);
    read.map_err(|error| ConfigError::Unreadable(error.to_string()))
}

/// Reads settings. `defaults` is TOML; `overrides` (from the command line) win over all.
pub fn load<T: DeserializeOwned>(
    defaults: &str,
    file: Option<&Path>,
    overrides: &[(String, String)],
) -> Result<T, ConfigError> {
    let usual = Config::builder().add_source(File::from_str(defaults, FileFormat::Toml));
    let mut builder = usual.clone();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable(format!("{}: {error}", path.display())))?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let usual = usual.build().map_err(|error| ConfigError::Unreadable(error.to_string()))?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let variables = environment::settings(variables, |key| usual.get::<Value>(key).is_ok())?;
    let environment = Environment::with_prefix("TRIGGERLINE").prefix_separator("_").separator("__");
    builder = builder.add_source(environment.source(Some(variables)));
    for (key, value) in overrides {
        builder = builder
            .set_override(key, value.as_str())
            .map_err(|error| ConfigError::key(key, error.to_string()))?;
    }
    let settings = builder.build().map_err(|error| {
        let place = file.map_or_else(String::new, |path| format!("{}: ", path.display()));
        ConfigError::Unreadable(format!("{place}{error}"))
    })?;
    serde_path_to_error::deserialize(settings).map_err(|error| ConfigError::Key {
        key: error.path().to_string(),
        why: error.inner().to_string(),
    })
}

/// A duration as people write it: `500ms`, `15s`, `10m`, `2h`, `14d`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a duration; write a number and a unit, such as 500ms, 15s, 10m, 2h or 14d"
            ))
        })
    }

    /// Empty for none.
    pub fn optional<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        deserialize(de::value::StringDeserializer::new(text)).map(Some)
    }

    pub fn parse(text: &str) -> Option<Duration> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().ok()?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(millis).map(Duration::from_millis)
    }
}

/// Several texts: a list in a file, or, as the environment has it, one text with commas.
pub mod list {
    use serde::{Deserialize, Deserializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            List(Vec<String>),
            Text(String),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::List(list) => list,
            Form::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// How to log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A filter of tracing-subscriber's `EnvFilter`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Pretty,
    Json,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        kafka: Section,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        partitions: u32,
        #[serde(with = "duration")]
        wait: Duration,
    }

    const DEFAULTS: &str = "[kafka]\npartitions = 6\nwait = \"2s\"";

    fn with(text: &str) -> Result<Settings, ConfigError> {
        let file = std::env::temp_dir().join(format!("{}-{text:p}.toml", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let loaded = load(DEFAULTS, Some(&file), &[]);
        std::fs::remove_file(&file).unwrap();
        loaded
    }

    #[test]
    fn the_file_wins_over_the_defaults_and_the_command_line_over_both() {
        let settings = with("[kafka]\npartitions = 9").unwrap();
        assert_eq!(settings.kafka.partitions, 9);
        assert_eq!(settings.kafka.wait, Duration::from_secs(2));
        let overrides = [("kafka.partitions".to_owned(), "3".to_owned())];
        let settings: Settings = load(DEFAULTS, None, &overrides).unwrap();
        assert_eq!(settings.kafka.partitions, 3);
    }

    #[test]
    fn an_error_names_the_key() {
        for (text, told) in [
            ("[kafka]\npartitons = 9", "partitons"),
            ("[kafka]\npartitions = \"many\"", "kafka.partitions"),
            ("[kafka]\nwait = \"soon\"", "kafka.wait"),
            ("[kafak]\nwait = \"1s\"", "kafak"),
            ("[kafka\n", "expected"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, parsed) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("15s", Some(Duration::from_secs(15))),
            ("14d", Some(Duration::from_hours(14 * 24))),
            ("15", None),
            ("s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration::parse(text), parsed, "{text}");
        }
    }
}
