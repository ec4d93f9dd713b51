//! Selectors: what subscriptions want of events, and which of thousands want this one. Pure.
//!
//! A [`Predicate`] is compiled once, when a subscription is saved or loaded: an event [`pattern`], an RFC
//! 9535 query ([`jsonpath`]), or both. Whoever asks about one subscription asks it, or has it
//! [explained](Predicate::explain). Whoever asks about all of a customer's asks their [`Rules`], which put
//! what can be put so into an [`index`] of [`condition`]s: the payload is walked once, along the paths that
//! some rule names, and what is found there brings up those that want it.
//!
//! What numbers and texts are the same is in [`number`] and [`text`].

mod condition;
mod index;
pub mod jsonpath;
mod number;
mod pattern;
mod predicate;
mod rules;
mod text;

pub use condition::{Condition, Field, InvalidNetwork, Network, Seen, Step, Test, Want};
pub use index::{Index, MAX_STEPS, MAX_WEIGHT, TooLarge, Undecidable};
pub use number::Number;
pub use pattern::{
    Decided, Explanation, FieldReport, Found, InvalidPattern, MAX_ALTERNATIVES, MAX_BRANCHES,
    MAX_DEPTH, MAX_FIELDS, MAX_STARS, MAX_TEXT_BYTES, Pattern,
};
pub use predicate::{Explained, InvalidSelector, MAX_PATTERN_BYTES, Node, Predicate, Selected};
pub use rules::{Matching, Rules};
pub use text::{InvalidWildcard, Wildcard};

/// Why a query was refused, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {why}")]
pub struct InvalidQuery {
    pub at: usize,
    pub why: String,
}
