//! R18: records that nobody can read are kept with their causes, and hold up nobody.

use anyhow::Context as _;
use triggerline_testkit::{Client, Receiver, Services, World, subscribe};

use crate::replays::tool;
use crate::{BINARY, matched, publish, wait_for};

const POISON: usize = 10_000;
const EVENTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn thousands_of_poison_records_are_kept_and_hold_up_nobody() -> anyhow::Result<()> {
    let world = World::with(BINARY, &[("TRIGGERLINE_TOPICS__PARTITIONS", "1")]).await?;
    let setting = |name| world.settings[name].as_str();
    let kafka = setting("TRIGGERLINE_KAFKA__BROKERS");
    let prefix = setting("TRIGGERLINE_KAFKA__PREFIX");
    let services = Services::start(&world).await?;
    let receiver = Receiver::start().await?;
    let client = Client::new(&services.base, world.customer("poisoned").await?);
    subscribe(&client, &receiver, "one", "a.b", None, Vec::new()).await?;
    matched(&client, "a.b").await?;
    for (topic, share) in [("deliveries", POISON * 9 / 10), ("events", POISON / 10)] {
        let lines: Vec<_> = (0..share).map(|number| format!("{topic} {number}")).collect();
        let topic = format!("{prefix}{topic}");
        let produce = ["--bootstrap-server", kafka, "--topic", &topic];
        tool("org.apache.kafka.tools.ConsoleProducer", &produce, &lines.join("\n")).await?;
    }
    // They stand behind all of them.
    publish(&client, "a.b", EVENTS).await?;
    wait_for(&receiver, "one", 1 + EVENTS).await?;
    let most = (POISON + POISON / 10).to_string();
    let topic = format!("{prefix}events.dlq");
    let consume = [
        "--bootstrap-server",
        kafka,
        "--topic",
        &topic,
        "--from-beginning",
        // Storage reads `events` as well, and keeps what it can't read of it.
        "--max-messages",
        &most,
        "--timeout-ms",
        "60000",
        "--property",
        "print.headers=true",
    ];
    let buried = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &consume, "").await?;
    let mut values: Vec<_> = Vec::new();
    for line in buried.lines() {
        let (headers, value) = line.split_once('\t').context("no headers")?;
        assert!(headers.contains("is missing"), "{line}");
        values.push(value);
    }
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), POISON, "each is there");
    services.terminate().await?;
    world.tear_down().await
}
