//! XML bodies: text comes in, a document goes out whose elements are found by namespace and name, never
//! by prefix. Documents with a DTD are refused, so that nothing can be expanded or fetched.

use roxmltree::{Document, Node};

/// The document; `None` where it is no UTF-8, not well formed, or has a DTD.
pub fn parse(body: &[u8]) -> Option<Document<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    Document::parse(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()
}

/// The child elements of this namespace and name.
pub fn children<'a, 'input>(
    node: Node<'a, 'input>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name((namespace, name)))
}

/// The one child element of this namespace and name; `None` where there are none or several.
pub fn child<'a, 'input>(
    node: Node<'a, 'input>,
    namespace: &'static str,
    name: &'static str,
) -> Option<Node<'a, 'input>> {
    let mut found = children(node, namespace, name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// All text of an element itself, trimmed.
pub fn text(node: Node<'_, '_>) -> String {
    let parts: String =
        node.children().filter(Node::is_text).filter_map(|part| part.text()).collect();
    parts.trim().to_owned()
}
