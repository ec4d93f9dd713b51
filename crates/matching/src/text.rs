//! Texts that are compared otherwise than byte by byte: without regard to case, and by wildcards.

use std::borrow::Cow;

/// `text` as it is compared where case is ignored: each character by itself to lower case, whatever stands beside
/// it. Two texts are equal but for case when their folds are equal.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Borrowed(text);
        }
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

/// A text in which `*` stands for any run of characters, also for none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wildcard {
    /// What stands before, between and after the stars, unescaped: one more than there are stars.
    pieces: Box<[Box<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWildcard {
    #[error("at byte {at}: two stars beside each other mean what one means; write one")]
    Consecutive { at: usize },
    #[error(
        "at byte {at}: a backslash escapes a star or a backslash (`\\*`, `\\\\`), nothing else"
    )]
    Escape { at: usize },
}

impl Wildcard {
    pub fn parse(text: &str) -> Result<Self, InvalidWildcard> {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '*' => {
                    if chars.peek().is_some_and(|(_, next)| *next == '*') {
                        return Err(InvalidWildcard::Consecutive { at });
                    }
                    pieces.push(std::mem::take(&mut piece).into_boxed_str());
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('*' | '\\'))) => piece.push(escaped),
                    _ => return Err(InvalidWildcard::Escape { at }),
                },
                _ => piece.push(c),
            }
        }
        pieces.push(piece.into_boxed_str());
        Ok(Self { pieces: pieces.into() })
    }

    pub fn stars(&self) -> usize {
        self.pieces.len() - 1
    }

    /// What each text that matches begins with, and ends with.
    pub(crate) fn ends(&self) -> (&str, &str) {
        (&self.pieces[0], &self.pieces[self.pieces.len() - 1])
    }

    pub(crate) fn pieces(&self) -> &[Box<str>] {
        &self.pieces
    }

    /// Each piece is looked for once, left to right: the time is at most the product of the two lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (head, tail) = self.ends();
        if self.stars() == 0 {
            return text == head;
        }
        let Some(mut text) = text.strip_prefix(head) else { return false };
        for piece in &self.pieces[1..self.pieces.len() - 1] {
            match find(text, piece) {
                Some(at) => text = &text[at + piece.len()..],
                None => return false,
            }
        }
        text.ends_with(tail)
    }
}

/// As `str::find`, which takes longer to prepare than a short text takes to be looked through.
fn find(text: &str, piece: &str) -> Option<usize> {
    const SHORT: usize = 64;
    if text.len() > SHORT || piece.is_empty() {
        return text.find(piece);
    }
    text.as_bytes().windows(piece.len()).position(|window| window == piece.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (wildcard, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("Simple*Service", "SimpleQueueService", true),
            ("Simple*Service", "SimpleService", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*b*", "abc", true),
            ("*b*b", "ab", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\*", r"a\xyz", true),
            ("ä*ü", "äöü", true),
        ] {
            assert_eq!(
                Wildcard::parse(wildcard).unwrap().matches(text),
                matches,
                "{wildcard} {text}"
            );
        }
    }

    #[test]
    fn a_bad_wildcard_is_refused_with_the_place() {
        for (wildcard, error) in [
            ("a**b", InvalidWildcard::Consecutive { at: 1 }),
            ("***", InvalidWildcard::Consecutive { at: 0 }),
            (r"ab\", InvalidWildcard::Escape { at: 2 }),
            (r"a\b", InvalidWildcard::Escape { at: 1 }),
        ] {
            assert_eq!(Wildcard::parse(wildcard), Err(error), "{wildcard}");
        }
        assert!(Wildcard::parse(r"*\**").is_ok()); // the middle one is a star itself
    }

    #[test]
    fn case_is_folded_character_by_character() {
        for (a, b, equal) in [
            ("ORDER", "order", true),
            ("Straße", "STRAßE", true),
            ("Straße", "STRASSE", false),
            ("ÄÖÜ", "äöü", true),
            ("ΣΑΣ", "σασ", true), // no final sigma: it depends on what stands beside it
            ("a", "b", false),
        ] {
            assert_eq!(fold(a) == fold(b), equal, "{a} {b}");
        }
    }
}
