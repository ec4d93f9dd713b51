//! What customers say their events look like.
//!
//! A schema is judged once, when it is saved ([`compile`], with [`cost`] for what it may ask of
//! us), and compiled again by each gateway that meets an event of its customer. [`Schemas`] keeps
//! the compiled ones, and forgets a customer's when the feed of changes names it.

mod cost;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonschema::{Draft, PatternOptions, Validator};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use triggerline_store::{ControlStore, StoreError};
use triggerline_types::{CustomerId, EventType, Schema, SchemaMode};

use crate::problem::{Fault, Kind, Problem, cut};

/// The largest schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 * 1_024;
/// The largest compiled pattern in a schema, in bytes. (Patterns are run by an engine whose time
/// is linear in the text.)
const MAX_PATTERN_BYTES: usize = 256 * 1_024;
/// Faults that are told of one payload.
const MAX_FAULTS: usize = 20;
/// Customers whose schemas are remembered at once.
const CACHED_CUSTOMERS: u64 = 10_000;
/// The most that one request's payloads may cost: subschemas times values, about a second.
pub(crate) const MAX_WORK: u64 = 100_000_000;
/// More than this is not done in between on a thread that others wait for.
const WORK_AT_ONCE: u64 = 200_000;
/// What is kept of the reasons for a quarantine, about.
const MAX_REASON_BYTES: usize = 1_000;

/// A schema that can be used.
pub(crate) struct Usable {
    validator: Validator,
    /// Subschemas that may apply down one path of a payload.
    cost: u64,
}

/// Compiles a schema that somebody wants to save. It may take a while: not on the runtime's
/// threads.
pub(crate) fn compile(document: &str) -> Result<Usable, Problem> {
    let refused = |pointer: &str, why: String| {
        Problem::at(Kind::InvalidSchema, format!("/schema{pointer}"), why)
    };
    if document.len() > MAX_SCHEMA_BYTES {
        return Err(refused("", format!("is at most {MAX_SCHEMA_BYTES} bytes long")));
    }
    let document: Value =
        serde_json::from_str(document).map_err(|error| refused("", error.to_string()))?;
    if let Some(dialect) = document.get("$schema")
        && dialect.as_str().map(|text| text.trim_end_matches('#'))
            != Some("https://json-schema.org/draft/2020-12/schema")
    {
        return Err(refused("/$schema", "is JSON Schema 2020-12, or absent".to_owned()));
    }
    let cost = cost::check(&document);
    let cost = cost.map_err(|unusable| refused(&unusable.pointer, unusable.why))?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES),
        )
        // A schema is data from a customer: no reference ever leaves this process.
        .offline()
        .should_validate_formats(true)
        .build(&document)
        .map_err(|error| refused(error.instance_path().as_str(), error.masked().to_string()))?;
    Ok(Usable { validator, cost })
}

/// What is wrong with a payload, in the words of its schema and without the payload's values.
///
/// `budget`: what all payloads of the request may still cost.
pub(crate) fn faults(schema: &Usable, payload: &[u8], budget: &mut u64) -> Vec<Fault> {
    let fault = |detail: String| vec![Fault { pointer: "/payload".to_owned(), detail }];
    // A value takes at least two bytes of JSON; nobody writes so densely.
    let work = schema.cost.saturating_mul(payload.len() as u64 / 4 + 1);
    let Some(left) = budget.checked_sub(work) else {
        return fault("is too large for a schema that asks for so much".to_owned());
    };
    *budget = left;
    let judge = || {
        let payload: Value = match serde_json::from_slice(payload) {
            Ok(payload) => payload,
            // JSON, or it would not be here; but of a kind that has no tree, such as 1e400.
            Err(error) => return fault(format!("can't be held against the schema: {error}")),
        };
        let errors = schema.validator.iter_errors(&payload).take(MAX_FAULTS);
        let faults = errors.map(|error| Fault {
            pointer: cut(format!("/payload{}", error.instance_path().as_str())),
            detail: cut(error.masked().to_string()),
        });
        faults.collect()
    };
    if work > WORK_AT_ONCE {
        return tokio::task::block_in_place(judge);
    }
    judge()
}

struct Compiled {
    mode: SchemaMode,
    schema: Usable,
}

type OfCustomer = Arc<HashMap<EventType, Compiled>>;

pub(crate) struct Schemas {
    control: Arc<dyn ControlStore>,
    cache: Cache<CustomerId, OfCustomer>,
    /// Counts what was forgotten; see `Auth::generation`.
    generation: AtomicU64,
}

/// What a schema has against an event that is accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// Held back, not only warned of.
    pub(crate) quarantined: bool,
    pub(crate) faults: Vec<Fault>,
}

impl Notice {
    /// What is kept with an event that is held back; `None` for others.
    pub(crate) fn reason_to_hold(&self) -> Option<String> {
        if !self.quarantined {
            return None;
        }
        let mut reason = String::new();
        for Fault { pointer, detail } in &self.faults {
            let more = format!("{}{pointer} {detail}", if reason.is_empty() { "" } else { "; " });
            if reason.len() + more.len() > MAX_REASON_BYTES && !reason.is_empty() {
                break;
            }
            reason.push_str(&more);
        }
        Some(reason)
    }
}

impl Schemas {
    pub(crate) fn new(control: Arc<dyn ControlStore>) -> Self {
        // No time limit: while the control store is away, schemas stay as they were.
        let cache = Cache::builder().max_capacity(CACHED_CUSTOMERS).build();
        Self { control, cache, generation: AtomicU64::default() }
    }

    pub(crate) async fn forget(&self, customer: CustomerId) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(&customer).await;
    }

    pub(crate) fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate_all();
    }

    /// A customer's schemas, for judging any number of its events.
    pub(crate) async fn of(&self, customer: CustomerId) -> Result<Judge, Problem> {
        if let Some(found) = self.cache.get(&customer).await {
            return Ok(Judge(found));
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let load = async {
            let schemas = self.control.schemas(customer).await?;
            if schemas.is_empty() {
                return Ok(OfCustomer::default());
            }
            let compile = move || schemas.iter().filter_map(compiled).collect::<HashMap<_, _>>();
            let compiled = tokio::task::spawn_blocking(compile).await;
            let failed = |error: tokio::task::JoinError| StoreError::Failed {
                operation: "compile a customer's schemas",
                source: error.into(),
            };
            Ok(Arc::new(compiled.map_err(failed)?))
        };
        let loaded = self.cache.try_get_with(customer, load).await;
        if self.generation.load(Ordering::SeqCst) != generation {
            self.cache.invalidate(&customer).await;
        }
        loaded.map(Judge).map_err(|error: Arc<StoreError>| {
            tracing::warn!(%error, "a customer's schemas can't be read");
            let detail = "The customer's schemas can't be read at the moment. Nothing was done.";
            Problem::new(Kind::Unavailable, detail)
        })
    }
}

fn compiled(schema: &Schema) -> Option<(EventType, Compiled)> {
    if schema.mode == SchemaMode::Off {
        return None;
    }
    match compile(&schema.document) {
        Ok(usable) => {
            let compiled = Compiled { mode: schema.mode, schema: usable };
            Some((schema.event_type.clone(), compiled))
        }
        // It was compiled when it was saved; only another version can have let it in.
        Err(problem) => {
            let (customer, event_type) = (schema.customer_id, schema.event_type.as_str());
            tracing::error!(%customer, event_type, problem.detail, "a stored schema can't be used");
            None
        }
    }
}

/// Holds events against one customer's schemas.
pub(crate) struct Judge(OfCustomer);

impl Judge {
    /// Whether an event passes, and with what notice.
    pub(crate) fn pass(
        &self,
        event_type: &EventType,
        payload: &[u8],
        budget: &mut u64,
    ) -> Result<Option<Notice>, Problem> {
        let Some(Compiled { mode, schema }) = self.0.get(event_type) else {
            return Ok(None);
        };
        let faults = faults(schema, payload, budget);
        if faults.is_empty() {
            return Ok(None);
        }
        match mode {
            SchemaMode::Off => Ok(None),
            SchemaMode::Warn => Ok(Some(Notice { quarantined: false, faults })),
            SchemaMode::Quarantine => Ok(Some(Notice { quarantined: true, faults })),
            SchemaMode::Reject => {
                let event_type = event_type.as_str();
                let detail = format!("The payload breaks the schema for {event_type}.");
                Err(Problem { faults, ..Problem::new(Kind::SchemaViolation, detail) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_judged_in_its_schemas_words_not_in_its_own() {
        let schema = r#"{"type":"object","required":["id"],
            "properties":{"id":{"type":"string","pattern":"^[a-z]+$"},"at":{"format":"date-time"}}}"#;
        let schema = compile(schema).unwrap();
        for (payload, pointers) in [
            (r#"{"id":"a"}"#, &[][..]),
            (r#"{"id":"SECRET"}"#, &["/payload/id"]),
            (r#"{"id":7,"at":"SECRET"}"#, &["/payload/at", "/payload/id"]),
            (r#""SECRET""#, &["/payload"]),
            ("1e400", &["/payload"]),
        ] {
            let faults = faults(&schema, payload.as_bytes(), &mut MAX_WORK.clone());
            let mut found: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
            found.sort_unstable();
            assert_eq!(found, pointers, "{payload}: {faults:?}");
            assert!(!format!("{faults:?}").contains("SECRET"), "{faults:?}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_with_the_place() {
        for (document, pointer) in [
            ("{", "/schema"),
            (r#"{"type":"strin"}"#, "/schema/type"),
            (r#"{"properties":{"a":{"pattern":"("}}}"#, "/schema/properties/a/pattern"),
            // Look-around needs an engine that backtracks.
            (r#"{"pattern":"(?=a)b"}"#, "/schema/pattern"),
            (r#"{"pattern":"(a{1000}){1000}"}"#, "/schema/pattern"),
            (r#"{"$ref":"http://127.0.0.1/"}"#, "/schema/$ref"),
            (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, "/schema/$schema"),
        ] {
            let problem = compile(document).err().unwrap();
            assert_eq!(problem.kind, Kind::InvalidSchema, "{document}");
            assert_eq!(problem.faults[0].pointer, pointer, "{document}: {problem:?}");
        }
        let long = format!("{{\"title\":\"{}\"}}", "x".repeat(MAX_SCHEMA_BYTES));
        assert!(compile(&long).err().unwrap().detail.contains("at most"));
    }
}
