//! Erasing customers: one of the storage processes claims an erasure that is due, goes over
//! everything of the customer once, and says when it is to be done again
//! ([`triggerline_types::Erasure`]). One that is killed in between is done again by another.

use std::convert::Infallible;
use std::time::Duration;

use time::OffsetDateTime;
use triggerline_store::{ControlStore, EventStore, StoreError};
use triggerline_types::Erasure;
use uuid::Uuid;

/// How often it is looked whether an erasure is due.
const EVERY: Duration = Duration::from_secs(5);
/// For how long nobody else goes on with one when its process is gone.
const LEASE: Duration = Duration::from_mins(1);

pub(crate) async fn run(control: &dyn ControlStore, events: &dyn EventStore) -> Infallible {
    let erasing = Erasing { control, events, owner: Uuid::new_v4() };
    loop {
        match erasing.one().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "erasing a customer is tried again"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

struct Erasing<'a> {
    control: &'a dyn ControlStore,
    events: &'a dyn EventStore,
    owner: Uuid,
}

impl Erasing<'_> {
    /// Whether one was due.
    async fn one(&self) -> Result<bool, StoreError> {
        let Some(mut erasure) = self.control.claim_erasure(self.owner, LEASE).await? else {
            return Ok(false);
        };
        let (before, began) = (erasure.state(), now());
        loop {
            let (erased, more) = self.control.erase_set_up(erasure.customer_id).await?;
            erasure.erased += erased;
            if !self.keep(&erasure).await? {
                return Ok(true);
            }
            if !more {
                break;
            }
        }
        let erased = tokio::select! {
            erased = self.events.erase(erasure.customer_id) => erased?,
            lost = self.go_on_holding(&erasure) => return lost.map(|()| true),
        };
        erasure.erased.events += erased;
        let due = erasure.pass(began, now());
        let kept = self.control.keep_erasure(&erasure, self.owner, due, None).await?;
        let state = erasure.state();
        if kept && state != before {
            let Erasure { customer_id, erased, .. } = &erasure;
            tracing::info!(%customer_id, state = state.as_str(), ?erased, "a customer is erased");
        }
        Ok(true)
    }

    /// Keeps the counts, and the lease. `false`: somebody else has it.
    async fn keep(&self, erasure: &Erasure) -> Result<bool, StoreError> {
        let due = Some(erasure.requested_at);
        self.control.keep_erasure(erasure, self.owner, due, Some(LEASE)).await
    }

    /// While it takes long. Ends when somebody else has it.
    async fn go_on_holding(&self, erasure: &Erasure) -> Result<(), StoreError> {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if !self.keep(erasure).await? {
                return Ok(());
            }
        }
    }
}

fn now() -> OffsetDateTime {
    triggerline_types::truncate_to_millis(OffsetDateTime::now_utc())
}
