//! Deliveries of one subscription that go in one request.
//!
//! Whoever comes first **leads**: it waits for others until the batch is full or old enough, passes
//! the endpoint's gate once for all, makes the request, and tells each **member** what came of it.
//! From there on each is on its own again: it is decided about, written down and tried again by
//! itself. So a crash in the middle of a batch leaves deliveries that nobody has settled, and they
//! come again, maybe in another batch.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use triggerline_types::{Batching, Delivery, Outcome, Response, SubscriptionId};

#[derive(Clone, Default)]
pub(crate) struct Batches {
    lines: Arc<Mutex<HashMap<SubscriptionId, Line>>>,
}

/// The batches of one subscription.
#[derive(Default)]
struct Line {
    /// The one that others can join.
    open: Option<Arc<Open>>,
    /// How many are on their way.
    closed: usize,
}

#[derive(Default)]
struct Open {
    members: Mutex<Members>,
    /// Told when nobody else can join.
    full: Notify,
}

#[derive(Default)]
struct Members {
    deliveries: Vec<Delivery>,
    waiting: Vec<oneshot::Sender<Share>>,
    bytes: usize,
}

/// What a delivery is to the batch that it joins.
pub(crate) enum Place {
    Leader(Lead),
    Member(oneshot::Receiver<Share>),
}

/// What became of a batch, for one of its members.
#[derive(Clone, Debug)]
pub(crate) enum Share {
    /// A request was made.
    Asked(Asked),
    /// None was, because nothing is owed any more.
    Settled(Outcome),
    /// None was, because the endpoint is not asked now.
    PutOff(std::time::Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) started_at: OffsetDateTime,
    pub(crate) latency: std::time::Duration,
    pub(crate) response: Response,
    pub(crate) retry_after: Option<std::time::Duration>,
    /// The same for all, so that those who are tried again come together.
    pub(crate) dice: f64,
}

/// The right to close a batch. Dropped without, its members are told nothing, and start over.
pub(crate) struct Lead {
    batches: Batches,
    subscription: SubscriptionId,
    /// `None`: it was closed, and its end is its [`Closed`]'s to tell.
    open: Option<Arc<Open>>,
}

impl Batches {
    /// Joins the open batch, or opens one. `crowded`: what waits here stands in others' way. If none
    /// is on its way, which would make room, the batch goes as it is.
    pub(crate) fn join(&self, delivery: &Delivery, batching: Batching, crowded: bool) -> Place {
        let bytes = delivery.event.payload.len();
        let id = delivery.subscription_id;
        let mut lines = lock(&self.lines);
        let line = lines.entry(id).or_default();
        let hurry = crowded && line.closed == 0;
        if let Some(batch) = line.open.take() {
            let mut members = lock(&batch.members);
            if members.has_room(bytes, batching) {
                let (sender, receiver) = oneshot::channel();
                members.take(delivery, bytes, Some(sender));
                let goes = hurry || !members.has_room(0, batching);
                drop(members);
                line.leave(batch, goes);
                return Place::Member(receiver);
            }
            drop(members);
            line.leave(batch, true);
        }
        let batch = Arc::new(Open::default());
        let goes = {
            let mut members = lock(&batch.members);
            members.take(delivery, bytes, None);
            (crowded && line.closed == 0) || !members.has_room(0, batching)
        };
        line.leave(Arc::clone(&batch), goes);
        Place::Leader(Lead { batches: self.clone(), subscription: id, open: Some(batch) })
    }

    /// One of a subscription's batches is over.
    fn over(&self, id: SubscriptionId, batch: &Arc<Open>) {
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(&id) else { return };
        if line.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            line.open = None;
        } else {
            line.closed = line.closed.saturating_sub(1);
        }
        if line.closed == 0 && line.open.is_none() {
            lines.remove(&id);
        }
    }

    /// Nobody joins a batch from now on.
    fn close(&self, id: SubscriptionId, batch: &Arc<Open>) {
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(&id) else { return };
        if line.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            line.open = None;
            line.closed += 1;
        }
    }
}

impl Line {
    /// Leaves a batch open for others, or sends it on its way.
    fn leave(&mut self, batch: Arc<Open>, goes: bool) {
        if goes {
            batch.full.notify_one();
            self.closed += 1;
        } else {
            self.open = Some(batch);
        }
    }
}

impl Members {
    /// By the payloads: what is around them is small.
    fn has_room(&self, bytes: usize, batching: Batching) -> bool {
        self.deliveries.len() < batching.max_events as usize
            && self.bytes + bytes <= batching.max_bytes
    }

    fn take(&mut self, delivery: &Delivery, bytes: usize, who: Option<oneshot::Sender<Share>>) {
        self.deliveries.push(delivery.clone());
        self.waiting.extend(who);
        self.bytes += bytes;
    }
}

/// A batch that nobody joins any more: the deliveries, its leader's first, and who waits for them.
pub(crate) struct Closed {
    pub(crate) deliveries: Vec<Delivery>,
    waiting: Vec<oneshot::Sender<Share>>,
    _end: End,
}

/// Counts a closed batch until it is dropped.
struct End {
    batches: Batches,
    subscription: SubscriptionId,
    batch: Arc<Open>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.batches.over(self.subscription, &self.batch);
    }
}

impl Lead {
    /// Resolves when nobody else can join.
    pub(crate) async fn full(&self) {
        if let Some(open) = &self.open {
            open.full.notified().await;
        }
    }

    pub(crate) fn close(mut self) -> Closed {
        let (batches, subscription) = (self.batches.clone(), self.subscription);
        let batch = self.open.take().unwrap_or_default();
        batches.close(subscription, &batch);
        let Members { deliveries, waiting, .. } = std::mem::take(&mut *lock(&batch.members));
        Closed { deliveries, waiting, _end: End { batches, subscription, batch } }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(batch) = self.open.take() {
            self.batches.over(self.subscription, &batch);
            lock(&batch.members).waiting.clear();
        }
    }
}

impl Closed {
    /// Tells all the same; returns the leader's share of it.
    pub(crate) fn tell_all(self, share: Share) -> Share {
        for waiting in self.waiting {
            // One that is gone is another process' by now.
            let _ = waiting.send(share.clone());
        }
        share
    }

    /// Tells each what the answer means for it; returns the leader's share.
    pub(crate) fn tell_each(self, asked: &Asked, body: &[u8]) -> Share {
        let failed = failed(&asked.response, body);
        let mut shares = self.deliveries.iter().map(|delivery| {
            let named = failed.contains(&delivery.id.to_string())
                || failed.contains(&delivery.event.id.to_string());
            let response =
                if named { named_response(&asked.response) } else { asked.response.clone() };
            Share::Asked(Asked { response, ..asked.clone() })
        });
        // There is always the leader's own.
        let first = shares.next().unwrap_or_else(|| Share::Asked(asked.clone()));
        for (waiting, share) in self.waiting.into_iter().zip(shares) {
            let _ = waiting.send(share);
        }
        first
    }
}

/// What a member gets that the receiver names as failed: to be tried again.
fn named_response(response: &Response) -> Response {
    let status = match response {
        Response::Answered { status, .. } => *status,
        Response::Failed { .. } | Response::NotSent { .. } => 0,
    };
    let error = format!("the receiver answered {status}, but names this one as failed");
    Response::Failed { error }
}

/// The ids, of events or of deliveries, that an answer 2xx names as failed: `{"failed": ["…"]}`. Any
/// other body names none.
fn failed(response: &Response, body: &[u8]) -> HashSet<String> {
    #[derive(Default, Deserialize)]
    struct Named {
        failed: HashSet<String>,
    }
    match response {
        Response::Answered { status: 200..=299, .. } => {
            serde_json::from_slice::<Named>(body).unwrap_or_default().failed
        }
        _ => HashSet::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use triggerline_types::{CustomerId, DeliveryId, Event, EventId, EventType, Revision};

    use super::*;

    const BATCHING: Batching =
        Batching { max_events: 3, max_bytes: 100, max_wait: Duration::from_secs(1) };

    fn delivery(subscription_id: SubscriptionId, bytes: usize) -> Delivery {
        let now = OffsetDateTime::UNIX_EPOCH;
        let event = Event {
            id: EventId::new(),
            customer_id: CustomerId::new(),
            event_type: EventType::parse("a").unwrap(),
            source: "test".to_owned(),
            subject: None,
            occurred_at: now,
            received_at: now,
            extensions: std::collections::BTreeMap::new(),
            traceparent: None,
            quarantined: None,
            payload: Bytes::from(vec![b'1'; bytes]),
        };
        Delivery {
            id: DeliveryId::of(event.id, subscription_id),
            subscription_id,
            subscription_revision: Revision(1),
            event,
            attempt: 1,
            not_before: None,
            replay_id: None,
        }
    }

    /// Those who lead, of deliveries of these sizes that come one after the other.
    fn leads(batches: &Batches, id: SubscriptionId, sizes: &[usize]) -> Vec<(Lead, usize)> {
        let mut leads: Vec<(Lead, usize)> = Vec::new();
        for size in sizes {
            match batches.join(&delivery(id, *size), BATCHING, false) {
                Place::Leader(lead) => leads.push((lead, 1)),
                Place::Member(_) => leads.last_mut().unwrap().1 += 1,
            }
        }
        leads
    }

    #[tokio::test]
    async fn a_batch_is_full_by_number_or_by_size() {
        for (sizes, members, full) in [
            (vec![1], vec![1], 0),
            (vec![1, 1, 1], vec![3], 1),
            (vec![1, 1, 1, 1], vec![3, 1], 1),
            (vec![60, 60, 60], vec![1, 1, 1], 2),
            (vec![60, 40, 1], vec![2, 1], 0),
            // Larger than a batch may be: alone.
            (vec![500, 1], vec![1, 1], 1),
        ] {
            let (batches, id) = (Batches::default(), SubscriptionId::new());
            let leads = leads(&batches, id, &sizes);
            assert_eq!(leads.iter().map(|lead| lead.1).collect::<Vec<_>>(), members, "{sizes:?}");
            for (lead, count) in leads.into_iter().take(full.max(members.len() - 1)) {
                lead.full().await;
                assert_eq!(lead.close().deliveries.len(), count);
            }
        }
    }

    #[tokio::test]
    async fn in_a_crowd_it_goes_as_it_is_unless_others_are_on_their_way() {
        let (batches, one, two) =
            (Batches::default(), SubscriptionId::new(), SubscriptionId::new());
        let (lead, _) = leads(&batches, one, &[1]).pop().unwrap();
        assert!(matches!(batches.join(&delivery(two, 1), BATCHING, false), Place::Leader(_)));
        let member = batches.join(&delivery(one, 1), BATCHING, true);
        assert!(matches!(member, Place::Member(_)));
        lead.full().await;
        let Place::Leader(next) = batches.join(&delivery(one, 1), BATCHING, true) else {
            panic!("it is none's member");
        };
        // The first makes room when it is over: there is no reason to hurry.
        assert!(matches!(batches.join(&delivery(one, 1), BATCHING, true), Place::Member(_)));
        let first = lead.close();
        assert_eq!(first.deliveries.len(), 2);
        drop(first);
        assert!(matches!(batches.join(&delivery(one, 1), BATCHING, true), Place::Member(_)));
        next.full().await;
        assert_eq!(next.close().deliveries.len(), 3);
        assert!(!lock(&batches.lines).contains_key(&one), "nothing is left of it");
    }

    #[tokio::test]
    async fn members_of_a_leader_that_is_gone_are_told_nothing() {
        let (batches, id) = (Batches::default(), SubscriptionId::new());
        let (lead, _) = leads(&batches, id, &[1]).pop().unwrap();
        let Place::Member(share) = batches.join(&delivery(id, 1), BATCHING, false) else {
            panic!("it leads");
        };
        drop(lead);
        assert!(share.await.is_err());
        assert!(lock(&batches.lines).is_empty());
    }

    #[tokio::test]
    async fn only_those_who_are_named_have_failed() {
        let (batches, id) = (Batches::default(), SubscriptionId::new());
        let members: Vec<_> = (0..3).map(|_| delivery(id, 1)).collect();
        let mut shares = Vec::new();
        let mut lead = None;
        for member in &members {
            match batches.join(member, BATCHING, false) {
                Place::Leader(leads) => lead = Some(leads),
                Place::Member(share) => shares.push(share),
            }
        }
        let answered = |status| Response::Answered { status, excerpt: String::new() };
        let asked = Asked {
            started_at: OffsetDateTime::UNIX_EPOCH,
            latency: Duration::ZERO,
            response: answered(200),
            retry_after: None,
            dice: 0.5,
        };
        // By the event's id, and by the delivery's.
        let body = format!(r#"{{"failed":["{}","{}"]}}"#, members[0].event.id, members[2].id);
        let mut told = vec![lead.unwrap().close().tell_each(&asked, body.as_bytes())];
        for share in shares {
            told.push(share.await.unwrap());
        }
        let failed: Vec<_> = told
            .iter()
            .map(|share| match share {
                Share::Asked(Asked { response: Response::Failed { .. }, .. }) => true,
                Share::Asked(_) => false,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(failed, [true, false, true]);
    }

    #[test]
    fn an_answer_names_the_failed_only_in_the_one_form() {
        let answered = |status| Response::Answered { status, excerpt: String::new() };
        for (status, body, count) in [
            (200, r#"{"failed":["a","b"]}"#, 2),
            (207, r#"{"failed":["a"],"more":1}"#, 1),
            (200, r#"{"failed":[]}"#, 0),
            (200, r#"{"failed":"a"}"#, 0),
            (200, "ok", 0),
            (200, "", 0),
            (500, r#"{"failed":["a"]}"#, 0),
        ] {
            assert_eq!(failed(&answered(status), body.as_bytes()).len(), count, "{status} {body}");
        }
    }
}
