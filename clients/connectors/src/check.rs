//! Whether a mapping fits the CRM as it is: the heart of `check`, which everything that writes does first.
//! In come a mapping and the CRM's description of its object, out come findings in plain words, each with
//! the key it is about. It does no I/O. What would certainly be refused by the CRM must be an error, and
//! what may be right must not.

mod fields;
mod matches;
mod statuses;
mod suggest;

use crate::config::Events;
use crate::crm::{Description, Facts, Fault, Field};
use crate::mapping::{EventPath, Mapping};

use statuses::Reach;
pub use statuses::check_filter;

/// Something about a mapping that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, `objects[0].fields.dealstage`.
    pub key: String,
    /// What is wrong and what would be right, in plain words.
    pub words: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Events would be refused or never written: nothing may run like this.
    Error,
    /// It may be meant so.
    Warning,
}

/// What a mapping is held against beside the description of its object.
pub struct Setting<'a> {
    /// Which events the subscription gets.
    pub events: &'a Events,
    /// What is always so about the CRM.
    pub facts: &'static Facts,
    /// Whether the CRM takes fields and options by what people see as well.
    pub takes_labels: bool,
}

/// A description as the CRM understands names.
struct Described<'a> {
    description: &'a Description,
    takes_labels: bool,
}

/// The findings about one mapping, which stands at `at`, for example `objects[0]`.
pub fn check(
    at: &str,
    mapping: &Mapping,
    description: &Description,
    setting: &Setting<'_>,
) -> Vec<Finding> {
    let mut found = Findings::default();
    let described = Described { description, takes_labels: setting.takes_labels };
    let reach = Reach::of(setting.events, &mapping.when);
    statuses::check_words(&mut found, &format!("{at}.when"), &mapping.when);
    if reach.is_empty() {
        found.warning(
            &format!("{at}.when"),
            "no event gets here: `gateway.filter` and `when` exclude each other",
        );
    }
    matches::check(&mut found, at, mapping, &described, setting.facts);
    for (name, rule) in &mapping.fields {
        let key = format!("{at}.fields.{name}");
        fields::check(&mut found, &key, (name, rule), &described, &reach);
    }
    fields::check_required(&mut found, at, mapping, &described);
    matches::check_waiting(&mut found, at, mapping, setting.facts);
    found.0
}

/// The finding that a refusal to describe an object means; `None` where the CRM may answer later.
pub fn of_refusal(at: &str, object: &str, fault: &Fault) -> Option<Finding> {
    match fault {
        Fault::Permanent { .. } | Fault::Gone { .. } => Some(Finding {
            severity: Severity::Error,
            key: format!("{at}.object"),
            words: format!(
                "the CRM has no `{object}`, or this credential may not see it ({fault})"
            ),
        }),
        Fault::Throttled { .. }
        | Fault::Transient { .. }
        | Fault::Raced { .. }
        | Fault::Unauthorized { .. } => None,
    }
}

impl Described<'_> {
    /// The field of this name; by its label only if no other has it.
    fn field(&self, name: &str) -> Option<&Field> {
        let mut labelled = self.description.fields.iter().filter(|field| field.label == name);
        self.description.field(name).or_else(|| match (labelled.next(), labelled.next()) {
            (Some(field), None) if self.takes_labels => Some(field),
            (Some(_) | None, _) => None,
        })
    }

    /// Whether a name is one of the field's.
    fn is(&self, field: &Field, name: &str) -> bool {
        self.field(name).is_some_and(|named| named.name == field.name)
    }

    /// Whether the choice has this option.
    fn takes(&self, field: &Field, text: &str) -> bool {
        let is = |label: &str| self.takes_labels && label == text;
        field.options.iter().any(|option| option.value == text || is(&option.label))
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, key: &str, words: impl Into<String>) {
        self.add(Severity::Error, key, words.into());
    }

    fn warning(&mut self, key: &str, words: impl Into<String>) {
        self.add(Severity::Warning, key, words.into());
    }

    fn add(&mut self, severity: Severity, key: &str, words: String) {
        self.0.push(Finding { severity, key: key.to_owned(), words });
    }
}

/// Whether every event has a value there.
fn is_always_there(path: &EventPath) -> bool {
    const ALWAYS: &[&str] = &[
        "endpoint",
        "event_id",
        "event_status",
        "event_type",
        "hash",
        "headline",
        "kind",
        "live",
        "name",
        "provider",
        "received_at",
        "sequence",
        "status",
        "subject",
        "subject_id",
    ];
    ALWAYS.contains(&path.as_str())
}

#[cfg(test)]
mod tests;
