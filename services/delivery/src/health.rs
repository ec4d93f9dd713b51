//! Endpoints that answer with nothing but failure, and their end.
//!
//! Those who attempt deliveries tell a **watch** ([`Watch`]) of successes and failures, without
//! waiting. The **watchman** ([`Watchman`]) writes streaks of failure down in the control store,
//! where all processes see them, and disables the subscription of an endpoint that has failed for
//! too long. What he does about a failure is decided by [`judge`], pure.
//!
//! A store that can't be asked delays the verdict: what failed once fails again, and is told again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use triggerline_kafka::{Producer, Topic, Topics};
use triggerline_store::{ControlStore, Following};
use triggerline_types::{
    Actor, Event, EventId, EventType, Subscription, SubscriptionId, SubscriptionState,
    format_instant, millis,
};
use triggerline_wire as wire;

/// The type of the event that tells of it.
pub(crate) const DISABLED: &str = "triggerline.endpoint.disabled";
/// How often one endpoint's failure is written down, and at least how often it is looked at.
const AGAIN: Duration = Duration::from_hours(1);
/// How often the failing are asked for, as other processes know of them too.
const REFRESH: Duration = Duration::from_mins(1);
/// Those that wait to be written down; the rest is told of again by its next failure.
const ROOM: usize = 10_000;

/// How an endpoint took a delivery.
#[derive(Clone, Copy, Debug)]
struct Told {
    id: SubscriptionId,
    took_it: bool,
    at: OffsetDateTime,
}

#[derive(Clone)]
pub(crate) struct Watch {
    failing: Arc<RwLock<HashSet<SubscriptionId>>>,
    tell: mpsc::Sender<Told>,
}

impl Watch {
    pub(crate) fn tell(&self, id: SubscriptionId, took_it: bool, at: OffsetDateTime) {
        let failing = || self.failing.read().unwrap_or_else(PoisonError::into_inner).contains(&id);
        if !took_it || failing() {
            // Full or gone: it will be told again.
            let _ = self.tell.try_send(Told { id, took_it, at });
        }
    }
}

pub(crate) struct Watchman {
    pub(crate) control: Arc<dyn ControlStore>,
    pub(crate) subscriptions: Arc<Following<()>>,
    pub(crate) producer: Producer,
    pub(crate) topics: Topics,
    /// How long an endpoint may fail.
    pub(crate) patience: Duration,
}

/// A streak of failures as this process last saw it in the store.
#[derive(Clone, Copy, Debug)]
struct Streak {
    since: OffsetDateTime,
    seen: OffsetDateTime,
}

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Write it down, and see since when it fails.
    Note,
}

fn judge(known: Option<Streak>, now: OffsetDateTime, patience: Duration) -> Step {
    match known {
        None => Step::Note,
        Some(Streak { since, seen }) if now - seen >= AGAIN || now - since >= patience => {
            Step::Note
        }
        Some(_) => Step::Nothing,
    }
}

impl Watchman {
    /// Begins to watch; it goes on until all who could tell are gone.
    pub(crate) fn start(self) -> Watch {
        let (tell, told) = mpsc::channel(ROOM);
        let failing = Arc::default();
        tokio::spawn(self.stand(told, Arc::clone(&failing)));
        Watch { failing, tell }
    }

    async fn stand(
        self,
        mut told: mpsc::Receiver<Told>,
        failing: Arc<RwLock<HashSet<SubscriptionId>>>,
    ) {
        let mut streaks: HashMap<SubscriptionId, Streak> = HashMap::new();
        let failing = || failing.write().unwrap_or_else(PoisonError::into_inner);
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let Told { id, took_it, at } = tokio::select! {
                told = told.recv() => match told {
                    Some(told) => told,
                    None => return,
                },
                _ = refresh.tick() => {
                    match self.control.failing_endpoints().await {
                        Ok(all) => {
                            let all: HashSet<_> = all.into_iter().collect();
                            streaks.retain(|id, _| all.contains(id));
                            *failing() = all;
                        }
                        Err(error) => tracing::debug!(%error, "asking for failing endpoints"),
                    }
                    continue;
                }
            };
            let result = if took_it {
                self.control.endpoint_recovered(id).await.map(|()| {
                    streaks.remove(&id);
                    failing().remove(&id);
                })
            } else if judge(streaks.get(&id).copied(), at, self.patience) == Step::Note {
                self.control.endpoint_failed(id, at).await.map(|since| {
                    streaks.insert(id, Streak { since, seen: at });
                    failing().insert(id);
                })
            } else {
                continue;
            };
            if let Err(error) = result {
                tracing::debug!(subscription = %id, %error, "noting how an endpoint does");
                continue;
            }
            match streaks.get(&id) {
                Some(streak) if at - streak.since >= self.patience => {
                    if let Err(error) = self.disable(id, streak.since).await {
                        tracing::warn!(subscription = %id, %error, "disabling an endpoint");
                    }
                }
                _ => {}
            }
        }
    }

    async fn disable(&self, id: SubscriptionId, since: OffsetDateTime) -> anyhow::Result<()> {
        let Some(subscription) = self.subscriptions.subscription(id) else {
            return Ok(());
        };
        // A paused one gets nothing new anyway; what its owner or the receiver ended has ended.
        if subscription.state != SubscriptionState::Active {
            return Ok(());
        }
        let reason = format!("nothing but failure since {}", format_instant(since));
        // Told first: a process that ends in between tells it twice, with the same id.
        let told_at = since + self.patience;
        let event_id = EventId::told(*id.as_uuid(), &millis(since).to_be_bytes(), told_at);
        let event = event(event_id, &subscription, since, &reason)?;
        let topic = self.topics.name(Topic::Events);
        self.producer.send(&topic, &wire::event::encode(&event)).await?;
        let state = SubscriptionState::Disabled { reason };
        let customer = subscription.customer_id;
        self.control.set_subscription_state(customer, id, state, Actor::System).await?;
        tracing::info!(subscription = %id, customer = %customer, "an endpoint was disabled");
        Ok(())
    }
}

/// What the customer is told, with one id for each streak.
fn event(
    id: EventId,
    subscription: &Subscription,
    since: OffsetDateTime,
    reason: &str,
) -> anyhow::Result<Event> {
    let now = id.received_at();
    let payload = json!({
        "subscription_id": subscription.id,
        "workflow_id": subscription.workflow_id,
        "url": subscription.endpoint.url,
        "reason": reason,
        "failing_since": format_instant(since),
        "disabled_at": format_instant(now),
    });
    Ok(Event {
        id,
        customer_id: subscription.customer_id,
        event_type: EventType::parse(DISABLED)?,
        source: "triggerline".to_owned(),
        subject: Some(subscription.id.to_string()),
        occurred_at: now,
        received_at: now,
        traceparent: None,
        extensions: BTreeMap::new(),
        payload: serde_json::to_vec(&payload)?.into(),
        quarantined: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_written_down_once_an_hour_and_when_it_is_enough() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_hours(1_000);
        let patience = Duration::from_hours(5 * 24);
        // (failing since, seen in the store), minutes ago
        for (known, step) in [
            (None, Step::Note),
            (Some((0, 0)), Step::Nothing),
            (Some((59, 59)), Step::Nothing),
            (Some((60, 60)), Step::Note),
            (Some((7_000, 1)), Step::Nothing),
            (Some((7_200, 1)), Step::Note),
        ] {
            let ago = |minutes: i64| now - time::Duration::minutes(minutes);
            let known = known.map(|(since, seen)| Streak { since: ago(since), seen: ago(seen) });
            assert_eq!(judge(known, now, patience), step, "{known:?}");
        }
    }
}
