//! A problem in gRPC's words: a code, and `google.rpc` details that a program can act on.

use prost::Message as _;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::problem::{Fault, Kind, Problem, Row};

/// Who speaks, in ErrorInfo.
const DOMAIN: &str = "triggerline";

/// A status travels in trailers, and many gRPC stacks refuse header lists over 8 KB (grpc-core:
/// 8 KB soft, grpc-java: 8,192 bytes): all of ours stays under 4 KB. The message counts up to
/// four times and a third: percent-encoded in `grpc-message`, and in base64 among the details.
const MAX_MESSAGE: usize = 320;
const MAX_FIELD: usize = 120;
const MAX_DESCRIPTION: usize = 240;
/// Of all fields and descriptions together.
const MAX_VIOLATIONS: usize = 1_000;

pub(super) fn of(problem: &Problem) -> Status {
    let Row { name, code, .. } = problem.kind.row();
    let mut details = ErrorDetails::new();
    // As google.rpc.ErrorInfo wants reasons: UPPER_SNAKE_CASE.
    let reason = name.replace('-', "_").to_ascii_uppercase();
    details.set_error_info(reason, DOMAIN, [("type".to_owned(), format!("/docs/errors/{name}"))]);
    let mut message = cut(&problem.detail, MAX_MESSAGE);
    if !problem.faults.is_empty() {
        let violations = violations(&problem.faults);
        let left_out = problem.faults.len() - violations.len();
        if left_out > 0 {
            message = format!("{message} ({left_out} more faults are left out.)");
        }
        details.set_bad_request(violations);
    }
    if problem.retry_after.is_some() {
        details.set_retry_info(problem.retry_after);
    }
    if problem.kind == Kind::RateLimited {
        details.add_quota_failure_violation("key", message.clone());
    }
    Status::with_error_details(code, message, details)
}

/// The first of the faults, as far as there is room.
fn violations(faults: &[Fault]) -> Vec<FieldViolation> {
    let mut bytes = 0;
    let told = faults.iter().map(|fault| {
        let field = fault.pointer.trim_start_matches('/').replace('/', ".");
        FieldViolation::new(cut(&field, MAX_FIELD), cut(&fault.detail, MAX_DESCRIPTION))
    });
    told.take_while(|violation| {
        bytes += violation.field.len() + violation.description.len();
        bytes <= MAX_VIOLATIONS
    })
    .collect()
}

fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes)])
}

/// The same as a message, for the results of batches and streams.
pub(super) fn message(problem: &Problem) -> tonic_types::Status {
    let status = of(problem);
    // The details of a status are such a message, encoded.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;

    #[test]
    fn details_say_what_a_program_can_act_on() {
        let status = of(&Problem::field("/a/b", "is wrong"));
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "/a/b is wrong"));
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "a.b");
        assert!(details.retry_info().is_none() && details.quota_failure().is_none());

        let wait = Duration::from_millis(1_500);
        let limited = Problem::new(Kind::RateLimited, "Enough.").retry_after(wait);
        let details = of(&limited).get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(wait));
        assert_eq!(details.quota_failure().unwrap().violations[0].description, "Enough.");

        let message = message(&limited);
        assert_eq!((message.code, &*message.message), (Code::ResourceExhausted as i32, "Enough."));
        assert_eq!(message.details.len(), 3);
    }

    #[test]
    fn a_status_fits_into_the_trailers_of_every_stack() {
        let fault = |n: usize, text: &str| Fault {
            pointer: format!("/a/{n}/{}", text.repeat(200)),
            detail: text.repeat(400),
        };
        let mut worst = 0;
        for (text, faults, kind) in [
            ("x", 0, Kind::RateLimited),
            ("ü", 0, Kind::RateLimited),
            ("ü", 1, Kind::SchemaViolation),
            ("x", 100, Kind::SchemaViolation),
            ("\u{1f600}", 100, Kind::SchemaViolation),
        ] {
            let faults: Vec<_> = (0..faults).map(|n| fault(n, text)).collect();
            let (all, retry) = (faults.len(), Duration::from_secs(1));
            let problem = Problem { faults, ..Problem::new(kind, text.repeat(500)) };
            let status = of(&problem.retry_after(retry));
            let response = status.clone().into_http::<()>();
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                // As HTTP/2 counts them (RFC 9113 §6.5.2).
                name.as_str().len() + value.len() + 32
            };
            let bytes: usize = response.headers().iter().map(header).sum();
            worst = worst.max(bytes);
            let details = status.get_error_details();
            let told = details.bad_request().map_or(0, |request| request.field_violations.len());
            assert!(all == 0 || told > 0, "the first is always told");
            let counted = format!("({} more faults are left out.)", all - told);
            assert_eq!(status.message().contains(&counted), all > told, "{}", status.message());
        }
        assert!(worst < 4 << 10, "{worst}");
    }
}
