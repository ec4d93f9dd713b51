//! What the process counts and measures, for Prometheus: `/metrics` of the admin port, in the text
//! format 0.0.4. Crates count with the `metrics` facade and name what they count in a module of
//! their own; without an admin port nothing is kept.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Of histograms, in seconds: fine where our aims are (100 ms for a 202, 5 s for a delivery).
const BUCKETS: [f64; 16] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Samples of histograms wait in memory until they are sorted into buckets.
const UPKEEP: Duration = Duration::from_secs(1);

/// The process's metrics, kept from the first call on. Wants a runtime.
pub(crate) fn kept() -> anyhow::Result<&'static PrometheusHandle> {
    static KEPT: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(kept) = KEPT.get() {
        return Ok(kept);
    }
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).context("metrics")?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // Several services may start in one process; the first one's keeps for all.
    if metrics::set_global_recorder(recorder).is_ok() {
        let handle = handle.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            loop {
                tick.tick().await;
                handle.run_upkeep();
            }
        });
    }
    Ok(KEPT.get_or_init(|| handle))
}
