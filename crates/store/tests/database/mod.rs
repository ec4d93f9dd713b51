//! A database for one test, on the PostgreSQL that tests may use.

use std::sync::Arc;

use tokio_postgres::{Client, NoTls};
use triggerline_store::{ControlStore, PostgresControl, SecretKeys};
use triggerline_types::CustomerId;

pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) server: Client,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let server = std::env::var("TRIGGERLINE_TEST_POSTGRES").unwrap();
        let name = format!("t{}", CustomerId::new().as_uuid().simple());
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let server = connect(&server).await;
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { name, url, server }
    }

    pub(crate) fn open(&self) -> Arc<dyn ControlStore> {
        self.open_with(SecretKeys::default())
    }

    pub(crate) fn open_with(&self, keys: SecretKeys) -> Arc<dyn ControlStore> {
        Arc::new(PostgresControl::connect(&self.url, keys).unwrap())
    }

    pub(crate) async fn drop(self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.server.batch_execute(&drop).await.unwrap();
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
