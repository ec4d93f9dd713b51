//! Gathering facts into transactions.
//!
//! One task owns the store's write side. While it waits for a transaction, further facts
//! queue up, and the next transaction takes them all: batches grow with the load and add no
//! delay without it. Memory is bounded by the consumer's windows, because every fact here
//! belongs to a record in one.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use triggerline_kafka::HandlerError;
use triggerline_store::{EventStore, Retention, StoreError};
use triggerline_types::Fact;

use crate::metrics::Batches;
use crate::retention::Known;

type Answer = oneshot::Sender<Result<(), HandlerError>>;

pub(crate) struct Batcher {
    queue: mpsc::UnboundedSender<(Fact, Answer)>,
}

impl Batcher {
    pub(crate) fn start(
        store: Arc<dyn EventStore>,
        retention: Known,
        batch_records: usize,
    ) -> Self {
        let (queue, facts) = mpsc::unbounded_channel();
        tokio::spawn(run(store, facts, retention, batch_records.max(1)));
        Self { queue }
    }

    /// Returns when the fact is durable.
    pub(crate) async fn keep(&self, fact: Fact) -> Result<(), HandlerError> {
        let gone = || HandlerError::Again("the writer of the event store has ended".to_owned());
        let (answer, kept) = oneshot::channel();
        self.queue.send((fact, answer)).map_err(|_| gone())?;
        kept.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Ends when the last [`Batcher`] is gone.
async fn run(
    store: Arc<dyn EventStore>,
    mut queue: mpsc::UnboundedReceiver<(Fact, Answer)>,
    retention: Known,
    batch_records: usize,
) {
    let batches = Batches::new();
    let mut batch = Vec::with_capacity(batch_records);
    while queue.recv_many(&mut batch, batch_records).await > 0 {
        let (facts, answers): (Vec<Fact>, Vec<Answer>) = batch.drain(..).unzip();
        let retention = Arc::clone(&retention.borrow());
        let began = Instant::now();
        let stored = store.apply(&facts, &retention).await;
        match &stored {
            Ok(()) => batches.stored(facts.len(), began.elapsed()),
            Err(_) => batches.failed(),
        }
        match stored {
            Ok(()) => {
                for answer in answers {
                    let _ = answer.send(Ok(()));
                }
            }
            Err(error) if !matches!(error, StoreError::Failed { .. }) => {
                for answer in answers {
                    let _ = answer.send(Err(HandlerError::again(&error)));
                }
            }
            // One fact may be what the store refuses: alone, it fails alone.
            Err(_) => {
                for (fact, answer) in facts.iter().zip(answers) {
                    let began = Instant::now();
                    let kept = keep_one(&*store, fact, &retention).await;
                    if kept.is_ok() {
                        batches.stored(1, began.elapsed());
                    }
                    let _ = answer.send(kept);
                }
            }
        }
    }
}

async fn keep_one(
    store: &dyn EventStore,
    fact: &Fact,
    retention: &Retention,
) -> Result<(), HandlerError> {
    match store.apply(std::slice::from_ref(fact), retention).await {
        Ok(()) => Ok(()),
        // The store's last word on this one fact.
        Err(error @ StoreError::Failed { .. }) => Err(HandlerError::poison(&error)),
        Err(error) => Err(HandlerError::again(&error)),
    }
}
