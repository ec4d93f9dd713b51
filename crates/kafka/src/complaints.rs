//! What a client complains of that isn't polled for records: one that only asks about topics.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as Rdkafka;

use crate::producer::log;

/// Keeps what librdkafka complained of last. It is there, in the log, that a refused certificate or
/// a wrong password has its name; the error only says that there was no answer.
pub(crate) struct Complaints {
    role: &'static str,
    last: Mutex<Option<String>>,
}

impl Complaints {
    pub(crate) fn new(role: &'static str) -> Self {
        Self { role, last: Mutex::default() }
    }
}

/// Why a request failed.
pub(crate) fn why(client: &BaseConsumer<Complaints>, error: &Rdkafka) -> String {
    hear(client);
    let last = client.context().last.lock().unwrap_or_else(PoisonError::into_inner);
    last.clone().unwrap_or_else(|| error.to_string())
}

/// Has a client hand over what waits in its queue, which would only grow. (With no time to wait, a
/// poll would end after one line of the log.)
pub(crate) fn hear(client: &BaseConsumer<Complaints>) {
    while client.poll(Duration::from_millis(20)).is_some() {}
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(self.role, level, facility, message);
        if facility == "FAIL" {
            // It begins with the thread that says so: `[thrd:…]: `.
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(said.to_owned());
        }
    }

    /// It was in the log.
    fn error(&self, _: Rdkafka, _: &str) {}
}

impl ConsumerContext for Complaints {}
