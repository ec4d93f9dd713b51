//! The admin port: is the process alive, ready, started, and what has it counted?
//!
//! `/livez` answers as long as the process can answer, and never asks a dependency, so that
//! a database that is down doesn't get every pod restarted. `/readyz` lists each named
//! check. `/startupz` is 200 once the service has been built. `/metrics` is for Prometheus.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; an empty string turns the port off.
    pub listen: String,
}

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How old a picture may be before it counts as old; it is refreshed several times a second.
const OLD: Duration = Duration::from_secs(10);

/// What the admin port reports.
#[derive(Default)]
pub struct Health {
    started: AtomicBool,
    checks: Mutex<Vec<(&'static str, Check)>>,
}

impl Health {
    /// Adds a readiness check. It is called on each request and must not wait.
    pub fn check(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.checks().push((name, Arc::new(check)));
    }

    /// Adds a check of a picture that is refreshed all the time: not ready when it is old.
    /// The service goes on with it all the same.
    pub fn check_age(
        &self,
        name: &'static str,
        age: impl Fn() -> Duration + Send + Sync + 'static,
    ) {
        self.check(name, move || match age() {
            age if age > OLD => Err(format!("not refreshed for {} s", age.as_secs())),
            _ => Ok(()),
        });
    }

    /// The service is built: `/startupz` and `/readyz` may say so.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    fn checks(&self) -> MutexGuard<'_, Vec<(&'static str, Check)>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the admin port for as long as the process lives, so that it can also be asked while
/// the service starts and while it drains (from when `draining` is cancelled). Returns the
/// address it got.
pub async fn serve(
    config: &AdminConfig,
    health: Arc<Health>,
    draining: CancellationToken,
) -> anyhow::Result<Option<SocketAddr>> {
    if config.listen.is_empty() {
        return Ok(None);
    }
    let listener = bind("admin.listen", &config.listen).await?;
    let address = listener.local_addr()?;
    let kept = metrics::kept()?;
    let router = Router::new()
        .route("/livez", get(|| async { Json(json!({"status": "alive"})) }))
        .route("/startupz", get(startup))
        .route("/readyz", get(move |state| async move { ready(&state, &draining) }))
        .route(
            "/metrics",
            get(move || async { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], kept.render()) }),
        )
        .with_state(health);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin port failed");
        }
    });
    Ok(Some(address))
}

async fn startup(State(health): State<Arc<Health>>) -> StatusCode {
    if health.started.load(Ordering::Relaxed) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn ready(
    State(health): &State<Arc<Health>>,
    draining: &CancellationToken,
) -> (StatusCode, Json<Value>) {
    let mut told = Map::new();
    let mut well = true;
    let mut tell = |name: &str, result: Result<(), String>| {
        well &= result.is_ok();
        told.insert(name.to_owned(), result.map_or_else(Value::from, |()| "ok".into()));
    };
    if draining.is_cancelled() {
        tell("process", Err("draining".to_owned()));
    } else if !health.started.load(Ordering::Relaxed) {
        tell("process", Err("starting".to_owned()));
    }
    for (name, check) in health.checks().iter() {
        tell(name, check());
    }
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Value::Object(told)))
}

/// Binds a port; an error names the setting, the address and the cause.
pub async fn bind(setting: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("setting {setting}: listen on {address}"))
}
