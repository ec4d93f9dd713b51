//! Names of receivers, and to which addresses they may lead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use anyhow::Context as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfigGroup, ResolverConfig};
use hickory_resolver::name_server::TokioConnectionProvider;
use hyper_util::client::legacy::connect::dns::Name;
use triggerline_guard::{Reach, is_allowed};

/// For one question to one server; it is asked twice. The request's own deadline is over all.
const ASK: Duration = Duration::from_secs(3);
/// An answer is good for as long as it says, at most so long; that there is none, a moment.
const KNOWN: (Duration, Duration) = (Duration::from_mins(5), Duration::from_secs(5));
/// Answers that are remembered.
const REMEMBERED: usize = 16_384;

/// Asks these name servers; those of the system (/etc/resolv.conf) where none are given.
pub(crate) fn names(servers: &[SocketAddr]) -> anyhow::Result<TokioResolver> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()
            .context("read the system's name servers; delivery.resolvers can name others")?
    } else {
        let mut group = NameServerConfigGroup::new();
        for server in servers {
            let one = NameServerConfigGroup::from_ips_clear(&[server.ip()], server.port(), true);
            group.merge(one);
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), group);
        TokioResolver::builder_with_config(config, TokioConnectionProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = ASK;
    // All addresses are judged, of both kinds.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = REMEMBERED;
    options.positive_max_ttl = Some(KNOWN.0);
    options.negative_max_ttl = Some(KNOWN.1);
    Ok(builder.build())
}

/// Looks names up, and lets through only addresses that a webhook may go to. The connector
/// connects to what this returns and to nothing else: a name that leads somewhere else the next time
/// it is looked up (DNS rebinding) is judged anew. (Hosts that are addresses never come here;
/// [`check_url`](triggerline_guard::check_url) has judged them.)
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) names: Arc<TokioResolver>,
    pub(crate) reach: Reach,
}

/// A name led to an address that isn't allowed. One is enough: a name that points both
/// outside and inside is an attack or a mistake.
#[derive(Debug, thiserror::Error)]
#[error("{name} leads to {address}, which is not an address on the public internet")]
pub(crate) struct NotAllowed {
    name: String,
    address: SocketAddr,
}

type Looked = Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Looked;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { names, reach } = self.clone();
        Box::pin(async move {
            let found = names.lookup_ip(name.as_str()).await.map_err(io::Error::other)?;
            let found: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            match found.iter().find(|address| !is_allowed(address.ip(), &reach)) {
                Some(address) => Err(io::Error::other(NotAllowed {
                    name: name.as_str().to_owned(),
                    address: *address,
                })),
                None => Ok(found.into_iter()),
            }
        })
    }
}
