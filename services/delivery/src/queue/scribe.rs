//! Writing into the store many at a time, in the order in which they come.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use triggerline_store::StoreError;

/// What is written at once, at most.
const BATCH: usize = 256;
/// Between two tries while the store doesn't answer.
const PAUSE: Duration = Duration::from_millis(500);

/// One writer for all who write. It goes on until the last of them is gone, and tries for as long
/// as it takes: what came first is written first. Its callers bound what waits.
pub(crate) struct Scribe<T> {
    inbox: mpsc::UnboundedSender<(T, oneshot::Sender<()>)>,
}

impl<T: Send + 'static> Scribe<T> {
    pub(crate) fn start(
        write: impl AsyncFn(&[T]) -> Result<(), StoreError> + Send + 'static,
    ) -> (Self, impl Future<Output = ()>) {
        let (inbox, mut waiting) = mpsc::unbounded_channel();
        let run = async move {
            let mut taken = Vec::new();
            while waiting.recv_many(&mut taken, BATCH).await > 0 {
                let (batch, done): (Vec<T>, Vec<oneshot::Sender<()>>) = taken.drain(..).unzip();
                while let Err(error) = write(&batch).await {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "the queue can't be written; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                for done in done {
                    // Whoever waited may have been told to stop.
                    let _ = done.send(());
                }
            }
        };
        (Self { inbox }, run)
    }

    /// Joins those who wait to be written, and returns the wait for it.
    pub(crate) fn write(&self, one: T) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // With nobody there to write it, the wait ends with an error.
        let _ = self.inbox.send((one, done));
        written
    }
}
