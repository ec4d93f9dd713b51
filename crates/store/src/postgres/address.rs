//! `postgres://[user[:password]@]host[:port][,…]/database[?parameters]`, as libpq reads it.
//!
//! What it says of TLS is ours to read ([`triggerline_tls::server`]); all else is tokio-postgres's.

use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use triggerline_tls::server::{SslMode, SslParameters};

use crate::error::StoreError;

/// How to connect, and with which TLS.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (url, ssl) = split(url)?;
        // Its cause is not told: it may be a part of a password.
        let mut config = Config::from_str(&url).map_err(|error| no_url(&error))?;
        let mode = ssl.mode(SslMode::Prefer)?;
        config.ssl_mode(match mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
        let tls = MakeRustlsConnect::new(ssl.client(mode)?);
        Ok(Self { config, tls })
    }
}

fn no_url(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Address(format!(
        "is not a PostgreSQL URL: {why}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %3F \
         for a ? in it, %40 for a @, and so on (RFC 3986 §2.1)"
    ))
}

/// The address without what is about TLS, and that. (Not by a URL parser: libpq's addresses may
/// name several hosts.)
fn split(url: &str) -> Result<(String, SslParameters), StoreError> {
    let mut ssl = SslParameters::default();
    let Some((place, parameters)) = url.split_once('?') else { return Ok((url.to_owned(), ssl)) };
    // What came before was the beginning of a password, and all that is said of TLS would be lost.
    if parameters.contains('@') {
        return Err(no_url(&"it has a ? before an @"));
    }
    let mut others = Vec::new();
    for parameter in parameters.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let plain = |text| percent_decode_str(text).decode_utf8_lossy();
        if !ssl.take(&plain(name), &plain(value))? {
            others.push(parameter);
        }
    }
    let others = others.join("&");
    let mark = if others.is_empty() { "" } else { "?" };
    Ok((format!("{place}{mark}{others}"), ssl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_tls_is_taken_out_of_an_address() {
        for (url, rest, mode) in [
            ("postgres://u:p@a:1,b:2/d", "postgres://u:p@a:1,b:2/d", None),
            ("postgres://a/d?sslmode=require", "postgres://a/d", Some(SslMode::Require)),
            (
                "postgres://a/d?target_session_attrs=read-write&sslmode=verify-full&keepalives=1",
                "postgres://a/d?target_session_attrs=read-write&keepalives=1",
                Some(SslMode::VerifyFull),
            ),
        ] {
            let (found, ssl) = split(url).unwrap();
            assert_eq!((found.as_str(), ssl.mode), (rest, mode), "{url}");
        }
        let (_, ssl) = split("postgres://a/d?sslrootcert=%2Fa%20b.pem").unwrap();
        assert_eq!(ssl.root.as_deref(), Some("/a b.pem".as_ref()));
    }

    #[test]
    fn a_wrong_address_is_told_what_would_be_right() {
        for (url, told) in [
            ("postgres://a/d?sslmode=on", "verify-full"),
            ("postgres://a/d?sslmode=verify-ca", "sslrootcert=FILE"),
            ("postgres://a/d?sslrootcert=/missing.pem", "/missing.pem"),
            ("postgres://u:se?cret@a/d", "postgres://USER:PASSWORD@"),
            ("postgres://u:se?cret@a/d?sslmode=require", "a ? before an @"),
            ("postgres://a/d?ssl%6Dode=on", "verify-full"),
        ] {
            let error = Address::parse(url).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("cret"), "{url}: {error}");
        }
    }
}
