//! Look-ups in Salesforce, by SOQL: as many keys of one field in a query as its URL may be long. In come
//! keys, out go the records that have them. It must never let a value end its literal, and never give a
//! record to a key that it does not have.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm>

use std::collections::{BTreeMap, BTreeSet};

use form_urlencoded::byte_serialize;
use http::Method;
use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::Salesforce;
use super::answers::{Refused, Scope, UNKNOWN_FIELD};
use super::schema::{Column, Schema, Shape, in_milliseconds};
use crate::crm::{Fault, Key, Record};
use crate::value::Value;

/// The longest list of keys in a URL, which with all headers may have 16,384 bytes; a token alone may have
/// thousands of them.
const MAX_LIST_BYTES: usize = 8_000;
const ID: &str = "Id";
/// An id without its checksum, which is what tells ids apart.
const ID_CHARACTERS: usize = 15;

type Found = Result<Vec<Record>, Fault>;

/// A key that is looked for.
struct Wanted<'k> {
    index: usize,
    value: &'k str,
    literal: String,
}

/// What is asked of an object.
struct Search<'s> {
    crm: &'s Salesforce,
    object: &'s str,
    column: &'s Column,
    /// The fields, as asked for and as the org writes them.
    fields: Vec<(&'s str, &'s Column)>,
}

#[derive(Deserialize)]
struct Page {
    done: bool,
    records: Vec<Map<String, Json>>,
}

/// Looks records up: one result a key.
pub(super) async fn find(
    crm: &Salesforce,
    object: &str,
    lookups: &[Key],
    fields: &[String],
) -> Vec<Found> {
    let names = lookups.iter().map(field_of).chain(fields.iter().map(String::as_str));
    let schema = match crm.schemas.with(crm, object, names).await {
        Ok(schema) => schema,
        Err(fault) => return lookups.iter().map(|_| Err(fault.clone())).collect(),
    };
    let mut found: Vec<Found> = lookups.iter().map(|_| Ok(Vec::new())).collect();
    let by_field: BTreeSet<&str> = lookups.iter().map(field_of).collect();
    for field in by_field {
        let wanted = lookups.iter().enumerate().filter(|(_, key)| field_of(key) == field);
        match Search::new(crm, object, (&schema, field), fields) {
            Err(fault) => wanted.for_each(|(index, _)| found[index] = Err(fault.clone())),
            Ok(search) => {
                let wanted = wanted.filter_map(|(index, key)| {
                    let value = value_of(key);
                    // A value that the field cannot have is in no record.
                    let literal = literal(search.column, value)?;
                    Some(Wanted { index, value, literal })
                });
                search.run(wanted.collect(), &mut found).await;
            }
        }
    }
    found
}

/// The name with which this user signs in; `None` if it is not to be read.
pub(super) async fn username(crm: &Salesforce, user: &str) -> Result<Option<String>, Fault> {
    let soql = format!("SELECT Username FROM User WHERE Id = {}", quoted(user));
    let page = match page(crm, &soql).await {
        Ok(page) => page,
        Err(Refused { scope: Scope::Moment, fault }) => return Err(fault),
        Err(Refused { scope: Scope::Call | Scope::Rows, .. }) => return Ok(None),
    };
    let name = page.records.first().and_then(|record| record.get("Username"));
    Ok(name.and_then(Json::as_str).map(str::to_owned))
}

impl<'s> Search<'s> {
    fn new(
        crm: &'s Salesforce,
        object: &'s str,
        (schema, key): (&'s Schema, &str),
        fields: &'s [String],
    ) -> Result<Search<'s>, Fault> {
        let column = |name: &str| {
            let unknown = || {
                let reason =
                    format!("`{object}` has no field `{name}`, or the user may not see it");
                Fault::permanent(UNKNOWN_FIELD, reason)
            };
            schema.column(name).ok_or_else(unknown)
        };
        let fields = fields.iter().map(|name| Ok((name.as_str(), column(name)?)));
        let fields = fields.collect::<Result<_, Fault>>()?;
        Ok(Search { crm, object, column: column(key)?, fields })
    }

    /// Asks for as many keys as a URL takes, and for halves where an answer does not tell all.
    async fn run(&self, wanted: Vec<Wanted<'_>>, found: &mut [Found]) {
        let mut heaps = heaps(wanted);
        while let Some(mut heap) = heaps.pop() {
            let answer = page(self.crm, &self.soql(&heap)).await;
            let alone = heap.len() == 1;
            match answer {
                Ok(page) if alone => found[heap[0].index] = self.records(page.records.iter()),
                Ok(page) if page.done && self.hand_out(&heap, &page.records, found) => {}
                Err(refused) if alone => found[heap[0].index] = Err(refused.fault),
                Err(Refused { scope: Scope::Moment | Scope::Call, fault }) => {
                    let rest = heap.iter().chain(heaps.iter().flatten());
                    rest.for_each(|wanted| found[wanted.index] = Err(fault.clone()));
                    return;
                }
                Ok(_) | Err(_) => {
                    let half = heap.split_off(heap.len() / 2);
                    heaps.extend([half, heap]);
                }
            }
        }
    }

    fn soql(&self, wanted: &[Wanted<'_>]) -> String {
        let mut columns = vec![ID, &self.column.name];
        columns.extend(self.fields.iter().map(|(_, column)| column.name.as_str()));
        let mut seen = BTreeSet::new();
        columns.retain(|name| seen.insert(name.to_ascii_lowercase()));
        let select = format!("SELECT {} FROM {}", columns.join(", "), self.object);
        let key = &self.column.name;
        match wanted {
            // Two are enough to see that it is not one.
            [one] => format!("{select} WHERE {key} = {} LIMIT 2", one.literal),
            several => {
                let literals: Vec<&str> = several.iter().map(|one| one.literal.as_str()).collect();
                format!("{select} WHERE {key} IN ({})", literals.join(","))
            }
        }
    }

    /// Gives each key its records; `false` if a record has none of the keys, as the connector compares.
    fn hand_out(
        &self,
        wanted: &[Wanted<'_>],
        records: &[Map<String, Json>],
        found: &mut [Found],
    ) -> bool {
        let mut theirs: Vec<Vec<&Map<String, Json>>> = wanted.iter().map(|_| Vec::new()).collect();
        for record in records {
            let has = record.get(&self.column.name).unwrap_or(&Json::Null);
            let mut is_anyones = false;
            for (wanted, theirs) in wanted.iter().zip(&mut theirs) {
                if is_same(self.column, wanted.value, has) {
                    is_anyones = true;
                    theirs.push(record);
                }
            }
            if !is_anyones {
                return false;
            }
        }
        for (wanted, theirs) in wanted.iter().zip(theirs) {
            found[wanted.index] = self.records(theirs.into_iter().take(2));
        }
        true
    }

    fn records<'r>(&self, rows: impl Iterator<Item = &'r Map<String, Json>>) -> Found {
        let records = rows.map(|row| {
            let id = row.get(ID).and_then(Json::as_str);
            let id = id.ok_or_else(|| Fault::transient("a record without an id was answered"))?;
            let values = self.fields.iter().filter_map(|(name, column)| {
                Some(((*name).to_owned(), column.value(row.get(&column.name)?)))
            });
            Ok(Record { id: id.to_owned(), values: values.collect::<BTreeMap<String, Value>>() })
        });
        records.collect()
    }
}

async fn page(crm: &Salesforce, soql: &str) -> Result<Page, Refused> {
    let query: String = byte_serialize(soql.as_bytes()).collect();
    let answer = crm.call(Method::GET, &format!("/query?q={query}"), None).await?;
    answer.json().map_err(Refused::at_the_moment)
}

/// Keys in heaps that a URL takes.
fn heaps(wanted: Vec<Wanted<'_>>) -> Vec<Vec<Wanted<'_>>> {
    let mut heaps: Vec<Vec<Wanted<'_>>> = Vec::new();
    let mut bytes = MAX_LIST_BYTES;
    for one in wanted {
        // A comma is three bytes too.
        let more = byte_serialize(one.literal.as_bytes()).map(str::len).sum::<usize>() + 3;
        bytes += more;
        match heaps.last_mut() {
            Some(heap) if bytes <= MAX_LIST_BYTES => heap.push(one),
            Some(_) | None => {
                bytes = more;
                heaps.push(vec![one]);
            }
        }
    }
    heaps
}

fn field_of(key: &Key) -> &str {
    match key {
        Key::Id(_) => ID,
        Key::Field { field, .. } => field,
    }
}

fn value_of(key: &Key) -> &str {
    match key {
        Key::Id(value) | Key::Field { value, .. } => value,
    }
}

/// A value as SOQL writes it for this field; `None` if the field cannot have it.
fn literal(column: &Column, value: &str) -> Option<String> {
    match column.shape {
        Shape::Text if column.name == ID => is_id(value).then(|| quoted(value)),
        Shape::Text | Shape::Other => Some(quoted(value)),
        Shape::Number => value.trim().parse::<Decimal>().ok().map(|number| number.to_string()),
        Shape::Boolean => value.trim().parse::<bool>().ok().map(|yes| yes.to_string()),
        Shape::Date => value.trim().parse::<Date>().ok().map(|date| date.to_string()),
        Shape::Time => value.trim().parse::<Timestamp>().ok().map(in_milliseconds),
    }
}

fn is_id(value: &str) -> bool {
    matches!(value.len(), 15 | 18) && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A text literal.
fn quoted(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for character in value.chars() {
        match character {
            '\'' | '\\' | '"' => literal.extend(['\\', character]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\u{8}' => literal.push_str("\\b"),
            '\u{c}' => literal.push_str("\\f"),
            _ => literal.push(character),
        }
    }
    literal.push('\'');
    literal
}

/// Whether a record has this value of a field, as the org compares it.
fn is_same(column: &Column, wanted: &str, has: &Json) -> bool {
    let text = column.value(has).text();
    if column.name == ID {
        let stem = |id: &str| id.get(..ID_CHARACTERS).map(str::to_owned);
        return stem(wanted).is_some() && stem(wanted) == stem(&text);
    }
    match column.shape {
        Shape::Text | Shape::Other if column.case_sensitive => text == wanted,
        Shape::Text | Shape::Other => text.to_lowercase() == wanted.to_lowercase(),
        Shape::Number | Shape::Boolean | Shape::Date | Shape::Time => {
            column.value(has).same_as(&Value::Text(wanted.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_literal() {
        assert_eq!(quoted(r"a' OR Id != '\"), r"'a\' OR Id != \'\\'");
        assert_eq!(quoted("a\nb\"c"), "'a\\nb\\\"c'");
    }

    #[test]
    fn keys_are_split_where_the_url_would_be_too_long() {
        let wanted =
            (0..200).map(|index| Wanted { index, value: "x", literal: quoted(&"ü".repeat(100)) });
        let heaps = heaps(wanted.collect());
        assert_eq!(heaps.iter().map(Vec::len).sum::<usize>(), 200);
        // 100 letters of 6 bytes each in a URL, two quotes and a comma of 3 each.
        assert!(heaps.iter().all(|heap| heap.len() * 609 <= MAX_LIST_BYTES));
        assert_eq!(heaps.len(), 16);
    }

    #[test]
    fn an_id_is_the_same_with_and_without_its_checksum() {
        let column = Column { name: ID.to_owned(), shape: Shape::Text, case_sensitive: false };
        let has = Json::String("006000000000001AAA".to_owned());
        assert!(is_same(&column, "006000000000001", &has));
        assert!(!is_same(&column, "006000000000002", &has));
        assert_eq!(literal(&column, "in_123"), None);
    }
}
