//! Numbers, compared exactly.
//!
//! `serde_json` keeps an integer that fits `i64` or `u64` as it is and everything else as the nearest double. Both
//! sides of a comparison are read so, hence a number written alike is equal to itself; and an integer is compared
//! with a double without rounding either, hence `9007199254740993 == 9007199254740992.0` is false.

use std::cmp::Ordering;

/// Two to the 64th: no integer here is as large.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;
/// Up to two to the 53rd a double holds every integer.
const EXACT: u64 = 1 << 53;

#[derive(Clone, Copy, Debug)]
pub enum Number {
    Integer(i64),
    /// An integer above all of `i64`.
    Large(u64),
    /// Not NaN. Infinite only in a query, where `1e400` is more than every number.
    Float(f64),
}

impl Number {
    /// The text of a JSON number, read as `serde_json` reads one.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Ok(integer) = text.parse()
            && text != "-0"
        {
            return Some(Self::Integer(integer));
        }
        if let Ok(integer) = text.parse() {
            return Some(Self::Large(integer));
        }
        text.parse().ok().filter(|float: &f64| !float.is_nan()).map(Self::Float)
    }

    pub(super) fn count(count: u64) -> Self {
        i64::try_from(count).map_or(Self::Large(count), Self::Integer)
    }

    #[inline]
    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Large(left), Self::Large(right)) => left.cmp(&right),
            (Self::Integer(_), Self::Large(_)) => Ordering::Less,
            (Self::Large(_), Self::Integer(_)) => Ordering::Greater,
            // Neither is NaN, so they have an order.
            (Self::Float(left), Self::Float(right)) => {
                left.partial_cmp(&right).unwrap_or(Ordering::Equal)
            }
            (Self::Integer(left), Self::Float(right)) => integer_with_float(left, right),
            (Self::Float(left), Self::Integer(right)) => integer_with_float(right, left).reverse(),
            (Self::Large(left), Self::Float(right)) => wide_with_float(left.into(), right),
            (Self::Float(left), Self::Large(right)) => {
                wide_with_float(right.into(), left).reverse()
            }
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other).is_eq()
    }
}

impl From<&serde_json::Number> for Number {
    #[inline]
    fn from(number: &serde_json::Number) -> Self {
        if let Some(integer) = number.as_i64() {
            Self::Integer(integer)
        } else if let Some(integer) = number.as_u64() {
            Self::Large(integer)
        } else {
            // Always a double by now: the feature that keeps other numbers as text is off.
            Self::Float(number.as_f64().unwrap_or_default())
        }
    }
}

#[inline]
fn integer_with_float(integer: i64, float: f64) -> Ordering {
    if integer.unsigned_abs() <= EXACT {
        #[allow(clippy::cast_precision_loss)] // exact, see above
        return (integer as f64).partial_cmp(&float).unwrap_or(Ordering::Equal);
    }
    wide_with_float(integer.into(), float)
}

fn wide_with_float(integer: i128, float: f64) -> Ordering {
    if float >= BEYOND {
        return Ordering::Less;
    }
    if float <= -BEYOND {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    #[allow(clippy::cast_possible_truncation)] // whole, and smaller than two to the 64th
    let order = integer.cmp(&(whole as i128));
    // Equal so far: what is behind the point decides.
    order.then_with(|| whole.partial_cmp(&float).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("1", "1.0", Equal),
            ("1", "1e0", Equal),
            ("100", "1E+2", Equal),
            ("0", "-0", Equal),
            ("-0.0", "0", Equal),
            ("1", "1.5", Less),
            ("-1", "-1.5", Greater),
            ("0", "-0.5", Greater),
            ("0", "5e-324", Less),
            ("9007199254740993", "9007199254740992", Greater),
            ("9007199254740993", "9007199254740992.0", Greater),
            ("9007199254740992", "9007199254740992.0", Equal),
            ("9223372036854775807", "9223372036854775808.0", Less),
            ("-9223372036854775808", "-9223372036854775808.0", Equal),
            ("18446744073709551615", "18446744073709551614", Greater),
            ("18446744073709551615", "18446744073709551616", Less),
            ("18446744073709551615", "1e400", Less),
            ("1e300", "1e400", Less),
            ("-1e400", "-9223372036854775808", Less),
            ("0.1", "0.1", Equal),
        ] {
            let (left_number, right_number) =
                (Number::read(left).unwrap(), Number::read(right).unwrap());
            assert_eq!(left_number.compare(right_number), order, "{left} {right}");
            assert_eq!(right_number.compare(left_number), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn a_number_in_a_query_is_read_as_in_a_payload() {
        for text in [
            "0",
            "-0",
            "1",
            "-1",
            "1.5",
            "1e5",
            "0.1",
            "1.7976931348623157e308",
            "5e-324",
            "1e-400",
            "123456789012345678901234567890",
            "9223372036854775808",
            "-9223372036854775809",
            "0.30000000000000004",
            "2.2250738585072011e-308",
        ] {
            let payload: serde_json::Number = serde_json::from_str(text).unwrap();
            let (here, there) = (Number::read(text).unwrap(), Number::from(&payload));
            assert!(here == there, "{text}: {here:?} {there:?}");
        }
    }
}
