//! A world of its own for each test: settings, a folder, topics and a database that nobody
//! else has.

use std::collections::HashMap;
use std::process::Output;

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use triggerline_types::{EventId, Secret};

use crate::{Client, Process, Receiver, Script};

/// Where the real parts are that `cargo xtask services` started.
#[derive(Clone, Debug)]
pub struct Parts {
    pub kafka: String,
    pub postgres: String,
    pub redis: String,
    /// `host:port`
    pub cassandra: String,
    /// `http://host:port`
    pub dynamodb: String,
}

impl Parts {
    pub fn from_environment() -> anyhow::Result<Self> {
        let get = |name: &str| {
            std::env::var(name).with_context(|| {
                format!("{name} is not set; `cargo xtask test` starts the real parts and sets it")
            })
        };
        Ok(Self {
            kafka: get("TRIGGERLINE_TEST_KAFKA")?,
            postgres: get("TRIGGERLINE_TEST_POSTGRES")?,
            redis: get("TRIGGERLINE_TEST_REDIS")?,
            cassandra: get("TRIGGERLINE_TEST_CASSANDRA")?,
            dynamodb: get("TRIGGERLINE_TEST_DYNAMODB")?,
        })
    }
}

/// An installation of Triggerline that belongs to one test.
pub struct World {
    pub folder: TempDir,
    /// Its settings, for every process in it.
    pub settings: HashMap<String, String>,
    binary: String,
    database: Option<Database>,
}

impl World {
    /// With nothing in it but a folder: for `dev` and `demo`.
    pub fn empty(binary: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("triggerline-test-").tempdir()?;
        let settings = [
            ("TRIGGERLINE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0"),
            ("TRIGGERLINE_GATEWAY__GRPC_LISTEN", "127.0.0.1:0"),
            ("TRIGGERLINE_ADMIN__LISTEN", "127.0.0.1:0"),
            ("TRIGGERLINE_DELIVERY__ALLOW_HTTP", "true"),
            ("TRIGGERLINE_DELIVERY__ALLOW_PRIVATE_NETWORKS", "true"),
            ("TRIGGERLINE_CONTROL__PEPPER", "a pepper for tests only"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self { folder, settings: settings.into(), binary: binary.to_owned(), database: None })
    }

    /// The same with the inbox in Cassandra, in a keyspace of its own (which goes when the service is
    /// taken down).
    pub async fn on_cassandra(binary: &str) -> anyhow::Result<Self> {
        let node = Parts::from_environment()?.cassandra;
        let inbox = format!("cassandra://{node}/t{}?replication_factor=1", unique());
        Self::with(binary, &[("TRIGGERLINE_INBOX__URL", &inbox)]).await
    }

    /// The same with the inbox in DynamoDB, in a table of its own.
    pub async fn on_dynamodb(binary: &str) -> anyhow::Result<Self> {
        let endpoint = Parts::from_environment()?.dynamodb;
        let inbox = format!("dynamodb:t{}?endpoint={endpoint}", unique());
        Self::with(binary, &[("TRIGGERLINE_INBOX__URL", &inbox)]).await
    }

    /// On the real Kafka, PostgreSQL and Redis: tables made, topics applied.
    pub async fn on_real_parts(binary: &str) -> anyhow::Result<Self> {
        Self::with(binary, &[]).await
    }

    /// The same, with settings.
    pub async fn with(binary: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let parts = Parts::from_environment()?;
        let mut world = Self::empty(binary)?;
        for (name, value) in settings {
            world.set(name, value);
        }
        let database = Database::create(&parts.postgres).await?;
        let inbox = format!("sqlite:{}", world.folder.path().join("inbox.db").display());
        world.set("TRIGGERLINE_KAFKA__BROKERS", &parts.kafka);
        world.set("TRIGGERLINE_KAFKA__PREFIX", &format!("t{}.", unique()));
        world.set("TRIGGERLINE_CONTROL__URL", &database.url);
        // Shared by all worlds: its keys are those of customers and API keys, which are not.
        world.set("TRIGGERLINE_CACHE__URL", &parts.redis);
        world.settings.entry("TRIGGERLINE_INBOX__URL".to_owned()).or_insert(inbox);
        world.database = Some(database);
        world.run(&["migrate"]).await?;
        world.run(&["topics", "apply"]).await?;
        Ok(world)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Runs a command to its end, whatever that is.
    pub async fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let command = Command::new(&self.binary).args(arguments).envs(&self.settings).output();
        command.await.with_context(|| format!("run triggerline {}", arguments.join(" ")))
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(arguments).await?;
        anyhow::ensure!(
            output.status.success(),
            "triggerline {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a process that goes on.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::start(&self.binary, arguments, &self.settings)
    }

    /// Makes a customer and returns its API key.
    pub async fn customer(&self, name: &str) -> anyhow::Result<String> {
        let made = self.printed(&["customers", "create", name]).await?;
        Ok(made["api_key"].as_str().context("no key was printed")?.to_owned())
    }

    /// What a command prints as JSON.
    pub async fn printed(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let printed = self.run(&[arguments, &["--output", "json"]].concat()).await?;
        serde_json::from_str(&printed).with_context(|| format!("it printed {printed:?}"))
    }

    /// Takes the database away from those who use it.
    pub async fn drop_database(&mut self) -> anyhow::Result<()> {
        self.database.take().context("there is no database")?.drop_it().await
    }

    /// Does to its database what no API does.
    pub async fn sql(&self, statement: &str) -> anyhow::Result<()> {
        let database = self.database.as_ref().context("there is no database")?;
        execute(&database.url, statement).await
    }

    /// Drops the database, if there is one.
    pub async fn tear_down(self) -> anyhow::Result<()> {
        match self.database {
            Some(database) => database.drop_it().await,
            None => Ok(()),
        }
    }
}

/// Subscribes an endpoint of `receiver` through the API; returns the subscription's id.
pub async fn subscribe(
    client: &Client,
    receiver: &Receiver,
    path: &str,
    event_type: &str,
    jsonpath: Option<&str>,
    script: Script,
) -> anyhow::Result<String> {
    let secret = Secret::generate();
    let url = receiver.endpoint(path, secret.clone(), script);
    let mut body = json!({
        "workflow_id": path,
        "event_types": [event_type],
        "delivery": {"url": url, "secret": secret.reveal()},
    });
    if let Some(jsonpath) = jsonpath {
        body["selector"] = json!({"jsonpath": jsonpath});
    }
    let answer = client.post("/v1/subscriptions", body.to_string()).await?;
    let made = answer.expect(StatusCode::CREATED)?;
    Ok(made["id"].as_str().context("no id")?.to_owned())
}

fn unique() -> String {
    EventId::new().as_uuid().simple().to_string()
}

/// A database that nobody else has.
struct Database {
    url: String,
    name: String,
    server: String,
}

impl Database {
    async fn create(server: &str) -> anyhow::Result<Self> {
        let name = format!("t{}", unique());
        execute(server, &format!("CREATE DATABASE {name}")).await?;
        let (base, _) = server.rsplit_once('/').context("a PostgreSQL URL ends with /database")?;
        Ok(Self { url: format!("{base}/{name}"), name, server: server.to_owned() })
    }

    async fn drop_it(self) -> anyhow::Result<()> {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

async fn execute(server: &str, statement: &str) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await?;
    let driver = tokio::spawn(connection);
    client.batch_execute(statement).await?;
    drop(client);
    driver.await??;
    Ok(())
}
