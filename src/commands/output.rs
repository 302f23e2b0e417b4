//! What commands write: lines for people in aligned columns, or one JSON object a line for machines, and
//! progress bars on a terminal. Results go to the standard output and nothing else does; what is said
//! beside them goes to the standard error, so that a pipe never carries it.

use std::io::{self, IsTerminal, Write as _};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Writes one line.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end().as_bytes())?;
    out.write_all(b"\n")
}

/// Writes one JSON object.
pub fn json(value: &Value) -> io::Result<()> {
    line(&value.to_string())
}

/// Tells a person something beside the results.
pub fn note(text: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

/// Writes rows below their titles, each column as wide as its widest value. Without rows, says `none`.
pub fn table<const COLUMNS: usize>(
    titles: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
    none: &str,
) -> io::Result<()> {
    if rows.is_empty() {
        return line(none);
    }
    let mut widths = titles.map(|title| title.chars().count());
    for row in rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.chars().count());
        }
    }
    let write = |row: [&str; COLUMNS]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(value, width)| format!("{value:<width$}")).collect();
        line(&cells.join("  "))
    };
    write(titles)?;
    rows.iter().try_for_each(|row| write(row.each_ref().map(String::as_str)))
}

/// Writes names with their values, aligned; those without a value are left out.
pub fn details(rows: &[(&str, String)]) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter()
        .filter(|(_, value)| !value.is_empty())
        .try_for_each(|(name, value)| line(&format!("{name:<width$}  {value}")))
}

/// A bar over so many things; it is drawn only where a person looks at the standard error.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template =
        format!("{{bar:40}} {{human_pos}} of {{human_len}} {what}  {{per_sec}}  {{eta}}");
    let style = ProgressStyle::with_template(&template);
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `1,234,567`
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// `1 event`, `2 events`
pub fn counted(number: i64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 999, 1_000, 1_234_567, -12_345].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "-12,345"]);
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2_000, "event"), "2,000 events");
    }
}
