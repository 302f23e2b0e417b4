//! The values of monday.com's columns: the JSON of a cell comes in, out goes its text or its amount as it
//! stands, whatever the type of the column. An empty cell is an empty text.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::TranslateError;
use crate::providers::payload::{self, Decimal, Text};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Cell<'a> {
    /// Of a status.
    #[serde(borrow)]
    label: Option<&'a RawValue>,
    /// Of a text or a number.
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Text<'a>,
    /// Of a dropdown.
    #[serde(borrow)]
    chosen_values: Option<Vec<Named<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
}

/// The text of a cell.
pub(super) fn text(cell: Option<&RawValue>) -> Result<String, TranslateError> {
    let Some(raw) = cell else { return Ok(String::new()) };
    if !is_object(raw) {
        return plain(raw);
    }
    let cell: Cell<'_> = read(raw)?;
    let label = match cell.label {
        Some(raw) if is_object(raw) => read::<Named<'_>>(raw)?.text.to_string(),
        Some(raw) => plain(raw)?,
        None => String::new(),
    };
    let chosen = match cell.chosen_values.as_deref() {
        Some([only]) => &*only.name,
        Some(_) | None => "",
    };
    let value = cell.value.map_or(Ok(String::new()), plain)?;
    Ok(payload::first(&[&label, chosen, &value, &cell.text]))
}

/// The amount in a cell, digit by digit.
pub(super) fn amount(cell: Option<&RawValue>) -> Result<String, TranslateError> {
    let Some(raw) = cell else { return Ok(String::new()) };
    let value = match is_object(raw) {
        true => read::<Cell<'_>>(raw)?.value,
        false => Some(raw),
    };
    let amount: Option<Decimal> = value.map(read).transpose()?;
    Ok(amount.unwrap_or_default().text().to_owned())
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

fn plain(raw: &RawValue) -> Result<String, TranslateError> {
    read::<Text<'_>>(raw).map(|text| text.to_string())
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, TranslateError> {
    serde_json::from_str(raw.get()).map_err(|error| payload::unreadable("a column", &error))
}
