//! Pulling, dead letters and replays over gRPC: the same as over HTTP, on the same path.

use http::StatusCode;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use triggerline_testkit::{Client, Receiver, Services, World, subscribe, wait_until};
use triggerline_wire::proto::dead_letters_client::DeadLettersClient;
use triggerline_wire::proto::pull_client::PullClient;
use triggerline_wire::proto::replays_client::ReplaysClient;
use triggerline_wire::proto::{
    AcknowledgeDeliveriesRequest, CancelReplayRequest, CreateReplayRequest, DeadLetter,
    ExtendLeaseRequest, GetDeadLetterRequest, GetQueueRequest, GetReplayRequest,
    LeaseDeliveriesRequest, LeaseDeliveriesResponse, ListDeadLettersRequest, ListReplaysRequest,
    Order, RedriveDeadLetterRequest, RedriveDeadLettersRequest, ReleaseDeliveriesRequest, Replay,
    ReplaySource, ReplayState, Standing,
};

use crate::{BINARY, LIMIT, arrived, matched, publish, wait_for};

struct Stage {
    world: World,
    services: Services,
    client: Client,
    mine: Caller,
    theirs: Caller,
}

/// A customer's clients.
struct Caller {
    key: String,
    pull: PullClient<Channel>,
    dead_letters: DeadLettersClient<Channel>,
    replays: ReplaysClient<Channel>,
}

impl Caller {
    async fn of(services: &Services, key: String) -> anyhow::Result<Self> {
        let channel = Channel::from_shared(services.grpc.clone())?.connect().await?;
        Ok(Self {
            key,
            pull: PullClient::new(channel.clone()),
            dead_letters: DeadLettersClient::new(channel.clone()),
            replays: ReplaysClient::new(channel),
        })
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let key: MetadataValue<_> = format!("Bearer {}", self.key).parse().unwrap();
        request.metadata_mut().insert("authorization", key);
        request
    }

    async fn lease(
        &self,
        asked: LeaseDeliveriesRequest,
    ) -> Result<LeaseDeliveriesResponse, Status> {
        let leased = self.pull.clone().lease_deliveries(self.ask(asked)).await;
        leased.map(tonic::Response::into_inner)
    }

    /// Acknowledges all that a lease has; whether there was any.
    async fn done(&self, of: &str, leased: &LeaseDeliveriesResponse) -> Result<bool, Status> {
        let asked = AcknowledgeDeliveriesRequest {
            subscription_id: of.to_owned(),
            lease_id: leased.lease_id.clone(),
            delivery_ids: Vec::new(),
            all: true,
        };
        let answer = self.pull.clone().acknowledge_deliveries(self.ask(asked)).await?.into_inner();
        assert_eq!(answer.delivery_ids.len(), leased.deliveries.len());
        Ok(!leased.deliveries.is_empty())
    }

    async fn replay(&self, id: &str) -> Result<Replay, Status> {
        let asked = self.ask(GetReplayRequest { replay_id: id.to_owned() });
        self.replays.clone().get_replay(asked).await.map(tonic::Response::into_inner)
    }

    /// The replay, once it is no longer running.
    async fn through(&self, id: &str) -> anyhow::Result<Replay> {
        wait_until("a replay to end", LIMIT, || async {
            match self.replay(id).await {
                Ok(replay) if replay.state() != ReplayState::Running => Ok(replay),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }
}

impl Stage {
    async fn start() -> anyhow::Result<Self> {
        let world = World::on_real_parts(BINARY).await?;
        let services = Services::start(&world).await?;
        let key = world.customer("mine").await?;
        let client = Client::new(&services.base, &key);
        let mine = Caller::of(&services, key).await?;
        let theirs = Caller::of(&services, world.customer("theirs").await?).await?;
        Ok(Self { world, services, client, mine, theirs })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.services.terminate().await?;
        self.world.tear_down().await
    }
}

/// The field that a status blames.
fn blamed(status: &Status) -> String {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone());
    violations.and_then(|all| all.first().map(|one| one.field.clone())).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn deliveries_are_pulled_over_grpc() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, mine, theirs, .. } = &stage;
    let body = json!({"workflow_id": "w", "event_types": ["a.b"], "mode": "pull"}).to_string();
    let made = client.post("/v1/subscriptions", body).await?.expect(StatusCode::CREATED)?;
    let subscription_id = &made["id"].as_str().unwrap_or_default().to_owned();
    let asked = || LeaseDeliveriesRequest {
        subscription_id: subscription_id.clone(),
        lease_seconds: Some(60),
        ..LeaseDeliveriesRequest::default()
    };
    // It is matched once a probe of it comes; then there is none of them left.
    let asked = &asked;
    let probe = |wait_seconds| async move {
        let asked = LeaseDeliveriesRequest { wait_seconds: Some(wait_seconds), ..asked() };
        let leased = mine.lease(asked).await?;
        mine.done(subscription_id, &leased).await
    };
    wait_until("the subscription to be matched", LIMIT, || async {
        publish(client, "a.b", 1).await.map_err(|error| error.to_string())?;
        match probe(1).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    while probe(2).await? {}

    publish(client, "a.b", 3).await?;
    let mut held = Vec::new();
    while held.len() < 3 {
        let wait_seconds = Some(20);
        let leased = mine.lease(LeaseDeliveriesRequest { wait_seconds, ..asked() }).await?;
        assert!(leased.expires_at.is_some() && !leased.lease_id.is_empty());
        held.extend(leased.deliveries.into_iter().map(|one| (leased.lease_id.clone(), one)));
    }
    let payloads: Vec<Value> = held
        .iter()
        .map(|(_, one)| serde_json::from_slice(&one.event.as_ref().unwrap().payload).unwrap())
        .collect();
    assert_eq!(payloads, [json!({"n": 0}), json!({"n": 1}), json!({"n": 2})]);
    assert!(held.iter().all(|(_, one)| one.lease_count == 1 && !one.possible_duplicate));

    // The first is done, the second given back, the third held for longer.
    let id = |at: usize| held[at].1.delivery_id.clone();
    let lease_id = |at: usize| held[at].0.clone();
    let subscription = || subscription_id.clone();
    let acknowledge = |at: usize| AcknowledgeDeliveriesRequest {
        subscription_id: subscription(),
        lease_id: lease_id(at),
        delivery_ids: vec![id(at)],
        all: false,
    };
    let done = mine.pull.clone().acknowledge_deliveries(mine.ask(acknowledge(0))).await?;
    assert_eq!(done.into_inner().delivery_ids, [id(0)]);
    let late = mine.pull.clone().acknowledge_deliveries(mine.ask(acknowledge(0))).await?;
    assert_eq!(late.into_inner().not_held, [id(0)], "it is done already");
    let release = ReleaseDeliveriesRequest {
        subscription_id: subscription(),
        lease_id: lease_id(1),
        delivery_ids: vec![id(1)],
        all: false,
        delay_seconds: None,
    };
    let done = mine.pull.clone().release_deliveries(mine.ask(release)).await?;
    assert_eq!(done.into_inner().delivery_ids, [id(1)]);
    let extend = |lease_seconds| ExtendLeaseRequest {
        subscription_id: subscription(),
        lease_id: lease_id(2),
        delivery_ids: vec![id(2)],
        all: false,
        lease_seconds,
    };
    let done = mine.pull.clone().extend_lease(mine.ask(extend(Some(3_600)))).await?;
    assert_eq!(done.into_inner().delivery_ids, [id(2)]);
    let again = mine.lease(LeaseDeliveriesRequest { wait_seconds: Some(20), ..asked() }).await?;
    let [one] = &again.deliveries[..] else { panic!("{again:?}") };
    assert_eq!((&one.delivery_id, one.lease_count), (&id(1), 2));
    assert!(one.possible_duplicate);

    let queue = |caller: &Caller| {
        let asked = caller.ask(GetQueueRequest { subscription_id: subscription() });
        let mut pull = caller.pull.clone();
        async move { pull.get_queue(asked).await.map(tonic::Response::into_inner) }
    };
    let seen = queue(mine).await?;
    assert!((seen.depth, seen.leased, seen.more) == (2, 2, false), "{seen:?}");
    assert!(seen.oldest_queued_at.is_some());
    let shown = client.get(&format!("/v1/subscriptions/{subscription_id}/queue")).await?;
    let shown = shown.expect(StatusCode::OK)?;
    assert_eq!((&shown["depth"], &shown["leased"]), (&json!(2), &json!(2)), "{shown}");

    // A call with a deadline waits for less than that, and answers.
    let mut short = mine.ask(LeaseDeliveriesRequest { wait_seconds: Some(20), ..asked() });
    short.set_timeout(std::time::Duration::from_secs(4));
    let none = mine.pull.clone().lease_deliveries(short).await?.into_inner();
    assert!(none.deliveries.is_empty());

    // What makes no sense is named.
    for (asked, field) in [
        (LeaseDeliveriesRequest { limit: Some(101), ..asked() }, "limit"),
        (LeaseDeliveriesRequest { lease_seconds: Some(0), ..asked() }, "lease_seconds"),
        (LeaseDeliveriesRequest { wait_seconds: Some(21), ..asked() }, "wait_seconds"),
        (LeaseDeliveriesRequest { subscription_id: "x".to_owned(), ..asked() }, "subscription_id"),
    ] {
        let status = mine.lease(asked).await.unwrap_err();
        assert_eq!((status.code(), &*blamed(&status)), (Code::InvalidArgument, field));
    }
    let none = AcknowledgeDeliveriesRequest { delivery_ids: Vec::new(), ..acknowledge(2) };
    let status = mine.pull.clone().acknowledge_deliveries(mine.ask(none)).await.unwrap_err();
    assert_eq!(blamed(&status), "delivery_ids", "an empty list is not all");
    // Another customer is told that there is no such subscription, whatever they ask of it.
    let foreign = [
        theirs.lease(asked()).await.unwrap_err(),
        theirs.pull.clone().acknowledge_deliveries(theirs.ask(acknowledge(2))).await.unwrap_err(),
        theirs.pull.clone().extend_lease(theirs.ask(extend(None))).await.unwrap_err(),
        queue(theirs).await.unwrap_err(),
    ];
    assert!(foreign.iter().all(|status| status.code() == Code::NotFound), "{foreign:?}");
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn dead_letters_are_handed_over_again_over_grpc() -> anyhow::Result<()> {
    let stage = Stage::start().await?;
    let Stage { client, mine, theirs, .. } = &stage;
    let receiver = Receiver::start().await?;
    let subscription_id = subscribe(client, &receiver, "one", "a.b", None, Vec::new()).await?;
    matched(client, "a.b").await?;
    receiver.endpoint("one", receiver.secret("one"), vec![404; 3]);
    publish(client, "a.b", 3).await?;
    let list = |caller: &Caller, asked: ListDeadLettersRequest| {
        let (mut dead_letters, asked) = (caller.dead_letters.clone(), caller.ask(asked));
        async move { dead_letters.list_dead_letters(asked).await.map(tonic::Response::into_inner) }
    };
    let order = Order::OldestFirst.into();
    let all = || ListDeadLettersRequest { order, ..ListDeadLettersRequest::default() };
    let dead: Vec<DeadLetter> = wait_until("3 dead letters", LIMIT, || async {
        let listed = list(mine, all()).await.map_err(|error| error.to_string())?;
        let count = listed.dead_letters.len();
        if count == 3 { Ok(listed.dead_letters) } else { Err(format!("{count}")) }
    })
    .await?;
    assert!(dead.iter().all(|one| one.reason == "the receiver answered 404"), "{dead:?}");
    assert!(list(theirs, all()).await?.dead_letters.is_empty());

    // A page, and the next.
    let page = list(mine, ListDeadLettersRequest { page_size: 2, ..all() }).await?;
    let page_token = page.next_page_token;
    let rest = list(mine, ListDeadLettersRequest { page_token, ..all() }).await?;
    let pages = [page.dead_letters, rest.dead_letters].concat();
    assert_eq!(pages, dead);
    let page_token = "AAAA".to_owned();
    let foreign = list(mine, ListDeadLettersRequest { page_token, ..all() }).await.unwrap_err();
    assert_eq!(blamed(&foreign), "page_token");

    let id = |at: usize| dead[at].delivery.as_ref().unwrap().delivery_id.clone();
    let get = |caller: &Caller, delivery_id: String| {
        let asked = caller.ask(GetDeadLetterRequest { delivery_id });
        let mut dead_letters = caller.dead_letters.clone();
        async move { dead_letters.get_dead_letter(asked).await.map(tonic::Response::into_inner) }
    };
    let shown = get(mine, id(0)).await?;
    assert_eq!(shown.dead_letter.as_ref(), Some(&dead[0]));
    assert_eq!(shown.event.map(|event| event.event_id), Some(dead[0].event_id.clone()));
    assert_eq!(get(theirs, id(0)).await.unwrap_err().code(), Code::NotFound);

    // One, then the rest; each time it arrives.
    let before = arrived(&receiver, "one");
    let one = || RedriveDeadLetterRequest { delivery_id: id(0) };
    let status = theirs.dead_letters.clone().redrive_dead_letter(theirs.ask(one())).await;
    assert_eq!(status.unwrap_err().code(), Code::NotFound);
    let made = mine.dead_letters.clone().redrive_dead_letter(mine.ask(one())).await?.into_inner();
    assert_eq!(made.source(), ReplaySource::DeadLetters);
    assert_eq!(mine.through(&made.replay_id).await?.sent, 1);
    wait_for(&receiver, "one", before + 1).await?;
    let subscription = || subscription_id.clone();
    let rest = RedriveDeadLettersRequest {
        subscription_id: subscription(),
        ..RedriveDeadLettersRequest::default()
    };
    let made = mine.dead_letters.clone().redrive_dead_letters(mine.ask(rest)).await?.into_inner();
    assert_eq!(mine.through(&made.replay_id).await?.state(), ReplayState::Completed);
    wait_for(&receiver, "one", before + 3).await?;

    // A replay that only counts: what was delivered would be sent once more.
    let asked = CreateReplayRequest {
        subscription_id: subscription(),
        from: dead[0].received_at,
        status: vec![Standing::Delivered.into()],
        dry_run: true,
        ..CreateReplayRequest::default()
    };
    let replay_of = |caller: &Caller, asked: CreateReplayRequest| {
        let (mut replays, asked) = (caller.replays.clone(), caller.ask(asked));
        async move { replays.create_replay(asked).await.map(tonic::Response::into_inner) }
    };
    wait_until("the redriven to be known as delivered", LIMIT, || async {
        let made = replay_of(mine, asked.clone()).await.map_err(|error| error.to_string())?;
        let ended = mine.through(&made.replay_id).await.map_err(|error| error.to_string())?;
        if ended.sent == 3 { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await?;
    let foreign = replay_of(theirs, asked.clone()).await.unwrap_err();
    assert_eq!(blamed(&foreign), "subscription_id");
    let bad = replay_of(mine, CreateReplayRequest { rate: Some(0), ..asked.clone() }).await;
    assert_eq!(blamed(&bad.unwrap_err()), "rate");
    // The slowest one is stopped.
    let slow = CreateReplayRequest { rate: Some(1), dry_run: false, ..asked };
    let made = replay_of(mine, slow).await?;
    let cancel = |caller: &Caller| {
        let asked = caller.ask(CancelReplayRequest { replay_id: made.replay_id.clone() });
        let mut replays = caller.replays.clone();
        async move { replays.cancel_replay(asked).await.map(tonic::Response::into_inner) }
    };
    assert_eq!(cancel(theirs).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(cancel(mine).await?.state(), ReplayState::Cancelled);
    assert_eq!(theirs.replay(&made.replay_id).await.unwrap_err().code(), Code::NotFound);

    // All of them, newest first, a page at a time.
    let mut seen: Vec<String> = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = mine.ask(ListReplaysRequest { page_size: 2, page_token });
        let page = mine.replays.clone().list_replays(asked).await?.into_inner();
        assert!(page.replays.len() <= 2);
        seen.extend(page.replays.into_iter().map(|one| one.replay_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(seen.len() >= 4 && seen[0] == made.replay_id, "{seen:?}");
    assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
    let asked = theirs.ask(ListReplaysRequest::default());
    assert!(theirs.replays.clone().list_replays(asked).await?.into_inner().replays.is_empty());
    stage.end().await
}
