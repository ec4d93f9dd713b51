//! What stands behind `?`, and its types (RFC 9535 §2.3.5, §2.4).
//!
//! There are three types: a value (or nothing), true or false, and nodes. Each place asks for one: a comparison for
//! values, a test for true or false, a function's parameters for what the function says. The five functions are
//! known, so each argument is read as what it has to be.

use super::{BLANK, Parsed, Parser};
use crate::jsonpath::ast::{
    Comparable, Comparison, Expression, Extent, FilterQuery, Function, Literal, Logical, Match,
    Operator, Origin, Segment, SingularQuery, Span,
};
use crate::jsonpath::iregexp::{Compiled, Pattern};

/// What a call gives.
enum Call {
    Value(Function),
    Logical(Match),
}

/// What may be compared, be tested, or either, as far as its text goes.
enum Operand {
    Literal(Literal),
    Query(FilterQuery),
    Call(Call, &'static str),
}

const FUNCTIONS: [&str; 5] = ["length", "count", "match", "search", "value"];

impl Parser<'_> {
    /// `logical-or-expr = logical-and-expr *(S "||" S logical-and-expr)`
    pub(super) fn logical(&mut self) -> Parsed<Logical> {
        let mut any = Vec::new();
        loop {
            match self.all()? {
                Logical::Or(inner) => any.extend(inner),
                one => any.push(one),
            }
            if !self.operator_follows("||") {
                break;
            }
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Logical::Or(any) })
    }

    /// `logical-and-expr = basic-expr *(S "&&" S basic-expr)`
    fn all(&mut self) -> Parsed<Logical> {
        let mut all = Vec::new();
        loop {
            match self.basic()? {
                Logical::And(inner) => all.extend(inner),
                one => all.push(one),
            }
            if !self.operator_follows("&&") {
                break;
            }
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Logical::And(all) })
    }

    /// `S operator S`, or nothing is read.
    fn operator_follows(&mut self, operator: &str) -> bool {
        let end = self.at;
        self.blank();
        let found = self.take_text(operator);
        if found {
            self.blank();
        } else {
            self.at = end;
        }
        found
    }

    /// `basic-expr = paren-expr / comparison-expr / test-expr`
    fn basic(&mut self) -> Parsed<Logical> {
        self.part()?;
        let start = self.at;
        if self.take('!') {
            self.blank();
            let inner = if self.peek() == Some('(') {
                self.parentheses()?
            } else {
                let at = self.at;
                let operand = self.operand()?;
                if self.comparison_follows() {
                    return self.fail(
                        start,
                        "'!' before a comparison needs parentheses, as in !(@.a == 1)",
                    );
                }
                self.test(operand, at)?
            };
            return Ok(Logical::Not(Box::new(inner)));
        }
        if self.peek() == Some('(') {
            return self.parentheses();
        }
        let left = self.operand()?;
        let end = self.at;
        self.blank();
        let Some(operator) = self.comparison_operator()? else {
            self.at = end;
            return self.test(left, start);
        };
        let left = self.comparable(left, Span { start, end })?;
        self.blank();
        let start_of_right = self.at;
        let right = self.operand()?;
        let span = self.since(start_of_right);
        let right = self.comparable(right, span)?;
        let span = self.since(start);
        if self.comparison_follows() {
            self.blank();
            return self.fail(self.at, "comparisons are joined by '&&' or '||'");
        }
        Ok(Logical::Compare(Comparison { left, operator, right, span }))
    }

    /// `"(" S logical-expr S ")"`
    fn parentheses(&mut self) -> Parsed<Logical> {
        self.at += 1;
        self.blank();
        let inner = self.nested(Self::logical)?;
        self.blank();
        if !self.take(')') {
            return self.expected_in_logical("')'");
        }
        if self.comparison_follows() {
            self.blank();
            return self.fail(
                self.at,
                "what stands in parentheses is true or false; it can't be compared",
            );
        }
        Ok(inner)
    }

    /// What a comparison or a test begins with.
    fn operand(&mut self) -> Parsed<Operand> {
        match self.peek() {
            Some('@' | '$') => Ok(Operand::Query(self.filter_query()?)),
            Some('\'' | '"') => Ok(Operand::Literal(Literal::String(self.string()?))),
            Some('-' | '0'..='9') => Ok(Operand::Literal(self.number()?)),
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            Some('!') => self.fail(self.at, "'!' stands once, before '(' or a test"),
            Some('(') => self
                .fail(self.at, "what stands in parentheses is true or false; it can't be compared"),
            Some('?') => self.fail(self.at, "'?' stands once, at the beginning of a filter"),
            _ => self.expected("'@', '$', a literal, a function, '!' or '('"),
        }
    }

    /// `true`, `false`, `null` or a function with its arguments
    fn word(&mut self) -> Parsed<Operand> {
        let start = self.at;
        let rest = self.rest();
        let word_char = |c: char| c.is_alphanumeric() || c == '_';
        let length = rest.find(|c| !word_char(c)).unwrap_or(rest.len());
        let word = &self.text[start..start + length];
        self.at += length;
        if self.peek() == Some('(') {
            let Some(name) = FUNCTIONS.into_iter().find(|name| *name == word) else {
                let why =
                    format!("there is no function {word}(); there are {}", FUNCTIONS.join(", "));
                return self.fail(start, why);
            };
            let call = self.nested(|parser| parser.call(name, start))?;
            return Ok(Operand::Call(call, name));
        }
        match word {
            "true" => Ok(Operand::Literal(Literal::Bool(true))),
            "false" => Ok(Operand::Literal(Literal::Bool(false))),
            "null" => Ok(Operand::Literal(Literal::Null)),
            _ if FUNCTIONS.contains(&word) => self.expected(&format!("'(' right after {word}")),
            _ => {
                let why = format!(
                    "{word:?} is none of true, false and null; a member is written @.name, a string 'text'"
                );
                self.fail(start, why)
            }
        }
    }

    /// `filter-query = rel-query / jsonpath-query`
    fn filter_query(&mut self) -> Parsed<FilterQuery> {
        let start = self.at;
        let origin = if self.take('$') { Origin::Root } else { Origin::Current };
        self.at = start + 1;
        let segments = self.segments()?;
        Ok(FilterQuery { origin, segments, span: self.since(start) })
    }

    /// `function-expr`, from its `(` on
    fn call(&mut self, name: &'static str, start: usize) -> Parsed<Call> {
        self.at += 1;
        let call = match name {
            "length" => {
                let argument = self.value_argument(name, 1, true)?;
                Call::Value(Function::Length(Box::new(argument)))
            }
            "count" => Call::Value(Function::Count(self.nodes_argument(name)?)),
            "value" => Call::Value(Function::Value(self.nodes_argument(name)?)),
            _ => {
                let extent = if name == "match" { Extent::Whole } else { Extent::Part };
                let text = self.value_argument(name, 2, false)?;
                self.blank();
                let at = self.at;
                let expression = match self.value_argument(name, 2, true)? {
                    Comparable::Literal(Literal::String(source)) => {
                        Expression::Fixed(self.compile(&source, extent, at)?)
                    }
                    other => Expression::Computed(other),
                };
                Call::Logical(Match { text, expression, extent, span: self.since(start) })
            }
        };
        Ok(call)
    }

    /// One argument that has to be a value, and what ends it.
    fn value_argument(&mut self, name: &str, arguments: u8, last: bool) -> Parsed<Comparable> {
        self.blank();
        let start = self.at;
        if matches!(self.peek(), Some('!' | '(')) {
            return self.fail(start, logical_argument(name));
        }
        if self.peek() == Some(')') {
            return self.fail(start, takes(name, arguments));
        }
        let operand = self.operand()?;
        let span = self.since(start);
        self.end_of_argument(name, arguments, last)?;
        match operand {
            Operand::Literal(literal) => Ok(Comparable::Literal(literal)),
            Operand::Call(Call::Value(function), _) => Ok(Comparable::Function(function)),
            Operand::Call(Call::Logical(_), _) => self.fail(start, logical_argument(name)),
            Operand::Query(query) => {
                let why = format!("{name}() takes a query that selects one node at most");
                Ok(Comparable::Query(self.singular(&query, span, &why)?))
            }
        }
    }

    /// The only argument, which has to be a query.
    fn nodes_argument(&mut self, name: &str) -> Parsed<FilterQuery> {
        self.blank();
        let start = self.at;
        match self.peek() {
            Some('@' | '$') => {}
            Some(')') => return self.fail(start, takes(name, 1)),
            None => return self.expected("a query"),
            Some(_) => return self.fail(start, format!("{name}() takes a query, such as @.a[*]")),
        }
        let query = self.filter_query()?;
        self.end_of_argument(name, 1, true)?;
        Ok(query)
    }

    /// `S ","` or `S ")"`
    fn end_of_argument(&mut self, name: &str, arguments: u8, last: bool) -> Parsed<()> {
        self.blank();
        match (self.peek(), last) {
            (Some(','), false) | (Some(')'), true) => {
                self.at += 1;
                Ok(())
            }
            (Some(',' | ')'), _) => self.fail(self.at, takes(name, arguments)),
            (Some('=' | '!' | '<' | '>' | '&' | '|'), _) => {
                self.fail(self.at, logical_argument(name))
            }
            (_, true) => self.expected("')'"),
            (_, false) => self.expected("','"),
        }
    }

    fn compile(&mut self, source: &str, extent: Extent, at: usize) -> Parsed<Pattern> {
        let Ok(pattern) = Pattern::compile(source, extent) else {
            return self.fail(at, "the regular expression is too large");
        };
        let weight = pattern.compiled.as_ref().map_or(0, Compiled::weight);
        self.pattern(at, weight)?;
        Ok(pattern)
    }

    /// `test-expr`
    fn test(&self, operand: Operand, at: usize) -> Parsed<Logical> {
        match operand {
            Operand::Query(query) => Ok(Logical::Exists(query)),
            Operand::Call(Call::Logical(matches), _) => Ok(Logical::Match(matches)),
            Operand::Call(Call::Value(_), name) => {
                self.fail(at, format!("{name}() gives a value, which has to be compared"))
            }
            // A word or a number that stands alone is often the beginning of something else.
            Operand::Literal(_) => match self.rest().trim_start_matches(BLANK).chars().next() {
                Some(')' | ']' | ',' | '&' | '|') | None => {
                    self.fail(at, "a literal has to be compared")
                }
                Some(_) => self.expected("a comparison (==, !=, <, <=, >, >=)"),
            },
        }
    }

    fn comparable(&self, operand: Operand, span: Span) -> Parsed<Comparable> {
        match operand {
            Operand::Literal(literal) => Ok(Comparable::Literal(literal)),
            Operand::Call(Call::Value(function), _) => Ok(Comparable::Function(function)),
            Operand::Call(Call::Logical(_), name) => {
                self.fail(span.start, format!("{name}() is true or false; it can't be compared"))
            }
            Operand::Query(query) => {
                let why = "only a query that selects one node at most can be compared";
                Ok(Comparable::Query(self.singular(&query, span, why)?))
            }
        }
    }

    /// `singular-query`
    fn singular(&self, query: &FilterQuery, span: Span, why: &str) -> Parsed<SingularQuery> {
        let mut steps = Vec::with_capacity(query.segments.len());
        for segment in &query.segments {
            let Some(step) = segment.step() else {
                let why = format!("{why}; this segment can select several");
                return self.fail(segment.span.start, why);
            };
            if !self.is_tight(segment) {
                let why = format!(
                    "{why}, and is written without blank space inside of its brackets (RFC 9535 §2.3.5.1)"
                );
                return self.fail(segment.span.start + 1, why);
            }
            steps.push(step);
        }
        Ok(SingularQuery { origin: query.origin, steps, span })
    }

    /// `name-segment` and `index-segment` have no `S` inside of their brackets, unlike `bracketed-selection`.
    fn is_tight(&self, segment: &Segment) -> bool {
        let text = &self.text[segment.span.start..segment.span.end];
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inner) => !inner.starts_with(BLANK) && !inner.ends_with(BLANK),
            None => true,
        }
    }

    /// `comparison-op`
    fn comparison_operator(&mut self) -> Parsed<Option<Operator>> {
        for (text, operator) in [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ] {
            if self.take_text(text) {
                if self.peek() == Some('=') {
                    return self.fail(self.at, "the comparisons are ==, !=, <, <=, > and >=");
                }
                return Ok(Some(operator));
            }
        }
        match self.rest() {
            rest if rest.starts_with("=~") => {
                self.fail(self.at, "a regular expression is tried with match(…) or search(…)")
            }
            rest if rest.starts_with('=') => self.fail(self.at, "'is equal' is written =="),
            _ => Ok(None),
        }
    }

    fn comparison_follows(&self) -> bool {
        let rest = self.rest().trim_start_matches(BLANK);
        rest.starts_with(['=', '<', '>']) || rest.starts_with("!=")
    }

    /// For what ends a logical expression, where people often write what other languages have.
    pub(super) fn expected_in_logical<T>(&self, what: &str) -> Parsed<T> {
        let rest = self.rest();
        match rest {
            _ if rest.starts_with("and") || rest.starts_with('&') => {
                self.fail(self.at, "'and' is written &&")
            }
            _ if rest.starts_with("or") || rest.starts_with('|') => {
                self.fail(self.at, "'or' is written ||")
            }
            _ => self.expected(&format!("'&&', '||', {what}")),
        }
    }
}

fn takes(name: &str, arguments: u8) -> String {
    if arguments == 1 {
        format!("{name}() takes one argument")
    } else {
        format!("{name}() takes two arguments, a value and a regular expression")
    }
}

fn logical_argument(name: &str) -> String {
    format!(
        "{name}() takes a value: a literal, a query that selects one node at most, length(), count() or value()"
    )
}
