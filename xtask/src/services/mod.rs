//! The real parts that tests run against.
//!
//! The cast:
//! * [`table`]: each service's name, port and variable; the only place that has them.
//! * [`compose`] starts them as containers where a Docker daemon answers; [`native`] as processes elsewhere,
//!   with [`jvm`] and [`system`] knowing how each one wants it, and [`fetch`] getting what is missing.
//! * [`run_folder`] is where one `up` keeps data, logs and pids; [`process`] starts and stops by those pids.
//! * [`certificates`] lets each be reached by TLS as well.
//! * [`probe`] asks whether one really answers; [`guard`] stops a test run's services when the run is gone.

mod certificates;
mod compose;
mod fetch;
mod guard;
mod jvm;
mod native;
mod probe;
mod process;
mod run_folder;
mod system;
mod table;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::checkout::Checkout;

pub(crate) use guard::Guard;
pub(crate) use run_folder::RunFolder;
use table::{ALL, Service, TOOLS_VARIABLE};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start services (all, or those named) and wait until they answer.
    Up { names: Vec<Service> },
    /// Stop them and throw their data away.
    Down { names: Vec<Service> },
    /// Say which are up, and where.
    Status { names: Vec<Service> },
    /// Wait for the end of standard input, then stop what was started in this run folder.
    #[command(hide = true)]
    Guard { run: PathBuf },
}

pub(crate) fn run(checkout: &Checkout, command: Command) -> Result<()> {
    let or_all = |names: Vec<Service>| {
        if names.is_empty() { ALL.to_vec() } else { names }
    };
    match command {
        Command::Up { names } => up(checkout, &RunFolder::create()?, &or_all(names)),
        Command::Down { names } => down(checkout, &or_all(names)),
        Command::Status { names } => status(&or_all(names)),
        Command::Guard { run } => guard::keep(checkout, run),
    }
}

/// Starts everything for a test run.
pub(crate) fn up_all(checkout: &Checkout, run: &RunFolder) -> Result<()> {
    up(checkout, run, &ALL)
}

/// What tests are told: a variable for each service, and where Kafka's tools are.
pub(crate) fn variables(checkout: &Checkout) -> Result<Vec<(&'static str, String)>> {
    let mut variables = vec![tools(checkout)];
    for service in ALL {
        variables.push((service.row().test_variable, service.address()?));
    }
    variables.extend(tls(&ALL)?);
    Ok(variables)
}

fn up(checkout: &Checkout, run: &RunFolder, wanted: &[Service]) -> Result<()> {
    let begin = Instant::now();
    let _lock = run_folder::lock()?;
    run_folder::sweep(run)?;
    let started = if compose::is_usable() {
        // Tests run Kafka's console tools here, not in the container.
        fetch::jars(&fetch::KAFKA, &checkout.cache)
            .map(drop)
            .and_then(|()| compose::up(checkout, run, wanted))
    } else {
        println!(
            "services: no Docker daemon answers, so they start as processes; logs in {}",
            run.path.display()
        );
        native::up(checkout, run, wanted)
    };
    write_env(checkout)?; // also when one has failed: the others are up
    started?;
    println!("services: ready after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn down(checkout: &Checkout, wanted: &[Service]) -> Result<()> {
    let _lock = run_folder::lock()?;
    let runs = RunFolder::all()?;
    native::down(&runs, wanted)?;
    if compose::is_usable() {
        compose::down(checkout, wanted)?;
        for run in runs.iter().filter(|_| wanted.len() == ALL.len()) {
            process::remove(&run.compose_mark())?;
        }
    }
    write_env(checkout)
}

/// Stops what one run started, and nothing else.
fn down_run(checkout: &Checkout, run: &RunFolder) -> Result<()> {
    let _lock = run_folder::lock()?;
    native::down(std::slice::from_ref(run), &ALL)?;
    if run.compose_mark().exists() {
        compose::down(checkout, &ALL)?;
        process::remove(&run.compose_mark())?;
    }
    write_env(checkout)
}

fn status(wanted: &[Service]) -> Result<()> {
    for &service in wanted {
        let pid = run_folder::find(service)?
            .map(|(run, process)| format!(", pid {}, {}", process.pid, run.log(service).display()));
        let state = match probe::answers(service) {
            Ok(()) => "up".to_owned(),
            Err(error) => format!("down ({error})"),
        };
        let (variable, address) = (service.row().test_variable, service.address()?);
        println!("{service:<10} {variable}={address}  {state}{}", pid.unwrap_or_default());
    }
    Ok(())
}

/// Writes `target/services.env` with those that answer now; with none, there is no file.
fn write_env(checkout: &Checkout) -> Result<()> {
    let file = checkout.services_env();
    let mut lines = String::new();
    let up: Vec<_> = ALL.into_iter().filter(|one| probe::answers(*one).is_ok()).collect();
    for &service in &up {
        writeln!(lines, "{}={}", service.row().test_variable, service.address()?)?;
        if service == Service::Kafka {
            let (variable, folder) = tools(checkout);
            writeln!(lines, "{variable}={folder}")?;
        }
    }
    if lines.is_empty() {
        return process::remove(&file);
    }
    for (variable, value) in tls(&up)? {
        writeln!(lines, "{variable}={value}")?;
    }
    fs::create_dir_all(file.parent().context("no folder")?)?;
    fs::write(&file, lines).with_context(|| file.display().to_string())
}

/// How to reach them by TLS; nothing where Docker Compose starts them, which knows no certificates.
fn tls(services: &[Service]) -> Result<Vec<(&'static str, String)>> {
    if compose::is_usable() {
        return Ok(Vec::new());
    }
    let mut variables =
        vec![(certificates::VARIABLE, certificates::folder()?.display().to_string())];
    for service in services {
        if let Some(told) = service.tls_address()? {
            variables.push(told);
        }
    }
    Ok(variables)
}

fn tools(checkout: &Checkout) -> (&'static str, String) {
    (TOOLS_VARIABLE, checkout.cache.join(fetch::KAFKA.name).join("lib").display().to_string())
}
