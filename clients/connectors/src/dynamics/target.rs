//! What stands in the URL of a request: keys, filters, selections, percent-encoded. In come names and values
//! as they are, out goes a target below the API's root. A value must never end the place where it stands.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::schema::Schema;

/// What is left as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What Dataverse does not find in the value of a key, however it is encoded.
const UNUSABLE_IN_KEYS: &[char] = &['/', '<', '>', '*', '%', '&', ':', '\\', '?', '+', '#'];

/// Percent-encoded, whole.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Whether a record can be addressed by this value of an alternate key. Where not, it is looked up by a
/// filter and addressed by its id.
pub fn is_usable_in_key(value: &str) -> bool {
    !value.contains(UNUSABLE_IN_KEYS) && !value.contains(char::is_control)
}

/// The record of an id.
pub fn record(set: &str, id: &str, select: &[&str]) -> String {
    format!("{}({id}){}", encoded(set), selection(select))
}

/// The record of an alternate key; `literal` as [`Schema::literal`] gives it.
pub fn keyed(set: &str, field: &str, literal: &str, select: &[&str]) -> String {
    // Quotes stand around a text as they are; those within it are doubled and encoded.
    let bare = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let value = match bare {
        Some(text) => format!("'{}'", encoded(text)),
        None => encoded(literal),
    };
    format!("{}({}={value}){}", encoded(set), encoded(field), selection(select))
}

/// At most two records with this value of a field.
pub fn filtered(set: &str, field: &str, literal: &str, select: &[&str]) -> String {
    let filter = encoded(&format!("{field} eq {literal}"));
    format!("{}{}&$filter={filter}&$top=2", encoded(set), selection(select))
}

/// The records as such, to create one.
pub fn set(set: &str, select: &[&str]) -> String {
    format!("{}{}", encoded(set), selection(select))
}

/// The columns to read for these fields: the primary one, and those that can be compared.
pub fn columns<'a>(schema: &'a Schema, fields: &'a [String]) -> Vec<&'a str> {
    let mut columns = vec![schema.primary_id.as_str()];
    for column in fields.iter().filter_map(|field| schema.readable(field)) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn selection(columns: &[&str]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let columns: Vec<String> = columns.iter().map(|column| encoded(column)).collect();
    format!("?$select={}", columns.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_their_place() {
        let target = keyed("new_payments", "new_paymentid", "'o''neil (1) é'", &["id"]);
        assert_eq!(
            target,
            "new_payments(new_paymentid='o%27%27neil%20%281%29%20%C3%A9')?$select=id"
        );
        let target = filtered("contacts", "emailaddress1", "'a+b&c@x.de'", &["contactid"]);
        assert_eq!(
            target,
            "contacts?$select=contactid&$filter=emailaddress1%20eq%20%27a%2Bb%26c%40x.de%27&$top=2"
        );
        assert!(!is_usable_in_key("a/b") && !is_usable_in_key("a\r\nb") && is_usable_in_key("o'n"));
    }
}
