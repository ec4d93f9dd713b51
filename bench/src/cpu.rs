//! What processor time a process has used: `utime` and `stime` of `/proc/PID/stat` (proc(5)).

use std::time::Duration;

use anyhow::Context as _;

/// USER_HZ, which is 100 on every Linux that Rust knows.
const TICK: Duration = Duration::from_millis(10);

pub(crate) fn used(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The second field is the name in brackets, and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<u32> {
        Ok(fields.get(index).context("a short stat")?.parse()?)
    };
    // Fields 14 and 15, of which two are before the bracket.
    Ok(TICK * (ticks(11)? + ticks(12)?))
}
