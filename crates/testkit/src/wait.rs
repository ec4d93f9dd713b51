use std::time::{Duration, Instant};

/// Waits until `check` is `Ok`, asking again every 20 ms; fails with the last reason that it
/// gave. The only way in which tests here wait.
pub async fn wait_until<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let until = Instant::now() + limit;
    loop {
        let reason = match check().await {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if Instant::now() >= until {
            anyhow::bail!("waited {} s for {what}: {reason}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
