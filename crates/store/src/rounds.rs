//! Many callers, one question at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::StoreError;

/// The rounds of one question. However many ask at once, the store is asked at most twice: by
/// the round under way, which may have begun too early for them, and by the next, whose answer
/// they share.
pub(crate) struct Rounds {
    /// The last one that ended. Held while the store is asked.
    last: Mutex<Round>,
    /// The number of the last one that began.
    begun: AtomicU64,
}

struct Round {
    number: u64,
    answer: Result<(), StoreError>,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        let last = Mutex::new(Round { number: 0, answer: Ok(()) });
        Self { last, begun: AtomicU64::new(0) }
    }

    /// The answer of a round that began after the call; `ask` is only begun where it is the
    /// caller's turn to.
    pub(crate) async fn join(
        &self,
        ask: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let too_early = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number <= too_early {
            // A round whose caller goes away has begun but never ends: others begin their own.
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = ask.await;
            *last = Round { number, answer };
        }
        last.answer.as_ref().copied().map_err(StoreError::retold)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// A store that answers once it is let, and counts.
    struct Asked {
        rounds: Rounds,
        let_go: Semaphore,
        times: AtomicU64,
    }

    impl Asked {
        async fn join(&self) -> Result<(), StoreError> {
            let ask = async {
                let times = self.times.fetch_add(1, Ordering::SeqCst) + 1;
                self.let_go.acquire().await.unwrap().forget();
                if times % 2 == 1 { Ok(()) } else { Err(StoreError::Address("no".to_owned())) }
            };
            self.rounds.join(ask).await
        }
    }

    #[tokio::test]
    async fn callers_during_a_round_share_the_next() {
        let asked =
            Asked { rounds: Rounds::new(), let_go: Semaphore::new(0), times: AtomicU64::new(0) };
        let asked = Arc::new(asked);
        let mut first = std::pin::pin!(asked.join());
        assert!(futures::poll!(&mut first).is_pending());
        let mut others = std::pin::pin!(join_all((0..50).map(|_| asked.join())));
        assert!(futures::poll!(&mut others).is_pending());
        asked.let_go.add_permits(1);
        first.await.unwrap();
        assert!(futures::poll!(&mut others).is_pending(), "the first began too early for them");
        asked.let_go.add_permits(1);
        let answers = others.await;
        assert!(answers.iter().all(Result::is_err), "an error is shared too");
        assert_eq!(asked.times.load(Ordering::SeqCst), 2);

        asked.let_go.add_permits(1);
        asked.join().await.unwrap();
        assert_eq!(asked.times.load(Ordering::SeqCst), 3, "who comes later asks anew");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_round_to_the_next() {
        let asked =
            Asked { rounds: Rounds::new(), let_go: Semaphore::new(0), times: AtomicU64::new(0) };
        let mut gone = Box::pin(asked.join());
        assert!(futures::poll!(&mut gone).is_pending());
        let mut stays = std::pin::pin!(asked.join());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        asked.let_go.add_permits(1);
        assert!(stays.await.is_err(), "of the second, which was asked");
        assert_eq!(asked.times.load(Ordering::SeqCst), 2);
    }
}
