//! Customers and API keys at the command line. These commands work on the control store itself, as
//! the operator who has its address and the pepper; so the first key of an installation needs no
//! key. What they change is in the audit trail, under `operator`.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use triggerline_gateway::keys::{NewKey, Pepper, new_key};
use triggerline_service::ConfigError;
use triggerline_store::{ControlStore, CustomerChange, KeyCreation, KeyRotation, NewCustomer};
use triggerline_types::{
    Actor, ApiKey, Customer, CustomerId, Erased, Erasure, MAX_RETENTION_DAYS, RateLimit, Scope,
    check_instant, check_retention_days, format_instant,
};

use crate::cli::{Customers, Keys, OnStore, Output};
use crate::config::Config;
use crate::services::control;

/// Customers that are asked for at once.
const PAGE: usize = 500;
const TOO_MANY: &str = "the customer has as many live keys as one may have; revoke some";

pub(crate) async fn customers(command: Customers) -> anyhow::Result<()> {
    match command {
        Customers::Create { name, plan, rate_limit, retention_days, on } => {
            let config = load(&on)?;
            check_plan(&config, &plan)?;
            let pepper = config.pepper()?;
            let control = control(&config).await?;
            let new = NewCustomer { name, plan, rate_limit, retention_days };
            let (customer, key) =
                customer_with_key(&*control, &pepper, new, &config.gateway.key_environment).await?;
            match on.output {
                Output::Text => {
                    println!("Customer {} ({})", customer.id, customer.name);
                    println!("API key  {key}");
                    println!(
                        "The key is shown this once. It may do everything that a customer may."
                    );
                }
                Output::Json => {
                    println!("{}", json!({"customer_id": customer.id, "api_key": key}));
                }
            }
        }
        Customers::List { on } => {
            let control = control(&load(&on)?).await?;
            let mut after = None;
            loop {
                let page = control.customers(after, PAGE).await?;
                for customer in &page {
                    print(&on, &customer_line(customer), &customer_json(customer));
                }
                after = page.last().map(|customer| customer.id);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Customers::Update { customer, name, plan, rate_limit, retention_days, on } => {
            let config = load(&on)?;
            if let Some(plan) = &plan {
                check_plan(&config, plan)?;
            }
            let rate_limit: Option<Option<RateLimit>> = match rate_limit.as_deref() {
                None => None,
                Some("plan") => Some(None),
                Some(text) => Some(Some(text.parse()?)),
            };
            let retention_days = match retention_days.as_deref() {
                None => None,
                Some("settings") => Some(None),
                Some(text) => Some(Some(days(text)?)),
            };
            let change = CustomerChange { name, plan, rate_limit, retention_days };
            let changed = control(&config)
                .await?
                .update_customer(customer, change, Actor::Operator)
                .await?
                .with_context(|| format!("there is no customer {customer}"))?;
            print(&on, &customer_line(&changed), &customer_json(&changed));
        }
        Customers::Erase { customer, yes, on } => {
            let config = load(&on)?;
            let control = control(&config).await?;
            let erasure = if yes {
                let until = in_future(config.topic_settings().longest())?;
                let erasure = control.erase_customer(customer, until, Actor::Operator).await?;
                erasure.with_context(|| format!("there is no customer {customer}"))?
            } else if let Some(erasure) = control.erasure(customer).await? {
                erasure
            } else {
                let found = control.customer(customer).await?;
                let found = found.with_context(|| format!("there is no customer {customer}"))?;
                anyhow::bail!(
                    "this would erase everything of {} ({}), for good; say --yes to do it",
                    found.id,
                    found.name
                );
            };
            print(&on, &erasure_text(&erasure), &erasure_json(&erasure));
        }
    }
    Ok(())
}

fn days(text: &str) -> anyhow::Result<u16> {
    let days = text.parse().ok().filter(|days| check_retention_days(*days).is_ok());
    days.with_context(|| {
        format!(
            "{text:?} is neither a number of days from 1 to {MAX_RETENTION_DAYS} nor \"settings\""
        )
    })
}

pub(crate) async fn keys(command: Keys) -> anyhow::Result<()> {
    match command {
        Keys::Create { customer, name, scopes, expires_in, rate_limit, on } => {
            let config = load(&on)?;
            let pepper = config.pepper()?;
            let scopes = if scopes.is_empty() { Scope::OF_CUSTOMERS.to_vec() } else { scopes };
            let mut made =
                new_key(&pepper, &config.gateway.key_environment, customer, name, scopes);
            made.key.expires_at = expires_in.map(in_future).transpose()?;
            made.key.rate_limit = rate_limit;
            let control = control(&config).await?;
            match control.create_api_key(&made.key, Actor::Operator).await? {
                KeyCreation::Made => show(&on, &made),
                KeyCreation::NoSuchCustomer => anyhow::bail!("there is no customer {customer}"),
                KeyCreation::TooMany => anyhow::bail!("{TOO_MANY}"),
            }
        }
        Keys::List { customer, on } => {
            let control = control(&load(&on)?).await?;
            found(&*control, customer).await?;
            for key in control.api_keys(customer).await? {
                print(&on, &key_line(&key), &key_json(&key));
            }
        }
        Keys::Rotate { key, customer, overlap, on } => {
            let config = load(&on)?;
            let pepper = config.pepper()?;
            let control = control(&config).await?;
            let old = control.api_key_of(customer, key).await?;
            let old = old.with_context(|| format!("the customer has no key {key}"))?;
            let env = &config.gateway.key_environment;
            let mut made = new_key(&pepper, env, customer, old.name, old.scopes);
            made.key.rate_limit = old.rate_limit;
            made.key.expires_at = old.expires_at;
            let until = in_future(overlap)?;
            let rotated =
                control.rotate_api_key(customer, key, &made.key, until, Actor::Operator).await?;
            match rotated {
                KeyRotation::Made { .. } => show(&on, &made),
                KeyRotation::TooMany => anyhow::bail!("{TOO_MANY}"),
                KeyRotation::NoSuchKey => anyhow::bail!("the key {key} is revoked or has expired"),
            }
        }
        Keys::Revoke { key, customer, on } => {
            let control = control(&load(&on)?).await?;
            let revoked = control.revoke_api_key(customer, key, Actor::Operator).await?;
            let revoked = revoked.with_context(|| format!("the customer has no key {key}"))?;
            print(&on, &key_line(&revoked), &key_json(&revoked));
        }
    }
    Ok(())
}

/// Makes a customer and a key for it that may do all that a customer may; the key is returned
/// this once.
pub(crate) async fn customer_with_key(
    control: &dyn ControlStore,
    pepper: &Pepper,
    new: NewCustomer,
    env: &str,
) -> anyhow::Result<(Customer, String)> {
    let scopes = Scope::OF_CUSTOMERS.to_vec();
    // The store says whose it is: there is no customer yet, nor will be without the key.
    let made = new_key(pepper, env, CustomerId::new(), "first key".to_owned(), scopes);
    let customer = control.create_customer_with_key(new, &made.key, Actor::Operator).await?;
    Ok((customer, made.text))
}

fn load(on: &OnStore) -> Result<Config, ConfigError> {
    Config::load(on.file.config.as_deref(), &[])
}

fn check_plan(config: &Config, plan: &str) -> anyhow::Result<()> {
    let names: Vec<&str> = config.gateway.plans.names().collect();
    anyhow::ensure!(
        names.contains(&plan),
        "there is no plan {plan:?}; there are {}",
        names.join(", ")
    );
    Ok(())
}

async fn found(control: &dyn ControlStore, customer: CustomerId) -> anyhow::Result<()> {
    let found = control.customer(customer).await?;
    found.with_context(|| format!("there is no customer {customer}")).map(drop)
}

fn in_future(duration: Duration) -> anyhow::Result<OffsetDateTime> {
    let then = time::Duration::try_from(duration).ok();
    let then = then.and_then(|duration| OffsetDateTime::now_utc().checked_add(duration));
    then.and_then(check_instant).context("that is after the year 9999; leave it out for never")
}

fn show(on: &OnStore, made: &NewKey) {
    match on.output {
        Output::Text => {
            println!("Key id   {}", made.key.id);
            println!("API key  {}", made.text);
            println!("The key is shown this once.");
        }
        Output::Json => {
            let mut json = key_json(&made.key);
            json["api_key"] = made.text.clone().into();
            println!("{json}");
        }
    }
}

fn print(on: &OnStore, line: &str, json: &Value) {
    match on.output {
        Output::Text => println!("{line}"),
        Output::Json => println!("{json}"),
    }
}

fn customer_line(customer: &Customer) -> String {
    let Customer { id, name, plan, rate_limit, retention_days, .. } = customer;
    let own = rate_limit.map_or_else(String::new, |limit| format!(", own limit {limit}"));
    let kept = retention_days.map_or_else(String::new, |days| format!(", kept for {days} days"));
    format!("{id}  {name}  (plan {plan}{own}{kept})")
}

fn customer_json(customer: &Customer) -> Value {
    json!({
        "customer_id": customer.id,
        "name": customer.name,
        "plan": customer.plan,
        "rate_limit": customer.rate_limit.map(|limit| limit.to_string()),
        "retention_days": customer.retention_days,
        "created_at": format_instant(customer.created_at),
    })
}

fn erasure_text(erasure: &Erasure) -> String {
    let Erased { api_keys, subscriptions, schemas, replays, queued, events } = erasure.erased;
    let until = match erasure.completed_at {
        Some(at) => format!("complete since {}", format_instant(at)),
        None => {
            format!("Kafka's topics may hold events until {}", format_instant(erasure.topics_until))
        }
    };
    format!(
        "{}  {} ({until}); gone: {events} events, {subscriptions} subscriptions, {api_keys} keys, \
         {schemas} schemas, {replays} replays, {queued} queued deliveries",
        erasure.customer_id,
        erasure.state().as_str()
    )
}

fn erasure_json(erasure: &Erasure) -> Value {
    let erased = erasure.erased;
    json!({
        "customer_id": erasure.customer_id,
        "state": erasure.state().as_str(),
        "requested_at": format_instant(erasure.requested_at),
        "topics_until": format_instant(erasure.topics_until),
        "erased_at": erasure.erased_at.map(format_instant),
        "completed_at": erasure.completed_at.map(format_instant),
        "erased": {
            "events": erased.events,
            "subscriptions": erased.subscriptions,
            "api_keys": erased.api_keys,
            "schemas": erased.schemas,
            "replays": erased.replays,
            "queued_deliveries": erased.queued,
        },
    })
}

fn key_line(key: &ApiKey) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let state = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", format_instant(at)),
        (None, Some(at)) if at <= OffsetDateTime::now_utc() => {
            format!("expired {}", format_instant(at))
        }
        (None, Some(at)) => format!("until {}", format_instant(at)),
        (None, None) => "live".to_owned(),
    };
    let used = key
        .last_used_at
        .map_or_else(|| "never used".to_owned(), |at| format!("last used {}", format_instant(at)));
    format!("{}  {}…  {}  {state}, {used}  {}", key.id, key.hint, key.name, scopes.join(" "))
}

fn key_json(key: &ApiKey) -> Value {
    json!({
        "key_id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "rate_limit": key.rate_limit.map(|limit| limit.to_string()),
        "created_at": format_instant(key.created_at),
        "expires_at": key.expires_at.map(format_instant),
        "revoked_at": key.revoked_at.map(format_instant),
        "last_used_at": key.last_used_at.map(format_instant),
    })
}
