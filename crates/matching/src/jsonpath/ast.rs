//! What a query says, as data. Well-formed and well-typed by construction (RFC 9535 §2.1, §2.4.3): a comparison
//! holds only what has one value at most, a test only what is true or false.
//!
//! Parentheses are gone: `And` never holds an `And` directly, nor `Or` an `Or`. Text that a person may have to be
//! shown again carries its [`Span`].

use super::iregexp::Pattern;
use super::number::Number;

/// A place in the query's text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// One step from each node that was selected so far to others (§2.5).
#[derive(Clone, Debug)]
pub struct Segment {
    pub reach: Reach,
    /// At least one. What each selects is put one after the other, duplicates included.
    pub selectors: Vec<Selector>,
    pub span: Span,
}

/// To which nodes a segment's selectors are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The node itself: `.a`, `['a']`. What is selected is its children.
    Child,
    /// The node and all below it: `..a`.
    Descendant,
}

/// Which children of a node are selected (§2.3).
#[derive(Clone, Debug)]
pub enum Selector {
    /// The member of an object with this name, unescaped.
    Name(String),
    /// Every child.
    Wildcard,
    /// The element of an array; a negative one counts from the end.
    Index(i64),
    Slice(Slice),
    /// Every child for which it is true. `@` is that child.
    Filter(Logical),
}

/// `start:end:step` (§2.3.4). A missing step is 1; the other defaults depend on the step's sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub step: i64,
}

/// What is true or false of a node (§2.3.5).
#[derive(Clone, Debug)]
pub enum Logical {
    /// Two at least.
    Or(Vec<Logical>),
    /// Two at least.
    And(Vec<Logical>),
    Not(Box<Logical>),
    Compare(Comparison),
    /// The query selects something: `@.a`.
    Exists(FilterQuery),
    /// `match(…)` or `search(…)`.
    Match(Match),
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub left: Comparable,
    pub operator: Operator,
    pub right: Comparable,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What has a value, or nothing.
#[derive(Clone, Debug)]
pub enum Comparable {
    Literal(Literal),
    Query(SingularQuery),
    Function(Function),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    /// Unescaped.
    String(String),
}

/// A query inside a filter that may select any number of nodes.
#[derive(Clone, Debug)]
pub struct FilterQuery {
    pub origin: Origin,
    pub segments: Vec<Segment>,
    pub span: Span,
}

/// A query inside a filter that selects one node at most (§2.3.5.1).
#[derive(Clone, Debug)]
pub struct SingularQuery {
    pub origin: Origin,
    pub steps: Vec<Step>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Name(String),
    Index(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `$`, the whole payload.
    Root,
    /// `@`, the node that the innermost filter looks at.
    Current,
}

/// The functions that give a value (§2.4.4, §2.4.5, §2.4.8).
#[derive(Clone, Debug)]
pub enum Function {
    /// Characters of a string, elements of an array, members of an object; else nothing.
    Length(Box<Comparable>),
    /// How many nodes, duplicates counted.
    Count(FilterQuery),
    /// The value of the node, if there is exactly one.
    Value(FilterQuery),
}

/// `match` (the whole string) or `search` (some part of it) (§2.4.6, §2.4.7). False where either side is not a
/// string, or the expression is not an I-Regexp.
#[derive(Clone, Debug)]
pub struct Match {
    pub text: Comparable,
    pub expression: Expression,
    pub extent: Extent,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `match`
    Whole,
    /// `search`
    Part,
}

/// Where a regular expression comes from.
#[derive(Clone, Debug)]
pub enum Expression {
    /// A string in the query, compiled.
    Fixed(Pattern),
    /// Known only once there is a payload.
    Computed(Comparable),
}

impl FilterQuery {
    /// Its steps, where each can only lead to one node: `@.a[0]`, but not `@.a[*]` or `@..a`.
    pub fn steps(&self) -> Option<Vec<Step>> {
        self.segments.iter().map(Segment::step).collect()
    }
}

impl Segment {
    /// The one step that it takes, if it can only lead to one node.
    pub fn step(&self) -> Option<Step> {
        match (self.reach, self.selectors.as_slice()) {
            (Reach::Child, [Selector::Name(name)]) => Some(Step::Name(name.clone())),
            (Reach::Child, [Selector::Index(index)]) => Some(Step::Index(*index)),
            _ => None,
        }
    }
}
