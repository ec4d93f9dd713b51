//! What is true of a node (RFC 9535 §2.3.5.2, §2.4).

use serde_json::Value;

use super::compare::{Term, holds};
use super::{Element, Extent, OutOfBudget, Sink, Stop, Walk, element};
use crate::jsonpath::ast::{
    Comparable, Comparison, Expression, FilterQuery, Function, Logical, Match, Origin,
    SingularQuery, Step,
};
use crate::jsonpath::budget::Budget;
use crate::jsonpath::iregexp::Compiled;
use crate::jsonpath::number::Number;

/// So many bytes of a string are copied, compared or counted in a step.
const BYTES_A_STEP: usize = 64;
/// So many states of a regular expression are looked at in a step, for each byte at worst.
const STATES_A_STEP: usize = 8;
/// A regular expression that a payload brings is compiled for it, in so many steps for each unit of its weight.
const STEPS_TO_COMPILE: u64 = 100;

impl<'v> Walk<'v> {
    pub(super) fn is_true(
        &mut self,
        logical: &Logical,
        node: &'v Value,
    ) -> Result<bool, OutOfBudget> {
        match logical {
            Logical::Or(any) => {
                for one in any {
                    if self.is_true(one, node)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Logical::And(all) => {
                for one in all {
                    // A conjunction of comparisons is what most filters are.
                    let holds = match one {
                        Logical::Compare(comparison) => self.holds(comparison, node)?,
                        other => self.is_true(other, node)?,
                    };
                    if !holds {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Logical::Not(inner) => Ok(!self.is_true(inner, node)?),
            Logical::Compare(comparison) => self.holds(comparison, node),
            Logical::Exists(query) => {
                let from = self.origin(query.origin, node);
                self.any(&query.segments, from)
            }
            Logical::Match(matches) => self.matches(matches, node),
        }
    }

    #[inline]
    fn holds(&mut self, comparison: &Comparison, node: &'v Value) -> Result<bool, OutOfBudget> {
        self.budget.spend(1)?;
        let left = self.term(&comparison.left, node)?;
        let right = self.term(&comparison.right, node)?;
        holds(left, comparison.operator, right, &mut self.budget)
    }

    #[inline]
    fn origin(&self, origin: Origin, node: &'v Value) -> &'v Value {
        match origin {
            Origin::Root => self.root,
            Origin::Current => node,
        }
    }

    #[inline]
    fn term<'t>(
        &mut self,
        comparable: &'t Comparable,
        node: &'v Value,
    ) -> Result<Term<'t>, OutOfBudget>
    where
        'v: 't,
    {
        match comparable {
            Comparable::Literal(literal) => Ok(Term::from(literal)),
            Comparable::Query(query) => Ok(Term::of(self.singular(query, node)?)),
            Comparable::Function(function) => self.call(function, node),
        }
    }

    #[inline]
    fn singular(
        &mut self,
        query: &SingularQuery,
        node: &'v Value,
    ) -> Result<Option<&'v Value>, OutOfBudget> {
        self.budget.spend(query.steps.len() as u64)?;
        let mut node = self.origin(query.origin, node);
        for step in &query.steps {
            let child = match (step, node) {
                (Step::Name(name), Value::Object(members)) => members.get(name.as_str()),
                (Step::Index(index), Value::Array(elements)) => {
                    element(elements, *index).map(|(_, child)| child)
                }
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    fn call<'t>(&mut self, function: &'t Function, node: &'v Value) -> Result<Term<'t>, OutOfBudget>
    where
        'v: 't,
    {
        match function {
            Function::Length(argument) => {
                let argument = self.term(argument, node)?;
                let length = match argument {
                    Term::String(string) => {
                        self.budget.spend_bytes(string.len(), BYTES_A_STEP)?;
                        string.chars().count()
                    }
                    Term::Composite(Value::Array(elements)) => elements.len(),
                    Term::Composite(Value::Object(members)) => members.len(),
                    _ => return Ok(Term::Nothing),
                };
                Ok(Term::Number(Number::count(length as u64)))
            }
            Function::Count(query) => {
                let mut count = Count(0);
                self.query(query, node, &mut count)?;
                Ok(Term::Number(Number::count(count.0)))
            }
            Function::Value(query) => {
                let mut only = Only::None;
                self.query(query, node, &mut only)?;
                match only {
                    Only::One(value) => Ok(Term::of(Some(value))),
                    Only::None | Only::Several => Ok(Term::Nothing),
                }
            }
        }
    }

    fn query<S: Sink<'v>>(
        &mut self,
        query: &FilterQuery,
        node: &'v Value,
        sink: &mut S,
    ) -> Result<(), OutOfBudget> {
        let from = self.origin(query.origin, node);
        self.run(&query.segments, from, sink)
    }

    fn matches(&mut self, matches: &Match, node: &'v Value) -> Result<bool, OutOfBudget> {
        let Term::String(text) = self.term(&matches.text, node)? else { return Ok(false) };
        match &matches.expression {
            Expression::Fixed(pattern) => match &pattern.compiled {
                Ok(compiled) => is_match(compiled, text, &mut self.budget),
                Err(_) => Ok(false),
            },
            Expression::Computed(comparable) => {
                let Some(Value::String(source)) = self.computed(comparable, node)? else {
                    return Ok(false);
                };
                let key = (source.as_str(), matches.extent == Extent::Whole);
                if !self.patterns.contains_key(&key) {
                    self.budget.spend_bytes(source.len(), 1)?;
                    // Too large to run is too large to decide.
                    let compiled =
                        Compiled::new(source, matches.extent).map_err(|_| OutOfBudget)?;
                    let compiled = compiled.ok();
                    let weight = compiled.as_ref().map_or(0, Compiled::weight);
                    self.budget.spend(STEPS_TO_COMPILE * u64::from(weight))?;
                    self.patterns.insert(key, compiled);
                }
                match self.patterns.get(&key) {
                    Some(Some(compiled)) => is_match(compiled, text, &mut self.budget),
                    _ => Ok(false),
                }
            }
        }
    }

    /// The node that a regular expression comes from; no function makes strings of its own.
    fn computed(
        &mut self,
        comparable: &Comparable,
        node: &'v Value,
    ) -> Result<Option<&'v Value>, OutOfBudget> {
        match comparable {
            Comparable::Query(query) => self.singular(query, node),
            Comparable::Function(Function::Value(query)) => {
                let mut only = Only::None;
                self.query(query, node, &mut only)?;
                match only {
                    Only::One(value) => Ok(Some(value)),
                    Only::None | Only::Several => Ok(None),
                }
            }
            Comparable::Literal(_) | Comparable::Function(_) => Ok(None),
        }
    }
}

fn is_match(compiled: &Compiled, text: &str, budget: &mut Budget) -> Result<bool, OutOfBudget> {
    budget.spend(1)?;
    budget.spend_bytes(text.len() * compiled.width() as usize, STATES_A_STEP)?;
    Ok(compiled.is_match(text))
}

struct Count(u64);

impl<'v> Sink<'v> for Count {
    fn take(&mut self, _: &'v Value, _: &[Element<'v>], _: &mut Budget) -> Result<(), Stop> {
        self.0 += 1;
        Ok(())
    }
}

/// Stops at the second node.
enum Only<'v> {
    None,
    One(&'v Value),
    Several,
}

impl<'v> Sink<'v> for Only<'v> {
    fn take(&mut self, node: &'v Value, _: &[Element<'v>], _: &mut Budget) -> Result<(), Stop> {
        if let Self::None = self {
            *self = Self::One(node);
            Ok(())
        } else {
            *self = Self::Several;
            Err(Stop::Enough)
        }
    }
}
