//! `triggerline.v1.DeadLetters`

use tonic::{Request, Response, Status};
use triggerline_store::{DeadLetter, DeadLetterQuery};
use triggerline_types::{DeliveryId, EventType};
use triggerline_wire::proto::dead_letters_server::DeadLetters;
use triggerline_wire::proto::{
    self, GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest,
    ListDeadLettersResponse, RedriveDeadLetterRequest, RedriveDeadLettersRequest,
};

use super::call::{Call, Door};
use super::inbox::{self, PAGE_BYTES, foreign_token, instant, order, page_size};
use super::instant::to_timestamp;
use super::{replays, subscriptions};
use crate::dead_letters::{self, Listed, reason};
use crate::http::subscriptions::event_types;
use crate::problem::Problem;
use crate::replays::Pace;

#[tonic::async_trait]
impl DeadLetters for Door {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let token = message.page_token.clone();
            let (query, token) = (query(message)?, (!token.is_empty()).then_some(token));
            let (token, room) = (token.as_deref(), PAGE_BYTES);
            dead_letters::list(&self.shared, &call.asking, query, token, room, foreign_token).await
        };
        let Listed { letters, next } = call.within(work).await?;
        let dead_letters = letters.into_iter().map(shown).collect();
        let next_page_token = next.unwrap_or_default();
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            dead_letters::show(&self.shared, &call.asking, read(&message.delivery_id)?).await
        };
        let (letter, event) = call.within(work).await?;
        let (dead_letter, event) = (Some(shown(letter)), Some(inbox::shown(event)));
        Ok(Response::new(GetDeadLetterResponse { dead_letter, event }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<proto::Replay>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let RedriveDeadLettersRequest { subscription_id, event_types: types, from, to, .. } =
                message;
            let of = (!subscription_id.is_empty()).then_some(subscription_id);
            let of = of.map(|id| subscriptions::read(&id)).transpose()?;
            let (span, types) = (replays::span(from, to)?, event_types(types)?);
            let pace = Pace { rate: message.rate, dry_run: message.dry_run };
            dead_letters::redrive(&self.shared, &call.asking, of, span, types, pace).await
        };
        Ok(Response::new(replays::shown(call.within(work).await?)))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<RedriveDeadLetterRequest>,
    ) -> Result<Response<proto::Replay>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            dead_letters::redrive_one(&self.shared, &call.asking, read(&message.delivery_id)?).await
        };
        Ok(Response::new(replays::shown(call.within(work).await?)))
    }
}

fn read(id: &str) -> Result<DeliveryId, Problem> {
    id.parse().map_err(|_| Problem::field("/delivery_id", "is a UUID, the webhook's id"))
}

fn query(asked: ListDeadLettersRequest) -> Result<DeadLetterQuery, Problem> {
    let direction = order(asked.order)?;
    // In proto3 an absent text is an empty one.
    let given = |text: String| (!text.is_empty()).then_some(text);
    let of = given(asked.subscription_id).map(|id| subscriptions::read(&id));
    let event_type = given(asked.event_type).map(EventType::parse).transpose();
    Ok(DeadLetterQuery {
        direction,
        subscription_id: of.transpose()?,
        delivery_id: None,
        event_type: event_type.map_err(|error| Problem::field("/event_type", error.to_string()))?,
        from: instant("/from", asked.from)?,
        to: instant("/to", asked.to)?,
        after: None,
        limit: page_size(asked.page_size)?,
    })
}

fn shown(letter: DeadLetter) -> proto::DeadLetter {
    let reason = reason(&letter);
    let DeadLetter { event_id, event_type, received_at, at, delivery } = letter;
    proto::DeadLetter {
        event_id: event_id.to_string(),
        event_type: event_type.as_str().to_owned(),
        received_at: Some(to_timestamp(received_at)),
        dead_lettered_at: Some(to_timestamp(at)),
        reason,
        delivery: Some(inbox::delivery(delivery)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_bad_field_is_named() {
        let asked = ListDeadLettersRequest::default;
        assert!(query(asked()).is_ok(), "what is absent filters nothing");
        let odd = Some(Timestamp { seconds: 0, nanos: -1 });
        for (asked, field) in [
            (ListDeadLettersRequest { from: odd, ..asked() }, "/from"),
            (ListDeadLettersRequest { to: odd, ..asked() }, "/to"),
            (ListDeadLettersRequest { event_type: "a b".to_owned(), ..asked() }, "/event_type"),
            (
                ListDeadLettersRequest { subscription_id: "x".to_owned(), ..asked() },
                "/subscription_id",
            ),
            (ListDeadLettersRequest { order: 3, ..asked() }, "/order"),
            (ListDeadLettersRequest { page_size: 201, ..asked() }, "/page_size"),
        ] {
            assert_eq!(query(asked).unwrap_err().faults[0].pointer, field);
        }
    }
}
