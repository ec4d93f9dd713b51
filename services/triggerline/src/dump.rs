//! `config dump`: the settings as a service would have them, out of defaults, file and environment, in
//! TOML. What is secret is hidden, and what isn't the default says what the default is.
#![allow(clippy::print_stdout, reason = "the command prints its result for a person")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use triggerline_service::ConfigError;
use triggerline_service::config::{load, read};

use crate::config::{Config, defaults};

/// What stands in a secret's place.
const HIDDEN: &str = "…";
/// In the names of keys that hold secrets, kafka.properties' among them.
const SECRET_WORDS: [&str; 6] = ["password", "secret", "pepper", "token", "jaas", "key.pem"];

/// A key's parts: a part may have dots in it (`kafka.properties."security.protocol"`).
type Settings = BTreeMap<Vec<String>, Value>;

pub(crate) fn dump(file: Option<&Path>) -> Result<(), ConfigError> {
    // No service would start with what is refused here.
    Config::load(file, &[])?;
    let found = flat(&load(&defaults(), file, &[])?);
    print!("{}", written(&found, &flat(&read(&defaults())?)));
    Ok(())
}

fn flat(settings: &Value) -> Settings {
    let mut all = Settings::new();
    let mut left = vec![(Vec::new(), settings)];
    while let Some((path, value)) = left.pop() {
        match value {
            Value::Object(section) => left.extend(section.iter().map(|(name, value)| {
                let path: Vec<_> = path.iter().chain([name]).cloned().collect();
                (path, value)
            })),
            value => drop(all.insert(path, value.clone())),
        }
    }
    all
}

fn written(settings: &Settings, defaults: &Settings) -> String {
    let mut text = String::new();
    let mut sections: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (path, value) in settings {
        if let Some((name, section)) = path.split_last() {
            sections.entry(section).or_default().push((name, path, value));
        }
    }
    for (section, keys) in sections {
        let names: Vec<_> = section.iter().map(|name| bare(name)).collect();
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{}]", names.join("."));
        for (name, path, value) in keys {
            let usual = defaults.get(path);
            let note = match usual {
                // The environment has texts only: 6 is "6" there.
                Some(usual) if plain(usual) == plain(value) => String::new(),
                Some(usual) => format!("  # default: {}", shown(path, usual)),
                None => "  # no default".to_owned(),
            };
            let _ = writeln!(text, "{} = {}{note}", bare(name), shown(path, value));
        }
    }
    text
}

/// A name as TOML has it, with quotes where it needs them.
fn bare(name: &str) -> String {
    let is_bare = name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_' || one == '-');
    if is_bare { name.to_owned() } else { Value::from(name).to_string() }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// JSON's texts, numbers and lists are TOML's too.
fn shown(path: &[String], value: &Value) -> String {
    let name = path.join(".").replace('_', ".");
    let is_secret = SECRET_WORDS.iter().any(|word| name.contains(word));
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        _ if is_secret => format!("\"{HIDDEN}\""),
        Value::String(text) => Value::from(without_login(text)).to_string(),
        other => other.to_string(),
    }
}

/// An address without who logs in there, and with what.
fn without_login(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, place))) if rest.contains('@') => {
            format!("{scheme}://{HIDDEN}@{place}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_marked_and_what_is_secret_hidden() {
        let defaults = flat(&json!({
            "kafka": {"brokers": "127.0.0.1:9092", "prefix": "t."},
            "control": {"url": "postgres://triggerline@127.0.0.1/triggerline", "pepper": "",
                        "secret_keys": []},
            "topics": {"partitions": 6},
        }));
        let settings = flat(&json!({
            "kafka": {"brokers": "a:1,b:2", "prefix": "t.", "properties": {
                "sasl_password": "hunter2", "ssl.ca.location": "/ca.pem"}},
            "control": {"url": "postgres://u:hunter2@db/t?sslmode=require", "pepper": "hunter2",
                        "secret_keys": ["k1:hunter2"]},
            "topics": {"partitions": "6"},
        }));
        let expected = r#"[control]
pepper = "…"  # default: ""
secret_keys = "…"  # default: []
url = "postgres://…@db/t?sslmode=require"  # default: "postgres://…@127.0.0.1/triggerline"

[kafka]
brokers = "a:1,b:2"  # default: "127.0.0.1:9092"
prefix = "t."

[kafka.properties]
sasl_password = "…"  # no default
"ssl.ca.location" = "/ca.pem"  # no default

[topics]
partitions = "6"
"#;
        assert_eq!(written(&settings, &defaults), expected);
    }

    #[test]
    fn the_defaults_differ_from_themselves_in_nothing() {
        let usual = flat(&read(&defaults()).unwrap());
        let text = written(&usual, &usual);
        assert!(!text.contains('#') && text.contains("[gateway.limits]"), "{text}");
        assert!(text.contains("retention = \"14d\""), "{text}");
    }
}
