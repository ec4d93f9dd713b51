//! A query held against a payload.
//!
//! A [`Walk`] goes from node to node, depth first, which is the order of RFC 9535's nodelists, and hands each that
//! the last segment selects to a [`Sink`]. A sink may say [`Stop::Enough`]: then nothing more is looked at. Nothing
//! is collected on the way. [`filter`] decides what is true of a node; [`compare`] compares values.
//!
//! The walk recurses over the query's segments and filters, which are limited, never over the payload: descendants
//! are found with a stack of their own.

mod compare;
mod filter;

use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::slice;

use serde_json::{Value, map};

use super::ast::{Extent, Reach, Segment, Selector, Slice};
use super::budget::{Budget, OutOfBudget};
use super::iregexp::Compiled;
use super::path::{Element, Located, NormalizedPath};

pub(super) fn exists(
    segments: &[Segment],
    payload: &Value,
    budget: &mut Budget,
) -> Result<bool, OutOfBudget> {
    Walk::spending(budget, payload, |walk| walk.any(segments, payload))
}

pub(super) fn nodes<'v>(
    segments: &[Segment],
    payload: &'v Value,
    budget: &mut Budget,
) -> Result<Vec<&'v Value>, OutOfBudget> {
    let mut all = All(Vec::new());
    Walk::spending(budget, payload, |walk| walk.run(segments, payload, &mut all))?;
    Ok(all.0)
}

pub(super) fn located_nodes<'v>(
    segments: &[Segment],
    payload: &'v Value,
    budget: &mut Budget,
) -> Result<Vec<Located<'v>>, OutOfBudget> {
    let mut all = AllLocated(Vec::new());
    Walk::spending(budget, payload, |walk| walk.run(segments, payload, &mut all))?;
    Ok(all.0)
}

/// Why a walk ended before everything was seen.
enum Stop {
    /// The sink knows what it wanted to know.
    Enough,
    OutOfBudget,
}

impl From<OutOfBudget> for Stop {
    fn from(OutOfBudget: OutOfBudget) -> Self {
        Self::OutOfBudget
    }
}

/// Where selected nodes go.
trait Sink<'v> {
    /// Whether it wants paths. They are not kept otherwise, and the trail is empty.
    const LOCATED: bool = false;

    fn take(
        &mut self,
        node: &'v Value,
        trail: &[Element<'v>],
        budget: &mut Budget,
    ) -> Result<(), Stop>;
}

struct All<'v>(Vec<&'v Value>);

impl<'v> Sink<'v> for All<'v> {
    fn take(&mut self, node: &'v Value, _: &[Element<'v>], _: &mut Budget) -> Result<(), Stop> {
        self.0.push(node);
        Ok(())
    }
}

struct AllLocated<'v>(Vec<Located<'v>>);

impl<'v> Sink<'v> for AllLocated<'v> {
    const LOCATED: bool = true;

    fn take(
        &mut self,
        node: &'v Value,
        trail: &[Element<'v>],
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        budget.spend(trail.len() as u64)?; // each path is memory of its own
        self.0.push(Located { path: NormalizedPath(trail.to_vec()), node });
        Ok(())
    }
}

/// Stops at the first node.
struct First;

impl<'v> Sink<'v> for First {
    fn take(&mut self, _: &'v Value, _: &[Element<'v>], _: &mut Budget) -> Result<(), Stop> {
        Err(Stop::Enough)
    }
}

struct Walk<'v> {
    root: &'v Value,
    budget: Budget,
    /// Regular expressions that the payload brought (a tree: it costs nothing while it is empty). `None` where it isn't one.
    patterns: BTreeMap<(&'v str, bool), Option<Compiled>>,
}

impl<'v> Walk<'v> {
    /// Lends the budget to a walk: at hand rather than behind a reference, since every node asks for it.
    fn spending<T>(
        budget: &mut Budget,
        root: &'v Value,
        work: impl FnOnce(&mut Self) -> Result<T, OutOfBudget>,
    ) -> Result<T, OutOfBudget> {
        let mut walk = Self { root, budget: budget.clone(), patterns: BTreeMap::new() };
        let done = work(&mut walk);
        *budget = walk.budget;
        done
    }

    fn run<S: Sink<'v>>(
        &mut self,
        segments: &[Segment],
        from: &'v Value,
        sink: &mut S,
    ) -> Result<(), OutOfBudget> {
        match self.follow(segments, from, &mut Vec::new(), sink) {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::OutOfBudget) => Err(OutOfBudget),
        }
    }

    fn any(&mut self, segments: &[Segment], from: &'v Value) -> Result<bool, OutOfBudget> {
        match self.follow(segments, from, &mut Vec::new(), &mut First) {
            Ok(()) => Ok(false),
            Err(Stop::Enough) => Ok(true),
            Err(Stop::OutOfBudget) => Err(OutOfBudget),
        }
    }

    /// All that `segments` select from `node` goes to `sink`.
    fn follow<S: Sink<'v>>(
        &mut self,
        mut segments: &[Segment],
        mut node: &'v Value,
        trail: &mut Vec<Element<'v>>,
        sink: &mut S,
    ) -> Result<(), Stop> {
        loop {
            let Some((segment, rest)) = segments.split_first() else {
                return sink.take(node, trail, &mut self.budget);
            };
            self.budget.spend(1)?;
            // Most segments are one name; with nothing to come back to, they need no call.
            if let (Reach::Child, [Selector::Name(name)], false) =
                (segment.reach, segment.selectors.as_slice(), S::LOCATED)
            {
                match node.get(name.as_str()) {
                    Some(child) => (node, segments) = (child, rest),
                    None => return Ok(()),
                }
            } else {
                return match segment.reach {
                    Reach::Child => self.select(&segment.selectors, rest, node, trail, sink),
                    Reach::Descendant => self.descend(&segment.selectors, rest, node, trail, sink),
                };
            }
        }
    }

    /// The children of `node` that `selectors` name are followed by `rest`.
    fn select<S: Sink<'v>>(
        &mut self,
        selectors: &[Selector],
        rest: &[Segment],
        node: &'v Value,
        trail: &mut Vec<Element<'v>>,
        sink: &mut S,
    ) -> Result<(), Stop> {
        for selector in selectors {
            self.budget.spend(1)?;
            match (selector, node) {
                (Selector::Name(name), Value::Object(members)) => {
                    if let Some((name, child)) = members.get_key_value(name) {
                        self.enter(Element::Name(name), child, rest, trail, sink)?;
                    }
                }
                (Selector::Index(index), Value::Array(elements)) => {
                    if let Some((index, child)) = element(elements, *index) {
                        self.enter(Element::Index(index), child, rest, trail, sink)?;
                    }
                }
                (Selector::Slice(slice), Value::Array(elements)) => {
                    for index in indexes(*slice, elements.len()) {
                        self.budget.spend(1)?;
                        self.enter(Element::Index(index), &elements[index], rest, trail, sink)?;
                    }
                }
                (Selector::Wildcard, Value::Array(_) | Value::Object(_)) => {
                    for (at, child) in Children::of(node) {
                        self.budget.spend(1)?;
                        self.enter(at, child, rest, trail, sink)?;
                    }
                }
                (Selector::Filter(logical), Value::Array(_) | Value::Object(_)) => {
                    for (at, child) in Children::of(node) {
                        self.budget.spend(1)?;
                        if self.is_true(logical, child)? {
                            self.enter(at, child, rest, trail, sink)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn enter<S: Sink<'v>>(
        &mut self,
        at: Element<'v>,
        child: &'v Value,
        rest: &[Segment],
        trail: &mut Vec<Element<'v>>,
        sink: &mut S,
    ) -> Result<(), Stop> {
        if S::LOCATED {
            trail.push(at);
        }
        self.follow(rest, child, trail, sink)?;
        if S::LOCATED {
            trail.pop();
        }
        Ok(())
    }

    /// The same for `node` and all below it, a parent before its children.
    fn descend<S: Sink<'v>>(
        &mut self,
        selectors: &[Selector],
        rest: &[Segment],
        node: &'v Value,
        trail: &mut Vec<Element<'v>>,
        sink: &mut S,
    ) -> Result<(), Stop> {
        if !has_children(node) {
            return Ok(());
        }
        self.select(selectors, rest, node, trail, sink)?;
        let mut open = vec![Children::of(node)];
        while let Some(children) = open.last_mut() {
            let Some((at, child)) = children.next() else {
                open.pop();
                // The outermost was not entered here.
                if S::LOCATED && !open.is_empty() {
                    trail.pop();
                }
                continue;
            };
            self.budget.spend(1)?;
            // Selectors select children; what has none needs no visit.
            if has_children(child) {
                if S::LOCATED {
                    trail.push(at);
                }
                self.select(selectors, rest, child, trail, sink)?;
                open.push(Children::of(child));
            }
        }
        Ok(())
    }
}

/// What is below a node, with the last step to it. Empty where nothing can be.
enum Children<'v> {
    Elements(Enumerate<slice::Iter<'v, Value>>),
    Members(map::Iter<'v>),
}

impl<'v> Children<'v> {
    fn of(node: &'v Value) -> Self {
        match node {
            Value::Object(members) => Self::Members(members.iter()),
            Value::Array(elements) => Self::Elements(elements.iter().enumerate()),
            _ => Self::Elements([].iter().enumerate()),
        }
    }
}

impl<'v> Iterator for Children<'v> {
    type Item = (Element<'v>, &'v Value);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Elements(elements) => {
                elements.next().map(|(index, child)| (Element::Index(index), child))
            }
            Self::Members(members) => {
                members.next().map(|(name, child)| (Element::Name(name), child))
            }
        }
    }
}

fn has_children(node: &Value) -> bool {
    match node {
        Value::Object(members) => !members.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        _ => false,
    }
}

/// The element at an index that may count from the end.
fn element(elements: &[Value], index: i64) -> Option<(usize, &Value)> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    let index = if index < 0 { elements.len().checked_sub(from_end)? } else { from_end };
    elements.get(index).map(|element| (index, element))
}

/// RFC 9535 §2.3.4.2.2. Indexes are within 53 bits, so nothing overflows.
fn indexes(slice: Slice, length: usize) -> impl Iterator<Item = usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let step = slice.step;
    let from_end = |index: i64| if index < 0 { length + index } else { index };
    let (lowest, highest) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let (start, end) = if step < 0 { (length - 1, -1) } else { (0, length) };
    let start = slice.start.map_or(start, |index| from_end(index).clamp(lowest, highest));
    let end = slice.end.map_or(end, |index| from_end(index).clamp(lowest, highest));
    let mut next = start;
    std::iter::from_fn(move || {
        let within = if step > 0 { next < end } else { step < 0 && next > end };
        let index = usize::try_from(next).ok().filter(|_| within)?;
        next += step;
        Some(index)
    })
}
