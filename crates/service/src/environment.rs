//! Settings from the environment, and from files that it names.
//!
//! `TRIGGERLINE_KAFKA__BROKERS` is `kafka.brokers`: capitals, with `__` between the parts.
//! `TRIGGERLINE_CONTROL__PEPPER_FILE` names a file that holds `control.pepper`, as secrets of Docker
//! and Kubernetes are mounted; unless there is a setting that is itself called so (`delivery.ca_file`).

use std::collections::HashMap;
use std::path::Path;

use crate::config::ConfigError;

const PREFIX: &str = "TRIGGERLINE_";
const FILE: &str = "_FILE";

/// Those variables that are settings, with the values of files in their names' place.
/// `is_setting` knows keys by their names in the defaults.
pub(crate) fn settings(
    variables: impl Iterator<Item = (String, String)>,
    is_setting: impl Fn(&str) -> bool,
) -> Result<HashMap<String, String>, ConfigError> {
    // Variables for tests and tools share the prefix; only those that name a section's key (and so
    // have a `__`) are settings.
    let (mut named, mut found) = (Vec::new(), HashMap::new());
    for (name, value) in variables {
        if !name.starts_with(PREFIX) || !name.contains("__") {
            continue;
        }
        match name.strip_suffix(FILE) {
            Some(base) if !is_setting(&key(&name)) => named.push((base.to_owned(), value)),
            _ => drop(found.insert(name, value)),
        }
    }
    for (base, path) in named {
        let wrong = |why: String| ConfigError::key(key(&base), why);
        if found.contains_key(&base) {
            return Err(wrong(format!("is set twice, by {base} and by {base}{FILE}")));
        }
        let text = std::fs::read_to_string(Path::new(&path))
            .map_err(|error| wrong(format!("{base}{FILE} names {path}: {error}")))?;
        // Editors and `echo` end a line that nobody meant.
        let value = text.strip_suffix('\n').unwrap_or(&text);
        found.insert(base, value.strip_suffix('\r').unwrap_or(value).to_owned());
    }
    Ok(found)
}

fn key(name: &str) -> String {
    name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<HashMap<String, String>, String> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        settings(variables, |key| key == "delivery.ca_file").map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_holds_what_its_variable_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = path.to_str().unwrap();
        for (text, value) in
            [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", "")]
        {
            std::fs::write(&path, text).unwrap();
            let found = from(&[("TRIGGERLINE_CONTROL__PEPPER_FILE", file)]).unwrap();
            assert_eq!(found["TRIGGERLINE_CONTROL__PEPPER"], value, "{text:?}");
            assert_eq!(found.len(), 1);
        }
    }

    #[test]
    fn what_is_no_setting_is_left_and_what_is_called_so_stays() {
        let found = from(&[
            ("TRIGGERLINE_BIN", "x"),
            ("TRIGGERLINE_TEST_FILE", "x"),
            ("PATH__FILE", "x"),
            ("TRIGGERLINE_DELIVERY__CA_FILE", "/ca.pem"),
        ]);
        let only = ("TRIGGERLINE_DELIVERY__CA_FILE".to_owned(), "/ca.pem".to_owned());
        assert_eq!(found.unwrap(), HashMap::from([only]));
    }

    #[test]
    fn an_error_names_the_setting_and_the_variable() {
        let missing = from(&[("TRIGGERLINE_CONTROL__URL_FILE", "/missing/url")]).unwrap_err();
        for told in ["control.url", "TRIGGERLINE_CONTROL__URL_FILE", "/missing/url"] {
            assert!(missing.contains(told), "{missing}");
        }
        let twice = [("TRIGGERLINE_A__B", "x"), ("TRIGGERLINE_A__B_FILE", "/missing")];
        assert!(from(&twice).unwrap_err().contains("set twice"));
    }
}
