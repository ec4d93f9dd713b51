//! Hearing of changes as they are made, by whichever process.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;

use super::address::Address;
use super::exchange::PATIENCE;

/// The channel that changes are told on; see [`super::audit::record`].
const LISTEN: &str = "LISTEN triggerline_control";
/// Between attempts to connect; doubled after each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The connection is silent by nature, so the kernel asks now and then whether it still is one.
const KEEPALIVE: Duration = Duration::from_secs(15);

type Ended = Box<dyn std::error::Error + Send + Sync>;

/// Listens until it is dropped.
pub(super) struct Listener {
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    pub(super) fn start(mut address: Address, ticks: watch::Sender<u64>) -> Self {
        let config = &mut address.config;
        config.application_name("triggerline listener");
        config.keepalives_idle(KEEPALIVE);
        config.keepalives_interval(KEEPALIVE / 3);
        config.keepalives_retries(3);
        Self { task: tokio::spawn(listen(address, ticks)) }
    }
}

async fn listen(address: Address, ticks: watch::Sender<u64>) {
    let mut pause = FIRST_PAUSE;
    let mut failing = false;
    loop {
        let heard = || {
            pause = FIRST_PAUSE;
            if std::mem::take(&mut failing) {
                tracing::info!("hearing of changes of the control store again");
            }
            ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
        };
        let ended = session(&address, heard).await.err();
        // Told once an outage, not at every attempt.
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(
                error = ended.map(|ended| ended.to_string()),
                "not hearing of changes of the control store; followers go on asking for them"
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection, from its first to its last word. `heard` is called for every notification,
/// and once when it begins to listen, because what was told before is not told again.
async fn session(address: &Address, mut heard: impl FnMut()) -> Result<(), Ended> {
    let connecting = address.config.connect(address.tls.clone());
    let (client, mut connection) = tokio::time::timeout(PATIENCE, connecting).await??;
    let mut listening = pin!(tokio::time::timeout(PATIENCE, client.batch_execute(LISTEN)));
    let mut listens = false;
    loop {
        // The connection does nothing by itself: who waits for the client drives it too.
        tokio::select! {
            answer = &mut listening, if !listens => {
                answer??;
                listens = true;
                heard();
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(_))) => heard(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
    }
}
