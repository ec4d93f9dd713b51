//! Event types (`order.created`) and the patterns that subscriptions name them by.

use std::fmt;

/// The longest event type, in bytes. Long enough for reverse-DNS names of any taste,
/// short enough to index.
const MAX_BYTES: usize = 255;

/// The name of a kind of event: 1–255 of `A–Z a–z 0–9 . _ - / :`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventType {
    #[error("an event type must not be empty")]
    Empty,
    #[error("an event type is at most {MAX_BYTES} bytes long; this one has {0}")]
    TooLong(usize),
    #[error(
        "an event type consists of letters, digits and . _ - / : only; found {found:?} at byte {at}"
    )]
    Character { found: char, at: usize },
}

/// What the types of events begin with that Triggerline itself publishes.
pub const OPERATIONAL: &str = "triggerline.";

impl EventType {
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidEventType> {
        let text = text.into();
        check(&text, |_| false)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only Triggerline itself may publish it.
    pub fn is_operational(&self) -> bool {
        self.0.starts_with(OPERATIONAL)
    }
}

/// An event type, or one with `*` standing for any run of characters (`order.*`, `*`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventTypePattern(String);

impl EventTypePattern {
    /// Every event type.
    pub fn every() -> Self {
        Self("*".to_owned())
    }

    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidEventType> {
        let text = text.into();
        check(&text, |c| c == '*')?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this pattern covers `event_type`.
    ///
    /// Each piece between stars is looked for once, left to right, so the time is at
    /// most the product of the two lengths whatever a customer writes.
    pub fn matches(&self, event_type: &EventType) -> bool {
        let text = event_type.as_str();
        let Some((head, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(mut text) = text.strip_prefix(head) else {
            return false;
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        for piece in middle.split('*') {
            match text.find(piece) {
                Some(at) => text = &text[at + piece.len()..],
                None => return false,
            }
        }
        text.len() >= tail.len() && text.ends_with(tail)
    }
}

fn check(text: &str, also: impl Fn(char) -> bool) -> Result<(), InvalidEventType> {
    if text.is_empty() {
        return Err(InvalidEventType::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(InvalidEventType::TooLong(text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c) || also(c);
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, found)) => Err(InvalidEventType::Character { found, at }),
        None => Ok(()),
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for EventTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, event_type, covered) in [
            ("order.created", "order.created", true),
            ("order.created", "order.created.v2", false),
            ("order.*", "order.created", true),
            ("order.*", "order.", true),
            ("order.*", "order", false),
            ("*", "anything", true),
            ("*.created", "order.created", true),
            ("*.created", "created", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "ab", true),
            ("*b*b", "xb", false),
            ("*b*b", "xbyb", true),
        ] {
            let pattern = EventTypePattern::parse(pattern).unwrap();
            let event_type = EventType::parse(event_type).unwrap();
            assert_eq!(pattern.matches(&event_type), covered, "{pattern} on {event_type}");
        }
    }

    #[test]
    fn a_bad_type_is_refused_with_the_place() {
        assert_eq!(EventType::parse(""), Err(InvalidEventType::Empty));
        assert_eq!(EventType::parse("x".repeat(256)), Err(InvalidEventType::TooLong(256)));
        assert_eq!(
            EventType::parse("order created"),
            Err(InvalidEventType::Character { found: ' ', at: 5 })
        );
        assert_eq!(
            EventType::parse("order.*"),
            Err(InvalidEventType::Character { found: '*', at: 6 })
        );
        assert_eq!(
            EventTypePattern::parse("bestellung.ü"),
            Err(InvalidEventType::Character { found: 'ü', at: 11 })
        );
    }
}
