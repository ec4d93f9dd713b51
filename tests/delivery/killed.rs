//! R4: delivery is killed with -9 while requests are under way. What was answered and committed doesn't
//! come again, and what was not does.

use serde_json::json;
use triggerline_testkit::{Client, Oracle, Receiver, Services, World, subscribe, wait_until};
use triggerline_types::EventId;

use crate::{BINARY, LIMIT, matched};

const ROUNDS: usize = 4;
const EVENTS: usize = 600;
/// Requests at once to an endpoint, at most (`delivery.endpoint_requests`).
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_kill_in_the_middle_of_requests_repeats_no_more_than_those() -> anyhow::Result<()> {
    let world = World::on_real_parts(BINARY).await?;
    let mut services = Services::start(&world).await?;
    let receiver = Receiver::start().await?;
    let client = Client::new(&services.base, world.customer("killed").await?);
    let paths = ["one", "two", "three"];
    for path in paths {
        subscribe(&client, &receiver, path, "a.b", None, Vec::new()).await?;
    }
    subscribe(&client, &receiver, "last", "last", None, Vec::new()).await?;
    matched(&client, "last").await?;
    let first = receiver.count();
    let mut oracle = Oracle::default();
    for round in 0..ROUNDS {
        let before = receiver.count();
        for number in 0..EVENTS {
            let payload = json!({"round": round, "number": number}).to_string();
            let answer = client.publish("a.b", payload.as_bytes()).await?;
            let id: EventId = answer.json()?["event_id"].as_str().unwrap_or_default().parse()?;
            oracle.acknowledged(id, payload.as_bytes(), paths.map(str::to_owned).to_vec());
            // From here on one of them takes requests and says nothing, while others go on.
            if number == EVENTS / 2 {
                receiver.answers(paths[round % paths.len()], false);
            }
        }
        let silent = paths[round % paths.len()];
        let came = |path: &str| {
            let since = receiver.received_since(before);
            since.iter().filter(|one| one.path == path).count()
        };
        wait_until("requests to be held, and others to be answered", LIMIT, || async {
            let held = receiver.asked(silent);
            let others = paths.iter().filter(|path| **path != silent).map(|path| came(path));
            match others.min().unwrap_or_default() {
                least if least >= EVENTS / 3 && held > came(silent) => Ok(()),
                least => Err(format!("{held} held, {least} answered")),
            }
        })
        .await?;
        let new = world.start(&["delivery"])?;
        std::mem::replace(&mut services.delivery, new).kill().await?;
        receiver.answers(silent, true);
    }
    let owed = ROUNDS * EVENTS * paths.len();
    wait_until("all that is owed", LIMIT, || async {
        let verdict = oracle.judge(&receiver.received_since(first));
        match verdict.lost.len() {
            0 => Ok(()),
            lost => Err(format!("{lost} of {owed} are missing")),
        }
    })
    .await?;
    let verdict = oracle.judge(&receiver.received_since(first));
    assert!(verdict.is_clean(), "{:?}", &verdict.faults);
    // At each kill: what was under way at each endpoint, and what was answered since the last commit
    // (200 ms).
    println!("{} duplicates after {ROUNDS} kills, of {owed}", verdict.duplicates);
    assert!(
        verdict.duplicates <= ROUNDS * paths.len() * AT_ONCE,
        "{} duplicates",
        verdict.duplicates
    );
    services.terminate().await?;
    world.tear_down().await
}
