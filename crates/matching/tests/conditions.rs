//! Random conditions against random payloads: what no event pattern says, but JSONPath filters do, with `Child`, `Index`
//! and tests of arrays and objects. The index decides as the definition of [`Condition`] does, taken literally.

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use common::{Random, pairs};
use serde_json::Value;
use triggerline_matching::{Condition, Field, Index, Seen, Step, Test, Want};
use triggerline_types::{EventType, EventTypePattern};

#[test]
fn the_index_decides_as_the_definition_does() {
    let mut random = Random::new(4);
    let (mut left, mut held) = (pairs(50_000), 0);
    let event_type = EventType::parse("a").unwrap();
    let any = [EventTypePattern::parse("*").unwrap()];
    while left > 0 {
        let conditions: Vec<Condition> = (0..10).map(|_| condition(&mut random, 0)).collect();
        let mut index = Index::new();
        for (key, condition) in conditions.iter().enumerate() {
            index.insert(key, &any, Some(condition)).unwrap();
        }
        for _ in 0..20 {
            let payload = random.payload();
            let mut found = index.matching(&event_type, payload.to_string().as_bytes()).unwrap();
            found.sort_unstable();
            let expected: Vec<usize> =
                (0..10).filter(|key| holds(&conditions[*key], &payload)).collect();
            assert_eq!(found, expected, "{payload} {conditions:#?}");
            held += found.len();
            left = left.saturating_sub(10);
        }
    }
    assert!(held > 1_000, "{held}");
}

fn condition(random: &mut Random, depth: usize) -> Condition {
    match random.below(if depth < 2 { 6 } else { 4 }) {
        4 => Condition::All((0..random.below(3)).map(|_| condition(random, depth + 1)).collect()),
        5 => Condition::Any((0..random.below(3)).map(|_| condition(random, depth + 1)).collect()),
        _ => {
            // Paths that begin alike, so that choices are shared.
            let beginning = path(random, 2);
            let fields = (0..=random.below(4)).map(|_| field(random, &beginning));
            Condition::Together(fields.collect())
        }
    }
}

fn path(random: &mut Random, most: usize) -> Vec<Step> {
    let step = |random: &mut Random| match random.below(8) {
        0..=2 => Step::Name(random.pick(&["a", "b", "c"]).into()),
        3 => Step::Index(random.below(2)),
        4..=5 => Step::Child,
        _ => Step::Each,
    };
    (0..random.below(most + 1)).map(|_| step(random)).collect()
}

fn field(random: &mut Random, beginning: &[Step]) -> Field {
    let mut path_to = beginning.to_vec();
    path_to.extend(path(random, 2));
    path_to.dedup_by(|a, b| (&*a, &*b) == (&Step::Each, &Step::Each)); // twice is once
    let tests: Vec<Test> = (0..=random.below(2))
        .map(|_| match random.below(6) {
            0 => Test::Scalar,
            1 => Test::Structured,
            2 => Test::Text("x".into()),
            3 => Test::NoneOf([Test::Null, Test::Prefix("x".into())].into()),
            4 => Test::Bool(true),
            _ => Test::Number((random.below(3) as u64).into()),
        })
        .collect();
    let want =
        if random.below(4) == 0 { Want::None(tests.into()) } else { Want::Some(tests.into()) };
    Field { path: path_to.into(), want }
}

/// Where a path chooses, what it chose.
type Choices<'c> = Vec<(&'c [Step], String)>;

fn holds(condition: &Condition, payload: &Value) -> bool {
    match condition {
        Condition::All(all) => all.iter().all(|one| holds(one, payload)),
        Condition::Any(any) => any.iter().any(|one| holds(one, payload)),
        Condition::Together(fields) => together(fields, payload, &Vec::new()),
    }
}

fn together(fields: &[Field], payload: &Value, chosen: &Choices<'_>) -> bool {
    let Some((field, rest)) = fields.split_first() else { return true };
    let mut there = Vec::new();
    reach(payload, &field.path, 0, String::new(), chosen.clone(), &mut there);
    let passes = |value: &Value| {
        Seen::of(value).is_some_and(|seen| field.want.tests().iter().any(|test| test.passes(&seen)))
    };
    match field.want {
        Want::Some(_) => {
            there.iter().any(|(value, chosen)| passes(value) && together(rest, payload, chosen))
        }
        Want::None(_) => {
            !there.iter().any(|(value, _)| passes(value)) && together(rest, payload, chosen)
        }
    }
}

fn reach<'v, 'c>(
    value: &'v Value,
    path: &'c [Step],
    at: usize,
    place: String,
    chosen: Choices<'c>,
    there: &mut Vec<(&'v Value, Choices<'c>)>,
) {
    let Some(step) = path.get(at) else {
        there.push((value, chosen));
        return;
    };
    let choose = |value: &'v Value, place: String, there: &mut Vec<(&'v Value, Choices<'c>)>| {
        let choice = &path[..=at];
        let mut chosen = chosen.clone();
        match chosen.iter().find(|(known, _)| *known == choice) {
            Some((_, known)) if *known != place => return,
            Some(_) => {}
            None => chosen.push((choice, place.clone())),
        }
        reach(value, path, at + 1, place, chosen, there);
    };
    match (step, value) {
        (Step::Name(name), Value::Object(map)) => {
            if let Some(member) = map.get(&**name) {
                reach(member, path, at + 1, format!("{place}/{name}"), chosen, there);
            }
        }
        (Step::Index(index), Value::Array(elements)) => {
            if let Some(element) = elements.get(*index) {
                reach(element, path, at + 1, format!("{place}/{index}"), chosen, there);
            }
        }
        (Step::Child, Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                choose(element, format!("{place}/{index}"), there);
            }
        }
        (Step::Child, Value::Object(map)) => {
            for (name, member) in map {
                choose(member, format!("{place}/{name}"), there);
            }
        }
        (Step::Each, value) => {
            let mut all = Vec::new();
            each(value, place, &mut all);
            for (value, place) in all {
                if at + 1 == path.len() {
                    reach(value, path, at + 1, place, chosen.clone(), there);
                } else {
                    choose(value, place, there);
                }
            }
        }
        _ => {}
    }
}

fn each<'v>(value: &'v Value, place: String, all: &mut Vec<(&'v Value, String)>) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                each(element, format!("{place}/{index}"), all);
            }
        }
        value => all.push((value, place)),
    }
}
