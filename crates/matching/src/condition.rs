//! What the index is asked to decide: a small language that event patterns and JSONPath filters are lowered into.
//!
//! A [`Condition`] is a tree of alternatives and conjunctions. Its leaves are **fields**: a [`Field`] names a path into
//! the payload, as [`Step`]s, and says with [`Test`]s what must, or must not, be seen there. Fields that are
//! [`Together`](Condition::Together) hold for *one* choice of array elements and children; that is what an event
//! pattern means by array consistency, and what a filter means by `@`.
//!
//! How two languages read `a.b` is in the steps:
//!
//! | | as steps |
//! |---|---|
//! | event pattern `{"a": {"b": [1]}}` | `a`, each element, `b`, each element |
//! | JSONPath `$.a.b == 1` | `a`, `b` |
//! | JSONPath `$.a[?@.b == 1]` | `a`, any child, `b` |
//!
//! Absent on purpose: negation of a tree (it is pushed down to the fields, see [`Want::None`]) and comparison of one
//! path with another.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::number::Number;
use crate::text::{Wildcard, fold};

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Each holds, independently of the others. Empty: always.
    All(Vec<Condition>),
    /// At least one holds. Empty: never.
    Any(Vec<Condition>),
    /// There is one choice, at each [`Step::Each`] and [`Step::Child`] of these paths, for which all fields hold.
    /// Fields share a choice as far as their paths are equal.
    ///
    /// The fields that want something choose; one that wants nothing is judged within what the fields *before* it
    /// chose, and over everything where they chose nothing on its path.
    Together(Vec<Field>),
}

/// What `$or` spells out names a field again and again: its path and its tests are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub path: Arc<[Step]>,
    pub want: Want,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// At least one of the values at the path passes at least one of the tests.
    Some(Arc<[Test]>),
    /// No value at the path passes any of the tests; there may be none.
    None(Arc<[Test]>),
}

impl Want {
    pub fn tests(&self) -> &Arc<[Test]> {
        match self {
            Self::Some(tests) | Self::None(tests) => tests,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The member of an object.
    Name(Box<str>),
    /// The element of an array, from 0.
    Index(usize),
    /// The value itself, or if it is an array each of its elements, and of theirs in turn. As the last step of a path
    /// it chooses nothing: other fields are free to look at other elements. Twice in a row is once.
    Each,
    /// Each element of an array, or each member's value of an object.
    Child,
}

/// What a value at a path is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    /// Equal but for case; holds what [`Test::folded`] made of it.
    Folded(Box<str>),
    Prefix(Box<str>),
    FoldedPrefix(Box<str>),
    Suffix(Box<str>),
    FoldedSuffix(Box<str>),
    Wildcard(Wildcard),
    Range(Bound<Number>, Bound<Number>),
    Network(Network),
    /// Any null, boolean, number or string.
    Scalar,
    /// Any array or object.
    Structured,
    /// A scalar that passes none of these.
    NoneOf(Box<[Test]>),
}

impl Test {
    pub fn folded(text: &str) -> Self {
        Self::Folded(fold(text).into())
    }

    pub fn folded_prefix(text: &str) -> Self {
        Self::FoldedPrefix(fold(text).into())
    }

    pub fn folded_suffix(text: &str) -> Self {
        Self::FoldedSuffix(fold(text).into())
    }

    pub fn passes(&self, seen: &Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Structured, Seen::Structured) | (Self::Null, Seen::Null) => true,
            (_, Seen::Structured) => false,
            (Self::Scalar, _) => true,
            (Self::NoneOf(tests), _) => !tests.iter().any(|test| test.passes(seen)),
            (Self::Bool(a), Seen::Bool(b)) => a == b,
            (Self::Number(a), Seen::Number(b)) => a == b,
            (Self::Range(low, high), Seen::Number(number)) => within(*low, *high, *number),
            (_, Seen::Text(text)) => self.passes_text(text),
            _ => false,
        }
    }

    /// About how many comparisons `passes` takes.
    pub(crate) fn steps(&self, seen: &Seen<'_>) -> usize {
        /// Bytes that are searched, or folded, in the time of a comparison.
        const SEARCHED: usize = 64;
        const FOLDED: usize = 16;
        match (self, seen) {
            (Self::NoneOf(tests), _) => tests.iter().map(|test| test.steps(seen)).sum(),
            (Self::Wildcard(wildcard), Seen::Text(text)) => {
                1 + wildcard.pieces().len() * (text.len() / SEARCHED)
            }
            (Self::Folded(_) | Self::FoldedPrefix(_) | Self::FoldedSuffix(_), Seen::Text(text)) => {
                1 + text.len() / FOLDED
            }
            _ => 1,
        }
    }

    fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Text(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Folded(exact) => **exact == *fold(text),
            Self::FoldedPrefix(prefix) => fold(text).starts_with(&**prefix),
            Self::FoldedSuffix(suffix) => fold(text).ends_with(&**suffix),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Network(network) => address(text).is_some_and(|bits| network.contains(bits)),
            _ => false,
        }
    }
}

pub(crate) fn within(low: Bound<Number>, high: Bound<Number>, number: Number) -> bool {
    let above = match low {
        Bound::Included(low) => number >= low,
        Bound::Excluded(low) => number > low,
        Bound::Unbounded => true,
    };
    above
        && match high {
            Bound::Included(high) => number <= high,
            Bound::Excluded(high) => number < high,
            Bound::Unbounded => true,
        }
}

/// What the payload has at a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Structured,
}

impl<'a> Seen<'a> {
    /// `None` for a number that is none of JSON's, which `serde_json` doesn't make.
    pub fn of(value: &'a serde_json::Value) -> Option<Self> {
        use serde_json::Value;
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => Self::Number(Number::from_json(number)?),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Self::Structured,
        })
    }
}

/// A block of IP addresses, `10.0.0.0/8` or `2001:db8::/32`. An IPv4 address mapped into IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    pub(crate) v6: bool,
    /// Of 32 or 128 bits, how many must agree.
    pub(crate) length: u8,
    bits: u128,
}

/// An address as it is compared: its family, and its bits at the low end.
pub(crate) type Bits = (bool, u128);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    #[error(
        "a network is an IP address, a slash and a number of bits, such as 10.0.0.0/8 or 2001:db8::/32"
    )]
    Form,
    #[error("an IPv{family} prefix has at most {most} bits")]
    Length { family: u8, most: u8 },
    #[error("bits are set beyond the prefix; the network is {0}")]
    HostBits(String),
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (base, length) = text.split_once('/').ok_or(InvalidNetwork::Form)?;
        let (v6, bits) = address(base).ok_or(InvalidNetwork::Form)?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(InvalidNetwork::Form);
        }
        let (family, most) = if v6 { (6, 128) } else { (4, 32) };
        let length: u8 = length.parse().unwrap_or(u8::MAX);
        if length > most {
            return Err(InvalidNetwork::Length { family, most });
        }
        let network = Self::around((v6, bits), length);
        if network.bits == bits {
            return Ok(network);
        }
        let base = match u32::try_from(network.bits) {
            Ok(bits) if !v6 => IpAddr::from(bits.to_be_bytes()),
            _ => IpAddr::from(network.bits.to_be_bytes()),
        };
        Err(InvalidNetwork::HostBits(format!("{base}/{length}")))
    }

    /// The network of this size that the address is in.
    pub(crate) fn around((v6, bits): Bits, length: u8) -> Self {
        let most: u8 = if v6 { 128 } else { 32 };
        let host = u32::from(most.saturating_sub(length));
        let bits = bits.checked_shr(host).and_then(|kept| kept.checked_shl(host)).unwrap_or(0);
        Self { v6, length, bits }
    }

    pub(crate) fn contains(&self, bits: Bits) -> bool {
        bits.0 == self.v6 && Self::around(bits, self.length) == *self
    }
}

pub(crate) fn address(text: &str) -> Option<Bits> {
    // An address has a digit, and a dot or a colon; few other texts get past their first bytes.
    if text.len() < 2 || text.len() > 45 {
        return None;
    }
    match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(v4) => Some((false, v4.to_bits().into())),
        IpAddr::V6(v6) => Some((true, v6.to_bits())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses() {
        for (network, address, contains) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.7/32", "10.0.0.7", true),
            ("10.0.0.7/32", "10.0.0.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1/128", "2001:DB8:0:0:0:0:0:1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "not an address", false),
            ("10.0.0.0/8", "10.0.0", false),
            ("10.0.0.0/8", "010.0.0.1", false),
        ] {
            let network = Network::parse(network).unwrap();
            let seen = Seen::Text(address.into());
            assert_eq!(Test::Network(network).passes(&seen), contains, "{network:?} {address}");
        }
    }

    #[test]
    fn a_bad_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "ten/8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(Network::parse(text), Err(InvalidNetwork::Form), "{text}");
        }
        for text in ["10.0.0.0/33", "::/129", "::/1000"] {
            assert!(matches!(Network::parse(text), Err(InvalidNetwork::Length { .. })), "{text}");
        }
        assert_eq!(
            Network::parse("10.0.0.7/24"),
            Err(InvalidNetwork::HostBits("10.0.0.0/24".to_owned()))
        );
        assert_eq!(
            Network::parse("2001:db8::7/64"),
            Err(InvalidNetwork::HostBits("2001:db8::/64".to_owned()))
        );
    }
}
