//! A Dataverse webhook's remote execution context: what happened to a row, the columns that changed, and
//! images of the row before and after. The target of an update holds changed columns alone, so what else
//! is needed is taken from an image. A context over 256 KB has neither.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::crm::{Item, Thin};
use crate::providers::payload::{self, Text};
use crate::providers::{Endpoint, TranslateError, crm, fields};
use crate::receipt::Receipt;

use super::row::{self, Cells, Origin};
use super::{CREATE, DELETE, UPDATE, is_of_table, is_own_user};

/// What Dataverse writes as the id of an operation that has none.
const NO_OPERATION: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Context<'a> {
    #[serde(borrow)]
    pub(super) message_name: Text<'a>,
    #[serde(borrow)]
    primary_entity_name: Text<'a>,
    #[serde(borrow)]
    primary_entity_id: Text<'a>,
    #[serde(borrow)]
    initiating_user_id: Text<'a>,
    #[serde(borrow)]
    operation_id: Text<'a>,
    #[serde(borrow)]
    operation_created_on: Text<'a>,
    #[serde(borrow)]
    input_parameters: Option<Vec<Pair<'a>>>,
    #[serde(borrow)]
    pre_entity_images: Option<Vec<Image<'a>>>,
    #[serde(borrow)]
    post_entity_images: Option<Vec<Image<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pair<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image<'a> {
    #[serde(borrow)]
    value: Option<Entity<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Entity<'a> {
    #[serde(borrow)]
    attributes: Option<Vec<Pair<'a>>>,
    #[serde(borrow)]
    formatted_values: Option<Vec<Label<'a>>>,
}

/// How an option reads.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Label<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

/// A value in its wrapper: an option, money, or a reference to another row.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Wrapped<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Text<'a>,
}

impl Context<'_> {
    /// What the context says of its row.
    pub(super) fn item(
        &self,
        receipt: &Receipt,
        endpoint: &Endpoint,
    ) -> Result<Item, TranslateError> {
        let is_deleted = *self.message_name == *DELETE;
        let is_echo = is_own_user(endpoint, &self.initiating_user_id);
        if is_deleted || is_echo || !is_of_table(endpoint, &self.primary_entity_name) {
            return Ok(Item::Silent);
        }
        if self.primary_entity_id.is_empty() {
            return Err(TranslateError("the context names no row".to_owned()));
        }
        let occurred_at = match &*self.operation_created_on {
            "" => receipt.received_at(),
            text => date(text)?,
        };
        let Some(target) = self.target()? else {
            return Ok(Item::Thin(Thin {
                event_id: self.operation().unwrap_or_default().to_owned(),
                event_type: self.message_name.to_string(),
                occurred_at,
                record_type: self.primary_entity_name.to_string(),
                record_id: self.primary_entity_id.to_string(),
            }));
        };
        if *self.message_name == *UPDATE && !touches(&target, endpoint) {
            return Ok(Item::Silent);
        }
        let row = Row { context: self, target };
        let key = match self.operation() {
            Some(id) => format!("{id}:{}:{}", &*self.primary_entity_id, &*self.message_name),
            None => crm::state_key(&[&String::from_utf8_lossy(receipt.body())]),
        };
        let event_id = self.operation().map_or_else(|| key.clone(), str::to_owned);
        let event_type = if *self.message_name == *CREATE { CREATE } else { UPDATE };
        let origin = Origin {
            key: Some(key),
            event_id,
            event_type,
            occurred_at,
            table: &self.primary_entity_name,
            record_id: &self.primary_entity_id,
        };
        row::item(origin, &row, endpoint)
    }

    fn operation(&self) -> Option<&str> {
        Some(&*self.operation_id).filter(|id| !id.is_empty() && *id != NO_OPERATION)
    }

    fn target(&self) -> Result<Option<Entity<'_>>, TranslateError> {
        let parameters = self.input_parameters.as_deref().unwrap_or_default();
        let Some(target) = one(parameters, "Target")? else { return Ok(None) };
        let entity = serde_json::from_str(target.get());
        entity.map(Some).map_err(|error| payload::unreadable("the target of a call", &error))
    }
}

/// Whether an update is about a column of the payment.
fn touches(target: &Entity<'_>, endpoint: &Endpoint) -> bool {
    let columns = row::columns(endpoint);
    target.attributes.iter().flatten().any(|attribute| columns.contains(&&*attribute.key))
}

/// The target with what its images add.
struct Row<'a, 'b> {
    context: &'b Context<'a>,
    target: Entity<'b>,
}

impl Row<'_, '_> {
    /// The target, then the row after, then the row before: what an update leaves is as it was.
    fn entities(&self) -> impl Iterator<Item = &Entity<'_>> {
        let images = [&self.context.post_entity_images, &self.context.pre_entity_images];
        let images = images.into_iter().flatten().flatten();
        std::iter::once(&self.target).chain(images.filter_map(|image| image.value.as_ref()))
    }
}

impl Cells for Row<'_, '_> {
    fn cell(&self, column: &str) -> Result<Option<Cow<'_, str>>, TranslateError> {
        for entity in self.entities() {
            let attributes = entity.attributes.as_deref().unwrap_or_default();
            let is_named = attributes.iter().any(|pair| *pair.key == *column);
            if is_named {
                return one(attributes, column)?.map_or(Ok(Some("".into())), text);
            }
        }
        Ok(None)
    }

    fn label(&self, column: &str) -> Option<Cow<'_, str>> {
        let mut labels = self.entities().flat_map(|entity| &entity.formatted_values).flatten();
        let label = labels.find(|label| *label.key == *column)?;
        Some(Cow::Borrowed(&label.value))
    }
}

/// The value of a key that stands at most once; a null reads as no value.
fn one<'a>(pairs: &[Pair<'a>], key: &str) -> Result<Option<&'a RawValue>, TranslateError> {
    let mut found = pairs.iter().filter(|pair| *pair.key == *key);
    let first = found.next();
    match found.next() {
        None => Ok(first.and_then(|pair| pair.value)),
        Some(_) => Err(TranslateError("a key stands twice in a context".to_owned())),
    }
}

/// The text of a value, out of its wrapper.
fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>, TranslateError> {
    let unreadable = |error| payload::unreadable("a value of a row", &error);
    if !value.get().starts_with('{') {
        return fields::text_of(value.get()).map_err(unreadable);
    }
    let wrapped: Wrapped<'_> = serde_json::from_str(value.get()).map_err(unreadable)?;
    match wrapped.value {
        Some(inner) => fields::text_of(inner.get()).map_err(unreadable),
        None => Ok(Some(Cow::Owned(wrapped.id.to_string()))),
    }
}

/// A time as the context writes it: `/Date(1795499995000+0000)/`. The offset is only how it was shown.
fn date(text: &str) -> Result<Timestamp, TranslateError> {
    let not_a_time = || payload::not_a("a time", text);
    let Some(inner) = text.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/")) else {
        return text.parse().map_err(|_| not_a_time());
    };
    let sign = inner.char_indices().skip(1).find(|(_, letter)| matches!(letter, '+' | '-'));
    let milliseconds = sign.map_or(inner, |(at, _)| &inner[..at]);
    let milliseconds: i64 = milliseconds.parse().map_err(|_| not_a_time())?;
    Timestamp::from_millisecond(milliseconds).map_err(|_| not_a_time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_whatever_the_offset() {
        let at = |text: &str| date(text).map(|time| time.as_millisecond());
        for text in
            ["/Date(1795499995123)/", "/Date(1795499995123+0200)/", "/Date(1795499995123-0530)/"]
        {
            assert_eq!(at(text), Ok(1_795_499_995_123), "{text}");
        }
        assert_eq!(at("/Date(-62135596800000)/"), Ok(-62_135_596_800_000));
        assert_eq!(at("2026-11-24T12:00:00Z"), Ok(1_795_521_600_000));
        for bad in ["/Date()/", "/Date(x)/", "/Date(1", "/Date(99999999999999999)/", "é", ""] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }
}
