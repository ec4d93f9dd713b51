//! `triggerline.v1.Replays`

use tonic::{Request, Response, Status};
use triggerline_types::{DeliveryState, Replay, ReplayId, ReplayState, Scope, Source, Standing};
use triggerline_wire::proto::replays_server::Replays;
use triggerline_wire::proto::{
    self, CancelReplayRequest, CreateReplayRequest, GetReplayRequest, ListReplaysRequest,
    ListReplaysResponse,
};

use super::call::{Call, Door};
use super::inbox::{after, instant, page_size};
use super::instant::to_timestamp;
use super::subscriptions;
use crate::http::subscriptions::event_types;
use crate::problem::Problem;
use crate::replays::{self, Asked, From, LIST, Pace, Span};

#[tonic::async_trait]
impl Replays for Door {
    async fn create_replay(
        &self,
        request: Request<CreateReplayRequest>,
    ) -> Result<Response<proto::Replay>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async { replays::create(&self.shared, &call.asking, asked(message)?).await };
        Ok(Response::new(shown(call.within(work).await?)))
    }

    async fn list_replays(
        &self,
        request: Request<ListReplaysRequest>,
    ) -> Result<Response<ListReplaysResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let customer = call.asking.may(Scope::EventsRead)?;
            let (limit, cursors) = (page_size(message.page_size)?, &self.shared.cursors);
            let after = after(cursors, &message.page_token, customer, LIST)?;
            let mut found = replays::list(&self.shared, &call.asking, after, limit).await?;
            let more = found.len() > limit;
            found.truncate(limit);
            let end = found.last().filter(|_| more).map(|last| *last.id.as_uuid());
            let next = end.map(|id| cursors.write_id(id, customer, LIST));
            let next_page_token = next.unwrap_or_default();
            let replays = found.into_iter().map(shown).collect();
            Ok(ListReplaysResponse { replays, next_page_token })
        };
        Ok(Response::new(call.within(work).await?))
    }

    async fn get_replay(
        &self,
        request: Request<GetReplayRequest>,
    ) -> Result<Response<proto::Replay>, Status> {
        let (call, message) = Call::of(request)?;
        let work =
            async { replays::show(&self.shared, &call.asking, read(&message.replay_id)?).await };
        Ok(Response::new(shown(call.within(work).await?)))
    }

    async fn cancel_replay(
        &self,
        request: Request<CancelReplayRequest>,
    ) -> Result<Response<proto::Replay>, Status> {
        let (call, message) = Call::of(request)?;
        let work =
            async { replays::cancel(&self.shared, &call.asking, read(&message.replay_id)?).await };
        Ok(Response::new(shown(call.within(work).await?)))
    }
}

fn read(id: &str) -> Result<ReplayId, Problem> {
    id.parse().map_err(|_| Problem::field("/replay_id", "is a UUID, as CreateReplay gave it"))
}

fn asked(message: CreateReplayRequest) -> Result<Asked, Problem> {
    let from = match message.source() {
        proto::ReplaySource::Unspecified | proto::ReplaySource::Events => From::Inbox,
        proto::ReplaySource::Topic => From::Topic,
        proto::ReplaySource::DeadLetters => {
            let told = "can't be that: RedriveDeadLetters hands dead letters over again";
            return Err(Problem::field("/source", told));
        }
    };
    if message.from.is_none() {
        return Err(Problem::field(
            "/from",
            "is missing: the instant from which on events are sent",
        ));
    }
    let standing = message.status.iter().enumerate().map(|(index, number)| {
        let known = Standing::ALL.into_iter().find(|one| standing(*one) as i32 == *number);
        let told = "is not one that this server knows";
        known.ok_or_else(|| Problem::field(format!("/status/{index}"), told))
    });
    let standing = standing.collect::<Result<_, _>>()?;
    Ok(Asked {
        subscription_id: subscriptions::read(&message.subscription_id)?,
        span: span(message.from, message.to)?,
        standing,
        from,
        event_types: event_types(message.event_types)?,
        pace: Pace { rate: message.rate, dry_run: message.dry_run },
    })
}

/// From when until when.
pub(super) fn span(
    from: Option<prost_types::Timestamp>,
    to: Option<prost_types::Timestamp>,
) -> Result<Span, Problem> {
    Span::new(instant("/from", from)?, instant("/to", to)?)
}

fn standing(standing: Standing) -> proto::Standing {
    match standing {
        Standing::Missing => proto::Standing::Missing,
        Standing::Owed(DeliveryState::Pending) => proto::Standing::Pending,
        Standing::Owed(DeliveryState::Retrying) => proto::Standing::Retrying,
        Standing::Owed(DeliveryState::Delivered) => proto::Standing::Delivered,
        Standing::Owed(DeliveryState::DeadLettered) => proto::Standing::DeadLettered,
        Standing::Owed(DeliveryState::Cancelled) => proto::Standing::Cancelled,
    }
}

pub(super) fn shown(replay: Replay) -> proto::Replay {
    let Replay { id, selection, rate, dry_run, state, progress, created_at, updated_at, .. } =
        replay;
    let source = match selection.source {
        Source::Events { .. } => proto::ReplaySource::Events,
        Source::Topic { .. } => proto::ReplaySource::Topic,
        Source::DeadLetters { .. } => proto::ReplaySource::DeadLetters,
    };
    let now = match &state {
        ReplayState::Running => proto::ReplayState::Running,
        ReplayState::Completed => proto::ReplayState::Completed,
        ReplayState::Cancelled => proto::ReplayState::Cancelled,
        ReplayState::Failed { .. } => proto::ReplayState::Failed,
    };
    let of = selection.source.subscription_id();
    proto::Replay {
        replay_id: id.to_string(),
        source: source.into(),
        subscription_id: of.map(|id| id.to_string()).unwrap_or_default(),
        from: selection.from.map(to_timestamp),
        to: Some(to_timestamp(selection.to)),
        event_types: selection.event_types.iter().map(ToString::to_string).collect(),
        status: selection.source.standing().iter().map(|one| standing(*one).into()).collect(),
        rate,
        dry_run,
        state: now.into(),
        reason: state.reason().unwrap_or_default().to_owned(),
        examined: progress.examined,
        sent: progress.sent,
        created_at: Some(to_timestamp(created_at)),
        updated_at: Some(to_timestamp(updated_at)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn message() -> CreateReplayRequest {
        CreateReplayRequest {
            subscription_id: "01890a5d-ac96-7ab2-80e2-4536629c90de".to_owned(),
            from: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..CreateReplayRequest::default()
        }
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let status = vec![proto::Standing::Missing.into(), proto::Standing::DeadLettered.into()];
        let source = proto::ReplaySource::Topic.into();
        let asked = asked(CreateReplayRequest { status, source, ..message() }).unwrap();
        let standing = vec![Standing::Missing, Standing::Owed(DeliveryState::DeadLettered)];
        assert_eq!(asked.standing, standing);
        assert!(matches!(asked.from, From::Topic));
    }

    #[test]
    fn a_bad_field_is_named() {
        let late = Some(Timestamp { seconds: 9_999_999_999, nanos: 0 });
        for (message, field) in [
            (
                CreateReplayRequest { subscription_id: "x".to_owned(), ..message() },
                "/subscription_id",
            ),
            (CreateReplayRequest { from: None, ..message() }, "/from"),
            (CreateReplayRequest { from: late, ..message() }, "/from"),
            (
                CreateReplayRequest { to: Some(Timestamp { seconds: 0, nanos: -1 }), ..message() },
                "/to",
            ),
            (CreateReplayRequest { status: vec![1, 9], ..message() }, "/status/1"),
            (CreateReplayRequest { source: 3, ..message() }, "/source"),
            (
                CreateReplayRequest { event_types: vec!["a b".to_owned()], ..message() },
                "/event_types/0",
            ),
        ] {
            assert_eq!(asked(message).err().unwrap().faults[0].pointer, field);
        }
    }
}
