//! PostgreSQL, Redis and Cassandra by TLS: each `sslmode`, a certificate that is not to be believed,
//! and one of our own where a server asks for it.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod database;

use std::time::{Duration, Instant};

use database::Database;
use tokio::net::{TcpListener, TcpStream};
use triggerline_store::{SecretKeys, StoreError, open_cache, open_control, open_events};
use triggerline_types::CustomerId;

/// Where the certificates are; `None` where the parts run in containers.
fn folder() -> Option<String> {
    let folder = std::env::var("TRIGGERLINE_TEST_TLS").ok();
    if folder.is_none() {
        eprintln!("skipped: the parts run in containers, which have no certificates");
    }
    folder
}

/// All errors behind one, one after the other.
fn told(error: &StoreError) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        told = format!("{told}: {error}");
        source = error.source();
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn postgres() {
    let Some(folder) = folder() else { return };
    let database = Database::create().await;
    let (ours, other) = (format!("{folder}/ca.pem"), format!("{folder}/other.pem"));
    let client = format!("sslcert={folder}/client.pem&sslkey={folder}/client.key");
    let open = async |url: &str| {
        let control = open_control(url, SecretKeys::default()).await?;
        // Its connection stays in the pool.
        control.customer(CustomerId::new()).await?;
        Ok::<_, StoreError>(control)
    };
    let plain = &database.url;
    database.open().migrate().await.unwrap();
    // The certificate is of 127.0.0.1 and localhost.
    let elsewhere = plain.replace("127.0.0.1", "elsewhere.example") + "?hostaddr=127.0.0.1";
    for (url, names_us) in [
        (format!("{plain}?sslmode=require"), false),
        (format!("{plain}?sslmode=prefer"), false),
        (format!("{elsewhere}&sslmode=require"), false),
        (format!("{elsewhere}&sslmode=verify-ca&sslrootcert={ours}"), false),
        (format!("{plain}?sslmode=verify-full&sslrootcert={ours}"), false),
        (format!("{plain}?sslrootcert={ours}&{client}"), true),
    ] {
        let control = open(&url).await.unwrap_or_else(|error| panic!("{url}: {}", told(&error)));
        let connections = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl), \
             count(client_dn) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE datname = $1 AND backend_type = 'client backend'";
        let row = database.server.query_one(connections, &[&database.name]).await.unwrap();
        let [with, without, named] = [0, 1, 2].map(|at| row.get::<_, i64>(at));
        assert!(with > 0 && without == 0, "{url}: {with} with TLS, {without} without");
        assert_eq!(named > 0, names_us, "{url}: {named} say who they are");
        drop(control);
        // The next must not be told of this one's.
        let gone = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
             WHERE datname = $1";
        database.server.query_one(gone, &[&database.name]).await.unwrap();
    }
    for (url, expected) in [
        (format!("{plain}?sslmode=verify-full"), "UnknownIssuer"),
        (format!("{plain}?sslrootcert={other}"), "BadSignature"),
        (format!("{elsewhere}&sslrootcert={ours}"), "not valid for name"),
    ] {
        let error = told(&open(&url).await.err().unwrap());
        assert!(error.contains(expected), "{url}: {error}");
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn redis() {
    let Some(folder) = folder() else { return };
    let server = std::env::var("TRIGGERLINE_TEST_REDIS_TLS").unwrap();
    let named = server.replace("127.0.0.1", "localhost");
    let client = format!("sslcert={folder}/client.pem&sslkey={folder}/client.key");
    for (url, answers) in [
        (format!("{server}?sslrootcert={folder}/ca.pem"), true),
        (format!("{named}?sslrootcert={folder}/ca.pem&{client}"), true),
        (format!("{server}?sslmode=verify-ca&sslrootcert={folder}/ca.pem"), true),
        (format!("{server}?sslmode=require"), true),
        (server.clone(), false),
        (format!("{server}?sslrootcert={folder}/other.pem"), false),
    ] {
        let cache = open_cache(&url).unwrap();
        let (begin, limit) = (Instant::now(), Duration::from_secs(if answers { 60 } else { 2 }));
        while !cache.is_available() && begin.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(cache.is_available(), answers, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn cassandra() {
    let Some(folder) = folder() else { return };
    let node = std::env::var("TRIGGERLINE_TEST_CASSANDRA").unwrap();
    let keyspace = format!("t{}", CustomerId::new().as_uuid().simple());
    let plain = format!("cassandra://{node}/{keyspace}?replication_factor=1");
    let client = format!("sslcert={folder}/client.pem&sslkey={folder}/client.key");
    let open = async |ssl: &str| open_events(&format!("{plain}&{ssl}")).await?.migrate().await;
    for ssl in [
        format!("sslrootcert={folder}/ca.pem"),
        format!("sslmode=verify-ca&sslrootcert={folder}/ca.pem"),
        format!("sslmode=verify-full&sslrootcert={folder}/ca.pem&{client}"),
    ] {
        open(&ssl).await.unwrap_or_else(|error| panic!("{ssl}: {}", told(&error)));
    }
    for mode in ["verify-ca", "verify-full"] {
        let error = open(&format!("sslmode={mode}&sslrootcert={folder}/other.pem")).await;
        let error = told(&error.unwrap_err());
        assert!(error.contains("certificate verify failed"), "{mode}: {error}");
    }
    // The same node at an address that its certificate is not of.
    let detour = detour(node.clone()).await;
    let elsewhere = plain.replace(&node, &detour);
    let open = async |mode: &str| {
        let url = format!("{elsewhere}&sslmode={mode}&sslrootcert={folder}/ca.pem");
        open_events(&url).await?.migrate().await
    };
    open("verify-ca").await.unwrap_or_else(|error| panic!("verify-ca: {}", told(&error)));
    let error = told(&open("verify-full").await.unwrap_err());
    assert!(error.contains("certificate verify failed"), "{error}");
    let session = scylla::client::session_builder::SessionBuilder::new().known_node(&node);
    let session = session.build().await.unwrap();
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}

/// Another address that leads to a server, with the same port: the driver takes all nodes to have it.
async fn detour(server: String) -> String {
    let (_, port) = server.rsplit_once(':').unwrap();
    let listener = TcpListener::bind(format!("127.0.0.2:{port}")).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    address
}
