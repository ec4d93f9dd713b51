//! Normalized paths (RFC 9535 §2.7): the one way to write where a node is.

use std::fmt::{self, Write};

use serde_json::Value;

/// A node and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<'v> {
    pub path: NormalizedPath<'v>,
    pub node: &'v Value,
}

/// From the root down. Its `Display` is the text, as in `$['orders'][0]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalizedPath<'v>(pub(super) Vec<Element<'v>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element<'v> {
    Name(&'v str),
    Index(usize),
}

impl<'v> NormalizedPath<'v> {
    pub fn elements(&self) -> &[Element<'v>] {
        &self.0
    }
}

impl fmt::Display for NormalizedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('$')?;
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "[{}]", Quoted(name)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A string in single quotes, escaped as a normalized path asks.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        for c in self.0.chars() {
            match c {
                '\u{8}' => f.write_str("\\b")?,
                '\t' => f.write_str("\\t")?,
                '\n' => f.write_str("\\n")?,
                '\u{c}' => f.write_str("\\f")?,
                '\r' => f.write_str("\\r")?,
                '\'' => f.write_str("\\'")?,
                '\\' => f.write_str("\\\\")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('\'')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_in_one_way() {
        // RFC 9535, Table 20, and the escapes of §2.7.
        for (elements, text) in [
            (vec![], "$"),
            (vec![Element::Name("a")], "$['a']"),
            (vec![Element::Index(1)], "$[1]"),
            (vec![Element::Name("a"), Element::Name("b"), Element::Index(1)], "$['a']['b'][1]"),
            (vec![Element::Name("\u{b}")], r"$['\u000b']"),
            (vec![Element::Name("'\\\"")], r#"$['\'\\"']"#),
            (vec![Element::Name("\u{8}\t\n\u{c}\r")], r"$['\b\t\n\f\r']"),
            (vec![Element::Name("\u{7f}ü☺\u{1f}")], "$['\u{7f}ü☺\\u001f']"),
        ] {
            assert_eq!(NormalizedPath(elements).to_string(), text);
        }
    }
}
