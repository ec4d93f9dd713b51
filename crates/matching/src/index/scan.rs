//! A lexer over JSON text that skips what nobody asks for, without building anything.
//!
//! What is skipped is still checked: it has JSON's grammar (RFC 8259), and is nested less than [`MAX_DEPTH`] deep. Only
//! what can't be known without looking is not: whether an escaped surrogate has its other half, and whether a number
//! fits a double. `serde_json` accepts nothing that is refused here.

#![expect(
    clippy::inline_always,
    reason = "measured: a call for each token, with what it answers in memory, takes half as long again"
)]

use super::quoted::Quoted;

/// Arrays and objects within each other: as many as `serde_json` reads, so that no stack overflows.
pub(crate) const MAX_DEPTH: usize = 127;

/// Why it can't be decided which rules a payload matches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the payload: {why}")]
pub struct Undecidable {
    pub at: usize,
    pub why: &'static str,
}

/// A payload. Where in it one is, whoever reads it knows: what stays in a register is read faster than what is changed
/// in memory at each byte.
#[derive(Clone, Copy)]
pub(crate) struct Text<'p>(&'p str);

pub(crate) fn refuse<T>(at: usize, why: &'static str) -> Result<T, Undecidable> {
    #[cold]
    fn undecidable(at: usize, why: &'static str) -> Undecidable {
        Undecidable { at, why }
    }
    Err(undecidable(at, why))
}

impl<'p> Text<'p> {
    pub(crate) fn new(payload: &'p [u8]) -> Result<Self, Undecidable> {
        match std::str::from_utf8(payload) {
            Ok(text) => Ok(Self(text)),
            Err(error) => refuse(error.valid_up_to(), "this is not UTF-8"),
        }
    }

    /// Where the next byte is that is not white space, and the byte; 0 at the end, which is as good as any byte that
    /// nothing begins with.
    #[inline(always)]
    pub(crate) fn next(self, at: usize) -> (usize, u8) {
        match self.0.as_bytes().get(at) {
            Some(byte) if *byte > b' ' => (at, *byte),
            _ => self.next_past_space(at),
        }
    }

    #[inline(never)]
    fn next_past_space(self, at: usize) -> (usize, u8) {
        let rest = self.0.as_bytes().iter().enumerate().skip(at);
        let next = rest
            .map(|(at, byte)| (at, *byte))
            .find(|(_, byte)| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r'));
        next.unwrap_or((self.0.len(), 0))
    }

    /// After the value of all.
    pub(crate) fn end(self, at: usize) -> Result<(), Undecidable> {
        let (at, _) = self.next(at);
        if at == self.0.len() { Ok(()) } else { refuse(at, "there is something after the value") }
    }

    /// Between members or elements: how it goes on, and whether another one comes. `first` if none has come yet.
    #[inline(always)]
    pub(crate) fn more(
        self,
        at: usize,
        close: u8,
        first: bool,
    ) -> Result<(usize, bool), Undecidable> {
        let (at, byte) = self.next(at);
        if byte == b',' && !first {
            Ok((at + 1, true))
        } else if byte == close {
            Ok((at + 1, false))
        } else if first {
            Ok((at, true))
        } else {
            refuse(at, "here should be a comma, or the end of the array or object")
        }
    }

    /// A member's name, and the colon.
    #[inline(always)]
    pub(crate) fn name(self, at: usize) -> Result<(usize, Quoted<'p>), Undecidable> {
        let (at, byte) = self.next(at);
        if byte != b'"' {
            return refuse(at, "here should be a member's name");
        }
        let (at, name) = self.string(at)?;
        let (at, byte) = self.next(at);
        if byte != b':' {
            return refuse(at, "here should be a colon");
        }
        Ok((at + 1, name))
    }

    /// At a quote.
    #[inline(always)]
    pub(crate) fn string(self, at: usize) -> Result<(usize, Quoted<'p>), Undecidable> {
        Quoted::at(self.0, at)
    }

    /// At a digit or a minus.
    #[inline]
    pub(crate) fn number(self, at: usize) -> Result<(usize, &'p str), Undecidable> {
        let bytes = self.0.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let start = at;
        let whole = start + usize::from(bytes.get(start) == Some(&b'-'));
        let mut at = digits(whole);
        let leading_zero = bytes.get(whole) == Some(&b'0') && at > whole + 1;
        let mut good = at > whole && !leading_zero;
        if let Some(b'.') = bytes.get(at) {
            let fraction = at + 1;
            at = digits(fraction);
            good &= at > fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = at + 1 + sign;
            at = digits(exponent);
            good &= at > exponent;
        }
        if good { Ok((at, &self.0[start..at])) } else { refuse(start, "this is no number") }
    }

    pub(crate) fn literal(self, at: usize, literal: &'static str) -> Result<usize, Undecidable> {
        if self.0.as_bytes()[at..].starts_with(literal.as_bytes()) {
            return Ok(at + literal.len());
        }
        refuse(at, "here should be a value")
    }

    /// Past a value at this depth.
    #[inline(always)]
    pub(crate) fn skip(self, at: usize, depth: usize) -> Result<usize, Undecidable> {
        let (at, byte) = self.next(at);
        match byte {
            b'"' => Ok(self.string(at)?.0),
            b'{' | b'[' => self.skip_structured(at, depth),
            _ => self.skip_scalar(at, byte),
        }
    }

    /// Past what is no string.
    fn skip_scalar(self, at: usize, byte: u8) -> Result<usize, Undecidable> {
        match byte {
            b'-' | b'0'..=b'9' => Ok(self.number(at)?.0),
            b't' => self.literal(at, "true"),
            b'f' => self.literal(at, "false"),
            b'n' => self.literal(at, "null"),
            _ => refuse(at, "here should be a value"),
        }
    }

    /// Past an array or object.
    fn skip_structured(self, mut at: usize, depth: usize) -> Result<usize, Undecidable> {
        // Of each array and object that is open, whether it is an object: the innermost is the lowest bit.
        let mut objects: u128 = 0;
        let mut open = 0;
        loop {
            let (start, byte) = self.next(at);
            at = match byte {
                b'"' => self.string(start)?.0,
                b'{' | b'[' => {
                    let inner = enter(start, depth + open)?;
                    let object = byte == b'{';
                    objects = objects << 1 | u128::from(object);
                    open += 1;
                    let (after, more) = self.more(inner, if object { b'}' } else { b']' }, true)?;
                    if more {
                        at = if object { self.name(after)?.0 } else { after };
                        continue;
                    }
                    objects >>= 1;
                    open -= 1;
                    after
                }
                _ => self.skip_scalar(start, byte)?,
            };
            // Past what ends with this value.
            loop {
                if open == 0 {
                    return Ok(at);
                }
                let object = objects & 1 == 1;
                let (after, more) = self.more(at, if object { b'}' } else { b']' }, false)?;
                at = after;
                if more {
                    if object {
                        at = self.name(at)?.0;
                    }
                    break;
                }
                objects >>= 1;
                open -= 1;
            }
        }
    }
}

/// Into the array or object that begins here, at this depth.
pub(crate) fn enter(at: usize, depth: usize) -> Result<usize, Undecidable> {
    if depth >= MAX_DEPTH {
        return refuse(at, "arrays and objects are nested too deep");
    }
    Ok(at + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn skipped(text: &str) -> Result<(), Undecidable> {
        let text = Text::new(text.as_bytes())?;
        text.end(text.skip(0, 0)?)
    }

    #[test]
    fn what_is_skipped_is_json() {
        for text in [
            "0",
            "-0",
            "1",
            "-12.5e+10",
            "1E5",
            "0.5",
            "\"\"",
            "\"a\\u00e9\\n\\/\"",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            " [ 1 , [ ] , { } ] ",
            "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
            "\"ä long string, 16+ bytes: ü\"",
            "[1,2]\n",
        ] {
            assert_eq!(skipped(text), Ok(()), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
        for text in [
            "",
            " ",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "NaN",
            "tru",
            "truee",
            "nul",
            "'a'",
            "\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\"eight bytes \u{1}\"",
            "[",
            "]",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "{,}",
            "1 2",
            "[]]",
            "{1:2}",
            "\u{feff}1",
        ] {
            assert!(skipped(text).is_err(), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_as_serde_json_bounds_it() {
        for (depth, good) in [(127, true), (128, false), (100_000, false)] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(skipped(&text).is_ok(), good, "{depth}");
            assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), good, "{depth}");
        }
    }

    #[test]
    fn bytes_are_utf_8() {
        assert_eq!(Text::new(b"\"\xff\"").err().map(|error| error.at), Some(1));
    }
}
