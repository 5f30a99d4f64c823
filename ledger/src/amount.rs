//! Amounts of money: whole numbers of the smallest unit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A balance, in the smallest unit. Only `world` goes below zero.
pub type Balance = i128;

/// The highest balance an account may have: 2^63 − 1.
pub const BALANCE_MAX: Balance = i64::MAX as Balance;

/// An amount: 1 to 2^63 − 1 of the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Amount(u64);

/// Why an amount is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Nothing at all.
    #[error("an amount is missing; give a whole number of the smallest unit, 1 or more")]
    Empty,
    /// Zero.
    #[error("an amount must be positive; 0 moves nothing")]
    Zero,
    /// Below zero.
    #[error("an amount must be positive; {0} is negative (swap the accounts to move money the other way)")]
    Negative(String),
    /// A fraction.
    #[error("an amount is a whole number of the smallest unit; {0} has a fraction")]
    Fraction(String),
    /// No number.
    #[error("{0:?} is not a number; give a whole number of the smallest unit, such as 50")]
    NotANumber(String),
    /// Above 2^63 − 1.
    #[error("{0} is too large; the largest amount is 9223372036854775807")]
    TooLarge(String),
}

impl Amount {
    /// The largest amount: 2^63 − 1.
    pub const MAX: u64 = i64::MAX as u64;

    /// Checks a number.
    ///
    /// # Errors
    /// Zero, or above [`Amount::MAX`].
    pub fn new(value: u64) -> Result<Self, AmountError> {
        match value {
            0 if planted!(ZeroAccepted) => Ok(Self(0)),
            0 => Err(AmountError::Zero),
            1..=Self::MAX => Ok(Self(value)),
            _ => Err(AmountError::TooLarge(value.to_string())),
        }
    }

    /// Reads decimal digits; a sign, a fraction, spaces and separators are refused.
    ///
    /// # Errors
    /// Anything but a whole number from 1 to [`Amount::MAX`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let shown = || text.chars().take(40).collect::<String>();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() {
            return Err(AmountError::Empty);
        }
        if digits(text) {
            return match text.parse::<u64>() {
                Ok(value) => Self::new(value),
                Err(_) => Err(AmountError::TooLarge(shown())),
            };
        }
        if let Some(rest) = text.strip_prefix('-')
            && rest.split_once('.').map_or_else(|| digits(rest), |(a, b)| digits(a) && digits(b))
        {
            return Err(AmountError::Negative(shown()));
        }
        match text.split_once('.') {
            Some((whole, part)) if digits(whole) && digits(part) => Err(AmountError::Fraction(shown())),
            _ => Err(AmountError::NotANumber(shown())),
        }
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Amount {
    type Error = AmountError;

    fn try_from(value: u64) -> Result<Self, AmountError> {
        Self::new(value)
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl From<Amount> for Balance {
    fn from(amount: Amount) -> Self {
        Self::from(amount.0)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, AmountError};

    #[test]
    fn only_whole_numbers_from_one_to_the_largest() {
        assert_eq!(Amount::parse("1").map(Amount::get), Ok(1));
        assert_eq!(Amount::parse("9223372036854775807").map(Amount::get), Ok(Amount::MAX));
        assert_eq!(Amount::parse("007").map(Amount::get), Ok(7));
        for (text, wanted) in [
            ("0", AmountError::Zero),
            ("", AmountError::Empty),
            ("-50", AmountError::Negative("-50".into())),
            ("-1.5", AmountError::Negative("-1.5".into())),
            ("1.5", AmountError::Fraction("1.5".into())),
            ("abc", AmountError::NotANumber("abc".into())),
            ("+5", AmountError::NotANumber("+5".into())),
            (" 5", AmountError::NotANumber(" 5".into())),
            ("1e3", AmountError::NotANumber("1e3".into())),
            ("0x10", AmountError::NotANumber("0x10".into())),
            ("9223372036854775808", AmountError::TooLarge("9223372036854775808".into())),
            ("18446744073709551616", AmountError::TooLarge("18446744073709551616".into())),
        ] {
            assert_eq!(Amount::parse(text), Err(wanted), "{text:?}");
        }
    }
}
