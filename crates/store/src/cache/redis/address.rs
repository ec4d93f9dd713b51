//! `redis://[user:password@]host[:port][/db]`, `rediss://…` with TLS, `redis-cluster://…` and
//! `rediss-cluster://…`. TLS is `verify-full` unless the address says something else
//! ([`triggerline_tls::server`]); the rest of it is fred's to read.

use std::net::IpAddr;

use fred::types::config::{Config, TlsConfig, TlsHostMapping};
use triggerline_tls::server::{SslMode, SslParameters};
use url::{Host, Url};

use crate::StoreError;

pub(super) fn parse(text: &str) -> Result<Config, StoreError> {
    let no_url =
        |why: &dyn std::fmt::Display| StoreError::Address(format!("is not a Redis URL: {why}"));
    let mut url = Url::parse(text).map_err(|error| no_url(&error))?;
    let wants_tls = url.scheme().starts_with("rediss");
    let ssl = take_ssl(&mut url)?;
    if !wants_tls && !ssl.is_empty() {
        return Err(StoreError::Address(
            "speaks of TLS and starts with redis; write rediss://… or rediss-cluster://…"
                .to_owned(),
        ));
    }
    // Read as one without TLS: fred would look for the system's roots, and there may be none.
    let plain = match url.as_str().strip_prefix("rediss") {
        Some(rest) => format!("redis{rest}"),
        None => url.to_string(),
    };
    let mut config = Config::from_url(&plain).map_err(|error| no_url(&error))?;
    if wants_tls {
        let mode = ssl.mode(SslMode::VerifyFull)?;
        if mode < SslMode::Require {
            return Err(StoreError::Address(format!(
                "starts with rediss and has sslmode={}; write redis://… for no TLS",
                mode.name()
            )));
        }
        config.tls = Some(TlsConfig {
            connector: ssl.client(mode)?.into(),
            // A cluster may name its nodes by their addresses, while certificates are of its name.
            hostnames: match url.host() {
                Some(Host::Domain(name)) if name.parse::<IpAddr>().is_err() => {
                    TlsHostMapping::DefaultHost
                }
                _ => TlsHostMapping::None,
            },
        });
    }
    Ok(config)
}

fn take_ssl(url: &mut Url) -> Result<SslParameters, StoreError> {
    let (mut ssl, mut others) = (SslParameters::default(), Vec::new());
    for (name, value) in url.query_pairs() {
        if !ssl.take(&name, &value)? {
            others.push((name.into_owned(), value.into_owned()));
        }
    }
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    Ok(ssl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_what_the_scheme_says() {
        for (url, tls) in [
            ("redis://h", false),
            ("redis-cluster://h:7000?node=i:7001&node=j:7002", false),
            ("rediss://u:p@h:1/2", true),
            ("rediss-cluster://h:7000?sslmode=require&node=i:7001", true),
        ] {
            let config = parse(url).unwrap();
            assert_eq!(config.tls.is_some(), tls, "{url}");
            let nodes = 1 + url.matches("node=").count();
            assert_eq!(config.server.hosts().len(), nodes, "{url}");
        }
        for (url, host) in [("redis://rediss-1", "rediss-1"), ("rediss://:rediss@h", "h")] {
            assert_eq!(parse(url).unwrap().server.hosts()[0].host.to_string(), host, "{url}");
        }
        for (url, mapping) in [
            ("rediss-cluster://cache", TlsHostMapping::DefaultHost),
            ("rediss-cluster://10.0.0.1", TlsHostMapping::None),
            ("rediss-cluster://[::1]", TlsHostMapping::None),
        ] {
            assert_eq!(parse(url).unwrap().tls.unwrap().hostnames, mapping, "{url}");
        }
        let config = parse("rediss://u:p%40ss@h:1/2").unwrap();
        assert_eq!(config.password.as_deref(), Some("p@ss"));
    }

    #[test]
    fn a_wrong_address_is_told_what_would_be_right() {
        for (url, told) in [
            ("redis://h?sslrootcert=/ca.pem", "rediss://"),
            ("rediss://h?sslmode=disable", "redis://"),
            ("rediss://h?sslmode=verify", "verify-full"),
            ("rediss://h?sslrootcert=/missing.pem", "/missing.pem"),
        ] {
            let error = parse(url).err().unwrap().to_string();
            assert!(error.contains(told), "{url}: {error}");
        }
    }
}
