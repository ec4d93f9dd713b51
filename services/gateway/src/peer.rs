//! Whether the other side of a connection still takes part.
//!
//! hyper bounds how long a request's head may take, and pings HTTP/2 peers. It waits for ever for
//! one who doesn't read, and at the end for one who has gone without a word. [`Peer`] is the
//! connection's stream: a write that can't go on for too long fails, and with it the connection.
//! It counts [`Signs`] of life, by which a connection that nothing is under way on can be given
//! up. [`Answering`] is an answer's body, under way until hyper has all of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How often something was read or written.
#[derive(Clone, Default)]
pub(crate) struct Signs(Arc<AtomicU64>);

impl Signs {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream to the other side.
pub(crate) struct Peer<S> {
    stream: S,
    /// How long a write may wait.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    signs: Signs,
}

impl<S> Peer<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None, signs: Signs::default() }
    }

    pub(crate) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            self.signs.one_more();
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(context).map(|()| {
            let told = format!("the other side read nothing for {} s", patience.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, told))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.signs.one_more();
        }
        read
    }
}

/// A write that waits is polled again when it can go on, or when the time is over. Nothing waits
/// in a flush or in the shutdown of TCP.
impl<S: AsyncWrite + Unpin> AsyncWrite for Peer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

pub(crate) struct Answering {
    body: Body,
    _under_way: TaskTrackerToken,
}

impl Answering {
    pub(crate) fn new(body: Body, under_way: TaskTrackerToken) -> Self {
        Self { body, _under_way: under_way }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_only_so_long_for_a_reader() {
        let patience = Duration::from_secs(30);
        let (near, mut far) = duplex(4);
        let mut peer = Peer::new(near, patience);
        let signs = peer.signs();
        // Who reads now and then, however little, is waited for.
        let slow = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(patience / 2).await;
                far.read_u8().await.unwrap();
            }
            far
        });
        peer.write_all(&[0; 12]).await.unwrap();
        let mut far = slow.await.unwrap();
        assert!(signs.count() > 0);
        let begun = tokio::time::Instant::now();
        let error = peer.write_all(&[0; 12]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, patience));
        // Reading goes on for as long as it takes.
        let before = signs.count();
        let reading = tokio::time::timeout(patience * 100, peer.read_u8()).await;
        assert!(reading.is_err() && signs.count() == before);
        far.write_all(&[1]).await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), 1);
        assert_eq!(signs.count(), before + 1);
    }
}
