//! A query as text again: one way to write each, which reads back as the same.

use std::fmt::{self, Display, Formatter, Write};

use super::Query;
use super::ast::{
    Comparable, Comparison, Expression, Extent, FilterQuery, Function, Literal, Logical, Match,
    Operator, Origin, Reach, Segment, Selector, SingularQuery, Slice, Step,
};
use super::number::Number;
use super::path::Quoted;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('$')?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl Display for Segment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.reach, self.selectors.as_slice()) {
            (Reach::Child, [Selector::Name(name)]) => return member(name, f),
            (Reach::Child, [Selector::Wildcard]) => return f.write_str(".*"),
            (Reach::Descendant, [Selector::Name(name)]) if is_shorthand(name) => {
                return write!(f, "..{name}");
            }
            (Reach::Descendant, [Selector::Wildcard]) => return f.write_str("..*"),
            (Reach::Descendant, _) => f.write_str("..")?,
            (Reach::Child, _) => {}
        }
        f.write_char('[')?;
        joined(&self.selectors, ", ", f)?;
        f.write_char(']')
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => Quoted(name).fmt(f),
            Self::Wildcard => f.write_char('*'),
            Self::Index(index) => index.fmt(f),
            Self::Slice(slice) => slice.fmt(f),
            Self::Filter(logical) => write!(f, "?{logical}"),
        }
    }
}

impl Display for Slice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(start) = self.start {
            start.fmt(f)?;
        }
        f.write_char(':')?;
        if let Some(end) = self.end {
            end.fmt(f)?;
        }
        if self.step == 1 { Ok(()) } else { write!(f, ":{}", self.step) }
    }
}

impl Display for Logical {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(any) => joined(any, " || ", f),
            Self::And(all) => {
                for (position, one) in all.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { " && " })?;
                    match one {
                        Self::Or(_) => write!(f, "({one})")?,
                        _ => one.fmt(f)?,
                    }
                }
                Ok(())
            }
            Self::Not(inner) => match **inner {
                Self::Exists(_) | Self::Match(_) => write!(f, "!{inner}"),
                _ => write!(f, "!({inner})"),
            },
            Self::Compare(comparison) => comparison.fmt(f),
            Self::Exists(query) => query.fmt(f),
            Self::Match(matches) => matches.fmt(f),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.operator, self.right)
    }
}

impl Display for Operator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Comparable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Query(query) => query.fmt(f),
            Self::Function(function) => function.fmt(f),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::String(string) => Quoted(string).fmt(f),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Large(integer) => integer.fmt(f),
            Self::Float(float) if float.is_infinite() => {
                f.write_str(if *float > 0.0 { "1e400" } else { "-1e400" })
            }
            // `Debug` has an exponent where a number is long, and is read back as the same number.
            Self::Float(float) => fmt::Debug::fmt(float, f),
        }
    }
}

impl Display for FilterQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl Display for SingularQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Name(name) => member(name, f),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char(match self {
            Self::Root => '$',
            Self::Current => '@',
        })
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(argument) => write!(f, "length({argument})"),
            Self::Count(query) => write!(f, "count({query})"),
            Self::Value(query) => write!(f, "value({query})"),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match self.extent {
            Extent::Whole => "match",
            Extent::Part => "search",
        };
        write!(f, "{name}({}, ", self.text)?;
        match &self.expression {
            Expression::Fixed(pattern) => Quoted(&pattern.source).fmt(f)?,
            Expression::Computed(comparable) => comparable.fmt(f)?,
        }
        f.write_char(')')
    }
}

fn joined(parts: &[impl Display], between: &str, f: &mut Formatter<'_>) -> fmt::Result {
    for (position, part) in parts.iter().enumerate() {
        f.write_str(if position == 0 { "" } else { between })?;
        part.fmt(f)?;
    }
    Ok(())
}

fn member(name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    if is_shorthand(name) { write!(f, ".{name}") } else { write!(f, "[{}]", Quoted(name)) }
}

/// `member-name-shorthand`
fn is_shorthand(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}
