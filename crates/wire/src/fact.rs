//! What the matcher and the delivery service report on `attempts`, as JSON.
//!
//! The key is the customer's id; `ce_type` tells the two kinds apart:
//! `triggerline.matched.v1` (the summary of an event) and `triggerline.attempted.v1` (one
//! attempt). Fields may be added to either; none is renamed or taken away.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, EventId, Fact, Matched, Outcome, Owed, Response,
    SubscriptionId,
};

use crate::event::{CUSTOMER_ID, ID};
use crate::record::{DecodeError, Record, invalid};

const MATCHED: &str = "triggerline.matched.v1";
const ATTEMPTED: &str = "triggerline.attempted.v1";

pub fn encode_matched(matched: &Matched) -> Record {
    let document = MatchedDocument {
        event_id: matched.event_id,
        customer_id: matched.customer_id,
        at: matched.at,
        owed: matched
            .owed
            .iter()
            .map(|owed| OwedDocument {
                delivery_id: owed.delivery_id,
                subscription_id: owed.subscription_id,
                workflow_id: owed.workflow_id.clone(),
            })
            .collect(),
    };
    record(MATCHED, matched.customer_id, matched.event_id.to_string(), &document)
}

pub fn encode_attempt(attempt: &Attempt) -> Record {
    let document = AttemptDocument {
        delivery_id: attempt.delivery_id,
        event_id: attempt.event_id,
        customer_id: attempt.customer_id,
        subscription_id: attempt.subscription_id,
        number: attempt.number,
        started_at: attempt.started_at,
        latency_us: u64::try_from(attempt.latency.as_micros()).unwrap_or(u64::MAX),
        response: match attempt.response.clone() {
            Response::Answered { status, excerpt } => {
                ResponseDocument::Answered { status, excerpt }
            }
            Response::Failed { error } => ResponseDocument::Failed { error },
            Response::NotSent { reason } => ResponseDocument::NotSent { reason },
        },
        outcome: match attempt.outcome.clone() {
            Outcome::Delivered => OutcomeDocument::Delivered,
            Outcome::Retry { at } => OutcomeDocument::Retry { at },
            Outcome::DeadLettered { reason } => OutcomeDocument::DeadLettered { reason },
            Outcome::Cancelled { reason } => OutcomeDocument::Cancelled { reason },
        },
    };
    let id = format!("{}/{}", attempt.delivery_id, attempt.number);
    record(ATTEMPTED, attempt.customer_id, id, &document)
}

pub fn decode(record: &Record) -> Result<Fact, DecodeError> {
    match record.required("ce_type")? {
        MATCHED => {
            let document: MatchedDocument = parse(&record.value)?;
            Ok(Fact::Matched(Matched {
                event_id: document.event_id,
                customer_id: document.customer_id,
                at: document.at,
                owed: document
                    .owed
                    .into_iter()
                    .map(|owed| Owed {
                        delivery_id: owed.delivery_id,
                        subscription_id: owed.subscription_id,
                        workflow_id: owed.workflow_id,
                    })
                    .collect(),
            }))
        }
        ATTEMPTED => {
            let document: AttemptDocument = parse(&record.value)?;
            Ok(Fact::Attempted(Attempt {
                delivery_id: document.delivery_id,
                event_id: document.event_id,
                customer_id: document.customer_id,
                subscription_id: document.subscription_id,
                number: document.number,
                started_at: document.started_at,
                latency: Duration::from_micros(document.latency_us),
                response: match document.response {
                    ResponseDocument::Answered { status, excerpt } => {
                        Response::Answered { status, excerpt }
                    }
                    ResponseDocument::Failed { error } => Response::Failed { error },
                    ResponseDocument::NotSent { reason } => Response::NotSent { reason },
                },
                outcome: match document.outcome {
                    OutcomeDocument::Delivered => Outcome::Delivered,
                    OutcomeDocument::Retry { at } => Outcome::Retry { at },
                    OutcomeDocument::DeadLettered { reason } => Outcome::DeadLettered { reason },
                    OutcomeDocument::Cancelled { reason } => Outcome::Cancelled { reason },
                },
            }))
        }
        other => Err(invalid("ce_type", other, format!("expected {MATCHED} or {ATTEMPTED}"))),
    }
}

fn record(
    kind: &'static str,
    customer: CustomerId,
    id: String,
    document: &impl Serialize,
) -> Record {
    let mut record = Record { key: Bytes::from(customer.to_string()), ..Record::default() };
    record.push("ce_specversion", "1.0");
    record.push(ID, id);
    record.push("ce_type", kind);
    record.push("ce_source", "triggerline");
    record.push("content-type", "application/json");
    record.push_display(CUSTOMER_ID, customer);
    // These documents hold strings and numbers only: nothing in them can fail to serialise.
    record.value = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    record
}

fn parse<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(value).map_err(|error| DecodeError::Value(error.to_string()))
}

#[derive(Serialize, Deserialize)]
struct MatchedDocument {
    event_id: EventId,
    customer_id: CustomerId,
    #[serde(with = "instant")]
    at: OffsetDateTime,
    owed: Vec<OwedDocument>,
}

#[derive(Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names are those of the JSON document")]
struct OwedDocument {
    delivery_id: DeliveryId,
    subscription_id: SubscriptionId,
    workflow_id: String,
}

#[derive(Serialize, Deserialize)]
struct AttemptDocument {
    delivery_id: DeliveryId,
    event_id: EventId,
    customer_id: CustomerId,
    subscription_id: SubscriptionId,
    number: u32,
    #[serde(with = "instant")]
    started_at: OffsetDateTime,
    latency_us: u64,
    response: ResponseDocument,
    outcome: OutcomeDocument,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ResponseDocument {
    Answered { status: u16, excerpt: String },
    Failed { error: String },
    NotSent { reason: String },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum OutcomeDocument {
    Delivered,
    Retry {
        #[serde(with = "instant")]
        at: OffsetDateTime,
    },
    DeadLettered {
        reason: String,
    },
    Cancelled {
        reason: String,
    },
}

mod instant {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use time::OffsetDateTime;
    use triggerline_types::{format_instant, parse_instant};

    pub(super) fn serialize<S: Serializer>(
        instant: &OffsetDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_instant(*instant))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OffsetDateTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_instant(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    fn ids() -> (EventId, CustomerId, SubscriptionId, DeliveryId) {
        let event = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let subscription = "01890a5d-ac96-7ab2-80e2-4536629c90de".parse().unwrap();
        let customer = "01890a5d-0000-7000-8000-000000000001".parse().unwrap();
        (event, customer, subscription, DeliveryId::of(event, subscription))
    }

    #[test]
    fn golden_summary() {
        let (event_id, customer_id, subscription_id, delivery_id) = ids();
        let matched = Matched {
            event_id,
            customer_id,
            at: parse_instant("2026-11-23T13:05:07.130Z").unwrap(),
            owed: vec![Owed { delivery_id, subscription_id, workflow_id: "invoice".to_owned() }],
        };
        let record = encode_matched(&matched);
        assert_eq!(
            std::str::from_utf8(&record.value).unwrap(),
            concat!(
                r#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","#,
                r#""customer_id":"01890a5d-0000-7000-8000-000000000001","#,
                r#""at":"2026-11-23T13:05:07.130Z","owed":["#,
                r#"{"delivery_id":"3f9eabf9-3093-5201-ad99-9d268678e1fc","#,
                r#""subscription_id":"01890a5d-ac96-7ab2-80e2-4536629c90de","#,
                r#""workflow_id":"invoice"}]}"#
            )
        );
        assert_eq!(decode(&record), Ok(Fact::Matched(matched)));
    }

    #[test]
    fn golden_attempts() {
        let (event_id, customer_id, subscription_id, delivery_id) = ids();
        let at = parse_instant("2026-11-23T13:05:07.130Z").unwrap();
        for (response, outcome, json) in [
            (
                Response::Answered { status: 200, excerpt: "ok".to_owned() },
                Outcome::Delivered,
                r#""response":{"kind":"answered","status":200,"excerpt":"ok"},"outcome":{"kind":"delivered"}}"#,
            ),
            (
                Response::Failed { error: "refused".to_owned() },
                Outcome::Retry { at },
                r#""response":{"kind":"failed","error":"refused"},"outcome":{"kind":"retry","at":"2026-11-23T13:05:07.130Z"}}"#,
            ),
            (
                Response::Answered { status: 404, excerpt: String::new() },
                Outcome::DeadLettered { reason: "404".to_owned() },
                r#""outcome":{"kind":"dead_lettered","reason":"404"}}"#,
            ),
            (
                Response::NotSent { reason: "gone".to_owned() },
                Outcome::Cancelled { reason: "gone".to_owned() },
                r#""response":{"kind":"not_sent","reason":"gone"},"outcome":{"kind":"cancelled","reason":"gone"}}"#,
            ),
        ] {
            let attempt = Attempt {
                delivery_id,
                event_id,
                customer_id,
                subscription_id,
                number: 1,
                started_at: at,
                latency: Duration::from_micros(1_234),
                response,
                outcome,
            };
            let record = encode_attempt(&attempt);
            let text = std::str::from_utf8(&record.value).unwrap();
            assert!(text.ends_with(json), "{text}");
            assert_eq!(decode(&record), Ok(Fact::Attempted(attempt)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (_, customer, ..) = ids();
        let unknown = record("triggerline.dreamt.v1", customer, "1".to_owned(), &());
        assert!(decode(&unknown).unwrap_err().to_string().contains("triggerline.dreamt.v1"));
        let broken = record(MATCHED, customer, "1".to_owned(), &());
        assert!(decode(&broken).unwrap_err().to_string().starts_with("the value: "));
    }
}
