//! AWS's event-ruler: a process of Java with the same rules and events, which waits between its turns
//! (bench/peer/ruler/Ruler.java). It lives through all rounds, so it is as warm as it gets.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::report::Figures;
use crate::turns::figures;

/// As in bench/peer/ruler/pom.xml.
pub(crate) const NAME: &str = "event-ruler 2.1.0";

/// How long it decides before the first round. Its compiler has done what it will after a few seconds.
const WARM_UP: Duration = Duration::from_secs(10);

pub(crate) struct Ruler {
    /// How many rules want the events, together.
    pub(crate) matches: usize,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Ruler {
    pub(crate) fn start(
        rules: impl Iterator<Item = Value>,
        events: &[Vec<u8>],
    ) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer/ruler");
        let installed = Command::new("bash").arg(folder.join("install.sh")).output()?;
        let told = String::from_utf8_lossy(&installed.stderr);
        anyhow::ensure!(installed.status.success(), "event-ruler was not installed: {told}");
        let class_path = String::from_utf8(installed.stdout)?;
        let mut child = Command::new("java")
            .args(["-cp", class_path.trim(), "Ruler", "speed"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start java")?;
        let input = child.stdin.take().context("its input is not a pipe")?;
        let output = BufReader::new(child.stdout.take().context("its output is not a pipe")?);
        let mut peer = Self { matches: 0, child, input, output: output.lines() };
        let events = events.iter().map(|event| String::from_utf8_lossy(event));
        let rules = rules.map(|rule| rule.to_string());
        let told = peer.ask(&json!({
            "rules": rules.collect::<Vec<_>>(), "events": events.collect::<Vec<_>>(),
        }))?;
        let matches = told["matches"].as_u64().context("it doesn't say how many match")?;
        peer.matches = usize::try_from(matches)?;
        peer.round(WARM_UP)?;
        Ok(peer)
    }

    pub(crate) fn round(&mut self, length: Duration) -> anyhow::Result<Figures> {
        let told = self.ask(&json!({"millis": u64::try_from(length.as_millis())?}))?;
        let events = told["events"].as_u64().context("it doesn't say how many events")?;
        let seconds = told["seconds"].as_f64().context("it doesn't say how long it took")?;
        Ok(figures(usize::try_from(events)?, seconds))
    }

    /// A line for a line.
    fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        writeln!(self.input, "{question}")?;
        self.input.flush()?;
        let line = self.output.next().context("event-ruler has ended")??;
        serde_json::from_str(&line).with_context(|| format!("event-ruler said {line:?}"))
    }
}

impl Drop for Ruler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
