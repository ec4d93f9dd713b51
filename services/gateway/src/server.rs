//! Connections: accepted, bounded in number, in time and in what HTTP/2 may ask for, over TLS
//! where it is set up, and ended gracefully. Both doors are served by it.
//!
//! The end has two steps ([`End`]), because whoever sends can't know of it: first clients are
//! asked to go (`Connection: close` on each answer) while the port is still open and load
//! balancers are told; then the port is closed, and with it whatever is idle by then. Who doesn't
//! read, or is there no more, is dropped ([`crate::peer`]).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::config::{LimitsConfig, TlsConfig};
use crate::peer::{Answering, Peer, Signs};

/// How long to wait after a connection could not be accepted (no file descriptors, say).
const BREATH: Duration = Duration::from_millis(50);
/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// The most header bytes that one HTTP/2 request may have.
const HEADER_BYTES: u32 = 32 * 1_024;
/// What is read ahead of an HTTP/1 request, headers and all.
const BUFFER: usize = 64 * 1_024;
/// What an HTTP/2 peer may send ahead: for one request, and for all on its connection.
const STREAM_WINDOW: u32 = 256 * 1_024;
const CONNECTION_WINDOW: u32 = 1_024 * 1_024;
/// When the port closes: how long a new connection may take to ask, and how long it may take to
/// come out of the kernel's queue. Its client believes that it has been accepted.
const FIRST_WORD: Duration = Duration::from_secs(1);
const QUEUED: Duration = Duration::from_millis(20);
/// When a connection that nothing is under way on is to end: how long it may be without a sign of
/// life. HTTP/2's goodbye waits for an answer, for which a dead peer has until its next [`PING`].
const SILENT: Duration = Duration::from_secs(2);

/// How serving ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// From then on clients are asked to go.
    pub(crate) leaving: CancellationToken,
    /// From then on the port is closed, and connections when they are idle.
    pub(crate) closed: CancellationToken,
}

pub(crate) struct Server {
    limits: LimitsConfig,
    tls: Option<TlsAcceptor>,
}

impl Server {
    pub(crate) fn new(limits: LimitsConfig, tls: &TlsConfig) -> anyhow::Result<Self> {
        let tls = if tls.certificate.as_os_str().is_empty() { None } else { Some(acceptor(tls)?) };
        Ok(Self { limits, tls })
    }

    /// Serves `router` until the end; returns when every request that has begun is answered.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, router: Router, end: End) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            // Beyond the limit the next ones wait in the kernel's queue.
            let accepted = async {
                let place = Arc::clone(&room).acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            let (place, accepted) = if end.closed.is_cancelled() {
                match tokio::time::timeout(QUEUED, accepted).await {
                    Ok(accepted) => accepted,
                    Err(_) => break,
                }
            } else {
                tokio::select! {
                    () = end.closed.cancelled() => continue,
                    accepted = accepted => accepted,
                }
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let (server, router, end) = (Arc::clone(&self), router.clone(), end.clone());
            connections.spawn(async move {
                server.greet(stream, router, end).await;
                drop(place);
            });
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn greet(&self, stream: TcpStream, router: Router, end: End) {
        let _ = stream.set_nodelay(true);
        let stream = Peer::new(stream, self.limits.write_timeout);
        let signs = stream.signs();
        let Some(tls) = &self.tls else {
            return self.connection(stream, signs, router, end).await;
        };
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(self.limits.header_timeout) => {}
                () = soon_after(&end.closed) => {}
            }
        };
        let hello = tokio::select! {
            hello = tls.accept(stream) => hello,
            () = patience => return tracing::debug!("a TLS handshake took too long"),
        };
        match hello {
            Ok(stream) => self.connection(stream, signs, router, end).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    }

    async fn connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        signs: Signs,
        router: Router,
        end: End,
    ) {
        let limits = &self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // hyper counts a later head's time from the answer before it. With less than
            // `idle_timeout`, connections would be closed in the face of clients that keep them
            // for longer (load balancers 60 s, most pools 90 s) and are about to ask again.
            .header_read_timeout(limits.idle_timeout)
            .max_buf_size(BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        // Cancelled by the first request.
        let asked = CancellationToken::new();
        // Requests, until hyper has their answer.
        let (requests, under_way) = (AtomicU64::new(0), TaskTracker::new());
        under_way.close();
        let service = service_fn(|request: Request<Incoming>| {
            if !asked.is_cancelled() {
                asked.cancel();
            }
            requests.fetch_add(1, Ordering::Relaxed);
            let token = under_way.token();
            let version = request.version();
            let answer = router.clone().oneshot(request.map(Body::new));
            let leaving = end.leaving.clone();
            async move {
                let mut answer = answer.await.unwrap_or_else(|never| match never {});
                if version <= Version::HTTP_11 && leaving.is_cancelled() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(|body| Body::new(Answering::new(body, token))))
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // The first request's head: who sends nothing, or half of it, is dropped here.
        let mut silence = pin!(tokio::time::sleep(limits.header_timeout));
        // hyper's own time-out is for HTTP/1 only.
        let idle = async {
            loop {
                under_way.wait().await;
                let before = requests.load(Ordering::Relaxed);
                tokio::time::sleep(limits.idle_timeout).await;
                if under_way.is_empty() && requests.load(Ordering::Relaxed) == before {
                    return;
                }
            }
        };
        // An HTTP/2 peer is told by a frame. To close an HTTP/1.1 connection is to break off a
        // request that may be on its way; not so when it has been silent since `leaving`.
        let told = async {
            end.closed.cancelled().await;
            tokio::select! {
                () = asked.cancelled() => {}
                () = soon_after(&end.closed) => {}
            }
        };
        let mut closing = pin!(async {
            tokio::select! {
                () = idle => {}
                () = told => {}
            }
        });
        let mut dead = pin!(async {
            loop {
                under_way.wait().await;
                let before = signs.count();
                tokio::time::sleep(SILENT).await;
                if under_way.is_empty() && signs.count() == before {
                    return;
                }
            }
        });
        let (mut watched, mut stopping) = (true, false);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = silence.as_mut(), if watched => {
                    if !asked.is_cancelled() {
                        return;
                    }
                    watched = false;
                }
                () = closing.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = dead.as_mut(), if stopping => {
                    return tracing::debug!("a connection was given up: it gave no sign of life");
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection broke off");
        }
    }
}

async fn soon_after(closed: &CancellationToken) {
    closed.cancelled().await;
    tokio::time::sleep(FIRST_WORD).await;
}

fn acceptor(config: &TlsConfig) -> anyhow::Result<TlsAcceptor> {
    let file = &config.certificate;
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("setting gateway.tls.certificate: read {}", file.display()))?;
    anyhow::ensure!(
        !chain.is_empty(),
        "setting gateway.tls.certificate: {} holds no certificate in PEM",
        file.display()
    );
    let file = &config.key;
    let key = PrivateKeyDer::from_pem_file(file)
        .with_context(|| format!("setting gateway.tls.key: read {}", file.display()))?;
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("setting gateway.tls: the key doesn't fit the certificate")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}
