//! What stands around every call, those that need no key and those that aren't there too: it is
//! named, logged with its gRPC status, and turned away where it is no gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status};

use crate::Shared;
use crate::access::Entry;
use crate::unread::Left;

/// How long reading away what is left of a refused call may take. It may be a stream that doesn't
/// end: this is for what is on its way.
const UNREAD: Duration = Duration::from_millis(100);

pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let entry = Entry::of(&request, shared.settings.access_log);
    let left = Left::watch(&mut request);
    if let Some(mut refusal) = foreign(request.method(), request.headers()) {
        drop(request);
        left.settle(UNREAD, &mut refusal).await;
        entry.name(refusal.headers_mut());
        // Not gRPC: nothing to count.
        entry.close(refusal.status(), None);
        return refusal;
    }
    let mut call =
        Call { shared, entry: Some(entry), status: StatusCode::OK, code: Code::Cancelled };
    let mut response = next.run(request).await;
    if response.headers().contains_key(Status::GRPC_STATUS) {
        left.settle(UNREAD, &mut response).await;
    }
    let Some(entry) = &call.entry else {
        return response;
    };
    entry.name(response.headers_mut());
    call.status = response.status();
    if call.read(response.headers()) {
        return response;
    }
    response.map(|body| Body::new(Told { body, call }))
}

/// What to answer to what isn't gRPC: in HTTP's words, so that nobody takes a status of gRPC for
/// HTTP's 200 (gRPC over HTTP/2, "Requests").
fn foreign(method: &Method, headers: &HeaderMap) -> Option<Response> {
    const TOLD: &str = "This port speaks gRPC: POST, content-type: application/grpc.\n";
    if method != Method::POST {
        let allow = [(header::ALLOW, "POST")];
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, TOLD).into_response());
    }
    let content = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ours = [&b"application/grpc"[..], b"application/grpc+proto"];
    if ours.iter().any(|ours| essence.eq_ignore_ascii_case(ours)) {
        return None;
    }
    Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, TOLD).into_response())
}

/// A call under way; logged when it is dropped, because that is how a call ends that was taken
/// back.
struct Call {
    shared: Arc<Shared>,
    entry: Option<Entry>,
    status: StatusCode,
    /// Until a status is sent: what its caller has seen to.
    code: Code,
}

impl Call {
    /// Whether the status is among these headers or trailers.
    fn read(&mut self, headers: &HeaderMap) -> bool {
        let status = headers.get(Status::GRPC_STATUS);
        if let Some(status) = status {
            self.code = Code::from_bytes(status.as_bytes());
        }
        status.is_some()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            let took = entry.close(self.status, Some(self.code));
            self.shared.counted.over_grpc.grpc(self.code, took);
        }
    }
}

/// An answer, until its trailers.
struct Told {
    body: Body,
    call: Call,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.read(trailers);
        }
        Poll::Ready(frame)
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
    use super::*;

    #[test]
    fn what_is_no_grpc_is_told_so_in_http() {
        for (method, content, status) in [
            (Method::POST, "application/grpc", None),
            (Method::POST, "application/grpc+proto", None),
            (Method::POST, "Application/gRPC; charset=utf-8", None),
            (Method::POST, "application/grpc+json", Some(415)),
            (Method::POST, "application/grpc-web", Some(415)),
            (Method::POST, "application/json", Some(415)),
            (Method::POST, "", Some(415)),
            (Method::GET, "application/grpc", Some(405)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content.parse().unwrap());
            let answer = foreign(&method, &headers).map(|response| response.status().as_u16());
            assert_eq!(answer, status, "{method} {content}");
        }
        assert!(foreign(&Method::POST, &HeaderMap::new()).is_some());
    }
}
