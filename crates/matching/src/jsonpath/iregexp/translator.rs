//! Reads an I-Regexp along the grammar of RFC 9485, Figure 1, and writes it for the `regex` crate.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::CharIndices;

use super::{MAX_PATTERN_WEIGHT, NotIRegexp};

/// How deep groups may lie in each other: reading recurses.
const MAX_GROUPS: usize = 32;

pub(super) enum Fault {
    Not(NotIRegexp),
    TooLarge,
}

/// How large an expression is, repetitions written out. A unit of weight is compiled in a microsecond or two
/// (`examples/measure_jsonpath.rs` has the worst).
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) weight: u32,
    pub(super) width: u32,
}

impl Size {
    const ONE: Self = Self { weight: 1, width: 1 };
    /// A class over UTF-8 is a small automaton of its own, of which few states are looked at together.
    const CLASS: Self = Self { weight: 8, width: 4 };
    const RANGE: Self = Self { weight: 2, width: 0 };
    const CATEGORY: Self = Self { weight: 300, width: 4 };

    fn and(self, other: Self) -> Self {
        let weight = self.weight.saturating_add(other.weight);
        Self { weight, width: self.width.saturating_add(other.width) }
    }

    fn times(self, times: u32) -> Self {
        let weight = self.weight.saturating_mul(times);
        Self { weight, width: self.width.saturating_mul(times) }
    }
}

/// Reads RFC 9485's grammar (Figure 1), writes the syntax of `regex`, and adds up the size.
pub(super) struct Translator<'s> {
    source: &'s str,
    rest: Peekable<CharIndices<'s>>,
    /// What is written so far.
    pub(super) text: String,
    groups: usize,
}

impl<'s> Translator<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        let rest = source.char_indices().peekable();
        Self { source, rest, text: String::new(), groups: 0 }
    }

    /// All of it, and how large it is.
    pub(super) fn whole(&mut self) -> Result<Size, Fault> {
        let size = self.branches()?;
        match self.peek() {
            None => Ok(size),
            Some(_) => self.not("a ')' without its '('"), // all else ends up in a piece
        }
    }

    /// `i-regexp = branch *( "|" branch )`, `branch = *piece`
    fn branches(&mut self) -> Result<Size, Fault> {
        let mut size = Size::ONE;
        loop {
            match self.peek() {
                None | Some(')') => return Ok(size),
                Some('|') => {
                    self.rest.next();
                    self.text.push('|');
                    size = size.and(Size::ONE);
                }
                Some(_) => size = size.and(self.piece()?),
            }
        }
    }

    /// `piece = atom [ quantifier ]`
    fn piece(&mut self) -> Result<Size, Fault> {
        let size = self.atom()?;
        match self.peek() {
            Some(sign @ ('*' | '+' | '?')) => {
                self.rest.next();
                self.text.push(sign);
                Ok(size.and(Size::ONE))
            }
            Some('{') => Ok(size.times(self.range()?)),
            _ => Ok(size),
        }
    }

    /// `"{" QuantExact [ "," [ QuantExact ] ] "}"`. How often the atom stands in the automaton.
    fn range(&mut self) -> Result<u32, Fault> {
        let at = self.at();
        self.rest.next();
        let least = self.digits()?;
        let mut most = Some(least);
        if self.take(',') {
            most = if self.peek() == Some('}') { None } else { Some(self.digits()?) };
        }
        if !self.take('}') {
            return self.not("expected '}' after the number of repetitions");
        }
        if most.is_some_and(|most| most < least) {
            let why = "the most repetitions are fewer than the least";
            return Err(Fault::Not(NotIRegexp { at, why }));
        }
        // Before it is written: `regex` refuses numbers that don't fit 32 bits.
        let times = most.unwrap_or(least.saturating_add(1)).max(1);
        if times > MAX_PATTERN_WEIGHT {
            return Err(Fault::TooLarge);
        }
        let _ = match most {
            Some(most) => write!(self.text, "{{{least},{most}}}"),
            None => write!(self.text, "{{{least},}}"),
        };
        Ok(times)
    }

    fn digits(&mut self) -> Result<u32, Fault> {
        let mut value = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.rest.next();
            value = Some(value.unwrap_or(0_u32).saturating_mul(10).saturating_add(digit));
        }
        match value {
            Some(value) => Ok(value),
            None => self.not("expected a number of repetitions"),
        }
    }

    /// `atom = NormalChar / charClass / ( "(" i-regexp ")" )`
    fn atom(&mut self) -> Result<Size, Fault> {
        match self.peek() {
            Some('(') => {
                if self.groups == MAX_GROUPS {
                    return Err(Fault::TooLarge);
                }
                self.groups += 1;
                self.rest.next();
                self.text.push_str("(?:");
                let size = self.branches()?;
                if !self.take(')') {
                    return self.not("expected ')'");
                }
                self.text.push(')');
                self.groups -= 1;
                Ok(size)
            }
            Some('.') => {
                self.rest.next();
                self.text.push_str(r"[^\n\r]");
                Ok(Size::CLASS)
            }
            Some('[') => self.class(),
            Some('\\') => match self.escape()? {
                Escaped::Char(c) => Ok(self.literal(c)),
                Escaped::Category => Ok(Size::CATEGORY),
            },
            Some(c @ ('^' | '$')) => {
                self.rest.next();
                self.text.push(c);
                Ok(Size::ONE)
            }
            Some('*' | '+' | '?' | '{') => self.not(
                "a repetition without anything to repeat; write \\ before the character itself",
            ),
            Some(']' | '}') => {
                self.not("write \\ before ']' and '}' where they stand for themselves")
            }
            Some(c) => {
                self.rest.next();
                Ok(self.literal(c))
            }
            None => self.not("expected a character"),
        }
    }

    /// `"[" [ "^" ] ( "-" / CCE1 ) *CCE1 [ "-" ] "]"`
    fn class(&mut self) -> Result<Size, Fault> {
        self.rest.next();
        self.text.push('[');
        let mut size = Size::CLASS;
        // `[^]` can only be read as the class of that one character.
        if self.peek() == Some('^') && !self.source[self.at()..].starts_with("^]") {
            self.rest.next();
            self.text.push('^');
        }
        let mut first = true;
        loop {
            match self.peek() {
                None => return self.not("expected ']'"),
                Some(']') if !first => {
                    self.rest.next();
                    self.text.push(']');
                    return Ok(size);
                }
                Some('-') => {
                    if !first && !self.source[self.at()..].starts_with("-]") {
                        return self.not(
                            "in brackets '-' stands first, last, or between two characters; else write \\-",
                        );
                    }
                    self.rest.next();
                    self.code('-');
                }
                Some(_) => size = size.and(self.class_item()?),
            }
            first = false;
        }
    }

    /// `CCE1 = ( CCchar [ "-" CCchar ] ) / charClassEsc`
    fn class_item(&mut self) -> Result<Size, Fault> {
        let at = self.at();
        let Some(low) = self.class_char()? else { return Ok(Size::CATEGORY) };
        self.code(low);
        let range = self.peek() == Some('-') && !self.source[self.at()..].starts_with("-]");
        if range {
            self.rest.next();
            let after = self.at();
            match self.class_char()? {
                Some(high) if low <= high => {
                    self.text.push('-');
                    self.code(high);
                }
                Some(_) => {
                    let why = "the range begins after its end";
                    return Err(Fault::Not(NotIRegexp { at, why }));
                }
                None => {
                    let why = "a range ends with a character, not with a category";
                    return Err(Fault::Not(NotIRegexp { at: after, why }));
                }
            }
        }
        Ok(Size::RANGE)
    }

    /// A character, or `None` after a category, which is written already.
    fn class_char(&mut self) -> Result<Option<char>, Fault> {
        match self.peek() {
            Some('\\') => match self.escape()? {
                Escaped::Char(c) => Ok(Some(c)),
                Escaped::Category => Ok(None),
            },
            Some('-' | '[' | ']') => self.not("write \\ before '-', '[' and ']' in brackets"),
            Some(c) => {
                self.rest.next();
                Ok(Some(c))
            }
            None => self.not("expected ']'"),
        }
    }

    fn escape(&mut self) -> Result<Escaped, Fault> {
        self.rest.next();
        let c = match self.peek() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('('..='+' | '-' | '.' | '?' | '['..='^' | '{'..='}')) => c,
            Some('p' | 'P') => return self.category(),
            _ => {
                return self.not(
                    "expected one of n r t p P ( ) * + - . ? [ \\ ] ^ { | } after \\ \
                     (a digit is [0-9] or \\p{Nd}, a letter \\p{L}, blank space [ \\t\\n\\r])",
                );
            }
        };
        self.rest.next();
        Ok(Escaped::Char(c))
    }

    /// `\p{Lu}` and the like.
    fn category(&mut self) -> Result<Escaped, Fault> {
        let rest = &self.source[self.at()..];
        let name = rest.get(1..).and_then(|rest| rest.strip_prefix('{'));
        let name = name.and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
        match name {
            Some(name) if CATEGORIES.contains(&name) => {
                self.text.push('\\');
                self.text.push_str(&rest[..name.len() + 3]);
                for _ in 0..name.len() + 3 {
                    self.rest.next();
                }
                Ok(Escaped::Category)
            }
            _ => {
                self.not("expected a general category of Unicode, as in \\p{L}, \\p{Lu} or \\P{Nd}")
            }
        }
    }

    fn literal(&mut self, c: char) -> Size {
        self.code(c);
        Size::ONE
    }

    /// One character that stands for itself.
    fn code(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.text.push(c);
        } else {
            let _ = write!(self.text, "\\x{{{:x}}}", u32::from(c)); // a String takes everything
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.rest.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn take(&mut self, c: char) -> bool {
        self.rest.next_if(|(_, found)| *found == c).is_some()
    }

    fn not<T>(&mut self, why: &'static str) -> Result<T, Fault> {
        Err(Fault::Not(NotIRegexp { at: self.at(), why }))
    }
}

enum Escaped {
    Char(char),
    /// Written already.
    Category,
}

/// RFC 9485, `IsCategory`. `Cs` is missing: there are no surrogates in a string.
pub(super) const CATEGORIES: [&str; 36] = [
    "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Z", "Zl", "Zp", "Zs", "S", "Sc", "Sk", "Sm", "So", "C",
    "Cc", "Cf", "Cn", "Co",
];
