//! Whether what a mapping writes to a field is something that the field can hold.

use rust_decimal::Decimal;

use super::statuses::{Reach, check_words};
use super::{Described, Findings, is_always_there, suggest};
use crate::crm::{Field, FieldKind};
use crate::mapping::{Convert, EventPath, FieldRule, Mapping, Piece, Policy, Source};
use crate::value::Value;

/// Texts that are never a number, a date or a yes.
const WORDS: &[&str] = &[
    "counterparty",
    "currency",
    "detail",
    "endpoint",
    "event_status",
    "event_type",
    "failure_message",
    "hash",
    "headline",
    "kind",
    "method",
    "name",
    "previous_status",
    "provider",
    "references.customer_name",
    "references.email",
    "remittance",
    "status",
    "subject",
];

/// What kind of value an event has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Amount,
    Number,
    Boolean,
    Date,
    Time,
    /// A text that is one of few words, or prose.
    Word,
    /// A text of the merchant's or the provider's, which may read as anything.
    Free,
}

/// The findings about one field of a mapping.
pub fn check(
    found: &mut Findings,
    key: &str,
    (name, rule): (&str, &FieldRule),
    described: &Described<'_>,
    reach: &Reach,
) {
    check_words(found, &format!("{key}.when"), &rule.when);
    let Some(field) = described.field(name) else {
        return found.error(key, suggest::field(name, described.description));
    };
    if !field.writable {
        found.error(key, "the field cannot be written, at least not with this credential");
    }
    check_flag(found, key, rule, described);
    if rule.clear && field.required {
        found.warning(key, "a record must have this field, and `clear` would empty it");
    }
    for value in rule.known_values() {
        if let Err(words) = fits(described, field, value) {
            found.error(key, words);
        }
    }
    match &rule.source {
        Source::Constant(_) => {}
        Source::Template(pieces) => check_template(found, key, field, (rule, pieces)),
        Source::From(path) if rule.values.is_empty() => {
            check_value(found, key, (described, field), (rule, path, reach));
        }
        Source::From(path) => check_entries(found, key, (rule, path), reach),
    }
}

/// The findings about fields that new records must have.
pub fn check_required(
    found: &mut Findings,
    at: &str,
    mapping: &Mapping,
    described: &Described<'_>,
) {
    if mapping.policy == Policy::UpdateOnly {
        return;
    }
    // A new record is made with its first key.
    let made_with = mapping.matches.first().and_then(|first| first.field.as_deref());
    let required =
        described.description.fields.iter().filter(|field| field.required && field.writable);
    for field in required.filter(|field| !made_with.is_some_and(|name| described.is(field, name))) {
        let name = &field.name;
        let mapped = mapping.fields.iter().find(|(mapped, _)| described.is(field, mapped));
        let Some((_, rule)) = mapped else {
            let words = format!(
                "a new record must have `{name}` ({}), which nothing fills: add it, or set `policy = \
                 \"update_only\"`",
                field.label
            );
            found.error(&format!("{at}.fields"), words);
            continue;
        };
        if let Source::From(path) = &rule.source
            && rule.default.is_none()
            && !is_always_there(path)
        {
            let words = format!(
                "a new record must have this field, and events without `{}` leave it empty: give it a \
                 `default`",
                path.as_str()
            );
            found.warning(&format!("{at}.fields.{name}"), words);
        }
    }
}

fn check_flag(found: &mut Findings, key: &str, rule: &FieldRule, described: &Described<'_>) {
    let Some(name) = &rule.flag_field else { return };
    let key = format!("{key}.flag_field");
    match described.field(name) {
        None => found.error(&key, suggest::field(name, described.description)),
        Some(flag) if !flag.writable => found.error(&key, format!("`{name}` cannot be written")),
        Some(flag) if flag.kind != FieldKind::Text => {
            found.error(&key, format!("`{name}` must be a text, and is {}", words_of(flag.kind)));
        }
        Some(_) => {}
    }
}

/// Whether a value of the configuration is one that the field can hold.
fn fits(described: &Described<'_>, field: &Field, value: &Value) -> Result<(), String> {
    let text = value.text();
    let refuse = || Err(format!("`{text}` is written to a field that is {}", words_of(field.kind)));
    let right = match field.kind {
        FieldKind::Text | FieldKind::Other => true,
        FieldKind::Number | FieldKind::Money => text.parse::<Decimal>().is_ok(),
        FieldKind::Boolean => text.parse::<bool>().is_ok(),
        FieldKind::Date => text.parse::<jiff::civil::Date>().is_ok(),
        FieldKind::Time => {
            text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok()
        }
        FieldKind::Email => text.contains('@'),
        FieldKind::Choice => {
            let options = &field.options;
            if !options.is_empty() && !described.takes(field, &text) {
                return Err(suggest::option(&text, options));
            }
            true
        }
    };
    if !right && *value != Value::Null {
        return refuse();
    }
    check_length(field, &text)
}

fn check_length(field: &Field, text: &str) -> Result<(), String> {
    let length = text.chars().count();
    match field.max_length {
        Some(longest)
            if matches!(field.kind, FieldKind::Text | FieldKind::Email) && length > longest =>
        {
            Err(format!("`{text}` has {length} characters, and the field holds {longest}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_template(
    found: &mut Findings,
    key: &str,
    field: &Field,
    (rule, pieces): (&FieldRule, &[Piece]),
) {
    let plain = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Value(_) => "",
    });
    if let Err(words) = check_length(field, &plain.collect::<String>()) {
        found.error(key, words);
    }
    if rule.convert.is_none() && rule.values.is_empty() {
        hold(found, key, field, Shape::Free, "what the template makes");
    }
}

/// A value goes to the field as the event has it, or converted.
fn check_value(
    found: &mut Findings,
    key: &str,
    (described, field): (&Described<'_>, &Field),
    (rule, path, reach): (&FieldRule, &EventPath, &Reach),
) {
    let shape = shape(path);
    let shape = match rule.convert {
        None => shape,
        Some(convert) => match converted(shape, convert) {
            Some(shape) => shape,
            None => {
                let words =
                    format!("`as`: `{}` is {} and never becomes one", path.as_str(), told(shape));
                return found.error(key, words);
            }
        },
    };
    let options = &field.options;
    if field.kind == FieldKind::Choice && !options.is_empty() && is_closed(path) {
        let words = reach.within(&rule.when).words(path);
        let unknown: Vec<String> =
            words.into_iter().filter(|word| !described.takes(field, word)).collect();
        if !unknown.is_empty() {
            let advice = suggest::option(&unknown[0], options);
            let words = format!(
                "{} would be written, which the field does not take ({advice}); `values` says which \
                 option each `{}` is",
                unknown.join(", "),
                path.as_str()
            );
            found.error(key, words);
        }
        return;
    }
    if field.kind == FieldKind::Money && path.as_str().ends_with(".minor_units") {
        found
            .warning(key, "12995 would be written for 129.95; without `.minor_units` it is 129.95");
    }
    hold(found, key, field, shape, &format!("`{}`", path.as_str()));
}

/// A value goes through a table.
fn check_entries(
    found: &mut Findings,
    key: &str,
    (rule, path): (&FieldRule, &EventPath),
    reach: &Reach,
) {
    if !is_closed(path) {
        if rule.otherwise.is_none() {
            let words = format!(
                "an event with another `{}` than those of `values` is put aside; `otherwise` would take it",
                path.as_str()
            );
            found.warning(key, words);
        }
        return;
    }
    let words = reach.within(&rule.when).words(path);
    let missing: Vec<String> =
        words.into_iter().filter(|word| !rule.values.contains_key(word)).collect();
    if missing.is_empty() {
        return;
    }
    let missing = missing.join(", ");
    match &rule.otherwise {
        Some(otherwise) => {
            found.warning(key, format!("{missing} become the `otherwise`, `{otherwise}`"));
        }
        None => found.error(
            key,
            format!(
                "`values` has no entry for {missing}, and such events get here and would be put aside: \
                 add entries or an `otherwise`, or keep them out with `when` or `gateway.filter`"
            ),
        ),
    }
}

/// Whether a field can hold a value of this shape.
fn hold(found: &mut Findings, key: &str, field: &Field, shape: Shape, what: &str) {
    let kind = words_of(field.kind);
    match (field.kind, shape) {
        (FieldKind::Text | FieldKind::Other, _)
        | (FieldKind::Number | FieldKind::Money, Shape::Amount | Shape::Number)
        | (FieldKind::Boolean, Shape::Boolean)
        | (FieldKind::Date, Shape::Date)
        | (FieldKind::Time, Shape::Time)
        | (FieldKind::Email, Shape::Word | Shape::Free) => {}
        (FieldKind::Choice, _) if field.options.is_empty() => {}
        (FieldKind::Date, Shape::Time) => {
            found.warning(
                key,
                format!("{what} is a moment and the field a day: add `as = \"date\"`"),
            );
        }
        (FieldKind::Time, Shape::Date) => {
            found.warning(
                key,
                format!("{what} is a day and the field a moment: add `as = \"time\"`"),
            );
        }
        (FieldKind::Number | FieldKind::Money | FieldKind::Boolean, Shape::Free)
        | (FieldKind::Date | FieldKind::Time, Shape::Free) => {
            let words = format!(
                "{what} is text, and the field {kind}: with `as` an event whose text does not read so \
                 is put aside before the CRM refuses it"
            );
            found.warning(key, words);
        }
        (FieldKind::Choice, Shape::Word | Shape::Free | Shape::Number | Shape::Boolean) => {
            let words = format!(
                "the field takes its options alone, and the CRM refuses what is none of them: `values` \
                 says which option each {what} is"
            );
            found.warning(key, words);
        }
        (
            FieldKind::Number
            | FieldKind::Money
            | FieldKind::Boolean
            | FieldKind::Date
            | FieldKind::Time
            | FieldKind::Choice
            | FieldKind::Email,
            Shape::Amount
            | Shape::Number
            | Shape::Boolean
            | Shape::Date
            | Shape::Time
            | Shape::Word,
        ) => found.error(key, format!("{what} is {}, and the field is {kind}", told(shape))),
    }
}

fn shape(path: &EventPath) -> Shape {
    match path.as_str() {
        "live" => Shape::Boolean,
        "due_date" => Shape::Date,
        "occurred_at" | "received_at" => Shape::Time,
        "sequence" => Shape::Number,
        _ if path.is_amount() => Shape::Amount,
        text if text.starts_with("amounts.") && text.ends_with(".minor_units") => Shape::Number,
        text if text.starts_with("amounts.") || WORDS.contains(&text) => Shape::Word,
        _ => Shape::Free,
    }
}

/// What a value of this shape becomes; `None` where it never becomes that.
fn converted(shape: Shape, convert: Convert) -> Option<Shape> {
    match (convert, shape) {
        (Convert::Text, _) => Some(Shape::Free),
        (Convert::Number, Shape::Amount | Shape::Number | Shape::Free) => Some(Shape::Number),
        (Convert::Boolean, Shape::Boolean | Shape::Free) => Some(Shape::Boolean),
        (Convert::Date, Shape::Date | Shape::Time | Shape::Free) => Some(Shape::Date),
        (Convert::Time, Shape::Date | Shape::Time | Shape::Free) => Some(Shape::Time),
        (
            Convert::Number | Convert::Boolean | Convert::Date | Convert::Time,
            Shape::Amount
            | Shape::Number
            | Shape::Boolean
            | Shape::Date
            | Shape::Time
            | Shape::Word,
        ) => None,
    }
}

/// Whether all its words are known.
fn is_closed(path: &EventPath) -> bool {
    path.is_status() || path.as_str() == "kind"
}

fn told(shape: Shape) -> &'static str {
    match shape {
        Shape::Amount => "an amount",
        Shape::Number => "a number",
        Shape::Boolean => "yes or no",
        Shape::Date => "a day",
        Shape::Time => "a moment",
        Shape::Word | Shape::Free => "text",
    }
}

fn words_of(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::Number => "a number",
        FieldKind::Money => "an amount",
        FieldKind::Boolean => "yes or no",
        FieldKind::Date => "a day",
        FieldKind::Time => "a moment",
        FieldKind::Choice => "a choice",
        FieldKind::Email => "an email address",
        FieldKind::Other => "of another kind",
    }
}
