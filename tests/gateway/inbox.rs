//! The inbox, asked at both doors for the same things.

use http::StatusCode;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use triggerline_testkit::{Client, Receiver, subscribe, wait_until};
use triggerline_wire::proto::inbox_client::InboxClient;
use triggerline_wire::proto::{
    Attempt, Delivery, DeliveryState, Event, EventStatus, GetEventRequest, ListDeliveriesRequest,
    ListEventsRequest, ListEventsResponse, Order, attempt,
};

use crate::doors::with_key;
use crate::{LIMIT, One, text};

/// How one caller sees their inbox.
struct Reader {
    http: Client,
    grpc: InboxClient<Channel>,
    key: String,
}

impl Reader {
    async fn of(one: &One, key: &str) -> anyhow::Result<Self> {
        let grpc = InboxClient::connect(one.gateway.grpc.clone()).await?;
        Ok(Self { http: one.gateway.client(key), grpc, key: key.to_owned() })
    }

    async fn list(&self, asked: ListEventsRequest) -> Result<ListEventsResponse, Status> {
        let answer = self.grpc.clone().list_events(with_key(&self.key, asked)).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn event(&self, id: &str) -> Result<Event, Status> {
        let asked = with_key(&self.key, GetEventRequest { event_id: id.to_owned() });
        self.grpc.clone().get_event(asked).await.map(tonic::Response::into_inner)
    }

    async fn deliveries(&self, id: &str) -> Result<Vec<Delivery>, Status> {
        let asked = with_key(&self.key, ListDeliveriesRequest { event_id: id.to_owned() });
        let answer = self.grpc.clone().list_deliveries(asked).await;
        answer.map(|answer| answer.into_inner().deliveries)
    }

    /// The ids of the events that a query has, once both doors agree on them.
    async fn agreed(&self, query: &str, asked: ListEventsRequest) -> anyhow::Result<Vec<String>> {
        let page = self.http.get(&format!("/v1/inbox?{query}")).await?.expect(StatusCode::OK)?;
        let over_http: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|event| text(event, "event_id")).collect();
        let over_grpc: Vec<_> =
            self.list(asked).await?.events.into_iter().map(|event| event.event_id).collect();
        assert_eq!(over_http, over_grpc, "{query}");
        Ok(over_http)
    }
}

/// As HTTP shows it: with milliseconds, zero or not.
fn instant(at: Option<impl ToString>) -> String {
    let text = at.unwrap().to_string();
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<3}Z")
}

/// As HTTP shows it.
fn as_json(event: &Event) -> Value {
    let mut shown = json!({
        "event_id": event.event_id,
        "event_type": event.event_type,
        "source": event.source,
        "subject": (!event.subject.is_empty()).then_some(&event.subject),
        "occurred_at": instant(event.occurred_at),
        "received_at": instant(event.received_at),
        "status": event.status().as_str_name().trim_start_matches("EVENT_STATUS_").to_lowercase(),
        "deliveries": {"owed": event.deliveries_owed, "delivered": event.deliveries_delivered},
        "payload": serde_json::from_slice::<Value>(&event.payload).unwrap(),
    });
    if !event.extensions.is_empty() {
        shown["extensions"] = json!(event.extensions);
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn both_doors_show_the_same_inbox() -> anyhow::Result<()> {
    let one = One::start().await?;
    let receiver = Receiver::start().await?;
    let mut services = Vec::new();
    for (name, message) in
        [("matcher", "matching"), ("delivery", "delivering"), ("storage", "storing")]
    {
        let mut service = one.world.start(&[name])?;
        service.logged(message).await?;
        services.push(service);
    }
    let reader = Reader::of(&one, &one.key).await?;
    subscribe(&reader.http, &receiver, "hook", "order.*", None, Vec::new()).await?;
    let form = [("content-type", "application/cloudevents+json")];
    let mut ids = Vec::new();
    for (n, event_type) in
        ["order.paid", "order.paid", "user.made", "order.sent"].iter().enumerate()
    {
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "/shop", "type": event_type,
            "subject": format!("s/{n}"), "tenant": "acme", "data": {"n": n},
        });
        let sent = reader.http.send(http::Method::POST, "/v1/events", &form, event.to_string());
        ids.push(text(&sent.await?.expect(StatusCode::ACCEPTED)?, "event_id"));
    }
    let settled = |id: String, status| {
        let reader = &reader;
        async move {
            wait_until("the event to be settled", LIMIT, || async {
                let event = reader.event(&id).await.map_err(|error| error.to_string())?;
                if event.status() == status { Ok(event) } else { Err(format!("{event:?}")) }
            })
            .await
        }
    };
    for (id, status) in ids.iter().zip([
        EventStatus::Delivered,
        EventStatus::Delivered,
        EventStatus::Unmatched,
        EventStatus::Delivered,
    ]) {
        let event = settled(id.clone(), status).await?;
        let path = format!("/v1/events/{id}");
        let shown = reader.http.get(&path).await?.expect(StatusCode::OK)?;
        assert_eq!(as_json(&event), shown);
        assert_eq!(event.payload, serde_json::to_vec(&shown["payload"])?);
    }

    let asked = ListEventsRequest::default;
    let second = reader.event(&ids[1]).await?;
    let at = instant(second.received_at);
    let newest: Vec<_> = ids.iter().rev().cloned().collect();
    let [first, paid, made, sent] = ids.clone().try_into().unwrap();
    for (query, asked, expected) in [
        (String::new(), asked(), newest),
        (
            "order=asc".to_owned(),
            ListEventsRequest { order: Order::OldestFirst.into(), ..asked() },
            ids.clone(),
        ),
        (
            "event_type=order.paid".to_owned(),
            ListEventsRequest { event_type: "order.paid".to_owned(), ..asked() },
            vec![paid.clone(), first.clone()],
        ),
        (
            "status=unmatched".to_owned(),
            ListEventsRequest { status: EventStatus::Unmatched.into(), ..asked() },
            vec![made.clone()],
        ),
        (
            "status=delivered&workflow_id=hook&limit=1".to_owned(),
            ListEventsRequest {
                status: EventStatus::Delivered.into(),
                workflow_id: "hook".to_owned(),
                page_size: 1,
                ..asked()
            },
            vec![sent.clone()],
        ),
        (
            format!("to={at}"),
            ListEventsRequest { to: second.received_at, ..asked() },
            vec![first.clone()],
        ),
        (
            format!("from={at}&order=asc"),
            ListEventsRequest {
                from: second.received_at,
                order: Order::OldestFirst.into(),
                ..asked()
            },
            vec![paid.clone(), made.clone(), sent.clone()],
        ),
    ] {
        assert_eq!(reader.agreed(&query, asked).await?, expected, "{query}");
    }

    // A page of one door goes on at the other.
    let page = reader.http.get("/v1/inbox?order=asc&limit=3").await?.expect(StatusCode::OK)?;
    let token = text(&page, "next_cursor");
    let order = Order::OldestFirst.into();
    let rest = ListEventsRequest { order, page_token: token.clone(), page_size: 3, ..asked() };
    let rest = reader.list(rest).await?;
    assert_eq!(rest.events.iter().map(|event| &event.event_id).collect::<Vec<_>>(), [&sent]);
    assert_eq!(rest.next_page_token, "");
    let part = reader.list(ListEventsRequest { order, page_size: 3, ..asked() }).await?;
    assert_eq!(part.next_page_token, token);

    let deliveries = reader.deliveries(&first).await?;
    let [Delivery { delivery_id, workflow_id, attempts, .. }] = &deliveries[..] else {
        panic!("{deliveries:?}");
    };
    assert_eq!((&**workflow_id, deliveries[0].state()), ("hook", DeliveryState::Delivered));
    let [Attempt { number: 1, response: Some(attempt::Response::Answered(answer)), .. }] =
        &attempts[..]
    else {
        panic!("{attempts:?}");
    };
    assert_eq!(answer.status, 200);
    let path = format!("/v1/events/{first}/deliveries");
    let shown = reader.http.get(&path).await?.expect(StatusCode::OK)?;
    assert_eq!(&text(&shown["data"][0], "delivery_id"), delivery_id);
    assert_eq!(shown["data"][0]["state"], "delivered");
    assert_eq!(shown["data"][0]["attempts"][0]["response_status"], 200);
    for service in services {
        assert!(service.terminate().await?.success());
    }
    one.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn the_inbox_over_grpc_is_only_its_owners() -> anyhow::Result<()> {
    let one = One::start().await?;
    let mut storage = one.world.start(&["storage"])?;
    storage.logged("storing").await?;
    let owner = Reader::of(&one, &one.key).await?;
    let mut events = Vec::new();
    for _ in 0..2 {
        let sent = owner.http.publish("a.b", b"{}").await?.expect(StatusCode::ACCEPTED)?;
        events.push(text(&sent, "event_id"));
    }
    for id in &events {
        wait_until("the events to be stored", LIMIT, || async {
            owner.event(id).await.map_err(|error| error.to_string())
        })
        .await?;
    }
    let made = one.world.printed(&["customers", "create", "two"]).await?;
    let other = Reader::of(&one, &text(&made, "api_key")).await?;
    let asked = ListEventsRequest::default;
    let page = owner.list(ListEventsRequest { page_size: 1, ..asked() }).await?;
    let token = page.next_page_token;
    assert_eq!(other.list(asked()).await?, ListEventsResponse::default());
    for id in [&*events[0], "01900000-0000-7000-8000-000000000000"] {
        for status in [other.event(id).await.unwrap_err(), other.deliveries(id).await.unwrap_err()]
        {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
        }
    }
    let faulty = |field: &str, status: Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    };
    let borrowed = ListEventsRequest { page_token: token.clone(), ..asked() };
    faulty("page_token", other.list(borrowed).await.unwrap_err());
    let altered = ListEventsRequest { page_token: format!("{token}A"), ..asked() };
    faulty("page_token", owner.list(altered).await.unwrap_err());
    let another = ListEventsRequest { event_type: "a.b".to_owned(), page_token: token, ..asked() };
    faulty("page_token", owner.list(another).await.unwrap_err());
    faulty("event_id", owner.event("x").await.unwrap_err());
    faulty("event_id", owner.deliveries("").await.unwrap_err());

    let arguments = ["keys", "create", "--customer", &one.customer, "--name", "writer"];
    let arguments = [&arguments[..], &["--scope", "events:write"]].concat();
    let writer = text(&one.world.printed(&arguments).await?, "api_key");
    let writer = Reader::of(&one, &writer).await?;
    let nobody = Reader { key: "tl_test_unknown".to_owned(), ..Reader::of(&one, "").await? };
    for (reader, code) in [(&writer, Code::PermissionDenied), (&nobody, Code::Unauthenticated)] {
        for status in [
            reader.list(asked()).await.unwrap_err(),
            reader.event(&events[0]).await.unwrap_err(),
            reader.deliveries(&events[0]).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), code, "{status:?}");
        }
    }
    assert!(storage.terminate().await?.success());
    one.end().await
}
