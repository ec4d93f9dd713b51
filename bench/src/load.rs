//! The load: one prepared request, sent again and again over connections that are kept.
//!
//! It runs on one thread and does as little as it can, because what it measures runs on the same
//! machine. **Closed**: each connection sends the next request when it has the answer. **Open**:
//! requests are due at fixed times whatever the answers do, and a latency counts from when its
//! request was due, so that a stall is seen by all that it held up (Gil Tene's "coordinated
//! omission").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: String,
    pub(crate) connections: usize,
    /// Requests a second, over all connections; none for a closed loop.
    pub(crate) rate: Option<u32>,
}

/// What came of it, in the time that counted.
pub(crate) struct Seen {
    pub(crate) seconds: f64,
    /// Answers by status.
    pub(crate) answers: BTreeMap<u16, u64>,
    /// Of answers 202, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { seconds: 0.0, answers: BTreeMap::new(), latency: Histogram::new(3)? })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        for (status, count) in &other.answers {
            *self.answers.entry(*status).or_default() += count;
        }
        self.latency.add(&other.latency)?;
        Ok(())
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.answers.get(&202).copied().unwrap_or_default()
    }

    pub(crate) fn others(&self) -> u64 {
        self.answers.values().sum::<u64>() - self.accepted()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.accepted() as f64 / self.seconds
    }

    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// When what is sent counts.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Span {
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self { from, to: from + length }
    }
}

impl Load {
    pub(crate) async fn run(&self, span: Span) -> anyhow::Result<Seen> {
        let tasks: Vec<_> = (0..self.connections)
            .map(|place| {
                let load = self.clone();
                tokio::spawn(async move { load.connection(place, span).await })
            })
            .collect();
        let mut seen = Seen::new()?;
        for task in tasks {
            seen.add(&task.await??)?;
        }
        seen.seconds = (span.to - span.from).as_secs_f64();
        Ok(seen)
    }

    async fn connection(&self, place: usize, span: Span) -> anyhow::Result<Seen> {
        let mut seen = Seen::new()?;
        let mut stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(4_096);
        let begin = Instant::now();
        for turn in 0_u64.. {
            let due = match self.rate {
                None => Instant::now(),
                Some(rate) => {
                    let nth = turn * self.connections as u64 + place as u64;
                    let due = begin + Duration::from_secs(1).mul_f64(nth as f64 / f64::from(rate));
                    tokio::time::sleep_until(due).await;
                    due
                }
            };
            if due >= span.to {
                break;
            }
            stream.write_all(self.request.as_bytes()).await.context("send a request")?;
            let status = answer(&mut stream, &mut buffer).await?;
            if due >= span.from {
                *seen.answers.entry(status).or_default() += 1;
                if status == 202 {
                    seen.latency.record(due.elapsed().as_micros().try_into()?)?;
                }
            }
        }
        Ok(seen)
    }
}

/// Reads one answer and returns its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.context("read an answer")?;
        anyhow::ensure!(read > 0, "the server closed a connection in the middle");
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(buffer)? else { continue };
        let status = head.code.context("an answer without a status")?;
        let body = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .context("an answer without Content-Length")?;
        let body: usize = std::str::from_utf8(body.value)?.parse()?;
        if buffer.len() >= length + body {
            return Ok(status);
        }
    }
}

/// Text of this length that compresses about as well as text does: words, one after the other in
/// no order, the same in each run.
pub(crate) fn text(bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "order",
        "created",
        "customer",
        "invoice",
        "2026-11-23",
        "amount",
        "EUR",
        "shipping",
        "address",
        "17.50",
        "status",
        "pending",
        "item",
        "a3f09c",
        "quantity",
        "warehouse",
    ];
    let (mut text, mut state) = (String::with_capacity(bytes + 16), 1_u64);
    while text.len() < bytes {
        // Knuth's MMIX constants; the upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 60) as usize]);
        // Something that doesn't come again, as ids and times are.
        let _ = write!(text, " {:x} ", (state >> 32) & 0xffff);
    }
    text.truncate(bytes);
    text
}
