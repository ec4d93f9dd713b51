//! How a process is told to end: SIGTERM or Ctrl-C once asks, twice insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process
/// on the spot with status 130, for whoever can't wait for the drain.
pub fn shutdown() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        for insisted in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if insisted {
                tracing::warn!("told to end a second time: ending at once");
                std::process::exit(130);
            }
            tracing::info!("told to end: finishing what has begun (again to end at once)");
            asked.cancel();
        }
    });
    Ok(token)
}
