//! All services together.

use anyhow::Context as _;

use crate::{Process, World};

/// The services of a world, each a process.
pub struct Services {
    pub gateway: Process,
    pub matcher: Process,
    pub delivery: Process,
    pub storage: Process,
    pub replayer: Process,
    /// Of the gateway's HTTP.
    pub base: String,
    /// Of its gRPC.
    pub grpc: String,
}

impl Services {
    pub async fn start(world: &World) -> anyhow::Result<Self> {
        let mut gateway = world.start(&["gateway"])?;
        let mut matcher = world.start(&["matcher"])?;
        let mut delivery = world.start(&["delivery"])?;
        let mut storage = world.start(&["storage"])?;
        let mut replayer = world.start(&["replayer"])?;
        let serving = gateway.logged("serving").await?;
        matcher.logged("matching").await?;
        delivery.logged("delivering").await?;
        storage.logged("storing").await?;
        replayer.logged("replaying").await?;
        let address = |door: &str| -> anyhow::Result<String> {
            Ok(format!("http://{}", serving[door].as_str().context("no address")?))
        };
        let (base, grpc) = (address("http")?, address("grpc")?);
        Ok(Self { gateway, matcher, delivery, storage, replayer, base, grpc })
    }

    /// SIGTERM to each; all must drain and end well.
    pub async fn terminate(self) -> anyhow::Result<()> {
        for process in [self.gateway, self.replayer, self.matcher, self.delivery, self.storage] {
            let status = process.terminate().await?;
            anyhow::ensure!(status.success(), "a service ended with {status}");
        }
        Ok(())
    }
}
