//! Members of the consumer groups that come, go, or freeze: nothing is lost, and little is repeated.

use triggerline_testkit::{Client, Receiver, Services, World, subscribe, wait_until};

use crate::{BINARY, LIMIT, arrived, matched, publish, wait_for};

struct Stage {
    world: World,
    services: Services,
    receiver: Receiver,
    client: Client,
}

impl Stage {
    async fn start() -> anyhow::Result<Self> {
        let world = World::with(BINARY, &[("TRIGGERLINE_TOPICS__PARTITIONS", "4")]).await?;
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        let client = Client::new(&services.base, world.customer("members").await?);
        // Each has a partition of its own, or nearly.
        for path in PATHS {
            subscribe(&client, &receiver, path, "a.b", None, Vec::new()).await?;
        }
        matched(&client, "a.b").await?;
        Ok(Self { world, services, receiver, client })
    }

    /// Until each has had so many different ones, the first one included.
    async fn all_arrive(&self, count: usize) -> anyhow::Result<()> {
        for path in PATHS {
            wait_for(&self.receiver, path, 1 + count).await?;
        }
        Ok(())
    }

    fn repeated(&self) -> usize {
        let all = self.receiver.count();
        all - PATHS.iter().map(|path| arrived(&self.receiver, path)).sum::<usize>()
    }
}

const PATHS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// R8: a process that freezes for longer than its session lasts, and then goes on as if nothing had
/// been, while somebody else has its partitions.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_froze_takes_nothing_back() -> anyhow::Result<()> {
    const COUNT: usize = 300;
    let mut stage = Stage::start().await?;
    let mut second = stage.world.start(&["delivery"])?;
    second.logged("delivering").await?;
    publish(&stage.client, "a.b", COUNT).await?;
    wait_until("some to arrive", LIMIT, || async {
        let count = stage.receiver.count();
        if count > PATHS.len() * COUNT / 4 { Ok(()) } else { Err(count.to_string()) }
    })
    .await?;
    stage.services.delivery.signal("STOP")?;
    publish(&stage.client, "a.b", COUNT).await?;
    stage.all_arrive(2 * COUNT).await?;
    let repeated = stage.repeated();
    stage.services.delivery.signal("CONT")?;
    publish(&stage.client, "a.b", COUNT).await?;
    stage.all_arrive(3 * COUNT).await?;
    // What it had under way it may have finished; what it took in before is not its own any more.
    let after = stage.repeated();
    assert!(after <= PATHS.len() * COUNT / 2, "{repeated}, then {after} were sent again");
    // What is committed is behind nothing that is not done, and not far behind all that is.
    for one in
        [second, std::mem::replace(&mut stage.services.delivery, stage.world.start(&["delivery"])?)]
    {
        one.kill().await?;
    }
    publish(&stage.client, "a.b", 1).await?;
    stage.all_arrive(3 * COUNT + 1).await?;
    let last = stage.repeated() - after;
    assert!(last <= PATHS.len() * COUNT / 2, "{last} were sent again after a restart");
    stage.services.terminate().await?;
    stage.world.tear_down().await
}

/// R9: members join and leave while events come.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn members_come_and_go_in_the_middle_of_it() -> anyhow::Result<()> {
    const COUNT: usize = 200;
    const ROUNDS: usize = 4;
    let mut stage = Stage::start().await?;
    for _ in 0..ROUNDS {
        publish(&stage.client, "a.b", COUNT).await?;
        for (name, ready) in [("delivery", "delivering"), ("matcher", "matching")] {
            let mut next = stage.world.start(&[name])?;
            next.logged(ready).await?;
            let Services { delivery, matcher, .. } = &mut stage.services;
            let member = if name == "delivery" { delivery } else { matcher };
            assert!(std::mem::replace(member, next).terminate().await?.success());
        }
    }
    stage.all_arrive(ROUNDS * COUNT).await?;
    // Who leaves in good order finishes what it has begun.
    let repeated = stage.repeated();
    assert!(repeated <= PATHS.len() * ROUNDS * COUNT / 10, "{repeated} were sent again");
    stage.services.terminate().await?;
    stage.world.tear_down().await
}
