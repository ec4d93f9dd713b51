//! A world of its own for each test, on the real parts that `cargo xtask services` started.

use anyhow::Context as _;
use triggerline_types::EventId;

/// Where the real parts are.
#[derive(Clone, Debug)]
pub struct Parts {
    pub kafka: String,
    /// The folder with the jars of Kafka's console tools.
    pub kafka_tools: String,
    pub postgres: String,
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
            kafka_tools: get("TRIGGERLINE_TEST_KAFKA_TOOLS")?,
            postgres: get("TRIGGERLINE_TEST_POSTGRES")?,
        })
    }

    /// A prefix for topics and groups that nobody else has.
    pub fn prefix() -> String {
        format!("t{}.", EventId::new().as_uuid().simple())
    }
}

/// A database that nobody else has, dropped by [`Database::drop_it`].
pub struct Database {
    pub url: String,
    name: String,
    server: String,
}

impl Database {
    pub async fn create(server: &str) -> anyhow::Result<Self> {
        let name = format!("t{}", EventId::new().as_uuid().simple());
        run(server, &format!("CREATE DATABASE {name}")).await?;
        let (base, _) = server.rsplit_once('/').context("a PostgreSQL URL ends with /database")?;
        Ok(Self { url: format!("{base}/{name}"), name, server: server.to_owned() })
    }

    pub async fn drop_it(self) -> anyhow::Result<()> {
        run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

async fn run(server: &str, statement: &str) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await?;
    let driver = tokio::spawn(connection);
    client.batch_execute(statement).await?;
    drop(client);
    driver.await??;
    Ok(())
}
