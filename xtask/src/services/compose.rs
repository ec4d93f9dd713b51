//! The same services by Docker Compose, where a Docker daemon answers.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::run_folder::RunFolder;
use super::table::Service;
use crate::checkout::Checkout;
use crate::run;

/// Whether Docker can be used at all: a client without a daemon can't, nor one without Compose.
pub(crate) fn is_usable() -> bool {
    run::succeeds(Command::new("docker").arg("info"))
        && run::succeeds(Command::new("docker").args(["compose", "version"]))
}

/// Starts those that are not up, and marks the run as theirs if there were none before.
pub(crate) fn up(checkout: &Checkout, run: &RunFolder, wanted: &[Service]) -> Result<()> {
    let before = run::captured(compose(checkout).args(["ps", "--quiet"]))?;
    if before.trim().is_empty() {
        fs::write(run.compose_mark(), "")?;
    }
    println!("services: docker compose up");
    let begin = Instant::now();
    let names = wanted.iter().map(|service| service.row().compose);
    // `--wait` returns when every health check passes.
    run::watched(compose(checkout).args(["up", "--detach", "--wait"]).args(names))?;
    println!("services: up by Docker Compose after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Removes the containers and their data.
pub(crate) fn down(checkout: &Checkout, wanted: &[Service]) -> Result<()> {
    let names = wanted.iter().map(|service| service.row().compose);
    run::captured(compose(checkout).args(["rm", "--force", "--stop", "--volumes"]).args(names))?;
    Ok(())
}

fn compose(checkout: &Checkout) -> Command {
    let mut command = Command::new("docker");
    command.arg("compose").arg("--file").arg(checkout.root.join("docker-compose.kafka.yml"));
    command
}
