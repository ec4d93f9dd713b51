//! An attempt's response and outcome as columns: the words that every backend writes and reads.

use time::OffsetDateTime;
use triggerline_types::{Outcome, Response};

/// A response as `answered`, `failed` or `not_sent`, its status, and its excerpt, error or reason.
pub(crate) fn of_response(response: &Response) -> (&'static str, Option<u16>, &str) {
    match response {
        Response::Answered { status, excerpt } => ("answered", Some(*status), excerpt),
        Response::Failed { error } => ("failed", None, error),
        Response::NotSent { reason } => ("not_sent", None, reason),
    }
}

/// `Err`: what is wrong with it.
pub(crate) fn to_response(
    word: &str,
    status: Option<u16>,
    text: String,
) -> Result<Response, String> {
    Ok(match word {
        "answered" => {
            let status = status.ok_or("an answer without a status")?;
            Response::Answered { status, excerpt: text }
        }
        "failed" => Response::Failed { error: text },
        "not_sent" => Response::NotSent { reason: text },
        other => return Err(format!("the response {other:?}")),
    })
}

/// The outcome of a delivery that was given up.
pub(crate) const DEAD_LETTERED: &str = "dead_lettered";

/// An outcome as `delivered`, `retry`, `dead_lettered` or `cancelled`, when it is tried again, and
/// its reason.
pub(crate) fn of_outcome(
    outcome: &Outcome,
) -> (&'static str, Option<OffsetDateTime>, Option<&str>) {
    match outcome {
        Outcome::Delivered => ("delivered", None, None),
        Outcome::Retry { at } => ("retry", Some(*at), None),
        Outcome::DeadLettered { reason } => (DEAD_LETTERED, None, Some(reason)),
        Outcome::Cancelled { reason } => ("cancelled", None, Some(reason)),
    }
}

/// `Err`: what is wrong with it.
pub(crate) fn to_outcome(
    word: &str,
    at: Option<OffsetDateTime>,
    reason: Option<String>,
) -> Result<Outcome, String> {
    let reason = reason.unwrap_or_default();
    Ok(match word {
        "delivered" => Outcome::Delivered,
        "retry" => Outcome::Retry { at: at.ok_or("a retry without its time")? },
        DEAD_LETTERED => Outcome::DeadLettered { reason },
        "cancelled" => Outcome::Cancelled { reason },
        other => return Err(format!("the outcome {other:?}")),
    })
}
