//! A pattern, as a [`Condition`].

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use super::Leaf;
use super::branch::Branch;
use crate::condition::{Condition, Field, Step, Test, Want};

/// Of a field, which stands in many branches.
type Paths = HashMap<*const Leaf, Arc<[Step]>>;

pub(super) fn lower(branches: &[Branch<'_>]) -> Condition {
    let mut paths = Paths::new();
    let absent: Arc<[Test]> = [Test::Scalar].into();
    let ways =
        branches.iter().flat_map(|branch| ways(branch, &mut paths, &absent)).collect::<Vec<_>>();
    match <[Condition; 1]>::try_from(ways) {
        Ok([only]) => only,
        Err(ways) => Condition::Any(ways),
    }
}

/// One way for each choice between "absent" and "something" that a field leaves open.
fn ways(branch: &Branch<'_>, paths: &mut Paths, absent: &Arc<[Test]>) -> Vec<Condition> {
    let mut ways: Vec<Vec<Field>> = vec![Vec::new()];
    for field in branch {
        let steps = || field.path.iter().flat_map(|name| [Step::Name((*name).into()), Step::Each]);
        let path =
            paths.entry(ptr::from_ref(field.leaf)).or_insert_with(|| steps().collect()).clone();
        let mut wants = Vec::new();
        if field.leaf.or_absent {
            wants.push(Want::None(Arc::clone(absent)));
        }
        if !field.leaf.tests.is_empty() {
            wants.push(Want::Some(Arc::clone(&field.leaf.tests)));
        }
        ways = ways
            .iter()
            .flat_map(|way| {
                let path = &path;
                wants.iter().map(move |want| {
                    let mut way = way.clone();
                    way.push(Field { path: Arc::clone(path), want: want.clone() });
                    way
                })
            })
            .collect();
    }
    ways.into_iter().map(Condition::Together).collect()
}
