//! A pattern, as a [`Condition`].

use super::branch::{Branch, branches};
use super::{Alternative, Pattern};
use crate::condition::{Condition, Field, Step, Test, Want};

pub(super) fn lower(pattern: &Pattern) -> Condition {
    let ways = branches(pattern).iter().flat_map(ways).collect::<Vec<_>>();
    match <[Condition; 1]>::try_from(ways) {
        Ok([only]) => only,
        Err(ways) => Condition::Any(ways),
    }
}

/// One way for each choice between "absent" and "something" that a field leaves open.
fn ways(branch: &Branch<'_>) -> Vec<Condition> {
    let mut ways: Vec<Vec<Field>> = vec![Vec::new()];
    for field in branch {
        let path: Vec<Step> =
            field.path.iter().flat_map(|name| [Step::Name((*name).into()), Step::Each]).collect();
        let mut wants = Vec::new();
        let mut tests = Vec::new();
        for alternative in &field.leaf.alternatives {
            match alternative {
                Alternative::Is(test) => tests.push(test.clone()),
                Alternative::Absent => wants.push(Want::None(vec![Test::Scalar])),
            }
        }
        if !tests.is_empty() {
            wants.push(Want::Some(tests));
        }
        wants.dedup(); // `exists: false`, twice
        ways = ways
            .iter()
            .flat_map(|way| {
                let path = &path;
                wants.iter().map(move |want| {
                    let mut way = way.clone();
                    way.push(Field { path: path.clone(), want: want.clone() });
                    way
                })
            })
            .collect();
    }
    ways.into_iter().map(Condition::Together).collect()
}
