//! `triggerline replay` and `triggerline replays`: sending again, watched to its end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use triggerline_types::format_instant;

use super::api::Api;
use super::args::{Replay, Replays, Run};
use super::{print, text};
use crate::cli::Output;

/// How often its progress is asked for.
const EVERY: Duration = Duration::from_millis(300);

pub(crate) async fn replay(asked: Replay) -> anyhow::Result<()> {
    let api = Api::new(&asked.gateway)?;
    let mut body = Map::new();
    body.insert("subscription_id".into(), json!(asked.subscription));
    body.insert("from".into(), json!(format_instant(asked.from)));
    body.extend(asked.to.map(|to| ("to".into(), json!(format_instant(to)))));
    body.insert("event_types".into(), json!(asked.event_types));
    body.insert("status".into(), json!(asked.status));
    if asked.from_topic {
        body.insert("source".into(), json!("topic"));
    }
    run(&api, asked.gateway.output, "/v1/replays", body, &asked.run).await
}

pub(crate) async fn replays(asked: Replays) -> anyhow::Result<()> {
    match asked {
        Replays::Ls { limit, gateway } => {
            for replay in Api::new(&gateway)?.list("/v1/replays", &[], limit).await? {
                print(gateway.output, &replay, line);
            }
        }
        Replays::Watch { id, gateway } => {
            let api = Api::new(&gateway)?;
            let replay = api.get(&format!("/v1/replays/{id}"), &[]).await?;
            watch(&api, gateway.output, replay, None).await?;
        }
        Replays::Cancel { id, gateway } => {
            let api = Api::new(&gateway)?;
            let cancelled = api.post(&format!("/v1/replays/{id}/cancel"), None).await?;
            print(gateway.output, &cancelled, line);
        }
    }
    Ok(())
}

/// Counts first; then, unless that was all that was asked for, sends.
pub(super) async fn run(
    api: &Api,
    output: Output,
    path: &str,
    mut body: Map<String, Value>,
    how: &Run,
) -> anyhow::Result<()> {
    body.insert("rate".into(), json!(how.rate));
    let mut total = None;
    if !how.detach {
        body.insert("dry_run".into(), json!(true));
        let started: Value = api.post(path, Some(&json!(body))).await?;
        // Up to the same instant: what comes meanwhile was not counted.
        body.insert("to".into(), started["to"].clone());
        let counted = followed(api, started, &spinner("counting")).await?;
        total = counted["sent"].as_u64();
        if how.only_count {
            print(output, &counted, |counted| {
                let (sent, looked) = (&counted["sent"], &counted["examined"]);
                format!("{sent} would be sent, of {looked} looked at")
            });
            return Ok(());
        }
    }
    body.insert("dry_run".into(), json!(false));
    let started = api.post(path, Some(&json!(body))).await?;
    if how.detach {
        detached(output, &started);
        return Ok(());
    }
    watch(api, output, started, total).await
}

pub(super) fn detached(output: Output, started: &Value) {
    print(output, started, |started| {
        let id = text(started, "id");
        format!("{id}\nIt runs; watch it with: triggerline replays watch {id}")
    });
}

/// Shows how far a replay is until it ends. Ctrl-C cancels it.
pub(super) async fn watch(
    api: &Api,
    output: Output,
    replay: Value,
    total: Option<u64>,
) -> anyhow::Result<()> {
    let path = format!("/v1/replays/{}", text(&replay, "id"));
    let bar = match total {
        Some(total) => bar(total),
        None => spinner("sending"),
    };
    let ended = tokio::select! {
        ended = followed(api, replay, &bar) => ended?,
        _ = tokio::signal::ctrl_c() => api.post(&format!("{path}/cancel"), None).await?,
    };
    bar.finish_and_clear();
    print(output, &ended, line);
    match text(&ended, "state") {
        "failed" => anyhow::bail!("the replay failed: {}", text(&ended, "reason")),
        _ => Ok(()),
    }
}

/// The replay, once it has ended.
async fn followed(api: &Api, mut replay: Value, bar: &ProgressBar) -> anyhow::Result<Value> {
    let path = format!("/v1/replays/{}", text(&replay, "id"));
    while text(&replay, "state") == "running" {
        bar.set_position(replay["sent"].as_u64().unwrap_or_default());
        tokio::time::sleep(EVERY).await;
        replay = api.get(&path, &[]).await?;
    }
    Ok(replay)
}

fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} sent, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg}: {pos}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(what);
    bar
}

fn line(replay: &Value) -> String {
    let reason = replay["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let dry = if replay["dry_run"] == true { " (dry run)" } else { "" };
    format!(
        "{}  {}  {}{reason}{dry}, {} sent of {} {} looked at",
        text(replay, "created_at"),
        text(replay, "id"),
        text(replay, "state"),
        replay["sent"],
        replay["examined"],
        text(replay, "source"),
    )
}
