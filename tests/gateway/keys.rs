//! Who may do what.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use triggerline_testkit::wait_until;

use crate::{Gateway, LIMIT, One, kind, text};

const EVENT: &str = r#"{"event_type":"a.b","payload":1}"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_revoked_key_opens_nothing_within_a_second_on_any_gateway() -> anyhow::Result<()> {
    let one = One::start().await?;
    let other = Gateway::start(&one.world).await?;
    let admin = one.client();
    let body = json!({"name": "ci", "scopes": ["events:write"]});
    let made = admin.post("/v1/api-keys", body.to_string()).await?.expect(StatusCode::CREATED)?;
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    assert!(key.starts_with(made["hint"].as_str().unwrap()), "{made}");
    let doors = [one.gateway.client(&key), other.client(&key)];
    for door in &doors {
        door.post("/v1/events", EVENT).await?.expect(StatusCode::ACCEPTED)?;
    }
    let shown = admin.get(&format!("/v1/api-keys/{id}")).await?.expect(StatusCode::OK)?;
    assert_eq!((shown["state"].as_str(), shown.get("key")), (Some("live"), None));

    admin.delete(&format!("/v1/api-keys/{id}")).await?.expect(StatusCode::OK)?;
    let revoked = Instant::now();
    let unknown = one.gateway.client(&triggerline_gateway::keys::generate("live"));
    let unknown = unknown.post("/v1/events", EVENT).await?.expect(StatusCode::UNAUTHORIZED)?;
    for door in &doors {
        let answer = wait_until("the key to be refused", LIMIT, || async {
            let answer = door.post("/v1/events", EVENT).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            if refused { Ok(answer) } else { Err(answer.status.to_string()) }
        })
        .await?;
        let answer = answer.json()?;
        assert_eq!(answer["detail"], unknown["detail"], "revoked and unknown look the same");
        assert_eq!(answer["title"], unknown["title"]);
    }
    // The promise is a second; a loaded machine gets some more before it counts as broken.
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    let listed = admin.get("/v1/api-keys").await?.expect(StatusCode::OK)?;
    let states: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|key| &key["state"]).collect();
    assert_eq!(states, ["live", "revoked"]);
    other.process.terminate().await?;
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_key_does_what_its_scopes_say_and_makes_no_mightier_one() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.client();
    let body = json!({"name": "narrow", "scopes": ["keys:write", "keys:read"]}).to_string();
    let made = client.post("/v1/api-keys", body).await?.expect(StatusCode::CREATED)?;
    let narrow = one.gateway.client(&text(&made, "key"));
    for (method, path, body) in [
        (Method::POST, "/v1/events", EVENT.to_owned()),
        (Method::GET, "/v1/inbox", String::new()),
        (Method::GET, "/v1/customers", String::new()),
        (
            Method::POST,
            "/v1/api-keys",
            json!({"name": "x", "scopes": ["events:write"]}).to_string(),
        ),
    ] {
        let json = [("content-type", "application/json")];
        let answer = narrow.send(method, path, &json, body).await?;
        let problem = answer.expect(StatusCode::FORBIDDEN)?;
        assert_eq!(kind(&problem), "missing-scope", "{path}");
    }
    for (body, status, pointer) in [
        (json!({"name": "", "scopes": ["keys:read"]}), StatusCode::BAD_REQUEST, "/name"),
        (json!({"name": "x", "scopes": []}), StatusCode::BAD_REQUEST, "/scopes"),
        (json!({"name": "x", "scopes": ["all"]}), StatusCode::BAD_REQUEST, "/scopes/0"),
        (
            json!({"name": "x", "scopes": ["keys:read"], "expires_at": "2020-01-01T00:00:00Z"}),
            StatusCode::BAD_REQUEST,
            "/expires_at",
        ),
        (
            json!({"name": "x", "scopes": ["keys:read"], "rate_limit": "many"}),
            StatusCode::BAD_REQUEST,
            "/rate_limit",
        ),
    ] {
        let problem = narrow.post("/v1/api-keys", body.to_string()).await?.expect(status)?;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let mine = json!({"name": "x", "scopes": ["keys:read"], "rate_limit": "9/1s"}).to_string();
    narrow.post("/v1/api-keys", mine).await?.expect(StatusCode::FORBIDDEN)?;
    let listed = client.get("/v1/api-keys").await?.expect(StatusCode::OK)?;
    let mightier = format!("/v1/api-keys/{}", text(&listed["data"][0], "id"));
    narrow.delete(&mightier).await?.expect(StatusCode::FORBIDDEN)?;
    narrow.post(&format!("{mightier}/rotate"), "").await?.expect(StatusCode::FORBIDDEN)?;
    client.get(&mightier).await?.expect(StatusCode::OK)?;

    let soon = (time::OffsetDateTime::now_utc() + Duration::from_secs(2)).unix_timestamp() + 1;
    let soon = time::OffsetDateTime::from_unix_timestamp(soon)?;
    let soon = triggerline_types::format_instant(soon);
    let body = json!({"name": "brief", "scopes": ["keys:read"], "expires_at": soon}).to_string();
    let brief = narrow.post("/v1/api-keys", body).await?.expect(StatusCode::CREATED)?;
    let brief = one.gateway.client(&text(&brief, "key"));
    brief.get("/v1/api-keys").await?.expect(StatusCode::OK)?;
    wait_until("the key to expire", LIMIT, || async {
        let status = brief.get("/v1/api-keys").await.map_err(|error| error.to_string())?.status;
        if status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_rotated_key_works_beside_its_successor_and_everything_is_in_the_audit_trail()
-> anyhow::Result<()> {
    let one = One::start().await?;
    let admin = one.admin().await?;
    let listed = one.client().get("/v1/api-keys").await?.expect(StatusCode::OK)?;
    let first = text(&listed["data"][0], "id");
    let rotate = format!("/v1/api-keys/{first}/rotate");
    let made = one.client().post(&rotate, "").await?.expect(StatusCode::CREATED)?;
    let successor = one.gateway.client(&text(&made, "key"));
    assert_eq!(made["scopes"], listed["data"][0]["scopes"]);
    for client in [&one.client(), &successor] {
        client.post("/v1/events", EVENT).await?.expect(StatusCode::ACCEPTED)?;
    }
    let at_once = json!({"overlap_seconds": 0}).to_string();
    successor.post(&rotate, at_once.clone()).await?.expect(StatusCode::CREATED)?;
    wait_until("the rotated key to end", LIMIT, || async {
        let status = one.client().get("/v1/inbox").await.map_err(|error| error.to_string())?.status;
        if status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    let problem = successor.post(&rotate, at_once).await?.expect(StatusCode::CONFLICT)?;
    assert_eq!(kind(&problem), "conflict");

    let subscription = json!({"workflow_id": "w", "delivery": {"url": "http://127.0.0.1:1/"}});
    let made = successor.post("/v1/subscriptions", subscription.to_string()).await?;
    let id = text(&made.expect(StatusCode::CREATED)?, "id");
    successor.delete(&format!("/v1/subscriptions/{id}")).await?.expect(StatusCode::NO_CONTENT)?;
    let mut actions = Vec::new();
    for entry in admin.all("/v1/audit?limit=2").await? {
        let actor = text(&entry, "actor").split(':').next().unwrap_or_default().to_owned();
        actions.push(format!("{actor} {}", text(&entry, "action")));
    }
    actions.reverse();
    assert_eq!(
        actions,
        [
            "operator customer.created",
            "operator api_key.created",
            "operator api_key.created",
            "key api_key.rotated",
            "key api_key.rotated",
            "key subscription.created",
            "key subscription.deleted",
        ]
    );

    // When a key was last used is written down when the gateway drains, at the latest.
    let One { world, gateway, customer, .. } = one;
    assert!(gateway.process.terminate().await?.success());
    let printed = world.run(&["keys", "list", "--customer", &customer, "--output", "json"]).await?;
    let used = |line: &str| {
        let key: serde_json::Value = serde_json::from_str(line).unwrap();
        key["last_used_at"].is_string()
    };
    let used: Vec<bool> = printed.lines().map(used).collect();
    assert_eq!(used, [true, true, true, false], "the last one was made and never used: {printed}");
    world.tear_down().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn customers_are_managed_over_the_api_and_at_the_command_line() -> anyhow::Result<()> {
    let one = One::start().await?;
    let admin = one.admin().await?;
    let problem = admin.post("/v1/customers", json!({"name": "x", "plan": "gold"}).to_string());
    let problem = problem.await?.expect(StatusCode::BAD_REQUEST)?;
    assert_eq!(problem["errors"][0]["pointer"], "/plan", "{problem}");
    let body = json!({"name": "Käse & Co", "rate_limit": "7/1m"}).to_string();
    let made = admin.post("/v1/customers", body).await?.expect(StatusCode::CREATED)?;
    let id = text(&made, "id");
    assert_eq!(
        (made["plan"].as_str(), made["rate_limit"].as_str()),
        (Some("default"), Some("7/1m"))
    );
    let keys = format!("/v1/customers/{id}/api-keys");
    let body = json!({"name": "first", "scopes": ["events:write", "keys:read"]}).to_string();
    let made = admin.post(&keys, body).await?.expect(StatusCode::CREATED)?;
    let theirs = one.gateway.client(&text(&made, "key"));
    let answer = theirs.post("/v1/events", EVENT).await?;
    assert_eq!(answer.headers["ratelimit-policy"], "\"key\";q=7;w=60");

    let json = [("content-type", "application/json")];
    let path = format!("/v1/customers/{id}");
    let change = json!({"rate_limit": null, "name": "Käse"}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let changed = admin.send(Method::PATCH, &path, &merge, change).await?.expect(StatusCode::OK)?;
    assert_eq!(
        (text(&changed, "name"), text(&changed, "rate_limit")),
        ("Käse".into(), "10000/1s".into())
    );
    admin.send(Method::PATCH, &path, &json, "{}").await?.expect(StatusCode::OK)?;
    let other = [("content-type", "application/json-patch+json")];
    let answer = admin.send(Method::PATCH, &path, &other, "[]").await?;
    answer.expect(StatusCode::UNSUPPORTED_MEDIA_TYPE)?;
    assert_eq!(answer.headers["accept-patch"], "application/merge-patch+json, application/json");
    wait_until("the plan's limit to hold again", LIMIT, || async {
        let answer = theirs.get("/v1/api-keys").await.map_err(|error| error.to_string())?;
        let policy = answer.headers["ratelimit-policy"].to_str().unwrap_or_default().to_owned();
        if policy == "\"key\";q=10000;w=1" { Ok(()) } else { Err(policy) }
    })
    .await?;
    let listed = one.world.run(&["customers", "list"]).await?;
    assert!(listed.contains("Käse") && listed.lines().count() == 2, "{listed}");
    let updated = ["customers", "update", &id, "--rate-limit", "5/1s"];
    assert_eq!(one.world.printed(&updated).await?["rate_limit"], "5/1s");
    let output = one.world.output(&["customers", "update", &id, "--plan", "gold"]).await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("default"), "{told}");

    // A name is as good at either door.
    let long = "x".repeat(201);
    for bad in ["", "\u{1b}[2J", "a\nb", &long] {
        for arguments in [
            &["customers", "create", bad][..],
            &["customers", "update", &id, "--name", bad],
            &["keys", "create", "--customer", &id, "--name", bad],
        ] {
            let output = one.world.output(arguments).await?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{arguments:?}");
            assert!(told.contains("a name is 1 to 200 bytes long"), "{told}");
        }
        let body = json!({"name": bad}).to_string();
        let problem = admin.post("/v1/customers", body).await?.expect(StatusCode::BAD_REQUEST)?;
        assert_eq!(
            problem["errors"][0]["detail"],
            "is 1 to 200 bytes long, without control characters"
        );
    }
    assert_eq!(one.world.run(&["customers", "list"]).await?.lines().count(), 2);

    let revoke = format!("{keys}/{}", text(&made, "id"));
    admin.delete(&revoke).await?.expect(StatusCode::OK)?;
    let listed = admin.get(&keys).await?.expect(StatusCode::OK)?;
    assert_eq!(listed["data"][0]["state"], "revoked");
    one.end().await
}
