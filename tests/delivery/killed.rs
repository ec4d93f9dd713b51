//! R4: delivery is killed with -9 while requests are under way. What was answered and committed doesn't
//! come again, and what was not does.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use triggerline_testkit::{
    Client, Oracle, Received, Receiver, Services, World, subscribe, wait_until,
};
use triggerline_types::EventId;

use crate::{BINARY, LIMIT, matched};

const ROUNDS: usize = 4;
/// Events are published so many at once, so often in each round.
const BATCH: usize = 20;
const BATCHES: usize = 30;
/// Requests at once to an endpoint, at most (`delivery.endpoint_requests`).
const AT_ONCE: usize = 64;
/// What was answered longer than this before a kill has been committed. It is committed every 200 ms
/// (and sooner where much was finished); the rest is for a machine that is busy.
const COMMITTED: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_kill_in_the_middle_of_requests_repeats_no_more_than_those() -> anyhow::Result<()> {
    // No request that is held runs into its deadline: a retry in a tier is done twice as well, if it was
    // put there shortly before a kill, and nobody can tell that from outside.
    let world = World::with(BINARY, &[("TRIGGERLINE_DELIVERY__TIMEOUT", "30s")]).await?;
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
    let mut kills = Vec::new();
    for round in 0..ROUNDS {
        let silent = paths[round % paths.len()];
        let (before, asked) = (receiver.count(), receiver.asked(silent));
        for batch in 0..BATCHES {
            // From here on one of them takes requests and says nothing, while others go on.
            if batch == BATCHES / 2 {
                receiver.answers(silent, false);
            }
            publish_batch(&client, &mut oracle, (round, batch), &paths).await?;
            // At a steady pace, so that what was answered long ago can be told from what was just now;
            // the last ones are on their way when it is killed.
            let least = if batch + 1 < BATCHES { (batch + 1) * BATCH } else { batch * BATCH };
            wait_until("others to be answered, and requests to be held", LIMIT, || async {
                let since = receiver.received_since(before);
                let came = |path: &str| since.iter().filter(|one| one.path == path).count();
                let held = receiver.asked(silent) - asked - came(silent);
                let others = paths.iter().filter(|path| **path != silent).map(|path| came(path));
                match others.min().unwrap_or_default() {
                    came if came >= least && (held > 0 || batch < BATCHES / 2) => Ok(()),
                    came => Err(format!("{held} held, {came} of {least} answered")),
                }
            })
            .await?;
        }
        let new = world.start(&["delivery"])?;
        std::mem::replace(&mut services.delivery, new).kill().await?;
        kills.push(OffsetDateTime::now_utc());
        receiver.answers(silent, true);
        // The new one begins when the old one's partitions are free; the next round finds it at work.
        wait_until("all that is owed", LIMIT, || async {
            match oracle.judge(&receiver.received_since(first)).lost.len() {
                0 => Ok(()),
                lost => Err(format!("{lost} are missing after kill {round}")),
            }
        })
        .await?;
    }
    let all = receiver.received_since(first);
    let verdict = oracle.judge(&all);
    assert!(verdict.is_clean(), "{:?}", &verdict.faults);
    let unexplained =
        repeated(&all, |at| !kills.iter().any(|kill| (*kill - COMMITTED..=*kill).contains(&at)));
    assert!(unexplained.is_empty(), "no kill explains these: {unexplained:#?}");
    let owed = ROUNDS * BATCHES * BATCH * paths.len();
    println!("{} duplicates after {ROUNDS} kills, of {owed}", verdict.duplicates);
    let bound = ROUNDS * paths.len() * AT_ONCE;
    assert!(verdict.duplicates <= bound, "{} duplicates", verdict.duplicates);
    services.terminate().await?;
    world.tear_down().await
}

async fn publish_batch(
    client: &Client,
    oracle: &mut Oracle,
    (round, batch): (usize, usize),
    paths: &[&str],
) -> anyhow::Result<()> {
    let payload = |n: usize| json!({"round": round, "batch": batch, "number": n});
    let event = |n: usize| json!({"event_type": "a.b", "payload": payload(n)});
    let events: Vec<Value> = (0..BATCH).map(event).collect();
    let answer = client.post("/v1/events/batch", json!(events).to_string()).await?;
    let answer = answer.expect(StatusCode::ACCEPTED)?;
    for number in 0..BATCH {
        let id: EventId = answer["results"][number]["event_id"].as_str().unwrap().parse()?;
        let owed = paths.iter().map(|path| (*path).to_owned()).collect();
        oracle.acknowledged(id, payload(number).to_string().as_bytes(), owed);
    }
    Ok(())
}

/// Deliveries that came again after they had come at such a time, and when they came.
fn repeated(
    received: &[Received],
    at_such: impl Fn(OffsetDateTime) -> bool,
) -> Vec<(&str, Vec<OffsetDateTime>)> {
    let mut times: HashMap<&str, Vec<OffsetDateTime>> = HashMap::new();
    for one in received {
        times.entry(&one.webhook_id).or_default().push(one.at);
    }
    let again = |times: &[OffsetDateTime]| times[..times.len() - 1].iter().any(|at| at_such(*at));
    times.into_iter().filter(|(_, times)| again(times)).collect()
}
