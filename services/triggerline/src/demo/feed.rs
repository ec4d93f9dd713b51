//! Posting the sample events through the gateway, and telling the oracle of each answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use futures::StreamExt as _;
use http::StatusCode;
use time::OffsetDateTime;
use triggerline_testkit::{Client, Oracle};
use triggerline_types::EventId;

use super::samples::{Sample, samples};
use crate::cli::Demo;

/// One client for each customer, in their order.
pub(super) struct Producers {
    pub(super) clients: Vec<Client>,
}

#[derive(Default)]
pub(super) struct Feed {
    pub(super) oracle: Oracle,
    /// When each event was handed to the gateway.
    pub(super) sent_at: HashMap<EventId, OffsetDateTime>,
}

pub(super) async fn send(
    producers: &Producers,
    options: &Demo,
    feed: &Mutex<Feed>,
) -> anyhow::Result<()> {
    let posts = samples(options.events)?.into_iter().map(|sample| post(producers, sample, feed));
    let mut posts = futures::stream::iter(posts).buffer_unordered(options.concurrency as usize);
    while let Some(posted) = posts.next().await {
        posted?;
    }
    Ok(())
}

async fn post(producers: &Producers, sample: Sample, feed: &Mutex<Feed>) -> anyhow::Result<()> {
    let Sample { customer, event_type, payload, owed } = sample;
    let at = OffsetDateTime::now_utc();
    let answer = producers.clients[customer].publish(&event_type, &payload).await;
    let answer = answer.with_context(|| format!("post {event_type}"))?;
    let body = answer.expect(StatusCode::ACCEPTED)?;
    let id: EventId = body["event_id"].as_str().unwrap_or_default().parse()?;
    let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
    feed.oracle.acknowledged(id, &payload, owed);
    feed.sent_at.insert(id, at);
    Ok(())
}
