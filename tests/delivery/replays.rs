//! Dead letters and replays: what was given up, or never owed, is sent again, marked, paced, once
//! more after a crash, and only where it was asked for.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use triggerline_testkit::{Client, Received, Receiver, Services, World, subscribe, wait_until};
use triggerline_types::format_instant;

use crate::{BINARY, LIMIT, arrived, matched, publish, wait_for};

struct Stage {
    world: World,
    services: Services,
    receiver: Receiver,
    client: Client,
}

impl Stage {
    async fn start() -> anyhow::Result<Self> {
        let world = World::with(BINARY, &[("TRIGGERLINE_REPLAY__LEASE", "5s")]).await?;
        let services = Services::start(&world).await?;
        let receiver = Receiver::start().await?;
        let client = Client::new(&services.base, world.customer("replays").await?);
        Ok(Self { world, services, receiver, client })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.client.get(path).await?.expect(StatusCode::OK)
    }

    /// What a request that starts a replay makes.
    async fn started(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let answer = self.client.post(path, body.to_string()).await?;
        let made = answer.expect(StatusCode::ACCEPTED)?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    /// The replay, once it is no longer running.
    async fn through(&self, id: &str) -> anyhow::Result<Value> {
        let path = format!("/v1/replays/{id}");
        wait_until("a replay to end", LIMIT, || async {
            match self.get(&path).await {
                Ok(replay) if replay["state"] != "running" => Ok(replay),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// The dead letters, once there are so many.
    async fn dead(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        wait_until(&format!("{count} dead letters"), LIMIT, || async {
            let page = self.get("/v1/dead-letters?order=asc").await;
            let page = page.map_err(|error| error.to_string())?;
            match page["data"].as_array() {
                Some(letters) if letters.len() == count => Ok(letters.clone()),
                _ => Err(page.to_string()),
            }
        })
        .await
    }

    fn at(&self, path: &str) -> Vec<Received> {
        let mut all = self.receiver.received();
        all.retain(|one| one.path == path && one.fault.is_none());
        all
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn dead_letters_are_shown_and_handed_over_again() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    let id = subscribe(client, receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    receiver.endpoint("one", receiver.secret("one"), vec![404; 5]);
    publish(client, "a.b", 5).await?;
    let dead = stage.dead(5).await?;
    let first = dead[0]["delivery_id"].as_str().unwrap();
    let shown = stage.get(&format!("/v1/dead-letters/{first}")).await?;
    assert_eq!(shown["reason"], "the receiver answered 404", "{shown}");
    assert_eq!(shown["event"]["event_type"], "a.b", "{shown}");
    assert_eq!(shown["attempts"][0]["response_status"], 404, "{shown}");
    // Pages, filters.
    let page = stage.get("/v1/dead-letters?order=asc&limit=2").await?;
    let next = page["next_cursor"].as_str().unwrap();
    let page = stage.get(&format!("/v1/dead-letters?order=asc&limit=3&cursor={next}")).await?;
    assert_eq!(page["data"], json!(dead[2..]));
    assert_eq!(page["next_cursor"], Value::Null);
    let none = stage.get("/v1/dead-letters?event_type=c").await?;
    assert_eq!(none["data"], json!([]));
    // One, which fails once more: it is a dead letter again.
    receiver.endpoint("one", receiver.secret("one"), vec![404]);
    let replay = stage.started(&format!("/v1/dead-letters/{first}/redrive"), &json!("")).await?;
    stage.through(&replay).await?;
    wait_until("it to be given up again", LIMIT, || async {
        let letter = stage.get(&format!("/v1/dead-letters/{first}")).await;
        let letter = letter.map_err(|error| error.to_string())?;
        let outcomes: Vec<_> = letter["attempts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["outcome"].as_str())
            .collect();
        if outcomes == ["dead_lettered", "retry", "dead_lettered"] {
            Ok(())
        } else {
            Err(letter.to_string())
        }
    })
    .await?;
    let dead = stage.dead(5).await?;
    assert_eq!(dead[4]["delivery_id"], first, "the last to be given up");
    // One, which arrives.
    let replay = stage.started(&format!("/v1/dead-letters/{first}/redrive"), &json!("")).await?;
    let done = stage.through(&replay).await?;
    assert_eq!((&done["state"], &done["sent"]), (&json!("completed"), &json!(1)), "{done}");
    stage.dead(4).await?;
    let sent = wait_until("the one", LIMIT, || async {
        let marked =
            stage.at("one").into_iter().find(|one| one.replay_id.as_ref() == Some(&replay));
        marked.ok_or_else(|| "not there".to_owned())
    })
    .await?;
    assert_eq!((sent.replay_id, sent.webhook_id), (Some(replay), first.to_owned()));
    let again = client.post(&format!("/v1/dead-letters/{first}/redrive"), "").await?;
    again.expect(StatusCode::NOT_FOUND)?;
    // All others: counted first.
    let filter = json!({"subscription_id": id, "event_types": ["a.*"], "dry_run": true});
    let counted = stage.through(&stage.started("/v1/dead-letters/redrive", &filter).await?).await?;
    assert_eq!((&counted["state"], &counted["sent"]), (&json!("completed"), &json!(4)));
    stage.dead(4).await?;
    let other = json!({"event_types": ["c"]});
    let other = stage.through(&stage.started("/v1/dead-letters/redrive", &other).await?).await?;
    assert_eq!(other["sent"], 0);
    let all = stage.through(&stage.started("/v1/dead-letters/redrive", &json!({})).await?).await?;
    assert_eq!(all["sent"], 4);
    wait_for(receiver, "one", 6).await?;
    stage.dead(0).await?;
    let list = stage.get("/v1/replays").await?;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(5), "{list}");
    assert_eq!(list["data"][0], all);
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_killed_replayers_replay_is_finished_by_another() -> anyhow::Result<()> {
    const EVENTS: usize = 400;
    let mut stage = Stage::start().await?;
    let (client, receiver) = (&stage.client, &stage.receiver);
    subscribe(client, receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    let started = stage.at("one").len();
    publish(client, "a.b", EVENTS).await?;
    wait_for(receiver, "one", started + EVENTS).await?;
    let before = receiver.count();
    // It was not there when they came; half of them are for it.
    let even = Some("$[?@ < 200]");
    let two = subscribe(client, receiver, "two", "a.b", even, Vec::new()).await?;
    let asked = json!({
        "subscription_id": two, "from": "2020-01-01T00:00:00Z", "status": ["missing"], "rate": 50,
    });
    let replay = stage.started("/v1/replays", &asked).await?;
    wait_for(receiver, "two", 60).await?;
    std::mem::replace(&mut stage.services.replayer, stage.world.start(&["replayer"])?)
        .kill()
        .await?;
    let done = stage.through(&replay).await?;
    assert_eq!(done["state"], "completed", "{done}");
    wait_for(&stage.receiver, "two", EVENTS / 2).await?;
    let sent = stage.at("two");
    let ids: HashSet<_> = sent.iter().map(|one| one.event_id).collect();
    assert_eq!(ids.len(), EVENTS / 2);
    // At most the page that was under way came twice, and nobody else got anything.
    assert!(sent.len() <= EVENTS / 2 + 50, "{} came", sent.len());
    assert_eq!(stage.receiver.count(), before + sent.len());
    assert!(sent.iter().all(|one| one.replay_id.as_deref() == Some(&replay)));
    // By now none is missing, once that is stored.
    wait_until("none to be missing", LIMIT, || async {
        let count = json!({"subscription_id": two, "from": "2020-01-01T00:00:00Z",
                           "status": ["missing"], "dry_run": true});
        let id = stage.started("/v1/replays", &count).await.map_err(|error| error.to_string())?;
        let counted = stage.through(&id).await.map_err(|error| error.to_string())?;
        if counted["sent"] == 0 { Ok(()) } else { Err(counted.to_string()) }
    })
    .await?;
    stage.end().await
}

/// What the inbox has not (nothing stores here) is taken from Kafka, by time, others' events left out.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_replay_from_the_topic_needs_no_inbox() -> anyhow::Result<()> {
    const EVENTS: usize = 300;
    let mut stage = Stage::start().await?;
    stage.services.storage.signal("STOP")?;
    let (client, receiver) = (&stage.client, &stage.receiver);
    let others = Client::new(&stage.services.base, stage.world.customer("others").await?);
    publish(client, "a.b", EVENTS).await?;
    publish(&others, "a.b", EVENTS).await?;
    // A time stamp has milliseconds, and the next event another one.
    let between = OffsetDateTime::now_utc() + time::Duration::milliseconds(2);
    wait_until("the next millisecond", LIMIT, || async {
        if OffsetDateTime::now_utc() > between { Ok(()) } else { Err("soon".to_owned()) }
    })
    .await?;
    publish(client, "a.b", EVENTS).await?;
    let id = subscribe(client, receiver, "one", "a.b", Some("$[?@ < 200]"), Vec::new()).await?;
    let between = format_instant(between);
    let start = "2020-01-01T00:00:00Z";
    for (source, from, to, examined, sent) in [
        ("events", start, None, 0, 0),
        ("topic", start, Some(&between), EVENTS, 200),
        ("topic", &between, None, EVENTS, 200),
        ("topic", start, None, 2 * EVENTS, 400),
    ] {
        let asked = json!({"subscription_id": id, "from": from, "to": to, "source": source,
            "rate": 1_000, "dry_run": true});
        let counted = stage.through(&stage.started("/v1/replays", &asked).await?).await?;
        assert_eq!((&counted["source"], &counted["state"]), (&json!(source), &json!("completed")));
        assert_eq!(counted["examined"], examined, "{asked}: {counted}");
        assert_eq!(counted["sent"], sent, "{asked}: {counted}");
    }
    // Sent; the replayer is killed meanwhile. (The matcher may have been late enough to send some
    // of them by itself.)
    let asked = json!({"subscription_id": id, "from": between, "source": "topic", "rate": 50});
    let replay = stage.started("/v1/replays", &asked).await?;
    let marked = || receiver.received().into_iter().filter(|one| one.replay_id.is_some());
    let ids = || marked().map(|one| one.event_id).collect::<HashSet<_>>().len();
    let came = async |count: usize| {
        let check = || async { if ids() >= count { Ok(()) } else { Err(format!("{}", ids())) } };
        wait_until("replayed events", LIMIT, check).await
    };
    came(60).await?;
    let killed = stage.world.start(&["replayer"])?;
    std::mem::replace(&mut stage.services.replayer, killed).kill().await?;
    assert_eq!(stage.through(&replay).await?["state"], "completed");
    came(200).await?;
    assert_eq!(ids(), 200);
    assert!(marked().count() <= 250, "{} came", marked().count());
    assert!(marked().all(|one| one.replay_id.as_deref() == Some(&replay)));
    stage.services.storage.signal("CONT")?;
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_replay_keeps_its_pace_and_can_be_cancelled() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    let id = subscribe(client, receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    publish(client, "a.b", 100).await?;
    wait_for(receiver, "one", 101).await?;
    let asked = json!({"subscription_id": id, "from": "2020-01-01T00:00:00Z", "rate": 10});
    let replay = stage.started("/v1/replays", &asked).await?;
    let marked = || stage.at("one").into_iter().filter(|one| one.replay_id.is_some());
    wait_until("a page to be sent", LIMIT, || async {
        if marked().count() >= 15 { Ok(()) } else { Err(format!("{}", marked().count())) }
    })
    .await?;
    let path = format!("/v1/replays/{replay}/cancel");
    let cancelled = client.post(&path, "").await?.expect(StatusCode::OK)?;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    let times: Vec<_> = marked().map(|one| one.at).collect();
    // Fifteen at ten a second: well over a second. (Only a slow machine makes it more.)
    assert!(times[14] - times[0] >= time::Duration::milliseconds(1_200), "{times:?}");
    let paused = client.post(&format!("/v1/subscriptions/{id}/pause"), "").await?;
    paused.expect(StatusCode::OK)?;
    let refused = client.post("/v1/replays", asked.to_string()).await?;
    refused.expect(StatusCode::CONFLICT)?;
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_dead_letter_handed_over_with_kafkas_own_tools_is_delivered() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, receiver, .. } = &stage;
    subscribe(client, receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    receiver.endpoint("one", receiver.secret("one"), vec![400]);
    publish(client, "a.b", 1).await?;
    let dead = stage.dead(1).await?;
    let kafka = &stage.world.settings["TRIGGERLINE_KAFKA__BROKERS"];
    let topic = |name| format!("{}{name}", stage.world.settings["TRIGGERLINE_KAFKA__PREFIX"]);
    // As docs/decisions/0005-topics-keys-headers.md has it.
    let consume = [
        "--bootstrap-server",
        kafka,
        "--topic",
        &topic("deliveries.dlq"),
        "--from-beginning",
        "--max-messages",
        "1",
        "--property",
        "print.headers=true",
        "--property",
        "print.key=true",
        "--property",
        "headers.separator=;;",
    ];
    let record = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &consume, "").await?;
    assert!(record.contains("tl_dead_letter_reason:the receiver answered 400"), "{record}");
    let produce = [
        "--bootstrap-server",
        kafka,
        "--topic",
        &topic("deliveries"),
        "--property",
        "parse.headers=true",
        "--property",
        "parse.key=true",
        "--property",
        "headers.separator=;;",
    ];
    tool("org.apache.kafka.tools.ConsoleProducer", &produce, &record).await?;
    wait_for(receiver, "one", 2).await?;
    let sent = stage.at("one");
    let again: Vec<_> =
        sent.iter().filter(|one| dead[0]["delivery_id"] == one.webhook_id.as_str()).collect();
    assert_eq!(again.iter().map(|one| one.status).collect::<Vec<_>>(), [400, 200]);
    assert_eq!(again[0].digest, again[1].digest, "the payload is as it was, byte for byte");
    assert_eq!(arrived(receiver, "one"), 2);
    stage.dead(0).await?;
    stage.end().await
}

/// Runs one of Kafka's console tools; what it printed.
pub(crate) async fn tool(class: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let jars = std::env::var("TRIGGERLINE_TEST_KAFKA_TOOLS")
        .context("TRIGGERLINE_TEST_KAFKA_TOOLS is not set; see `cargo xtask test`")?;
    let jars = Path::new(&jars).join("*");
    let mut tool = Command::new("java")
        .arg("-cp")
        .arg(jars)
        .arg(class)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = tool.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let ended = tool.wait_with_output();
    let output = tokio::time::timeout(LIMIT, ended).await.with_context(|| class.to_owned())??;
    let (out, told) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    anyhow::ensure!(output.status.success(), "{class}: {told}");
    // It logs to its standard output where it has a logger.
    let lines: Vec<_> = out.lines().filter(|line| line.contains('\t')).collect();
    Ok(lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn the_commands_do_what_a_person_asks_of_them() -> anyhow::Result<()> {
    let mut stage = Stage::start().await?;
    stage.world.set("TRIGGERLINE_URL", &stage.services.base);
    stage.world.set("TRIGGERLINE_API_KEY", stage.client.key());
    let Stage { client, receiver, world, .. } = &stage;
    let id = subscribe(client, receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    receiver.endpoint("one", receiver.secret("one"), vec![400; 30]);
    publish(client, "a.b", 30).await?;
    stage.dead(30).await?;
    let listed = world.run(&["dlq", "ls", "-n", "25", "--subscription", &id]).await?;
    assert_eq!(listed.lines().count(), 25, "{listed}");
    assert!(listed.contains("the receiver answered 400"), "{listed}");
    let letter = world.printed(&["dlq", "ls", "-n", "1"]).await?;
    let delivery = letter["delivery_id"].as_str().unwrap();
    let event = letter["event_id"].as_str().unwrap();
    let shown = world.run(&["dlq", "show", delivery]).await?;
    assert!(shown.contains("attempt 1: dead_lettered") && shown.contains("\"n\""), "{shown}");
    world.run(&["dlq", "redrive", delivery]).await?;
    let counted = world.printed(&["dlq", "redrive", "--all", "--type", "a.b", "--dry-run"]).await?;
    assert_eq!(counted["sent"], 29, "{counted}");
    let done = world.printed(&["dlq", "redrive", "--all", "--rate", "1000"]).await?;
    assert_eq!((&done["state"], &done["sent"]), (&json!("completed"), &json!(29)));
    wait_for(receiver, "one", 31).await?;
    stage.dead(0).await?;
    let inbox = world.run(&["inbox", "--type", "a.b", "--from", "1h", "-n", "100"]).await?;
    assert_eq!(inbox.lines().count(), 31, "{inbox}");
    let shown = world.run(&["inbox", event]).await?;
    assert!(shown.contains("delivered to subscription"), "{shown}");
    let asked = ["replay", "--subscription", &id, "--from", "1h", "--status", "delivered"];
    let replayed = world.printed(&[&asked[..], &["--rate", "1000"]].concat()).await?;
    assert_eq!((&replayed["state"], &replayed["sent"]), (&json!("completed"), &json!(31)));
    let ends = world.run(&["replays", "ls"]).await?;
    assert!(ends.lines().all(|line| line.contains("completed")), "{ends}");
    // What is wrong is told.
    for (arguments, told) in [
        (&["dlq", "show", event][..], "404"),
        (&["replay", "--subscription", event, "--from", "1h"], "/subscription_id"),
        (&["inbox", "--status", "lost"], "status is one of"),
        (&["inbox", "--api-key", "x"], "401"),
        (&["inbox", "--url", "127.0.0.1:1"], "--url"),
    ] {
        let output = world.output(arguments).await?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{arguments:?}: {error}");
    }
    // What has arrived is printed, and then what arrives.
    let mut tail = Command::new(BINARY)
        .args(["tail", "--from", "1h"])
        .envs(&world.settings)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(tail.stdout.take().context("no output")?).lines();
    let mut next = async |count: usize| {
        let mut ids = HashSet::new();
        for _ in 0..count {
            let line = tokio::time::timeout(LIMIT, lines.next_line()).await??.context("its end")?;
            ids.extend(line.split_whitespace().nth(1).map(str::to_owned));
        }
        anyhow::Ok(ids)
    };
    let first = next(31).await?;
    publish(client, "a.b", 3).await?;
    let then = next(3).await?;
    assert_eq!((first.len(), then.len(), first.intersection(&then).count()), (31, 3, 0));
    stage.end().await
}
