//! Every part reached by TLS, with certificates that are checked, and Kafka with a login: an event
//! goes all the way. A part whose certificate is somebody else's is not talked to.

use http::{Method, StatusCode};
use serde_json::json;
use triggerline_testkit::{Client, Parts, Receiver, Services, World, subscribe, wait_until};

use crate::{BINARY, LIMIT};

/// Where the certificates are, and the ports that want TLS; `None` where a container serves them.
struct Secured {
    folder: String,
    kafka: String,
    redis: String,
}

impl Secured {
    fn from_environment() -> Option<Self> {
        let get = |name| std::env::var(name).ok();
        let found = get("TRIGGERLINE_TEST_TLS").and_then(|folder| {
            Some(Self {
                folder,
                kafka: get("TRIGGERLINE_TEST_KAFKA_TLS")?,
                redis: get("TRIGGERLINE_TEST_REDIS_TLS")?,
            })
        });
        if found.is_none() {
            eprintln!("skipped: the parts run in containers, which have no certificates");
        }
        found
    }

    /// What an address says of TLS, with this authority.
    fn by(&self, authority: &str) -> String {
        format!("sslmode=verify-full&sslrootcert={}/{authority}.pem", self.folder)
    }

    /// What the environment says of Kafka's TLS and login, with this authority and password.
    fn kafka(&self, authority: &str, password: &str) -> [(&'static str, String); 6] {
        let roots = format!("{}/{authority}.pem", self.folder);
        [
            ("BROKERS", self.kafka.clone()),
            ("PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
            ("PROPERTIES__SSL_CA_LOCATION", roots),
            ("PROPERTIES__SASL_MECHANISM", "SCRAM-SHA-512".to_owned()),
            ("PROPERTIES__SASL_USERNAME", "triggerline".to_owned()),
            ("PROPERTIES__SASL_PASSWORD", password.to_owned()),
        ]
    }
}

fn set(world: &mut World, kafka: [(&'static str, String); 6]) {
    for (name, value) in kafka {
        world.set(&format!("TRIGGERLINE_KAFKA__{name}"), &value);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn an_event_goes_all_the_way_by_tls() -> anyhow::Result<()> {
    const EVENTS: usize = 200;
    let Some(secured) = Secured::from_environment() else { return Ok(()) };
    let parts = Parts::from_environment()?;
    // What is set up without TLS is then reached with it.
    let mut world = World::on_cassandra(BINARY).await?;
    let ssl = secured.by("ca");
    let inbox = world.setting("TRIGGERLINE_INBOX__URL").unwrap().to_owned();
    let control = world.setting("TRIGGERLINE_CONTROL__URL").unwrap().to_owned();
    assert!(inbox.contains(&parts.cassandra) && inbox.contains('?'), "{inbox}");
    world.set("TRIGGERLINE_INBOX__URL", &format!("{inbox}&{ssl}"));
    world.set("TRIGGERLINE_CONTROL__URL", &format!("{control}?{ssl}"));
    world.set("TRIGGERLINE_CACHE__URL", &format!("{}?{ssl}", secured.redis));
    set(&mut world, secured.kafka("ca", "triggerline"));
    world.run(&["migrate"]).await?;
    world.run(&["topics", "apply"]).await?;
    let checked = world.run(&["config", "check"]).await?;
    assert_eq!(checked.matches("answers, and is set up").count(), 4, "{checked}");

    let receiver = Receiver::start().await?;
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("shop").await?);
    subscribe(&client, &receiver, "hook", "*", None, Vec::new()).await?;
    for n in 0..EVENTS {
        let key = format!("order-{n}");
        let headers = [("content-type", "application/json"), ("idempotency-key", &key)];
        let body = json!({"event_type": "order.created", "payload": n}).to_string();
        let sent = || client.send(Method::POST, "/v1/events", &headers, body.clone());
        let first = sent().await?.expect(StatusCode::ACCEPTED)?;
        // The same key, so the same event: Redis was asked, and answered.
        let again = sent().await?.expect(StatusCode::ACCEPTED)?;
        assert_eq!(first["event_id"], again["event_id"]);
    }
    wait_until("the inbox to say `delivered` of each event", LIMIT, || async {
        let all = client.all("/v1/inbox?status=delivered&limit=200").await;
        let found = all.map_err(|error| error.to_string())?.len();
        if found == EVENTS { Ok(()) } else { Err(format!("{found} of {EVENTS}")) }
    })
    .await?;
    assert_eq!(receiver.received().len(), EVENTS);
    services.terminate().await?;
    world.tear_down().await
}

/// What an operator sees who has set something up wrongly: all of it at once, part by part.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_check_says_of_each_part_what_is_wrong() -> anyhow::Result<()> {
    let Some(secured) = Secured::from_environment() else { return Ok(()) };
    let mut world = World::on_cassandra(BINARY).await?;
    let fine = world.settings.clone();
    let ssl = secured.by("other");
    for name in ["TRIGGERLINE_INBOX__URL", "TRIGGERLINE_CONTROL__URL"] {
        let url = world.setting(name).unwrap().to_owned();
        let mark = if url.contains('?') { '&' } else { '?' };
        world.set(name, &format!("{url}{mark}{ssl}"));
    }
    world.set("TRIGGERLINE_CACHE__URL", &format!("{}?{ssl}", secured.redis));
    set(&mut world, secured.kafka("other", "triggerline"));
    let output = world.output(&["config", "check"]).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (setting, why) in [
        ("kafka.brokers", "certificate verify failed"),
        ("control.url", "BadSignature"),
        ("cache.url", "BadSignature"),
        ("inbox.url", "certificate verify failed"),
    ] {
        let line = said.lines().find(|line| line.starts_with(setting)).unwrap_or_default();
        assert!(line.contains("FAILED") && line.contains(why), "{setting}: {said}");
    }
    // There, but not set up.
    world.settings = fine;
    let unmade = format!("cassandra://{}/unmade", Parts::from_environment()?.cassandra);
    world.set("TRIGGERLINE_INBOX__URL", &unmade);
    world.set("TRIGGERLINE_KAFKA__PREFIX", "unmade.");
    let output = world.output(&["config", "check"]).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`triggerline topics apply`"), "{said}");
    assert!(said.contains("`triggerline migrate`"), "{said}");
    assert_eq!(said.matches("answers, and is set up").count(), 2, "{said}");
    world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_kafka_that_is_not_ours_or_does_not_know_us_is_told_apart() -> anyhow::Result<()> {
    let Some(secured) = Secured::from_environment() else { return Ok(()) };
    let mut world = World::on_real_parts(BINARY).await?;
    for (authority, password, told) in [
        ("other", "triggerline", "certificate verify failed"),
        ("ca", "wrong", "SASL authentication error"),
    ] {
        set(&mut world, secured.kafka(authority, password));
        let output = world.output(&["topics", "apply"]).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(told), "{told}: {said}");
        assert!(!said.contains("wrong"), "the password stands in: {said}");
    }
    // A password under a misspelt name.
    world.set("TRIGGERLINE_KAFKA__PROPERTIES__SASL_PASWORD", "wrong");
    let output = world.output(&["topics", "apply"]).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("kafka.properties.sasl.pasword") && !said.contains("wrong"), "{said}");
    world.tear_down().await
}
