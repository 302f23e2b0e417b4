//! The body of an event as its admin wrote it: a form, flat XML or a JSON object comes in, fields by
//! their names in lower case go out. The kind is told by the body itself: what content type Intacct sends
//! with it is not documented.

use roxmltree::Node;

use crate::providers::fields::Fields;
use crate::providers::{TranslateError, markup, payload};

/// The fields of a body.
pub(super) fn read(body: &[u8]) -> Result<Fields, TranslateError> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => {
            let fields: Fields = serde_json::from_slice(body)
                .map_err(|error| payload::unreadable("an Intacct event", &error))?;
            lowered(fields.iter().map(|(name, text)| (name, text.to_owned())))
        }
        // A byte order mark begins with this byte.
        Some(b'<' | 0xef) => {
            let document = markup::parse(body)
                .ok_or_else(|| TranslateError("the body is not well-formed XML".to_owned()))?;
            elements(document.root_element())
        }
        Some(_) | None => {
            let text = body.trim_ascii();
            let pairs: Vec<_> = form_urlencoded::parse(text).collect();
            lowered(pairs.iter().map(|(name, value)| (&**name, value.clone().into_owned())))
        }
    }
}

/// The simple elements in an element.
pub(super) fn elements(parent: Node<'_, '_>) -> Result<Fields, TranslateError> {
    let is_simple =
        |node: &Node<'_, '_>| node.is_element() && !node.children().any(|child| child.is_element());
    let elements = parent.children().filter(is_simple);
    lowered(elements.map(|node| (node.tag_name().name(), markup::text(node))))
}

fn lowered<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> Result<Fields, TranslateError> {
    let mut fields = Fields::default();
    for (name, text) in pairs {
        fields.add(&name.to_ascii_lowercase(), text.trim())?;
    }
    Ok(fields)
}
