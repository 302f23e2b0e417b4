//! Exact money: an integer of minor units with an ISO 4217 currency. A decimal that does not fit its
//! currency is an error, never rounded; a float is never money.

use std::fmt;

use iso_currency::Currency as Iso;
use serde::{Deserialize, Serialize};

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Currency(Iso);

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Currency) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Currency) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

/// An amount in minor units of its currency (cents for USD, yen for JPY, fils for KWD).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units.
    pub minor_units: i64,
    /// The currency.
    pub currency: Currency,
}

/// Why a text or number is not money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a code of ISO 4217.
    #[error("unknown currency `{0}`")]
    UnknownCurrency(String),
    /// Not a decimal number, or more digits than the currency has.
    #[error("`{text}` is not an amount of {currency}")]
    NotAnAmount {
        /// What was given.
        text: String,
        /// The currency's code.
        currency: &'static str,
    },
}

impl Currency {
    /// Reads a code in either case: `eur`, `EUR`.
    pub fn parse(code: &str) -> Result<Currency, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(code.chars().take(16).collect());
        if code.len() != 3 || !code.is_ascii() {
            return Err(unknown());
        }
        Iso::from_code(&code.to_ascii_uppercase()).map(Currency).ok_or_else(unknown)
    }

    /// The code in upper case.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal digits ISO 4217 gives the currency; 0 where it names none.
    pub fn exponent(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }
}

impl Money {
    /// Money of `minor_units` in the currency with this code.
    pub fn new(minor_units: i64, currency_code: &str) -> Result<Money, MoneyError> {
        Ok(Money { minor_units, currency: Currency::parse(currency_code)? })
    }

    /// Reads a decimal in major units exactly: `"12.5"` of EUR is 1250 cents.
    pub fn from_decimal(text: &str, currency_code: &str) -> Result<Money, MoneyError> {
        let currency = Currency::parse(currency_code)?;
        let minor_units = decimal_to_minor(text.trim(), currency.exponent()).ok_or_else(|| {
            MoneyError::NotAnAmount {
                text: text.chars().take(64).collect(),
                currency: currency.code(),
            }
        })?;
        Ok(Money { minor_units, currency })
    }
}

/// `None` where the text is no plain decimal, has more significant digits than `exponent`, or overflows.
fn decimal_to_minor(text: &str, exponent: u32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let exponent = exponent as usize;
    let (kept, dropped) = fraction.split_at(fraction.len().min(exponent));
    if dropped.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let mut value: i64 = 0;
    let padding = std::iter::repeat_n(b'0', exponent - kept.len());
    for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(if negative { -value } else { value })
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent() as usize;
        let sign = if self.minor_units < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.minor_units.unsigned_abs(), width = exponent + 1);
        let (whole, fraction) = digits.split_at(digits.len() - exponent);
        let point = if exponent == 0 { "" } else { "." };
        write!(out, "{sign}{whole}{point}{fraction} {}", self.currency.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Currency::parse(&code).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let minor = |text, code| Money::from_decimal(text, code).map(|money| money.minor_units);
        assert_eq!(minor("12.5", "EUR"), Ok(1250));
        assert_eq!(minor("-0.01", "eur"), Ok(-1));
        assert_eq!(minor("7370", "JPY"), Ok(7370));
        assert_eq!(minor("7370.00", "JPY"), Ok(7370));
        assert_eq!(minor("1.234", "KWD"), Ok(1234));
        for bad in ["", ".", "1.005", "1e3", "1,00", "0x1", "99999999999999999999", "--1"] {
            assert!(minor(bad, "EUR").is_err(), "{bad}");
        }
        assert!(minor("1", "XYZW").is_err());
    }

    #[test]
    fn money_reads_as_people_write_it() {
        let text = |minor, code| Money::new(minor, code).expect("known").to_string();
        assert_eq!(text(1250, "EUR"), "12.50 EUR");
        assert_eq!(text(-5, "USD"), "-0.05 USD");
        assert_eq!(text(7370, "JPY"), "7370 JPY");
    }
}
