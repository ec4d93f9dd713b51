//! A lexer over JSON text that skips what nobody asks for, without building anything.
//!
//! What is skipped is still checked: it has JSON's grammar (RFC 8259), and is nested less than [`MAX_DEPTH`] deep. Only
//! what can't be known without looking is not: whether an escaped surrogate has its other half, and whether a number
//! fits a double. `serde_json` accepts nothing that is refused here.

use std::borrow::Cow;

/// Arrays and objects within each other: as many as `serde_json` reads, so that no stack overflows.
pub(crate) const MAX_DEPTH: usize = 127;

/// Why it can't be decided which rules a payload matches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the payload: {why}")]
pub struct Undecidable {
    pub at: usize,
    pub why: &'static str,
}

pub(crate) struct Cursor<'p> {
    text: &'p str,
    at: usize,
}

/// A string between its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'p> {
    text: &'p str,
    at: usize,
    escaped: bool,
}

impl<'p> Cursor<'p> {
    pub(crate) fn new(payload: &'p [u8]) -> Result<Self, Undecidable> {
        match std::str::from_utf8(payload) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(Undecidable { at: error.valid_up_to(), why: "this is not UTF-8" }),
        }
    }

    pub(crate) fn refuse<T>(&self, why: &'static str) -> Result<T, Undecidable> {
        Err(Undecidable { at: self.at, why })
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    pub(crate) fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Undecidable> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.refuse(why)
    }

    pub(crate) fn end(&mut self) -> Result<(), Undecidable> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.refuse("there is something after the value"),
        }
    }

    /// Between members or elements: whether another one comes. `first` if none has come yet.
    pub(crate) fn more(&mut self, close: u8, first: bool) -> Result<bool, Undecidable> {
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => self.refuse("here should be a comma, or the end of the array or object"),
        }
    }

    /// A member's name, and the colon.
    pub(crate) fn name(&mut self) -> Result<Raw<'p>, Undecidable> {
        if self.peek() != Some(b'"') {
            return self.refuse("here should be a member's name");
        }
        let name = self.string()?;
        self.expect(b':', "here should be a colon")?;
        Ok(name)
    }

    /// At a quote.
    pub(crate) fn string(&mut self) -> Result<Raw<'p>, Undecidable> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = special(bytes, at);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += escape(bytes, at)
                        .ok_or(Undecidable { at, why: "there is no such escape" })?;
                }
                Some(_) => {
                    return Err(Undecidable {
                        at,
                        why: "a control character in a string is escaped",
                    });
                }
                None => return Err(Undecidable { at, why: "a string has no end" }),
            }
        }
        self.at = at + 1;
        Ok(Raw { text: &self.text[start..at], at: start, escaped })
    }

    /// At a digit or a minus.
    pub(crate) fn number(&mut self) -> Result<&'p str, Undecidable> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let whole = digits(at);
        let leading_zero = bytes.get(at) == Some(&b'0') && whole > at + 1;
        let mut good = whole > at && !leading_zero;
        at = whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            good &= fraction > at + 1;
            at = fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at + 1 + sign);
            good &= exponent > at + 1 + sign;
            at = exponent;
        }
        if !good {
            return self.refuse("this is no number");
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    pub(crate) fn literal(&mut self, literal: &'static str) -> Result<(), Undecidable> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            return Ok(());
        }
        self.refuse("here should be a value")
    }

    /// Past a value at this depth.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), Undecidable> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                self.enter(depth)?;
                let mut first = true;
                while self.more(b'}', first)? {
                    first = false;
                    self.name()?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.enter(depth)?;
                let mut first = true;
                while self.more(b']', first)? {
                    first = false;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ => self.refuse("here should be a value"),
        }
    }

    /// Into the array or object that was peeked at.
    pub(crate) fn enter(&mut self, depth: usize) -> Result<(), Undecidable> {
        if depth >= MAX_DEPTH {
            return self.refuse("arrays and objects are nested too deep");
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }
}

/// The next byte that ends or interrupts a string: a quote, a backslash or a control character. Eight at a time.
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // Sets the top bit of each byte that is zero; of those above the first one perhaps of more.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero(word ^ (ONES * 0x22));
        let backslash = zero(word ^ (ONES * 0x5C));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let found = quote | backslash | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1F)) {
        at += 1;
    }
    at
}

/// How long the escape is that begins at this backslash.
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

impl<'p> Raw<'p> {
    pub(crate) fn read(self) -> Result<Cow<'p, str>, Undecidable> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.text));
        }
        let mut read = String::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some(at) = rest.find('\\') {
            read.push_str(&rest[..at]);
            let (c, length) = unescape(&rest[at..]).ok_or(Undecidable {
                at: self.at,
                why: "a surrogate in a string lacks its other half",
            })?;
            read.push(c);
            rest = &rest[at + length..];
        }
        read.push_str(rest);
        Ok(Cow::Owned(read))
    }
}

/// What the escapes at the start stand for, and how long they are. `None` for half a surrogate pair.
fn unescape(text: &str) -> Option<(char, usize)> {
    let c = match text.as_bytes().get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = |at: usize| u32::from_str_radix(text.get(at..at + 4)?, 16).ok();
            let high = unit(2)?;
            if let Some(c) = char::from_u32(high) {
                return Some((c, 6));
            }
            // RFC 8259 §7: two escapes, a high and a low surrogate.
            let low = text.get(6..8).filter(|escape| *escape == "\\u").and_then(|_| unit(8))?;
            if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
                return None;
            }
            return char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
                .map(|c| (c, 12));
        }
        other => char::from(*other),
    };
    Some((c, 2))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn skipped(text: &str) -> Result<(), Undecidable> {
        let mut cursor = Cursor::new(text.as_bytes())?;
        cursor.skip(0)?;
        cursor.end()
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
    fn strings_are_read_as_serde_json_reads_them() {
        for text in [
            r#""""#,
            r#""plain""#,
            r#""a\"b\\c\/d\b\f\n\r\t""#,
            r#""\u0041\u00e4\u20AC""#,
            r#""\ud83d\ude00!""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\ud83dx""#,
            r#""ä\u0000ö""#,
            r#""\ud83d\n""#,
            r#""\ud83d\ud83d\ude00""#,
        ] {
            let mut cursor = Cursor::new(text.as_bytes()).unwrap();
            let read = cursor.string().unwrap().read().ok().map(Cow::into_owned);
            assert_eq!(read, serde_json::from_str::<String>(text).ok(), "{text}");
        }
    }

    #[test]
    fn bytes_are_utf_8() {
        assert_eq!(Cursor::new(b"\"\xff\"").err().map(|error| error.at), Some(1));
    }
}
