//! What columns take. In comes the text of `column_values` as it was sent, out go the fields to store, or
//! the vendor's error for the first that does not fit. Nothing is repaired but what the vendor itself does:
//! a long text is cut.

use serde_json::{Map, Value, json};

use super::board::{Board, Column, Shape};
use crate::{Fields, table::field};

const MAX_NAME_CHARS: usize = 255;
const MAX_LONG_TEXT_CHARS: usize = 2_000;

/// Why an alias failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) words: String,
    pub(super) data: Value,
}

impl Failure {
    pub(super) fn new(code: &'static str, words: impl Into<String>) -> Failure {
        Failure { code, status: 200, words: words.into(), data: json!({}) }
    }
}

/// The fields that a text of column values means on a board. With `creates_labels`, labels that it names
/// are made.
pub(super) fn read(
    board: &mut Board,
    sent: &Value,
    creates_labels: bool,
) -> Result<Fields, Failure> {
    let Value::String(text) = sent else {
        let words = "column_values must be a text that holds JSON";
        return Err(Failure::new("InvalidArgumentException", words));
    };
    let parsed: Value = serde_json::from_str(text)
        .map_err(|error| Failure::new("JsonParseException", error.to_string()))?;
    let Value::Object(values) = parsed else {
        return Err(Failure::new("InvalidArgumentException", "column_values must be an object"));
    };
    let mut fields = Map::new();
    for (id, value) in values {
        if id == "name" {
            fields.insert(id, Value::String(name(&value)?));
            continue;
        }
        let Some(column) = board.columns.iter_mut().find(|column| column.id == id) else {
            let words = format!("This column ID doesn't exist for the board: {id}");
            let data = json!({ "column_id": id });
            return Err(Failure { data, ..Failure::new("InvalidColumnIdException", words) });
        };
        if creates_labels {
            create_labels(column, &value);
        }
        let stored = stored(column, &value).map_err(|words| Failure {
            data: json!({
                "column_id": column.id, "column_type": column.shape.name(), "column_value": value
            }),
            ..Failure::new("ColumnValueException", words)
        })?;
        if column.shape == Shape::Email {
            let text = value.get("text").cloned().unwrap_or(Value::Null);
            fields.insert("email_text".to_owned(), text);
        }
        fields.insert(id, stored);
    }
    Ok(fields)
}

/// A name that an item may have.
pub(super) fn name(value: &Value) -> Result<String, Failure> {
    match value.as_str() {
        Some(name) if (1..=MAX_NAME_CHARS).contains(&name.chars().count()) => Ok(name.to_owned()),
        Some(_) => Err(Failure::new("ItemNameTooLongException", "1 to 255 characters")),
        None => Err(Failure::new("ColumnValueException", "a name is a text")),
    }
}

fn create_labels(column: &mut Column, value: &Value) {
    if let Some(label) = value.get("label").and_then(Value::as_str)
        && column.shape == Shape::Status
        && !column.labels.iter().any(|known| known == label)
    {
        column.labels.push(label.to_owned());
    }
}

/// What is kept of a value; null for one that empties the column.
fn stored(column: &Column, value: &Value) -> Result<Value, String> {
    let is_empty = value.is_null() || value.as_str() == Some("") || *value == json!({});
    if is_empty && column.shape != Shape::Formula {
        return Ok(Value::Null);
    }
    let part = |key: &str| value.get(key).and_then(Value::as_str);
    let known = |label: &str| column.labels.iter().any(|known| known == label);
    let wrong = || format!("invalid value for a column of the type {}", column.shape.name());
    let kept = match column.shape {
        Shape::Text => value.as_str().map(str::to_owned),
        Shape::LongText => {
            only(value, &["text"])?;
            part("text").map(|text| text.chars().take(MAX_LONG_TEXT_CHARS).collect())
        }
        Shape::Numbers => value.as_str().filter(|text| is_number(text)).map(str::to_owned),
        Shape::Status => {
            only(value, &["label", "index"])?;
            match (part("label"), value.get("index").and_then(Value::as_u64)) {
                (Some(label), None) if !known(label) => {
                    let labels = column.labels.join(", ");
                    return Err(format!("no label `{label}`: possible are {labels}"));
                }
                (Some(label), None) => Some(label.to_owned()),
                (None, Some(index)) => {
                    usize::try_from(index).ok().and_then(|index| column.labels.get(index)).cloned()
                }
                (Some(_), Some(_)) | (None, None) => None,
            }
        }
        Shape::Dropdown => {
            only(value, &["labels"])?;
            let labels = value.get("labels").and_then(Value::as_array);
            let labels: Option<Vec<&str>> = labels
                .map(|labels| labels.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
                .unwrap_or_default();
            labels.filter(|all| all.iter().all(|label| known(label))).map(|all| all.join(", "))
        }
        Shape::Date => {
            only(value, &["date", "time"])?;
            date(part("date"), value.get("time"))
        }
        Shape::Checkbox => {
            only(value, &["checked"])?;
            part("checked").filter(|checked| *checked == "true").map(str::to_owned)
        }
        Shape::Email => {
            only(value, &["email", "text"])?;
            let email = part("email").filter(|email| email.contains('@'));
            email.filter(|_| part("text").is_some_and(|text| !text.is_empty())).map(str::to_owned)
        }
        Shape::Formula => return Err("a formula cannot be written".to_owned()),
    };
    kept.map(Value::String).ok_or_else(wrong)
}

/// An object with none but these keys.
fn only(value: &Value, keys: &[&str]) -> Result<(), String> {
    let Some(object) = value.as_object() else {
        return Err(format!("must be an object: {}", field::text(value)));
    };
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key `{key}`")),
        None => Ok(()),
    }
}

/// Plain digits: no blanks, no exponent, no thousands.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain && digits.starts_with(|c: char| c.is_ascii_digit()) && digits.matches('.').count() <= 1
}

fn date(day: Option<&str>, time: Option<&Value>) -> Option<String> {
    let day = day.filter(|day| day.len() == 10 && day.parse::<jiff::civil::Date>().is_ok())?;
    match time {
        None | Some(Value::Null) => Some(day.to_owned()),
        Some(Value::String(time)) if time.len() == 8 => {
            time.parse::<jiff::civil::Time>().ok()?;
            Some(format!("{day} {time}"))
        }
        Some(_) => None,
    }
}
