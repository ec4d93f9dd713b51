//! The access log, and the ids that answers and its lines share: the same for both doors.

use std::time::{Duration, Instant};

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tonic::Code;
use uuid::Uuid;

use crate::config::AccessLog;

pub(crate) const REQUEST_ID: &str = "x-request-id";
/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;

/// A request under way.
pub(crate) struct Entry {
    id: String,
    started: Instant,
    log: AccessLog,
    /// Kept aside only where it may be wanted: this is every request's way.
    asked: Option<(Method, String)>,
}

impl Entry {
    pub(crate) fn of(request: &Request, log: AccessLog) -> Self {
        let asked = (log != AccessLog::Off)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        Self { id: request_id(request.headers()), started: Instant::now(), log, asked }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Puts the id on an answer.
    pub(crate) fn name(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(&self.id) {
            headers.insert(REQUEST_ID, id);
        }
    }

    /// Logs how it ended, where that is wanted. `grpc` is what counts over gRPC. Returns how long
    /// it took.
    pub(crate) fn close(self, status: StatusCode, grpc: Option<Code>) -> Duration {
        let Self { id, started, log, asked } = self;
        let took = started.elapsed();
        let Some((method, path)) = asked else {
            return took;
        };
        if log == AccessLog::All || is_error(status, grpc) {
            let (status, ms) = (status.as_u16(), took.as_millis());
            let grpc_status = grpc.map(i32::from);
            tracing::info!(
                target: "access", request_id = id, %method, path, status, grpc_status, ms, "answered"
            );
        }
        took
    }
}

fn is_error(status: StatusCode, grpc: Option<Code>) -> bool {
    status.as_u16() >= 400 || grpc.is_some_and(|code| code != Code::Ok)
}

/// The client's own, where it can go into a header, a URN and a log as it is; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let fits = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(plain)
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fits);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_where_it_is_harmless() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 36);
        for (given, taken) in [("a-B_1.2", true), ("a b", false), ("a/b", false), ("", false)] {
            headers.insert(REQUEST_ID, given.parse().unwrap());
            assert_eq!(request_id(&headers) == given, taken, "{given}");
        }
    }

    #[test]
    fn over_grpc_its_status_says_what_an_error_is() {
        for (status, grpc, error) in [
            (200, None, false),
            (404, None, true),
            (200, Some(Code::Ok), false),
            (200, Some(Code::NotFound), true),
            (415, None, true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_error(status, grpc), error, "{status} {grpc:?}");
        }
    }
}
