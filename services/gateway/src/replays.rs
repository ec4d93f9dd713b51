//! Past events sent (again), for either door: start, list, show, cancel. A redrive of dead letters
//! ([`crate::dead_letters`]) is a replay too. The replayer does the work.

use time::OffsetDateTime;
use triggerline_store::{MAX_RUNNING_REPLAYS, NewReplay};
use triggerline_types::{
    EventTypePattern, Replay, ReplayId, Scope, Selection, Source, Standing, SubscriptionId,
    SubscriptionState, format_instant, truncate_to_millis,
};
use uuid::Uuid;

use crate::Shared;
use crate::asking::Asking;
use crate::problem::{Kind, Problem};

/// Deliveries a second where nothing else is asked for, and at most.
const RATE: u32 = 100;
const MAX_RATE: u32 = 10_000;

/// What a list's cursors are sealed for.
pub(crate) const LIST: &str = "replays";

/// From when until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    from: Option<OffsetDateTime>,
    to: OffsetDateTime,
}

impl Span {
    pub(crate) fn new(
        from: Option<OffsetDateTime>,
        to: Option<OffsetDateTime>,
    ) -> Result<Self, Problem> {
        let now = truncate_to_millis(OffsetDateTime::now_utc());
        // What is still to come could go on for ever.
        let to = to.map_or(now, |to| to.min(now));
        if from.is_some_and(|from| from >= to) {
            let detail = format!("is not before {}, where the span ends", format_instant(to));
            return Err(Problem::field("/from", detail));
        }
        Ok(Self { from, to })
    }
}

/// Where a replay takes events from.
#[derive(Clone, Copy)]
pub(crate) enum From {
    Inbox,
    Topic,
}

/// Which of a customer's events, to whom, and how fast.
pub(crate) struct Asked {
    pub(crate) subscription_id: SubscriptionId,
    pub(crate) span: Span,
    pub(crate) event_types: Vec<EventTypePattern>,
    pub(crate) standing: Vec<Standing>,
    pub(crate) from: From,
    pub(crate) pace: Pace,
}

/// How fast a replay sends, and whether it does.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    pub(crate) rate: Option<u32>,
    pub(crate) dry_run: bool,
}

pub(crate) async fn create(
    shared: &Shared,
    asking: &Asking,
    asked: Asked,
) -> Result<Replay, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let Asked { subscription_id, span, event_types, standing, from, pace } = asked;
    pace.check()?;
    let found = shared.control.subscription(customer, subscription_id).await?;
    let subscription = found.filter(|found| found.state != SubscriptionState::Deleted);
    let subscription = subscription.ok_or_else(|| {
        Problem::field("/subscription_id", "is not the id of one of your subscriptions")
    })?;
    if subscription.state != SubscriptionState::Active {
        let state = subscription.state.as_str();
        let detail = format!("The subscription is {state}; resume it first.");
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let source = match from {
        From::Inbox => Source::Events { subscription_id, standing },
        From::Topic => Source::Topic { subscription_id, standing },
    };
    start(shared, asking, source, span, event_types, pace).await
}

/// Starts a replay of what is selected, if the pace makes sense.
pub(crate) async fn start(
    shared: &Shared,
    asking: &Asking,
    source: Source,
    span: Span,
    event_types: Vec<EventTypePattern>,
    pace: Pace,
) -> Result<Replay, Problem> {
    let customer_id = asking.may(Scope::SubscriptionsWrite)?;
    let rate = pace.check()?;
    let selection = Selection { source, from: span.from, to: span.to, event_types };
    let new = NewReplay { customer_id, selection, rate, dry_run: pace.dry_run };
    let made = shared.control.create_replay(new, asking.caller().actor()).await?;
    made.ok_or_else(|| {
        let detail = format!(
            "{MAX_RUNNING_REPLAYS} replays run already; wait until one is through, or cancel one."
        );
        Problem::new(Kind::Conflict, detail)
    })
}

impl Pace {
    /// Deliveries a second.
    pub(crate) fn check(self) -> Result<u32, Problem> {
        let rate = self.rate.unwrap_or(RATE);
        if !(1..=MAX_RATE).contains(&rate) {
            return Err(Problem::field("/rate", format!("is a number from 1 to {MAX_RATE}")));
        }
        Ok(rate)
    }
}

/// One more than `limit`, newest first, if there are so many after `after`.
pub(crate) async fn list(
    shared: &Shared,
    asking: &Asking,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Replay>, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    Ok(shared.control.replays(customer, after.map(ReplayId::from_uuid), limit + 1).await?)
}

pub(crate) async fn show(
    shared: &Shared,
    asking: &Asking,
    id: ReplayId,
) -> Result<Replay, Problem> {
    let customer = asking.may(Scope::EventsRead)?;
    shared.control.replay(customer, id).await?.ok_or_else(Problem::not_found)
}

pub(crate) async fn cancel(
    shared: &Shared,
    asking: &Asking,
    id: ReplayId,
) -> Result<Replay, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let found = shared.control.cancel_replay(customer, id, asking.caller().actor()).await?;
    found.ok_or_else(Problem::not_found)
}

#[cfg(test)]
mod tests {
    use triggerline_types::parse_instant;

    use super::*;

    #[test]
    fn a_span_has_passed_and_begins_before_it_ends() {
        let at = |text| Some(parse_instant(text).unwrap());
        let noon = at("2026-11-23T12:00:00Z");
        assert!(Span::new(noon, noon).is_err(), "it is empty");
        assert!(Span::new(at("9026-11-23T12:00:00Z"), None).is_err(), "it is to come");
        assert_eq!(Span::new(None, noon).unwrap().to, noon.unwrap());
        let open = Span::new(noon, at("9026-11-23T12:00:00Z")).unwrap();
        assert!(open.to <= OffsetDateTime::now_utc(), "it ends now");
    }

    #[test]
    fn a_pace_is_within_bounds() {
        let pace = |rate| Pace { rate, dry_run: false }.check();
        assert_eq!(pace(None).unwrap(), RATE);
        assert_eq!(pace(Some(MAX_RATE)).unwrap(), MAX_RATE);
        for rate in [0, MAX_RATE + 1] {
            assert_eq!(pace(Some(rate)).unwrap_err().faults[0].pointer, "/rate");
        }
    }
}
