//! The time, for those who wait for hours and days: a test may put it forward.
//!
//! Nobody waits twelve hours to see that a retry comes after twelve hours. A [`Clock`] that
//! follows a file is ahead of the machine's clock by what stands in it (`12h`); whoever sleeps by
//! this clock wakes when the file says that the time has come.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::config::duration;

/// How often the file is read.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct Clock {
    ahead: watch::Receiver<Duration>,
    /// Kept, so that the receiver has somebody to wait for.
    moved: Arc<watch::Sender<Duration>>,
}

impl Clock {
    /// The machine's own.
    pub fn system() -> Self {
        let (moved, ahead) = watch::channel(Duration::ZERO);
        Self { ahead, moved: Arc::new(moved) }
    }

    /// Ahead of the machine's clock by what `file` says, whenever it is written; for tests. It
    /// never goes back. Called inside a tokio runtime.
    pub fn following(file: PathBuf) -> Self {
        let clock = Self::system();
        let moved = Arc::clone(&clock.moved);
        tokio::spawn(async move {
            tracing::warn!(file = %file.display(), "the clock follows a file: this is a test");
            loop {
                let read = tokio::fs::read_to_string(&file).await.unwrap_or_default();
                if let Some(ahead) = duration::parse(read.trim()) {
                    moved.send_if_modified(|known| {
                        let later = ahead > *known;
                        *known = ahead.max(*known);
                        later
                    });
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        clock
    }

    pub fn now(&self) -> OffsetDateTime {
        self.of(OffsetDateTime::now_utc())
    }

    /// What this clock said when the machine's said `at`, as far as is known: that it has not been
    /// put forward since.
    pub fn of(&self, at: OffsetDateTime) -> OffsetDateTime {
        at + *self.ahead.borrow()
    }

    pub fn instant(&self) -> Instant {
        Instant::now() + *self.ahead.borrow()
    }

    pub async fn sleep(&self, time: Duration) {
        let until = self.instant() + time;
        let mut ahead = self.ahead.clone();
        loop {
            ahead.borrow_and_update();
            let left = until.saturating_duration_since(self.instant());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender lives as long as the clock.
                _ = ahead.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sleeps_wakes_when_the_clock_is_put_forward() {
        let clock = Clock::system();
        let before = (clock.now(), clock.instant());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_hours(12)).await }
        });
        // It falls asleep before the clock is put forward.
        tokio::task::yield_now().await;
        clock.moved.send_replace(Duration::from_hours(11));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished(), "an hour is left");
        clock.moved.send_replace(Duration::from_hours(13));
        sleeper.await.unwrap();
        assert!(clock.now() - before.0 >= Duration::from_hours(13));
        assert!(clock.instant() - before.1 >= Duration::from_hours(13));
    }

    #[tokio::test]
    async fn a_file_moves_the_clock_and_never_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let clock = Clock::following(file.clone());
        let start = clock.now();
        std::fs::write(&file, "5d\n").unwrap();
        clock.sleep(Duration::from_hours(100)).await;
        std::fs::write(&file, "1d").unwrap();
        clock.sleep(LOOK * 3).await;
        assert!(clock.now() - start >= Duration::from_hours(120));
    }
}
