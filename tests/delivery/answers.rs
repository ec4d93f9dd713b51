//! R17: what each answer comes to, as the table in docs/ARCHITECTURE.md has it.

use std::collections::HashMap;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use triggerline_testkit::{Client, Services, World, wait_until};

use crate::{BINARY, LIMIT, matched};

/// (answer, Retry-After) → outcome, and from how many to how many seconds later it is due.
type Row = (u16, &'static str, &'static str, Option<(f64, f64)>);

/// Answers with the status that the path names, and asks for so many seconds where it names any.
async fn answer(Path((status, retry_after)): Path<(u16, String)>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    match retry_after.as_str() {
        "none" => status.into_response(),
        "date" => {
            let at = std::time::SystemTime::now() + std::time::Duration::from_mins(10);
            (status, [("retry-after", httpdate::fmt_http_date(at))]).into_response()
        }
        seconds => (status, [("retry-after", seconds.to_owned())]).into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn each_answer_comes_to_what_the_table_says() -> anyhow::Result<()> {
    let delivered = [200, 201, 202, 204, 206, 299];
    let retried = [408, 425, 429, 500, 501, 502, 503, 504, 599];
    let given_up =
        [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 413, 422, 451, 499];
    let mut table: Vec<Row> = Vec::new();
    table.extend(delivered.map(|status| (status, "none", "delivered", None)));
    table.extend(retried.map(|status| (status, "none", "retry", Some((3.9, 6.5)))));
    table.extend(given_up.map(|status| (status, "none", "dead_lettered", None)));
    table.push((410, "none", "cancelled", None));
    table.push((429, "120", "retry", Some((120.0, 145.0))));
    table.push((503, "date", "retry", Some((595.0, 725.0))));
    // Shorter than we would wait anyway, longer than anybody may ask for, and none at all.
    table.push((503, "1", "retry", Some((3.9, 6.5))));
    table.push((429, "86400", "retry", Some((3_595.0, 4_325.0))));
    table.push((503, "soon", "retry", Some((3.9, 6.5))));
    // Elsewhere it means something else, or nothing.
    table.push((200, "120", "delivered", None));
    table.push((400, "120", "dead_lettered", None));
    table.push((301, "120", "dead_lettered", None));

    let world = World::on_real_parts(BINARY).await?;
    let services = Services::start(&world).await?;
    let client = Client::new(&services.base, world.customer("answers").await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/{status}/{retry_after}", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut expected = HashMap::new();
    for (status, retry_after, outcome, due) in table {
        let url = format!("{base}/{status}/{retry_after}");
        let body = json!({"workflow_id": "w", "event_types": ["a.b"], "delivery": {"url": url}});
        let made = client.post("/v1/subscriptions", body.to_string()).await?;
        let id = made.expect(StatusCode::CREATED)?["id"].clone();
        let id = id.as_str().unwrap_or_default().to_owned();
        expected.insert(id, (status, retry_after, outcome, due));
    }
    // Changes are seen in their order: whoever knows this one knows all of them.
    let last = json!({"workflow_id": "last", "event_types": ["last"],
        "delivery": {"url": format!("{base}/200/none")}});
    client.post("/v1/subscriptions", last.to_string()).await?.expect(StatusCode::CREATED)?;
    matched(&client, "last").await?;
    let event = client.publish("a.b", b"1").await?.expect(StatusCode::ACCEPTED)?;
    let path = format!("/v1/events/{}/deliveries", event["event_id"].as_str().unwrap_or_default());
    let deliveries: Vec<Value> = wait_until("an attempt at each", LIMIT, || async {
        let page = client.get(&path).await.and_then(|page| page.json());
        let page = page.map_err(|error| error.to_string())?;
        let all = page["data"].as_array().cloned().unwrap_or_default();
        let tried = |one: &&Value| one["attempts"].as_array().is_some_and(|all| !all.is_empty());
        let count = all.iter().filter(tried).count();
        if count == expected.len() { Ok(all) } else { Err(format!("{count} were attempted")) }
    })
    .await?;
    let instant = |text: &Value| OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap();
    for delivery in deliveries {
        let (status, retry_after, outcome, due) =
            expected[delivery["subscription_id"].as_str().unwrap()];
        let attempt = &delivery["attempts"][0];
        let told = format!("{status} {retry_after}: {delivery}");
        assert_eq!(attempt["outcome"], outcome, "{told}");
        assert_eq!(attempt["response_status"], status, "{told}");
        if let Some((least, most)) = due {
            let later = instant(&attempt["next_attempt_at"]) - instant(&attempt["started_at"]);
            let later = later.as_seconds_f64();
            assert!((least..=most).contains(&later), "{later} s, {told}");
        }
    }
    services.terminate().await?;
    world.tear_down().await
}
