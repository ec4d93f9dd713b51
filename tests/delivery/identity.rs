//! Who requests say they are from, and on which way they go: client certificates, access tokens, roots
//! of one's own, a proxy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use triggerline_testkit::{Client, Services, World, wait_until};

use crate::reach::name_server;
use crate::{BINARY, LIMIT};

/// A certificate authority of a test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key)?;
        let (certificate, pem) = (made.der().clone(), made.pem());
        Ok(Self { issuer: Issuer::new(params, key), certificate, pem })
    }

    /// A certificate for a name, and its key.
    fn issue(&self, name: &str) -> anyhow::Result<(rcgen::Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }
}

/// A request as it came in: its head, and the certificate that was shown with it.
type Asked = Arc<Mutex<Vec<(String, Option<CertificateDer<'static>>)>>>;

/// An endpoint that wants to see a certificate of `clients`, and has one of `authority` itself.
async fn endpoint(
    authority: &Authority,
    clients: &Authority,
) -> anyhow::Result<(SocketAddr, Asked)> {
    let (certificate, key) = authority.issue("127.0.0.1")?;
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.clone())?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build()?)
        .with_single_cert(vec![certificate.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, asked) = (listener.local_addr()?, Asked::default());
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(socket).await else { return };
                let shown = tls.get_ref().1.peer_certificates();
                let shown = shown.and_then(|chain| chain.first()).cloned();
                let head = head(&mut tls).await;
                kept.lock().unwrap().push((head, shown));
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                let _ = tls.shutdown().await;
            });
        }
    });
    Ok((address, asked))
}

/// The head of a request.
pub(crate) async fn head(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A token server and the receiver that wants its tokens.
#[derive(Default)]
struct Login {
    issued: AtomicUsize,
    /// Tokens up to this one were revoked.
    revoked: AtomicUsize,
    taken: AtomicUsize,
}

async fn issue(State(login): State<Arc<Login>>, headers: HeaderMap, form: String) -> Json<Value> {
    assert_eq!(form, "grant_type=client_credentials&scope=hooks");
    // base64 of "client:s3cret".
    assert_eq!(headers["authorization"], "Basic Y2xpZW50OnMzY3JldA==");
    let number = login.issued.fetch_add(1, Ordering::SeqCst) + 1;
    Json(json!({"access_token": number.to_string(), "token_type": "Bearer", "expires_in": 3_600}))
}

async fn take(State(login): State<Arc<Login>>, headers: HeaderMap) -> StatusCode {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let number = token.and_then(|token| token.strip_prefix("Bearer ")?.parse::<usize>().ok());
    if number.is_none_or(|number| number <= login.revoked.load(Ordering::SeqCst)) {
        return StatusCode::UNAUTHORIZED;
    }
    login.taken.fetch_add(1, Ordering::SeqCst);
    StatusCode::OK
}

async fn refuse() -> impl axum::response::IntoResponse {
    let told = json!({"error": "invalid_client", "error_description": "not s3cret"});
    (StatusCode::UNAUTHORIZED, Json(told)).into_response()
}

/// Publishes an event until `done` says so.
async fn until<T>(
    client: &Client,
    event_type: &str,
    done: impl AsyncFn() -> Result<T, String>,
) -> anyhow::Result<T> {
    wait_until(event_type, LIMIT, || async {
        client.publish(event_type, b"1").await.map_err(|error| error.to_string())?;
        done().await
    })
    .await
}

async fn subscribe(
    client: &Client,
    event_type: &str,
    mut delivery: Value,
) -> anyhow::Result<Value> {
    delivery["retry"] = json!({"max_attempts": 1});
    let body =
        json!({"workflow_id": event_type, "event_types": [event_type], "delivery": delivery});
    client.post("/v1/subscriptions", body.to_string()).await?.expect(StatusCode::CREATED)
}

/// Why the deliveries of a subscription were given up.
async fn given_up(client: &Client, workflow: &str) -> Result<String, String> {
    let page = client.get("/v1/dead-letters?limit=200").await.and_then(|page| page.json());
    let page = page.map_err(|error| error.to_string())?;
    let letters = page["data"].as_array().cloned().unwrap_or_default();
    let letter = letters.iter().find(|letter| letter["workflow_id"] == workflow);
    letter.map(|letter| letter["reason"].to_string()).ok_or_else(|| page.to_string())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn receivers_are_shown_what_they_want_to_see() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (ours, clients, strangers) =
        (Authority::new("ours")?, Authority::new("clients")?, Authority::new("strangers")?);
    let (address, asked) = endpoint(&ours, &clients).await?;
    let (strange, _) = endpoint(&strangers, &clients).await?;
    let login = Arc::new(Login::default());
    let router = Router::new()
        .route("/token", post(issue))
        .route("/refuse", post(refuse))
        .route("/hook", post(take))
        .with_state(Arc::clone(&login));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut world = World::on_real_parts(BINARY).await?;
    let roots = world.folder.path().join("roots.pem");
    std::fs::write(&roots, &ours.pem)?;
    world.set("TRIGGERLINE_DELIVERY__CA_FILE", &roots.display().to_string());
    world.set("TRIGGERLINE_CONTROL__SECRET_KEYS", &format!("k1:{}=", "A".repeat(43)));
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("identity").await?);

    // Mutual TLS, under a root of the installation's own.
    let (certificate, key) = clients.issue("triggerline")?;
    let shown = json!({"certificate": certificate.pem(), "private_key": key.serialize_pem()});
    let to = |address: SocketAddr| format!("https://{address}/hook");
    let wanted = json!({"url": to(address), "client_certificate": shown});
    let made = subscribe(&client, "tls.shown", wanted).await?;
    assert_eq!(made["delivery"]["client_certificate"]["certificate"], certificate.pem());
    assert!(!made.to_string().contains("PRIVATE KEY"), "{made}");
    until(&client, "tls.shown", async || {
        let asked = asked.lock().unwrap();
        let arrived = asked.iter().any(|(head, shown)| {
            head.starts_with("POST /hook") && shown.as_ref() == Some(certificate.der())
        });
        arrived.then_some(()).ok_or_else(|| format!("{asked:?}"))
    })
    .await?;

    // Whoever shows none is turned away, and so are we by whom we don't know.
    subscribe(&client, "tls.none", json!({"url": to(address)})).await?;
    let reason = until(&client, "tls.none", async || given_up(&client, "tls.none").await).await?;
    assert!(reason.contains("CertificateRequired") || reason.contains("alert"), "{reason}");
    let wanted = json!({"url": to(strange), "client_certificate": shown});
    subscribe(&client, "tls.strange", wanted).await?;
    let reason =
        until(&client, "tls.strange", async || given_up(&client, "tls.strange").await).await?;
    assert!(reason.contains("UnknownIssuer"), "{reason}");

    // A token is fetched once, sent with each request, and replaced when it is refused.
    let oauth2 = |path: &str| {
        json!({"token_url": format!("{base}{path}"), "client_id": "client",
            "client_secret": "s3cret", "scope": "hooks"})
    };
    let hook = format!("{base}/hook");
    let made =
        subscribe(&client, "o.auth", json!({"url": hook, "oauth2": oauth2("/token")})).await?;
    assert_eq!(made["delivery"]["oauth2"]["client_id"], "client");
    assert!(!made.to_string().contains("s3cret"), "{made}");
    let taken = async |count: usize| {
        let taken = login.taken.load(Ordering::SeqCst);
        if taken >= count { Ok(()) } else { Err(format!("{taken} taken")) }
    };
    until(&client, "o.auth", async || taken(3).await).await?;
    assert_eq!(login.issued.load(Ordering::SeqCst), 1);
    login.revoked.store(1, Ordering::SeqCst);
    until(&client, "o.auth", async || taken(6).await).await?;
    assert_eq!(login.issued.load(Ordering::SeqCst), 2);
    assert!(given_up(&client, "o.auth").await.is_err(), "a refused token costs no delivery");

    subscribe(&client, "o.refused", json!({"url": hook, "oauth2": oauth2("/refuse")})).await?;
    let reason = until(&client, "o.refused", async || given_up(&client, "o.refused").await).await?;
    let told = "no access token: the token URL answered 401 Unauthorized: invalid_client";
    assert!(reason.contains(told) && !reason.contains("s3cret"), "{reason}");

    services.terminate().await?;
    world.tear_down().await
}

/// A proxy that takes CONNECT from who knows its password, leads all of it to loopback, and keeps
/// where it was asked to lead.
async fn proxy() -> anyhow::Result<(SocketAddr, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, asked) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let head = head(&mut socket).await;
                // base64 of "user:p@ss".
                if !head.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n") {
                    let _ = socket.write_all(b"HTTP/1.1 407 No\r\n\r\n").await;
                    return;
                }
                let to = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
                let Some((to, port)) = to.and_then(|to| Some((to, to.rsplit_once(':')?.1))) else {
                    return;
                };
                kept.lock().unwrap().push(to.to_owned());
                let Ok(mut end) = TcpStream::connect(format!("127.0.0.1:{port}")).await else {
                    return;
                };
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut end).await;
            });
        }
    });
    Ok((address, asked))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_proxy_is_told_where_webhooks_may_go() -> anyhow::Result<()> {
    let (proxy, led) = proxy().await?;
    // Good the first time, and then inside.
    let (resolver, _) = name_server(&[[127, 0, 0, 1], [127, 0, 0, 2]]).await?;
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hits);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    // It ends each connection, so that the name is looked up for each request.
    let count = async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        [("connection", "close")]
    };
    let router = Router::new().route("/", post(count));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut world = World::on_real_parts(BINARY).await?;
    let mut gateway = world.start(&["gateway"])?;
    let mut others = [world.start(&["matcher"])?, world.start(&["storage"])?];
    world.set("TRIGGERLINE_DELIVERY__ALLOW_PRIVATE_NETWORKS", "false");
    world.set("TRIGGERLINE_DELIVERY__ALLOW_NETWORKS", "127.0.0.1/32");
    world.set("TRIGGERLINE_DELIVERY__RESOLVERS", &resolver.to_string());
    world.set("TRIGGERLINE_DELIVERY__PROXY", &format!("http://user:p%40ss@{proxy}"));
    let mut delivery = world.start(&["delivery"])?;
    let base = format!("http://{}", gateway.logged("serving").await?["http"].as_str().unwrap());
    for (process, ready) in others.iter_mut().zip(["matching", "storing"]) {
        process.logged(ready).await?;
    }
    delivery.logged("delivering").await?;
    let client = Client::new(&base, world.customer("proxy").await?);
    let url = format!("http://hooks.example.com:{port}/");
    subscribe(&client, "through", json!({"url": url})).await?;

    // What the name led to when it was judged is where the proxy leads, and nowhere else.
    let reason = until(&client, "through", async || given_up(&client, "through").await).await?;
    assert!(reason.contains("hooks.example.com leads to 127.0.0.2"), "{reason}");
    assert_eq!(hits.load(Ordering::SeqCst), 1);
    assert_eq!(*led.lock().unwrap(), [format!("127.0.0.1:{port}")]);
    assert!(delivery.terminate().await?.success());

    // Where that is the proxy's business, it is told the name.
    world.set("TRIGGERLINE_DELIVERY__PROXY_RESOLVES", "true");
    let mut delivery = world.start(&["delivery"])?;
    delivery.logged("delivering").await?;
    until(&client, "through", async || {
        let led = led.lock().unwrap();
        if led.last() == Some(&format!("hooks.example.com:{port}")) {
            return Ok(());
        }
        Err(format!("{led:?}"))
    })
    .await?;
    for process in [gateway, delivery].into_iter().chain(others) {
        assert!(process.terminate().await?.success());
    }
    world.tear_down().await
}
