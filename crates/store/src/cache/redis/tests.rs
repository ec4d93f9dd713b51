use fred::interfaces::ClientLike as _;

use super::super::window::Window;
use super::*;

#[test]
fn redis_has_the_last_word_unless_it_asks_for_patience() {
    for (kind, details, last_word) in [
        (ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key", true),
        (ErrorKind::Unknown, "ERR user_script:1: Script attempted", true),
        (ErrorKind::Unknown, "NOPERM this user has no permissions", true),
        (ErrorKind::Parse, "Could not convert to array", true),
        (ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory", false),
        (ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'.", false),
        (ErrorKind::Unknown, "READONLY You can't write against a read only replica.", false),
        (ErrorKind::Cluster, "CLUSTERDOWN The cluster is down", false),
        (ErrorKind::Unknown, "Client is not initialized.", false),
        (ErrorKind::Timeout, "Request timed out.", false),
        (ErrorKind::IO, "Connection closed.", false),
        (ErrorKind::Canceled, "", false),
        (ErrorKind::Backpressure, "Max in-flight commands reached.", false),
    ] {
        assert_eq!(is_final(&Error::new(kind, details)), last_word, "{details}");
    }
}

#[test]
fn what_a_script_never_answers_is_said() {
    let id = || binary(&[7; 16]);
    for answer in [
        Value::Null,
        Value::Array(Vec::new()),
        Value::Array(vec![4.into()]),
        Value::Array(vec![0.into(), binary(b"short"), "1".into()]),
        Value::Array(vec![0.into(), id(), "soon".into()]),
        Value::Array(vec![1.into(), (-1).into()]),
        Value::Array(vec![3.into(), id()]),
    ] {
        assert_eq!(read_reservation(answer.clone()), Err(format!("{answer:?}")));
    }
    assert!(read_grant(Value::Array(vec![1.into(), 2.into(), 3.into()])).is_err());
    assert!(read_grant(Value::Array(vec![1.into(), (-2).into(), 3.into(), 4.into()])).is_err());
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_without_its_password() {
    for url in ["redis://", "redis://u:secret@h:port", "redis://u:secret@h/abc", "redis:"] {
        let error = RedisCache::connect(url).err().unwrap();
        assert!(matches!(error, StoreError::Address(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for url in ["redis://h", "rediss://u:p@h:1/2", "redis-cluster://h:7000?node=i:7001"] {
        assert!(RedisCache::connect(url).is_ok(), "{url}");
    }
}

const CLOCK: &str = "redis.call('TIME')";

async fn client() -> fred::clients::Client {
    let server = std::env::var("TRIGGERLINE_TEST_REDIS").unwrap();
    let mut config = address::parse(&server).unwrap();
    config.fail_fast = true;
    let client = fred::clients::Client::new(config, None, None, None);
    client.init().await.unwrap();
    client
}

/// In milliseconds: the leases of two claims, when the second comes, and how long it waits.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_lease_is_over_when_the_clock_is_set_back() {
    const START: u64 = 1_795_000_000_000;
    let client = client().await;
    let script = include_str!("reserve.lua");
    assert!(script.contains(CLOCK));
    let script = script.replace(CLOCK, "{ARGV[7], ARGV[8]}");
    let claim = async |key: &str, token: u128, lease: u64, now: u64| {
        let arguments = vec![
            binary(&[1; 32]),
            binary(Uuid::from_u128(token).as_bytes()),
            binary(&[2; 16]),
            Value::from("0"),
            millis(Duration::from_millis(lease)),
            millis(Duration::from_mins(10)),
            (now / 1_000).to_string().into(),
            (now % 1_000 * 1_000).to_string().into(),
        ];
        let answer: Value = client.eval(script.as_str(), key, arguments).await.unwrap();
        read_reservation(answer).unwrap()
    };
    for (first, second, at, left) in [
        (10_000, 10_000, START, Some(10_000)),
        (10_000, 10_000, START + 9_999, Some(1)),
        (10_000, 10_000, START + 10_000, None),
        (10_000, 10_000, START - 1, None),
        (10_000, 10_000, START - 3_600_000, None),
        // It is the holder's lease that counts.
        (10_000, 1_000, START, Some(10_000)),
        (1_000, 10_000, START - 1, None),
    ] {
        let key = format!("tl:test:{}", Uuid::now_v7());
        claim(&key, 1, first, START).await;
        let reservation = claim(&key, 2, second, at).await;
        if let Some(left) = left {
            let retry_after = Duration::from_millis(left);
            assert_eq!(reservation, Reservation::Running { retry_after }, "{at}");
            continue;
        }
        assert!(matches!(reservation, Reservation::Ours { .. }), "{at}: {reservation:?}");
        let after = claim(&key, 3, first, at).await;
        let retry_after = Duration::from_millis(second);
        assert_eq!(after, Reservation::Running { retry_after }, "a new lease");
    }
    client.quit().await.unwrap();
}

/// The script and the reference, through the same series of takes at the same instants.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn the_script_takes_as_the_reference_does() {
    // Redis would expire the key by its own clock.
    const EXPIRY: &str = "leaves(newest))\nend";
    let client = client().await;
    let script = include_str!("take.lua");
    assert!(script.contains(CLOCK) && script.contains(EXPIRY));
    let script = script.replace(CLOCK, "{ARGV[6], ARGV[7]}").replace(EXPIRY, "600000)\nend");

    let mut noise = 99_u64;
    let mut random = |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (noise >> 33) % below
    };
    for (seconds, step) in [(1, 30), (1, 700), (60, 3_000), (86_400, 2_000_000)] {
        let key = format!("tl:test:{}", Uuid::now_v7());
        let mut window = Window::default();
        let mut now = 1_795_000_000_000;
        for turn in 0..1_000 {
            now = match random(50) {
                0 => now - random(step * 3),
                _ => now + random(step),
            };
            let quota = u32::try_from(20 + random(3) * 5).unwrap();
            let limit = RateLimit::new(quota, Duration::from_secs(seconds)).unwrap();
            let amount = u32::try_from(random(28)).unwrap();
            let want = if random(2) == 0 { Want::All(amount) } else { Want::UpTo(amount) };
            let mut arguments = take_arguments(limit, want);
            arguments.push((now / 1_000).to_string().into());
            arguments.push((now % 1_000 * 1_000 + random(1_000)).to_string().into());
            let answer: Value = client.eval(script.as_str(), &key, arguments).await.unwrap();
            let expected = window.take(limit, want, now);
            assert_eq!(read_grant(answer).unwrap(), expected, "{turn}: {limit} {want:?} at {now}");
        }
    }
    client.quit().await.unwrap();
}
