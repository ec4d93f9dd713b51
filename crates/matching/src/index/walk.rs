//! One walk over a payload, along the paths that some rule names.
//!
//! The paths of the rules form a tree of **nodes** ([`tree`](super::tree)). While walking, the walk holds the nodes that
//! the value at hand is at, of which there may be several, or none: then the value is skipped. What is seen at a leaf is
//! **captured**. Where a node chooses, an element of an array for one, an **instance** records the choice: its parent is
//! the instance that was chosen before on the same path, and all that was chosen within it has numbers up to its end.
//!
//! Of a member that occurs twice `serde_json` keeps the last, and so must we; but when the second one comes, the first
//! has been captured. That is noticed at the end of the object, and the caller walks over what `serde_json` made of the
//! payload instead.

use super::leaf::hash;
use super::scan::{Text, Undecidable, enter, refuse};
use super::steps::{REMEMBER, Steps};
use super::tree::{End, Node};
use crate::condition::Seen;
use crate::number::Number;

#[derive(Debug)]
pub(crate) struct Capture<'p> {
    /// For which set of event types.
    pub(crate) types: u32,
    pub(crate) leaf: u32,
    pub(crate) instance: u32,
    pub(crate) seen: Seen<'p>,
}

impl Capture<'_> {
    pub(crate) fn number(&self) -> Option<Number> {
        match self.seen {
            Seen::Number(number) => Some(number),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    parent: u32,
    /// The first number that is not within it.
    pub(crate) end: u32,
}

/// The instance that was chosen so many choices before this one.
pub(crate) fn instance_at(instances: &[Instance], mut instance: u32, up: u16) -> u32 {
    for _ in 0..up {
        instance = instances[instance as usize].parent;
    }
    instance
}

pub(crate) struct Walked<'p> {
    /// Sorted by types, leaf and instance.
    pub(crate) captures: Vec<Capture<'p>>,
    pub(crate) instances: Vec<Instance>,
    /// Whether a member that some rule names occurs twice: then the captures are not what counts.
    pub(crate) doubled: bool,
}

impl Walked<'_> {
    /// Of a payload that nobody looks at.
    pub(crate) fn nothing() -> Self {
        Self {
            captures: Vec::new(),
            instances: vec![Instance { parent: 0, end: 1 }],
            doubled: false,
        }
    }
}

/// Where the value at hand is.
#[derive(Clone, Copy)]
struct At<'i> {
    node: &'i Node,
    types: u32,
    instance: u32,
    /// Whether arrays are still looked through before it is there: it was reached by `Each`.
    through: bool,
}

struct Walk<'i, 'p> {
    text: Text<'p>,
    /// A stack: of each value on the way to the one at hand.
    at: Vec<At<'i>>,
    captures: Vec<Capture<'p>>,
    instances: Vec<Instance>,
    /// What names that were followed led to, or their hashes where any name is followed; a stack as well. Those of one
    /// object tell whether a name has occurred twice.
    names: Vec<u64>,
    doubled: bool,
    steps: &'i Steps,
}

/// `roots`: of each set of event types that covers the event.
pub(crate) fn walk<'i, 'p>(
    payload: &'p [u8],
    roots: impl Iterator<Item = &'i Node>,
    steps: &'i Steps,
) -> Result<Walked<'p>, Undecidable> {
    let mut walk = Walk {
        text: Text::new(payload)?,
        at: Vec::with_capacity(16),
        captures: Vec::with_capacity(16),
        instances: Vec::with_capacity(16),
        names: Vec::with_capacity(16),
        doubled: false,
        steps,
    };
    walk.instances.push(Instance { parent: 0, end: 0 });
    walk.at.extend(roots.zip(0..).map(|(node, types)| At {
        node,
        types,
        instance: 0,
        through: false,
    }));
    let end = walk.value(0, 0, 0)?;
    walk.text.end(end)?;
    walk.end(0..1);
    // Those of one leaf stand in the order of their instances already: all are of one place in the tree, whose instances
    // follow each other and don't overlap. And a stable sort is quick where there are few different keys.
    walk.captures.sort_by_key(|capture| (capture.types, capture.leaf));
    debug_assert!(walk.captures.is_sorted_by_key(|c| (c.types, c.leaf, c.instance)));
    Ok(Walked { captures: walk.captures, instances: walk.instances, doubled: walk.doubled })
}

impl<'i, 'p> Walk<'i, 'p> {
    /// The value that begins at `at` is at what is on the stack from `from`. Says where it ends, as all here do.
    #[inline]
    fn value(&mut self, at: usize, from: usize, depth: usize) -> Result<usize, Undecidable> {
        if self.at.len() == from {
            return self.text.skip(at, depth); // nobody looks
        }
        self.spend(self.at.len() - from)?;
        let (at, byte) = self.text.next(at);
        match byte {
            b'"' => {
                let (end, text) = self.text.string(at)?;
                self.scalar(from, &Seen::Text(text.read()?));
                Ok(end)
            }
            b'{' => self.object(at, from, depth),
            b'[' => self.array(at, from, depth),
            _ => self.other(at, byte, from),
        }
    }

    /// What is no string, array or object.
    fn other(&mut self, at: usize, byte: u8, from: usize) -> Result<usize, Undecidable> {
        let (end, seen) = match byte {
            b'-' | b'0'..=b'9' => {
                let (end, literal) = self.text.number(at)?;
                let Some(number) = Number::from_literal(literal) else {
                    return refuse(at, "the number is too large for a double");
                };
                (end, Seen::Number(number))
            }
            b't' => (self.text.literal(at, "true")?, Seen::Bool(true)),
            b'f' => (self.text.literal(at, "false")?, Seen::Bool(false)),
            b'n' => (self.text.literal(at, "null")?, Seen::Null),
            _ => return refuse(at, "here should be a value"),
        };
        self.scalar(from, &seen);
        Ok(end)
    }

    fn spend(&self, steps: usize) -> Result<(), Undecidable> {
        if self.steps.spend(steps) { Ok(()) } else { self.steps.check() }
    }

    fn scalar(&mut self, from: usize, seen: &Seen<'p>) {
        for at in from..self.at.len() {
            let At { node, types, instance, .. } = self.at[at];
            // `Each` of a scalar is the scalar, and as the last step it chooses nothing.
            let mut reached = Some(node);
            while let Some(node) = reached {
                if let Some(end) = node.end() {
                    self.capture(end, types, instance, seen.clone());
                }
                reached = node.each();
            }
        }
    }

    fn capture(&mut self, end: &End, types: u32, instance: u32, seen: Seen<'p>) {
        self.steps.spend(REMEMBER); // who looks at the next value sees whether there were so many
        self.captures.push(Capture { types, leaf: end.leaf, instance, seen });
    }

    fn structured(&mut self, At { node, types, instance, .. }: At<'i>) {
        if let Some(end) = node.end()
            && end.structured > 0
        {
            self.capture(end, types, instance, Seen::Structured);
        }
    }

    fn object(&mut self, begin: usize, from: usize, depth: usize) -> Result<usize, Undecidable> {
        let mut end = enter(begin, depth)?;
        let first_choice = self.instances.len();
        let mut at = from;
        while at < self.at.len() {
            let mut here = self.at[at];
            self.structured(here);
            if here.through {
                here = At { instance: self.choose(here.instance), through: false, ..here };
                self.at[at] = here;
            }
            if let Some(node) = here.node.each() {
                let each = At { node, through: true, ..here };
                if here.node.has_members() {
                    self.at.push(each);
                } else {
                    self.at[at] = each; // in its place: it goes nowhere from here
                    continue;
                }
            }
            at += 1;
        }
        let choices = first_choice..self.instances.len();
        let first_name = self.names.len();
        let to = self.at.len();
        let mut first = true;
        loop {
            let (after, more) = self.text.more(end, b'}', first)?;
            end = after;
            if !more {
                break;
            }
            first = false;
            end = self.member(end, from, to, depth)?;
        }
        let names = &mut self.names[first_name..];
        names.sort_unstable();
        self.doubled |= names.windows(2).any(|pair| pair[0] == pair[1]);
        self.names.truncate(first_name);
        self.end(choices);
        Ok(end)
    }

    /// A member of the object that is at what is on the stack.
    #[inline]
    fn member(
        &mut self,
        at: usize,
        from: usize,
        to: usize,
        depth: usize,
    ) -> Result<usize, Undecidable> {
        let (value, name) = self.text.name(at)?;
        let (head, name) = (name.head()?, name.read()?);
        self.spend(to - from)?;
        let first_choice = self.instances.len();
        for at in from..to {
            let here = self.at[at];
            if let Some(node) = here.node.name(head, &name) {
                self.names.push(std::ptr::from_ref(node).addr() as u64);
                self.at.push(At { node, ..here });
            }
            if let Some(node) = here.node.child() {
                self.names.push(hash(&*name));
                let instance = self.choose(here.instance);
                self.at.push(At { node, instance, ..here });
            }
        }
        if self.at.len() == to {
            return self.text.skip(value, depth + 1);
        }
        self.chosen(value, first_choice, to, depth)
    }

    /// The value at hand is at what is on the stack from `to`, for which choices were made from the first one on.
    fn chosen(
        &mut self,
        at: usize,
        first_choice: usize,
        to: usize,
        depth: usize,
    ) -> Result<usize, Undecidable> {
        let choices = first_choice..self.instances.len();
        let end = self.value(at, to, depth + 1)?;
        self.at.truncate(to);
        self.end(choices);
        Ok(end)
    }

    fn array(&mut self, begin: usize, from: usize, depth: usize) -> Result<usize, Undecidable> {
        let mut end = enter(begin, depth)?;
        let to = self.at.len();
        // What looks through arrays goes on to each element.
        for at in from..to {
            let here = self.at[at];
            if here.through {
                self.at.push(here);
                continue;
            }
            self.structured(here);
            if let Some(node) = here.node.each() {
                self.at.push(At { node, through: true, ..here });
            }
        }
        let through = to..self.at.len();
        let to_element = self.at.len();
        let mut index = 0;
        loop {
            let (after, more) = self.text.more(end, b']', index == 0)?;
            end = after;
            if !more {
                break;
            }
            self.spend(to_element - from)?;
            let first_choice = self.instances.len();
            self.at.extend_from_within(through.clone());
            for at in from..to {
                let here = self.at[at];
                if here.through {
                    continue;
                }
                if let Some(node) = here.node.index(index) {
                    self.at.push(At { node, ..here });
                }
                if let Some(node) = here.node.child() {
                    let instance = self.choose(here.instance);
                    self.at.push(At { node, instance, ..here });
                }
            }
            end = self.chosen(end, first_choice, to_element, depth)?;
            index += 1;
        }
        self.at.truncate(to);
        Ok(end)
    }

    fn choose(&mut self, parent: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a payload has fewer values than that")]
        let number = self.instances.len() as u32;
        self.instances.push(Instance { parent, end: number + 1 });
        number
    }

    /// Nothing more is within these.
    fn end(&mut self, choices: std::ops::Range<usize>) {
        #[expect(clippy::cast_possible_truncation, reason = "a payload has fewer values than that")]
        let end = self.instances.len() as u32;
        for choice in choices {
            self.instances[choice].end = end;
        }
    }
}
