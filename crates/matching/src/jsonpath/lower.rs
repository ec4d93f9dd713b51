//! A query, as a [`Condition`] that an index can decide: what is there to be selected, without walking
//! the payload for each query.
//!
//! A query selects something where there is *one choice* of children, at each `[*]` and `[?…]` of it, for
//! which the filters hold and what follows is there: [`Condition::Together`]. Filters are spelt out into
//! alternatives of conjunctions; `!` moves down to the comparisons.
//!
//! Not lowered, and so put to each payload by itself: `..`, slices, negative indices, comparisons of one
//! path with another or of strings by order, functions, and filters in which two choices of the same
//! children would have to be kept apart.

use std::ops::Bound;
use std::sync::Arc;

use super::Query;
use super::ast::{
    Comparable, Comparison, FilterQuery, Literal, Logical, Operator, Origin, Reach, Segment,
    Selector, SingularQuery,
};
use super::number::Number as Spelt;
use crate::condition::{Condition, Field, Step, Test, Want};
use crate::number::Number;

/// Conjunctions that a query may come to, and fields of all of them together: beyond, an index would
/// cost more than it saves.
const MAX_CONJUNCTIONS: usize = 64;
const MAX_FIELDS: usize = 512;

/// `None` where it can't be said so.
pub(crate) fn lower(query: &Query) -> Option<Condition> {
    // It selects the payload, whatever that is.
    if query.ast().is_empty() {
        return None;
    }
    let ways = selected(query.ast(), &[])?;
    let conditions: Vec<_> = ways.into_iter().map(Conjunction::into_condition).collect();
    Some(match <[Condition; 1]>::try_from(conditions) {
        Ok([only]) => only,
        Err(conditions) => Condition::Any(conditions),
    })
}

/// What must hold together.
#[derive(Clone, Default)]
struct Conjunction {
    fields: Vec<Field>,
    /// Paths that end where a child is chosen. Each is one choice, made once.
    choices: Vec<Arc<[Step]>>,
}

impl Conjunction {
    fn of(path: &[Step], want: Want) -> Self {
        Self { fields: vec![Field { path: path.into(), want }], choices: Vec::new() }
    }

    /// Both; `None` where they choose at the same place, each for itself.
    fn and(mut self, other: &Self) -> Option<Self> {
        if other.choices.iter().any(|choice| self.choices.contains(choice)) {
            return None;
        }
        self.fields.extend_from_slice(&other.fields);
        self.choices.extend_from_slice(&other.choices);
        Some(self)
    }

    /// Those that want nothing come last: they are judged within what the others have chosen.
    fn into_condition(self) -> Condition {
        let mut fields = self.fields;
        fields.sort_by_key(|field| matches!(field.want, Want::None(_)));
        Condition::Together(fields)
    }
}

type Alternatives = Vec<Conjunction>;

fn anything() -> Arc<[Test]> {
    [Test::Scalar, Test::Structured].into()
}

/// The ways in which `segments`, put to what is at `base`, select something.
fn selected(segments: &[Segment], base: &[Step]) -> Option<Alternatives> {
    let Some((first, rest)) = segments.split_first() else {
        return Some(vec![Conjunction::of(base, Want::Some(anything()))]);
    };
    if first.reach == Reach::Descendant {
        return None;
    }
    let mut ways = Vec::new();
    for selector in &first.selectors {
        let mut path = base.to_vec();
        let here = match selector {
            Selector::Name(name) => {
                path.push(Step::Name(name.as_str().into()));
                vec![Conjunction::default()]
            }
            Selector::Index(index) => {
                path.push(Step::Index(usize::try_from(*index).ok()?));
                vec![Conjunction::default()]
            }
            Selector::Slice(_) => return None,
            Selector::Wildcard => vec![chosen(&mut path)],
            Selector::Filter(logical) => {
                let chosen = chosen(&mut path);
                both(&[chosen], &holding(logical, true, &path)?)?
            }
        };
        ways.extend(both(&here, &selected(rest, &path)?)?);
    }
    bounded(ways)
}

/// Some child of what is at `path`, which becomes the child's.
fn chosen(path: &mut Vec<Step>) -> Conjunction {
    path.push(Step::Child);
    let mut chosen = Conjunction::of(path, Want::Some(anything()));
    chosen.choices.push(path.as_slice().into());
    chosen
}

fn both(left: &[Conjunction], right: &[Conjunction]) -> Option<Alternatives> {
    let pairs = left.iter().flat_map(|left| right.iter().map(|right| left.clone().and(right)));
    bounded(pairs.collect::<Option<_>>()?)
}

fn bounded(ways: Alternatives) -> Option<Alternatives> {
    let fields: usize = ways.iter().map(|way| way.fields.len()).sum();
    (ways.len() <= MAX_CONJUNCTIONS && fields <= MAX_FIELDS).then_some(ways)
}

/// The ways in which `logical` is true, or is not, of the node at `current`.
fn holding(logical: &Logical, positive: bool, current: &[Step]) -> Option<Alternatives> {
    match logical {
        Logical::Not(inner) => holding(inner, !positive, current),
        Logical::And(parts) if positive => all(parts, positive, current),
        Logical::Or(parts) if !positive => all(parts, positive, current),
        Logical::And(parts) | Logical::Or(parts) => {
            let mut ways = Vec::new();
            for part in parts {
                ways.extend(holding(part, positive, current)?);
            }
            bounded(ways)
        }
        Logical::Compare(comparison) => compared(comparison, positive, current),
        Logical::Exists(query) => exists(query, positive, current),
        Logical::Match(_) => None,
    }
}

fn all(parts: &[Logical], positive: bool, current: &[Step]) -> Option<Alternatives> {
    let mut ways = vec![Conjunction::default()];
    for part in parts {
        ways = both(&ways, &holding(part, positive, current)?)?;
    }
    Some(ways)
}

fn exists(query: &FilterQuery, positive: bool, current: &[Step]) -> Option<Alternatives> {
    if let Some(steps) = query.steps() {
        let path = path(query.origin, &steps, current)?;
        let want = if positive { Want::Some(anything()) } else { Want::None(anything()) };
        return Some(vec![Conjunction::of(&path, want)]);
    }
    // Whatever it chooses, it chooses for itself: below `@` that can be told from other choices.
    (positive && query.origin == Origin::Current).then(|| selected(&query.segments, current))?
}

fn compared(comparison: &Comparison, positive: bool, current: &[Step]) -> Option<Alternatives> {
    let Comparison { left, operator, right, .. } = comparison;
    let (query, operator, literal) = match (left, right) {
        (Comparable::Query(query), Comparable::Literal(literal)) => (query, *operator, literal),
        (Comparable::Literal(literal), Comparable::Query(query)) => {
            (query, turned(*operator), literal)
        }
        _ => return None,
    };
    let SingularQuery { origin, steps, .. } = query;
    let path = path(*origin, steps, current)?;
    let (test, holds) = match operator {
        Operator::Equal => (equal(literal)?, true),
        Operator::NotEqual => (equal(literal)?, false),
        _ => (range(operator, literal)?, true),
    };
    let tests = [test].into();
    let want = if holds == positive { Want::Some(tests) } else { Want::None(tests) };
    Some(vec![Conjunction::of(&path, want)])
}

fn path(origin: Origin, steps: &[super::ast::Step], current: &[Step]) -> Option<Vec<Step>> {
    let mut path = match origin {
        Origin::Root => Vec::new(),
        Origin::Current => current.to_vec(),
    };
    for step in steps {
        path.push(match step {
            super::ast::Step::Name(name) => Step::Name(name.as_str().into()),
            super::ast::Step::Index(index) => Step::Index(usize::try_from(*index).ok()?),
        });
    }
    Some(path)
}

/// As seen from the other side.
fn turned(operator: Operator) -> Operator {
    match operator {
        Operator::Equal => Operator::Equal,
        Operator::NotEqual => Operator::NotEqual,
        Operator::Less => Operator::Greater,
        Operator::LessOrEqual => Operator::GreaterOrEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterOrEqual => Operator::LessOrEqual,
    }
}

fn equal(literal: &Literal) -> Option<Test> {
    Some(match literal {
        Literal::Null => Test::Null,
        Literal::Bool(bool) => Test::Bool(*bool),
        Literal::Number(number) => Test::Number(finite(*number)?),
        Literal::String(text) => Test::Text(text.as_str().into()),
    })
}

fn range(operator: Operator, literal: &Literal) -> Option<Test> {
    let Literal::Number(number) = literal else { return None };
    let number = finite(*number)?;
    let (low, high) = match operator {
        Operator::Less => (Bound::Unbounded, Bound::Excluded(number)),
        Operator::LessOrEqual => (Bound::Unbounded, Bound::Included(number)),
        Operator::Greater => (Bound::Excluded(number), Bound::Unbounded),
        Operator::GreaterOrEqual => (Bound::Included(number), Bound::Unbounded),
        Operator::Equal | Operator::NotEqual => return None,
    };
    Some(Test::Range(low, high))
}

fn finite(number: Spelt) -> Option<Number> {
    match number {
        Spelt::Integer(integer) => Some(integer.into()),
        Spelt::Large(integer) => Some(integer.into()),
        Spelt::Float(float) => Number::from_f64(float),
    }
}
