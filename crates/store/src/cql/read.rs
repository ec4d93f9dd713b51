//! Rows back into pieces.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::try_join_all;
use scylla::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use time::OffsetDateTime;
use triggerline_types::{
    Attempt, CustomerId, DeliveryId, Event, EventId, EventType, SubscriptionId,
};
use uuid::Uuid;

use super::write::minute_of;
use super::{Ready, unavailable};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::pieces::{ATTEMPT, EVENT, HELD, MATCHED, OWED, Pieces};
use crate::words;

pub(super) const OPERATION: &str = "read the inbox";

/// A row of `events`, without its payload.
#[derive(Debug, DeserializeRow)]
pub(super) struct Read {
    pub(super) event_id: Uuid,
    piece: String,
    event_type: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    occurred_at: Option<OffsetDateTime>,
    extensions: Option<BTreeMap<String, String>>,
    traceparent: Option<String>,
    quarantined: Option<String>,
    subscription_id: Option<Uuid>,
    delivery_id: Option<Uuid>,
    workflow_id: Option<String>,
    started_at: Option<OffsetDateTime>,
    number: Option<i32>,
    latency_us: Option<i64>,
    response: Option<String>,
    response_status: Option<i32>,
    response_text: Option<String>,
    outcome: Option<String>,
    outcome_at: Option<OffsetDateTime>,
    outcome_text: Option<String>,
}

impl Read {
    /// `Err`: what is wrong with it.
    pub(super) fn add_to(self, pieces: &mut Pieces, customer: CustomerId) -> Result<(), String> {
        let missing = |column: &str| format!("a row {:?} without its {column}", self.piece);
        let subscription = || self.subscription_id.map(SubscriptionId::from_uuid);
        let delivery = || self.delivery_id.map(DeliveryId::from_uuid);
        match self.piece.as_str() {
            MATCHED => pieces.is_matched = true,
            EVENT | HELD => {
                let is_held = self.piece == HELD;
                let id = EventId::from_uuid(self.event_id);
                let event_type = self.event_type.ok_or_else(|| missing("event_type"))?;
                let event = Event {
                    id,
                    customer_id: customer,
                    event_type: EventType::parse(event_type).map_err(|error| error.to_string())?,
                    source: self.source.unwrap_or_default(),
                    subject: self.subject,
                    occurred_at: self.occurred_at.unwrap_or_else(|| id.received_at()),
                    received_at: id.received_at(),
                    extensions: self.extensions.unwrap_or_default(),
                    traceparent: self.traceparent,
                    quarantined: self.quarantined,
                    payload: bytes::Bytes::new(),
                };
                let place = if is_held { &mut pieces.held } else { &mut pieces.event };
                *place = Some(event);
            }
            name if name.starts_with(OWED) => {
                let subscription = subscription().ok_or_else(|| missing("subscription_id"))?;
                let delivery = delivery().ok_or_else(|| missing("delivery_id"))?;
                pieces.owe(subscription, delivery, self.workflow_id.unwrap_or_default());
            }
            name if name.starts_with(ATTEMPT) => {
                let number = self.number.and_then(|number| u32::try_from(number).ok());
                let micros = self.latency_us.and_then(|micros| u64::try_from(micros).ok());
                let status = self.response_status.and_then(|status| u16::try_from(status).ok());
                let (response, outcome) = (self.response.as_deref(), self.outcome.as_deref());
                let said = self.response_text.clone().unwrap_or_default();
                pieces.attempts.push(Attempt {
                    delivery_id: delivery().ok_or_else(|| missing("delivery_id"))?,
                    event_id: EventId::from_uuid(self.event_id),
                    customer_id: customer,
                    subscription_id: subscription().ok_or_else(|| missing("subscription_id"))?,
                    number: number.ok_or_else(|| missing("number"))?,
                    started_at: self.started_at.ok_or_else(|| missing("started_at"))?,
                    latency: Duration::from_micros(micros.unwrap_or_default()),
                    response: words::to_response(response.unwrap_or_default(), status, said)?,
                    outcome: words::to_outcome(
                        outcome.unwrap_or_default(),
                        self.outcome_at,
                        self.outcome_text.clone(),
                    )?,
                });
            }
            // A later version's: what this one knows of is all there.
            _ => {}
        }
        Ok(())
    }
}

impl Ready<'_> {
    /// All rows of a statement whose answer is bounded.
    pub(super) async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
    {
        let answer = self.session.execute_unpaged(statement, values).await;
        let answer = answer.map_err(|error| unavailable(OPERATION, error))?;
        let rows = answer.into_rows_result().map_err(|error| unreadable(&error))?;
        let rows = rows.rows::<R>().map_err(|error| unreadable(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
    }

    /// What is known of an event, but for its payload.
    pub(super) async fn pieces(
        &self,
        customer: CustomerId,
        id: EventId,
    ) -> Result<Pieces, StoreError> {
        let key = (customer.as_uuid(), CqlTimestamp(minute_of(id)), id.as_uuid());
        let rows: Vec<Read> = self.rows(&self.statements.pieces, key).await?;
        let mut pieces = Pieces::default();
        for row in rows {
            row.add_to(&mut pieces, customer).map_err(|what| unreadable(&what))?;
        }
        Ok(pieces)
    }

    /// Fetches the events' payloads.
    pub(super) async fn fill_in(
        &self,
        customer: CustomerId,
        events: &mut [StoredEvent],
    ) -> Result<(), StoreError> {
        let mut minutes: BTreeMap<i64, Vec<Uuid>> = BTreeMap::new();
        for stored in events.iter() {
            let id = stored.event.id;
            minutes.entry(minute_of(id)).or_default().push(*id.as_uuid());
        }
        let asked = minutes.into_iter().map(|(minute, ids)| async move {
            let key = (customer.as_uuid(), CqlTimestamp(minute), ids);
            self.rows::<(Uuid, String, Option<Vec<u8>>)>(&self.statements.payloads, key).await
        });
        let found = try_join_all(asked).await?.into_iter().flatten();
        // Sorted by piece: of two, `event` comes before `held`, and both say the same.
        let mut payloads: HashMap<Uuid, Vec<u8>> = HashMap::new();
        for (id, _, payload) in found {
            payloads.entry(id).or_insert_with(|| payload.unwrap_or_default());
        }
        for stored in events {
            let payload = payloads.remove(stored.event.id.as_uuid()).unwrap_or_default();
            stored.event.payload = payload.into();
        }
        Ok(())
    }
}

pub(super) fn unreadable(what: &impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { operation: OPERATION, table: "events", what: what.to_string() }
}
