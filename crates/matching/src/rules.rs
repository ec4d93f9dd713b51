//! All rules of one customer: whom an event is for.
//!
//! Rules without a predicate are decided by the event's type alone, in an index of their own: a payload
//! that can't be read is for them all the same. The others are decided by the second index, as far as
//! their predicates can be put to it ([`Predicate::split`]); what is left of a JSONPath query is put to
//! whoever passes, on one budget for the whole event.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;
use triggerline_types::{EventType, EventTypePattern};

use crate::index::Index;
use crate::jsonpath::{Budget, OutOfBudget, Query};
use crate::predicate::Predicate;

/// A clone is a snapshot: a change of one is not seen in the other, and costs what it changes.
#[derive(Clone, Debug)]
pub struct Rules<K> {
    plain: Index<Entry<K>>,
    looking: Index<Entry<K>>,
}

/// A rule's key, and what the index could not decide.
#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    rest: Option<Arc<Query>>,
}

impl<K: PartialEq> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Eq> Eq for Entry<K> {}

impl<K: Hash> Hash for Entry<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Whose rules an event matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching<K> {
    /// In no order.
    pub keys: Vec<K>,
    /// Why some rules could not be decided, if so; they are not among the keys.
    pub undecided: Option<String>,
}

/// Nobody's.
impl<K> Default for Matching<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), undecided: None }
    }
}

impl<K: Clone + Eq + Hash> Default for Rules<K> {
    fn default() -> Self {
        Self { plain: Index::new(), looking: Index::new() }
    }
}

impl<K: Clone + Eq + Hash> Rules<K> {
    pub fn len(&self) -> usize {
        self.plain.len() + self.looking.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a rule in, in the place of the one with this key if there is one.
    pub fn insert(&mut self, key: K, event_types: &[EventTypePattern], predicate: &Predicate) {
        self.remove(&key);
        let (condition, rest) = predicate.split();
        let entry = Entry { key, rest: rest.cloned().map(Arc::new) };
        let index = if predicate.looks() { &mut self.looking } else { &mut self.plain };
        index.put(entry, event_types, condition.as_ref());
    }

    /// Whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let entry = Entry { key: key.clone(), rest: None };
        self.plain.remove(&entry) || self.looking.remove(&entry)
    }

    /// One rule, for every event type.
    pub fn one(key: K, predicate: &Predicate) -> Self {
        let mut rules = Self::default();
        rules.insert(key, &[EventTypePattern::every()], predicate);
        rules
    }

    pub fn matching(&self, event_type: &EventType, payload: &[u8]) -> Matching<K> {
        let mut keys = Vec::new();
        let mut left = Vec::new();
        let mut undecided = None;
        for index in [&self.plain, &self.looking] {
            let decided =
                index.each_matching(event_type, payload, |Entry { key, rest }| match rest {
                    Some(query) => left.push((key.clone(), Arc::clone(query))),
                    None => keys.push(key.clone()),
                });
            if let Err(error) = decided {
                undecided = Some(error.to_string());
            }
        }
        if !left.is_empty() {
            undecided = put(left, payload, &mut keys).or(undecided);
        }
        Matching { keys, undecided }
    }

    /// About how much memory they take, snapshots that share it not counted.
    pub fn heap_bytes(&self) -> usize {
        self.plain.heap_bytes() + self.looking.heap_bytes()
    }
}

/// Steps for all queries of an event together: none of them, nor all of them, can hold up other events
/// for long (some 20 to 200 ms).
const STEPS: u64 = 4_000_000;
/// What a query may take before others have had their turn: so a dear one leaves the cheap ones theirs.
const FIRST: u64 = 50_000;

/// Puts what is left of queries to the payload, and adds the keys of those that hold; why some could not
/// be decided, if so.
fn put<K>(left: Vec<(K, Arc<Query>)>, payload: &[u8], keys: &mut Vec<K>) -> Option<String> {
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        Err(error) => return Some(error.to_string()),
    };
    let mut steps = STEPS;
    let mut pass = |query: &Query, most: u64| {
        let mut budget = Budget::new(most.min(steps));
        let before = budget.left();
        let exists = query.exists(&value, &mut budget);
        steps -= before - budget.left();
        exists
    };
    let mut dear = Vec::new();
    for (key, query) in left {
        match pass(&query, FIRST) {
            Ok(true) => keys.push(key),
            Ok(false) => {}
            Err(OutOfBudget) => dear.push((key, query)),
        }
    }
    let mut undecided = None;
    for (key, query) in dear {
        match pass(&query, STEPS) {
            Ok(true) => keys.push(key),
            Ok(false) => {}
            Err(error) => undecided = Some(format!("{query}: {error}")),
        }
    }
    undecided
}

#[cfg(test)]
mod tests {
    use triggerline_types::Selector;

    use super::*;

    fn rules(all: &[(&str, Option<&str>, Option<&str>)]) -> Rules<usize> {
        let mut rules = Rules::default();
        for (key, (types, pattern, jsonpath)) in all.iter().enumerate() {
            let selector = Selector {
                pattern: pattern.map(str::to_owned),
                jsonpath: jsonpath.map(str::to_owned),
            };
            let predicate = Predicate::compile(&selector).unwrap();
            let types = [EventTypePattern::parse(*types).unwrap()];
            rules.insert(key, &types, &predicate);
        }
        rules
    }

    fn matching(rules: &Rules<usize>, event_type: &str, payload: &str) -> (Vec<usize>, bool) {
        let event_type = EventType::parse(event_type).unwrap();
        let Matching { mut keys, undecided } = rules.matching(&event_type, payload.as_bytes());
        keys.sort_unstable();
        (keys, undecided.is_some())
    }

    #[test]
    fn type_pattern_and_query_decide() {
        let rules = rules(&[
            ("order.*", None, None),
            ("order.*", Some(r#"{"total": [{"numeric": [">", 100]}]}"#), None),
            ("order.*", None, Some("$[?@ > 100]")),
            ("order.created", Some(r#"{"currency": ["EUR"]}"#), Some("$..total")),
            ("payment.*", None, Some("$.total")),
        ]);
        for (event_type, payload, keys) in [
            ("order.created", r#"{"total": 120, "currency": "EUR"}"#, vec![0, 1, 2, 3]),
            ("order.paid", r#"{"total": 120, "currency": "EUR"}"#, vec![0, 1, 2]),
            ("order.created", r#"{"total": 1, "currency": "EUR"}"#, vec![0, 3]),
            ("order.created", r#"{"sum": 120}"#, vec![0, 2]),
            ("payment.made", r#"{"total": 1}"#, vec![4]),
            ("other", r#"{"total": 120}"#, vec![]),
        ] {
            assert_eq!(matching(&rules, event_type, payload), (keys, false), "{payload}");
        }
    }

    #[test]
    fn who_does_not_look_gets_what_cannot_be_read() {
        let plain = ("*", None, None);
        for (looks, undecided) in [
            (("*", Some(r#"{"a": [1]}"#), None), true),
            (("*", None, Some("$..a")), true),
            (("other", None, Some("$..a")), false),
            (plain, false),
        ] {
            let rules = rules(&[plain, looks]);
            let keys = if looks == plain { vec![0, 1] } else { vec![0] };
            assert_eq!(matching(&rules, "e", r#"{"a": 1e400}"#), (keys, undecided), "{looks:?}");
        }
    }

    #[test]
    fn rules_that_cost_too_much_together_are_undecided() {
        let unlike = ("*", None, Some("$.i[?@.a != 1]"));
        let rules = rules(&[&[("*", None, None)], &[unlike; 40][..]].concat());
        let payload = |count| format!("{{\"i\":[{}]}}", vec!["{\"a\":1}"; count].join(","));
        assert_eq!(matching(&rules, "e", &payload(1_000)), (vec![0], false));
        assert_eq!(matching(&rules, "e", &payload(125_000)), (vec![0], true));
    }

    #[test]
    fn a_query_that_costs_too_much_is_undecided() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let wide = format!("[{}]", vec![deep; 400].join(","));
        let dear = ("*", None, Some("$..[?@..[?@..b]]"));
        let rules = rules(&[("*", None, None), dear, ("*", None, Some("$..[?@ == 1]")), dear]);
        assert_eq!(matching(&rules, "e", &wide), (vec![0, 2], true), "the cheap one is decided");
    }

    #[test]
    fn a_rule_is_replaced_and_removed() {
        let mut rules = rules(&[("*", None, None)]);
        let types = [EventTypePattern::parse("*").unwrap()];
        let selector = Selector { pattern: None, jsonpath: Some("$.a".to_owned()) };
        let looking = Predicate::compile(&selector).unwrap();
        let snapshot = rules.clone();
        rules.insert(0, &types, &looking);
        assert_eq!(rules.len(), 1);
        assert_eq!(matching(&rules, "e", "{}"), (vec![], false));
        assert_eq!(matching(&snapshot, "e", "{}"), (vec![0], false), "as it was");
        assert!(rules.remove(&0) && !rules.remove(&0));
        assert!(rules.is_empty());
    }
}
