//! `triggerline inbox` and `triggerline tail`.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use triggerline_types::{EventId, format_instant};

use super::api::Api;
use super::args::{Inbox, Tail, Which};
use super::{attempts, print, span, text};
use crate::cli::Output;

/// How often `tail` asks.
const EVERY: Duration = Duration::from_millis(500);
/// Events are stored a little out of order: how far back `tail` looks again each time.
const BACK: Duration = Duration::from_secs(10);
/// Events that `tail` reads at a time, and how many of the last it knows again.
const AT_ONCE: usize = 1_000;
const KNOWN: usize = 100_000;

pub(crate) async fn inbox(asked: Inbox) -> anyhow::Result<()> {
    let api = Api::new(&asked.gateway)?;
    let output = asked.gateway.output;
    if let Some(id) = asked.event {
        return show(&api, output, id).await;
    }
    let query = [which(&asked.which), span(&asked.span)].concat();
    for event in api.list("/v1/inbox", &query, asked.limit).await? {
        print(output, &event, line);
    }
    Ok(())
}

async fn show(api: &Api, output: Output, id: EventId) -> anyhow::Result<()> {
    let event = api.get(&format!("/v1/events/{id}"), &[]).await?;
    let mut deliveries = api.get(&format!("/v1/events/{id}/deliveries"), &[]).await?;
    let whole = json!({"event": event, "deliveries": deliveries["data"].take()});
    print(output, &whole, |whole| {
        let event = &whole["event"];
        let mut lines = format!("{}\n{:#}", line(event), event["payload"]);
        for delivery in whole["deliveries"].as_array().into_iter().flatten() {
            lines = format!(
                "{lines}\n  {} to subscription {} ({}), delivery {}{}",
                text(delivery, "state"),
                text(delivery, "subscription_id"),
                text(delivery, "workflow_id"),
                text(delivery, "delivery_id"),
                attempts(delivery),
            );
        }
        lines
    });
    Ok(())
}

/// Prints events as they arrive, until it is ended.
pub(crate) async fn tail(asked: Tail) -> anyhow::Result<()> {
    let api = Api::new(&asked.gateway)?;
    let filters = which(&asked.which);
    let mut seen = Seen::default();
    let mut from = asked.from.unwrap_or_else(OffsetDateTime::now_utc);
    loop {
        let asked_at = OffsetDateTime::now_utc();
        let mut query = filters.clone();
        query.push(("from", format_instant(from)));
        query.push(("order", "asc".to_owned()));
        let found = api.list("/v1/inbox", &query, AT_ONCE).await?;
        let full = found.len() == AT_ONCE;
        for event in &found {
            if seen.is_new(text(event, "event_id")) {
                print(asked.gateway.output, event, line);
            }
        }
        // Once it is through with what is there, it looks back a little; before, it goes on.
        let last = found.last().map(|event| text(event, "received_at"));
        match last.and_then(|at| triggerline_types::parse_instant(at).ok()) {
            Some(last) if full && last > from => from = last,
            _ => {
                from = from.max(asked_at - BACK);
                tokio::time::sleep(EVERY).await;
            }
        }
    }
}

/// Events that were printed, as far back as `tail` may come upon them again.
#[derive(Default)]
struct Seen {
    order: VecDeque<String>,
    ids: std::collections::HashSet<String>,
}

impl Seen {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

fn which(which: &Which) -> Vec<(&'static str, String)> {
    [("event_type", &which.event_type), ("status", &which.status), ("workflow_id", &which.workflow)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect()
}

fn line(event: &Value) -> String {
    format!(
        "{}  {}  {:<20}  {}/{}  {}",
        text(event, "received_at"),
        text(event, "event_id"),
        text(event, "status"),
        event["deliveries"]["delivered"],
        event["deliveries"]["owed"],
        text(event, "event_type"),
    )
}
