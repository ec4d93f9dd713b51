//! Connections to receivers: to addresses that were vetted, and to nothing else.
//!
//! A [`Way`] leads there, straight or through the installation's own proxy; what is read on it is
//! metered ([`Metering`]), and as many are open at once as the installation bears. [`Clients`] keep
//! them for the next request: those without a client certificate in one pool, and one more for each
//! subscription that has its own, so that nobody's connection speaks for somebody else.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Uri, uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::Service;
use triggerline_guard::Reach;
use triggerline_tls::{Identity, Trust};
use triggerline_types::{ClientCertificate, SubscriptionId};

use crate::config::{DeliveryConfig, Proxy};
use crate::meter::Metering;
use crate::resolve::{Resolver, names};

pub(crate) type Connections = Client<HttpsConnector<Metering<Way>>, Full<Bytes>>;

pub(crate) struct Clients {
    trust: Trust,
    way: Metering<Way>,
    anonymous: Connections,
    named: Mutex<HashMap<SubscriptionId, Named>>,
}

/// Those of a subscription with a client certificate.
struct Named {
    certificate: ClientCertificate,
    connections: Connections,
    used: Instant,
}

/// How long a pool of its own is kept for a subscription that sends nothing.
const KEPT: Duration = Duration::from_mins(1);

impl Clients {
    pub(crate) fn new(config: &DeliveryConfig) -> anyhow::Result<Self> {
        let file = Some(config.ca_file.as_path()).filter(|file| !file.as_os_str().is_empty());
        let trust = Trust::new(file).context("delivery.ca_file")?;
        let way = Metering::new(Way::new(config)?, config.connections);
        let anonymous = connections(way.clone(), &trust, None);
        Ok(Self { trust, way, anonymous, named: Mutex::default() })
    }

    /// To whom a subscription's requests are handed.
    pub(crate) fn of(
        &self,
        subscription: SubscriptionId,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Connections, triggerline_tls::InvalidIdentity> {
        let Some(certificate) = certificate else {
            return Ok(self.anonymous.clone());
        };
        let now = Instant::now();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = named.get_mut(&subscription)
            && known.certificate == *certificate
        {
            known.used = now;
            return Ok(known.connections.clone());
        }
        // Swept when it has doubled since the last time, so that each entry is paid for once.
        if named.len() == named.capacity() {
            named.retain(|_, named| named.used + KEPT > now);
        }
        let identity = Identity::parse(&certificate.chain, &certificate.private_key)?;
        let connections = connections(self.way.clone(), &self.trust, Some(&identity));
        let certificate = certificate.clone();
        let new = Named { certificate, connections: connections.clone(), used: now };
        named.insert(subscription, new);
        Ok(connections)
    }

    /// For what isn't a webhook: nobody is shown a certificate.
    pub(crate) fn anonymous(&self) -> &Connections {
        &self.anonymous
    }
}

/// A pool of connections.
fn connections(way: Metering<Way>, trust: &Trust, identity: Option<&Identity>) -> Connections {
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(trust.client(identity))
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(way);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(64)
        // As much as is read of an answer; more would only be kept for nobody.
        .http1_max_buf_size(HEADERS)
        .http2_initial_stream_window_size(WINDOWS.0)
        .http2_initial_connection_window_size(WINDOWS.1)
        .build(https)
}

/// The headers of an answer, at most.
const HEADERS: usize = 64 * 1_024;
/// What may come of one answer, and of all on a connection, before it is read (RFC 9113 §5.2).
const WINDOWS: (u32, u32) = (64 * 1_024, 256 * 1_024);

pub(crate) type Failed = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, Failed>> + Send>>;

/// The way to a receiver. None is taken from the environment, as other clients do.
#[derive(Clone)]
pub(crate) enum Way {
    Direct(HttpConnector<Resolver>),
    Proxied {
        tunnel: Box<Tunnel<HttpConnector<Resolver>>>,
        /// Looks names up before the proxy hears of them; without it the proxy is told names, and it
        /// is the proxy that must refuse what isn't to be reached.
        resolver: Option<Resolver>,
    },
}

impl Way {
    fn new(config: &DeliveryConfig) -> anyhow::Result<Self> {
        let names = Arc::new(names(&config.resolvers)?);
        let connector = |reach| {
            let resolver = Resolver { names: Arc::clone(&names), reach };
            let mut http = HttpConnector::new_with_resolver(resolver);
            http.enforce_http(false);
            http.set_nodelay(true);
            http.set_connect_timeout(Some(config.timeout));
            http
        };
        let reach = config.reach();
        let Some(Proxy { uri, authorization }) = config.proxy.clone() else {
            return Ok(Self::Direct(connector(reach)));
        };
        // The proxy itself is the installation's, and may be anywhere.
        let anywhere = Reach { private_networks: true, ..Reach::default() };
        let mut tunnel = Tunnel::new(uri, connector(anywhere));
        if let Some(authorization) = authorization {
            tunnel = tunnel.with_auth(authorization);
        }
        let resolver = (!config.proxy_resolves).then_some(Resolver { names, reach });
        Ok(Self::Proxied { tunnel: Box::new(tunnel), resolver })
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Failed;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Failed>> {
        match self {
            Self::Direct(connector) => connector.poll_ready(context).map_err(Into::into),
            Self::Proxied { tunnel, .. } => tunnel.as_mut().poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Connecting {
        match self {
            Self::Direct(connector) => {
                let connecting = connector.call(to);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Self::Proxied { tunnel, resolver } => {
                Box::pin(through((**tunnel).clone(), resolver.clone(), to))
            }
        }
    }
}

/// A tunnel (CONNECT, RFC 9110 §9.3.6) to the first of a name's addresses that takes one; to the name
/// itself, where it isn't looked up here.
async fn through(
    mut tunnel: Tunnel<HttpConnector<Resolver>>,
    resolver: Option<Resolver>,
    to: Uri,
) -> Result<TokioIo<TcpStream>, Failed> {
    let host = to.host().ok_or("no host")?;
    let standard = if to.scheme() == Some(&uri::Scheme::HTTP) { 80 } else { 443 };
    let port = to.port_u16().unwrap_or(standard);
    // Addresses have been judged with the URL.
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let ends = match resolver {
        Some(mut resolver) if !is_address => {
            let found = resolver.call(host.parse::<Name>()?).await?;
            found.map(|address| uri_host(address.ip())).collect()
        }
        _ => vec![host.to_owned()],
    };
    let mut failed: Failed = "the name has no address".into();
    for end in ends {
        let end = Uri::builder().scheme("http").authority(format!("{end}:{port}"));
        match tunnel.call(end.path_and_query("/").build()?).await {
            Ok(tunnelled) => return Ok(tunnelled),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

/// RFC 3986 §3.2.2.
fn uri_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `Authorization: Basic` (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
