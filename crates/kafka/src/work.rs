//! One record being worked on: its handler is called until it has done what the record asks for, or is
//! told to stop. A record that no handler can read, or that makes one panic, goes to `events.dlq`.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rand::RngExt as _;
use time::OffsetDateTime;
use triggerline_wire::{Record, dead_record};

use crate::consumer::{Consumed, Handler, HandlerError};
use crate::lane::Lane;
use crate::{ProduceError, Producer};

/// One record being worked on.
pub(crate) struct Work<H> {
    pub(crate) lane: Arc<Lane>,
    pub(crate) consumed: Consumed,
    pub(crate) handler: Arc<H>,
    pub(crate) group: &'static str,
    pub(crate) dead_letters: Producer,
    pub(crate) dead_letter_topic: Arc<str>,
}

impl<H: Handler> Work<H> {
    pub(crate) async fn run(self) {
        let lane = Arc::clone(&self.lane);
        let offset = self.consumed.offset;
        tokio::select! {
            done = self.until_done() => if done { lane.finish(offset) } else { lane.give_up() },
            () = lane.stop.abandoned.cancelled() => lane.give_up(),
        }
    }

    /// `true` when the record is done with, `false` when told to stop before.
    async fn until_done(&self) -> bool {
        for tried in 0.. {
            let handled = AssertUnwindSafe(self.handler.handle(&self.consumed, &self.lane.stop));
            let result = match handled.catch_unwind().await {
                Ok(Err(HandlerError::Poison(cause))) => self.bury(&cause).await,
                Ok(result) => result,
                // A record that makes us panic once would do so for ever.
                Err(panic) => self.bury(&format!("the handler panicked: {}", told(&*panic))).await,
            };
            match result {
                Ok(()) => {
                    self.consumed.turn.pass();
                    return true;
                }
                Err(HandlerError::Stopped) => return false,
                Err(HandlerError::Again(reason) | HandlerError::Poison(reason)) => {
                    // Every record of a partition may say the same: the first tells, the rest
                    // are for whoever asks.
                    if tried == 3 {
                        tracing::warn!(group = self.group, at = %self, reason, "still trying");
                    } else {
                        tracing::debug!(group = self.group, at = %self, reason, "trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff(tried)) => {}
                () = self.lane.stop.asked() => return false,
            }
        }
        false
    }

    async fn bury(&self, cause: &str) -> Result<(), HandlerError> {
        let origin = dead_record::Origin {
            topic: &self.lane.topic,
            partition: self.consumed.partition,
            offset: self.consumed.offset,
        };
        let now = OffsetDateTime::now_utc();
        let cause = start_of(cause);
        let encode = |record| dead_record::encode(record, origin, self.group, cause, now);
        let dead = encode(&self.consumed.record);
        match self.dead_letters.send(&self.dead_letter_topic, &dead).await {
            // Where it stood and what is wrong with it are told at least.
            Err(ProduceError::TooLarge) => {
                let stub = encode(&Record::default());
                self.dead_letters.send(&self.dead_letter_topic, &stub).await?;
            }
            result => {
                result?;
            }
        }
        tracing::warn!(group = self.group, at = %self, cause, "a record went to events.dlq");
        Ok(())
    }
}

impl<H> fmt::Display for Work<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Consumed { partition, offset, .. } = self.consumed;
        write!(f, "{}[{partition}]@{offset}", self.lane.topic)
    }
}

fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// A cause may quote what was found; this much of it is enough to tell.
fn start_of(cause: &str) -> &str {
    &cause[..cause.floor_char_boundary(1_024)]
}

/// 100 ms, doubled each time up to 5 s, and up to half as much again at random, so that a
/// store that comes back isn't met by everyone at once.
fn backoff(tried: u32) -> Duration {
    let base = Duration::from_millis(100 << tried.min(6)).min(Duration::from_secs(5));
    base + base.mul_f64(rand::rng().random_range(0.0..0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_cap() {
        for (tried, from, to) in
            [(0, 100, 150), (1, 200, 300), (6, 5_000, 7_500), (90, 5_000, 7_500)]
        {
            let waited = backoff(tried).as_millis();
            assert!((from..=to).contains(&waited), "after {tried} tries: {waited} ms");
        }
    }
}
