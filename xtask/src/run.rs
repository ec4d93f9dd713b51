//! Running other programs: inherited output for what a person wants to watch, captured output for the rest.
//! Either way, failing is an error that names the command.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Cargo, as the one that runs us; so a `+toolchain` on the outer command holds for the inner ones.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs with our own output and input.
pub(crate) fn watched(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs silently and returns standard output; an error carries what was said on the way.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let all = said + &String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", line(command), output.status, tail(&all, 25));
    }
    Ok(said)
}

/// Whether the command can be started and succeeds; nothing is printed.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The first program of this name in PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// The last lines of a text, indented, for the end of an error message.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut out = String::new();
    for line in &all[all.len().saturating_sub(lines)..] {
        let _ = writeln!(out, "    {line}");
    }
    out
}

/// The last lines of a log file, or why it can't be read.
pub(crate) fn tail_of_file(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => format!(
            "last lines of {}:\n{}",
            path.display(),
            tail(&String::from_utf8_lossy(&bytes), lines)
        ),
        Err(error) => format!("{}: {error}", path.display()),
    }
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_that_say_something() {
        assert_eq!(tail("one\n\ntwo\n\n\nthree\n", 2), "    two\n    three\n");
        assert_eq!(tail("", 5), "");
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = captured(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c") && error.contains("out") && error.contains("err"),
            "{error}"
        );
    }
}
