//! A database that is killed in the middle of the work, and comes back.
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use http::StatusCode;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use triggerline_testkit::{
    Client, Metrics, Parts, Receiver, Services, World, subscribe, wait_until,
};

use crate::{BINARY, LIMIT};

/// A Cassandra of a test's own, started as the one that all tests share: with the same command, and
/// ports and folders of its own.
struct Cassandra {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl Cassandra {
    /// `None`: the shared one is not a process of this machine (but a container).
    async fn start(shared: &str) -> anyhow::Result<Option<Self>> {
        let shared = shared.rsplit(':').next().context("a port")?;
        let Some((arguments, config)) = running(shared)? else { return Ok(None) };
        let old = Path::new(&config).parent().context("a folder")?;
        let folder = tempfile::Builder::new().prefix("triggerline-cassandra-").tempdir()?;
        let there = |text: &str| {
            text.replace(
                old.to_str().unwrap_or_default(),
                folder.path().to_str().unwrap_or_default(),
            )
        };
        let (port, storage) = (free_port().await?, free_port().await?);
        let mut yaml = there(&std::fs::read_to_string(&config)?);
        for (name, port) in [("native_transport_port", port), ("storage_port", storage)] {
            let old = yaml.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            let old = old.context("a port")?.to_owned();
            // The second stands among the seeds too.
            for place in [format!("{name}: "), "127.0.0.1:".to_owned()] {
                yaml = yaml.replace(&format!("{place}{old}"), &format!("{place}{port}"));
            }
        }
        std::fs::write(there(&config), yaml)?;
        for other in std::fs::read_dir(old)?.flatten() {
            if other.path().extension().is_some_and(|name| name == "xml") {
                std::fs::copy(other.path(), folder.path().join(other.file_name()))?;
            }
        }
        let arguments: Vec<String> = arguments.iter().map(|one| there(one)).collect();
        let process = spawn(&arguments, folder.path())?;
        let started = Self { folder, port, arguments, process };
        started.answers().await?;
        Ok(Some(started))
    }

    async fn answers(&self) -> anyhow::Result<()> {
        wait_until("Cassandra to listen", LIMIT, || async {
            let address = ("127.0.0.1", self.port);
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// kill -9.
    async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// The same files again.
    async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.arguments, self.folder.path())?;
        self.answers().await
    }
}

fn spawn(arguments: &[String], folder: &Path) -> anyhow::Result<Child> {
    let (program, arguments) = arguments.split_first().context("a command")?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdout(log.try_clone()?).stderr(log);
    Ok(command.kill_on_drop(true).spawn()?)
}

/// The command of the Cassandra that listens on a port, and its file of settings.
fn running(port: &str) -> anyhow::Result<Option<(Vec<String>, String)>> {
    for process in std::fs::read_dir("/proc")?.flatten() {
        let Ok(command) = std::fs::read(process.path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).into_owned();
        let arguments: Vec<String> =
            command.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
        let config =
            arguments.iter().find_map(|one| one.strip_prefix("-Dcassandra.config=file://"));
        let Some(config) = config.map(str::to_owned) else { continue };
        let settings = std::fs::read_to_string(&config).unwrap_or_default();
        if settings.lines().any(|line| line.trim() == format!("native_transport_port: {port}")) {
            return Ok(Some((arguments, config)));
        }
    }
    Ok(None)
}

async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Events go on being accepted and delivered without the inbox, storage says how far it is behind, and
/// the inbox has all of them in the end. A long run leaves it away for a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_cassandra_that_is_killed_costs_no_event() -> anyhow::Result<()> {
    const EVENTS: usize = 4_000;
    let Some(mut cassandra) = Cassandra::start(&Parts::from_environment()?.cassandra).await? else {
        eprintln!("skipped: Cassandra runs in a container, where a test can't kill it");
        return Ok(());
    };
    let inbox = format!("cassandra://127.0.0.1:{}/inbox?replication_factor=1", cassandra.port);
    let world = World::with(BINARY, &[("TRIGGERLINE_INBOX__URL", &inbox)]).await?;
    let receiver = Receiver::start().await?;
    let mut services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("shop").await?);
    subscribe(&client, &receiver, "hook", "*", None, Vec::new()).await?;
    let post = async |numbers: std::ops::Range<usize>| {
        let posts = numbers.map(|n| {
            let client = client.clone();
            async move {
                let answer = client.publish("order.created", n.to_string().as_bytes()).await?;
                let answer = answer.expect(StatusCode::ACCEPTED)?;
                anyhow::Ok(answer["event_id"].as_str().context("an id")?.to_owned())
            }
        });
        let posted = futures::stream::iter(posts).buffer_unordered(32).collect::<Vec<_>>().await;
        posted.into_iter().collect::<anyhow::Result<Vec<_>>>()
    };
    let mut sent = post(0..EVENTS / 4).await?;
    // In the middle of the writes: some of them are there.
    wait_until("some to be stored", LIMIT, || async {
        let stored = all(&client, "").await.map_err(|error| error.to_string())?;
        if stored.is_empty() { Err("none is".to_owned()) } else { Ok(()) }
    })
    .await?;
    let (posted, killed) = tokio::join!(post(EVENTS / 4..EVENTS / 2), cassandra.kill());
    killed?;
    sent.extend(posted?);
    // Without it: accepted, matched and delivered all the same, and whoever asks is told.
    sent.extend(post(EVENTS / 2..EVENTS).await?);
    wait_until("all to be delivered", LIMIT, || async {
        let arrived: HashSet<_> = receiver
            .received()
            .iter()
            .filter_map(|one| one.event_id)
            .map(|id| id.to_string())
            .collect();
        let missing = sent.iter().filter(|id| !arrived.contains(*id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
    })
    .await?;
    let answer = client.get("/v1/inbox").await?;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    // What waits in Kafka for it, and is more than half of all: as an operator sees it.
    let metrics = Metrics::of(&mut services.storage).await?;
    let prefix = world.setting("TRIGGERLINE_KAFKA__PREFIX").unwrap().to_owned();
    let behind = |page: &str, topic: &str| {
        let labels = format!("service=\"storage\",topic=\"{prefix}{topic}\"");
        let line = format!("triggerline_consumer_lag_records{{{labels}}}");
        Metrics::value(page, &line).unwrap_or_default()
    };
    wait_until("storage to say how far behind it is", LIMIT, || async {
        let page = metrics.page().await.map_err(|error| error.to_string())?;
        let events = behind(&page, "events") >= 2_000.0;
        let seen = events && behind(&page, "attempts") >= 4_000.0;
        let failed = Metrics::value(&page, "triggerline_store_failures_total").unwrap_or_default();
        if seen && failed > 0.0 { Ok(()) } else { Err(page) }
    })
    .await?;
    if std::env::var_os("TRIGGERLINE_TEST_LONG").is_some() {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    cassandra.start_again().await?;
    wait_until("the inbox to say `delivered` of each event", LIMIT, || async {
        let stored = all(&client, "status=delivered").await.map_err(|error| error.to_string())?;
        let missing = sent.iter().filter(|id| !stored.contains(*id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
    })
    .await?;
    assert_eq!(all(&client, "order=asc").await?.len(), EVENTS, "each is there once, and no other");
    wait_until("storage to have caught up", LIMIT, || async {
        let page = metrics.page().await.map_err(|error| error.to_string())?;
        let left = behind(&page, "events") + behind(&page, "attempts");
        if left == 0.0 { Ok(()) } else { Err(format!("{left} records are left")) }
    })
    .await?;
    services.terminate().await?;
    world.tear_down().await
}

async fn all(client: &Client, filter: &str) -> anyhow::Result<HashSet<String>> {
    let mut all = HashSet::new();
    for event in client.all(&format!("/v1/inbox?{filter}&limit=200")).await? {
        let id = event["event_id"].as_str().context("an id")?.to_owned();
        anyhow::ensure!(all.insert(id.clone()), "event {id} stands in the inbox twice");
    }
    Ok(all)
}
