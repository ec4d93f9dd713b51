//! What customers say their events look like.
//!
//! A schema is judged once, when it is saved ([`Schemas::check`]: it is compiled, and what it may
//! cost is measured), and compiled again by each gateway that meets an event of its type.
//! [`Schemas`] keeps two things: what each customer has saved, until the feed of changes names the
//! customer; and what was compiled, by its text, so that it can't be out of date. Both are bounded
//! by the memory that they take. [`Judge`] holds a request's events against them.

mod cost;
mod graph;
#[cfg(test)]
mod hostile;
mod judge;
mod keywords;
mod usable;

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::future::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use triggerline_store::{ControlStore, StoreError};
use triggerline_types::{CustomerId, EventType, SchemaMode};

pub(crate) use judge::{Judge, Notice};
use usable::Usable;

use crate::problem::{Kind, Problem};

/// What is remembered of what customers saved, in bytes; for each of them, this much besides.
const SAVED_BYTES: u64 = 64 * 1_024 * 1_024;
const CUSTOMER_BYTES: usize = 200;
/// What compiled schemas may take, in bytes, about.
const COMPILED_BYTES: u64 = 256 * 1_024 * 1_024;
/// Customers that share a generation.
const GENERATIONS: usize = 1_024;

/// A schema as it was saved.
struct Saved {
    mode: SchemaMode,
    document: Arc<str>,
    digest: [u8; 32],
}

type OfCustomer = Arc<HashMap<EventType, Saved>>;

pub(crate) struct Schemas {
    control: Arc<dyn ControlStore>,
    saved: Cache<CustomerId, OfCustomer>,
    /// By the digests of their texts; `None` for one that can't be used.
    compiled: Cache<[u8; 32], Option<Arc<Usable>>>,
    /// Compiling takes a core for a while. Who saves schemas all the time leaves others some.
    compiling: Arc<Semaphore>,
    /// Counts what was forgotten (see `auth::seen::Memory`), by customer: who changes schemas all
    /// the time doesn't make others' be read anew.
    generations: Vec<AtomicU64>,
}

impl Schemas {
    pub(crate) fn new(control: Arc<dyn ControlStore>) -> Self {
        // No time limit: while the control store is away, schemas stay as they were.
        let saved = Cache::builder()
            .max_capacity(SAVED_BYTES)
            .weigher(|_, saved: &OfCustomer| {
                let each = |(event_type, saved): (&EventType, &Saved)| {
                    CUSTOMER_BYTES + event_type.as_str().len() + saved.document.len()
                };
                weight(CUSTOMER_BYTES + saved.iter().map(each).sum::<usize>())
            })
            .build();
        let compiled = Cache::builder()
            .max_capacity(COMPILED_BYTES)
            .weigher(|_, compiled: &Option<Arc<Usable>>| {
                weight(CUSTOMER_BYTES + compiled.as_ref().map_or(0, |usable| usable.bytes))
            })
            .build();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            control,
            saved,
            compiled,
            compiling: Arc::new(Semaphore::new((cores / 2).max(1))),
            generations: (0..GENERATIONS).map(|_| AtomicU64::default()).collect(),
        }
    }

    fn generation(&self, customer: CustomerId) -> &AtomicU64 {
        // The end of the id is random.
        let id = customer.as_uuid().as_u128();
        &self.generations[usize::try_from(id % GENERATIONS as u128).unwrap_or_default()]
    }

    pub(crate) async fn forget(&self, customer: CustomerId) {
        self.generation(customer).fetch_add(1, Ordering::SeqCst);
        self.saved.invalidate(&customer).await;
    }

    pub(crate) fn forget_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::SeqCst);
        }
        self.saved.invalidate_all();
    }

    /// Whether a schema that somebody wants to save can be used.
    pub(crate) async fn check(&self, document: &str) -> Result<(), Problem> {
        self.compile(document.into()).await?.map(drop)
    }

    /// A customer's schemas, for judging events of `types`.
    pub(crate) async fn of(
        &self,
        customer: CustomerId,
        types: HashSet<&EventType>,
    ) -> Result<Judge, Problem> {
        let mut schemas = HashMap::new();
        if types.is_empty() {
            return Ok(Judge::new(schemas));
        }
        let saved = self.saved(customer).await?;
        for event_type in types {
            if let Some(one) = saved.get(event_type)
                && one.mode != SchemaMode::Off
                && let Some(usable) = self.usable(customer, event_type, one).await?
            {
                schemas.insert(event_type.clone(), (one.mode, usable));
            }
        }
        Ok(Judge::new(schemas))
    }

    async fn saved(&self, customer: CustomerId) -> Result<OfCustomer, Problem> {
        if let Some(found) = self.saved.get(&customer).await {
            return Ok(found);
        }
        let generation = self.generation(customer).load(Ordering::SeqCst);
        let load = async {
            let schemas = self.control.schemas(customer).await?;
            let saved = schemas.into_iter().map(|schema| {
                let digest = Sha256::digest(&schema.document).into();
                let saved = Saved { mode: schema.mode, document: schema.document.into(), digest };
                (schema.event_type, saved)
            });
            Ok(Arc::new(saved.collect()))
        };
        let loaded = self.saved.try_get_with(customer, load).await;
        if self.generation(customer).load(Ordering::SeqCst) != generation {
            self.saved.invalidate(&customer).await;
        }
        loaded.map_err(|error: Arc<StoreError>| {
            tracing::warn!(%error, "a customer's schemas can't be read");
            let detail = "The customer's schemas can't be read at the moment. Nothing was done.";
            Problem::new(Kind::Unavailable, detail)
        })
    }

    async fn usable(
        &self,
        customer: CustomerId,
        event_type: &EventType,
        saved: &Saved,
    ) -> Result<Option<Arc<Usable>>, Problem> {
        let compile = async {
            match self.compile(Arc::clone(&saved.document)).await? {
                Ok(usable) => Ok(Some(Arc::new(usable))),
                // It was compiled when it was saved; only another version can have let it in.
                Err(problem) => {
                    let (event_type, detail) = (event_type.as_str(), problem.detail);
                    tracing::error!(%customer, event_type, detail, "a schema can't be used");
                    Ok(None)
                }
            }
        };
        let compiled = self.compiled.try_get_with(saved.digest, compile).await;
        compiled.map_err(|problem: Arc<Problem>| Problem::clone(&problem))
    }

    /// Compiles off the runtime's threads, when it is its turn.
    async fn compile(&self, document: Arc<str>) -> Result<Result<Usable, Problem>, Problem> {
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(%error, "compiling a schema failed");
            Problem::new(Kind::Internal, "The error has been logged.")
        };
        let turn = Arc::clone(&self.compiling).acquire_owned().await;
        let turn = turn.map_err(|error| failed(&error))?;
        let compile = move || {
            // Held until it is done, even if nobody waits for it any more.
            let _turn = turn;
            usable::compile(&document)
        };
        tokio::task::spawn_blocking(compile).await.map_err(|error| failed(&error))
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use triggerline_store::NewCustomer;
    use triggerline_types::{Actor, Event};

    use super::*;

    /// A control store in a folder of its own, and the customers' schemas from it.
    struct Ground {
        schemas: Schemas,
        control: Arc<dyn ControlStore>,
        folder: std::path::PathBuf,
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    impl Ground {
        async fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("schemas-{}", uuid::Uuid::now_v7()));
            std::fs::create_dir(&folder).unwrap();
            let url = format!("sqlite:{}", folder.join("control.db").display());
            let control =
                triggerline_store::open_control(&url, triggerline_store::SecretKeys::default())
                    .await
                    .unwrap();
            control.migrate().await.unwrap();
            Self { schemas: Schemas::new(Arc::clone(&control)), control, folder }
        }

        async fn customer(&self) -> CustomerId {
            let made = self.control.create_customer(NewCustomer::named("c"), Actor::System).await;
            made.unwrap().id
        }

        async fn put(&self, customer: CustomerId, mode: SchemaMode, document: &str) {
            let order = order();
            let put = self.control.put_schema(customer, &order, mode, document, Actor::System);
            put.await.unwrap();
        }

        /// Whether an event passes, or why not.
        async fn judge(&self, customer: CustomerId) -> Result<(), Kind> {
            let order = order();
            let judge = self.schemas.of(customer, HashSet::from([&order])).await.unwrap();
            let passed = judge.pass(vec![Ok(event(customer))]).await.unwrap();
            passed.into_iter().next().unwrap().map(drop).map_err(|problem| problem.kind)
        }
    }

    fn order() -> EventType {
        EventType::parse("order").unwrap()
    }

    fn event(customer: CustomerId) -> Event {
        Event {
            id: triggerline_types::EventId::new(),
            customer_id: customer,
            event_type: order(),
            source: "api".to_owned(),
            subject: None,
            occurred_at: time::OffsetDateTime::UNIX_EPOCH,
            extensions: std::collections::BTreeMap::new(),
            received_at: time::OffsetDateTime::UNIX_EPOCH,
            traceparent: None,
            quarantined: None,
            payload: bytes::Bytes::from_static(b"7"),
        }
    }

    #[tokio::test]
    async fn what_was_saved_counts_until_it_is_forgotten() {
        let ground = Ground::new().await;
        let (ours, theirs) = (ground.customer().await, ground.customer().await);
        for customer in [ours, theirs] {
            assert_eq!(ground.judge(customer).await, Ok(()), "there is no schema");
            ground.put(customer, SchemaMode::Reject, "false").await;
            assert_eq!(ground.judge(customer).await, Ok(()), "nobody has said so yet");
        }
        ground.schemas.forget(ours).await;
        assert_eq!(ground.judge(ours).await, Err(Kind::SchemaViolation));
        assert_eq!(ground.judge(theirs).await, Ok(()), "another's are another's");
        ground.schemas.forget_all();
        assert_eq!(ground.judge(theirs).await, Err(Kind::SchemaViolation));
        for (mode, document) in [
            (SchemaMode::Off, "false"),
            (SchemaMode::Warn, "false"),
            (SchemaMode::Reject, "true"),
            // Of another version, which let it in.
            (SchemaMode::Reject, r##"{"$dynamicRef":"#a"}"##),
        ] {
            ground.put(ours, mode, document).await;
            ground.schemas.forget(ours).await;
            assert_eq!(ground.judge(ours).await, Ok(()), "{document}");
        }
    }

    #[tokio::test]
    async fn one_customers_changes_are_not_anothers() {
        let ground = Ground::new().await;
        let id = |n: u128| CustomerId::from_uuid(uuid::Uuid::from_u128(n));
        let of = |n| ground.schemas.generation(id(n)).load(Ordering::SeqCst);
        ground.schemas.forget(id(1)).await;
        assert_eq!((of(1), of(2)), (1, 0));
        ground.schemas.forget_all();
        assert_eq!((of(1), of(2)), (2, 1));
    }

    #[tokio::test]
    async fn what_is_remembered_is_weighed() {
        let ground = Ground::new().await;
        let customer = ground.customer().await;
        let document = format!(r#"{{"title":"{}","pattern":"^a$"}}"#, "a".repeat(10_000));
        ground.put(customer, SchemaMode::Reject, &document).await;
        assert_eq!(ground.judge(customer).await, Ok(()));
        let Schemas { saved, compiled, .. } = &ground.schemas;
        saved.run_pending_tasks().await;
        compiled.run_pending_tasks().await;
        assert!(saved.weighted_size() > 10_000);
        assert!(compiled.weighted_size() > 32 * 10_000);
    }

    #[tokio::test]
    async fn who_compiles_waits_for_a_turn() {
        let ground = Ground::new().await;
        let turns = u32::try_from(ground.schemas.compiling.available_permits()).unwrap();
        let taken = ground.schemas.compiling.acquire_many(turns).await.unwrap();
        let mut waits = Box::pin(ground.schemas.check("{}"));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(taken);
        assert_eq!(waits.await, Ok(()));
        let refused = ground.schemas.check("{").await.unwrap_err();
        assert_eq!(refused.kind, Kind::InvalidSchema);
    }
}
