//! A customer of many subscriptions: they are listed a page at a time, over both doors, and there is an
//! end to them.

use http::StatusCode;
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;
use triggerline_testkit::{Client, wait_until};
use triggerline_wire::proto::subscriptions_client::SubscriptionsClient;
use triggerline_wire::proto::{
    CreateSubscriptionRequest, DeliveryMode, ListSubscriptionsRequest, ListSubscriptionsResponse,
};

use crate::doors::with_key;
use crate::{LIMIT, One, kind, text};

const LIST: &str = "/v1/subscriptions";

async fn create(client: &Client, name: &str) -> anyhow::Result<String> {
    let body = json!({"workflow_id": name, "mode": "pull"}).to_string();
    Ok(text(&client.post(LIST, body).await?.expect(StatusCode::CREATED)?, "id"))
}

fn ids(page: &Value, name: &str) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|one| text(one, name)).collect()
}

/// All pages of a list, from `path` on.
async fn rest(client: &Client, path: &str, name: &str) -> anyhow::Result<Vec<String>> {
    Ok(client.all(path).await?.iter().map(|one| text(one, name)).collect())
}

async fn page(
    one: &One,
    door: &SubscriptionsClient<Channel>,
    (page_size, page_token): (u32, &str),
) -> Result<ListSubscriptionsResponse, tonic::Status> {
    let asked = ListSubscriptionsRequest { page_size, page_token: page_token.to_owned() };
    let listed = door.clone().list_subscriptions(with_key(&one.key, asked)).await?;
    Ok(listed.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn subscriptions_are_listed_a_page_at_a_time() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let client = one.client();
    let grpc = SubscriptionsClient::connect(one.gateway.grpc.clone()).await?;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(create(&client, &n.to_string()).await?);
    }
    let first = client.get(&format!("{LIST}?limit=2")).await?.expect(StatusCode::OK)?;
    assert_eq!(ids(&first, "id"), made[..2]);
    let cursor = text(&first, "next_cursor");
    // What comes and goes between pages moves nothing.
    client.delete(&format!("{LIST}/{}", made[1])).await?.expect(StatusCode::NO_CONTENT)?;
    made.push(create(&client, "5").await?);
    let others = format!("{LIST}?limit=2&cursor={cursor}");
    let second = client.get(&others).await?.expect(StatusCode::OK)?;
    assert_eq!(ids(&second, "id"), made[2..4]);
    made.remove(1);
    for limit in [1, 2, 5, 200] {
        assert_eq!(rest(&client, &format!("{LIST}?limit={limit}"), "id").await?, made, "{limit}");
    }

    // The same over gRPC, with the same cursors.
    let shown = |listed: &ListSubscriptionsResponse| {
        let ids = listed.subscriptions.iter().map(|one| one.subscription_id.clone());
        ids.collect::<Vec<_>>()
    };
    let listed = page(&one, &grpc, (2, &cursor)).await?;
    assert_eq!(shown(&listed), made[1..3]);
    let listed = page(&one, &grpc, (0, &listed.next_page_token)).await?;
    assert_eq!((shown(&listed), listed.next_page_token.as_str()), (made[3..].to_vec(), ""));

    // Nobody goes on with what is another's, another list's, or was changed.
    let stranger = client.with_key(one.world.customer("stranger").await?);
    stranger.get(&others).await?.expect(StatusCode::BAD_REQUEST)?;
    for parameters in
        [&format!("cursor={}", &cursor[1..]), "cursor=", "limit=0", "limit=201", "page_size=1"]
    {
        let refused = client.get(&format!("{LIST}?{parameters}")).await?;
        let refused = refused.expect(StatusCode::BAD_REQUEST)?;
        assert_eq!(kind(&refused), "invalid-parameter", "{parameters}");
    }
    for (asked, field) in [((1, &cursor[1..]), "page_token"), ((201, ""), "page_size")] {
        let refused = page(&one, &grpc, asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    }

    // An event is explained in pages of the same order.
    let event = client.publish("a.b", b"1").await?.expect(StatusCode::ACCEPTED)?;
    let path = format!("/v1/events/{}/explain?limit=2", text(&event, "event_id"));
    wait_until("the event to be stored", LIMIT, || async {
        let answer = client.get(&path).await.map_err(|error| error.to_string())?;
        answer.expect(StatusCode::OK).map_err(|error| error.to_string())
    })
    .await?;
    assert_eq!(rest(&client, &path, "subscription_id").await?, made);
    let foreign = client.get(&format!("{path}&cursor={cursor}")).await?;
    foreign.expect(StatusCode::BAD_REQUEST)?;
    assert!(storage.terminate().await?.success());
    one.end().await
}

/// A client takes messages of 4 MB unless it is told otherwise; this one isn't.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_page_of_large_subscriptions_ends_before_its_limit() -> anyhow::Result<()> {
    const ALL: usize = 70;
    let one = One::start().await?;
    let client = one.client();
    let grpc = SubscriptionsClient::connect(one.gateway.grpc.clone()).await?;
    // 60 KB each, 4.2 MB together.
    let texts: Vec<_> = (0..60).map(|n| format!("{n:01000}")).collect();
    let body = json!({"workflow_id": "w", "mode": "pull", "selector": {"pattern": {"a": texts}}});
    for _ in 0..ALL {
        client.post(LIST, body.to_string()).await?.expect(StatusCode::CREATED)?;
    }
    let first = page(&one, &grpc, (200, "")).await?;
    assert!((1..ALL).contains(&first.subscriptions.len()), "{}", first.subscriptions.len());
    let second = page(&one, &grpc, (200, &first.next_page_token)).await?;
    assert_eq!(first.subscriptions.len() + second.subscriptions.len(), ALL);
    assert_eq!(second.next_page_token, "");
    // HTTP has 8 MiB.
    let listed = client.get(&format!("{LIST}?limit=200")).await?.expect(StatusCode::OK)?;
    assert_eq!((ids(&listed, "id").len(), &listed["next_cursor"]), (ALL, &Value::Null));
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_customer_has_so_many_subscriptions_and_no_more() -> anyhow::Result<()> {
    let one = One::start().await?;
    let client = one.client();
    let mut grpc = SubscriptionsClient::connect(one.gateway.grpc.clone()).await?;
    let first = create(&client, "first").await?;
    // All but one of the others at once. Revisions are unique; below zero nobody follows them.
    let fill = "INSERT INTO subscriptions (id, customer_id, workflow_id, event_types, url, secret, \
             state, revision, created_at, updated_at) \
         SELECT gen_random_uuid(), customer_id, workflow_id, event_types, url, secret, \
             state, -n, created_at, updated_at FROM subscriptions, generate_series(1, 99998) n";
    one.world.sql(fill).await?;
    create(&client, "last").await?;
    let body = json!({"workflow_id": "w", "mode": "pull"}).to_string();
    let refused = client.post(LIST, body).await?.expect(StatusCode::CONFLICT)?;
    assert_eq!(kind(&refused), "conflict");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("100000"), "{detail}");
    let asked = CreateSubscriptionRequest {
        workflow_id: "w".to_owned(),
        mode: DeliveryMode::Pull.into(),
        ..CreateSubscriptionRequest::default()
    };
    let refused = grpc.create_subscription(with_key(&one.key, asked)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "CONFLICT");
    client.delete(&format!("{LIST}/{first}")).await?.expect(StatusCode::NO_CONTENT)?;
    create(&client, "again").await?;
    one.end().await
}
