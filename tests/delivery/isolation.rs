//! No endpoint hurts another.

use triggerline_testkit::{Client, Receiver, Services, World, subscribe};

use crate::{BINARY, matched, publish, wait_for};

/// Everything is on one partition of each topic.
const ONE: (&str, &str) = ("TRIGGERLINE_TOPICS__PARTITIONS", "1");

/// Two customers with an endpoint each, of which one takes requests and doesn't answer.
struct Two {
    world: World,
    services: Services,
    receiver: Receiver,
    dead: Client,
    other: Client,
}

impl Two {
    async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let world = World::with(BINARY, &[&[ONE], settings].concat()).await?;
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        let [dead, other] = [
            Client::new(&services.base, world.customer("dead").await?),
            Client::new(&services.base, world.customer("other").await?),
        ];
        subscribe(&dead, &receiver, "dead", "a.b", None, Vec::new()).await?;
        subscribe(&other, &receiver, "other", "a.b", None, Vec::new()).await?;
        matched(&dead, "a.b").await?;
        matched(&other, "a.b").await?;
        receiver.answers("dead", false);
        Ok(Self { world, services, receiver, dead, other })
    }
}

/// R16: one customer's endpoint never answers, with thousands of events before everybody else's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn who_never_answers_holds_nobody_else_up_and_loses_nothing() -> anyhow::Result<()> {
    const DEAD: usize = 5_000;
    const OTHERS: usize = 1_000;
    let two = Two::start(&[("TRIGGERLINE_DELIVERY__TIMEOUT", "4s")]).await?;
    let receiver = &two.receiver;
    let asked = receiver.asked("dead");
    publish(&two.dead, "a.b", DEAD).await?;
    publish(&two.other, "a.b", OTHERS).await?;
    wait_for(receiver, "other", 1 + OTHERS).await?;
    // All that were let in at once, and then a probe or two; not the thousands.
    let asked = receiver.asked("dead") - asked;
    assert!(asked <= 40, "{asked} requests to the one that doesn't answer");
    // It comes back, and is given all that it is owed.
    receiver.answers("dead", true);
    wait_for(receiver, "dead", 1 + DEAD).await?;
    two.services.terminate().await?;
    two.world.tear_down().await
}

/// R4, where it is worst: requests that hang hold the offset, and thousands behind them are done.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_kill_repeats_what_was_under_way_and_little_else() -> anyhow::Result<()> {
    const DEAD: usize = 10;
    const OTHERS: usize = 3_000;
    let mut two = Two::start(&[]).await?;
    publish(&two.dead, "a.b", DEAD).await?;
    publish(&two.other, "a.b", OTHERS).await?;
    wait_for(&two.receiver, "other", 1 + OTHERS).await?;
    two.services.delivery.kill().await?;
    two.receiver.answers("dead", true);
    two.services.delivery = two.world.start(&["delivery"])?;
    wait_for(&two.receiver, "dead", 1 + DEAD).await?;
    publish(&two.other, "a.b", 1).await?;
    wait_for(&two.receiver, "other", 2 + OTHERS).await?;
    let all = two.receiver.received();
    let again = all.iter().filter(|one| one.path == "other").count() - (2 + OTHERS);
    // What is done is committed five times a second.
    assert!(again < OTHERS / 3, "{again} of {OTHERS} were sent again");
    two.services.terminate().await?;
    two.world.tear_down().await
}
