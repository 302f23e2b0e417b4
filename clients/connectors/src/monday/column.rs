//! Columns: how a value is written to one, read back from it, and described. In come a column's type and a
//! value, out goes the JSON that the type wants, and the other way round. What a type would take only in
//! part must be refused and not be cut.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Value as Json, json};

use crate::crm::{Fault, Field, FieldKind, FieldOption};
use crate::value::Value;

/// Beyond it the vendor cuts long texts without a word.
const MAX_LONG_TEXT_CHARS: usize = 2_000;
const MAX_OPTIONS: usize = 500;

/// A column of a board.
#[derive(Debug)]
pub(super) struct Column {
    /// What it is known by in the API: `color_mm76s2eq`.
    pub(super) id: String,
    title: String,
    shape: Shape,
    labels: Vec<String>,
}

/// What values of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    LongText,
    Numbers,
    Status,
    Dropdown,
    Date,
    Checkbox,
    Email,
    Link,
    /// Read as text, and not written: people, files, formulas, mirrors.
    Other,
}

const SHAPES: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("text", Shape::Text),
    ("long_text", Shape::LongText),
    ("numbers", Shape::Numbers),
    ("status", Shape::Status),
    ("dropdown", Shape::Dropdown),
    ("date", Shape::Date),
    ("checkbox", Shape::Checkbox),
    ("email", Shape::Email),
    ("link", Shape::Link),
];

fn shape_of(kind: &str) -> Shape {
    SHAPES.iter().find(|(name, _)| *name == kind).map_or(Shape::Other, |(_, shape)| *shape)
}

impl Column {
    /// Reads one of a board's `columns`; `None` for one that is archived.
    pub(super) fn read(json: &Json) -> Option<Column> {
        let text = |key| json.get(key).and_then(Json::as_str);
        if json.get("archived").and_then(Json::as_bool) == Some(true) {
            return None;
        }
        let id = text("id")?.to_owned();
        let labels = json.get("settings").map(labels_of).unwrap_or_default();
        let title = text("title").unwrap_or(&id).to_owned();
        Some(Column { title, shape: shape_of(text("type")?), labels, id })
    }

    /// As people see it.
    pub(super) fn field(&self) -> Field {
        let kind = match self.shape {
            Shape::Text | Shape::LongText => FieldKind::Text,
            Shape::Numbers => FieldKind::Number,
            Shape::Status | Shape::Dropdown => FieldKind::Choice,
            Shape::Date => FieldKind::Date,
            Shape::Checkbox => FieldKind::Boolean,
            Shape::Email => FieldKind::Email,
            Shape::Link | Shape::Other => FieldKind::Other,
        };
        let option = |label: &String| FieldOption { value: label.clone(), label: label.clone() };
        Field {
            name: self.id.clone(),
            label: self.title.clone(),
            kind,
            writable: self.shape != Shape::Other,
            required: false,
            unique: false,
            options: self.labels.iter().map(option).collect(),
            max_length: (self.shape == Shape::LongText).then_some(MAX_LONG_TEXT_CHARS),
        }
    }

    /// The value as the column's type wants it in `column_values`.
    pub(super) fn render(&self, value: &Value) -> Result<Json, Fault> {
        let text = value.text();
        let is_empty = text.is_empty();
        Ok(match self.shape {
            Shape::Text | Shape::Numbers => Json::String(text),
            Shape::LongText if text.chars().count() > MAX_LONG_TEXT_CHARS => {
                let reason = format!(
                    "column `{}` holds {MAX_LONG_TEXT_CHARS} characters and would cut the rest",
                    self.id
                );
                return Err(Fault::permanent("TextTooLong", reason));
            }
            Shape::Other => {
                let reason = format!("column `{}` is of a type that is not written", self.id);
                return Err(Fault::permanent("UnsupportedColumn", reason));
            }
            Shape::Checkbox if *value == Value::Boolean(true) || text == "true" => {
                json!({ "checked": "true" })
            }
            Shape::Checkbox => Json::Null,
            Shape::LongText
            | Shape::Status
            | Shape::Dropdown
            | Shape::Date
            | Shape::Email
            | Shape::Link
                if is_empty =>
            {
                Json::Null
            }
            Shape::LongText => json!({ "text": text }),
            Shape::Status => json!({ "label": text }),
            Shape::Dropdown => json!({ "labels": [text] }),
            Shape::Date => date_json(value, &text),
            Shape::Email => json!({ "email": text, "text": text }),
            Shape::Link => json!({ "url": text, "text": text }),
        })
    }
}

/// A moment keeps its time, which the API takes in UTC, to the second.
fn date_json(value: &Value, text: &str) -> Json {
    let time = match value {
        Value::Time(time) => Some(*time),
        Value::Text(_) => text.parse::<Timestamp>().ok(),
        Value::Null | Value::Number(_) | Value::Money(..) | Value::Boolean(_) | Value::Date(_) => {
            None
        }
    };
    match time {
        Some(time) => {
            let utc = time.to_zoned_datetime(TimeZone::UTC);
            let (date, time) = (utc.date().to_string(), utc.strftime("%H:%M:%S").to_string());
            json!({ "date": date, "time": time })
        }
        None => json!({ "date": text }),
    }
}

/// What one of an item's `column_values` says, with the column's id.
pub(super) fn read_value(json: &Json) -> Option<(String, Value)> {
    let field = |key| json.get(key).and_then(Json::as_str);
    let id = field("id")?.to_owned();
    let text = field("text").unwrap_or_default();
    let as_text = || match text {
        "" => Value::Null,
        text => Value::Text(text.to_owned()),
    };
    // A JSON value comes as a text that holds it.
    let raw = json.get("value").and_then(|raw| match raw {
        Json::String(text) => serde_json::from_str::<Json>(text).ok(),
        Json::Null => None,
        other => Some(other.clone()),
    });
    let part = |key: &str| raw.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let value = match shape_of(field("type").unwrap_or_default()) {
        Shape::Numbers => match text.parse() {
            Ok(number) => Value::Number(number),
            Err(_) => as_text(),
        },
        Shape::Checkbox => Value::Boolean(!text.is_empty()),
        Shape::Date => part("date").map_or_else(as_text, |date| read_date(&date, part("time"))),
        Shape::Email => part("email").map_or_else(as_text, Value::Text),
        Shape::Link => part("url").map_or_else(as_text, Value::Text),
        Shape::LongText => part("text").map_or_else(as_text, Value::Text),
        Shape::Text | Shape::Status | Shape::Dropdown | Shape::Other => as_text(),
    };
    Some((id, value))
}

/// Whether one of an item's `column_values` says this.
pub(super) fn answers_to(json: &Json, wanted: &str) -> bool {
    let kind = json.get("type").and_then(Json::as_str).unwrap_or_default();
    let text = json.get("text").and_then(Json::as_str).unwrap_or_default();
    let value = read_value(json).map_or(Value::Null, |(_, value)| value);
    match shape_of(kind) {
        Shape::Email => value.text().trim().eq_ignore_ascii_case(wanted.trim()),
        Shape::Dropdown => text.split(", ").any(|label| label == wanted),
        // Two ids that read as one number are two ids all the same.
        Shape::Text | Shape::LongText => value.text().trim() == wanted.trim(),
        Shape::Numbers | Shape::Status | Shape::Date | Shape::Checkbox => {
            value.same_as(&Value::Text(wanted.to_owned()))
        }
        Shape::Link | Shape::Other => true,
    }
}

fn read_date(date: &str, time: Option<String>) -> Value {
    let Ok(day) = date.parse::<civil::Date>() else {
        return Value::Text(date.to_owned());
    };
    let clock = time.and_then(|time| time.parse::<civil::Time>().ok());
    let moment =
        clock.and_then(|clock| day.to_datetime(clock).to_zoned_datetime(TimeZone::UTC).ok());
    moment.map_or(Value::Date(day), |moment| Value::Time(moment.timestamp()))
}

/// The labels of a status or dropdown, without those that were switched off.
fn labels_of(settings: &Json) -> Vec<String> {
    let labels = settings.get("labels").and_then(Json::as_array).into_iter().flatten();
    let is_on = |label: &&Json| label.get("is_deactivated").and_then(Json::as_bool) != Some(true);
    let name = |label: &Json| {
        let name = label.get("label").or_else(|| label.get("name"))?;
        name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    labels.filter(is_on).filter_map(name).take(MAX_OPTIONS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: &str) -> Column {
        let json = json!({ "id": "c", "title": "C", "type": kind, "settings": {} });
        Column::read(&json).expect("a column")
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn each_type_gets_its_own_json_and_null_empties_it() {
        let amount = Value::Money("129.90".parse().expect("a number"), "EUR".to_owned());
        let time = Value::Time("2026-11-24T10:05:06.5Z".parse().expect("a time"));
        let day = Value::Date("2026-11-24".parse().expect("a day"));
        for (kind, value, want) in [
            ("text", text("pay_1"), json!("pay_1")),
            ("text", Value::Null, json!("")),
            ("numbers", amount, json!("129.90")),
            ("numbers", Value::Null, json!("")),
            ("status", text("Paid"), json!({ "label": "Paid" })),
            ("status", Value::Null, Json::Null),
            ("dropdown", text("card"), json!({ "labels": ["card"] })),
            ("date", day, json!({ "date": "2026-11-24" })),
            ("date", time, json!({ "date": "2026-11-24", "time": "10:05:06" })),
            (
                "email",
                text("a@b.example"),
                json!({ "email": "a@b.example", "text": "a@b.example" }),
            ),
            ("checkbox", Value::Boolean(true), json!({ "checked": "true" })),
            ("checkbox", Value::Boolean(false), Json::Null),
            ("long_text", text("x"), json!({ "text": "x" })),
            ("link", text("https://x"), json!({ "url": "https://x", "text": "https://x" })),
        ] {
            assert_eq!(column(kind).render(&value).expect(kind), want, "{kind}");
        }
        let long = text(&"ö".repeat(2_001));
        assert!(matches!(column("long_text").render(&long), Err(Fault::Permanent { .. })));
        assert!(matches!(column("formula").render(&text("1")), Err(Fault::Permanent { .. })));
    }

    #[test]
    fn what_was_written_reads_the_same() {
        let read = |json: Json| read_value(&json).expect("a value").1;
        let number =
            read(json!({ "id": "c", "type": "numbers", "text": "129.9", "value": "\"129.9\"" }));
        assert!(number.same_as(&text("129.90")));
        let paid = json!({ "id": "c", "type": "status", "text": "Paid", "value": "{\"index\":1}" });
        assert!(read(paid).same_as(&text("Paid")));
        let none = json!({ "id": "c", "type": "status", "text": null, "value": null });
        assert_eq!(read(none), Value::Null);
        let day = json!({ "id": "c", "type": "date", "text": "2026-11-24",
            "value": "{\"date\":\"2026-11-24\",\"icon\":null}" });
        assert!(read(day).same_as(&text("2026-11-24")));
        let moment = json!({ "id": "c", "type": "date", "text": "2026-11-24 11:05",
            "value": "{\"date\":\"2026-11-24\",\"time\":\"10:05:06\"}" });
        assert!(read(moment).same_as(&text("2026-11-24T10:05:06Z")));
        let email = json!({ "id": "c", "type": "email", "text": "Ann",
            "value": "{\"email\":\"a@b.example\",\"text\":\"Ann\"}" });
        assert_eq!(read(email), text("a@b.example"));
        let off = json!({ "id": "c", "type": "checkbox", "text": "", "value": null });
        assert_eq!(read(off), Value::Boolean(false));
    }
}
