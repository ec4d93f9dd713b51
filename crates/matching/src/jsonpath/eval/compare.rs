//! Comparisons (RFC 9535 §2.3.5.2.2).

use serde_json::Value;

use crate::jsonpath::ast::{Literal, Operator};
use crate::jsonpath::budget::{Budget, OutOfBudget};
use crate::jsonpath::number::Number;

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) enum Term<'t> {
    /// No node, or no value.
    Nothing,
    Null,
    Bool(bool),
    Number(Number),
    String(&'t str),
    /// An array or an object.
    Composite(&'t Value),
}

impl<'t> Term<'t> {
    #[inline]
    pub(super) fn of(node: Option<&'t Value>) -> Self {
        match node {
            None => Self::Nothing,
            Some(Value::Null) => Self::Null,
            Some(Value::Bool(value)) => Self::Bool(*value),
            Some(Value::Number(number)) => Self::Number(number.into()),
            Some(Value::String(string)) => Self::String(string),
            Some(composite) => Self::Composite(composite),
        }
    }
}

impl<'t> From<&'t Literal> for Term<'t> {
    fn from(literal: &'t Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Number(number) => Self::Number(*number),
            Literal::String(string) => Self::String(string),
        }
    }
}

/// So many bytes of two strings are compared in a step.
const BYTES_A_STEP: usize = 256;

#[inline]
pub(super) fn holds(
    left: Term<'_>,
    operator: Operator,
    right: Term<'_>,
    budget: &mut Budget,
) -> Result<bool, OutOfBudget> {
    match operator {
        Operator::Equal => equal(left, right, budget),
        Operator::NotEqual => Ok(!equal(left, right, budget)?),
        Operator::Less => less(left, right, budget),
        Operator::Greater => less(right, left, budget),
        Operator::LessOrEqual => Ok(less(left, right, budget)? || equal(left, right, budget)?),
        Operator::GreaterOrEqual => Ok(less(right, left, budget)? || equal(left, right, budget)?),
    }
}

fn equal(left: Term<'_>, right: Term<'_>, budget: &mut Budget) -> Result<bool, OutOfBudget> {
    match (left, right) {
        (Term::Composite(left), Term::Composite(right)) => deeply_equal(left, right, budget),
        (Term::String(left), Term::String(right)) => {
            budget.spend_bytes(left.len().min(right.len()), BYTES_A_STEP)?;
            Ok(left == right)
        }
        (Term::Number(left), Term::Number(right)) => Ok(left == right),
        (Term::Bool(left), Term::Bool(right)) => Ok(left == right),
        (Term::Null, Term::Null) | (Term::Nothing, Term::Nothing) => Ok(true),
        _ => Ok(false),
    }
}

/// Only numbers and strings have an order; that of strings is the order of their Unicode scalar values, which is the
/// order of their bytes in UTF-8.
fn less(left: Term<'_>, right: Term<'_>, budget: &mut Budget) -> Result<bool, OutOfBudget> {
    match (left, right) {
        (Term::Number(left), Term::Number(right)) => Ok(left.compare(right).is_lt()),
        (Term::String(left), Term::String(right)) => {
            budget.spend_bytes(left.len().min(right.len()), BYTES_A_STEP)?;
            Ok(left < right)
        }
        _ => Ok(false),
    }
}

/// Pair by pair, with a stack of its own: values may be deep.
fn deeply_equal(left: &Value, right: &Value, budget: &mut Budget) -> Result<bool, OutOfBudget> {
    let mut pairs = vec![(left, right)];
    while let Some((left, right)) = pairs.pop() {
        budget.spend(1)?;
        match (left, right) {
            (Value::Array(left), Value::Array(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                budget.spend(left.len() as u64)?;
                pairs.extend(left.iter().zip(right));
            }
            (Value::Object(left), Value::Object(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                budget.spend(left.len() as u64)?;
                for (name, left) in left {
                    match right.get(name) {
                        Some(right) => pairs.push((left, right)),
                        None => return Ok(false),
                    }
                }
            }
            (Value::Array(_), Value::Object(_)) | (Value::Object(_), Value::Array(_)) => {
                return Ok(false);
            }
            (left, right) => {
                if !equal(Term::of(Some(left)), Term::of(Some(right)), budget)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
