//! How the two that come from the system's packages are started: PostgreSQL and Redis.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::certificates::Certificates;
use super::table::Service;
use super::{fetch, process};
use crate::run;

/// A new database cluster with the superuser `triggerline`.
pub(crate) fn postgres(certificates: &Certificates, data: &Path) -> Result<Command> {
    let initdb = fetch::need(find_initdb, "postgresql", "PostgreSQL")?;
    let owner = postgres_owner()?;
    let server = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(data);
        if let Some((uid, gid)) = owner {
            command.uid(uid).gid(gid);
        }
        command
    };

    let password = data.join("password");
    fs::write(&password, "triggerline\n")?;
    // It insists that its key is its own and nobody else's.
    let key = data.join("server.key");
    fs::copy(certificates.file("server.key"), &key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    if let Some((uid, gid)) = owner {
        for path in [data, &password, &key] {
            chown(path, Some(uid), Some(gid)).with_context(|| path.display().to_string())?;
        }
    }
    let cluster = data.join("cluster");
    run::captured(
        server(&initdb)
            .arg("--pgdata")
            .arg(&cluster)
            .args([
                "--username=triggerline",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("--pwfile")
            .arg(&password),
    )?;
    fs::remove_file(&password)?;

    let mut command = server(&initdb.with_file_name("postgres"));
    command.arg("-D").arg(cluster).args(["-p", &Service::Postgres.port()?.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=", // none: its folder would need to be shared between users
        "max_connections=200",      // tests run in parallel, each with a pool of its own
        // The data is thrown away, so it need not survive a power cut. Killing the server loses nothing: what it
        // wrote is in the kernel's hands by then.
        "fsync=off",
        "full_page_writes=off",
    ] {
        command.args(["-c", setting]);
    }
    for (setting, file) in [
        ("ssl_key_file", key),
        ("ssl_cert_file", certificates.file("server.pem")),
        ("ssl_ca_file", certificates.file("ca.pem")),
    ] {
        command.arg("-c").arg(format!("{setting}={}", file.display()));
    }
    command.args(["-c", "ssl=on"]);
    Ok(command)
}

/// The newest of the versions that Debian installs side by side; else what PATH has.
fn find_initdb() -> Option<PathBuf> {
    let version =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = versions.collect();
    folders.sort_by_key(version);
    let installed = folders
        .into_iter()
        .rev()
        .map(|folder| folder.join("bin/initdb"))
        .find(|initdb| initdb.is_file());
    installed.or_else(|| run::program("initdb"))
}

/// PostgreSQL refuses to run as root; then its own user takes over, or anybody but root.
fn postgres_owner() -> Result<Option<(u32, u32)>> {
    if process::own_uid()? != 0 {
        return Ok(None);
    }
    let id = |kind: &str, user: &str| -> Result<u32> {
        Ok(run::captured(Command::new("id").args([kind, user]))?.trim().parse()?)
    };
    let user = ["postgres", "nobody"]
        .into_iter()
        .find(|user| id("-u", user).is_ok())
        .context("PostgreSQL does not run as root, and there is no user postgres or nobody")?;
    Ok(Some((id("-u", user)?, id("-g", user)?)))
}

/// With an append-only file, as in production, so that a test can kill it and start it again.
pub(crate) fn redis(certificates: &Certificates, data: &Path) -> Result<Command> {
    let mut command = Command::new(fetch::need_program("redis-server", "redis-server", "Redis")?);
    command
        .args(["--port", &Service::Redis.port()?.to_string(), "--bind", "127.0.0.1"])
        .args(["--appendonly", "yes", "--save", "", "--dir"])
        .arg(data)
        .current_dir(data);
    let tls = Service::Redis.tls_port()?.context("Redis needs a port for TLS")?;
    command.args(["--tls-port", &tls.to_string(), "--tls-auth-clients", "optional"]);
    for (option, file) in [
        ("--tls-cert-file", "server.pem"),
        ("--tls-key-file", "server.key"),
        ("--tls-ca-cert-file", "ca.pem"),
    ] {
        command.arg(option).arg(certificates.file(file));
    }
    Ok(command)
}
