//! From an address in the settings to an open store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{
    Cache, ControlStore, CqlEvents, DynamoEvents, EventStore, MemoryCache, PostgresControl,
    RedisCache, SecretKeys, SqliteControl, SqliteEvents, StoreError,
};

/// `postgres://user:password@host/database` or `sqlite:PATH`; secrets in it are sealed with `keys`.
pub async fn open_control(
    url: &str,
    keys: SecretKeys,
) -> Result<Arc<dyn ControlStore>, StoreError> {
    match scheme(url) {
        "postgres" | "postgresql" => Ok(Arc::new(PostgresControl::connect(url, keys)?)),
        "sqlite" => Ok(Arc::new(SqliteControl::open(&path(url)?, keys).await?)),
        other => Err(StoreError::Address(format!(
            "starts with {other:?}; a control store is postgres://… or sqlite:PATH"
        ))),
    }
}

/// `sqlite:PATH`, `scylla://[user:password@]host[:port]/keyspace` (`cassandra://…`) or `dynamodb:TABLE`.
pub async fn open_events(url: &str) -> Result<Arc<dyn EventStore>, StoreError> {
    match scheme(url) {
        "sqlite" => Ok(Arc::new(SqliteEvents::open(&path(url)?).await?)),
        "scylla" | "cassandra" => Ok(Arc::new(CqlEvents::new(url)?)),
        "dynamodb" => Ok(Arc::new(DynamoEvents::new(url)?)),
        other => Err(StoreError::Address(format!(
            "starts with {other:?}; an event store is sqlite:PATH, scylla://HOST/KEYSPACE, \
             cassandra://HOST/KEYSPACE or dynamodb:TABLE"
        ))),
    }
}

/// `redis://[user:password@]host[:port][/db]`, `rediss://…` with TLS, `redis-cluster://…` and
/// `rediss-cluster://…` (more nodes as `?node=host:port`), or `memory:` for one process.
///
/// Returns at once, whether the server is there or not. To be called inside a Tokio runtime.
pub fn open_cache(url: &str) -> Result<Arc<dyn Cache>, StoreError> {
    match (scheme(url), url) {
        ("redis" | "rediss" | "redis-cluster" | "rediss-cluster", _) => {
            Ok(Arc::new(RedisCache::connect(url)?))
        }
        (_, "memory:") => Ok(Arc::new(MemoryCache::default())),
        (other, _) => Err(StoreError::Address(format!(
            "starts with {other:?}; a cache is redis://HOST:PORT, rediss://…, \
             redis-cluster://… or memory:"
        ))),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// `sqlite:relative/path`, `sqlite:/absolute/path` or `sqlite:///absolute/path`.
fn path(url: &str) -> Result<PathBuf, StoreError> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(StoreError::Address("names no file; write sqlite:PATH".to_owned()));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_each_form() {
        for (url, expected) in [
            ("sqlite:a/b.db", Some("a/b.db")),
            ("sqlite:/a/b.db", Some("/a/b.db")),
            ("sqlite:///a/b.db", Some("/a/b.db")),
            ("sqlite:", None),
            ("sqlite://", None),
        ] {
            assert_eq!(path(url).ok(), expected.map(PathBuf::from), "{url}");
        }
    }

    #[tokio::test]
    async fn an_unknown_store_is_refused_with_what_is_known() {
        for url in ["mysql://h/d", "triggerline.db", "dynamo:events"] {
            let error = open_events(url).await.err().unwrap().to_string();
            assert!(error.contains("sqlite:PATH"), "{url}: {error}");
            let error = open_control(url, SecretKeys::default()).await.err().unwrap().to_string();
            assert!(error.contains("postgres://"), "{url}: {error}");
            let error = open_cache(url).err().unwrap().to_string();
            assert!(error.contains("redis://"), "{url}: {error}");
        }
        for url in ["memory:", "redis://127.0.0.1:1", "rediss://user:password@cache.example/3"] {
            assert!(open_cache(url).is_ok(), "{url}");
        }
    }
}
