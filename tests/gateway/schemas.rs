//! What events look like, and those that don't.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use triggerline_testkit::{Client, Receiver, subscribe, wait_until};

use crate::{LIMIT, One, kind, text};

const SCHEMA: &str =
    r#"{"type":"object","required":["total"],"properties":{"total":{"type":"number"}}}"#;

async fn put(client: &Client, event_type: &str, mode: &str, schema: &str) -> anyhow::Result<Value> {
    let json = [("content-type", "application/json")];
    let body = format!("{{\"mode\":\"{mode}\",\"schema\":{schema}}}");
    let path = format!("/v1/schemas/{event_type}");
    client.send(Method::PUT, &path, &json, body).await?.expect(StatusCode::OK)
}

/// Posts until the answer is as wanted: a change counts within a second.
async fn posted(
    client: &Client,
    event_type: &str,
    payload: &str,
    status: StatusCode,
    says: &str,
) -> anyhow::Result<Value> {
    wait_until(&format!("{event_type} to be answered {status}"), LIMIT, || async {
        let answer = client.publish(event_type, payload.as_bytes()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let body = answer.json().map_err(|error| error.to_string())?;
        let fits = answer.status == status && body["status"].to_string().contains(says);
        if fits { Ok(body) } else { Err(format!("{}: {body}", answer.status)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn each_mode_does_what_it_says() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.client();
    let made = put(&client, "order.paid", "reject", SCHEMA).await?;
    assert_eq!(made["schema"], serde_json::from_str::<Value>(SCHEMA)?);
    let problem = posted(
        &client,
        "order.paid",
        r#"{"total":"SECRET"}"#,
        StatusCode::UNPROCESSABLE_ENTITY,
        "422",
    )
    .await?;
    assert_eq!(kind(&problem), "schema-violation");
    assert_eq!(problem["errors"][0]["pointer"], "/payload/total");
    assert!(!problem.to_string().contains("SECRET"), "{problem}");
    posted(&client, "order.paid", r#"{"total":1}"#, StatusCode::ACCEPTED, "accepted").await?;
    posted(&client, "order.other", "{}", StatusCode::ACCEPTED, "accepted").await?;

    put(&client, "order.paid", "warn", SCHEMA).await?;
    let warned = posted(&client, "order.paid", "{}", StatusCode::ACCEPTED, "accepted").await?;
    assert_eq!(warned["schema_errors"][0]["pointer"], "/payload", "{warned}");
    put(&client, "order.paid", "off", SCHEMA).await?;
    wait_until("the schema to be off", LIMIT, || async {
        let answer =
            client.publish("order.paid", b"{}").await.map_err(|error| error.to_string())?;
        let body = answer.json().map_err(|error| error.to_string())?;
        if body.get("schema_errors").is_none() { Ok(()) } else { Err(body.to_string()) }
    })
    .await?;

    for (schema, pointer) in [
        (r#"{"type":"strin"}"#, "/schema/type"),
        (r#"{"$ref":"http://169.254.169.254/"}"#, "/schema/$ref"),
        (r#"{"items":{"$ref":"file:///etc/passwd"}}"#, "/schema/items/$ref"),
    ] {
        let body = format!("{{\"mode\":\"warn\",\"schema\":{schema}}}");
        let json = [("content-type", "application/json")];
        let answer = client.send(Method::PUT, "/v1/schemas/a.b", &json, body).await?;
        let problem = answer.expect(StatusCode::UNPROCESSABLE_ENTITY)?;
        assert_eq!(
            (kind(&problem), &problem["errors"][0]["pointer"]),
            ("invalid-schema", &json!(pointer))
        );
    }
    let listed = client.get("/v1/schemas").await?.expect(StatusCode::OK)?;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    client.delete("/v1/schemas/order.paid").await?.expect(StatusCode::NO_CONTENT)?;
    client.get("/v1/schemas/order.paid").await?.expect(StatusCode::NOT_FOUND)?;

    // A slash in the path is written `%2F`, and is one in the type.
    let made = put(&client, "shop%2Forder:paid", "reject", SCHEMA).await?;
    assert_eq!(made["event_type"], "shop/order:paid");
    posted(&client, "shop/order:paid", "{}", StatusCode::UNPROCESSABLE_ENTITY, "422").await?;
    for (path, status) in [
        ("/v1/schemas/shop%2forder:paid", StatusCode::OK),
        ("/v1/schemas/shop%2Forder%3Apaid", StatusCode::OK),
        ("/v1/schemas/shop/order:paid", StatusCode::NOT_FOUND),
        ("/v1/schemas/shop%252Forder:paid", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(client.get(path).await?.status, status, "{path}");
    }
    let release = "/v1/schemas/shop%2Forder:paid/release";
    assert_eq!(client.post(release, "").await?.expect(StatusCode::OK)?["released"], 0);
    client.delete("/v1/schemas/shop%2Forder:paid").await?.expect(StatusCode::NO_CONTENT)?;
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_quarantined_event_is_delivered_when_it_is_released() -> anyhow::Result<()> {
    let one = One::start().await?;
    let receiver = Receiver::start().await?;
    let client = one.client();
    let mut services = Vec::new();
    for (name, message) in
        [("matcher", "matching"), ("delivery", "delivering"), ("storage", "storing")]
    {
        let mut service = one.world.start(&[name])?;
        service.logged(message).await?;
        services.push(service);
    }
    subscribe(&client, &receiver, "hook", "order.*", None, Vec::new()).await?;
    put(&client, "order.paid", "quarantine", SCHEMA).await?;
    let held = posted(&client, "order.paid", "{}", StatusCode::ACCEPTED, "quarantined").await?;
    assert_eq!(held["schema_errors"][0]["pointer"], "/payload", "{held}");
    let second =
        posted(&client, "order.paid", r#"{"total":"x"}"#, StatusCode::ACCEPTED, "quarantined")
            .await?;
    // One that is fine shows that the subscription works, and that the others were passed over.
    posted(&client, "order.paid", r#"{"total":1}"#, StatusCode::ACCEPTED, "accepted").await?;
    let listed = wait_until("both to be seen in quarantine", LIMIT, || async {
        posted(&client, "order.other", "1", StatusCode::ACCEPTED, "accepted")
            .await
            .map_err(|error| error.to_string())?;
        let page = client.get("/v1/inbox?status=quarantined&order=asc").await;
        let page = page.and_then(|page| page.json()).map_err(|error| error.to_string())?;
        let both = page["data"].as_array().is_some_and(|data| data.len() == 2);
        if both && receiver.count() > 1 { Ok(page) } else { Err(page.to_string()) }
    })
    .await?;
    assert_eq!(listed["data"][0]["event_id"], held["event_id"]);
    assert!(text(&listed["data"][0], "quarantined").contains("/payload"), "{listed}");
    let ids: Vec<_> = receiver.received().iter().filter_map(|one| one.event_id).collect();
    for event in [&held, &second] {
        assert!(!ids.contains(&text(event, "event_id").parse()?), "it was held back");
    }

    let id = text(&held, "event_id");
    let release = format!("/v1/events/{id}/release");
    let problem = client.post(&release, "").await?.expect(StatusCode::UNPROCESSABLE_ENTITY)?;
    assert_eq!(kind(&problem), "schema-violation");
    put(&client, "order.paid", "quarantine", r#"{"type":"object"}"#).await?;
    wait_until("the mended schema to count", LIMIT, || async {
        let answer = client.post(&release, "").await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await?;
    let all = client.post("/v1/schemas/order.paid/release", "").await?.expect(StatusCode::OK)?;
    assert_eq!(all["more"], false, "{all}");
    for event in [&held, &second] {
        let path = format!("/v1/events/{}", text(event, "event_id"));
        wait_until("the released events to be delivered", LIMIT, || async {
            let event = client.get(&path).await.and_then(|answer| answer.json());
            let event = event.map_err(|error| error.to_string())?;
            if event["status"] == "delivered" { Ok(()) } else { Err(event.to_string()) }
        })
        .await?;
    }
    client.post(&release, "").await?.expect(StatusCode::CONFLICT)?;
    for service in services {
        assert!(service.terminate().await?.success());
    }
    one.end().await
}
