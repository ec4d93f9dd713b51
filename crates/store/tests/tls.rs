//! PostgreSQL, Redis and Cassandra by TLS: each `sslmode`, a certificate that is not to be believed,
//! and one of our own where a server asks for it.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod database;

use std::time::{Duration, Instant};

use database::Database;
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
    // PostgreSQL's certificate is of 127.0.0.1 and localhost.
    let elsewhere = |url: &str| url.replace("127.0.0.1", "127.0.0.2");
    let open = async |url: String| {
        let control = open_control(&url, SecretKeys::default()).await?;
        control.migrate().await
    };
    let plain = &database.url;
    database.open().migrate().await.unwrap();
    for ssl in [
        "sslmode=require".to_owned(),
        "sslmode=prefer".to_owned(),
        format!("sslmode=verify-ca&sslrootcert={ours}"),
        format!("sslmode=verify-full&sslrootcert={ours}"),
        format!("sslrootcert={ours}&{client}"),
    ] {
        open(format!("{plain}?{ssl}")).await.unwrap_or_else(|e| panic!("{ssl}: {}", told(&e)));
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE datname = $1 AND NOT ssl";
        let row = database.server.query_one(encrypted, &[&database.name]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{ssl}: a connection without TLS");
    }
    for (url, expected) in [
        (format!("{plain}?sslmode=verify-full"), "UnknownIssuer"),
        (format!("{plain}?sslrootcert={other}"), "BadSignature"),
        (elsewhere(plain) + &format!("?sslrootcert={ours}"), "connect"),
    ] {
        let error = told(&open(url.clone()).await.unwrap_err());
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
    let session = scylla::client::session_builder::SessionBuilder::new().known_node(&node);
    let session = session.build().await.unwrap();
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}
