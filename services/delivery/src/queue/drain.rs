//! Leasing what is due, and doing what is to be done with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use triggerline_kafka::{HandlerError, Stop, Topic, Window};
use triggerline_store::{ControlStore, Due, Fate, Helping, Lease, Queued, Settled, StoreError};
use triggerline_types::{Delivery, Outcome, Revision, Subscription};
use triggerline_wire as wire;
use uuid::Uuid;

use super::next::{Next, next, sleeps};
use super::{Scribe, end};
use crate::crowd::{Crowds, Inside};
use crate::handler::{Attempted, Deliverer, Waits};

/// Rows that are worked on at once, at most, and the bytes of one helping.
const WINDOW: Window = Window { records: 1_000, bytes: 64 * 1_024 * 1_024 };
const HELPING_BYTES: usize = 16 * 1_024 * 1_024;
/// How long a process that dies keeps its rows from others. While it lives it begins anew.
const LEASE: Duration = Duration::from_mins(1);
/// What others have put in, or left behind, is looked for so often.
const EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Drain {
    deliverer: Arc<Deliverer>,
    control: Arc<dyn ControlStore>,
    /// This process, as the one who leases.
    owner: Uuid,
    crowds: Crowds,
    settled: Scribe<Settled>,
    /// Something may be due that was not.
    news: Arc<Notify>,
}

impl Drain {
    /// The drain, and the work that it leaves to a task of its own.
    pub(crate) fn new(
        deliverer: Arc<Deliverer>,
        control: Arc<dyn ControlStore>,
        news: Arc<Notify>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let owner = Uuid::new_v4();
        let (store, told, clock) =
            (Arc::clone(&control), Arc::clone(&news), deliverer.clock.clone());
        let (settled, writing) = Scribe::start(async move |batch: &[Settled]| {
            store.settle(owner, batch, clock.now()).await?;
            told.notify_one();
            Ok(())
        });
        let crowds = Crowds::new(WINDOW);
        (Self { deliverer, control, owner, crowds, settled, news }, writing)
    }

    /// Drains until it is told to stop, then lets what has begun finish.
    pub(crate) async fn run(self: Arc<Self>, stop: Stop) {
        let mut tasks = JoinSet::new();
        let mut awake = None;
        let mut kept = tokio::time::Instant::now();
        while !stop.is_asked() {
            self.wake_up(&mut awake).await;
            if kept.elapsed() > LEASE / 4 {
                kept = tokio::time::Instant::now();
                if !tasks.is_empty() {
                    told(self.control.keep(self.owner, self.deliverer.now() + LEASE).await);
                }
            }
            let room = WINDOW.records - tasks.len();
            let leased = if room > 0 { self.lease(room).await } else { Vec::new() };
            for row in leased {
                // Here, so that all are counted before any is judged.
                let inside = self.enter(&row);
                tasks.spawn(Arc::clone(&self).work(row, inside, stop.clone()));
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                () = stop.asked() => {}
            }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn lease(&self, rows: usize) -> Vec<Queued> {
        let now = self.deliverer.now();
        let lease = Lease { id: self.owner, now, until: now + LEASE };
        let helping = Helping { rows, bytes: HELPING_BYTES };
        told(self.control.lease_due(lease, helping).await).unwrap_or_default()
    }

    /// Wakes the rows of subscriptions that sleep no longer, where some may have changed.
    async fn wake_up(&self, known: &mut Option<Revision>) {
        let revision = self.deliverer.subscriptions.revision();
        if *known == Some(revision) {
            return;
        }
        let Some(asleep) = told(self.control.asleep().await) else { return };
        for id in asleep {
            let subscription = self.deliverer.subscriptions.subscription(id);
            if subscription.is_some_and(|subscription| sleeps(&subscription)) {
                continue;
            }
            let now = self.deliverer.now();
            while let Some(true) = told(self.control.wake(id, now).await) {}
        }
        *known = Some(revision);
    }

    fn enter(&self, row: &Queued) -> Inside {
        let everywhere = (Topic::Deliveries, 0);
        self.crowds.enter(everywhere, row.subscription_id, row.record.len())
    }

    async fn work(self: Arc<Self>, row: Queued, inside: Inside, stop: Stop) {
        let fate = loop {
            match self.fate(&row, &inside, &stop).await {
                Ok(fate) => break fate,
                // Somebody else may have it at once.
                Err(HandlerError::Stopped) => {
                    break self.as_it_was(&row);
                }
                Err(error) => {
                    tracing::debug!(delivery = %row.delivery_id, %error, "trying again");
                    tokio::select! {
                        () = tokio::time::sleep(EVERY) => {}
                        () = stop.asked() => {}
                    }
                    if stop.is_asked() {
                        break self.as_it_was(&row);
                    }
                }
            }
        };
        let Queued { subscription_id, delivery_id, key, .. } = row;
        let settled = Settled { subscription_id, delivery_id, key, fate };
        drop(inside);
        // An error means that the service has ended; then the lease ends by itself.
        let _ = self.settled.write(settled).await;
    }

    /// It is somebody else's to do, now.
    fn as_it_was(&self, row: &Queued) -> Fate {
        let Queued { attempt, last_attempt, .. } = *row;
        Fate::Stays { attempt, last_attempt, due: Due::At(self.deliverer.now()) }
    }

    /// Does what is to be done with a row, and says what becomes of it.
    async fn fate(&self, row: &Queued, inside: &Inside, stop: &Stop) -> Result<Fate, HandlerError> {
        let deliverer = &self.deliverer;
        let record = wire::stored::decode(&row.record)?;
        let delivery = wire::delivery::decode(&record)?;
        let delivery = Delivery { attempt: row.attempt, ..delivery };
        let subscription = match deliverer.owed(&delivery).await? {
            Ok(subscription) => subscription,
            Err(outcome) => return self.end(&delivery, outcome, stop).await,
        };
        let Subscription { endpoint, .. } = &*subscription;
        let last_attempt = deliverer.policy.of(&endpoint.settings).max_attempts;
        let (now, end) = (deliverer.now(), end(row.enqueued_at, deliverer));
        match next(&subscription, (row.attempt, last_attempt), now, end) {
            Next::Sleep => {
                let due = Due::Asleep(end);
                return Ok(Fate::Stays { attempt: row.attempt, last_attempt, due });
            }
            Next::GiveUp(reason) => {
                return self.end(&delivery, Outcome::DeadLettered { reason }, stop).await;
            }
            Next::Send => {}
        }
        let stays = |attempt, at| Fate::Stays { attempt, last_attempt, due: Due::At(at) };
        match deliverer.attempt(&delivery, &endpoint.settings, inside, stop).await? {
            Err(wait) => Ok(stays(row.attempt, deliverer.now() + wait)),
            Ok(attempted) => {
                deliverer.settle_surely(&delivery, &attempted, Waits::InQueue, stop).await?;
                Ok(match attempted.decision.outcome {
                    Outcome::Retry { at } => stays(row.attempt + 1, at),
                    _ => Fate::Done,
                })
            }
        }
    }

    /// Nobody is asked any more.
    async fn end(
        &self,
        delivery: &Delivery,
        outcome: Outcome,
        stop: &Stop,
    ) -> Result<Fate, HandlerError> {
        let attempted = Attempted::not(outcome, self.deliverer.now());
        self.deliverer.settle_surely(delivery, &attempted, Waits::InQueue, stop).await?;
        Ok(Fate::Done)
    }
}

fn told<T>(result: Result<T, StoreError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "the queue does not answer")).ok()
}
