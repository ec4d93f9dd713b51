//! The gateway as its callers see it, on real Kafka, PostgreSQL and Redis: each promise of its
//! contract, over HTTP and gRPC.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod doors;
mod grpc;
mod hardening;
mod idempotency;
mod inbox;
mod isolation;
mod keys;
mod limits;
mod metrics;
mod schemas;
mod subscriptions;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use triggerline_testkit::{Client, Process, World};

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
const LIMIT: Duration = Duration::from_mins(1);

/// A gateway of a world, as a process.
struct Gateway {
    process: Process,
    http: String,
    grpc: String,
}

impl Gateway {
    async fn start(world: &World) -> anyhow::Result<Self> {
        let mut process = world.start(&["gateway"])?;
        let serving = process.logged("serving").await?;
        let address = |name: &str| {
            let text = serving[name].as_str().with_context(|| format!("no {name} address"))?;
            anyhow::Ok(format!("http://{text}"))
        };
        Ok(Self { http: address("http")?, grpc: address("grpc")?, process })
    }

    fn client(&self, key: &str) -> Client {
        Client::new(self.http.clone(), key)
    }
}

/// A world on real parts with a gateway and one customer in it.
struct One {
    world: World,
    gateway: Gateway,
    customer: String,
    key: String,
}

impl One {
    async fn start() -> anyhow::Result<Self> {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut world = World::on_real_parts(BINARY).await?;
        for (name, value) in settings {
            world.set(name, value);
        }
        let gateway = Gateway::start(&world).await?;
        let made = world.printed(&["customers", "create", "one"]).await?;
        let (customer, key) = (text(&made, "customer_id"), text(&made, "api_key"));
        Ok(Self { world, gateway, customer, key })
    }

    fn client(&self) -> Client {
        self.gateway.client(&self.key)
    }

    /// A key that may do everything.
    async fn admin(&self) -> anyhow::Result<Client> {
        let scopes = "admin,events:write,events:read,keys:read,keys:write,audit:read,\
                      subscriptions:read,subscriptions:write,schemas:read,schemas:write";
        let arguments =
            ["keys", "create", "--customer", &self.customer, "--name", "admin", "--scope", scopes];
        let made = self.world.printed(&arguments).await?;
        Ok(self.gateway.client(&text(&made, "api_key")))
    }

    async fn end(self) -> anyhow::Result<()> {
        let status = self.gateway.process.terminate().await?;
        anyhow::ensure!(status.success(), "the gateway ended with {status}");
        self.world.tear_down().await
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// The end of a problem's type, which names its kind.
fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}
