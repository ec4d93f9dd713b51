//! What every cache must do, as code.
//!
//! Each case makes customers and keys of its own, so that the suite can run on a cache that is
//! in use. It waits for what it expects, never for a time that should be enough.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test suite, by intent")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use triggerline_types::{CustomerId, EventId, RateLimit, parse_instant};
use uuid::Uuid;

use super::{Cache, Claim, Grant, IdempotencyKey, Release, Reservation, Want};

const MINUTE: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_millis(40);

/// Every promise of [`Cache`].
pub async fn cache(cache: Arc<dyn Cache>) {
    assert!(cache.is_available());
    a_first_claim_is_ours_and_the_next_has_to_wait(&*cache).await;
    a_settled_key_gives_its_answer(&*cache).await;
    another_fingerprint_is_different_in_every_state(&*cache).await;
    what_is_released_as_unknown_keeps_its_event(&*cache).await;
    what_is_forgotten_can_be_claimed_by_another_request(&*cache).await;
    a_lease_that_is_over_is_taken_over_with_its_event(&*cache).await;
    a_key_is_forgotten_when_its_time_is_over(&*cache).await;
    customers_and_keys_do_not_meet(&*cache).await;
    of_many_claims_one_is_ours(&cache).await;
    a_window_gives_its_quota_and_no_more(&*cache).await;
    a_quota_and_a_window_may_change(&*cache).await;
    many_takers_share_one_quota(&cache).await;
    a_window_slides(&cache).await;
}

fn key() -> IdempotencyKey {
    IdempotencyKey { customer: CustomerId::new(), key: Uuid::now_v7().to_string() }
}

fn claim(key: &IdempotencyKey) -> Claim {
    Claim {
        key: key.clone(),
        fingerprint: [0xf7; 32],
        event_id: EventId::new(),
        received_at: parse_instant("2026-11-23T13:05:07.123Z").unwrap(),
        token: Uuid::now_v7(),
        lease: MINUTE,
        keep: MINUTE * 60,
    }
}

fn ours(claim: &Claim) -> Reservation {
    Reservation::Ours { event_id: claim.event_id, received_at: claim.received_at }
}

/// Another request under the same key.
fn another_body(claim: &Claim) -> Claim {
    Claim { fingerprint: [0x0d; 32], token: Uuid::now_v7(), ..claim.clone() }
}

async fn is_running(cache: &dyn Cache, claim: &Claim) {
    let Reservation::Running { retry_after } = cache.reserve(claim).await.unwrap() else {
        panic!("somebody is at work on {claim:?}");
    };
    assert!(retry_after > Duration::ZERO && retry_after <= MINUTE, "{retry_after:?}");
}

/// Claims until the key is no longer somebody else's.
async fn when_it_is_free(cache: &dyn Cache, claim: &Claim) -> Reservation {
    let started = Instant::now();
    loop {
        match cache.reserve(claim).await.unwrap() {
            Reservation::Running { retry_after } => {
                assert!(started.elapsed() < MINUTE, "still running after {:?}", started.elapsed());
                tokio::time::sleep(retry_after).await;
            }
            other => return other,
        }
    }
}

async fn a_first_claim_is_ours_and_the_next_has_to_wait(cache: &dyn Cache) {
    let key = key();
    let first = claim(&key);
    assert_eq!(cache.reserve(&first).await.unwrap(), ours(&first));
    is_running(cache, &claim(&key)).await;
    assert_eq!(cache.reserve(&first).await.unwrap(), ours(&first), "the same claim, asked again");
    is_running(cache, &claim(&key)).await;
}

async fn a_settled_key_gives_its_answer(cache: &dyn Cache) {
    let large: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for answer in [b"".as_slice(), b"\0\xff\r\n not text", "{\"größe\":\"🎁\"}".as_bytes(), &large]
    {
        let key = key();
        let first = claim(&key);
        cache.reserve(&first).await.unwrap();
        assert!(!cache.settle(&key, Uuid::now_v7(), b"no").await.unwrap(), "not theirs");
        is_running(cache, &claim(&key)).await;
        assert!(cache.settle(&key, first.token, answer).await.unwrap());
        assert!(cache.settle(&key, first.token, b"later").await.unwrap(), "it is still ours");
        assert!(!cache.settle(&key, Uuid::now_v7(), b"no").await.unwrap(), "not theirs");
        for release in [Release::Unknown, Release::Forget] {
            cache.release(&key, first.token, release).await.unwrap();
        }
        let answer = Bytes::copy_from_slice(answer);
        let settled = Reservation::Settled { event_id: first.event_id, answer };
        for claim in [&first, &claim(&key)] {
            assert_eq!(cache.reserve(claim).await.unwrap(), settled, "the first answer stays");
        }
    }
    let unknown = key();
    assert!(!cache.settle(&unknown, Uuid::now_v7(), b"no").await.unwrap(), "nothing there");
    cache.release(&unknown, Uuid::now_v7(), Release::Forget).await.unwrap();
}

async fn another_fingerprint_is_different_in_every_state(cache: &dyn Cache) {
    let key = key();
    let first = claim(&key);
    let different = async || {
        let reservation = cache.reserve(&another_body(&first)).await.unwrap();
        assert_eq!(reservation, Reservation::Different);
    };
    cache.reserve(&first).await.unwrap();
    different().await;
    let same_token = Claim { token: first.token, ..another_body(&first) };
    assert_eq!(cache.reserve(&same_token).await.unwrap(), Reservation::Different);
    cache.release(&key, first.token, Release::Unknown).await.unwrap();
    different().await;
    assert_eq!(cache.reserve(&first).await.unwrap(), ours(&first));
    assert!(cache.settle(&key, first.token, b"done").await.unwrap());
    different().await;
}

async fn what_is_released_as_unknown_keeps_its_event(cache: &dyn Cache) {
    let key = key();
    let first = claim(&key);
    cache.reserve(&first).await.unwrap();
    cache.release(&key, Uuid::now_v7(), Release::Unknown).await.unwrap();
    is_running(cache, &claim(&key)).await;
    cache.release(&key, first.token, Release::Unknown).await.unwrap();
    assert!(!cache.settle(&key, first.token, b"late").await.unwrap(), "given back");
    let second =
        Claim { received_at: parse_instant("2027-01-01T00:00:00Z").unwrap(), ..claim(&key) };
    assert_eq!(cache.reserve(&second).await.unwrap(), ours(&first), "the first one's event");
    cache.release(&key, first.token, Release::Forget).await.unwrap();
    is_running(cache, &claim(&key)).await;
    assert!(cache.settle(&key, second.token, b"done").await.unwrap());
}

async fn what_is_forgotten_can_be_claimed_by_another_request(cache: &dyn Cache) {
    let key = key();
    let first = claim(&key);
    cache.reserve(&first).await.unwrap();
    cache.release(&key, Uuid::now_v7(), Release::Forget).await.unwrap();
    is_running(cache, &claim(&key)).await;
    cache.release(&key, first.token, Release::Forget).await.unwrap();
    let second = Claim { event_id: EventId::new(), ..another_body(&first) };
    assert_eq!(cache.reserve(&second).await.unwrap(), ours(&second));
}

async fn a_lease_that_is_over_is_taken_over_with_its_event(cache: &dyn Cache) {
    let key = key();
    let first = Claim { lease: SOON, ..claim(&key) };
    cache.reserve(&first).await.unwrap();
    let second = claim(&key);
    assert_eq!(when_it_is_free(cache, &second).await, ours(&first), "the first one's event");
    is_running(cache, &claim(&key)).await;
    assert!(!cache.settle(&key, first.token, b"late").await.unwrap(), "taken over");
    cache.release(&key, first.token, Release::Forget).await.unwrap();
    assert!(cache.settle(&key, second.token, b"done").await.unwrap());

    // One that nobody took over is still its holder's.
    let slow = Claim { lease: Duration::from_millis(1), ..claim(&self::key()) };
    cache.reserve(&slow).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert!(cache.settle(&slow.key, slow.token, b"done").await.unwrap());
}

/// Counted from the first claim: neither a second one nor an answer moves it.
async fn a_key_is_forgotten_when_its_time_is_over(cache: &dyn Cache) {
    let keep = SOON * 8;
    for settled in [true, false] {
        let key = key();
        let first = Claim { keep, ..claim(&key) };
        let started = Instant::now();
        cache.reserve(&first).await.unwrap();
        cache.release(&key, first.token, Release::Unknown).await.unwrap();
        let second = Claim { keep: MINUTE, ..claim(&key) };
        assert_eq!(cache.reserve(&second).await.unwrap(), ours(&first));
        if settled {
            assert!(cache.settle(&key, second.token, b"done").await.unwrap());
        }
        let later = another_body(&claim(&key));
        while cache.reserve(&later).await.unwrap() == Reservation::Different {
            assert!(started.elapsed() < MINUTE, "still known (settled: {settled})");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let known_for = started.elapsed();
        assert!(known_for + Duration::from_millis(2) >= keep, "only for {known_for:?}");
    }
}

async fn customers_and_keys_do_not_meet(cache: &dyn Cache) {
    let (one, two) = (CustomerId::new(), CustomerId::new());
    for key in ["a", "A", "größer 🎁", "{a}", "a:b", " ", &"长".repeat(255)] {
        for customer in [one, two] {
            let claim = claim(&IdempotencyKey { customer, key: key.to_owned() });
            assert_eq!(cache.reserve(&claim).await.unwrap(), ours(&claim), "{customer} {key}");
            assert!(cache.settle(&claim.key, claim.token, key.as_bytes()).await.unwrap());
            let Reservation::Settled { answer, .. } = cache.reserve(&claim).await.unwrap() else {
                panic!("{key} was settled");
            };
            assert_eq!(answer, key.as_bytes());
        }
    }
}

async fn of_many_claims_one_is_ours(cache: &Arc<dyn Cache>) {
    let key = key();
    let claims: Vec<Claim> = (0..200).map(|_| claim(&key)).collect();
    let asked = claims.iter().cloned().map(|claim| {
        let cache = Arc::clone(cache);
        tokio::spawn(async move { cache.reserve(&claim).await.unwrap() })
    });
    let mut ours = 0;
    for (claim, reservation) in claims.iter().zip(join_all(asked).await) {
        match reservation.unwrap() {
            Reservation::Ours { event_id, .. } => {
                assert_eq!(event_id, claim.event_id);
                ours += 1;
            }
            Reservation::Running { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ours, 1);
}

fn limit(quota: u32, window: Duration) -> RateLimit {
    RateLimit::new(quota, window).unwrap()
}

fn window_key() -> String {
    format!("schlüssel:🎁:{}", Uuid::now_v7())
}

async fn a_window_gives_its_quota_and_no_more(cache: &dyn Cache) {
    let (key, limit) = (window_key(), limit(10, MINUTE * 60));
    let longest = limit.window() + limit.window() / 100;
    let take = async |want| {
        let grant = cache.take(&key, limit, want).await.unwrap();
        assert!(grant.reset <= longest && grant.retry_after <= longest, "{grant:?}");
        assert_eq!(grant.retry_after.is_zero(), grant.granted == want.amount(), "{grant:?}");
        (grant.granted, grant.remaining)
    };
    let untouched = cache.take(&key, limit, Want::UpTo(0)).await.unwrap();
    assert_eq!(untouched, Grant { remaining: 10, ..Grant::default() });
    assert_eq!(take(Want::All(11)).await, (0, 10), "more than the quota is never granted");
    assert_eq!(take(Want::All(4)).await, (4, 6));
    assert_eq!(take(Want::All(7)).await, (0, 6), "all or nothing");
    assert_eq!(take(Want::All(1)).await, (1, 5));
    assert_eq!(take(Want::UpTo(7)).await, (5, 0), "what is left");
    assert_eq!(take(Want::UpTo(7)).await, (0, 0));
    assert_eq!(take(Want::All(1)).await, (0, 0));
    assert_eq!(take(Want::All(0)).await, (0, 0), "nothing is always granted");
    let full = cache.take(&key, limit, Want::All(1)).await.unwrap();
    assert!(full.reset + MINUTE >= limit.window(), "{full:?}");
    let another = cache.take(&window_key(), limit, Want::All(10)).await.unwrap();
    assert_eq!((another.granted, another.remaining), (10, 0), "another key's window is its own");
}

async fn a_quota_and_a_window_may_change(cache: &dyn Cache) {
    let (key, hour) = (window_key(), MINUTE * 60);
    let take = async |quota, window, want| {
        let grant = cache.take(&key, limit(quota, window), Want::UpTo(want)).await.unwrap();
        (grant.granted, grant.remaining)
    };
    assert_eq!(take(5, hour, 5).await, (5, 0));
    assert_eq!(take(8, hour, 2).await, (2, 1), "more is allowed now");
    assert_eq!(take(3, hour, 1).await, (0, 0), "less is allowed now");
    assert_eq!(take(RateLimit::MAX_QUOTA, hour, u32::MAX).await, (RateLimit::MAX_QUOTA - 7, 0));
    assert_eq!(take(5, hour * 2, 6).await, (5, 0), "another window is another one");
    assert_eq!(take(5, hour, 1).await, (0, 0), "and the first one is still there");
}

async fn many_takers_share_one_quota(cache: &Arc<dyn Cache>) {
    let (key, limit) = (window_key(), limit(333, MINUTE * 60));
    let takers = (0..50).map(|taker| {
        let (cache, key) = (Arc::clone(cache), key.clone());
        tokio::spawn(async move {
            let mut granted = 0;
            for amount in 0..10 {
                let want = if taker % 2 == 0 { Want::All(amount) } else { Want::UpTo(amount) };
                granted += cache.take(&key, limit, want).await.unwrap().granted;
            }
            granted
        })
    });
    let granted: u32 = join_all(takers).await.into_iter().map(Result::unwrap).sum();
    let rest = cache.take(&key, limit, Want::UpTo(u32::MAX)).await.unwrap().granted;
    assert_eq!(granted + rest, 333, "the quota, and no more");
}

/// Several takers for a few windows: what they got in any second is no more than the quota.
async fn a_window_slides(cache: &Arc<dyn Cache>) {
    const QUOTA: u32 = 50;
    let (key, limit) = (window_key(), limit(QUOTA, Duration::from_secs(1)));
    let started = Instant::now();
    let takers = (0..4).map(|_| {
        let (cache, key) = (Arc::clone(cache), key.clone());
        tokio::spawn(async move {
            let mut grants = Vec::new();
            while started.elapsed() < Duration::from_millis(2_500) {
                let before = Instant::now();
                let grant = cache.take(&key, limit, Want::UpTo(3)).await.unwrap();
                grants.push((before, Instant::now(), grant.granted));
                // Now what was advised and now too soon.
                let pause = Duration::from_millis(7);
                tokio::time::sleep(grant.retry_after.min(pause)).await;
            }
            grants
        })
    });
    let mut grants = Vec::new();
    for taken in join_all(takers).await {
        grants.extend(taken.unwrap().into_iter().filter(|(_, _, granted)| *granted > 0));
    }
    for (from, _, _) in &grants {
        let until = *from + limit.window();
        // A grant happened between the call and the answer: count what is within for certain.
        let within = grants.iter().filter(|(before, after, _)| before >= from && *after <= until);
        let sum: u32 = within.map(|(_, _, granted)| granted).sum();
        assert!(sum <= QUOTA, "{sum} in one second");
    }
    let all: u32 = grants.iter().map(|(_, _, granted)| granted).sum();
    assert!(all >= 2 * QUOTA, "{all} in more than two seconds: what was taken comes free again");

    // What was advised is enough, and not much more than that.
    let full = loop {
        let grant = cache.take(&key, limit, Want::UpTo(QUOTA)).await.unwrap();
        if grant.granted == 0 {
            break grant;
        }
    };
    tokio::time::sleep(full.retry_after).await;
    assert!(cache.take(&key, limit, Want::UpTo(1)).await.unwrap().granted == 1, "{full:?}");
}
