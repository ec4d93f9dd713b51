//! One delivery on its way through the service: due → [`Admitted`] → [`Attempted`] → settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use time::OffsetDateTime;
use triggerline_kafka::{Consumed, Handler, HandlerError, Producer, Stop, Topic, Topics};
use triggerline_service::clock::Clock;
use triggerline_store::{ControlStore, Following};
use triggerline_types::{
    Actor, Attempt, Batching, Delivery, DeliverySettings, Outcome, Response, Subscription,
    SubscriptionState, truncate_to_millis,
};
use triggerline_wire as wire;

use crate::batch::{Asked, Batches, Place, Share};
use crate::crowd::{Crowds, Inside};
use crate::decide::{Decision, Policy, Seen, decide};
use crate::gate::Ended;
use crate::gates::{Admission, Admitted, Gates};
use crate::health::Watch;
use crate::metrics::Counts;
use crate::places::Places;
use crate::queue::{self, Clerk};
use crate::request::Parcel;
use crate::send::{self, Sender, Sent};
use crate::wait::{Step, Waiting, next, put_off, tier_for};

pub(crate) struct Deliverer {
    pub(crate) subscriptions: Arc<Following<()>>,
    pub(crate) control: Arc<dyn ControlStore>,
    pub(crate) crowds: Crowds,
    pub(crate) gates: Gates,
    pub(crate) places: Places,
    pub(crate) counts: Counts,
    pub(crate) batches: Batches,
    pub(crate) clerk: Clerk,
    /// How long what nobody takes stays in its queue.
    pub(crate) keep: Duration,
    pub(crate) sender: Sender,
    pub(crate) producer: Producer,
    pub(crate) topics: Topics,
    pub(crate) policy: Policy<'static>,
    pub(crate) watch: Watch,
    pub(crate) clock: Clock,
}

impl Deliverer {
    pub(crate) fn now(&self) -> OffsetDateTime {
        truncate_to_millis(self.clock.now())
    }

    /// Passes the time until the delivery is due; `false` if it went on to another tier.
    async fn wait(
        &self,
        delivery: &Delivery,
        consumed: &Consumed,
        stop: &Stop,
    ) -> Result<bool, HandlerError> {
        let now = || self.now();
        let appended = |at| self.clock.of(at);
        let tier = match consumed.topic {
            Topic::Retry(tier) => Some((tier, consumed.appended_at.map_or_else(now, appended))),
            _ => None,
        };
        let waiting = Waiting { not_before: delivery.not_before, tier };
        let begun = self.clock.instant();
        loop {
            let waited = self.clock.instant().saturating_duration_since(begun);
            match next(waiting, waited, now()) {
                Step::Go => return Ok(true),
                Step::Wait(time) => tokio::select! {
                    () = self.clock.sleep(time) => {}
                    () = stop.asked() => return Err(HandlerError::Stopped),
                },
                Step::Hop(tier) => {
                    let topic = self.topics.name(Topic::Retry(tier));
                    self.producer.send(&topic, &wire::delivery::encode(delivery)).await?;
                    return Ok(false);
                }
            }
        }
    }

    /// The subscription, known at least as well as the matcher knew it.
    async fn subscription(
        &self,
        delivery: &Delivery,
    ) -> Result<Option<Arc<Subscription>>, HandlerError> {
        // Another customer's subscription is none (a record that was put there by hand).
        let ours = |found: &Arc<Subscription>| found.customer_id == delivery.event.customer_id;
        let known = self.subscriptions.subscription(delivery.subscription_id).filter(ours);
        if known.as_ref().is_some_and(|known| known.revision >= delivery.subscription_revision) {
            return Ok(known);
        }
        self.subscriptions.catch_up().await.map_err(|error| HandlerError::again(&error))?;
        // A store that was restored from a backup may know an older revision: that one counts.
        Ok(self.subscriptions.subscription(delivery.subscription_id).filter(ours))
    }

    /// The subscription, if it is still owed something; else what becomes of the delivery.
    pub(crate) async fn owed(
        &self,
        delivery: &Delivery,
    ) -> Result<Result<Arc<Subscription>, Outcome>, HandlerError> {
        let ended = |why: &str| Ok(Err(Outcome::Cancelled { reason: why.to_owned() }));
        let Some(subscription) = self.subscription(delivery).await? else {
            return ended("there is no such subscription");
        };
        match &subscription.state {
            SubscriptionState::Deleted => ended("the subscription was deleted"),
            SubscriptionState::Unsubscribed { reason } => {
                ended(&format!("the subscription ended: {reason}"))
            }
            SubscriptionState::Disabled { reason } => {
                let reason = format!("the endpoint was disabled: {reason}");
                Ok(Err(Outcome::DeadLettered { reason }))
            }
            // What was matched before a pause is still owed.
            SubscriptionState::Active | SubscriptionState::Paused => Ok(Ok(subscription)),
        }
    }

    /// Goes on by way of a retry tier: nothing was sent, so no attempt is counted.
    async fn put_off(&self, delivery: &Delivery, wait: Duration) -> Result<(), HandlerError> {
        let (tier, wait) = put_off(wait, rand::rng().random_range(0.0..1.0));
        let topic = self.topics.name(Topic::Retry(tier));
        let later = Delivery { not_before: Some(self.now() + wait), ..delivery.clone() };
        self.producer.send(&topic, &wire::delivery::encode(&later)).await?;
        self.counts.put_off();
        Ok(())
    }

    /// What becomes of a delivery that is due, on its own.
    async fn alone(
        &self,
        delivery: &Delivery,
        settings: &DeliverySettings,
        inside: &Inside,
        stop: &Stop,
    ) -> Result<Share, HandlerError> {
        let id = delivery.subscription_id;
        match self.gates.admit(id, settings.throttle, inside, stop).await {
            Admission::PutOff(wait) => Ok(Share::PutOff(wait)),
            Admission::Stopped => Err(HandlerError::Stopped),
            // It may have waited long: the endpoint as it is now.
            Admission::Admitted(admitted) => Ok(match self.owed(delivery).await? {
                Err(outcome) => Share::Settled(outcome),
                Ok(subscription) => {
                    let parcel = Parcel::One(delivery);
                    Share::Asked(self.ask(parcel, &subscription, admitted).await.0)
                }
            }),
        }
    }

    /// What becomes of a delivery that is due, in a batch with others.
    async fn together(
        &self,
        delivery: &Delivery,
        (settings, batching): (&DeliverySettings, Batching),
        inside: &Inside,
        stop: &Stop,
    ) -> Result<Share, HandlerError> {
        let id = delivery.subscription_id;
        let lead = match self.batches.join(delivery, batching, inside.is_crowded()) {
            Place::Leader(lead) => lead,
            Place::Member(share) => {
                let gone = || HandlerError::Again("the batch's leader is gone".to_owned());
                return share.await.map_err(|_| gone());
            }
        };
        tokio::select! {
            () = lead.full() => {}
            () = self.clock.sleep(batching.max_wait) => {}
            () = stop.asked() => return Err(HandlerError::Stopped),
        }
        // While it waits here, others may still join.
        let admitted = match self.gates.admit(id, settings.throttle, inside, stop).await {
            Admission::Admitted(admitted) => admitted,
            Admission::PutOff(wait) => return Ok(lead.close().tell_all(Share::PutOff(wait))),
            Admission::Stopped => return Err(HandlerError::Stopped),
        };
        let owed = self.owed(delivery).await?;
        let batch = lead.close();
        Ok(match owed {
            Err(outcome) => batch.tell_all(Share::Settled(outcome)),
            Ok(subscription) => {
                let parcel = Parcel::Several(&batch.deliveries);
                let (asked, body) = self.ask(parcel, &subscription, admitted).await;
                batch.tell_each(&asked, &body)
            }
        })
    }

    /// Makes the request, in the place at its endpoint that `admitted` is; what came of it, and the
    /// start of the answer's body.
    async fn ask(
        &self,
        parcel: Parcel<'_>,
        subscription: &Subscription,
        admitted: Admitted,
    ) -> (Asked, Vec<u8>) {
        let Subscription { id, customer_id, ref endpoint, .. } = *subscription;
        let _place = self.places.take(customer_id).await;
        let _under_way = self.counts.begin();
        let (started_at, begun) = (self.now(), Instant::now());
        let Sent { response, retry_after, body } =
            self.sender.send(parcel, id, endpoint, started_at).await;
        let latency = begun.elapsed();
        self.counts.end(&response, latency);
        let hold = retry_after.map(|asked| asked.min(self.policy.max_retry_after));
        admitted.leave(Ended::of(&response, hold, latency));
        match response {
            Response::Answered { status, .. } => {
                self.watch.tell(id, (200..300).contains(&status), started_at);
            }
            Response::Failed { .. } => self.watch.tell(id, false, started_at),
            Response::NotSent { .. } => {}
        }
        let dice = rand::rng().random_range(0.0..1.0);
        (Asked { started_at, latency, response, retry_after, dice }, body)
    }

    fn judge(&self, delivery: &Delivery, asked: Asked, settings: &DeliverySettings) -> Attempted {
        let Asked { started_at, latency, response, retry_after, dice } = asked;
        let (attempt, now) = (delivery.attempt, self.now());
        let seen = Seen { response: &response, retry_after, attempt, now, dice };
        let decision = decide(&seen, &self.policy.of(settings));
        Attempted { started_at, latency, response, decision }
    }

    /// Makes the attempt that is due; how long it is put off, where it isn't made now.
    pub(crate) async fn attempt(
        &self,
        delivery: &Delivery,
        settings: &DeliverySettings,
        inside: &Inside,
        stop: &Stop,
    ) -> Result<Result<Attempted, Duration>, HandlerError> {
        let share = match settings.batch {
            None => self.alone(delivery, settings, inside, stop).await,
            Some(batching) => self.together(delivery, (settings, batching), inside, stop).await,
        };
        Ok(match share? {
            Share::Asked(asked) => Ok(self.judge(delivery, asked, settings)),
            Share::Settled(outcome) => Ok(Attempted::not(outcome, self.now())),
            Share::PutOff(wait) => Err(wait),
        })
    }

    /// As [`Self::settle`], however often it takes. The request was made: it is not made again
    /// because Kafka won't take note of it now.
    pub(crate) async fn settle_surely(
        &self,
        delivery: &Delivery,
        attempted: &Attempted,
        waits: Waits,
        stop: &Stop,
    ) -> Result<(), HandlerError> {
        loop {
            match self.settle(delivery, attempted, waits).await {
                Err(HandlerError::Again(reason)) => {
                    tracing::debug!(delivery = %delivery.id, reason, "settling again");
                }
                result => return result,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.asked() => return Err(HandlerError::Stopped),
            }
        }
    }

    /// Writes down what came of it: the attempt, and what is left to do.
    async fn settle(
        &self,
        delivery: &Delivery,
        attempted: &Attempted,
        waits: Waits,
    ) -> Result<(), HandlerError> {
        let Attempted { started_at, latency, response, decision } = attempted.clone();
        if decision.unsubscribe {
            let reason = "the receiver answered 410 Gone".to_owned();
            let state = SubscriptionState::Unsubscribed { reason };
            let (customer, id) = (delivery.event.customer_id, delivery.subscription_id);
            let set = self.control.set_subscription_state(customer, id, state, Actor::System).await;
            set.map_err(|error| HandlerError::again(&error))?;
        }
        tracing::debug!(
            delivery = %delivery.id,
            attempt = delivery.attempt,
            latency_ms = latency.as_millis(),
            outcome = ?decision.outcome,
            answer = send::told(&response),
            "attempted"
        );
        let attempt = Attempt {
            delivery_id: delivery.id,
            event_id: delivery.event.id,
            customer_id: delivery.event.customer_id,
            subscription_id: delivery.subscription_id,
            number: delivery.attempt,
            started_at,
            latency,
            response,
            outcome: decision.outcome.clone(),
        };
        let report = async {
            let topic = self.topics.name(Topic::Attempts);
            self.producer.send(&topic, &wire::fact::encode_attempt(&attempt)).await
        };
        let rest = async {
            match rest(delivery, &decision.outcome, self.now()) {
                Some((Topic::Retry(_), _)) if waits == Waits::InQueue => Ok(()),
                Some((topic, record)) => {
                    self.producer.send(&self.topics.name(topic), &record).await.map(drop)
                }
                None => Ok(()),
            }
        };
        futures::try_join!(report, rest)?;
        self.counts.attempt(&decision.outcome);
        Ok(())
    }
}

/// Where a delivery waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// In a retry tier.
    InKafka,
    /// Where it is.
    InQueue,
}

/// What an outcome leaves to do, and where that is kept.
fn rest(
    delivery: &Delivery,
    outcome: &Outcome,
    now: OffsetDateTime,
) -> Option<(Topic, wire::Record)> {
    match outcome {
        Outcome::Delivered | Outcome::Cancelled { .. } => None,
        Outcome::Retry { at } => {
            let tier = tier_for(Duration::try_from(*at - now).unwrap_or_default());
            let next = Delivery {
                attempt: delivery.attempt + 1,
                not_before: Some(*at),
                ..delivery.clone()
            };
            Some((Topic::Retry(tier), wire::delivery::encode(&next)))
        }
        // Redriven as it is, it starts over.
        Outcome::DeadLettered { reason } => {
            let dead = Delivery { attempt: 1, not_before: None, ..delivery.clone() };
            let record = wire::delivery::encode_dead_letter(&dead, reason, now);
            Some((Topic::DeliveriesDlq, record))
        }
    }
}

/// Between two tries to write down what came of a request.
const PAUSE: Duration = Duration::from_secs(1);

/// A request that was made, or that there was no reason to make, and what it means.
#[derive(Clone)]
pub(crate) struct Attempted {
    started_at: OffsetDateTime,
    latency: Duration,
    response: Response,
    pub(crate) decision: Decision,
}

impl Attempted {
    /// Nobody was asked.
    pub(crate) fn not(outcome: Outcome, now: OffsetDateTime) -> Self {
        let reason = match &outcome {
            Outcome::Cancelled { reason } | Outcome::DeadLettered { reason } => reason.clone(),
            Outcome::Delivered | Outcome::Retry { .. } => String::new(),
        };
        Self {
            started_at: now,
            latency: Duration::ZERO,
            response: Response::NotSent { reason },
            decision: Decision { outcome, unsubscribe: false },
        }
    }
}

impl Handler for Deliverer {
    async fn handle(&self, consumed: &Consumed, stop: &Stop) -> Result<(), HandlerError> {
        let delivery = wire::delivery::decode(&consumed.record)?;
        if delivery.not_before.is_some() {
            // It has lost its place long since; nobody waits for it.
            consumed.turn.pass();
        }
        if !self.wait(&delivery, consumed, stop).await? {
            return Ok(());
        }
        // Those who wait for their time don't count: they stand in its order.
        let partition = (consumed.topic, consumed.partition);
        let bytes = consumed.record.value.len();
        let inside = self.crowds.enter(partition, delivery.subscription_id, bytes);
        let attempted = match self.owed(&delivery).await? {
            Ok(subscription) if subscription.endpoint.settings.is_queued() => {
                drop(inside);
                consumed.turn.reached().await?;
                let row = queue::row(&delivery, &subscription, self);
                let written = self.clerk.write(row);
                consumed.turn.pass();
                return written.await.map_err(|_| HandlerError::Stopped);
            }
            Ok(subscription) => {
                consumed.turn.pass();
                let settings = &subscription.endpoint.settings;
                match self.attempt(&delivery, settings, &inside, stop).await? {
                    Ok(attempted) => attempted,
                    Err(wait) => return self.put_off(&delivery, wait).await,
                }
            }
            Err(outcome) => {
                consumed.turn.pass();
                Attempted::not(outcome, self.now())
            }
        };
        self.settle_surely(&delivery, &attempted, Waits::InKafka, stop).await
    }
}
