//! One connection to Redis that is never given up.
//!
//! A **link** ([`Link`]) is a client of fred's and what is known about it. Its **keeper**
//! ([`Keeper`]) connects it, asks it for a sign of life several times a second, and says
//! whether it is up. fred connects again by itself when a connection ends; the keeper sees to
//! what fred doesn't: a server that holds the connection and is silent. Such a link is down
//! within half a second, so that calls fail at once instead of each waiting out its limit, and
//! is connected anew when the silence lasts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::interfaces::{ClientLike as _, EventInterface as _};
use fred::types::config::{Config, ConnectionConfig, Options, ReconnectPolicy};
use fred::types::{ConnectHandle, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// For a command to be answered, and for a whole call.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// For a connection to be made, and for the greeting on it.
const GREETING: Duration = Duration::from_secs(1);
/// Between signs of life of a link that is up, and of one that is down.
const BEAT: Duration = Duration::from_millis(250);
const FAST_BEAT: Duration = Duration::from_millis(25);
/// Without a sign of life for so long, a connection is made anew.
const SILENCE: Duration = Duration::from_secs(3);
/// Commands that wait to be written. They pile up only while a server reads nothing.
const QUEUE: usize = 10_000;
/// Between attempts to connect, in milliseconds. The first comes so soon because fred calls a
/// client connected until then, and what is asked meanwhile waits in vain.
const MIN_DELAY: u32 = 5;
const MAX_DELAY: u32 = 1_000;

pub(super) struct Link {
    client: WithOptions<Client>,
    answers: AtomicBool,
    /// Why there is no connection, as far as it was said.
    complaint: Mutex<Option<String>>,
}

impl Link {
    /// A link that connects in the background for as long as its keeper lives. The `first` one
    /// tells the log about outages; the others would only repeat it.
    pub(super) fn start(config: Config, first: bool) -> (Arc<Self>, Keeper) {
        let connection = ConnectionConfig {
            connection_timeout: GREETING,
            internal_command_timeout: GREETING,
            max_command_attempts: 1,
            max_command_buffer_len: QUEUE,
            ..ConnectionConfig::default()
        };
        let mut policy = ReconnectPolicy::new_exponential(0, MIN_DELAY, MAX_DELAY, 2);
        policy.set_jitter(MIN_DELAY);
        let client = Client::new(config, None, Some(connection), Some(policy));
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(PATIENCE),
            fail_fast: true,
            ..Options::default()
        };
        let client = client.with_options(&options);
        let link =
            Arc::new(Self { client, answers: AtomicBool::new(false), complaint: Mutex::default() });
        let keeping = tokio::spawn(keep(Arc::clone(&link)));
        let telling = first.then(|| tokio::spawn(tell(Arc::clone(&link))));
        let keeper = Keeper { keeping, telling };
        (link, keeper)
    }

    /// The client, if it is worth asking.
    pub(super) fn up(&self) -> Option<&WithOptions<Client>> {
        let up = self.answers.load(Ordering::Relaxed) && self.client.is_connected();
        up.then_some(&self.client)
    }

    /// Why it is down, if it is the first one, and was told.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn complain(&self, of: Option<String>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = of;
    }

    /// Returns when this connection is past hope.
    async fn watch(&self, router: &Router) {
        let mut heard = Instant::now();
        while !router.0.is_finished() {
            // While fred connects, there is nobody to ask; its own waits have limits.
            let connected = self.client.is_connected();
            let answers = connected && self.client.ping::<Value>(None).await.is_ok();
            self.answers.store(answers, Ordering::Relaxed);
            if answers || !connected {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return;
            }
            sleep(if answers { BEAT } else { FAST_BEAT }).await;
        }
    }
}

async fn keep(link: Arc<Link>) {
    loop {
        let router = Router(link.client.connect());
        link.watch(&router).await;
        link.answers.store(false, Ordering::Relaxed);
        drop(router);
        // Some mistakes, a cluster's address that is no cluster's for one, end fred's attempts.
        // Somebody may mend them at the other end.
        sleep(Duration::from_millis(MAX_DELAY.into())).await;
    }
}

/// Says once when an outage begins and once when it is over.
async fn tell(link: Arc<Link>) {
    let mut errors = link.client.error_rx();
    let mut told = false;
    loop {
        tokio::select! {
            error = errors.recv() => match error {
                Ok((error, _)) => {
                    link.complain(Some(error.to_string()));
                    if !told {
                        warn!(%error, "Redis is not there; connecting until it is");
                        told = true;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = sleep(BEAT), if told => {
                if link.up().is_some() {
                    info!("Redis is there again");
                    link.complain(None);
                    told = false;
                }
            }
        }
    }
}

/// fred's task, which holds the connection: it ends with whoever looks after it.
struct Router(ConnectHandle);

impl Drop for Router {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a link connected until it is dropped.
pub(super) struct Keeper {
    keeping: JoinHandle<()>,
    telling: Option<JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.keeping.abort();
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}
