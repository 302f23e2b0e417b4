//! The form of an IPN. In come its bytes, out come its values, decoded from the charset that the form names
//! in a field of its own. Nothing here says whether it is authentic.

use encoding_rs::{Encoding, WINDOWS_1252};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use percent_encoding::percent_decode;
use secrecy::{ExposeSecret, SecretString};

use crate::model::Money;
use crate::providers::TranslateError;
use crate::providers::payload;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// More than this is no form of PayPal's, whose mass payments have 250 recipients.
const MAX_FIELDS: usize = 5_000;

/// The fields in their order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// `None` where its charset is unknown or it has too many fields.
    pub(super) fn parse(body: &[u8]) -> Option<Form> {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = body
            .split(|byte| *byte == b'&')
            .take(MAX_FIELDS + 1)
            .map(|field| {
                let at = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
                let (name, value) = field.split_at(at);
                (decoded(name), decoded(value.get(1..).unwrap_or_default()))
            })
            .collect();
        if fields.len() > MAX_FIELDS {
            return None;
        }
        let charset = fields.iter().find(|(name, _)| name == b"charset");
        let encoding = match charset {
            Some((_, label)) if !label.is_empty() => encoding_of(label)?,
            _ => WINDOWS_1252,
        };
        let text = |bytes: Vec<u8>| encoding.decode_without_bom_handling(&bytes).0.into_owned();
        Some(Form(fields.into_iter().map(|(name, value)| (text(name), text(value))).collect()))
    }

    /// The first value of a field; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// All fields but the one that tells a repetition.
    pub(super) fn fields(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter().filter(|(name, _)| name != "resend")
    }

    /// What it is called: some transaction types say more than the payment status beside them.
    pub(super) fn kind(&self) -> &str {
        match self.get("txn_type") {
            kind @ ("new_case" | "adjustment" | "masspay") => kind,
            kind => match self.get("payment_status") {
                "" => kind,
                status => status,
            },
        }
    }

    /// Whether PayPal's sandbox sent it.
    pub(super) fn is_test(&self) -> bool {
        self.get("test_ipn") == "1"
    }

    /// Whether one of these accounts is who it concerns; `None` where there are none to compare with. Of
    /// a mass payment, which goes out, that is the payer.
    pub(super) fn is_for(&self, accounts: &[SecretString]) -> Option<bool> {
        let mut accounts = accounts
            .iter()
            .map(|account| account.expose_secret().trim())
            .filter(|own| !own.is_empty())
            .peekable();
        accounts.peek()?;
        let parties = match self.get("txn_type") {
            "masspay" => ["payer_email", "payer_id"],
            _ if self.get("receiver_email").is_empty() && self.get("receiver_id").is_empty() => {
                ["business", "business"]
            }
            _ => ["receiver_email", "receiver_id"],
        };
        let parties = parties.map(|party| self.get(party));
        Some(accounts.any(|own| parties.iter().any(|party| party.eq_ignore_ascii_case(own))))
    }

    /// An amount in the form's currency, with its sign: refunds and reversals are negative.
    pub(super) fn money(
        &self,
        amount: &str,
        currency: &str,
    ) -> Result<Option<Money>, TranslateError> {
        match self.get(amount) {
            "" => Ok(None),
            amount => payload::decimal_money(amount, self.get(currency)).map(Some),
        }
    }

    /// A field as a time: `20:12:59 Jan 13, 2026 PST`; `None` where it is empty.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, TranslateError> {
        match self.get(name) {
            "" => Ok(None),
            text => time(text).map(Some).ok_or_else(|| payload::not_a("a time", text)),
        }
    }
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> =
        bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// PayPal writes some labels with underscores.
fn encoding_of(label: &[u8]) -> Option<&'static Encoding> {
    let dashed: Vec<u8> =
        label.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
    Encoding::for_label(label).or_else(|| Encoding::for_label(&dashed))
}

fn time(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let (clock, month, day, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let zone = words.next()?;
    let mut clock = clock.split(':').map(str::parse::<i8>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let month = MONTHS.iter().position(|name| month.starts_with(name))?;
    let month = i8::try_from(month + 1).ok()?;
    let day: i8 = day.trim_end_matches(',').parse().ok()?;
    let year: i16 = year.parse().ok()?;
    let hours = match zone {
        "PST" => -8,
        "PDT" => -7,
        "GMT" | "UTC" => 0,
        _ => return None,
    };
    let day = Date::new(year, month, day).ok()?;
    let clock = Time::new(hour, minute, second, 0).ok()?;
    Offset::from_hours(hours).ok()?.to_timestamp(day.to_datetime(clock)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_from_the_charset_that_the_form_names() {
        let value = |body: &[u8]| Form::parse(body).map(|form| form.get("a").to_owned());
        assert_eq!(
            value(b"charset=windows-1252&a=J%FCrgen+%93x%94").as_deref(),
            Some("Jürgen “x”")
        );
        assert_eq!(value(b"a=J%FCrgen").as_deref(), Some("Jürgen"));
        assert_eq!(value(b"a=%C5%81%C3%B3d%C5%BA&charset=UTF-8").as_deref(), Some("Łódź"));
        assert_eq!(value(b"a=%83e%83X%83g&charset=Shift_JIS").as_deref(), Some("テスト"));
        assert_eq!(value(b"a=%D6%D0&charset=gb2312").as_deref(), Some("中"));
        assert_eq!(value(b"a=x&charset=KOI8_R").as_deref(), Some("x"));
        assert_eq!(value(b"a=x&charset=no-such").as_deref(), None);
        assert_eq!(value(b"&&=&a").as_deref(), Some(""));
    }

    #[test]
    fn times_are_read_in_pacific_time() {
        let read = |text| time(text).map(|time| time.to_string());
        assert_eq!(read("20:12:59 Nov 22, 2026 PST").as_deref(), Some("2026-11-23T04:12:59Z"));
        assert_eq!(read("00:00:00 Jul 4, 2026 PDT").as_deref(), Some("2026-07-04T07:00:00Z"));
        for bad in [
            "",
            "20:12:59 Nov 22, 2026",
            "20:12 Nov 22, 2026 PST",
            "1:1:1 Xxx 1, 2026 PST",
            "25:00:00 Nov 22, 2026 PST",
            "20:12:59 Feb 30, 2026 PST",
            "20:12:59 Nov 22, 2026 CET",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
