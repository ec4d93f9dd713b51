//! Starting and stopping services as processes of this machine, without Docker.
//!
//! Each service has its thread: prepare its folder, start it, ask it until it answers.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::certificates::Certificates;
use super::run_folder::{self, RunFolder};
use super::table::Service;
use super::{jvm, probe, process, system};
use crate::checkout::Checkout;
use crate::run;

/// Cassandra needs 7 s alone; a build that has all the cores makes that a minute.
const START_LIMIT: Duration = Duration::from_mins(3);
/// Kafka writes its logs out first; 2 s is usual.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Starts those that are not up, in parallel.
pub(crate) fn up(checkout: &Checkout, run: &RunFolder, wanted: &[Service]) -> Result<()> {
    let mut missing = Vec::new();
    for &service in wanted {
        match run_folder::find(service)? {
            Some((_, process)) if probe::answers(service).is_ok() => {
                println!(
                    "services: {service} is already up on {} (pid {})",
                    service.port()?,
                    process.pid
                );
            }
            // It runs, but not as it should, or on another port than the one that is wanted now.
            Some((old, _)) => {
                println!(
                    "services: {service} runs but does not answer on {}; starting it anew",
                    service.port()?
                );
                stop(&old, service)?;
                missing.push(service);
            }
            None => missing.push(service),
        }
    }
    let certificates = Certificates::ready()?;
    in_parallel(&missing, |service| start(checkout, &certificates, run, service))
}

fn start(
    checkout: &Checkout,
    certificates: &Certificates,
    run: &RunFolder,
    service: Service,
) -> Result<()> {
    let begin = Instant::now();
    ports_are_free(service)?;
    let data = run.data(service);
    process::remove(&data)?;
    fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
    let command = command(checkout, certificates, run, service)
        .with_context(|| format!("preparing {service}"))?;
    let (child, process) = process::spawn(command, &run.log(service))?;
    run.write_pid(service, &process)?;
    wait(service, child).with_context(|| run::tail_of_file(&run.log(service), 25))?;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "services: {service} is up on {} after {seconds:.1} s (pid {})",
        service.port()?,
        process.pid
    );
    Ok(())
}

fn command(
    checkout: &Checkout,
    certificates: &Certificates,
    run: &RunFolder,
    service: Service,
) -> Result<Command> {
    let (cache, data) = (&checkout.cache, &run.data(service));
    match service {
        Service::Kafka => jvm::kafka(cache, certificates, data),
        Service::Postgres => system::postgres(certificates, data),
        Service::Redis => system::redis(certificates, data),
        Service::Dynamodb => jvm::dynamodb(cache, data),
        Service::Cassandra => jvm::cassandra(cache, certificates, data),
    }
}

/// Better said now than found in a log; and our probe must not be answered by somebody else's server.
fn ports_are_free(service: Service) -> Result<()> {
    let ports = [Some(service.port()?), service.internal_port()?, service.tls_port()?];
    for port in ports.into_iter().flatten() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!(
                "port {port} for {service} is taken (another can be set with {} and such)",
                service.port_variable()
            )
        })?;
    }
    Ok(())
}

fn wait(service: Service, mut child: Child) -> Result<()> {
    let begin = Instant::now();
    loop {
        let silence = match probe::answers(service) {
            Ok(()) => return Ok(()),
            Err(silence) => silence,
        };
        if let Some(status) = child.try_wait()? {
            bail!("{service} ended while starting: {status}");
        }
        if begin.elapsed() > START_LIMIT {
            bail!("{service} does not answer after {} s: {silence:#}", START_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Stops what runs in these folders and forgets its data.
pub(crate) fn down(runs: &[RunFolder], wanted: &[Service]) -> Result<()> {
    for run in runs {
        in_parallel(wanted, |service| stop(run, service))?;
    }
    Ok(())
}

fn stop(run: &RunFolder, service: Service) -> Result<()> {
    let begin = Instant::now();
    if let Some(process) = run.running(service) {
        // To PostgreSQL, SIGTERM means: wait for all clients to leave. SIGINT sends them away.
        let signal = if service == Service::Postgres { "INT" } else { "TERM" };
        process.stop(signal, STOP_LIMIT)?;
        println!(
            "services: {service} (pid {}) is down after {:.1} s",
            process.pid,
            begin.elapsed().as_secs_f64()
        );
    }
    run.forget(service)
}

/// Runs for all services at once and gives all their errors together.
fn in_parallel(services: &[Service], work: impl Fn(Service) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    let errors: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> =
            services.iter().map(|&service| (service, scope.spawn(move || work(service)))).collect();
        let results = threads.into_iter().map(|(service, thread)| {
            let result = thread.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")));
            result.err().map(|error| format!("{service}: {error:#}"))
        });
        results.flatten().collect()
    });
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}
