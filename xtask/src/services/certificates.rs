//! Certificates for the real parts, so that tests reach them by TLS as production does: an authority
//! that nobody else believes, a server's certificate for 127.0.0.1, and a client's.
//!
//! They lie beside the run folders, because services of several runs are used together.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{fetch, process, run_folder};
use crate::run;

/// Where tests find `ca.pem`, `client.pem`, `client.key`, and `other.pem`, an authority that signed nothing.
pub(crate) const VARIABLE: &str = "TRIGGERLINE_TEST_TLS";

const DAYS: &str = "3650";

/// What OpenSSL is told that no argument tells it.
const CONFIG: &str = "\
[req]
distinguished_name=name
prompt=no
[name]
CN=triggerline tests
[authority]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
[server]
basicConstraints=critical,CA:FALSE
subjectAltName=IP:127.0.0.1,DNS:localhost
[client]
basicConstraints=critical,CA:FALSE
subjectAltName=DNS:triggerline
";

pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those that are there; else new ones. To be called under the lock of [`run_folder`].
    pub(crate) fn ready() -> Result<Self> {
        let folder = folder()?;
        let made = Self { folder: folder.clone() };
        // The last file that is written.
        if made.file("server-with-key.pem").is_file() {
            return Ok(made);
        }
        process::remove(&folder)?;
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::write(made.file("openssl.cnf"), CONFIG)?;
        let openssl = fetch::need_program("openssl", "openssl", "OpenSSL")?;
        let sign = |name: &str, kind: &str, arguments: &[&str]| {
            run::captured(
                Command::new(&openssl)
                    .current_dir(&folder)
                    .args(["req", "-x509", "-config", "openssl.cnf", "-days", DAYS, "-nodes"])
                    .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
                    .args(["-extensions", kind, "-keyout", &format!("{name}.key")])
                    .args(["-out", &format!("{name}.pem")])
                    .args(arguments),
            )
        };
        let by_ours = ["-CA", "ca.pem", "-CAkey", "ca.key"];
        sign("ca", "authority", &[])?;
        sign("other", "authority", &[])?;
        sign("server", "server", &[&by_ours[..], &["-subj", "/CN=127.0.0.1"]].concat())?;
        sign("client", "client", &[&by_ours[..], &["-subj", "/CN=triggerline"]].concat())?;
        // Kafka and Cassandra want both in one file.
        let both = fs::read_to_string(made.file("server.key"))?
            + &fs::read_to_string(made.file("server.pem"))?;
        fs::write(made.file("server-with-key.pem"), both)?;
        Ok(made)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

pub(crate) fn folder() -> Result<PathBuf> {
    Ok(run_folder::base()?.join("tls"))
}
