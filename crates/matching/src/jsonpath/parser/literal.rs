//! Strings and numbers.

use super::{Parsed, Parser};
use crate::jsonpath::ast::Literal;
use crate::jsonpath::number::Number;

impl Parser<'_> {
    /// `number = (int / "-0") [ frac ] [ exp ]`
    pub(super) fn number(&mut self) -> Parsed<Literal> {
        let start = self.at;
        self.digits_of_integer()?;
        if self.take('.') {
            self.digits("a digit after the decimal point")?;
        }
        if self.take('e') || self.take('E') {
            let _ = self.take('-') || self.take('+');
            self.digits("a digit of the exponent")?;
        }
        match Number::read(&self.text[start..self.at]) {
            Some(number) => Ok(Literal::Number(number)),
            None => self.fail(start, "expected a number"),
        }
    }

    /// `int / "-0"`: no leading zeros.
    pub(super) fn digits_of_integer(&mut self) -> Parsed<()> {
        self.take('-');
        if self.take('0') {
            return match self.peek() {
                Some('0'..='9') => self.fail(self.at, "a number has no leading zeros"),
                _ => Ok(()),
            };
        }
        self.digits("a digit")
    }

    fn digits(&mut self, what: &str) -> Parsed<()> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if length == 0 {
            return self.expected(what);
        }
        self.at += length;
        Ok(())
    }

    /// `string-literal`, unescaped
    pub(super) fn string(&mut self) -> Parsed<String> {
        let start = self.at;
        let quote = if self.take('\'') { '\'' } else { '"' };
        self.at = start + 1;
        let mut string = String::new();
        loop {
            match self.peek() {
                None => {
                    let why = format!(
                        "expected {quote}, which ends the string that begins at byte {start}; found the end of the query"
                    );
                    return self.fail(self.at, why);
                }
                Some('\\') => string.push(self.escape(quote)?),
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(c) if c < ' ' => {
                    let why = format!(
                        "a control character in a string is written \\u{:04x}",
                        u32::from(c)
                    );
                    return self.fail(self.at, why);
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    string.push(c);
                }
            }
        }
    }

    /// `ESC escapable`, or the quote that surrounds the string
    fn escape(&mut self, quote: char) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let c = match self.peek() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('/' | '\\')) => c,
            Some(c) if c == quote => c,
            Some('u') => return self.unicode_escape(start),
            Some(c @ ('\'' | '"')) => {
                let why = format!("{c} is not escaped in a string that {quote} surrounds");
                return self.fail(start, why);
            }
            _ => {
                let why = format!(
                    "after \\ in a string comes one of b f n r t / \\ {quote}, or u and four hexadecimal digits"
                );
                return self.fail(start, why);
            }
        };
        self.at += 1;
        Ok(c)
    }

    /// `%x75 hexchar`: a code point, or two surrogates that make one
    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let first = self.hexadecimal()?;
        let code = match first {
            0xd800..0xdc00 => {
                let low = if self.rest().starts_with("\\u") {
                    self.at += 1;
                    self.hexadecimal()?
                } else {
                    0
                };
                if !(0xdc00..0xe000).contains(&low) {
                    let why = "a high surrogate is followed by a low one, \\udc00 to \\udfff";
                    return self.fail(start, why);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)
            }
            code => code,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail(start, "a low surrogate follows a high one, \\ud800 to \\udbff"),
        }
    }

    /// The `u` and its four digits.
    fn hexadecimal(&mut self) -> Parsed<u32> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.expected("four hexadecimal digits after \\u"),
            }
            self.at += 1;
        }
        Ok(code)
    }
}
