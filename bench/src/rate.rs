//! `rate` (P11): may this key go on? Our two levels (permits in this process, taken from Redis in
//! advance) against one Redis script for each request, through the same client. Then two nodes
//! ask for as much as they get under one limit: how many were allowed in any window of its
//! length, whenever it begins, and how much of the limit could be used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::json;
use triggerline_gateway::limits::{Cost, Limiter, Share, WithoutCache};
use triggerline_store::{Cache, Want, open_cache};
use triggerline_types::{ApiKeyId, RateLimit};

use crate::cpu;
use crate::report::{Figures, Report};

/// So high that nothing is refused.
const AMPLE: &str = "4000000000/1m";
/// How long a task of the two nodes waits before it asks again: far less than a slice.
const PAUSE: Duration = Duration::from_micros(200);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds that count, of each contestant in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Tasks that ask one after the other.
    #[arg(long, default_value_t = 64)]
    tasks: usize,
    /// What two nodes share.
    #[arg(long, default_value = "2000/1s")]
    limit: RateLimit,
    #[arg(long, env = "TRIGGERLINE_TEST_REDIS")]
    redis: String,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let setting = json!({
        "tasks": options.tasks, "seconds": options.seconds, "limit": options.limit.to_string(),
    });
    let mut report = Report::new("rate", setting);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        let node = Node::new(&options.redis, ApiKeyId::new(), AMPLE.parse()?).await?;
        let ours = checks(options, || {
            let node = node.clone();
            async move { node.allows().await }
        });
        report.add("two levels", ours.await?);
        let (name, limit) = (ApiKeyId::new().to_string(), AMPLE.parse()?);
        let theirs = checks(options, || {
            let (cache, name) = (Arc::clone(&node.cache), name.clone());
            async move { Ok(cache.take(&name, limit, Want::All(1)).await?.granted == 1) }
        });
        report.add("one script a request", theirs.await?);
        report.add("two nodes", two_nodes(options).await?);
    }
    report.end()
}

/// What one gateway has.
#[derive(Clone)]
struct Node {
    cache: Arc<dyn Cache>,
    limiter: Arc<Limiter>,
    share: Arc<Share>,
}

impl Node {
    async fn new(redis: &str, key: ApiKeyId, limit: RateLimit) -> anyhow::Result<Self> {
        let cache = open_cache(redis)?;
        let begin = Instant::now();
        while !cache.is_available() {
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(10), "{redis} doesn't answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let limiter = Arc::new(Limiter::new(Arc::clone(&cache), WithoutCache::Refuse));
        let share = limiter.share(key, limit);
        Ok(Self { cache, limiter, share })
    }

    async fn allows(&self) -> anyhow::Result<bool> {
        Ok(self.limiter.take(&self.share, Cost::ONE).await.is_ok())
    }
}

/// Asks in all tasks for as long as the options say.
async fn checks<F>(options: &Options, check: impl Fn() -> F) -> anyhow::Result<Figures>
where
    F: Future<Output = anyhow::Result<bool>> + Send,
    F: 'static,
{
    let (before, begin) = (cpu::used(std::process::id())?, Instant::now());
    let until = begin + Duration::from_secs(options.seconds);
    let tasks = (0..options.tasks).map(|_| async {
        let mut done = 0_u64;
        while Instant::now() < until {
            anyhow::ensure!(check().await?, "a check was refused");
            done += 1;
            // What never waits would keep the others from asking.
            if done.is_multiple_of(1_000) {
                tokio::task::yield_now().await;
            }
        }
        Ok(done)
    });
    let done: u64 = try_join_all(tasks).await?.into_iter().sum();
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = cpu::used(std::process::id())?.saturating_sub(before).as_secs_f64();
    let done = done as f64;
    Ok([("checks/s", done / elapsed), ("CPU us/check", cpu * 1e6 / done)].into())
}

async fn two_nodes(options: &Options) -> anyhow::Result<Figures> {
    let (key, limit) = (ApiKeyId::new(), options.limit);
    let nodes = [
        Node::new(&options.redis, key, limit).await?,
        Node::new(&options.redis, key, limit).await?,
    ];
    let begin = Instant::now();
    // Two windows at least, after the first, in which all of the quota may come at once.
    let until = begin + Duration::from_secs(options.seconds).max(3 * limit.window());
    let tasks = (0..options.tasks).map(|n| {
        let node = nodes[n % nodes.len()].clone();
        tokio::spawn(async move {
            let mut allowed = Vec::new();
            while Instant::now() < until {
                if node.allows().await? {
                    allowed.push(Instant::now());
                }
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(allowed)
        })
    });
    let mut allowed = Vec::new();
    for of_one in try_join_all(tasks).await? {
        allowed.extend(of_one?);
    }
    allowed.sort();
    let quota = f64::from(limit.quota());
    let most = most_in(&allowed, limit.window()).context("nothing was allowed")? as f64;
    let windows = (until - begin).as_secs_f64() / limit.window().as_secs_f64();
    Ok([
        ("most in a window / quota", most / quota),
        ("allowed / quota", allowed.len() as f64 / (quota * windows)),
    ]
    .into())
}

/// The most that lie in any window of this length.
fn most_in(instants: &[Instant], window: Duration) -> Option<usize> {
    let mut first = 0;
    let counts = instants.iter().enumerate().map(|(last, instant)| {
        while *instant - instants[first] >= window {
            first += 1;
        }
        last - first + 1
    });
    counts.max()
}
