//! What kind of values a path of events leads to, and what they can be made. In comes a path that was
//! checked, out goes its shape; no event is looked at.

use crate::mapping::{Convert, EventPath};

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
pub enum Shape {
    /// An amount with its currency.
    Amount,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    Time,
    /// A text that is one of few words, or prose.
    Word,
    /// A text of the merchant's or the provider's, which may read as anything.
    Free,
}

impl Shape {
    /// Of the values at a path.
    pub fn of(path: &EventPath) -> Shape {
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
    pub fn converted(self, convert: Convert) -> Option<Shape> {
        match (convert, self) {
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

    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Shape::Amount => "an amount",
            Shape::Number => "a number",
            Shape::Boolean => "yes or no",
            Shape::Date => "a day",
            Shape::Time => "a moment",
            Shape::Word | Shape::Free => "text",
        }
    }
}
