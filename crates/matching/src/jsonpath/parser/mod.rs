//! From text to [`ast`](super::ast), by recursive descent along the ABNF of RFC 9535, Appendix A. Each function names
//! its rule.
//!
//! [`filter`] reads what stands behind `?` and checks types as it reads, since each function's parameters are known;
//! [`literal`] reads strings and numbers; the rest is here. An error names the first byte that can't belong to a
//! query, or the beginning of what isn't well-typed, and says what would be right.

mod filter;
mod literal;

use super::ast::{Reach, Segment, Selector, Slice, Span};
use super::{
    InvalidQuery, MAX_NESTING, MAX_PARTS, MAX_PATTERNS_WEIGHT, MAX_QUERY_BYTES, MAX_SEGMENTS,
};

pub(super) type Parsed<T> = Result<T, InvalidQuery>;

/// Indexes and slices stay exact in any implementation (RFC 9535 §2.1, I-JSON).
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// `jsonpath-query = root-identifier segments`, and what its regular expressions weigh
pub(super) fn parse(text: &str) -> Parsed<(Vec<Segment>, u32)> {
    let mut parser = Parser { text, at: 0, depth: 0, segments: 0, parts: 0, patterns_weight: 0 };
    if text.len() > MAX_QUERY_BYTES {
        let at = text.floor_char_boundary(MAX_QUERY_BYTES);
        return parser.fail(at, format!("a query is at most {MAX_QUERY_BYTES} bytes long"));
    }
    if !parser.take('$') {
        return parser.expected("'$', with which a query begins");
    }
    let segments = parser.segments()?;
    if parser.rest().is_empty() {
        return Ok((segments, parser.patterns_weight));
    }
    if parser.rest().trim_start_matches(BLANK).is_empty() {
        return parser.fail(parser.at, "no blank space may follow the query");
    }
    parser.blank(); // it may stand before a segment: what comes next is wrong
    parser.expected("'.name', '..name' or '[…]', or the end of the query")
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Filters, parentheses and calls that are open here.
    depth: usize,
    /// Found so far, see the limits.
    segments: usize,
    parts: usize,
    patterns_weight: u32,
}

/// `B`
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

impl Parser<'_> {
    /// `segments = *(S segment)`
    fn segments(&mut self) -> Parsed<Vec<Segment>> {
        let mut segments = Vec::new();
        loop {
            let end = self.at;
            self.blank();
            if !matches!(self.peek(), Some('.' | '[')) {
                self.at = end; // the blank space is someone else's, or an error
                return Ok(segments);
            }
            if self.segments == MAX_SEGMENTS {
                return self.fail(self.at, format!("a query has at most {MAX_SEGMENTS} segments"));
            }
            self.segments += 1;
            segments.push(self.segment()?);
        }
    }

    /// `segment = child-segment / descendant-segment`
    fn segment(&mut self) -> Parsed<Segment> {
        let start = self.at;
        let reach = if self.take_text("..") {
            Reach::Descendant
        } else {
            self.take('.'); // or a bracket, which stays
            Reach::Child
        };
        let dotted = self.at > start;
        let selectors = match self.peek() {
            Some('[') if reach == Reach::Descendant || !dotted => self.brackets()?,
            Some('[') => {
                return self.fail(start, "no '.' stands before '['; write ['name'] or .name");
            }
            Some('*') => {
                self.part()?;
                self.at += 1;
                vec![Selector::Wildcard]
            }
            _ => vec![self.shorthand()?],
        };
        Ok(Segment { reach, selectors, span: self.since(start) })
    }

    /// `member-name-shorthand = name-first *name-char`
    fn shorthand(&mut self) -> Parsed<Selector> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        let start = self.at;
        self.part()?;
        match self.peek() {
            Some(c) if first(c) => {}
            Some(c) if c.is_ascii_digit() || c == '-' => {
                return self.fail(start, "a name that begins so is written in brackets: ['1']");
            }
            Some(c) if BLANK.contains(&c) => {
                return self.fail(start, "no blank space may follow '.'");
            }
            Some('\'' | '"') => {
                return self.fail(start, "a name in quotes is written in brackets: ['name']");
            }
            _ => return self.expected("a name or '*' after '.'"),
        }
        let length = self.rest().find(|c: char| !first(c) && !c.is_ascii_digit());
        self.at += length.unwrap_or(self.rest().len());
        Ok(Selector::Name(self.text[start..self.at].to_owned()))
    }

    /// `bracketed-selection = "[" S selector *(S "," S selector) S "]"`
    fn brackets(&mut self) -> Parsed<Vec<Selector>> {
        self.at += 1;
        let mut selectors = Vec::new();
        loop {
            self.blank();
            self.part()?;
            selectors.push(self.selector()?);
            self.blank();
            if self.take(']') {
                return Ok(selectors);
            }
            if !self.take(',') {
                return match selectors.last() {
                    Some(Selector::Filter(_)) => self.expected_in_logical("',' or ']'"),
                    _ => self.expected("',' or ']' after a selector"),
                };
            }
        }
    }

    /// `selector = name-selector / wildcard-selector / slice-selector / index-selector / filter-selector`
    fn selector(&mut self) -> Parsed<Selector> {
        match self.peek() {
            Some('\'' | '"') => Ok(Selector::Name(self.string()?)),
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                self.blank();
                let logical = self.nested(Self::logical)?;
                Ok(Selector::Filter(logical))
            }
            Some('-' | ':' | '0'..='9') => self.index_or_slice(),
            Some(c) if c.is_alphabetic() || c == '_' => {
                self.fail(self.at, "a name in brackets stands in quotes: ['name']")
            }
            Some('@' | '(') => self.fail(self.at, "a filter begins with '?', as in [?@.a > 1]"),
            _ => self.expected("a selector: 'name', *, an index, start:end or ?filter"),
        }
    }

    /// `index-selector = int`, `slice-selector = [start S] ":" S [end S] [":" [S step ]]`
    fn index_or_slice(&mut self) -> Parsed<Selector> {
        let start = self.optional_integer()?;
        let end_of_start = self.at;
        self.blank();
        if !self.take(':') {
            self.at = end_of_start;
            return match start {
                Some(index) => Ok(Selector::Index(index)),
                None => self.expected("an index or ':'"),
            };
        }
        self.blank();
        let end = self.optional_integer()?;
        let end_of_end = self.at;
        self.blank();
        let mut step = None;
        if self.take(':') {
            let end_of_colon = self.at;
            self.blank();
            step = self.optional_integer()?;
            if step.is_none() {
                self.at = end_of_colon;
            }
        } else {
            self.at = end_of_end;
        }
        Ok(Selector::Slice(Slice { start, end, step: step.unwrap_or(1) }))
    }

    fn optional_integer(&mut self) -> Parsed<Option<i64>> {
        match self.peek() {
            Some('-' | '0'..='9') => self.integer().map(Some),
            _ => Ok(None),
        }
    }

    /// `int = "0" / (["-"] DIGIT1 *DIGIT)`, within the limits of I-JSON
    fn integer(&mut self) -> Parsed<i64> {
        let start = self.at;
        self.digits_of_integer()?;
        let text = &self.text[start..self.at];
        if text == "-0" {
            return self.fail(start, "an index or slice is written 0, not -0");
        }
        match text.parse::<i64>() {
            Ok(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) => Ok(integer),
            _ => self.fail(start, format!("an index is between -{MAX_INTEGER} and {MAX_INTEGER}")),
        }
    }

    /// Reads one level of what may lie in itself.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_NESTING {
            let why = format!(
                "filters, parentheses and functions lie at most {MAX_NESTING} deep in each other"
            );
            return self.fail(self.at, why);
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Counts one more selector, comparison or test.
    fn part(&mut self) -> Parsed<()> {
        if self.parts == MAX_PARTS {
            let why = format!("a query has at most {MAX_PARTS} selectors, comparisons and tests");
            return self.fail(self.at, why);
        }
        self.parts += 1;
        Ok(())
    }

    /// Counts one more regular expression.
    fn pattern(&mut self, at: usize, weight: u32) -> Parsed<()> {
        self.patterns_weight = self.patterns_weight.saturating_add(weight);
        if self.patterns_weight > MAX_PATTERNS_WEIGHT {
            return self.fail(at, "the regular expressions of this query are too large together");
        }
        Ok(())
    }

    /// `S`
    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(BLANK).len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn take_text(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn since(&self, start: usize) -> Span {
        Span { start, end: self.at }
    }

    #[allow(clippy::unused_self)] // it is the parser that fails, and reads better so
    fn fail<T>(&self, at: usize, why: impl Into<String>) -> Parsed<T> {
        Err(InvalidQuery { at, why: why.into() })
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        let why = match self.peek() {
            Some(c) => format!("expected {what}; found {c:?}"),
            None => format!("expected {what}; found the end of the query"),
        };
        self.fail(self.at, why)
    }
}
