//! Connections to receivers: to addresses that were vetted, and to nothing else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use triggerline_guard::{Reach, is_allowed};

pub(crate) type Connections = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// A pool of connections to wherever `reach` lets us.
pub(crate) fn connections(reach: Reach, timeout: Duration) -> Connections {
    let mut http = HttpConnector::new_with_resolver(Resolver { reach });
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    // No proxy: hyper-util reads none from the environment, unlike reqwest.
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(64)
        .build(https)
}

/// Looks names up, and lets through only addresses that a webhook may go to. The connector
/// connects to what this returns and to nothing else. (Hosts that are addresses never come
/// here; [`check_url`] has judged them.)
#[derive(Clone)]
pub(crate) struct Resolver {
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

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.reach.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
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
