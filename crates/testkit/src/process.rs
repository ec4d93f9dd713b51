//! A running `triggerline`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::wait_until;

/// Killed when dropped, so that no test leaves one behind.
pub struct Process {
    child: Child,
    name: String,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// Starts `binary` with these arguments and settings, logging JSON.
    pub fn start(
        binary: &str,
        arguments: &[&str],
        environment: &HashMap<String, String>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args(arguments)
            .envs(environment)
            .env("TRIGGERLINE_LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", PathBuf::from(binary).display()))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().context("its standard error is not a pipe")?;
        let reader = {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        };
        Ok(Self { child, name: arguments.join(" "), log, reader })
    }

    /// The fields of the log line that says `message`, once it is there.
    pub async fn logged(&mut self, message: &str) -> anyhow::Result<Value> {
        let log = Arc::clone(&self.log);
        let (child, reader) = (&mut self.child, &self.reader);
        let what = format!("{:?} from {}", message, self.name);
        let found = wait_until(&what, Duration::from_mins(1), || {
            // Asked in this order: then the log is whole when it is looked at.
            let over = reader.is_finished();
            let ended = child.try_wait().ok().flatten();
            let lines = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let found = lines.iter().rev().find_map(|line| {
                let value: Value = serde_json::from_str(line).ok()?;
                (value["message"] == message).then_some(value)
            });
            async move {
                if let Some(found) = found {
                    return Ok(Ok(found));
                }
                let tail = lines[lines.len().saturating_sub(10)..].join("\n");
                let told = format!("ended: {ended:?}; the log so far:\n{tail}");
                // What has ended will say no more.
                if over { Ok(Err(told)) } else { Err(told) }
            }
        });
        found.await?.map_err(|told| anyhow::anyhow!("waited for {what}: {told}"))
    }

    /// Everything it has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// kill -9: it gets no chance to do anything more.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended().await
    }

    /// Its process id.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended already")
    }

    /// Sends a signal by its name: STOP, CONT.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id()?;
        // Neither std nor tokio sends any signal but SIGKILL.
        let sent =
            std::process::Command::new("kill").args(["-s", name, &id.to_string()]).status()?;
        anyhow::ensure!(sent.success(), "could not send SIG{name} to {}", self.name);
        Ok(())
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let limit = Duration::from_mins(1);
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} did not end within 60 s", self.name))??)
    }
}
