//! Where a webhook may go. Pure.
//!
//! A customer chooses the URL and we make the request from inside someone's network, so what
//! isn't plainly on the public internet is refused: at save time by [`check_url`], and again
//! for each connection by [`is_allowed`] on the very addresses it would go to, since a name
//! can point elsewhere by then (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use url::{Host, Url};

/// How far webhooks may reach.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Plain http as well as https.
    pub http: bool,
    /// Addresses that are not global, loopback included, and any port: for development.
    pub private_networks: bool,
    /// Networks that are not global and are reached all the same.
    pub networks: Arc<[IpNet]>,
    /// Ports; those that belong to other protocols are refused even so. None means: all others.
    pub ports: Arc<[RangeInclusive<u16>]>,
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
    #[error("goes to port {0}, which is not one that webhooks go to")]
    Port(u16),
}

/// Checks a URL as it is given, before any name is looked up.
pub fn check_url(text: &str, reach: &Reach) -> Result<Url, Refused> {
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
            // Where some networks are open, what a name leads to decides, when it is looked up.
            if !reach.private_networks
                && reach.networks.is_empty()
                && (name == "localhost" || LOCAL_SUFFIXES.iter().any(|end| name.ends_with(end)))
            {
                return Err(Refused::Name(name.to_owned()));
            }
            None
        }
    };
    if let Some(address) = address.filter(|address| !is_allowed(*address, reach)) {
        return Err(Refused::Address(address));
    }
    match url.port_or_known_default() {
        Some(port) if !may_be_asked(port, reach) => Err(Refused::Port(port)),
        _ => Ok(url),
    }
}

/// Names that are never on the public internet (RFC 6761 §6.3, RFC 6762, RFC 9476 and ICANN's
/// reservation of `.internal`).
const LOCAL_SUFFIXES: [&str; 4] = [".localhost", ".local", ".internal", ".alt"];

/// Whether a connection may go to `address`.
pub fn is_allowed(address: IpAddr, reach: &Reach) -> bool {
    reach.private_networks || is_global(address) || within(&reach.networks, plain(address))
}

fn may_be_asked(port: u16, reach: &Reach) -> bool {
    let listed = reach.ports.is_empty() || reach.ports.iter().any(|range| range.contains(&port));
    reach.private_networks || (listed && !OTHERS_PORTS.contains(&port))
}

/// Ports of protocols in which a request could be taken for something else (WHATWG Fetch §2.9, "bad
/// port").
const OTHERS_PORTS: [u16; 82] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697,
];

/// Whether `address` is on the public internet.
pub fn is_global(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => !within(&NOT_GLOBAL, v4.into()),
        // Only 2000::/3 has ever been given out (IANA IPv6 Global Unicast Address Space).
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && !within(&NOT_GLOBAL, v6.into()),
    }
}

/// Where it would arrive, however it is dressed up.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => inner_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
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

    #[test]
    fn every_range_is_readable() {
        assert_eq!(NOT_GLOBAL.len(), 19);
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        let told = |url| check_url(url, &Reach::default()).unwrap_err().to_string();
        assert_eq!(told("http://a.example/"), "starts with http://; a webhook goes to https://");
        assert_eq!(
            told("https://[::ffff:10.0.0.1]/"),
            "goes to ::ffff:10.0.0.1, which is not an address on the public internet"
        );
    }
}
