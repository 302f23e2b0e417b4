//! What commands write: lines for people, or JSON for machines, and progress on a terminal. Results go to
//! the standard output and nothing else does; what is said beside them goes to the standard error, so that
//! a pipe never carries it.

use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use iso_currency::Currency;
use jiff::SignedDuration;

use crate::value::major_units;

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Writes one line.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end().as_bytes())?;
    out.write_all(b"\n")
}

/// Writes names with their values, aligned; those without a value are left out.
pub fn details(rows: &[(&str, String)]) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter()
        .filter(|(_, value)| !value.is_empty())
        .try_for_each(|(name, value)| line(&format!("{name:<width$}  {value}")))
}

/// Counts something whose end is not known; shown only where a person looks at the standard error.
pub fn counter(what: &str) -> ProgressBar {
    let bar = begin(ProgressBar::new_spinner(), &format!("{{spinner}} {{human_pos}} {what}"));
    bar.enable_steady_tick(TURN);
    bar
}

/// A bar over at most so many things, shown likewise.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    let template =
        format!("{{bar:40}} {{human_pos}} of {{human_len}} {what}  {{per_sec}}  {{eta}}");
    begin(ProgressBar::new(total), &template)
}

/// `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `2 events`
pub fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// `129.95 EUR`
pub fn money(minor_units: i64, currency: &str) -> String {
    match Currency::from_code(currency).and_then(|currency| currency.exponent()) {
        Some(places) => format!("{} {currency}", major_units(minor_units, places.into())),
        None => format!("{minor_units} minor units of {currency}"),
    }
}

/// `2h 3m 4s`
pub fn span(seconds: i64) -> String {
    format!("{:#}", SignedDuration::from_secs(seconds))
}

fn begin(bar: ProgressBar, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_money_has_its_point() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "event"), "1 event");
        let shown = [(12_995, "EUR"), (1_250, "JPY"), (7, "???")];
        let shown = shown.map(|(minor_units, currency)| money(minor_units, currency));
        assert_eq!(shown, ["129.95 EUR", "1250 JPY", "7 minor units of ???"]);
    }
}
