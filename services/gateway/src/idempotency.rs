//! Idempotency keys: what they look like, what tells two requests with one key apart, and the
//! answer that is kept. Pure; [`crate::accept`] asks the cache.
//!
//! A reservation holds the event id before anything is produced. So a retry after a crash or a
//! time-out reuses it, and whoever is downstream sees one event, however often it was produced.

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use triggerline_types::{EventId, from_millis, millis};

use crate::admit::Admitted;
use crate::problem::{Fault, Kind, Problem};
use crate::schemas::Notice;

pub(crate) const HEADER: &str = "idempotency-key";
/// The longest key.
const MAX_CHARACTERS: usize = 255;
/// Of the words in a kept answer, about. They stand in the cache for a day, and a batch can be
/// refused at great length.
const MAX_WORDS: usize = 64 * 1_024;
/// What a repeat is told instead of more.
const TOLD_BEFORE: &str = "The first answer said why.";

/// The key that a request carries in its headers (or gRPC metadata).
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("comes more than once"));
    }
    let text = value.to_str().map_err(|_| invalid("has characters beyond printable ASCII"))?;
    check(text).map(Some)
}

/// Checks a key. The quotes of a structured field (RFC 9651 §3.3.3), which the IETF draft for
/// this header has, are not part of it, so that both ways of writing it are one key.
pub(crate) fn check(text: &str) -> Result<String, Problem> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = match quoted {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    };
    if key.is_empty() || key.len() > MAX_CHARACTERS {
        return Err(invalid(&format!("is 1 to {MAX_CHARACTERS} characters long")));
    }
    if !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(invalid("has characters beyond printable ASCII"));
    }
    Ok(key)
}

fn invalid(told: &str) -> Problem {
    Problem::parameter("Idempotency-Key", told)
}

/// What makes a request this one: all of its events, good and bad, in their order. Of a bad one,
/// what is wrong and where; not in which words, which may be others in the next release.
pub(crate) fn fingerprint(items: &[Result<Admitted, Problem>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((items.len() as u64).to_be_bytes());
    for item in items {
        match item {
            Ok(admitted) => {
                hash.update([0]);
                admitted.fingerprint(&mut hash);
            }
            Err(problem) => {
                hash.update([1]);
                let mut part = |text: &str| {
                    hash.update((text.len() as u64).to_be_bytes());
                    hash.update(text);
                };
                part(problem.kind.row().name);
                problem.faults.iter().for_each(|fault| part(&fault.pointer));
                // Ends the places, of which none is so long.
                hash.update(u64::MAX.to_be_bytes());
            }
        }
    }
    hash.finalize().into()
}

/// An answer as it is kept: enough to give it again through either door.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Of the first event; the others' follow from it ([`EventId::nth`]).
    pub(crate) event_id: EventId,
    /// Milliseconds since the epoch.
    received_at: i64,
    pub(crate) events: usize,
    /// Those that were not accepted, by their place. Of the words of many only the first are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<(usize, Problem)>,
    /// Those that were accepted although their schema doesn't allow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<(usize, Notice)>,
}

impl Answer {
    pub(crate) fn new(
        event_id: EventId,
        received_at: OffsetDateTime,
        events: usize,
        mut problems: Vec<(usize, Problem)>,
        mut notices: Vec<(usize, Notice)>,
    ) -> Self {
        let mut room = MAX_WORDS;
        for (_, problem) in &mut problems {
            if !fit(&mut room, problem.detail.len(), &mut problem.faults) {
                TOLD_BEFORE.clone_into(&mut problem.detail);
            }
        }
        for (_, notice) in &mut notices {
            fit(&mut room, 0, &mut notice.faults);
        }
        Self { event_id, received_at: millis(received_at), events, problems, notices }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn read(bytes: &Bytes) -> Result<Self, Problem> {
        serde_json::from_slice(bytes).map_err(|error| {
            tracing::error!(%error, "a kept answer can't be read");
            Problem::new(Kind::Internal, "The error has been logged.")
        })
    }

    pub(crate) fn received_at(&self) -> OffsetDateTime {
        from_millis(self.received_at).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// Takes what these words need from the room that is left; where they don't fit, drops the faults.
fn fit(room: &mut usize, detail: usize, faults: &mut Vec<Fault>) -> bool {
    let words = |fault: &Fault| fault.pointer.len() + fault.detail.len();
    let left = room.checked_sub(detail + faults.iter().map(words).sum::<usize>());
    match left {
        Some(left) => *room = left,
        None => faults.clear(),
    }
    left.is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use triggerline_types::parse_instant;

    use super::*;
    use crate::admit::Draft;

    #[test]
    fn a_key_is_read_with_and_without_quotes() {
        for (text, key) in [
            ("abc", "abc"),
            ("\"abc\"", "abc"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("a b", "a b"),
            ("\"", "\""),
        ] {
            assert_eq!(check(text).unwrap(), key, "{text}");
        }
        for text in ["", "\"\"", "ü", "a\tb", &"x".repeat(256)] {
            assert_eq!(check(text).unwrap_err().kind, Kind::InvalidParameter, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(from_headers(&headers), Ok(None));
        headers.append(HEADER, "a".parse().unwrap());
        assert_eq!(from_headers(&headers), Ok(Some("a".to_owned())));
        headers.append(HEADER, "b".parse().unwrap());
        assert!(from_headers(&headers).is_err());
    }

    fn good(payload: &'static [u8], extensions: &[(&str, &str)]) -> Result<Admitted, Problem> {
        let extensions: BTreeMap<String, String> =
            extensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let draft = Draft {
            event_type: "a".to_owned(),
            source: None,
            subject: None,
            occurred_at: None,
            extensions,
            traceparent: None,
            payload: Bytes::from_static(payload),
        };
        draft.admit()
    }

    #[test]
    fn a_fingerprint_tells_requests_apart_and_not_their_wording() {
        let bad = |kind, pointer: &str, detail: &str| Err(Problem::at(kind, pointer, detail));
        let items = |items: &[&Result<Admitted, Problem>]| -> [u8; 32] {
            fingerprint(&items.iter().map(|item| (*item).clone()).collect::<Vec<_>>())
        };
        let plain = good(b"1", &[]);
        let more = good(b"1", &[("k", "v")]);
        let (here, there) = (
            bad(Kind::InvalidField, "/event_type", "is wrong"),
            bad(Kind::InvalidField, "/source", "is wrong"),
        );
        let other = bad(Kind::MalformedBody, "/event_type", "is wrong");
        let two = Problem {
            faults: [&here, &there]
                .into_iter()
                .flat_map(|item| item.clone().unwrap_err().faults)
                .collect(),
            ..Problem::new(Kind::InvalidField, "")
        };
        let all = [
            items(&[&plain]),
            items(&[&more]),
            items(&[&plain, &plain]),
            items(&[&plain, &more]),
            items(&[&more, &plain]),
            items(&[&good(b"1", &[("k", "v"), ("l", "")])]),
            items(&[&good(b"1", &[("kv", "")])]),
            items(&[&here]),
            items(&[&there]),
            items(&[&other]),
            items(&[&here, &there]),
            items(&[&Err(two)]),
            items(&[&plain, &here]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        let reworded = bad(Kind::InvalidField, "/event_type", "could be better");
        assert_eq!(items(&[&reworded]), items(&[&here]));
    }

    /// An event's extensions, followed by another event, are not one event with more of them:
    /// what is hashed can be read in one way only.
    #[test]
    fn extensions_have_an_end() {
        let bytes = |extensions: &[(&str, &str)]| {
            let mut hash = Sha256::new();
            good(b"1", extensions).unwrap().fingerprint(&mut hash);
            // As if what follows was one more name and value.
            if extensions.len() == 1 {
                for part in ["l", "w"] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
            hash.finalize()
        };
        assert_ne!(bytes(&[("k", "v")]), bytes(&[("k", "v"), ("l", "w")]));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let problem = Problem::field("/event_type", "is wrong");
        let received_at = parse_instant("2026-11-23T13:05:07.123Z").unwrap();
        let answer = Answer::new(EventId::new(), received_at, 3, vec![(1, problem)], Vec::new());
        let read = Answer::read(&answer.write().into()).unwrap();
        assert_eq!(read, answer);
        assert_eq!(read.received_at(), received_at);
        assert_eq!(Answer::read(&Bytes::new()).unwrap_err().kind, Kind::Internal);
    }

    #[test]
    fn an_answer_of_many_words_is_kept_without_most_of_them() {
        let problems: Vec<_> =
            (0..1_000).map(|n| (n, Problem::field("/event_type", "x".repeat(399)))).collect();
        let fault = Fault { pointer: "/a".repeat(100), detail: "x".repeat(399) };
        let notice = Notice { quarantined: true, faults: vec![fault; 20] };
        let notices = vec![(1_000, notice); 1_000];
        let answer = Answer::new(
            EventId::new(),
            OffsetDateTime::UNIX_EPOCH,
            2_000,
            problems.clone(),
            notices,
        );
        let written = answer.write();
        assert!(written.len() < 4 * MAX_WORDS, "{}", written.len());
        assert_eq!(answer.problems.first(), problems.first());
        let (_, last) = answer.problems.last().unwrap();
        assert_eq!((last.kind, &*last.detail), (Kind::InvalidField, TOLD_BEFORE));
        assert!(answer.notices.iter().all(|(_, notice)| notice.quarantined));
    }
}
