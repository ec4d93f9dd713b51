//! Processes that outlive us: started with their output in a log, known by pid *and* start time.
//!
//! A pid alone is not enough to stop something by: after a reboot or a long day it may belong to another
//! process. Linux gives each process's start time in `/proc/<pid>/stat`; both together name it for good.
//! (So the native way needs Linux. Elsewhere there is Docker.)

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In clock ticks since boot.
    start: u64,
}

/// Starts a program that keeps running after us.
pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<(Child, Process)> {
    let output = File::create(log).with_context(|| log.display().to_string())?;
    let child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0) // a Ctrl-C or a closed terminal is for us, not for it
        .spawn()
        .with_context(|| format!("could not start {}", command.get_program().to_string_lossy()))?;
    // Even if it has ended already: until we wait for it, its entry in /proc stays.
    let process =
        Process { pid: child.id(), start: stat(child.id()).context("no /proc: not Linux?")?.1 };
    Ok((child, process))
}

impl Process {
    pub(crate) fn to_line(&self) -> String {
        format!("{} {}\n", self.pid, self.start)
    }

    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (pid, start) = line.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    /// Whether this very process runs. One that ended and is not yet waited for (`Z`) does not.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start)| start == self.start && state != 'Z')
    }

    /// Asks it to stop, waits, and ends it if it does not listen.
    pub(crate) fn stop(&self, signal: &str, patience: Duration) -> Result<()> {
        for (signal, patience) in [(signal, patience), ("KILL", Duration::from_secs(10))] {
            if !self.is_alive() {
                return Ok(());
            }
            // The shell's own `kill`: a program of that name is not installed everywhere. That it fails because
            // the process has just ended is seen below.
            crate::run::succeeds(Command::new("sh").args([
                "-c",
                "kill -$0 $1",
                signal,
                &self.pid.to_string(),
            ]));
            let asked = Instant::now();
            while asked.elapsed() < patience {
                if !self.is_alive() {
                    return Ok(());
                }
                sleep(Duration::from_millis(20));
            }
        }
        bail!("process {} does not end, even on SIGKILL", self.pid)
    }
}

/// State and start time from `/proc/<pid>/stat`.
fn stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid … starttime …`. The name may hold blanks and brackets, so we count from its end;
/// the state is field 3 and the start time field 22 of proc(5).
fn parse_stat(line: &str) -> Option<(char, u64)> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(22 - 3 - 1)?.parse().ok()?))
}

/// The user that we are; the standard library has no call for it, but our own entry in /proc belongs to us.
pub(crate) fn own_uid() -> Result<u32> {
    Ok(fs::metadata("/proc/self").context("no /proc: the native way needs Linux")?.uid())
}

/// Removes a file or a folder; that there is none is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21\n";
        assert_eq!(parse_stat(line), Some(('S', 777)));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn a_process_is_known_by_its_start_time_too() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process { pid: child.id(), start: stat(child.id()).unwrap().1 };
        assert_eq!(Process::from_line(&process.to_line()), Some(Process { ..process }));
        let other = Process { pid: process.pid, start: process.start + 1 };
        assert!(process.is_alive() && !other.is_alive());

        other.stop("TERM", Duration::from_secs(1)).unwrap();
        assert!(
            process.is_alive(),
            "a process with the same pid but another start time was stopped"
        );
        process.stop("TERM", Duration::from_secs(10)).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
