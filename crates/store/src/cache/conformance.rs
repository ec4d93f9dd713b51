//! What every cache must do, as code.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test suite, by intent")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use triggerline_types::{CustomerId, EventId, parse_instant};
use uuid::Uuid;

use super::{Cache, Claim, Grant, IdempotencyKey, Reservation};

/// Every promise of [`Cache`].
pub async fn cache(cache: Arc<dyn Cache>) {
    a_settled_key_answers_as_it_did_first(&*cache).await;
    an_unsettled_key_keeps_its_id(&*cache).await;
    only_the_holder_settles_and_releases(&*cache).await;
    keys_are_apart_for_each_customer(&*cache).await;
    a_reservation_ends(&*cache).await;
    a_crowd_with_one_key_gets_it_once(&cache).await;
    a_window_is_never_overdrawn(&cache).await;
    what_was_taken_comes_back(&*cache).await;
}

/// A claim to a key of its own.
fn claim() -> Claim {
    let key =
        IdempotencyKey { customer: CustomerId::new(), key: "Bestellung Nr. 17 ~ \"x\"".into() };
    Claim {
        key,
        fingerprint: [200; 32],
        event_id: EventId::new(),
        received_at: parse_instant("2026-11-23T13:05:07.123Z").unwrap(),
        token: Uuid::now_v7(),
        lease: Duration::from_mins(1),
        keep: Duration::from_hours(1),
    }
}

/// The same request again, by somebody else.
fn again(claim: &Claim) -> Claim {
    Claim { event_id: EventId::new(), token: Uuid::now_v7(), ..claim.clone() }
}

fn ours(claim: &Claim) -> Reservation {
    Reservation::Ours { event_id: claim.event_id, received_at: claim.received_at }
}

async fn a_settled_key_answers_as_it_did_first(cache: &dyn Cache) {
    let first = claim();
    assert_eq!(cache.reserve(&first).await.unwrap(), ours(&first));
    let answer = Bytes::from_static(b"\x00\xff any bytes");
    assert!(cache.settle(&first.key, first.token, &answer).await.unwrap());
    let second = again(&first);
    assert_eq!(cache.reserve(&second).await.unwrap(), Reservation::Settled { answer });
    let other = Claim { fingerprint: [1; 32], ..again(&first) };
    assert_eq!(cache.reserve(&other).await.unwrap(), Reservation::Different);
}

async fn an_unsettled_key_keeps_its_id(cache: &dyn Cache) {
    let first = claim();
    cache.reserve(&first).await.unwrap();
    match cache.reserve(&again(&first)).await.unwrap() {
        Reservation::Running { retry_after } => {
            assert!(retry_after > Duration::from_secs(50) && retry_after <= first.lease);
        }
        other => panic!("{other:?}"),
    }
    let other = Claim { fingerprint: [1; 32], ..again(&first) };
    assert_eq!(cache.reserve(&other).await.unwrap(), Reservation::Different);
    cache.release(&first.key, first.token, false).await.unwrap();
    assert_eq!(cache.reserve(&other).await.unwrap(), Reservation::Different, "still its own");
    let second = again(&first);
    assert_eq!(cache.reserve(&second).await.unwrap(), ours(&first), "at once, under the first id");
    cache.release(&second.key, second.token, true).await.unwrap();
    assert_eq!(cache.reserve(&other).await.unwrap(), ours(&other), "forgotten");
}

async fn only_the_holder_settles_and_releases(cache: &dyn Cache) {
    let first = Claim { lease: Duration::from_millis(1), ..claim() };
    cache.reserve(&first).await.unwrap();
    let second = again(&first);
    until(async || cache.reserve(&second).await.unwrap() == ours(&first)).await;
    let taken_over = Claim { lease: Duration::from_mins(1), ..again(&first) };
    until(async || cache.reserve(&taken_over).await.unwrap() == ours(&first)).await;
    assert!(!cache.settle(&first.key, first.token, b"late").await.unwrap());
    cache.release(&first.key, first.token, true).await.unwrap();
    let other = again(&first);
    assert!(matches!(cache.reserve(&other).await.unwrap(), Reservation::Running { .. }));
    assert!(cache.settle(&first.key, taken_over.token, b"a").await.unwrap());
    assert!(!cache.settle(&first.key, taken_over.token, b"b").await.unwrap(), "once");
    cache.release(&first.key, taken_over.token, true).await.unwrap();
    let answer = Bytes::from_static(b"a");
    assert_eq!(cache.reserve(&other).await.unwrap(), Reservation::Settled { answer });
    assert!(!cache.settle(&claim().key, first.token, b"none").await.unwrap());
}

async fn keys_are_apart_for_each_customer(cache: &dyn Cache) {
    let one = claim();
    let mut other = Claim { fingerprint: [9; 32], ..again(&one) };
    other.key.customer = CustomerId::new();
    assert_eq!(cache.reserve(&one).await.unwrap(), ours(&one));
    assert_eq!(cache.reserve(&other).await.unwrap(), ours(&other));
}

async fn a_reservation_ends(cache: &dyn Cache) {
    let first = Claim { keep: Duration::from_millis(300), ..claim() };
    cache.reserve(&first).await.unwrap();
    let began = Instant::now();
    assert!(cache.settle(&first.key, first.token, b"a").await.unwrap());
    let other = Claim { fingerprint: [1; 32], ..again(&first) };
    until(async || cache.reserve(&other).await.unwrap() == ours(&other)).await;
    assert!(began.elapsed() >= Duration::from_millis(200), "not before its time");
}

async fn a_crowd_with_one_key_gets_it_once(cache: &Arc<dyn Cache>) {
    let first = claim();
    let claims = (0..200).map(|_| {
        let (cache, claim) = (Arc::clone(cache), again(&first));
        tokio::spawn(async move { (cache.reserve(&claim).await.unwrap(), claim) })
    });
    let answers = join_all(claims).await;
    let mut holders = 0;
    for answer in answers {
        match answer.unwrap() {
            (Reservation::Running { .. }, _) => {}
            (reservation, claim) => {
                assert_eq!(reservation, ours(&claim));
                holders += 1;
            }
        }
    }
    assert_eq!(holders, 1);
}

async fn a_window_is_never_overdrawn(cache: &Arc<dyn Cache>) {
    let name = Uuid::now_v7().to_string();
    let window = Duration::from_hours(1);
    let takes = (0..50_u32).map(|n| {
        let (cache, name) = (Arc::clone(cache), name.clone());
        tokio::spawn(async move { cache.take(&name, 1_000, window, n).await.unwrap() })
    });
    let grants: Vec<Grant> = join_all(takes).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(grants.iter().map(|grant| grant.granted).sum::<u32>(), 1_000);
    let left: HashSet<u32> = grants.iter().map(|grant| grant.remaining).collect();
    assert!(left.contains(&0), "the last one finds nothing left");
    let refused = cache.take(&name, 1_000, window, 1).await.unwrap();
    assert_eq!((refused.granted, refused.remaining), (0, 0));
    assert!(refused.retry_after > Duration::from_mins(59), "{refused:?}");
    assert!(refused.reset >= refused.retry_after && refused.reset < Duration::from_mins(62));
    let larger = cache.take(&name, 1_500, window, 600).await.unwrap();
    assert_eq!((larger.granted, larger.remaining), (500, 0), "a quota may grow");
    let other = cache.take(&name, 1_000, window / 2, 1).await.unwrap();
    assert_eq!(other.remaining, 999, "another window is another count");
}

async fn what_was_taken_comes_back(cache: &dyn Cache) {
    let name = Uuid::now_v7().to_string();
    let window = Duration::from_millis(500);
    let began = Instant::now();
    let all = cache.take(&name, 10, window, 10).await.unwrap();
    assert_eq!((all.granted, all.remaining, all.retry_after), (10, 0, Duration::ZERO));
    let refused = cache.take(&name, 10, window, 4).await.unwrap();
    assert_eq!(refused.granted, 0);
    assert!(refused.retry_after > Duration::ZERO && refused.retry_after < 2 * window);
    until(async || cache.take(&name, 10, window, 1).await.unwrap().granted == 1).await;
    assert!(began.elapsed() >= window, "not before the window has passed");
}

/// Asks again until it holds, for as long as a slow machine may take.
async fn until(check: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never came to hold");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
