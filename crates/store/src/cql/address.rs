//! `scylla://[user:password@]host[:port]/keyspace[?parameters]`, or `cassandra://…`: both speak CQL.

use percent_encoding::percent_decode_str;
use triggerline_tls::server::{SslMode, SslParameters};
use url::Url;

use crate::error::StoreError;

const PORT: u16 = 9042;
const KNOWN: &str = "known are node=HOST:PORT (as often as there are nodes), datacenter=NAME, \
     replication_factor=N, and of TLS sslmode, sslrootcert, sslcert and sslkey";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) nodes: Vec<String>,
    pub(super) user: Option<(String, String)>,
    pub(super) keyspace: String,
    /// Asked before others, and whose quorum is waited for.
    pub(super) datacenter: Option<String>,
    /// Of a keyspace that `migrate` makes.
    pub(super) replication_factor: u32,
    /// `Disable`, `VerifyCa` or `VerifyFull`, the latter two with a root.
    pub(super) ssl_mode: SslMode,
    pub(super) ssl: SslParameters,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let wrong = |what: String| StoreError::Address(what);
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("names no host".to_owned()))?;
        let keyspace = url.path().trim_start_matches('/');
        // What CQL takes without quotes.
        let is_name = keyspace.len() <= 48
            && keyspace.starts_with(|first: char| first.is_ascii_lowercase())
            && keyspace.chars().all(|one| matches!(one, 'a'..='z' | '0'..='9' | '_'));
        if !is_name {
            return Err(wrong(format!(
                "has the keyspace {keyspace:?}; write scylla://HOST/KEYSPACE, of a-z, 0-9 and _"
            )));
        }
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = url.password().map(|password| (plain(url.username()), plain(password)));
        let mut address = Self {
            nodes: vec![format!("{host}:{}", url.port().unwrap_or(PORT))],
            user,
            keyspace: keyspace.to_owned(),
            datacenter: None,
            replication_factor: 3,
            ssl_mode: SslMode::Disable,
            ssl: SslParameters::default(),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "node" if value.contains(':') => address.nodes.push(value.into_owned()),
                "node" => address.nodes.push(format!("{value}:{PORT}")),
                "datacenter" => address.datacenter = Some(value.into_owned()),
                "replication_factor" => {
                    let factor = value.parse().ok().filter(|factor| (1..=9).contains(factor));
                    address.replication_factor = factor.ok_or_else(|| {
                        wrong("has a replication_factor that is not 1 to 9".into())
                    })?;
                }
                other => {
                    if !address.ssl.take(other, &value)? {
                        return Err(wrong(format!("has the parameter {other:?}; {KNOWN}")));
                    }
                }
            }
        }
        address.ssl_mode = address.ssl.mode(SslMode::Disable)?;
        let files = address.ssl.root.is_some() || address.ssl.cert.is_some();
        match (address.ssl_mode, &address.ssl.root) {
            (SslMode::VerifyCa | SslMode::VerifyFull, Some(_)) => {}
            (SslMode::Disable, _) if !files => {}
            (mode, _) => {
                return Err(wrong(format!(
                    "comes to sslmode={} with files or without; TLS to Cassandra and ScyllaDB is \
                     verify-ca or verify-full, with sslrootcert=FILE, and nothing else",
                    mode.name()
                )));
            }
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read() {
        let address = Address::parse("scylla://u:p%40ss@a/inbox?node=b:9043&node=c&datacenter=eu");
        assert_eq!(
            address.unwrap(),
            Address {
                nodes: ["a:9042", "b:9043", "c:9042"].map(str::to_owned).into(),
                user: Some(("u".to_owned(), "p@ss".to_owned())),
                keyspace: "inbox".to_owned(),
                datacenter: Some("eu".to_owned()),
                replication_factor: 3,
                ssl_mode: SslMode::Disable,
                ssl: SslParameters::default(),
            }
        );
        for (parameters, mode) in [
            ("sslrootcert=/ca.pem", SslMode::VerifyFull),
            ("sslmode=require&sslrootcert=/ca.pem", SslMode::VerifyCa),
        ] {
            let address = Address::parse(&format!("scylla://a/inbox?{parameters}")).unwrap();
            assert_eq!(address.ssl_mode, mode, "{parameters}");
        }
        for (text, told) in [
            ("cassandra:///inbox", "host"),
            ("cassandra://a", "KEYSPACE"),
            ("cassandra://a/In-box", "KEYSPACE"),
            ("cassandra://a/inbox?replication_factor=0", "1 to 9"),
            ("cassandra://a/inbox?nodes=b", "node=HOST:PORT"),
            ("cassandra://a/inbox?sslmode=require", "sslrootcert=FILE"),
            ("cassandra://a/inbox?sslmode=verify-full", "sslrootcert=FILE"),
            ("cassandra://a/inbox?sslmode=disable&sslrootcert=/ca.pem", "sslmode=disable"),
            ("cassandra://a/inbox?sslcert=/a.pem&sslkey=/a.key", "sslrootcert=FILE"),
            ("cassandra://a/inbox?sslcert=/a.pem", "go together"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
