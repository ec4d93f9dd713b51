//! `triggerline sign` and `triggerline verify`, as whoever writes a receiver uses them.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use triggerline_testkit::World;

const BINARY: &str = env!("CARGO_BIN_EXE_triggerline");
/// The example of the Standard Webhooks reference libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: &str = "1614265330";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const GENUINE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

#[tokio::test]
async fn what_is_signed_is_what_the_reference_libraries_sign() -> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let body = world.folder.path().join("body.json");
    std::fs::write(&body, BODY)?;
    let body = body.to_str().unwrap();
    let sign = async |secrets: &str| {
        world.run(&["sign", "--secret", secrets, "--id", ID, "--timestamp", AT, body]).await
    };
    let expected =
        format!("webhook-id: {ID}\nwebhook-timestamp: {AT}\nwebhook-signature: {GENUINE}\n");
    assert_eq!(sign(SECRET).await?, expected);
    // While a secret is rotated: each receiver finds the one that it knows.
    let both = sign(&format!("{OTHER},{SECRET}")).await?;
    let signatures = both.lines().nth(2).unwrap().strip_prefix("webhook-signature: ").unwrap();
    assert!(signatures.ends_with(&format!(" {GENUINE}")), "{both}");
    for secret in [SECRET, OTHER] {
        let arguments = ["verify", "--id", ID, "--timestamp", AT, "--tolerance", "36500d"];
        let rest = ["--secret", secret, "--signature", signatures, body];
        assert_eq!(world.run(&[&arguments[..], &rest].concat()).await?, "genuine\n");
    }
    // Now, where no time is given: within the tolerance.
    let now = world.run(&["sign", "--secret", SECRET, "--id", "1", body]).await?;
    let values: Vec<_> = now.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    let [id, timestamp, signature] = values[..] else { panic!("{now}") };
    let given = ["--id", id, "--timestamp", timestamp, "--signature", signature, body];
    world.run(&[&["verify", "--secret", SECRET][..], &given].concat()).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_told_and_no_secret_with_it() -> anyhow::Result<()> {
    let world = World::empty(BINARY)?;
    let file = |name: &str, body: &[u8]| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, body).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (body, written_again) = (file("body", BODY), file("again", br#"{"test":2432232314}"#));
    let later = i64::MAX.to_string();
    for (secret, timestamp, tolerance, signature, body, status, told) in [
        (SECRET, AT, "36500d", GENUINE, &body, 0, ""),
        (SECRET, AT, "5m", GENUINE, &body, 1, "s old; at most 300 s are allowed"),
        (SECRET, later.as_str(), "36500d", GENUINE, &body, 1, "s ahead; at most"),
        (SECRET, "soon", "5m", GENUINE, &body, 1, "\"soon\" is not a number of seconds"),
        (OTHER, AT, "36500d", GENUINE, &body, 1, "no signature matches"),
        (SECRET, AT, "36500d", GENUINE, &written_again, 1, "parsed and written again"),
        (SECRET, AT, "36500d", "v1,AAAA", &body, 1, "no signature matches"),
        (&SECRET[6..], AT, "36500d", GENUINE, &body, 1, "starts with \"whsec_\""),
        ("whsec_c2hvcnQ=", AT, "36500d", GENUINE, &body, 1, "24 to 64 bytes; this one has 5"),
        (SECRET, AT, "long", GENUINE, &body, 2, "a number and a unit"),
        (SECRET, AT, "5m", GENUINE, &"no such file".to_owned(), 1, "read the body from no such"),
    ] {
        let arguments = ["verify", "--secret", secret, "--id", ID, "--timestamp", timestamp];
        let rest = ["--tolerance", tolerance, "--signature", signature, body];
        let output = world.output(&[&arguments[..], &rest].concat()).await?;
        let error = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(status), "{told}: {error}");
        assert!(error.contains(told), "{told}: {error}");
        assert!(!error.contains(&secret[6..]), "{error}");
    }
    for id in ["a.b", "a b", "", "a\nb"] {
        let output = world.output(&["sign", "--secret", SECRET, "--id", id, &body]).await?;
        assert_eq!(output.status.code(), Some(2), "{id:?}");
    }
    Ok(())
}
