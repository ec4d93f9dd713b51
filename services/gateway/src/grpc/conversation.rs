//! How a stream of messages is answered: what is read, in which order it is begun, how much at
//! once, and how it ends. What a message is and what becomes of it is the caller's.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Fuse, FusedFuture as _, FutureExt as _};
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::late;

pub(super) struct Conversation {
    /// Messages that may be under way at once.
    pub(super) limit: usize,
    pub(super) deadline: Option<Duration>,
    /// How long an answer may wait to be read.
    pub(super) patience: Duration,
    pub(super) draining: CancellationToken,
}

impl Conversation {
    /// Reads messages and answers each, until the client has no more, or the server drains: then
    /// everything that was read is answered before the stream ends.
    ///
    /// One after the other they are admitted (`admit`), and then begun (`answer`), while those
    /// before them are answered. A status from `admit` ends the stream.
    pub(super) async fn hold<M, P, A, Admitted, Answer>(
        &self,
        mut incoming: impl Stream<Item = Result<M, Status>> + Unpin,
        admit: impl Fn() -> Admitted,
        answer: impl Fn(M, P) -> Answer,
        answers: &mpsc::Sender<Result<A, Status>>,
    ) -> Result<(), Status>
    where
        Admitted: Future<Output = Result<P, Status>>,
        Answer: Future<Output = A>,
    {
        let forever = Duration::from_hours(24 * 365);
        let mut expired = pin!(tokio::time::sleep(self.deadline.unwrap_or(forever)));
        let mut under_way = FuturesUnordered::new();
        let admission = |message: M| {
            let admitted = admit();
            async move { (message, admitted.await) }.fuse()
        };
        // At most one: so they are begun in their order.
        let mut admitting = pin!(Fuse::terminated());
        // How the stream ends, once it is not read any more.
        let mut ending: Option<Result<(), Status>> = None;
        loop {
            let none_waits = admitting.is_terminated();
            if let Some(end) = &ending
                && none_waits
                && under_way.is_empty()
            {
                return end.clone();
            }
            let reads = ending.is_none() && none_waits && under_way.len() < self.limit;
            tokio::select! {
                // Answers first: they make room.
                biased;
                () = expired.as_mut() => return Err(late()),
                Some(answer) = under_way.next() => {
                    // Who doesn't listen is waited for, and not read meanwhile.
                    let sent = tokio::select! {
                        sent = answers.send_timeout(Ok(answer), self.patience) => sent,
                        () = expired.as_mut() => return Err(late()),
                    };
                    match sent {
                        Ok(()) => {}
                        Err(SendTimeoutError::Timeout(_)) => return Err(unread(self.patience)),
                        Err(SendTimeoutError::Closed(_)) => return Ok(()),
                    }
                }
                (message, admitted) = admitting.as_mut() => match admitted {
                    Ok(admitted) => under_way.push(answer(message, admitted)),
                    Err(status) => ending = Some(Err(status)),
                },
                () = self.draining.cancelled(), if ending.is_none() => {
                    ending = Some(Err(Status::unavailable("The server is going away; open the stream anew.")));
                }
                message = incoming.next(), if reads => match message {
                    Some(Ok(message)) => admitting.set(admission(message)),
                    None => ending = Some(Ok(())),
                    Some(Err(status)) if status.code() == Code::Cancelled => ending = Some(Ok(())),
                    Some(Err(status)) => ending = Some(Err(status)),
                },
            }
        }
    }
}

fn unread(patience: Duration) -> Status {
    let seconds = patience.as_secs();
    Status::deadline_exceeded(format!(
        "Answers were not read for {seconds} s. Whether the last events were accepted is unknown."
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::{pending, ready};

    use futures::stream;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn conversation(limit: usize) -> Conversation {
        let draining = CancellationToken::new();
        Conversation { limit, deadline: None, patience: 30 * SECOND, draining }
    }

    async fn after<T>(time: Duration, done: T) -> T {
        tokio::time::sleep(time).await;
        done
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_out_while_the_next_message_waits_to_be_admitted() {
        let (answers, mut told) = mpsc::channel(4);
        let (asked, conversation) = (Cell::new(0), conversation(4));
        let admit = || {
            asked.set(asked.get() + 1);
            let first = asked.get() == 1;
            async move { if first { Ok(()) } else { pending().await } }
        };
        let answer = |message, ()| after(SECOND, message);
        let incoming = stream::iter([Ok(1), Ok(2), Ok(3)]);
        let held = conversation.hold(incoming, admit, answer, &answers);
        let ended = tokio::time::timeout(10 * SECOND, held).await;
        assert!(ended.is_err(), "the second is still waited for: {ended:?}");
        assert_eq!(told.try_recv().unwrap().unwrap(), 1);
        assert_eq!(asked.get(), 2, "one after the other");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_begun_in_their_order_and_only_so_many_at_once() {
        const MESSAGES: u64 = 50;
        let (answers, mut told) = mpsc::channel(100);
        let (begun, open, most) = (RefCell::new(Vec::new()), Cell::new(0), Cell::new(0));
        let asked = Cell::new(0);
        // The later ones are admitted faster.
        let admit = || {
            asked.set(asked.get() + 1);
            after(Duration::from_millis(MESSAGES - asked.get()), Ok(asked.get()))
        };
        let answer = |message: u64, admitted: u64| {
            assert_eq!(message, admitted, "each is admitted for itself");
            begun.borrow_mut().push(message);
            open.set(open.get() + 1);
            most.set(most.get().max(open.get()));
            let open = &open;
            async move {
                tokio::time::sleep(SECOND).await;
                open.set(open.get() - 1);
                message
            }
        };
        let incoming = stream::iter((1..=MESSAGES).map(Ok));
        conversation(3).hold(incoming, admit, answer, &answers).await.unwrap();
        assert!(begun.borrow().is_sorted() && begun.borrow().len() as u64 == MESSAGES);
        assert_eq!(most.get(), 3);
        told.close();
        assert_eq!(told.len() as u64, MESSAGES);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_their_answers_is_waited_for_only_so_long() {
        let (answers, _told) = mpsc::channel(2);
        let begun = tokio::time::Instant::now();
        let (admit, answer) = (|| ready(Ok(())), |message, ()| ready(message));
        let incoming = stream::iter([Ok(1), Ok(2), Ok(3)]);
        let held = conversation(4).hold(incoming, admit, answer, &answers).await;
        assert_eq!(held.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed(), 30 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_what_was_read_is_answered() {
        let unavailable = || Status::unavailable("");
        for (drained, refused, failed, answered, code) in [
            (false, false, false, 2, None),
            (true, false, false, 1, Some(Code::Unavailable)),
            (false, true, false, 0, Some(Code::Unauthenticated)),
            (false, false, true, 2, Some(Code::Unavailable)),
        ] {
            let (answers, told) = mpsc::channel(4);
            let conversation = conversation(4);
            let admit = || {
                let result = if refused { Err(Status::unauthenticated("")) } else { Ok(()) };
                if drained {
                    conversation.draining.cancel();
                }
                after(SECOND, result)
            };
            let answer = |message, ()| ready(message);
            let mut messages = vec![Ok(1), Ok(2)];
            messages.extend(failed.then(|| Err(unavailable())));
            let held = conversation.hold(stream::iter(messages), admit, answer, &answers).await;
            assert_eq!(held.err().map(|status| status.code()), code);
            assert_eq!(told.len(), answered);
        }
    }
}
