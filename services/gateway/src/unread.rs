//! What a handler has left of a request's body.
//!
//! An answer that comes before the body was read (no key, no such path, too many requests) would
//! leave it in the connection, and hyper then closes an HTTP/1 connection without a word: the
//! client's next request on it is lost. HTTP/2 resets the one stream, whose answer some clients
//! then throw away (curl 7.88: 4 % of them), though RFC 9113 §8.1 forbids it. So [`Watched`] keeps what was left, and after the handler
//! [`Left::settle`] reads a little of it away, or has the answer say that the connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// What is read away: more than the largest body that anything takes. (Whoever is cut off while
/// they send may never read their answer.)
const BYTES: u64 = 8 << 20;

type Slot = Arc<Mutex<Option<Body>>>;

/// A body that is put back when it is dropped before its end.
struct Watched {
    inner: Body,
    slot: Slot,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.inner.is_end_stream() {
            let inner = std::mem::take(&mut self.inner);
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
        }
    }
}

/// Whether the body came to its end.
async fn discard(mut body: Body) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > BYTES {
            return false;
        }
    }
    true
}

/// What will be left of a request's body.
pub(crate) struct Left {
    slot: Option<Slot>,
    expects: bool,
    version: Version,
}

impl Left {
    /// Has the request's body watched, where it has one.
    pub(crate) fn watch(request: &mut Request) -> Self {
        let version = request.version();
        if request.body().is_end_stream() {
            return Self { slot: None, expects: false, version };
        }
        let expects = request.headers().contains_key(header::EXPECT);
        let slot = Slot::default();
        let inner = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(Watched { inner, slot: Arc::clone(&slot) });
        Self { slot: Some(slot), expects, version }
    }

    pub(crate) async fn settle(self, time: Duration, response: &mut Response) {
        let left =
            self.slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(left) = left else {
            return;
        };
        // Who asked whether to send (`Expect: 100-continue`) has sent nothing yet, and reading
        // would say yes.
        let worth_it = !self.expects && left.size_hint().lower() <= BYTES;
        let read = worth_it && matches!(tokio::time::timeout(time, discard(left)).await, Ok(true));
        // HTTP/2 goes on without the one stream.
        if !read && self.version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
}
