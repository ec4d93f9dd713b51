//! Where a webhook may go. Pure.
//!
//! A customer chooses the URL and we make the request from inside someone's network, so what
//! isn't plainly on the public internet is refused: at save time by [`check_url`], and again
//! for each connection by [`is_allowed`] on the very addresses it would go to, since a name
//! can point elsewhere by then (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;
use url::{Host, Url};

/// How far webhooks may reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Plain http as well as https.
    pub http: bool,
    /// Addresses that are not global, loopback included.
    pub private_networks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("is not a URL: {0}")]
    NotAUrl(String),
    #[error("starts with {found}://; a webhook goes to {allowed}")]
    Scheme { found: String, allowed: &'static str },
    #[error("carries a user name or password; put credentials into headers")]
    Credentials,
    #[error("names no host")]
    NoHost,
    #[error("goes to {0}, which is not an address on the public internet")]
    Address(IpAddr),
    #[error("goes to {0}, which is a name for this machine or its own network")]
    Name(String),
}

/// Checks a URL as it is given, before any name is looked up.
pub fn check_url(text: &str, reach: Reach) -> Result<Url, Refused> {
    let url = Url::parse(text).map_err(|error| Refused::NotAUrl(error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if reach.http => {}
        found => {
            let allowed = if reach.http { "https:// or http://" } else { "https://" };
            return Err(Refused::Scheme { found: found.to_owned(), allowed });
        }
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Credentials);
    }
    // The URL standard reads 0x7f.1, 2130706433 and [::ffff:127.0.0.1] as what they are.
    let address = match url.host().ok_or(Refused::NoHost)? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            if !reach.private_networks
                && (name == "localhost" || LOCAL_SUFFIXES.iter().any(|end| name.ends_with(end)))
            {
                return Err(Refused::Name(name.to_owned()));
            }
            None
        }
    };
    match address {
        Some(address) if !is_allowed(address, reach) => Err(Refused::Address(address)),
        _ => Ok(url),
    }
}

/// Names that are never on the public internet (RFC 6761 §6.3, RFC 6762, RFC 9476 and ICANN's
/// reservation of `.internal`).
const LOCAL_SUFFIXES: [&str; 4] = [".localhost", ".local", ".internal", ".alt"];

/// Whether a connection may go to `address`.
pub fn is_allowed(address: IpAddr, reach: Reach) -> bool {
    reach.private_networks || is_global(address)
}

/// Whether `address` is on the public internet.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !within(&NOT_GLOBAL, v4.into()),
        IpAddr::V6(v6) => match inner_v4(v6) {
            // However it is dressed up, it is judged by where it would arrive.
            Some(v4) => is_global(IpAddr::V4(v4)),
            // Only 2000::/3 has ever been given out (IANA IPv6 Global Unicast Address Space).
            None => v6.segments()[0] & 0xe000 == 0x2000 && !within(&NOT_GLOBAL, v6.into()),
        },
    }
}

fn within(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

/// The IPv4 address that an IPv6 one stands for: mapped and compatible (RFC 4291 §2.5.5),
/// NAT64 (RFC 6052 §2.1), 6to4 (RFC 3056 §2) and Teredo (RFC 4380 §4, obscured).
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let last = Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32);
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last),
        [0x2002, ..] => Some(Ipv4Addr::from_bits(((bits >> 80) & 0xffff_ffff) as u32)),
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last.to_bits())),
        _ => None,
    }
}

/// What isn't global, from the IANA special-purpose registries (RFC 6890), and 168.63.129.16,
/// which is the host in Azure.
static NOT_GLOBAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    ]
    .iter()
    .filter_map(|range| range.parse().ok())
    .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCTION: Reach = Reach { http: false, private_networks: false };
    const DEVELOPMENT: Reach = Reach { http: true, private_networks: true };

    #[test]
    fn every_range_is_readable() {
        assert_eq!(NOT_GLOBAL.len(), 19);
    }

    #[test]
    fn only_public_https_is_let_through() {
        for url in [
            "https://example.com/hook",
            "https://example.com:8443/hook?a=b",
            "https://93.184.215.14/",
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "https://[::ffff:93.184.215.14]/",
        ] {
            assert!(check_url(url, PRODUCTION).is_ok(), "{url}");
        }
        for url in [
            "example.com",
            "/hook",
            "",
            "https://",
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://localhost/",
            "https://localhost./",
            "https://LOCALHOST:8080/",
            "https://a.localhost/",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://①②⑦.0.0.1/",
            "https://0.0.0.0/",
            "https://0/",
            "https://10.0.0.1/",
            "https://100.64.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://168.63.129.16/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://192.0.2.1/",
            "https://198.18.0.1/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[64:ff9b:1::1]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:a00:1::]/",
            "https://[2001:0:0:0:0:0:80ff:fffe]/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[fd12:3456::1]/",
            "https://[ff02::1]/",
            "https://[2001:db8::1]/",
            "https://[100::1]/",
            "https://[5f00::1]/",
        ] {
            assert!(check_url(url, PRODUCTION).is_err(), "{url}");
        }
    }

    #[test]
    fn development_opens_loopback_and_http_but_nothing_else() {
        for url in ["http://127.0.0.1:9000/", "http://localhost:9000/", "https://[::1]/"] {
            assert!(check_url(url, DEVELOPMENT).is_ok(), "{url}");
        }
        for url in ["ftp://127.0.0.1/", "http://user:pass@127.0.0.1/", "http://"] {
            assert!(check_url(url, DEVELOPMENT).is_err(), "{url}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        let told = |url| check_url(url, PRODUCTION).unwrap_err().to_string();
        assert_eq!(told("http://a.example/"), "starts with http://; a webhook goes to https://");
        assert_eq!(
            told("https://[::ffff:10.0.0.1]/"),
            "goes to ::ffff:10.0.0.1, which is not an address on the public internet"
        );
    }
}
