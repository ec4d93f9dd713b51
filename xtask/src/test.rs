//! `cargo xtask test`: the one test command, in seven stages.
//!
//! 1. format, 2. tidy, 3. services (started in the background), 4. lint and build, 5. tests, 6. shell tests,
//! 7. licences and bans. The first that fails ends the run; services that the run started are stopped either way.
//!
//! Lint and build are one: cargo runs `clippy-driver` in rustc's place for our own crates, which compiles what it
//! lints. `cargo clippy` followed by `cargo test` would compile the whole workspace twice. (clippy-driver leaves
//! out optimisations of MIR; a debug build has next to none.)

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::checkout::Checkout;
use crate::run::{captured, cargo, program, succeeds, watched};
use crate::services::{self, Guard, RunFolder};
use crate::tidy;

const STAGES: usize = 7;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Without services, and without the tests that need them.
    #[arg(long)]
    fast: bool,
    /// Let the long tests (soaks, repeated kills) take their full time.
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains one of these.
    #[arg(last = true)]
    filter: Vec<String>,
}

pub(crate) fn run(checkout: &Checkout, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let result = stages(checkout, options);
    let seconds = begin.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("\ntest: all stages passed in {seconds:.1} s"),
        Err(error) => println!("\ntest: FAILED in {error} after {seconds:.1} s"),
    }
    result
}

fn stages(checkout: &Checkout, options: &Options) -> Result<()> {
    stage(1, "format: cargo fmt --all --check", || {
        watched(cargo().current_dir(&checkout.root).args(["fmt", "--all", "--check"]))
    })?;
    stage(2, "tidy: direction of dependencies, length of files", || tidy::run(checkout))?;
    if options.fast {
        println!("\n[3/{STAGES}] services: skipped (--fast)");
        return build_and_test(checkout, options, || Ok(()));
    }

    println!("\n[3/{STAGES}] services: starting in the background");
    let run = RunFolder::create().context("stage 3 (services)")?;
    let guard = Guard::start(&run).context("stage 3 (services)")?;
    let result = thread::scope(|scope| {
        let up = scope.spawn(|| services::up_all(checkout, &run));
        // If the build fails, the scope's end still waits for the start: what starts can then be stopped.
        build_and_test(checkout, options, || {
            let waiting = Instant::now();
            let up = up.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")));
            up.context("stage 3 (services)")?;
            println!(
                "[3/{STAGES}] services: up; waited {:.1} s for them",
                waiting.elapsed().as_secs_f64()
            );
            Ok(())
        })
    });
    let stopped = guard.finish();
    result.and(stopped)
}

/// Stages 4 to 7; `services` waits for them once they are needed.
fn build_and_test(
    checkout: &Checkout,
    options: &Options,
    services: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let environment = environment(checkout, options)?;
    let cargo_here = || {
        let mut command = cargo();
        command
            .current_dir(&checkout.root)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        command
    };
    stage(4, "lint and build: clippy with warnings as errors, tests, binary", || {
        watched(cargo_here().args(["build", "--workspace", "--all-targets"]))
    })?;
    services()?;
    stage(
        5,
        if options.fast { "tests" } else { "tests, with those that need real parts" },
        || {
            let included = (!options.fast).then_some("--include-ignored");
            watched(
                cargo_here()
                    .args(["test", "--workspace", "--"])
                    .args(included)
                    .args(&options.filter),
            )
        },
    )?;
    if options.fast {
        println!("\n[6/{STAGES}] shell tests: skipped (--fast)");
    } else {
        stage(6, "shell tests: tests/*.sh, infra/aws/test.sh", || {
            shell_tests(checkout, &environment)
        })?;
    }
    licences(checkout)
}

/// What cargo and every test get. The same for build and test, or cargo would build again.
fn environment(checkout: &Checkout, options: &Options) -> Result<Vec<(&'static str, String)>> {
    let mut environment = vec![
        ("CARGO_TARGET_DIR", checkout.cargo_target.display().to_string()),
        ("TRIGGERLINE_BIN", checkout.binary().display().to_string()),
        ("RUSTC_WORKSPACE_WRAPPER", clippy_driver()?.display().to_string()),
        // As `cargo clippy -- -Dwarnings` would hand them over: each argument, then this separator.
        ("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__".to_owned()),
    ];
    if !options.fast {
        environment.extend(services::variables(checkout)?);
    }
    if options.long {
        environment.push(("TRIGGERLINE_TEST_LONG", "1".to_owned()));
    }
    Ok(environment)
}

/// Of the toolchain in use, not of whichever is first in PATH.
fn clippy_driver() -> Result<PathBuf> {
    let sysroot = captured(Command::new("rustc").args(["--print", "sysroot"]))?;
    let driver = PathBuf::from(sysroot.trim()).join("bin/clippy-driver");
    if driver.is_file() {
        return Ok(driver);
    }
    program("clippy-driver").context("clippy is not installed: rustup component add clippy")
}

fn shell_tests(checkout: &Checkout, environment: &[(&'static str, String)]) -> Result<()> {
    let folder = checkout.root.join("tests");
    let mut scripts = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sh") {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    scripts.push(checkout.root.join("infra/aws/test.sh"));
    for script in scripts {
        let begin = Instant::now();
        println!("  {}", script.display());
        let variables = environment.iter().map(|(name, value)| (name, value));
        watched(Command::new("bash").arg(&script).current_dir(&checkout.root).envs(variables))?;
        println!("  {} passed in {:.1} s", script.display(), begin.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Advisories are left out: they change from day to day, and a test that fails by itself teaches to ignore it.
fn licences(checkout: &Checkout) -> Result<()> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        println!(
            "\n[7/{STAGES}] licences and bans: skipped, cargo-deny is missing (cargo install --locked cargo-deny)"
        );
        return Ok(());
    }
    stage(7, "licences and bans: cargo deny", || {
        watched(cargo().current_dir(&checkout.root).args([
            "deny",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))
    })
}

/// Announces, runs and times one stage; its error says which it was.
fn stage(number: usize, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n[{number}/{STAGES}] {what}");
    let begin = Instant::now();
    work().with_context(|| format!("stage {number} ({what})"))?;
    println!("[{number}/{STAGES}] passed in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}
