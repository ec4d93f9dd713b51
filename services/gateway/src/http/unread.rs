//! What a handler has left of a request's body.
//!
//! An answer that comes before the body was read (no key, no such path, too many requests) would
//! leave it in the connection, and hyper then closes an HTTP/1 connection without a word: the
//! client's next request on it is lost. So [`Watched`] keeps what was left, and after the handler
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

/// What is read away, more than the largest body that anything takes, and how long that may take.
/// (Whoever is cut off while they send may never read their answer.)
const BYTES: u64 = 8 << 20;
const TIME: Duration = Duration::from_secs(1);

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
pub(super) struct Left {
    slot: Option<Slot>,
    expects: bool,
}

impl Left {
    /// Has the request's body watched, where it matters.
    pub(super) fn watch(request: &mut Request) -> Self {
        // HTTP/2 resets one stream, and goes on.
        if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
            return Self { slot: None, expects: false };
        }
        let expects = request.headers().contains_key(header::EXPECT);
        let slot = Slot::default();
        let inner = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(Watched { inner, slot: Arc::clone(&slot) });
        Self { slot: Some(slot), expects }
    }

    pub(super) async fn settle(self, response: &mut Response) {
        let left =
            self.slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(left) = left else {
            return;
        };
        // Who asked whether to send (`Expect: 100-continue`) has sent nothing yet, and reading
        // would say yes.
        let worth_it = !self.expects && left.size_hint().lower() <= BYTES;
        if !worth_it || !matches!(tokio::time::timeout(TIME, discard(left)).await, Ok(true)) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
}
