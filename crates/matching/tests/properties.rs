//! Random rules against random payloads: the index decides as looking at everything does, and that decides as
//! event-ruler's algorithm does.
//!
//! The seed of a run is fixed; `TRIGGERLINE_PAIRS=1000000` asks for more pairs of a rule and a payload, and
//! `TRIGGERLINE_SEED` for others.

mod common;

use common::{Random, event_ruler, number_of, pairs};
use serde_json::Value;
use triggerline_matching::{Index, Pattern};
use triggerline_types::{EventType, EventTypePattern};

const TYPES: [&str; 4] = ["order.created", "order.paid", "user.created", "a"];
const TYPE_PATTERNS: [&str; 8] =
    ["order.created", "order.paid", "user.created", "order.*", "*", "*.created", "o*.*d", "user.*"];

#[test]
fn the_index_decides_as_looking_at_everything_does() {
    let mut random = Random::new(1);
    let mut left = pairs(60_000);
    let mut matched = 0;
    while left > 0 {
        // Rules come and go, so that the index is one that was changed, not one that was built.
        let mut index = Index::new();
        let mut rules: Vec<(u32, Vec<EventTypePattern>, Option<Pattern>)> = Vec::new();
        let size = random.below(30) + 1;
        for key in 0..size * 2 {
            let (pattern, text) = random.pattern();
            let pattern = (random.below(12) > 0).then_some(pattern);
            let types: Vec<_> = (0..=random.below(3))
                .map(|_| EventTypePattern::parse(random.pick(&TYPE_PATTERNS)).unwrap())
                .collect();
            let key = number_of(key);
            let condition = pattern.as_ref().map(Pattern::condition);
            index
                .insert(key, &types, condition.as_ref())
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            rules.push((key, types, pattern));
            if rules.len() > size {
                let gone = rules.swap_remove(random.below(rules.len()));
                assert!(index.remove(&gone.0));
                assert!(!index.remove(&gone.0));
            }
        }
        assert_eq!(index.len(), rules.len());
        let snapshot = index.clone();
        for round in 0..20 {
            if round == 10 {
                // The snapshot must not notice.
                for (key, _, _) in &rules {
                    index.remove(key);
                }
                assert!(index.is_empty());
            }
            let payload = random.payload();
            let event_type = EventType::parse(random.pick(&TYPES)).unwrap();
            let text = random.print(&payload);
            let mut found = snapshot.matching(&event_type, text.as_bytes()).unwrap();
            found.sort_unstable();
            let mut expected: Vec<u32> = rules
                .iter()
                .filter(|(_, types, pattern)| {
                    types.iter().any(|pattern| pattern.matches(&event_type))
                        && pattern.as_ref().is_none_or(|pattern| pattern.matches(&payload))
                })
                .map(|(key, _, _)| *key)
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{event_type} {text} {rules:#?}");
            matched += found.len();
            left = left.saturating_sub(rules.len());
        }
        assert_eq!(
            index.matching(&EventType::parse("a").unwrap(), b"").unwrap(),
            Vec::<u32>::new()
        );
    }
    assert!(matched > 1_000, "random rules match too seldom to show anything: {matched}");
}

#[test]
fn looking_at_everything_decides_as_event_ruler_does() {
    let mut random = Random::new(2);
    let mut matched = 0;
    let pairs = pairs(20_000);
    for _ in 0..pairs / 10 {
        let (pattern, text) = random.pattern();
        let written: Value = serde_json::from_str(&text).unwrap();
        for _ in 0..10 {
            let payload = random.payload();
            let decided = pattern.matches(&payload);
            assert_eq!(decided, event_ruler(&written, &payload), "{text} {payload}");
            let explanation = pattern.explain(&payload);
            assert_eq!(explanation.matched, decided);
            assert!(!explanation.fields.is_empty());
            matched += usize::from(decided);
        }
    }
    assert!(matched > pairs / 100, "{matched}");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random::new(3);
    let mut decided = 0;
    for _ in 0..pairs(20_000) / 10 {
        let mut index = Index::new();
        let (pattern, _) = random.pattern();
        let any = EventTypePattern::parse("*").unwrap();
        index.insert(0, &[any], Some(&pattern.condition())).unwrap();
        for _ in 0..10 {
            let payload = random.payload();
            let mut bytes = random.print(&payload).into_bytes();
            for _ in 0..random.below(4) {
                random.spoil(&mut bytes);
            }
            let found = index.matching(&EventType::parse("a").unwrap(), &bytes);
            // What serde_json reads, we decide as it is read; what we can't decide, it does not read.
            match (serde_json::from_slice::<Value>(&bytes), found) {
                (Ok(payload), Ok(found)) => {
                    decided += 1;
                    assert_eq!(
                        !found.is_empty(),
                        pattern.matches(&payload),
                        "{}",
                        String::from_utf8_lossy(&bytes)
                    );
                }
                (Ok(_), Err(error)) => panic!("{error}: {}", String::from_utf8_lossy(&bytes)),
                (Err(_), _) => {}
            }
        }
    }
    assert!(decided > 100, "{decided}");
}
