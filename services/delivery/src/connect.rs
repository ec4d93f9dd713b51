//! Connections to receivers: to addresses that were vetted, and to nothing else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfigGroup, ResolverConfig};
use hickory_resolver::name_server::TokioConnectionProvider;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use triggerline_guard::{Reach, is_allowed};

use crate::meter::Metering;

pub(crate) type Connections =
    Client<HttpsConnector<Metering<HttpConnector<Resolver>>>, Full<Bytes>>;

/// A pool of connections to wherever `reach` lets us.
pub(crate) fn connections(
    reach: Reach,
    timeout: Duration,
    servers: &[SocketAddr],
) -> anyhow::Result<Connections> {
    let names = Arc::new(names(servers)?);
    let mut http = HttpConnector::new_with_resolver(Resolver { names, reach });
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    // No proxy: hyper-util reads none from the environment, unlike reqwest.
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Metering(http));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(64)
        // As much as is read of an answer; more would only be kept for nobody.
        .http1_max_buf_size(HEADERS)
        .http2_initial_stream_window_size(WINDOWS.0)
        .http2_initial_connection_window_size(WINDOWS.1)
        .build(https);
    Ok(client)
}

/// The headers of an answer, at most.
const HEADERS: usize = 64 * 1_024;
/// What may come of one answer, and of all on a connection, before it is read (RFC 9113 §5.2).
const WINDOWS: (u32, u32) = (64 * 1_024, 256 * 1_024);

/// For one question to one server; it is asked twice. The request's own deadline is over all.
const ASK: Duration = Duration::from_secs(3);
/// An answer is good for as long as it says, at most so long; that there is none, a moment.
const KNOWN: (Duration, Duration) = (Duration::from_mins(5), Duration::from_secs(5));
/// Answers that are remembered.
const REMEMBERED: usize = 16_384;

/// Asks these name servers; those of the system (/etc/resolv.conf) where none are given.
fn names(servers: &[SocketAddr]) -> anyhow::Result<TokioResolver> {
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
    names: Arc<TokioResolver>,
    reach: Reach,
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
