//! JSON numbers, compared as numbers.
//!
//! A number is what `serde_json` reads: an integer literal that fits 64 bits is that integer, anything else is the
//! nearest double. A [`Number`] is then compared exactly, so `1`, `1.0` and `1e0` are one number, and 2^53 and
//! 2^53 + 1 are two. What a double can't hold is lost when it is read: `9007199254740993.0` is 2^53.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// One number has one form: an integral value from -2^63 to below 0 is always `Negative`, from 0 to below 2^64 always
/// `Positive`. In 16 bytes, of which an index has very many.
#[derive(Clone, Copy, Debug)]
enum Form {
    Negative(i64),
    Positive(u64),
    Double(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Number(Form);

/// 2^64 and -2^63: a double outside of these is not made an integer, because no integer literal can equal it.
const ABOVE: f64 = 18_446_744_073_709_551_616.0;
const LEAST: f64 = -9_223_372_036_854_775_808.0;

impl Number {
    /// `None` where the double is not a number of JSON: infinite or NaN.
    pub fn from_f64(double: f64) -> Option<Self> {
        if !double.is_finite() {
            return None;
        }
        if double.fract() == 0.0 && (LEAST..ABOVE).contains(&double) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "integral and in range"
            )]
            return Some(if double < 0.0 {
                (double as i64).into()
            } else {
                (double as u64).into()
            });
        }
        Some(Self(Form::Double(double)))
    }

    pub fn from_json(number: &serde_json::Number) -> Option<Self> {
        if let Some(integer) = number.as_i64() {
            return Some(integer.into());
        }
        match number.as_u64() {
            Some(integer) => Some(integer.into()),
            None => number.as_f64().and_then(Self::from_f64),
        }
    }

    /// Reads a literal that has JSON's grammar. `None` where it is too large for a double.
    pub(crate) fn from_literal(literal: &str) -> Option<Self> {
        let bytes = literal.as_bytes();
        // 18 digits always fit; what has a fraction or an exponent has another byte than a digit.
        if bytes.len() <= 18 && bytes[0] != b'-' && bytes.iter().all(u8::is_ascii_digit) {
            let integer = bytes.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            return Some(integer.into());
        }
        if let Ok(integer) = literal.parse::<i64>() {
            return Some(integer.into());
        }
        if let Ok(integer) = literal.parse::<u64>() {
            return Some(integer.into());
        }
        literal.parse().ok().and_then(Self::from_f64)
    }

    fn integer(self) -> Result<i128, f64> {
        match self.0 {
            Form::Negative(integer) => Ok(integer.into()),
            Form::Positive(integer) => Ok(integer.into()),
            Form::Double(double) => Err(double),
        }
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        match self.0 {
            #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
            Form::Negative(integer) => integer as f64,
            #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
            Form::Positive(integer) => integer as f64,
            Form::Double(double) => double,
        }
    }
}

impl From<i64> for Number {
    fn from(integer: i64) -> Self {
        Self(u64::try_from(integer).map_or(Form::Negative(integer), Form::Positive))
    }
}

impl From<u64> for Number {
    fn from(integer: u64) -> Self {
        Self(Form::Positive(integer))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Err(a), Err(b)) => a.total_cmp(&b), // neither NaN nor zero is among them
            (Ok(a), Err(b)) => against(a, b),
            (Err(a), Ok(b)) => against(b, a).reverse(),
        }
    }
}

/// An integer of 64 bits against a double that is none.
fn against(integer: i128, double: f64) -> Ordering {
    if double >= ABOVE {
        return Ordering::Less;
    }
    if double < LEAST {
        return Ordering::Greater;
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range; the fraction is meant to go")]
    let floor = double.floor() as i128;
    if integer <= floor { Ordering::Less } else { Ordering::Greater }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Form::Negative(integer) => integer.hash(state),
            Form::Positive(integer) => integer.hash(state),
            Form::Double(double) => double.to_bits().hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(literal: &str) -> Number {
        let scanned = Number::from_literal(literal).unwrap();
        let parsed: serde_json::Number = serde_json::from_str(literal).unwrap();
        assert_eq!(Some(scanned), Number::from_json(&parsed), "{literal}");
        scanned
    }

    #[test]
    fn numbers_compare_as_numbers() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, order) in [
            ("1", "1.0", Equal),
            ("1", "1e0", Equal),
            ("10", "1E+1", Equal),
            ("0", "-0", Equal),
            ("0", "-0.0", Equal),
            ("0.1", "1e-1", Equal),
            ("0.3", "0.30000000000000004", Less),
            ("1", "2", Less),
            ("-1", "-2", Greater),
            ("1", "1.5", Less),
            ("-1", "-1.5", Greater),
            ("-2", "-1.5", Less),
            ("9007199254740992", "9007199254740993", Less),
            ("9007199254740992.0", "9007199254740993", Less),
            ("9007199254740993.0", "9007199254740992", Equal), // the double nearest to it
            ("18446744073709551615", "18446744073709551616", Less),
            ("18446744073709551616", "1.8446744073709552e19", Equal),
            ("-9223372036854775808", "-9.223372036854775808e18", Equal),
            ("-9223372036854775809", "-1e19", Greater),
            ("1e308", "18446744073709551615", Greater),
            ("-1e308", "-9223372036854775808", Less),
            ("5e-324", "0", Greater),
            ("123456789012345678", "1234567890123456789", Less),
        ] {
            assert_eq!(read(a).cmp(&read(b)), order, "{a} {b}");
            assert_eq!(read(b).cmp(&read(a)), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn what_no_double_holds_is_no_number() {
        assert!(Number::from_literal("1e400").is_none());
        assert!(Number::from_literal("-1e309").is_none());
        assert!(Number::from_f64(f64::NAN).is_none());
    }
}
