//! I-Regexp (RFC 9485), the regular expressions of `match` and `search`.
//!
//! An expression is checked against the RFC's grammar, letter by letter, and written anew for the `regex` crate,
//! which matches in time linear in the text. So nothing that `regex` adds (`\d`, `(?i)`, `a*?`, `[a&&b]`) gets
//! through, and `.` is what RFC 9485 says: anything but a line feed or a carriage return.
//!
//! In RFC 9485's grammar `^` and `$` are ordinary characters, in its mappings to engines (§5) they become the
//! engine's anchors, and the compliance test suite of RFC 9535 expects anchors. Here they are anchors, wherever
//! they stand outside of brackets.
//!
//! An expression that is not an I-Regexp is no error of the query: it matches nothing (RFC 9535 §2.4.6). One that is
//! too large is refused.

mod translator;

use regex::{Regex, RegexBuilder};

use self::translator::{Fault, Size, Translator};
use super::ast::Extent;

/// How large an expression may be, in about as many states of an automaton.
pub const MAX_PATTERN_WEIGHT: u32 = 2_000;
/// Memory of one compiled expression, in bytes. What is below the weight stays below this; it is here in case that the
/// estimate is wrong.
const MAX_COMPILED: usize = 1 << 20;
/// Memory of the automaton that is built while matching, in bytes, for each thread and direction. What doesn't fit is
/// built anew or done without: slower, and counted so.
const MAX_AUTOMATON: usize = 1 << 18;

/// An expression out of a query, and what became of it.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub source: String,
    /// The reason why it matches nothing, and the byte within `source`, where it isn't an I-Regexp.
    pub compiled: Result<Compiled, NotIRegexp>,
}

#[derive(Clone, Debug)]
pub struct Compiled {
    regex: Regex,
    size: Size,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an I-Regexp (RFC 9485), at byte {at}: {why}")]
pub struct NotIRegexp {
    pub at: usize,
    pub why: &'static str,
}

/// The expression is larger than a matcher will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Pattern {
    pub(super) fn compile(source: &str, extent: Extent) -> Result<Self, TooLarge> {
        let compiled = Compiled::new(source, extent)?;
        Ok(Self { source: source.to_owned(), compiled })
    }
}

impl Compiled {
    pub(super) fn new(source: &str, extent: Extent) -> Result<Result<Self, NotIRegexp>, TooLarge> {
        let mut translator = Translator::new(source);
        let size = match translator.whole() {
            Ok(size) if size.weight <= MAX_PATTERN_WEIGHT => size,
            Ok(_) | Err(Fault::TooLarge) => return Err(TooLarge),
            Err(Fault::Not(not)) => return Ok(Err(not)),
        };
        let text = match extent {
            Extent::Whole => format!(r"\A(?:{})\z", translator.text),
            Extent::Part => translator.text,
        };
        let regex = RegexBuilder::new(&text)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_AUTOMATON)
            .build()
            .map_err(|_| TooLarge)?;
        Ok(Ok(Self { regex, size }))
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// What it takes to compile and keep it, in about as many states of an automaton.
    pub(super) fn weight(&self) -> u32 {
        self.size.weight
    }

    /// What a match takes at worst for each byte of the text: the states that may be looked at.
    pub(super) fn width(&self) -> u32 {
        self.size.width
    }
}

#[cfg(test)]
mod tests {
    use super::translator::CATEGORIES;
    use super::*;

    fn compiled(source: &str, extent: Extent) -> Result<Compiled, NotIRegexp> {
        Compiled::new(source, extent).unwrap()
    }

    #[test]
    fn the_whole_string_is_matched_or_a_part() {
        // expression, text, match, search
        for (source, text, whole, part) in [
            ("", "", true, true),
            ("", "a", false, true),
            ("a", "ba", false, true),
            ("a|ab", "ab", true, true),
            ("a|", "", true, true),
            ("(a|b)c", "bc", true, true),
            ("()", "", true, true),
            ("a{2}", "aa", true, true),
            ("a{2}", "aaa", false, true),
            ("a{0}", "", true, true),
            ("a{1,2}", "aaa", false, true),
            ("a{2,}", "aaa", true, true),
            ("a{2,}", "a", false, false),
            (".", "\n", false, false),
            (".", "\r", false, false),
            (".", "\u{2028}", true, true),
            (".", "\u{85}", true, true),
            (".", "𐄁", true, true),
            ("[^a]", "\n", true, true),
            ("a.b", "a\nb", false, false),
            ("a$", "a\n", false, false),
            ("^ab$", "ab", true, true),
            ("^b", "ab", false, false),
            ("a\nb", "a\nb", true, true),
            (r"\p{L}+", "Straße", true, true),
            (r"\p{Lu}", "ä", false, false),
            (r"\P{Lu}", "ä", true, true),
            (r"[\p{Lu}\p{Nd}_-]+", "Ä9_-", true, true),
            (r"[^\P{L}]", "é", true, true),
            ("[-a]", "-", true, true),
            ("[a-]", "-", true, true),
            ("[-]", "-", true, true),
            ("[--]", "-", true, true),
            ("[^-]", "-", false, false),
            ("[^]", "^", true, true),
            ("[a^]", "^", true, true),
            (r"[\^]", "^", true, true),
            (r"[\-x]", "-", true, true),
            (r"[+--]", "-", false, false), // see below: a range can't end with a bare '-'
            (r"[+-\-]", ",", true, true),
            ("[.]", "a", false, false),
            ("[a&&b]", "&", true, true),
            ("[a~~b]", "~", true, true),
            ("[$(*+.?{|}]", "{", true, true),
            (r"\t\n\r", "\t\n\r", true, true),
            (r"\(\)\*\+\-\.\?\[\\\]\^\{\|\}", r"()*+-.?[\]^{|}", true, true),
            ("<\"'#&~`@/!%,:;=>_ -", "<\"'#&~`@/!%,:;=>_ -", true, true),
            ("x y # z", "x y # z", true, true),
        ] {
            let says = |extent| compiled(source, extent).is_ok_and(|regex| regex.is_match(text));
            assert_eq!(says(Extent::Whole), whole, "match {source:?} {text:?}");
            assert_eq!(says(Extent::Part), part, "search {source:?} {text:?}");
        }
    }

    #[test]
    fn what_is_not_an_i_regexp_is_named_with_its_place() {
        for (source, at) in [
            (r"\d", 1),
            (r"a\w", 2),
            (r"\s", 1),
            (r"\b", 1),
            (r"\1", 1),
            (r"(a)\1", 4),
            (r"\x41", 1),
            (r"\u0041", 1),
            (r"\$", 1),
            (r"\/", 1),
            (r"\", 1),
            ("(?i)a", 1),
            ("(?:a)", 1),
            ("(?=a)", 1),
            ("(?!a)", 1),
            ("(?<=a)", 1),
            ("(?P<n>a)", 1),
            ("a*?", 2),
            ("a++", 2),
            ("a**", 2),
            ("a{2}{3}", 4),
            ("*a", 0),
            ("+", 0),
            ("a|?", 2),
            ("a{", 2),
            ("a{,3}", 2),
            ("a{1", 3),
            ("a{1,", 4),
            ("a{ 1}", 2),
            ("a{2,1}", 1),
            ("{", 0),
            ("}", 0),
            ("]", 0),
            ("(", 1),
            ("a)", 1),
            ("(a", 2),
            ("[", 1),
            ("[]", 1),
            ("[^", 2),
            ("[]a]", 1),
            ("[a", 2),
            ("[z-a]", 1),
            ("[a-c-e]", 4),
            ("[---]", 2),
            ("[+--]", 3),
            (r"[\p{L}-z]", 6),
            (r"[a-\p{L}]", 3),
            ("[a-z-[aeiou]]", 4),
            ("[[:alpha:]]", 1),
            (r"[\d]", 2),
            (r"\p{Letter}", 1),
            (r"\p{Cs}", 1),
            (r"\pL", 1),
            (r"\p{^L}", 1),
            (r"\p{L", 1),
            (r"\p{Greek}", 1),
            (r"\p{IsL}", 1),
            (r"\pß", 1),
        ] {
            let error = compiled(source, Extent::Whole).unwrap_err();
            assert_eq!(error.at, at, "{source}: {error}");
        }
    }

    #[test]
    fn every_category_is_known_to_the_engine() {
        for name in CATEGORIES {
            for source in [format!(r"\p{{{name}}}"), format!(r"[^\P{{{name}}}]")] {
                compiled(&source, Extent::Part).unwrap();
            }
        }
    }

    #[test]
    fn a_large_one_is_refused_before_it_is_built() {
        for source in [
            "a{2000}".to_owned(),
            "(ab){667}".to_owned(),
            "a{99999999999999999999}".to_owned(),
            "a{1999,}".to_owned(),
            "((a{100}){100}){100}".to_owned(),
            r"\p{L}{7}".to_owned(),
            "(".repeat(40) + &")".repeat(40),
        ] {
            assert_eq!(Compiled::new(&source, Extent::Whole).unwrap_err(), TooLarge, "{source}");
        }
    }

    #[test]
    fn what_the_weight_allows_the_engine_can_build() {
        for source in [
            "a{1999}",
            r"\p{L}{6}",
            r"[\p{L}\p{N}]{3}",
            r"\P{Cn}{6}",
            ".{249}",
            "[^a-c]{199}",
            "(a|b|.){100}",
        ] {
            compiled(source, Extent::Part).unwrap();
        }
    }
}
