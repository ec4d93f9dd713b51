//! How large a condition is, in units that take about as much memory each.

use std::collections::HashSet;
use std::sync::Arc;

use super::leaf::test_bytes;
use crate::condition::{Condition, Field, Step, Test};

/// What a condition may weigh: then a rule takes less than 4 MB, however many event types it has. Most weigh less
/// than 10.
pub const MAX_WEIGHT: usize = 6_144;

/// Bytes of a name that weigh as much as a step itself.
const NAME: usize = 64;

/// 1 for each row and node; 1 for each step of each field of each row, which stands for a group at most, and for a node
/// of the tree of paths; 1 for each test, once where fields share it. Long names and texts weigh more.
pub(crate) fn weight(condition: &Condition) -> usize {
    weigh(condition, &mut HashSet::new())
}

fn weigh(condition: &Condition, known: &mut HashSet<*const [Test]>) -> usize {
    match condition {
        Condition::All(all) | Condition::Any(all) => {
            1 + all.iter().map(|one| weigh(one, known)).sum::<usize>()
        }
        Condition::Together(fields) => {
            let field = |field: &Field| {
                let tests = field.want.tests();
                let new = known.insert(Arc::as_ptr(tests));
                steps(&field.path) + if new { tests.iter().map(test).sum() } else { 0 }
            };
            1 + fields.iter().map(field).sum::<usize>()
        }
    }
}

fn steps(path: &[Step]) -> usize {
    let step = |step: &Step| match step {
        Step::Name(name) => 1 + name.len() / NAME,
        Step::Index(_) | Step::Child => 1,
        Step::Each => 0, // there is never more than one more of them than of the others
    };
    path.iter().map(step).sum::<usize>().max(1)
}

fn test(test: &Test) -> usize {
    1 + test_bytes(test) / size_of::<Test>()
}
