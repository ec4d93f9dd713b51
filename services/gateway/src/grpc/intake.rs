//! What comes in: the body of each call, watched while tonic reads messages from it.
//!
//! tonic bounds the size of a message, and no more: whoever sends 6 MB but for the last byte has
//! them in memory for as long as they like. So [`Intake`] follows the frames ("Length-Prefixed-
//! Message" of gRPC over HTTP/2) and sees to it that
//! - a message that is too large is refused by its announcement, before it is buffered;
//! - what has arrived of a message has its [`Room`], as a body over HTTP has, and hands it over to
//!   the one who answers ([`Kept`]);
//! - it is not waited for longer than `body_timeout`: from a message's first byte to its last, or
//!   in a call that has one message for all of it. A stream may be idle between messages;
//! - a call that has one message gets one (gRPC's statuscodes.md: else UNIMPLEMENTED).
//!
//! The messages of a PublishStream go around tonic, whose buffer keeps the size of the largest one
//! until the stream ends (100 idle streams: 580 MB): they wait among what is [`Kept`], and tonic
//! gets an empty one for each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::status;
use crate::problem::{Kind, Problem};
use crate::room::{Held, Room};

/// A message that has come, and the room that it takes.
pub(super) struct Arrived {
    /// Empty, where tonic has it.
    pub(super) bytes: Bytes,
    pub(super) room: Held,
}

/// Messages that have arrived and are not answered, in their order.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<VecDeque<Arrived>>>);

impl Kept {
    pub(super) fn next(&self) -> Option<Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn keep(&self, arrived: Arrived) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(arrived);
    }
}

/// How a call's messages come.
#[derive(Clone)]
pub(super) enum Messages {
    One,
    /// To be taken from what is [`Kept`].
    Many,
    /// As many as come until the server drains.
    UntilDrained(CancellationToken),
}

/// What a call may send.
#[derive(Clone)]
pub(super) struct Allowance {
    pub(super) room: Room,
    /// The size of a message, at most.
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

pub(super) struct Intake {
    body: Body,
    allowance: Allowance,
    one: bool,
    /// Whether messages go around tonic.
    around: bool,
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Where messages don't outlive their reading: none, and their room is given back at once.
    kept: Option<Kept>,
    frames: Frames,
    /// Whole ones.
    messages: usize,
    held: Held,
    message: BytesMut,
    waiting: Option<Pin<Box<Sleep>>>,
    refusal: Option<Status>,
    ended: bool,
}

impl Intake {
    pub(super) fn new(
        body: Body,
        allowance: Allowance,
        messages: Messages,
        kept: Option<Kept>,
    ) -> Self {
        let one = matches!(messages, Messages::One);
        let around = matches!(messages, Messages::Many);
        let drained = match messages {
            Messages::UntilDrained(draining) => Some(Box::pin(draining.cancelled_owned())),
            Messages::One | Messages::Many => None,
        };
        Self {
            body,
            allowance,
            one,
            around,
            drained,
            kept,
            frames: Frames::default(),
            messages: 0,
            held: Held::default(),
            message: BytesMut::new(),
            waiting: None,
            refusal: None,
            ended: false,
        }
    }

    /// Adds to `heads` what tonic gets for messages that go around it.
    fn count(&mut self, mut data: &[u8], heads: &mut Vec<u8>) -> Result<(), Status> {
        loop {
            let before = data;
            let Some(seen) = self.frames.next(&mut data) else {
                return Ok(());
            };
            match seen {
                Seen::Message { .. } if self.one && self.messages > 0 => return Err(not_one()),
                Seen::Message { bytes } if bytes > self.allowance.bytes => {
                    let limit = self.allowance.bytes;
                    let detail =
                        format!("A message is at most {limit} bytes; this one has {bytes}.");
                    return Err(status::of(&Problem::new(Kind::TooLarge, detail)));
                }
                Seen::Message { bytes } if self.around => {
                    // Address space, until bytes come.
                    self.message = BytesMut::with_capacity(bytes);
                }
                Seen::Message { .. } => {}
                Seen::Bytes { so_far } => {
                    let grown = self.held.grow(&self.allowance.room, so_far);
                    grown.map_err(|problem| status::of(&problem))?;
                    if self.around {
                        self.message.extend_from_slice(&before[..before.len() - data.len()]);
                    }
                }
                Seen::End => {
                    self.messages += 1;
                    let room = std::mem::take(&mut self.held);
                    let bytes = std::mem::take(&mut self.message).freeze();
                    if let Some(kept) = &self.kept {
                        kept.keep(Arrived { bytes, room });
                    }
                    if self.around {
                        // The flag, and no length: what it says is tonic's to judge.
                        heads.extend([self.frames.head[0], 0, 0, 0, 0]);
                    }
                    if !self.one {
                        self.waiting = None;
                    }
                }
            }
        }
    }

    fn finish(&self) -> Option<Status> {
        if self.frames.is_within() {
            let detail = "The body broke off in the middle of a message.";
            return Some(status::of(&Problem::new(Kind::MalformedBody, detail)));
        }
        (self.one && self.messages != 1).then(not_one)
    }

    /// Whether nothing more is waited for: with a reason, where something should have come.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Option<Status>> {
        if self.one || self.frames.is_within() {
            let time = self.allowance.time;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            ready!(waiting.as_mut().poll(context));
            let detail = format!("The message did not arrive within {} s.", time.as_secs());
            return Poll::Ready(Some(status::of(&Problem::new(Kind::Timeout, detail))));
        }
        match &mut self.drained {
            Some(drained) => drained.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }
}

fn not_one() -> Status {
    Status::unimplemented("This method takes exactly one message.")
}

impl HttpBody for Intake {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let refusal = loop {
            if let Some(refusal) = self.refusal.take() {
                break Some(refusal);
            }
            // Bytes first: the time is over when they are waited for in vain.
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                // The connection broke off, or the caller took the call back.
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => break self.finish(),
                Poll::Pending => break ready!(self.poll_patience(context)),
            };
            let Some(data) = frame.data_ref() else {
                return Poll::Ready(Some(Ok(frame)));
            };
            let mut heads = Vec::new();
            // What has come whole before it is answered first.
            self.refusal = self.count(data, &mut heads).err();
            if !self.around && self.refusal.is_none() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if !heads.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(heads.into()))));
            }
        };
        self.ended = true;
        Poll::Ready(refusal.map(|status| Err(axum::Error::new(status))))
    }
}

/// A flag and a length stand before each message.
const HEAD: usize = 5;

/// Where the end of what has come is in its frame.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head, and of the message behind it, that have come.
    heads: usize,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A message of so many bytes is announced.
    Message {
        bytes: usize,
    },
    /// So much of it has come.
    Bytes {
        so_far: usize,
    },
    End,
}

impl Frames {
    /// Goes on in `data`, up to what is worth telling.
    fn next(&mut self, data: &mut &[u8]) -> Option<Seen> {
        if self.heads < HEAD {
            let missing = &mut self.head[self.heads..];
            let come = missing.len().min(data.len());
            missing[..come].copy_from_slice(&data[..come]);
            (self.heads, *data) = (self.heads + come, &data[come..]);
            return (self.heads == HEAD).then(|| Seen::Message { bytes: self.announced() });
        }
        let missing = self.announced() - self.bytes;
        if missing == 0 {
            (self.heads, self.bytes) = (0, 0);
            return Some(Seen::End);
        }
        let come = missing.min(data.len());
        (self.bytes, *data) = (self.bytes + come, &data[come..]);
        (come > 0).then_some(Seen::Bytes { so_far: self.bytes })
    }

    fn announced(&self) -> usize {
        let [_, length @ ..] = self.head;
        u32::from_be_bytes(length) as usize
    }

    fn is_within(&self) -> bool {
        self.heads > 0
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt as _;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;

    const TIME: Duration = Duration::from_secs(20);
    const LIMIT: usize = 8 << 10;

    fn message(bytes: usize) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        frame.extend(vec![b'x'; bytes]);
        frame
    }

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let whole = [message(3), message(0), message(1)].concat();
        for size in 1..=whole.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for mut data in whole.chunks(size) {
                seen.extend(std::iter::from_fn(|| frames.next(&mut data)));
            }
            seen.retain(|seen| !matches!(seen, Seen::Bytes { so_far } if *so_far < 3));
            let announced = |bytes| Seen::Message { bytes };
            let told = [announced(3), Seen::Bytes { so_far: 3 }, Seen::End];
            let told = told.into_iter().chain([announced(0), Seen::End, announced(1), Seen::End]);
            assert_eq!(seen, told.collect::<Vec<_>>(), "in pieces of {size}");
            assert!(!frames.is_within());
        }
    }

    /// An intake, what feeds it, and its room of `room` bytes.
    struct Fed {
        pieces: Option<mpsc::Sender<Vec<u8>>>,
        intake: Intake,
        room: Room,
        kept: Kept,
    }

    impl Fed {
        fn new(messages: Messages, room: usize) -> Self {
            let (pieces, stream) = mpsc::channel::<Vec<u8>>(64);
            let stream = ReceiverStream::new(stream)
                .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
            let (room, kept) = (Room::of(room), Kept::default());
            let allowance = Allowance { room: room.clone(), bytes: LIMIT, time: TIME };
            let body = Body::new(StreamBody::new(stream));
            let intake = Intake::new(body, allowance, messages, Some(kept.clone()));
            Self { pieces: Some(pieces), intake, room, kept }
        }

        /// What is read after `piece` has come.
        async fn after(&mut self, piece: impl Into<Vec<u8>>) -> Result<usize, Code> {
            self.pieces.as_ref().unwrap().send(piece.into()).await.unwrap();
            self.read().await
        }

        /// That nothing is read when `piece` has come.
        async fn silent_after(&mut self, piece: impl Into<Vec<u8>>) {
            let read = tokio::time::timeout(TIME / 20, self.after(piece)).await;
            assert!(read.is_err(), "{read:?}");
        }

        async fn end(&mut self) -> Result<usize, Code> {
            self.pieces = None;
            self.read().await
        }

        async fn read(&mut self) -> Result<usize, Code> {
            match self.intake.frame().await {
                Some(Ok(frame)) => Ok(frame.into_data().unwrap().len()),
                Some(Err(error)) => Err(Status::from_error(error.into()).code()),
                None => Ok(0),
            }
        }

        fn is_full(&self) -> bool {
            Held::default().grow(&self.room, 1).is_err()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_refused_by_its_announcement() {
        let mut fed = Fed::new(Messages::One, 1 << 20);
        assert_eq!(fed.after(&message(LIMIT + 1)[..HEAD]).await, Err(Code::ResourceExhausted));
        assert_eq!(fed.read().await, Ok(0), "nothing comes after that");
        let mut fed = Fed::new(Messages::One, 1 << 20);
        assert_eq!(fed.after(message(LIMIT)).await, Ok(HEAD + LIMIT));
        assert_eq!(fed.end().await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_takes_room_until_it_is_answered() {
        let mut fed = Fed::new(Messages::Many, 4 << 10);
        let whole = message(4 << 10);
        let (first, last) = whole.split_at(3 << 10);
        fed.silent_after(first).await;
        assert!(!fed.is_full(), "only what has come is counted");
        assert_eq!(fed.after(last).await, Ok(HEAD), "it goes around tonic");
        assert!(fed.is_full(), "until it is answered");
        assert_eq!(fed.kept.next().unwrap().bytes, whole[HEAD..]);
        assert!(!fed.is_full());
        // One piece, several messages: each has its own.
        assert_eq!(fed.after([message(2 << 10), message(2 << 10)].concat()).await, Ok(2 * HEAD));
        assert!(fed.is_full());
        let first = fed.kept.next();
        assert!(first.is_some() && fed.kept.next().is_some() && fed.kept.next().is_none());
        drop(first);
        // What is whole is answered before what is refused.
        assert_eq!(fed.after([message(2 << 10), message(3 << 10)].concat()).await, Ok(HEAD));
        assert_eq!(fed.read().await, Err(Code::Unavailable));
        // What tonic gets, it may judge: this says that it is compressed.
        let mut fed = Fed::new(Messages::Many, 4 << 10);
        let flagged = [&[1][..], &message(1)[1..]].concat();
        fed.pieces.as_ref().unwrap().send(flagged).await.unwrap();
        let frame = fed.intake.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), [1, 0, 0, 0, 0][..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_waited_for_only_so_long_and_the_next_one_for_ever() {
        let mut fed = Fed::new(Messages::Many, 1 << 20);
        let idle = tokio::time::timeout(TIME * 100, fed.read()).await;
        assert!(idle.is_err(), "before the first message: {idle:?}");
        assert_eq!(fed.after(message(1)).await, Ok(HEAD));
        let idle = tokio::time::timeout(TIME * 100, fed.read()).await;
        assert!(idle.is_err(), "between two: {idle:?}");
        // A byte now and then doesn't help.
        for byte in message(30) {
            if let Ok(ended) = tokio::time::timeout(TIME / 10, fed.after([byte])).await {
                return assert_eq!(ended, Err(Code::DeadlineExceeded));
            }
        }
        panic!("it was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_one_message_within_its_time() {
        let mut silent = Fed::new(Messages::One, 1 << 20);
        assert_eq!(silent.read().await, Err(Code::DeadlineExceeded));
        // tonic waits for the end of the body before it answers.
        let mut open = Fed::new(Messages::One, 1 << 20);
        assert_eq!(open.after(message(1)).await, Ok(6));
        assert_eq!(open.read().await, Err(Code::DeadlineExceeded));
        let mut two = Fed::new(Messages::One, 1 << 20);
        assert_eq!(two.after([message(1), message(1)].concat()).await, Err(Code::Unimplemented));
        let mut none = Fed::new(Messages::One, 1 << 20);
        assert_eq!(none.end().await, Err(Code::Unimplemented));
        let mut half = Fed::new(Messages::Many, 1 << 20);
        half.silent_after(&message(9)[..7]).await;
        assert_eq!(half.end().await, Err(Code::InvalidArgument));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_stream_between_messages() {
        let draining = CancellationToken::new();
        let mut fed = Fed::new(Messages::UntilDrained(draining.clone()), 1 << 20);
        let whole = message(2);
        assert_eq!(fed.after(&whole[..3]).await, Ok(3));
        draining.cancel();
        assert_eq!(fed.after(&whole[3..]).await, Ok(4), "what has begun is read");
        assert_eq!(fed.read().await, Ok(0));
    }
}
