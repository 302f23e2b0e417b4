//! Amounts of CRM records: a decimal in major units comes in as the CRM wrote it, exact money goes out.
//! What a CRM writes with a power of ten is written out, never computed with a float, and what does not
//! fit its currency is an error.

use crate::model::{Money, References};
use crate::providers::{Endpoint, TranslateError, payload};

use super::CURRENCY;

/// The greatest power of ten that an amount may be written with; money has far fewer digits.
const MAX_POWER: usize = 30;

/// The money of a decimal in major units. `None` where amount or currency is not told; the endpoint's own
/// `currency` stands in for a currency that the record does not name.
pub fn amount(
    text: &str,
    currency: &str,
    endpoint: &Endpoint,
) -> Result<Option<Money>, TranslateError> {
    let own = endpoint.setting(CURRENCY, "").trim();
    let currency = Some(currency.trim()).filter(|code| !code.is_empty()).unwrap_or(own);
    let text = text.trim();
    if text.is_empty() || currency.is_empty() {
        return Ok(None);
    }
    match plain_decimal(text) {
        Some(plain) => payload::decimal_money(&plain, currency).map(Some),
        None => payload::decimal_money(text, currency).map(Some),
    }
}

/// The references, with the currency that a record names beside no amount: an amount told later has one of
/// its own, and until then nothing else could hold it.
pub fn keep_currency(
    mut references: References,
    amount: Option<Money>,
    currency: &str,
) -> References {
    if let (None, Ok(zero)) = (amount, Money::new(0, currency.trim())) {
        let code = zero.currency.code().to_owned();
        references.metadata.insert(CURRENCY.to_owned(), code);
    }
    references
}

/// A decimal with a power of ten, as `1.5E7`, written out; `None` for any other text.
fn plain_decimal(text: &str) -> Option<String> {
    let (mantissa, power) = text.split_once(['e', 'E'])?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let power: i32 = power.parse().ok()?;
    let shift = usize::try_from(power.unsigned_abs()).ok().filter(|shift| *shift <= MAX_POWER)?;
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let zeros = "0".repeat(shift);
    let (left, right) = match power {
        0.. => (whole.to_owned(), format!("{fraction}{zeros}")),
        _ => (format!("{zeros}{whole}"), fraction.to_owned()),
    };
    let point = match power {
        0.. => left.len() + shift,
        _ => left.len() - shift,
    };
    let all = format!("{left}{right}");
    let (whole, fraction) = all.split_at_checked(point)?;
    Some(format!("{sign}{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::crm::tests::endpoint;

    #[test]
    fn amounts_are_exact_or_refused() {
        let none = endpoint(&[]);
        let minor = |text, code| {
            amount(text, code, &none).map(|money| money.map(|money| money.minor_units))
        };
        assert_eq!(minor("129.95", "eur"), Ok(Some(12_995)));
        assert_eq!(minor("10.0", "JPY"), Ok(Some(10)));
        assert_eq!(minor("1.5E7", "KWD"), Ok(Some(15_000_000_000)));
        assert_eq!(minor("-12995e-2", "EUR"), Ok(Some(-12_995)));
        assert_eq!(minor("", "EUR"), Ok(None));
        assert_eq!(minor("1", ""), Ok(None));
        for (text, code) in [("1.005", "EUR"), ("10.5", "JPY"), ("1e99", "EUR"), ("1", "XXXX")] {
            assert!(minor(text, code).is_err(), "{text} {code}");
        }
        for text in ["1,5", "e5", "1e", "1e-3", "1.5e+x", "NaN", "--1e1"] {
            assert!(minor(text, "EUR").is_err(), "{text}");
        }
        let own = endpoint(&[(CURRENCY, "USD")]);
        let money = amount("1.50", " ", &own).expect("exact").expect("an amount");
        assert_eq!((money.minor_units, money.currency.code()), (150, "USD"));
    }

    #[test]
    fn a_currency_beside_no_amount_is_kept() {
        let kept = |amount, currency: &str| {
            keep_currency(References::default(), amount, currency).metadata.remove(CURRENCY)
        };
        assert_eq!(kept(None, " usd "), Some("USD".to_owned()));
        assert_eq!(kept(None, ""), None);
        assert_eq!(kept(Some(Money::new(1, "USD").expect("known")), "USD"), None);
    }
}
