//! One replay, page by page, until it is through, cancelled, or somebody else's.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{ProduceError, Producer, Scan};
use triggerline_types::{Attempt, Matched, Progress, Replay, ReplayState, truncate_to_millis};
use triggerline_wire as wire;
use uuid::Uuid;

use crate::pace::Pace;
use crate::page::{Looked, Page, ReadError, Reader, Send};

/// How long to wait before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Worker {
    pub(crate) reader: Reader,
    pub(crate) producer: Producer,
    pub(crate) deliveries: String,
    pub(crate) attempts: String,
    /// Who we are, to the other replayers.
    pub(crate) owner: Uuid,
    pub(crate) lease: Duration,
}

/// Why a page was not sent to its end.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Produce(#[from] ProduceError),
}

impl Worker {
    /// Works on a replay that is ours until it ends or `stop`; then somebody else may go on.
    pub(crate) async fn run(&self, mut replay: Replay, stop: &CancellationToken) {
        let mut pace = Pace::new(replay.rate, Instant::now());
        tracing::info!(id = %replay.id, after = replay.progress.examined, "replaying");
        let mut scan = None;
        loop {
            let done = self.page(&replay, &mut pace, &mut scan, stop).await;
            let (progress, state) = match done {
                Ok((progress, true)) => (progress, ReplayState::Completed),
                Ok((progress, false)) => (progress, ReplayState::Running),
                Err(Fault::Read(ReadError::Impossible(reason))) => {
                    (replay.progress, ReplayState::Failed { reason })
                }
                // What was sent of the page is sent once more: at least once.
                Err(error) => {
                    tracing::warn!(id = %replay.id, %error, "a replay is held up");
                    scan = None;
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    (replay.progress, ReplayState::Running)
                }
            };
            let ended = state != ReplayState::Running;
            let lease = (!ended && !stop.is_cancelled()).then_some(self.lease);
            replay.progress = progress;
            let kept = self.keep(&replay, state.clone(), lease, stop).await;
            if kept != Some(true) || lease.is_none() {
                // Not kept, it was cancelled or somebody else has it; or, at our end, somebody
                // will find the lease run out, and go on where progress was kept last.
                let Progress { examined, sent, .. } = progress;
                tracing::info!(id = %replay.id, examined, sent, ?state, ?kept, "done with a replay");
                return;
            }
        }
    }

    /// Keeps the progress; until it is kept, nothing more is sent. `None`: not before `stop`.
    async fn keep(
        &self,
        replay: &Replay,
        state: ReplayState,
        lease: Option<Duration>,
        stop: &CancellationToken,
    ) -> Option<bool> {
        loop {
            let control = &self.reader.control;
            let state = state.clone();
            match control.advance_replay(replay.id, self.owner, replay.progress, state, lease).await
            {
                Ok(kept) => return Some(kept),
                Err(error) => {
                    tracing::warn!(id = %replay.id, %error, "the progress of a replay is not kept");
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await?;
        }
    }

    /// Sends the next page, or what of it there is time for. How far that is, and whether it was
    /// the end.
    async fn page(
        &self,
        replay: &Replay,
        pace: &mut Pace,
        scan: &mut Option<Scan>,
        stop: &CancellationToken,
    ) -> Result<(Progress, bool), Fault> {
        let Page { entries, until, is_last } = self.reader.next(replay, scan).await?;
        let mut progress = replay.progress;
        let (mut sent, mut under_way) = (Vec::new(), Vec::new());
        let mut whole = true;
        for Looked { at, send } in entries {
            if let Some(send) = send {
                if !replay.dry_run {
                    let turn = pace.turn(Instant::now());
                    let wait = tokio::time::sleep_until(turn.into());
                    if stop.run_until_cancelled(wait).await.is_none() {
                        whole = false;
                        break;
                    }
                    // Before it is under way: an attempt at it comes after this.
                    let at = truncate_to_millis(OffsetDateTime::now_utc());
                    let record = wire::delivery::encode(&send.delivery);
                    under_way.push(self.producer.start(&self.deliveries, &record)?);
                    sent.push((send, at));
                }
                progress.sent += 1;
            }
            progress.examined += 1;
            progress.after = Some(at);
        }
        if whole {
            progress.after = until.or(progress.after);
        }
        try_join_all(under_way).await?;
        self.tell(&sent).await?;
        Ok((progress, is_last && whole))
    }

    /// Tells storage what was handed over. Only now: a delivery that is said to be on its way
    /// must be.
    async fn tell(&self, sent: &[(Send, OffsetDateTime)]) -> Result<(), ProduceError> {
        let facts = sent.iter().flat_map(|(Send { delivery, owed, follows }, at)| {
            let place = follows.map_or(*at, |attempt| attempt + Duration::from_millis(1));
            let matched = Matched {
                event_id: delivery.event.id,
                customer_id: delivery.event.customer_id,
                at: *at,
                owed: vec![owed.clone()],
            };
            [
                wire::fact::encode_matched(&matched),
                wire::fact::encode_attempt(&Attempt::replayed(delivery, place, *at)),
            ]
        });
        let facts: Vec<_> = facts.collect();
        try_join_all(facts.iter().map(|fact| self.producer.send(&self.attempts, fact))).await?;
        Ok(())
    }
}
