//! Another customer's things are not there: every operation of the OpenAPI document, asked with
//! another customer's ids and cursors. A new operation is in the document, and so in this test.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use triggerline_testkit::{Client, wait_until};
use triggerline_types::EventId;

use crate::{LIMIT, One, text};

/// Bodies for operations that want one: good ones, so that only the id can be what is wrong.
fn body(operation: &str) -> String {
    match operation {
        "publishEvent" => json!({"event_type": "a.b", "payload": 1}),
        "publishBatch" => json!([{"event_type": "a.b", "payload": 1}]),
        "createSubscription" => {
            json!({"workflow_id": "w", "delivery": {"url": "http://127.0.0.1:1/"}})
        }
        "createApiKey" | "createCustomerApiKey" => json!({"name": "x", "scopes": ["events:read"]}),
        "createCustomer" => json!({"name": "x"}),
        "updateSubscription" => json!({"workflow_id": "theirs now"}),
        "updateCustomer" => json!({"name": "theirs now"}),
        "putSchema" => json!({"mode": "warn", "schema": {}}),
        "acknowledgeDeliveries" | "releaseDeliveries" | "extendLease" => {
            json!({"lease_id": EventId::new()})
        }
        _ => Value::Null,
    }
    .to_string()
}

/// What the owner has, to be asked for by somebody else.
struct Owned {
    customer: String,
    key: String,
    subscription: String,
    event: String,
    replay: String,
}

impl Owned {
    /// Ids of nobody's.
    fn nothing() -> Self {
        let id = || EventId::new().to_string();
        Self { customer: id(), key: id(), subscription: id(), event: id(), replay: id() }
    }
}

async fn own(client: &Client, customer: &str) -> anyhow::Result<Owned> {
    let event =
        client.publish("their.type", b"\"their-own-words\"").await?.expect(StatusCode::ACCEPTED)?;
    let made = client.post("/v1/subscriptions", body("createSubscription")).await?;
    let subscription = text(&made.expect(StatusCode::CREATED)?, "id");
    let made = client.post("/v1/api-keys", body("createApiKey")).await?;
    let key = text(&made.expect(StatusCode::CREATED)?, "id");
    let json = [("content-type", "application/json")];
    let put = client.send(Method::PUT, "/v1/schemas/their.type", &json, body("putSchema")).await?;
    put.expect(StatusCode::OK)?;
    let event = text(&event, "event_id");
    wait_until("the event to be stored", LIMIT, || async {
        let answer = client.get(&format!("/v1/events/{event}")).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        if status == StatusCode::OK { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    // There is no replayer, so it stays as it is.
    let asked = json!({"subscription_id": subscription, "from": "2026-01-01T00:00:00Z"});
    let made = client.post("/v1/replays", asked.to_string()).await?;
    let replay = text(&made.expect(StatusCode::ACCEPTED)?, "id");
    Ok(Owned { customer: customer.to_owned(), key, subscription, event, replay })
}

/// Everything that the owner can see of what is its own.
async fn seen(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut seen = Vec::new();
    for path in [
        "/v1/subscriptions",
        "/v1/api-keys",
        "/v1/schemas",
        "/v1/inbox",
        "/v1/replays",
        "/v1/audit",
    ] {
        let mut body = client.get(path).await?.expect(StatusCode::OK)?;
        for one in body["data"].as_array_mut().into_iter().flatten() {
            // Moves with use, not with meddling.
            one.as_object_mut().map(|one| one.remove("last_used_at"));
        }
        seen.push(body);
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn no_operation_reaches_another_customers_things() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let owner = one.client();
    let things = own(&owner, &one.customer).await?;
    let stranger = owner.with_key(one.world.customer("stranger").await?);
    let before = seen(&owner).await?;
    let document = stranger.get("/openapi.json").await?.json()?;
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            asked += 1;
            let id = text(operation, "operationId");
            let fill = |things: &Owned, kind: &str| {
                let Owned { customer, key, subscription, event, replay } = things;
                let tag = if path.starts_with("/v1/subscriptions") {
                    subscription
                } else if path.starts_with("/v1/api-keys") {
                    key
                } else if path.starts_with("/v1/events") {
                    event
                } else if path.starts_with("/v1/replays") {
                    replay
                } else {
                    customer
                };
                path.replace("{id}", tag).replace("{key}", key).replace("{event_type}", kind)
            };
            let theirs = fill(&things, "their.type");
            let nothing = fill(&Owned::nothing(), "no.type");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())?;
            let has_body = operation.get("requestBody").is_some() && body(&id) != "null";
            let json = [("content-type", "application/json")];
            let ask = async |path: &str| {
                let (headers, body) =
                    if has_body { (&json[..], body(&id)) } else { (&[][..], String::new()) };
                stranger.send(method.clone(), path, headers, body).await
            };
            let (found, missing) = (ask(&theirs).await?, ask(&nothing).await?);
            let at = format!("{id} {theirs}");
            assert_eq!(found.status, missing.status, "{at}: {found:?} {missing:?}");
            let told = String::from_utf8_lossy(&found.body).into_owned();
            assert!(!told.contains("their-own-words"), "{at}: {told}");
            if path.contains('{') && found.status.is_client_error() {
                let detail = |answer: &triggerline_testkit::Answer| {
                    answer.json().map(|problem| problem["detail"].clone()).unwrap_or_default()
                };
                assert_eq!(detail(&found), detail(&missing), "{at}");
            }
            let expected = if path.starts_with("/v1/customers") {
                StatusCode::FORBIDDEN
            } else if path.contains("{id}") {
                StatusCode::NOT_FOUND
            } else {
                continue;
            };
            assert_eq!(found.status, expected, "{at}: {told}");
            // Nor without a key, nor with one that is no key.
            for key in ["", "tl_live_nonsense"] {
                let headers = if has_body { &json[..] } else { &[][..] };
                let body = if has_body { body(&id) } else { String::new() };
                let nobody = stranger.with_key(key);
                let answer = nobody.send(method.clone(), &theirs, headers, body).await?;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}");
            }
        }
    }
    assert!(asked >= 45, "{asked}");
    assert_eq!(seen(&owner).await?, before, "nothing of the owner's has changed");

    owner.publish("their.type", b"2").await?.expect(StatusCode::ACCEPTED)?;
    let cursor = wait_until("a second page", LIMIT, || async {
        let page = owner.get("/v1/inbox?limit=1").await.and_then(|page| page.json());
        let page = page.map_err(|error| error.to_string())?;
        page["next_cursor"].as_str().map(str::to_owned).ok_or_else(|| page.to_string())
    })
    .await?;
    let audit = text(&owner.get("/v1/audit?limit=1").await?.json()?, "next_cursor");
    for (list, cursor) in [("/v1/inbox", &cursor), ("/v1/audit", &audit)] {
        owner.get(&format!("{list}?limit=1&cursor={cursor}")).await?.expect(StatusCode::OK)?;
        let answer = stranger.get(&format!("{list}?limit=1&cursor={cursor}")).await?;
        answer.expect(StatusCode::BAD_REQUEST)?;
    }
    owner.get(&format!("/v1/audit?cursor={cursor}")).await?.expect(StatusCode::BAD_REQUEST)?;
    assert!(storage.terminate().await?.success());
    one.end().await
}
