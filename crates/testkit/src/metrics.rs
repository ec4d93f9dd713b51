//! What a process counts, as Prometheus sees it.

use anyhow::Context as _;

use crate::{Client, Process};

/// The admin port of a process.
pub struct Metrics(Client);

impl Metrics {
    pub async fn of(process: &mut Process) -> anyhow::Result<Self> {
        let told = process.logged("the admin port").await?;
        let address = told["address"].as_str().context("no address")?;
        Ok(Self(Client::new(format!("http://{address}"), "")))
    }

    pub async fn page(&self) -> anyhow::Result<String> {
        let answer = self.0.get("/metrics").await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The value of the line of a page that begins so.
    pub fn value(page: &str, line: &str) -> Option<f64> {
        page.lines().find_map(|each| each.strip_prefix(line)?.trim().parse().ok())
    }
}
