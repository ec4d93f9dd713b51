//! The promises of [`crate::ReplayStore`].

use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use triggerline_types::{
    CustomerId, DeliveryId, DeliveryState, EventId, EventTypePattern, Progress, ReplayId,
    ReplayState, Selection, Source, Standing, SubscriptionId,
};
use uuid::Uuid;

use super::control::{BY, customer};
use crate::{ControlStore, MAX_RUNNING_REPLAYS, NewReplay};

const LEASE: Duration = Duration::from_mins(1);

pub(super) async fn judge(store: &dyn ControlStore) {
    a_replay_is_kept_as_it_was_asked_for(store).await;
    each_is_given_to_one_who_keeps_it_while_the_lease_lasts(store).await;
    who_cancels_ends_it(store).await;
    a_customer_runs_only_so_many_at_once(store).await;
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds).unwrap()
}

pub(super) fn new(customer_id: CustomerId) -> NewReplay {
    let subscription_id = Some(SubscriptionId::new());
    let source = Source::DeadLetters { subscription_id, delivery_id: None };
    let selection = Selection { source, from: None, to: at(60), event_types: Vec::new() };
    NewReplay { customer_id, selection, rate: 100, dry_run: false }
}

async fn a_replay_is_kept_as_it_was_asked_for(store: &dyn ControlStore) {
    let owner = customer(store, "replays").await.id;
    let subscription_id = SubscriptionId::new();
    let standing = vec![Standing::Missing, Standing::Owed(DeliveryState::DeadLettered)];
    let pattern = |text: &str| EventTypePattern::parse(text).unwrap();
    let delivery_id = Some(DeliveryId::of(EventId::new(), subscription_id));
    let mut made = Vec::new();
    for (source, event_types) in [
        (Source::Events { subscription_id, standing }, vec![pattern("a.*"), pattern("b")]),
        (Source::Events { subscription_id, standing: Vec::new() }, Vec::new()),
        (Source::Topic { subscription_id, standing: vec![Standing::Missing] }, Vec::new()),
        (Source::DeadLetters { subscription_id: None, delivery_id }, Vec::new()),
    ] {
        let selection = Selection { source, from: Some(at(0)), to: at(60), event_types };
        let asked = NewReplay { selection: selection.clone(), dry_run: true, ..new(owner) };
        let one = store.create_replay(asked, BY).await.unwrap().unwrap();
        assert_eq!((&one.selection, one.rate, one.dry_run), (&selection, 100, true));
        assert_eq!((&one.state, one.progress), (&ReplayState::Running, Progress::default()));
        assert_eq!(store.replay(owner, one.id).await.unwrap().as_ref(), Some(&one));
        made.insert(0, one);
    }
    assert_eq!(store.replays(owner, None, 10).await.unwrap(), made, "newest first");
    assert_eq!(store.replays(owner, Some(made[0].id), 1).await.unwrap(), made[1..2]);
    let other = customer(store, "others").await.id;
    assert_eq!(store.replay(other, made[0].id).await.unwrap(), None);
    assert_eq!(store.replays(other, None, 10).await.unwrap(), []);
    assert_eq!(store.cancel_replay(other, made[0].id, BY).await.unwrap(), None);
    for one in &made {
        store.cancel_replay(owner, one.id, BY).await.unwrap();
    }
}

async fn each_is_given_to_one_who_keeps_it_while_the_lease_lasts(store: &dyn ControlStore) {
    let customer = customer(store, "leases").await.id;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(store.create_replay(new(customer), BY).await.unwrap().unwrap().id);
    }
    let owners: Vec<_> = (0..8).map(|_| Uuid::new_v4()).collect();
    let claim = async |owner| store.claim_replay(owner, LEASE).await.unwrap();
    let claimed = join_all(owners.iter().map(|owner| claim(*owner))).await;
    let mut given: Vec<_> = claimed.iter().flatten().map(|one| one.id).collect();
    given.sort_unstable();
    assert_eq!(given, made, "each to one");
    let held = |id: ReplayId| {
        let at = claimed.iter().position(|one| one.as_ref().is_some_and(|one| one.id == id));
        owners[at.unwrap()]
    };
    let progress = Progress { after: Some((at(7), Uuid::new_v4())), examined: 50, sent: 7 };
    let advance = async |id, owner, state, lease| {
        store.advance_replay(id, owner, progress, state, lease).await.unwrap()
    };
    let running = || ReplayState::Running;
    assert!(!advance(made[0], Uuid::new_v4(), running(), Some(LEASE)).await, "somebody else's");
    assert!(advance(made[0], held(made[0]), running(), Some(LEASE)).await);
    let found = store.replay(customer, made[0]).await.unwrap().unwrap();
    assert_eq!((found.progress, &found.state), (progress, &ReplayState::Running));
    assert_eq!(claim(Uuid::new_v4()).await, None, "all are held");
    // Handed back, and found by somebody else where it was left.
    assert!(advance(made[0], held(made[0]), running(), None).await);
    let next = Uuid::new_v4();
    assert_eq!(claim(next).await.unwrap().progress, progress);
    assert!(!advance(made[0], held(made[0]), running(), Some(LEASE)).await, "it is another's now");
    let reason = "the subscription is gone".to_owned();
    let failed = ReplayState::Failed { reason };
    assert!(advance(made[0], next, failed.clone(), None).await);
    assert_eq!(store.replay(customer, made[0]).await.unwrap().unwrap().state, failed);
    assert!(!advance(made[0], next, running(), None).await, "it has ended");
    // A lease that has run out is nobody's.
    assert!(advance(made[1], held(made[1]), running(), Some(Duration::ZERO)).await);
    let late = tokio::time::timeout(LEASE, async {
        loop {
            if let Some(found) = claim(next).await {
                return found.id;
            }
        }
    });
    assert_eq!(late.await.unwrap(), made[1]);
    for (id, owner) in [(made[1], next), (made[2], held(made[2]))] {
        assert!(advance(id, owner, ReplayState::Completed, None).await);
    }
    assert_eq!(claim(next).await, None);
}

async fn who_cancels_ends_it(store: &dyn ControlStore) {
    let customer = customer(store, "cancels").await.id;
    let id = store.create_replay(new(customer), BY).await.unwrap().unwrap().id;
    let owner = Uuid::new_v4();
    assert_eq!(store.claim_replay(owner, LEASE).await.unwrap().unwrap().id, id);
    let cancelled = store.cancel_replay(customer, id, BY).await.unwrap().unwrap();
    assert_eq!(cancelled.state, ReplayState::Cancelled);
    assert_eq!(store.cancel_replay(customer, id, BY).await.unwrap(), Some(cancelled.clone()));
    let advance =
        store.advance_replay(id, owner, Progress::default(), ReplayState::Completed, None);
    assert!(!advance.await.unwrap());
    assert_eq!(store.replay(customer, id).await.unwrap(), Some(cancelled));
    let trail = store.audit(customer, None, 10).await.unwrap();
    let actions: Vec<_> = trail.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["replay.cancelled", "replay.created", "customer.created"]);
}

async fn a_customer_runs_only_so_many_at_once(store: &dyn ControlStore) {
    let customer = customer(store, "many").await.id;
    let all = (0..MAX_RUNNING_REPLAYS + 5).map(|_| store.create_replay(new(customer), BY));
    let made: Vec<_> = join_all(all).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(made.len(), MAX_RUNNING_REPLAYS);
    for one in &made {
        store.cancel_replay(customer, one.id, BY).await.unwrap();
    }
    let one = store.create_replay(new(customer), BY).await.unwrap().unwrap();
    store.cancel_replay(customer, one.id, BY).await.unwrap();
}
