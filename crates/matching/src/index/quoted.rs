//! JSON's strings: where one ends, and what it says.

#![expect(clippy::inline_always, reason = "as in scan.rs")]

use std::borrow::Cow;

use super::names::head;
use super::scan::Undecidable;

/// A string in a payload, between its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'p> {
    payload: &'p str,
    /// Of its first byte, and of the quote that ends it.
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'p> Quoted<'p> {
    /// What begins at a quote: how the payload goes on, and the string.
    #[inline(always)]
    pub(crate) fn at(payload: &'p str, quote: usize) -> Result<(usize, Self), Undecidable> {
        let start = quote + 1;
        // Most are short, and have nothing to stop at but their end.
        if let Some(chunk) = chunk(payload.as_bytes(), start) {
            let first = special(chunk);
            if chunk.get(first) == Some(&b'"') {
                let end = start + first;
                return Ok((end + 1, Self { payload, start, end, escaped: false }));
            }
        }
        let (end, escaped) = end(payload.as_bytes(), start)?;
        Ok((end + 1, Self { payload, start, end, escaped }))
    }

    /// Its text as it stands there; as it is meant, if there are no escapes.
    #[inline]
    fn written(self) -> &'p str {
        &self.payload[self.start..self.end]
    }

    #[inline]
    pub(crate) fn read(self) -> Result<Cow<'p, str>, Undecidable> {
        if self.escaped { self.unescaped().map(Cow::Owned) } else { Ok(self.written().into()) }
    }

    /// The [head](super::names::head) of what it says.
    #[inline]
    pub(crate) fn head(self) -> Result<u64, Undecidable> {
        if self.escaped {
            return self.unescaped().map(|name| head(name.as_bytes()));
        }
        let length = self.end - self.start;
        // What stands behind a short name is read with it: mostly there is something.
        match self.payload.as_bytes().get(self.start..).and_then(<[u8]>::first_chunk) {
            Some(first) if length < 8 => {
                Ok(u64::from_le_bytes(*first) & !(u64::MAX << (8 * length)))
            }
            Some(first) => Ok(u64::from_le_bytes(*first)),
            None => Ok(head(self.written().as_bytes())),
        }
    }

    #[cold]
    fn unescaped(self) -> Result<String, Undecidable> {
        let mut rest = self.written();
        let mut read = String::with_capacity(rest.len());
        while let Some(at) = rest.find('\\') {
            read.push_str(&rest[..at]);
            let (c, length) = unescape(&rest[at..]).ok_or(Undecidable {
                at: self.start,
                why: "a surrogate in a string lacks its other half",
            })?;
            read.push(c);
            rest = &rest[at + length..];
        }
        read.push_str(rest);
        Ok(read)
    }
}

/// Where the string ends whose first byte is at `at`, and whether it has escapes.
#[inline(never)]
fn end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Undecidable> {
    let mut escaped = false;
    loop {
        while let Some(chunk) = chunk(bytes, at) {
            let first = special(chunk);
            at += first;
            if first < CHUNK {
                break;
            }
        }
        while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1F)) {
            at += 1;
        }
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                escaped = true;
                at +=
                    escape(bytes, at).ok_or(Undecidable { at, why: "there is no such escape" })?;
            }
            Some(_) => {
                return Err(Undecidable { at, why: "a control character in a string is escaped" });
            }
            None => return Err(Undecidable { at, why: "a string has no end" }),
        }
    }
}

/// What is looked at at once: nearly all names are shorter.
const CHUNK: usize = 16;

#[inline]
fn chunk(bytes: &[u8], at: usize) -> Option<&[u8; CHUNK]> {
    bytes.get(at..)?.first_chunk()
}

/// The first byte that ends or interrupts a string: a quote, a backslash or a control character. [`CHUNK`], if there
/// is none.
#[inline]
fn special(chunk: &[u8; CHUNK]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // Sets the top bit of each byte that is special; of those above the first one perhaps of more.
    let special = |word: u64| {
        let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * 0x5C)).wrapping_sub(ONES);
        let control = word.wrapping_sub(ONES * 0x20);
        (quote | backslash | control) & !word & TOPS
    };
    let both = u128::from_le_bytes(*chunk);
    #[expect(clippy::cast_possible_truncation, reason = "a half each")]
    let (low, high) = (special(both as u64), special((both >> 64) as u64));
    (u128::from(low) | u128::from(high) << 64).trailing_zeros() as usize / 8
}

/// How long the escape is that begins at this backslash.
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
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
    use super::*;

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
            let (after, string) = Quoted::at(text, 0).unwrap();
            assert_eq!(after, text.len());
            let read = string.read().ok().map(Cow::into_owned);
            assert_eq!(read, serde_json::from_str::<String>(text).ok(), "{text}");
        }
    }

    #[test]
    fn a_string_ends_where_its_bytes_say() {
        for length in 0..40 {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'x'; length];
                text.push(byte);
                text.extend([b'"'; CHUNK + 1]);
                let chunk = chunk(&text, 0).unwrap();
                let one_by_one =
                    chunk.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
                assert_eq!(special(chunk), one_by_one.unwrap_or(CHUNK), "{text:?}");
                let expected = match byte {
                    b'"' => Ok((length, false)),
                    b'\\' => Ok((length + 2, true)),
                    0..=0x1F => Err(length),
                    _ => Ok((length + 1, false)),
                };
                assert_eq!(end(&text, 0).map_err(|error| error.at), expected, "{text:?}");
            }
        }
    }
}
