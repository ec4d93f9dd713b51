//! Rules of this workspace that the compiler does not check.
//!
//! * **Dependencies point one way.** [`LAYERS`] lists the crates from the bottom up; a crate may only use crates
//!   of a lower layer. So services can't use each other, and `types` can be read without reading anything else.
//! * **Some outside crates have one owner**, see [`OWNERS`]: swapping Kafka's client touches one crate.
//! * **Files stay readable**: [`LINES_MAX`].
//!
//! The rules are pure functions from what was found to a list of problems; [`run`] finds and prints.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::checkout::Checkout;
use crate::run::{captured, cargo};

/// From the bottom up (docs/ARCHITECTURE.md). `xtask` stands apart: it uses none of them.
const LAYERS: [&[&str]; 5] = [
    &["triggerline-guard", "triggerline-tls", "triggerline-types"],
    &["triggerline-matching", "triggerline-wire", "triggerline-store"],
    &["triggerline-kafka", "triggerline-service"],
    &[
        "triggerline-testkit",
        "triggerline-gateway",
        "triggerline-matcher",
        "triggerline-delivery",
        "triggerline-storage",
        "triggerline-replay",
        "triggerline-analytics",
    ],
    &["triggerline", "triggerline-bench", "triggerline-bench-selectors"],
];

/// Outside crates (by the start of their name) that only one of ours may name, and why.
const OWNERS: [(&str, &str, &str); 2] = [
    (
        "rdkafka",
        "triggerline-kafka",
        "its rules (flush before drop, offsets in order) are kept in one place",
    ),
    (
        "tansu-",
        "triggerline",
        "the embedded broker is two thirds of a build; libraries and their tests do without",
    ),
];

/// A file of this length has two subjects.
const LINES_MAX: usize = 800;
/// A file of this length is about to.
const LINES_WARN: usize = 500;

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Problem(String),
    Warning(String),
}

/// A crate of the workspace and what it names in its Cargo.toml.
struct Member {
    name: String,
    uses: Vec<Use>,
}

struct Use {
    name: String,
    /// Under [dev-dependencies]: only its tests use it.
    dev: bool,
}

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let metadata = captured(cargo().current_dir(&checkout.root).args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let mut findings = dependencies(&members(&serde_json::from_str(&metadata)?)?);
    let mut sizes = Vec::new();
    measure(&checkout.root, &checkout.root, &mut sizes)?;
    sizes.sort();
    findings.extend(sizes.iter().filter_map(|(file, lines)| length(file, *lines)));

    let mut problems = 0;
    for finding in findings {
        match finding {
            Finding::Warning(text) => println!("tidy: warning: {text}"),
            Finding::Problem(text) => {
                problems += 1;
                println!("tidy: {text}");
            }
        }
    }
    if problems > 0 {
        bail!("tidy found {problems} problem(s)");
    }
    Ok(())
}

fn members(metadata: &Value) -> Result<Vec<Member>> {
    let text = |value: &Value| {
        value.as_str().map(str::to_owned).context("a name in cargo's metadata is not a string")
    };
    let packages = metadata["packages"].as_array().context("cargo's metadata has no packages")?;
    packages
        .iter()
        .map(|package| {
            let dependencies =
                package["dependencies"].as_array().context("a package without dependencies")?;
            let uses = dependencies.iter().map(|dependency| {
                Ok(Use { name: text(&dependency["name"])?, dev: dependency["kind"] == "dev" })
            });
            Ok(Member { name: text(&package["name"])?, uses: uses.collect::<Result<_>>()? })
        })
        .collect()
}

fn dependencies(members: &[Member]) -> Vec<Finding> {
    let mut problems = Vec::new();
    for Member { name, uses } in members {
        let layer = layer(name);
        if layer.is_none() && name != "xtask" {
            problems
                .push(format!("{name} has no place in LAYERS of xtask/src/tidy.rs: give it one"));
        }
        for used in uses {
            for (outside, owner, why) in OWNERS {
                // What is measured against a reference must name it.
                let measured = name == "triggerline-bench";
                if used.name.starts_with(outside) && name != owner && !measured {
                    problems
                        .push(format!("{name} names {}, which only {owner} may: {why}", used.name));
                }
            }
            let (Some(layer), Some(below)) = (layer, self::layer(&used.name)) else {
                continue;
            };
            // Any crate's tests may use the test kit, although it stands above most of them.
            let test_kit = used.dev && used.name == "triggerline-testkit";
            if below >= layer && !test_kit {
                problems.push(format!("{name} uses {}, which is not in a lower layer", used.name));
            }
        }
    }
    problems.into_iter().map(Finding::Problem).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn length(file: &str, lines: usize) -> Option<Finding> {
    if lines > LINES_MAX {
        return Some(Finding::Problem(format!(
            "{file} has {lines} lines, more than {LINES_MAX}: split it"
        )));
    }
    (lines > LINES_WARN).then(|| {
        Finding::Warning(format!("{file} has {lines} lines; past {LINES_MAX} is too long"))
    })
}

/// All .rs files under a folder with their number of lines; names are relative to `root`.
fn measure(root: &Path, folder: &Path, found: &mut Vec<(String, usize)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            // What is built or downloaded is not ours to keep short.
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                measure(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let shown = path.strip_prefix(root).unwrap_or(&path);
            found.push((shown.display().to_string(), text.lines().count()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: used used dev=used`
    fn judge(crates: &[&str]) -> Vec<Finding> {
        let member = |line: &&str| {
            let (name, uses) = line.split_once(':').unwrap();
            let uses = uses.split_whitespace().map(|word| match word.strip_prefix("dev=") {
                Some(name) => Use { name: name.to_owned(), dev: true },
                None => Use { name: word.to_owned(), dev: false },
            });
            Member { name: name.to_owned(), uses: uses.collect() }
        };
        dependencies(&crates.iter().map(member).collect::<Vec<_>>())
    }

    #[test]
    fn what_points_downwards_is_fine() {
        let fine = [
            "triggerline-types: serde dev=triggerline-testkit",
            "triggerline-kafka: triggerline-wire triggerline-types rdkafka",
            "triggerline-gateway: triggerline-kafka triggerline-service tokio dev=triggerline-testkit",
            "triggerline: triggerline-gateway tansu-broker dev=triggerline-testkit",
            "xtask: anyhow",
        ];
        assert_eq!(judge(&fine), []);
    }

    #[test]
    fn each_wrong_turn_is_one_problem() {
        let wrong = [
            "triggerline-types: triggerline-wire",          // upwards
            "triggerline-wire: triggerline-matching",       // sideways
            "triggerline-gateway: triggerline-matcher",     // one service on another
            "triggerline-gateway: dev=triggerline-matcher", // even in its tests
            "triggerline-gateway: triggerline-testkit",     // the test kit outside tests
            "triggerline-gateway: rdkafka",                 // Kafka's client has one owner
            "triggerline-testkit: dev=rdkafka-sys",         // under any name
            "triggerline-kafka: tansu-broker",              // and so has the embedded broker
            "triggerline-new: tokio",                       // a crate without a layer
        ];
        for line in wrong {
            assert_eq!(judge(&[line]).len(), 1, "{line}: {:?}", judge(&[line]));
        }
    }

    #[test]
    fn cargos_metadata_is_understood() {
        let metadata = serde_json::json!({"packages": [{"name": "triggerline-types", "dependencies": [
            {"name": "serde", "kind": null}, {"name": "triggerline-testkit", "kind": "dev"}
        ]}]});
        let members = members(&metadata).unwrap();
        let uses: Vec<_> =
            members[0].uses.iter().map(|used| (used.name.as_str(), used.dev)).collect();
        assert_eq!(uses, [("serde", false), ("triggerline-testkit", true)]);
    }

    #[test]
    fn length_is_warned_about_and_then_refused() {
        assert_eq!(length("a.rs", 500), None);
        assert!(matches!(length("a.rs", 501), Some(Finding::Warning(_))));
        assert!(matches!(length("a.rs", 800), Some(Finding::Warning(_))));
        assert!(matches!(length("a.rs", 801), Some(Finding::Problem(_))));
    }
}
