//! Consuming from a real Kafka: members that come and go, handlers that fail, records that
//! nobody can read. Each test has topics and groups of its own.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use triggerline_kafka::{
    Consumed, ConsumerConfig, Handler, HandlerError, KafkaConfig, KafkaError, Producer, ROOM, Stop,
    Topic, TopicSettings, Topics, Window, apply, check_topics, consume,
};
use triggerline_types::EventId;
use triggerline_wire::Record;

const LIMIT: Duration = Duration::from_mins(1);

struct Kafka {
    config: KafkaConfig,
    producer: Producer,
    topics: Topics,
}

impl Kafka {
    async fn with_own_topics() -> Self {
        let config = KafkaConfig {
            brokers: std::env::var("TRIGGERLINE_TEST_KAFKA").unwrap(),
            prefix: format!("t{}.", EventId::new().as_uuid().simple()),
            properties: BTreeMap::new(),
        };
        let retention = Duration::from_hours(1);
        let settings = TopicSettings { partitions: 6, replication: 1, retention };
        assert_eq!(apply(&config, settings).await.unwrap().len(), Topics::all().count());
        assert!(apply(&config, settings).await.unwrap().is_empty(), "a second time makes nothing");
        check_topics(&config, LIMIT).await.unwrap();
        let producer = Producer::new(&config, "test", Duration::from_secs(20), ROOM).unwrap();
        Self { topics: Topics::new(&config), config, producer }
    }

    /// Produces records that say their number.
    async fn produce(&self, numbers: std::ops::Range<usize>) {
        let topic = self.topics.name(Topic::Events);
        let sends = numbers.map(|n| {
            let text = Bytes::from(n.to_string());
            let record = Record { key: text.clone(), headers: Vec::new(), value: text };
            let (producer, topic) = (&self.producer, &topic);
            async move { producer.send(topic, &record).await.unwrap() }
        });
        futures::future::join_all(sends).await;
    }

    /// Starts a member of the group `matcher`.
    fn member<H: Handler>(&self, topic: Topic, handler: &Arc<H>) -> Member {
        let stop = CancellationToken::new();
        let consumer = ConsumerConfig {
            service: "matcher",
            topics: vec![topic],
            window: Window { records: 50, bytes: 1 << 20 },
            drain: Duration::from_secs(10),
        };
        let (config, handler) = (self.config.clone(), Arc::clone(handler));
        let (producer, shutdown) = (self.producer.clone(), stop.clone());
        let task =
            tokio::spawn(
                async move { consume(&config, consumer, handler, producer, shutdown).await },
            );
        Member { stop, task }
    }
}

struct Member {
    stop: CancellationToken,
    task: JoinHandle<Result<(), KafkaError>>,
}

impl Member {
    async fn leave(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Counts how often it did what each record asks for, a few milliseconds each.
#[derive(Default)]
struct Counter {
    done: Mutex<HashMap<String, usize>>,
    /// The record with this number fails for as long as `failing`.
    fails: Option<&'static str>,
    failing: AtomicBool,
}

impl Counter {
    fn done(&self) -> usize {
        self.done.lock().unwrap().len()
    }
}

impl Handler for Counter {
    async fn handle(&self, consumed: &Consumed, _: &Stop) -> Result<(), HandlerError> {
        let number = String::from_utf8(consumed.record.value.to_vec()).unwrap();
        if Some(number.as_str()) == self.fails && self.failing.load(Ordering::Relaxed) {
            return Err(HandlerError::Again("told to fail".to_owned()));
        }
        if number == "poison" {
            return Err(HandlerError::Poison("a poisonous record".to_owned()));
        }
        assert_ne!(number, "panic", "told to panic");
        // What has begun is finished, even when told to stop: that is what the drain is for.
        let work = Duration::from_millis(consumed.offset.unsigned_abs() % 6);
        tokio::time::sleep(work).await;
        *self.done.lock().unwrap().entry(number).or_default() += 1;
        Ok(())
    }
}

async fn until(what: &str, check: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !check() {
        assert!(Instant::now() < until, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Members join and leave in the middle of the work: every record is done, and since each
/// member drains before it lets a partition go, none is done twice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn members_come_and_go_and_nothing_is_skipped_or_done_twice() {
    const RECORDS: usize = 6_000;
    let kafka = Kafka::with_own_topics().await;
    let counter = Arc::new(Counter::default());
    let first = kafka.member(Topic::Events, &counter);
    kafka.produce(0..RECORDS / 2).await;
    until("the first member to work", || counter.done() > 300).await;
    let second = kafka.member(Topic::Events, &counter);
    kafka.produce(RECORDS / 2..RECORDS).await;
    until("more to be done", || counter.done() > RECORDS / 3).await;
    first.leave().await;
    let third = kafka.member(Topic::Events, &counter);
    until("most to be done", || counter.done() > RECORDS / 2).await;
    second.leave().await;
    until("all to be done", || counter.done() == RECORDS).await;
    third.leave().await;
    let done = counter.done.lock().unwrap();
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} records were done twice", twice.len());
}

/// A record that fails holds its partition's offset, and nobody up: all behind it are done, and
/// after a restart it alone is read again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_failed_record_is_read_again_after_a_restart_and_nothing_else_is() {
    const RECORDS: usize = 6_000;
    let kafka = Kafka::with_own_topics().await;
    let failing = AtomicBool::new(true);
    let counter = Arc::new(Counter { fails: Some("17"), failing, ..Counter::default() });
    kafka.produce(0..RECORDS).await;
    let member = kafka.member(Topic::Events, &counter);
    until("all but one to be done", || counter.done() == RECORDS - 1).await;
    member.leave().await;
    assert_eq!(counter.done(), RECORDS - 1);

    counter.failing.store(false, Ordering::Relaxed);
    let member = kafka.member(Topic::Events, &counter);
    until("the one to be done", || counter.done() == RECORDS).await;
    kafka.produce(RECORDS..RECORDS + 100).await;
    until("new ones to be done", || counter.done() == RECORDS + 100).await;
    member.leave().await;
    let done = counter.done.lock().unwrap();
    assert!(done.values().all(|times| *times == 1), "some were done again");
}

/// What can't be read, or makes the handler panic, goes to `events.dlq` as it was found, with
/// its cause, and holds nobody up.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn poison_goes_to_the_dead_letters_with_its_cause() {
    #[derive(Default)]
    struct Collector(Mutex<Vec<Record>>);
    impl Handler for Collector {
        async fn handle(&self, consumed: &Consumed, _: &Stop) -> Result<(), HandlerError> {
            self.0.lock().unwrap().push(consumed.record.clone());
            Ok(())
        }
    }

    let kafka = Kafka::with_own_topics().await;
    let topic = kafka.topics.name(Topic::Events);
    for text in ["poison", "panic"] {
        let value = Bytes::from(text);
        let headers = vec![("ce_id".into(), Bytes::from("x"))];
        let record = Record { key: value.clone(), headers, value };
        kafka.producer.send(&topic, &record).await.unwrap();
    }
    kafka.produce(0..100).await;
    let counter = Arc::new(Counter::default());
    let member = kafka.member(Topic::Events, &counter);
    until("the others to be done", || counter.done() == 100).await;
    member.leave().await;

    let collector = Arc::new(Collector::default());
    let member = kafka.member(Topic::EventsDlq, &collector);
    until("both to be buried", || collector.0.lock().unwrap().len() == 2).await;
    member.leave().await;
    for record in collector.0.lock().unwrap().iter() {
        let cause = match &record.value[..] {
            b"poison" => "a poisonous record",
            b"panic" => "told to panic",
            other => panic!("{other:?}"),
        };
        let told = record.text("tl_dead_letter_reason").unwrap().unwrap();
        assert!(told.contains(cause), "{told}");
        assert_eq!(record.text("ce_id").unwrap(), Some("x"), "as it was found");
        assert_eq!(record.text("tl_source_topic").unwrap(), Some(topic.as_str()));
        assert_eq!(record.text("tl_dead_letter_group").unwrap(), Some("matcher"));
    }
}

/// Closing a producer waits for every report.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real parts: cargo xtask test"]
async fn a_closed_producer_has_heard_of_every_record() {
    let kafka = Kafka::with_own_topics().await;
    let producer = kafka.producer.clone();
    let topic = kafka.topics.name(Topic::Events);
    let sends: Vec<_> = (0..2_000)
        .map(|n| {
            let (producer, topic) = (producer.clone(), topic.clone());
            tokio::spawn(async move {
                let record = Record { value: Bytes::from(n.to_string()), ..Record::default() };
                producer.send(&topic, &record).await
            })
        })
        .collect();
    let mut placed = 0;
    let mut closed = None;
    for (n, send) in sends.into_iter().enumerate() {
        if n == 1_000 {
            closed = Some(producer.close(Duration::from_secs(20)).await);
        }
        placed += usize::from(send.await.unwrap().is_ok());
    }
    assert_eq!(closed, Some(true));
    assert_eq!(placed, 2_000, "each was taken before the close, and acknowledged");
    let late = Record::default();
    assert!(producer.send(&topic, &late).await.is_err(), "a closed producer takes no more");
}
