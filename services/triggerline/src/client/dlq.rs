//! `triggerline dlq`: dead letters.

use serde_json::{Value, json};

use super::api::Api;
use super::args::{Dlq, Letters, Run};
use super::replay::{detached, run};
use super::{attempts, print, span, text};

pub(crate) async fn dlq(asked: Dlq) -> anyhow::Result<()> {
    match asked {
        Dlq::Ls { letters, limit, gateway } => {
            let api = Api::new(&gateway)?;
            for letter in api.list("/v1/dead-letters", &query(&letters), limit).await? {
                print(gateway.output, &letter, line);
            }
        }
        Dlq::Show { id, gateway } => {
            let letter = Api::new(&gateway)?.get(&format!("/v1/dead-letters/{id}"), &[]).await?;
            print(gateway.output, &letter, |letter| {
                format!("{}{}\n{:#}", line(letter), attempts(letter), letter["event"]["payload"])
            });
        }
        Dlq::Redrive { id: Some(id), run: Run { detach, .. }, gateway, .. } => {
            let api = Api::new(&gateway)?;
            let started = api.post(&format!("/v1/dead-letters/{id}/redrive"), None).await?;
            if detach {
                detached(gateway.output, &started);
            } else {
                super::replay::watch(&api, gateway.output, started, Some(1)).await?;
            }
        }
        Dlq::Redrive { id: None, letters, run: how, gateway, all: _ } => {
            let api = Api::new(&gateway)?;
            let mut body: serde_json::Map<String, Value> = span(&letters.span)
                .into_iter()
                .map(|(name, at)| (name.into(), at.into()))
                .collect();
            body.extend(letters.subscription.map(|id| ("subscription_id".into(), json!(id))));
            body.extend(letters.event_type.map(|one| ("event_types".into(), json!([one]))));
            run(&api, gateway.output, "/v1/dead-letters/redrive", body, &how).await?;
        }
    }
    Ok(())
}

fn query(letters: &Letters) -> Vec<(&'static str, String)> {
    let mut query = span(&letters.span);
    query.extend(letters.subscription.map(|id| ("subscription_id", id.to_string())));
    query.extend(letters.event_type.clone().map(|one| ("event_type", one)));
    query
}

fn line(letter: &Value) -> String {
    format!(
        "{}  {}  {}  {}  {}",
        text(letter, "dead_lettered_at"),
        text(letter, "delivery_id"),
        text(letter, "workflow_id"),
        text(letter, "event_type"),
        text(letter, "reason"),
    )
}
