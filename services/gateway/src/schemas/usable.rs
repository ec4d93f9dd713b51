//! A schema that can be used: compiled, and with what it costs.
//!
//! The validator has no budget and can't be stopped, so what it is about to do is counted before:
//! [`super::cost`] says what the schema asks of a value, the payload how many values there are.
//! Whether a payload is valid takes no memory; what is wrong with it takes some for each fault
//! (all are found before the first is told, with those of each alternative), and so is asked only
//! where there can't be many.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Value, json};

use super::cost::{self, Cost, Demand};
use super::graph::{self, Graph, Unusable};
use super::keywords::Load;
use crate::problem::{Fault, Kind, Problem, cut};

/// The largest schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 * 1_024;
/// Patterns in one schema.
const MAX_PATTERNS: usize = 50;
/// The sizes of compiled patterns in bytes, and what each costs for a byte of text, in steps. Time
/// is linear in the text, but the engine may be in as many states at once as the pattern has:
/// 60 ns for each KiB of it were measured. The last is the largest that there may be.
const PATTERN_SIZES: [(usize, u64); 3] = [(1_024, 6), (4 * 1_024, 24), (16 * 1_024, 96)];
/// What the engine may remember of a pattern's states, so that it needn't work them out again.
const PATTERN_MEMORY: usize = 64 * 1_024;
/// Faults that are told of one payload.
pub(super) const MAX_FAULTS: usize = 20;
/// What faults may take where they are asked for, in bytes, and what each takes besides where it is
/// in payload and schema.
const MAX_BYTES_OF_FAULTS: u64 = 16 * 1_024 * 1_024;
const FAULT_BYTES: u64 = 400;
/// Steps that may be taken to say what is wrong. Alternatives in alternatives are gone through
/// once for each that they are in.
const MAX_DETAIL: u64 = 10_000_000;
/// The most that one request's payloads may cost, in steps: about a second.
pub(super) const MAX_WORK: u64 = 100_000_000;
/// Subschemas one within the other that any thread's stack has room for: the validator takes up
/// to 2 KiB for each, unoptimised.
pub(super) const SHALLOW: usize = 300;
/// The stack of a thread for more than that.
const ROOMY: usize = 16 * 1_024 * 1_024;

/// A schema that can be used.
pub(super) struct Usable {
    validator: Validator,
    cost: Cost,
    /// What it takes in memory, about.
    pub(super) bytes: usize,
}

/// Compiles a schema that somebody wants to save. It may take a while: not on the runtime's
/// threads.
pub(super) fn compile(document: &str) -> Result<Usable, Problem> {
    let refused = |pointer: &str, why: String| {
        Problem::at(Kind::InvalidSchema, format!("/schema{pointer}"), why)
    };
    if document.len() > MAX_SCHEMA_BYTES {
        return Err(refused("", format!("is at most {MAX_SCHEMA_BYTES} bytes long")));
    }
    let bytes = document.len();
    let mut document: Value =
        serde_json::from_str(document).map_err(|error| refused("", error.to_string()))?;
    if let Some(dialect) = document.get("$schema")
        && dialect.as_str().map(|text| text.trim_end_matches('#'))
            != Some("https://json-schema.org/draft/2020-12/schema")
    {
        return Err(refused("/$schema", "is JSON Schema 2020-12, or absent".to_owned()));
    }
    if document.get("$id").is_some_and(|id| !id.is_string()) {
        return Err(refused("/$id", "is not a string".to_owned()));
    }
    let (cost, patterns) =
        measure(&document).map_err(|unusable| refused(&unusable.pointer, unusable.why))?;
    // No reference leads over them, and to the validator they could name something that it has.
    if let Some(document) = document.as_object_mut() {
        document.remove("$schema");
        document.remove("$id");
    }
    let validator = options(PATTERN_SIZES[2].0)
        .build(&document)
        .map_err(|error| refused(error.instance_path().as_str(), error.masked().to_string()))?;
    // A keyword becomes some hundred bytes; forward and backward, a pattern twice its size.
    let bytes = bytes * 32 + patterns * (PATTERN_MEMORY + 2 * PATTERN_SIZES[2].0);
    Ok(Usable { validator, cost, bytes })
}

fn options(pattern_bytes: usize) -> jsonschema::ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(
            PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(PATTERN_MEMORY),
        )
        // A schema is data from a customer: no reference ever leaves this process.
        .offline()
        .should_validate_formats(true)
}

/// What a schema costs, and how many patterns it has.
fn measure(document: &Value) -> Result<(Cost, usize), Unusable> {
    let mut graph: Graph<'_> = graph::survey(document)?;
    if let Some((index, keyword, _)) = graph.patterns.get(MAX_PATTERNS) {
        let why = format!("is one pattern too many; a schema has at most {MAX_PATTERNS}");
        return Err(graph.at(*index, keyword, why));
    }
    let patterns = std::mem::take(&mut graph.patterns);
    for (index, keyword, pattern) in &patterns {
        let Some(charge) = charge(pattern) else {
            let why = format!(
                "can't be used: a pattern has no look-around and no back-references, and is at \
                 most {} bytes compiled; it is {pattern:?}",
                PATTERN_SIZES[2].0
            );
            return Err(graph.at(*index, keyword, why));
        };
        // Whether a member has another pattern is asked for `additionalProperties` once more.
        let times = if *keyword == "pattern" { 1 } else { 2 };
        graph.nodes[*index].own.load += Load { text: charge * times, ..Load::default() };
    }
    Ok((cost::measure(&graph)?, patterns.len()))
}

/// Steps for each byte of text that a pattern is held against. The validator knows best how it
/// reads patterns, so it is tried.
fn charge(pattern: &str) -> Option<u64> {
    let schema = json!({ "pattern": pattern });
    let fits = |bytes: usize| options(bytes).build(&schema).is_ok();
    PATTERN_SIZES.iter().find(|(bytes, _)| fits(*bytes)).map(|(_, charge)| *charge)
}

impl Usable {
    /// What holding a payload of so many bytes against it may cost at the most, in steps, for who
    /// has not read it.
    pub(super) fn dearest(&self, bytes: usize) -> u64 {
        // A value takes two bytes of JSON.
        let bytes = bytes as u64;
        let size = Size { values: bytes / 2 + 1, text: bytes, ..Size::default() };
        work(self.cost.at(usize::MAX), &size)
    }

    /// Subschemas that apply one within the other, in a payload of this depth.
    #[cfg(test)]
    pub(super) fn chain(&self, depth: usize) -> usize {
        self.cost.at(depth).chain
    }

    /// What is wrong with a payload, in the words of its schema and without the payload's values.
    /// It may take a while.
    ///
    /// `budget`: what all payloads of the request may still cost.
    pub(super) fn faults(&self, payload: &[u8], budget: &mut u64) -> Result<Vec<Fault>, Problem> {
        let fault = |detail: String| vec![Fault { pointer: "/payload".to_owned(), detail }];
        let payload: Value = match serde_json::from_slice(payload) {
            Ok(payload) => payload,
            // JSON, or it would not be here; but of a kind that has no tree, such as 1e400.
            Err(error) => {
                return Ok(fault(format!("can't be held against the schema: {error}")));
            }
        };
        let size = Size::of(&payload);
        let demand = self.cost.at(size.depth);
        let work = work(demand, &size);
        let Some(left) = budget.checked_sub(work) else {
            return Ok(fault("is too large for a schema that asks for so much".to_owned()));
        };
        *budget = left;
        if with_room(demand.chain, || self.validator.is_valid(&payload))? {
            return Ok(Vec::new());
        }
        let detail = work.saturating_mul(demand.chain as u64);
        if size.faults(demand) > MAX_BYTES_OF_FAULTS || detail > MAX_DETAIL.min(*budget) {
            let detail = "breaks the schema; it is too large, or the schema asks for too much, \
                 to say where";
            return Ok(fault(detail.to_owned()));
        }
        *budget -= detail;
        with_room(demand.chain, || {
            let errors = self.validator.iter_errors(&payload).take(MAX_FAULTS);
            let faults = errors.map(|error| Fault {
                pointer: cut(format!("/payload{}", error.instance_path().as_str())),
                detail: cut(error.masked().to_string()),
            });
            faults.collect()
        })
    }
}

fn work(demand: Demand, size: &Size) -> u64 {
    let Load { steps, text, .. } = demand.load;
    steps.saturating_mul(size.values).saturating_add(text.saturating_mul(size.text))
}

/// How much there is of a payload.
#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    /// Names of members are values, too.
    values: u64,
    /// Bytes in texts and names.
    text: u64,
    depth: usize,
    /// Bytes of the longest pointer into it, about.
    pointer: u64,
}

impl Size {
    /// What all faults may take that a schema can find, in bytes. Some hold a value's names.
    fn faults(&self, demand: Demand) -> u64 {
        let each = FAULT_BYTES + self.pointer + 2 * demand.route as u64;
        let for_one = self.values.saturating_mul(each).saturating_add(self.text);
        demand.load.faults.saturating_mul(for_one)
    }

    /// The depth of what is admitted is bounded.
    fn of(value: &Value) -> Self {
        let mut size = Self { values: 1, ..Self::default() };
        match value {
            Value::Array(items) => items.iter().for_each(|item| size.hold(6, &Self::of(item))),
            Value::Object(members) => {
                for (name, value) in members {
                    size.values += 1;
                    size.text += name.len() as u64;
                    size.hold(name.len() as u64, &Self::of(value));
                }
            }
            Value::String(text) => size.text = text.len() as u64,
            _ => {}
        }
        // Without members, too: there might have been some.
        size.depth += usize::from(value.is_array() || value.is_object());
        size
    }

    fn hold(&mut self, token: u64, member: &Self) {
        self.pointer = self.pointer.max(1 + token + member.pointer);
        self.values += member.values;
        self.text += member.text;
        self.depth = self.depth.max(member.depth);
    }
}

/// Does `judge`, which goes down `chain` subschemas, where the stack has room for it.
fn with_room<T: Send>(chain: usize, judge: impl FnOnce() -> T + Send) -> Result<T, Problem> {
    if chain <= SHALLOW {
        return Ok(judge());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("schema".to_owned()).stack_size(ROOMY);
        let thread = thread.spawn_scoped(scope, judge).map_err(|error| {
            tracing::warn!(%error, "no thread for a deep schema");
            Problem::new(Kind::Unavailable, "There is no room for the schema at the moment.")
        })?;
        thread.join().map_err(|_| {
            tracing::error!("a validator panicked");
            Problem::new(Kind::Internal, "The error has been logged.")
        })
    })
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
            let faults = schema.faults(payload.as_bytes(), &mut MAX_WORK.clone()).unwrap();
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
            (r#"{"patternProperties":{"(a{1000}){1000}":true}}"#, "/schema/patternProperties"),
            (r#"{"items":[{"type":"string"}]}"#, "/schema/items"),
            (r#"{"allOf":{"a":true}}"#, "/schema/allOf"),
            (r#"{"$id":7}"#, "/schema/$id"),
            (r#"{"dependencies":{"a":["b"]}}"#, "/schema/dependencies"),
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

    #[test]
    fn a_budget_is_for_all_payloads_of_a_request() {
        let schema = compile(r#"{"items":{"type":"string"}}"#).unwrap();
        let payload = br#"["a","b","c"]"#;
        let mut budget = schema.dearest(payload.len());
        for times in 0..100 {
            let faults = schema.faults(payload, &mut budget).unwrap();
            if let [fault] = &faults[..] {
                assert!(times > 0 && fault.detail.contains("too large"), "{fault:?}");
                return;
            }
        }
        panic!("{budget} are left");
    }

    #[test]
    fn a_payload_has_a_size() {
        for (payload, values, text, depth, pointer) in [
            (json!(1), 1, 0, 0, 0),
            (json!("größe"), 1, 7, 0, 0),
            (json!([]), 1, 0, 1, 0),
            (json!({"a": [1, "bc"], "d": {}}), 7, 4, 2, 9),
        ] {
            let expected = Size { values, text, depth, pointer };
            assert_eq!(Size::of(&payload), expected, "{payload}");
        }
    }
}
