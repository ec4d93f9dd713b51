//! Ordering per key: deliveries of one key strictly one after the other, whatever happens.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;
use triggerline_testkit::{Client, Process, Receiver, Services, World, wait_until};
use triggerline_types::Secret;

use crate::{BINARY, LIMIT};

const KEYS: usize = 8;

/// As it is written in the payload, and as it comes.
fn payload(key: usize, number: usize) -> String {
    format!(r#"{{"order":"o{key}","n":{number}}}"#)
}

struct Stage {
    world: World,
    services: Services,
    receiver: Receiver,
    client: Client,
}

impl Stage {
    /// A customer with one ordered subscription.
    async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let world = World::with(BINARY, settings).await?;
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        let client = Client::new(&services.base, world.customer("ordered").await?);
        let secret = Secret::generate();
        let body = json!({"workflow_id": "w", "event_types": ["a.b"], "delivery": {
            "url": receiver.endpoint("ordered", secret.clone(), Vec::new()),
            "secret": secret.reveal(),
            "ordering": {"per_key": "$.order"},
            "retry": {"schedule": ["1s"], "max_attempts": 50},
        }});
        let made = client.post("/v1/subscriptions", body.to_string()).await?;
        made.expect(StatusCode::CREATED)?;
        let stage = Self { world, services, receiver, client };
        // Until one arrives, it isn't certain that the next are matched.
        wait_until("the subscription to be matched", LIMIT, || async {
            let probe = json!({"event_type": "a.b", "payload": {"order": "probe"}});
            stage.client.post("/v1/events", probe.to_string()).await.map_err(|e| e.to_string())?;
            if stage.receiver.count() > 0 { Ok(()) } else { Err("none came".to_owned()) }
        })
        .await?;
        Ok(stage)
    }

    /// Publishes these numbers of each key, in their order.
    async fn publish(&self, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        for number in numbers {
            let event = |key| {
                let payload = payload(key, number);
                format!(r#"{{"event_type":"a.b","payload":{payload}}}"#)
            };
            let batch = (0..KEYS).map(event).collect::<Vec<_>>().join(",");
            let answer = self.client.post("/v1/events/batch", format!("[{batch}]")).await?;
            answer.expect(StatusCode::ACCEPTED)?;
        }
        Ok(())
    }

    /// Of each key, the numbers in the order in which they were first taken.
    fn taken(&self, up_to: usize) -> Vec<Vec<usize>> {
        let mut known = HashMap::new();
        for key in 0..KEYS {
            for number in 0..up_to {
                known.insert(
                    self.receiver.digest_of(payload(key, number).as_bytes()),
                    (key, number),
                );
            }
        }
        let mut taken = vec![Vec::new(); KEYS];
        for one in self.receiver.received() {
            if let Some((key, number)) = known.get(&one.digest).filter(|_| one.status < 300)
                && !taken[*key].contains(number)
            {
                taken[*key].push(*number);
            }
        }
        taken
    }

    async fn all_taken(&self, keys: std::ops::Range<usize>, count: usize) -> anyhow::Result<()> {
        wait_until("all to arrive", LIMIT, || async {
            let taken = self.taken(count);
            let counts: Vec<_> = taken[keys.clone()].iter().map(Vec::len).collect();
            if counts.iter().all(|found| *found == count) {
                Ok(())
            } else {
                Err(format!("{counts:?} of {count}"))
            }
        })
        .await
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_key_that_fails_holds_up_its_own_and_nobody_else() -> anyhow::Result<()> {
    const COUNT: usize = 60;
    let stage = Stage::start(&[]).await?;
    let (bad, other) = (payload(0, 1), payload(1, COUNT / 2));
    stage.receiver.refuses("ordered", &[bad.as_bytes(), other.as_bytes()]);
    stage.publish(0..COUNT).await?;
    stage.all_taken(2..KEYS, COUNT).await?;
    let taken = stage.taken(COUNT);
    assert_eq!(taken[0], [0], "those behind the one that fails wait");
    let before: Vec<_> = (0..COUNT / 2).collect();
    wait_until("those before it", LIMIT, || async {
        let taken = stage.taken(COUNT)[1].clone();
        if taken == before { Ok(()) } else { Err(format!("{taken:?}")) }
    })
    .await?;
    stage.receiver.refuses("ordered", &[]);
    stage.all_taken(0..KEYS, COUNT).await?;
    let all: Vec<_> = (0..COUNT).collect();
    assert_eq!(stage.taken(COUNT), vec![all; KEYS]);
    stage.end().await
}

/// Restarts and rebalances, with kill -9, while keys fail and go on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn order_outlives_kills_and_rebalances() -> anyhow::Result<()> {
    const COUNT: usize = 80;
    let mut stage = Stage::start(&[("TRIGGERLINE_TOPICS__PARTITIONS", "2")]).await?;
    let failing: Vec<_> = (0..KEYS).map(|key| payload(key, 10 * key)).collect();
    let refused: Vec<_> = failing.iter().map(String::as_bytes).collect();
    stage.receiver.refuses("ordered", &refused);
    let mut second: Process = stage.world.start(&["delivery"])?;
    for round in 0..4 {
        stage.publish(round * COUNT / 4..(round + 1) * COUNT / 4).await?;
        let delivery = std::mem::replace(&mut second, stage.world.start(&["delivery"])?);
        match round {
            0 | 2 => delivery.kill().await?,
            1 => {
                delivery.terminate().await?;
                stage.receiver.refuses("ordered", &[]);
            }
            _ => {
                stage.services.matcher.kill().await?;
                stage.services.matcher = stage.world.start(&["matcher"])?;
                delivery.kill().await?;
            }
        }
    }
    stage.all_taken(0..KEYS, COUNT).await?;
    let all: Vec<_> = (0..COUNT).collect();
    for (key, taken) in stage.taken(COUNT).into_iter().enumerate() {
        assert_eq!(taken, all, "key {key}");
    }
    second.terminate().await?;
    stage.end().await
}
