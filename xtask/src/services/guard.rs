//! The guard stops services when the test run that started them is gone, however it went: finished, failed,
//! Ctrl-C or killed.
//!
//! It is this same program, in a process group of its own, reading from a pipe that only the test run holds
//! open. The pipe's end is the signal; so nobody has to catch signals, which safe Rust alone can't do.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::run_folder::RunFolder;
use crate::checkout::Checkout;

pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    pub(crate) fn start(run: &RunFolder) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["services", "guard"])
            .arg(&run.path)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("could not start the guard of the services")?;
        Ok(Self { child })
    }

    /// Lets it do its work now, and waits.
    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "stopping the services failed: {status}");
        Ok(())
    }
}

/// The guard's own side.
pub(crate) fn keep(checkout: &Checkout, run: PathBuf) -> Result<()> {
    // Nothing is ever written to the pipe: this returns when its other end is closed.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    super::down_run(checkout, &RunFolder::at(run))
}
