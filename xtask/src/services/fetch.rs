//! Getting what is not here: jars from Maven Central into the cache, programs from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::process;
use crate::run;

/// A set of jars: `group:artifact:version` of what we ask for; Maven adds what those need.
pub(crate) struct Jars {
    /// Name of the folder in the cache.
    pub(crate) name: &'static str,
    pub(crate) artifacts: &'static [&'static str],
}

pub(crate) const KAFKA: Jars = Jars {
    name: "kafka-4.1.1",
    artifacts: &[
        "org.apache.kafka:kafka_2.13:4.1.1",
        "org.apache.kafka:kafka-tools:4.1.1",
        "org.slf4j:slf4j-simple:1.7.36", // without a backend for slf4j, Kafka keeps its log to itself
    ],
};

pub(crate) const DYNAMODB: Jars =
    Jars { name: "dynamodb-local-2.6.1", artifacts: &["com.amazonaws:DynamoDBLocal:2.6.1"] };

pub(crate) const CASSANDRA: Jars =
    Jars { name: "cassandra-5.0.6", artifacts: &["org.apache.cassandra:cassandra-all:5.0.6"] };

/// Debian's packages and Maven's local repository are not made for two users at once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The folder of the jars, fetched if it is not complete.
pub(crate) fn jars(jars: &Jars, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(jars.name);
    let (lib, stamp) = (folder.join("lib"), folder.join("complete"));
    let pom = pom(jars);
    // The stamp is written last and holds what was asked for: an interrupted download has none, and a
    // changed list differs from it.
    if fs::read_to_string(&stamp).is_ok_and(|had| had == pom) {
        return Ok(lib);
    }

    need_program("java", "openjdk-17-jre-headless", "Java 17")?;
    let maven = need_program("mvn", "maven", "Maven")?;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    println!("services: fetching {} from Maven Central into {}", jars.name, folder.display());
    let start = Instant::now();
    process::remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    fs::write(folder.join("pom.xml"), &pom)?;
    run::captured(
        Command::new(maven)
            .current_dir(&folder)
            .args(["-q", "--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies"])
            .args(["-DincludeScope=runtime", "-DoutputDirectory=lib"]),
    )
    .with_context(|| format!("fetching {}", jars.name))?;
    fs::write(&stamp, &pom)?;
    println!("services: fetched {} in {:.1} s", jars.name, start.elapsed().as_secs_f64());
    Ok(lib)
}

/// A project that has nothing but dependencies.
fn pom(jars: &Jars) -> String {
    let mut dependencies = String::new();
    for artifact in jars.artifacts {
        let mut parts = artifact.split(':');
        for (tag, part) in
            ["<dependency><groupId>", "</groupId><artifactId>", "</artifactId><version>"]
                .iter()
                .zip(&mut parts)
        {
            dependencies.push_str(tag);
            dependencies.push_str(part);
        }
        dependencies.push_str("</version></dependency>\n");
    }
    // The plug-in has a version because Maven would otherwise take whichever is newest that day.
    format!(
        "<project><modelVersion>4.0.0</modelVersion>\n\
         <groupId>triggerline</groupId><artifactId>{}</artifactId><version>1</version><packaging>pom</packaging>\n\
         <build><plugins><plugin><groupId>org.apache.maven.plugins</groupId>\
         <artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version></plugin></plugins></build>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n",
        jars.name
    )
}

/// A program in PATH, installed from Debian's packages where we may do that.
pub(crate) fn need_program(program: &str, package: &str, what: &str) -> Result<PathBuf> {
    need(|| run::program(program), package, what)
}

/// Whatever `find` finds, now or after installing the package.
pub(crate) fn need(
    find: impl Fn() -> Option<PathBuf>,
    package: &str,
    what: &str,
) -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = find() {
        return Ok(found); // another thread has just installed it
    }
    if process::own_uid()? != 0 || run::program("apt-get").is_none() {
        bail!(
            "{what} is not installed. On Debian or Ubuntu: apt-get install {package}. Or start a Docker daemon."
        );
    }
    println!("services: installing {package}");
    let apt = |arguments: &[&str]| {
        run::captured(
            Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments),
        )
    };
    apt(&["update", "-q"])?;
    // That Debian may start a server of its own on the default port does not matter: ours has another.
    apt(&["install", "-y", "-q", "--no-install-recommends", package])?;
    find().with_context(|| format!("{package} was installed but {what} is still not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_every_artifact() {
        let pom = pom(&KAFKA);
        assert!(pom.contains(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.1</version></dependency>"
        ));
        assert_eq!(pom.matches("<dependency>").count(), KAFKA.artifacts.len());
    }
}
