//! Outbound Messages: a SOAP envelope comes in, the organisation that sent it and its records go out.
//! Elements are told by namespace, never by prefix, and a document with a DTD reads as none.

use roxmltree::{Document, Node};

use crate::providers::TranslateError;
use crate::providers::fields::Fields;
use crate::providers::markup::{self, child, children};

use super::{OUTBOUND_MESSAGE, Record};

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const OUTBOUND: &str = "http://soap.sforce.com/2005/09/outbound";
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// The namespaces of a record's fields.
const OBJECTS: [&str; 2] =
    ["urn:sobject.enterprise.soap.sforce.com", "urn:sobject.partner.soap.sforce.com"];

/// What the hosts of sandboxes and scratch organisations have in them; a My Domain has no `--`.
const TEST_HOSTS: [&str; 4] = ["--", ".sandbox.", ".scratch.", "test.salesforce.com"];

/// Whether the body is meant to be XML.
pub(super) fn is_markup(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// The organisation that a well-formed message names once; `None` for anything else.
pub(super) fn organization(body: &[u8]) -> Option<String> {
    let document = markup::parse(body)?;
    let id = markup::text(child(notifications(&document)?, OUTBOUND, "OrganizationId")?);
    (!id.is_empty()).then_some(id)
}

/// The records of a message, one for each notification.
pub(super) fn records(body: &[u8]) -> Result<Vec<Record>, TranslateError> {
    let unreadable = || TranslateError("the body is no outbound message".to_owned());
    let document = markup::parse(body).ok_or_else(unreadable)?;
    let message = notifications(&document).ok_or_else(unreadable)?;
    let live = ["EnterpriseUrl", "PartnerUrl"]
        .iter()
        .filter_map(|name| child(message, OUTBOUND, name))
        .all(|url| is_live(&markup::text(url)));
    children(message, OUTBOUND, "Notification").map(|node| record(node, live)).collect()
}

/// The one `notifications` element in the envelope's body.
fn notifications<'a, 'input>(document: &'a Document<'input>) -> Option<Node<'a, 'input>> {
    let envelope = document.root_element();
    let envelope = envelope.has_tag_name((ENVELOPE, "Envelope")).then_some(envelope)?;
    child(child(envelope, ENVELOPE, "Body")?, OUTBOUND, "notifications")
}

fn record(notification: Node<'_, '_>, live: bool) -> Result<Record, TranslateError> {
    let event_id = child(notification, OUTBOUND, "Id").map(markup::text).unwrap_or_default();
    if event_id.is_empty() {
        return Err(TranslateError("a notification has no id".to_owned()));
    }
    let object = child(notification, OUTBOUND, "sObject")
        .ok_or_else(|| TranslateError("a notification has no record".to_owned()))?;
    let mut fields = Fields::default();
    for field in object.children().filter(Node::is_element) {
        let name = field.tag_name();
        // A lookup's fields stand in an element of their own and are another record's.
        let is_simple = !field.children().any(|child| child.is_element());
        if is_simple && name.namespace().is_some_and(|namespace| OBJECTS.contains(&namespace)) {
            let text = if is_nil(field) { String::new() } else { markup::text(field) };
            fields.add(name.name(), &text)?;
        }
    }
    let of_type = object.attribute((SCHEMA_INSTANCE, "type")).unwrap_or_default();
    let record_type = of_type.rsplit(':').next().unwrap_or_default().to_owned();
    Ok(Record { event_type: OUTBOUND_MESSAGE, event_id, record_type, fields, live })
}

fn is_nil(node: Node<'_, '_>) -> bool {
    matches!(node.attribute((SCHEMA_INSTANCE, "nil")), Some("true" | "1"))
}

/// Whether the organisation's own URL is that of production.
fn is_live(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase();
    !TEST_HOSTS.iter().any(|part| host.contains(part))
}
