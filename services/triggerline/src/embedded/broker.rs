//! The embedded broker: Kafka's protocol for one process, one node, without replication.
//!
//! *Tansu* decodes the protocol and keeps topics, their settings, consumer groups, committed offsets and producer ids;
//! it calls that its storage, here a SQLite file of its own next to the log's. The [`log`](super::log) keeps the
//! records and [`records`](super::records) answers for them. The *listener* accepts clients, each a
//! [`connection`](super::connection). All of them live on a *runtime* of their own: SQLite blocks the thread it is
//! called on, and that must not be one that serves requests.
//!
//! Absent on purpose: transactions, ACLs, SASL, TLS, quotas, compaction, `retention.bytes`, more than one node. So
//! it listens on loopback unless told otherwise. Retention is in [`Records::keep`].
//!
//! Acknowledged records survive a killed process; what that relies on is said in the log. Groups don't
//! survive a restart, by intent: every member of the last run is gone or will rejoin, and Tansu would keep the new
//! ones waiting until the old ones' session time-out has passed. Committed offsets stay.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rama::{Layer as _, Service as _};
use tansu_broker::{
    Error,
    coordinator::group::administrator::Controller,
    service::{coordinator, storage as tansu},
};
use tansu_sans_io::{
    ApiKey as _, DeleteTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest,
};
use tansu_service::{FrameRequestLayer, FrameRouteBuilder, FrameRouteService};
use tansu_storage::{BrokerRegistrationRequest, Storage as _, StorageContainer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};
use url::Url;
use uuid::Uuid;

use super::{connection, log::Log, records::Records};

/// Written into Tansu's file: another name would find it empty.
const CLUSTER: &str = "triggerline";
const NODE: i32 = 1;
/// For requests under way when the broker stops; they are short once waiting fetches are told.
const GRACE: Duration = Duration::from_secs(5);

/// Answers a request frame by its API key.
pub(super) type Routes = FrameRouteService<(), Error>;

/// A running broker. Dropping it stops it too, without waiting.
pub(crate) struct Broker {
    advertised: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
    /// Always there until `stop` or `drop` takes it.
    runtime: Option<Runtime>,
    writer: Option<JoinHandle<()>>,
}

impl Broker {
    /// Opens (or creates) the log at `file`, and Tansu's file next to it with the extension `tansu`, and serves Kafka's
    /// protocol on `listen` (port 0 picks one). Clients are told to come to the address that was bound, or to
    /// 127.0.0.1 if that is the unspecified one.
    ///
    /// Only one process may have the file open at a time; the port in use is what usually tells.
    pub(crate) async fn start(file: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2) // one in SQLite, one for connections
            .thread_name("kafka")
            .enable_all()
            .build()
            .context("starting the embedded broker's threads")?;
        let file = std::path::absolute(file)
            .with_context(|| format!("making {} absolute", file.display()))?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let opened = runtime.spawn(open(file.clone(), listen, closing.clone(), tasks.clone()));
        match opened.await.context("starting the embedded broker")? {
            Ok((advertised, writer)) => {
                info!(%advertised, file = %file.display(), "the embedded broker is listening");
                Ok(Self {
                    advertised,
                    closing,
                    tasks,
                    runtime: Some(runtime),
                    writer: Some(writer),
                })
            }
            Err(error) => {
                runtime.shutdown_background(); // its destructor would block, and panic for it
                Err(error)
            }
        }
    }

    /// For `bootstrap.servers`: host and port.
    pub(crate) fn bootstrap(&self) -> String {
        self.advertised.to_string()
    }

    /// Stops accepting, answers waiting fetches, closes connections once their request is answered, and lets the
    /// log write what it has taken.
    pub(crate) async fn stop(mut self) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            warn!(connections = self.tasks.len(), "the embedded broker leaves requests unanswered");
        }
        let (runtime, writer) = (self.runtime.take(), self.writer.take());
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(GRACE);
            }
            // With the last task went the last handle on the log: the writer's queue ends, and then the writer.
            writer.is_none_or(|writer| writer.join().is_ok())
        });
        if !ended.await.unwrap_or(false) {
            warn!("a thread of the embedded broker panicked");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.closing.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn open(
    file: PathBuf,
    listen: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    // First of all, since it is what fails when another broker has the files already.
    let listener = TcpListener::bind(listen).await.with_context(|| {
        let port = listen.port();
        format!(
            "the embedded broker can't listen on {listen}: is port {port} in use? \
             --kafka-listen takes another address, with port 0 any free one"
        )
    })?;
    let mut advertised = listener.local_addr().context("asking for the bound port")?;
    if advertised.ip().is_unspecified() {
        advertised.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating the folder {}", folder.display()))?;
    }
    let (log, writer) = Log::open(&file)
        .await
        .with_context(|| format!("opening the embedded broker's log {}", file.display()))?;
    let control = file.with_extension("tansu");
    let storage = storage(&control, advertised)
        .await
        .with_context(|| format!("opening the embedded broker's groups {}", control.display()))?;
    let records = Records::new(log, storage.clone(), closing.clone());
    let routes = routes(&storage, &records).context("setting up the embedded broker")?;
    tasks.spawn(records.keep());
    tasks.spawn(listen_on(listener, routes, closing, tasks.clone()));
    Ok((advertised, writer))
}

/// Tansu's storage, with the groups of the last run removed.
async fn storage(file: &Path, advertised: SocketAddr) -> anyhow::Result<StorageContainer> {
    // Tansu appends the URL's path to the current folder, unless it is absolute itself: hence the fourth slash.
    let path = format!("/{}", file.display());
    let url = Url::parse(&format!("sqlite://{path}")).context("making a URL of its path")?;
    // It doesn't decode the path either, and would look for a folder with %20 in its name.
    if url.path() != path {
        bail!("its path may hold only ASCII characters that a URL leaves as they are: no spaces");
    }
    let storage = StorageContainer::builder()
        .cluster_id(CLUSTER)
        .node_id(NODE)
        .advertised_listener(Url::parse(&format!("tcp://{advertised}"))?)
        .schema_registry(None)
        .lake_house(None)
        .storage(url)
        .silent(true)
        .build()
        .await?;
    storage
        .register_broker(BrokerRegistrationRequest {
            broker_id: NODE,
            cluster_id: CLUSTER.into(),
            incarnation_id: Uuid::nil(), // for clusters; a single node is never taken for another
            rack: None,
        })
        .await
        .context("registering with Tansu's storage")?;
    let database = libsql::Builder::new_local(file).build().await?;
    let connection = database.connect()?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // Tansu's connections don't wait for a lock, so this one must be gone before the first request.
    connection
        .execute("DELETE FROM consumer_group_detail", ())
        .await
        .context("removing the groups of the last run")?;
    Ok(storage)
}

/// Ours for the records, Tansu's for the rest. What isn't here isn't offered to clients: of Tansu's,
/// DeleteRecords would end its storage (`todo!()`), and transactions would find their offsets in the wrong file.
fn routes(storage: &StorageContainer, records: &Records) -> Result<Routes, Error> {
    let routes: FrameRouteBuilder<(), Error> = Routes::builder();
    let routes = [
        tansu::create_topics,
        tansu::delete_groups,
        tansu::describe_cluster,
        tansu::describe_configs,
        tansu::describe_groups,
        tansu::describe_topic_partitions,
        tansu::find_coordinator,
        tansu::incremental_alter_configs,
        tansu::init_producer_id,
        tansu::list_groups,
        tansu::metadata,
    ]
    .iter()
    .try_fold(routes, |routes, route| route(routes, storage.clone()))?;
    let routes = coordinator::services(routes, Controller::with_storage(storage.clone())?)?;
    let routes = routes
        .with_route(
            ProduceRequest::KEY,
            FrameRequestLayer::<ProduceRequest>::new().into_layer(records.clone()).boxed(),
        )?
        .with_route(
            FetchRequest::KEY,
            FrameRequestLayer::<FetchRequest>::new().into_layer(records.clone()).boxed(),
        )?
        .with_route(
            ListOffsetsRequest::KEY,
            FrameRequestLayer::<ListOffsetsRequest>::new().into_layer(records.clone()).boxed(),
        )?
        .with_route(
            DeleteTopicsRequest::KEY,
            FrameRequestLayer::<DeleteTopicsRequest>::new().into_layer(records.clone()).boxed(),
        )?;
    Ok(routes.build()?)
}

async fn listen_on(
    listener: TcpListener,
    routes: Routes,
    closing: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                tasks.spawn(client(stream, peer, routes.clone(), closing.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: some may be free in a while.
                warn!(%error, "the embedded broker could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn client(stream: TcpStream, peer: SocketAddr, routes: Routes, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %peer, "setting TCP_NODELAY");
    }
    if let Err(error) = connection::serve(stream, routes, closing).await {
        warn!(%peer, error = format!("{error:#}"), "closed a connection to the embedded broker");
    }
}
