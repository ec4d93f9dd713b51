//! A problem in gRPC's words: a code, and `google.rpc` details that a program can act on.

use prost::Message as _;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::problem::{Kind, Problem, Row};

/// Who speaks, in ErrorInfo.
const DOMAIN: &str = "triggerline";

pub(super) fn of(problem: &Problem) -> Status {
    let Row { name, code, .. } = problem.kind.row();
    let mut details = ErrorDetails::new();
    // As google.rpc.ErrorInfo wants reasons: UPPER_SNAKE_CASE.
    let reason = name.replace('-', "_").to_ascii_uppercase();
    details.set_error_info(reason, DOMAIN, [("type".to_owned(), format!("/docs/errors/{name}"))]);
    if !problem.faults.is_empty() {
        let faults = problem.faults.iter().map(|fault| {
            let field = fault.pointer.trim_start_matches('/').replace('/', ".");
            FieldViolation::new(field, fault.detail.clone())
        });
        details.set_bad_request(faults.collect::<Vec<_>>());
    }
    if problem.retry_after.is_some() {
        details.set_retry_info(problem.retry_after);
    }
    if problem.kind == Kind::RateLimited {
        details.add_quota_failure_violation("key", problem.detail.clone());
    }
    Status::with_error_details(code, problem.detail.clone(), details)
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
}
