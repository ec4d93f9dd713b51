//! For how long what is kept, as the control store says. It is asked every few seconds and not for
//! each event: while it doesn't answer, what it said last holds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use triggerline_store::{ControlStore, Retention, StoreError};

/// How soon a customer's retention, or its erasure, is known here.
const EVERY: Duration = Duration::from_secs(5);

/// What was said last.
pub(crate) type Known = watch::Receiver<Arc<Retention>>;

/// Asks for the first time.
pub(crate) async fn ask(
    control: &dyn ControlStore,
    standard: Option<Duration>,
) -> Result<watch::Sender<Arc<Retention>>, StoreError> {
    Ok(watch::Sender::new(Arc::new(control.retention(standard).await?)))
}

/// Asks again and again.
pub(crate) async fn follow(
    control: &dyn ControlStore,
    known: &watch::Sender<Arc<Retention>>,
) -> Infallible {
    let standard = known.borrow().standard;
    loop {
        tokio::time::sleep(EVERY).await;
        match control.retention(standard).await {
            Ok(retention) => {
                known.send_if_modified(|known| {
                    let is_new = **known != retention;
                    if is_new {
                        *known = Arc::new(retention);
                    }
                    is_new
                });
            }
            Err(error) => {
                tracing::warn!(%error, "how long events are kept may have changed");
            }
        }
    }
}
