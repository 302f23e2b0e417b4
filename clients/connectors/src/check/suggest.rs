//! What somebody may have meant: the known name that is most like a wrong one, by the name itself or by the
//! label that people see.

use crate::crm::{Description, FieldOption};

/// How alike a word must be to be suggested.
const LIKENESS: f64 = 0.75;
/// How many of the possible values are listed.
const MAX_LISTED: usize = 10;

/// Words about an unknown field.
pub fn field(name: &str, description: &Description) -> String {
    let fields = &description.fields;
    let what = &description.label;
    if let Some(labelled) = fields.iter().find(|field| same(&field.label, name)) {
        return format!("`{name}` is what people see; the field's name is `{}`", labelled.name);
    }
    let names = fields.iter().flat_map(|field| {
        [(field.name.as_str(), field.name.as_str()), (field.label.as_str(), field.name.as_str())]
    });
    match nearest(name, names) {
        Some(meant) => format!("{what} has no field `{name}`; did you mean `{meant}`?"),
        None => format!("{what} has no field `{name}`"),
    }
}

/// Words about a value that is none of a field's options.
pub fn option(value: &str, options: &[FieldOption]) -> String {
    if let Some(labelled) = options.iter().find(|option| same(&option.label, value)) {
        return format!("`{value}` is what people see; write `{}`", labelled.value);
    }
    let words = options.iter().flat_map(|option| {
        [
            (option.value.as_str(), option.value.as_str()),
            (option.label.as_str(), option.value.as_str()),
        ]
    });
    match nearest(value, words) {
        Some(meant) => format!("the field has no option `{value}`; did you mean `{meant}`?"),
        None => format!("the field has no option `{value}`; it has {}", listed(options)),
    }
}

/// The known word that is most like this one.
pub fn word<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(text, known.map(|word| (word, word))) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    }
}

/// Of pairs of what is compared and what is meant by it.
fn nearest<'a>(text: &str, known: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let text = text.to_lowercase();
    known
        .map(|(seen, meant)| (strsim::jaro_winkler(&text, &seen.to_lowercase()), meant))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, meant)| meant)
}

fn listed(options: &[FieldOption]) -> String {
    let shown = options.iter().take(MAX_LISTED).map(|option| format!("`{}`", option.value));
    let more = options.len().saturating_sub(MAX_LISTED);
    let shown = shown.collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}
