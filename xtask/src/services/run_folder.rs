//! The run folder: where one `up` keeps its data, logs and process ids.
//!
//! ```text
//! /tmp/triggerline-services-<uid>/      0755: PostgreSQL runs as another user and must get through
//!   lock                                held by whoever starts or stops
//!   tls/                                certificates, the same for all runs
//!   run-<time>-<pid>/
//!     kafka/  kafka.log  kafka.pid      one folder, log and pid file for each service
//!     compose                           instead of those, if Docker Compose started them
//! ```
//! What runs is found by looking through the pid files of all run folders, so there is no second record
//! that could disagree. It lies outside the checkout because ports belong to the machine: two checkouts
//! share one set of services. A second set beside it needs other ports and another TRIGGERLINE_SERVICES_DIR.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::process::{self, Process};
use super::table::{ALL, Service};

#[derive(Debug, Clone)]
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
}

impl RunFolder {
    /// A fresh one.
    pub(crate) fn create() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let path = base()?.join(format!("run-{now}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// All of them, newest first.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(base()?)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-")) {
                found.push(Self { path });
            }
        }
        found.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(found)
    }

    pub(crate) fn data(&self, service: Service) -> PathBuf {
        self.path.join(service.to_string())
    }

    pub(crate) fn log(&self, service: Service) -> PathBuf {
        self.path.join(format!("{service}.log"))
    }

    /// Says that Docker Compose started something for this run.
    pub(crate) fn compose_mark(&self) -> PathBuf {
        self.path.join("compose")
    }

    fn pid_file(&self, service: Service) -> PathBuf {
        self.path.join(format!("{service}.pid"))
    }

    pub(crate) fn write_pid(&self, service: Service, process: &Process) -> Result<()> {
        let file = self.pid_file(service);
        fs::write(&file, process.to_line()).with_context(|| file.display().to_string())
    }

    /// The service's process, if it was started in this folder and still runs.
    pub(crate) fn running(&self, service: Service) -> Option<Process> {
        let line = fs::read_to_string(self.pid_file(service)).ok()?;
        Process::from_line(&line).filter(Process::is_alive)
    }

    /// Forgets a stopped service: its data goes, its log stays for whoever wonders why it stopped.
    pub(crate) fn forget(&self, service: Service) -> Result<()> {
        for path in [self.data(service), self.pid_file(service)] {
            process::remove(&path)?;
        }
        Ok(())
    }
}

/// The run folder and process of a service that was started natively, by whichever checkout.
pub(crate) fn find(service: Service) -> Result<Option<(RunFolder, Process)>> {
    let runs = RunFolder::all()?;
    Ok(runs.into_iter().find_map(|run| run.running(service).map(|process| (run, process))))
}

/// Removes what earlier runs left: those in which nothing runs, other than `keep`.
pub(crate) fn sweep(keep: &RunFolder) -> Result<()> {
    for run in RunFolder::all()? {
        let in_use = ALL.iter().any(|service| run.running(*service).is_some())
            || run.compose_mark().exists();
        if !in_use && run.path != keep.path {
            process::remove(&run.path)?;
        }
    }
    Ok(())
}

/// Held while services are started or stopped, so that two commands do not do both at once.
pub(crate) fn lock() -> Result<File> {
    let path = base()?.join("lock");
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    if file.try_lock().is_err() {
        println!("services: another xtask is starting or stopping them; waiting for it");
        file.lock().with_context(|| path.display().to_string())?;
    }
    Ok(file)
}

pub(crate) fn base() -> Result<PathBuf> {
    let uid = process::own_uid()?;
    let path = std::env::var_os("TRIGGERLINE_SERVICES_DIR").map_or_else(
        || Path::new("/tmp").join(format!("triggerline-services-{uid}")),
        PathBuf::from,
    );
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&path)
        .with_context(|| path.display().to_string())?;
    // Anyone can make a folder of this name in /tmp; we only use one that is ours.
    ensure!(
        fs::symlink_metadata(&path)?.uid() == uid,
        "{} belongs to somebody else",
        path.display()
    );
    Ok(path)
}
