//! How many connections there are at once, and how much a receiver may say before it is asked again.
//!
//! Each connection has a place until it is closed. While more than half of the places are taken, new
//! ones are closed after their first request instead of being kept for the next: so those that nobody
//! uses don't keep out those that somebody needs.
//!
//! Of an answer little is read, but what comes before it can be without end: informational answers
//! (1xx) one after the other, which the HTTP library reads for as long as they come, and as fast. So
//! each connection counts what it has read since it last wrote, and breaks off where no answer that
//! is of use is that long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connect::Failed;

/// Between two writes: headers, the part of a body that is read, what of it is on its way meanwhile,
/// and TLS around it. HTTP/2's windows are smaller.
const MOST: usize = 512 * 1_024;
/// Read at once, so that nobody who pours takes the thread for long.
const AT_ONCE: usize = 16 * 1_024;

/// A connector whose connections are counted and metered.
#[derive(Clone)]
pub(crate) struct Metering<C> {
    inner: C,
    places: Arc<Semaphore>,
    /// Fewer free places than this are few.
    few: usize,
}

impl<C> Metering<C> {
    pub(crate) fn new(inner: C, most: usize) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(most)), few: most / 2 }
    }
}

pub(crate) struct Metered<T> {
    inner: T,
    read: usize,
    /// For one request only.
    once: bool,
    _place: OwnedSemaphorePermit,
}

impl<C> tower::Service<Uri> for Metering<C>
where
    C: tower::Service<Uri, Error = Failed, Future: Send + 'static>,
{
    type Response = Metered<C::Response>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let (places, few) = (Arc::clone(&self.places), self.few);
        Box::pin(async move {
            let place = Arc::clone(&places).acquire_owned().await?;
            let once = places.available_permits() < few;
            Ok(Metered { inner: connecting.await?, read: 0, once, _place: place })
        })
    }
}

impl<T: Connection> Connection for Metered<T> {
    fn connected(&self) -> Connected {
        let connected = self.inner.connected();
        if self.once {
            connected.poison();
        }
        connected
    }
}

impl<T: Read + Unpin> Read for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= MOST {
            let told = format!("its answer has more than {} KiB", MOST / 1_024);
            return Poll::Ready(Err(io::Error::other(told)));
        }
        let mut bytes = [0; AT_ONCE];
        let room = into.remaining().min(AT_ONCE);
        let mut part = ReadBuf::new(&mut bytes[..room]);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, part.unfilled()))?;
        into.put_slice(part.filled());
        self.read += part.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.read = 0;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.read = 0;
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
