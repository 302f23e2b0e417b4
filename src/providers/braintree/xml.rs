//! Braintree's XML: elements by their paths, in either spelling, with dashes or with underscores. In comes
//! a text, out come texts and decimals. Documents with a DTD are refused, so that no entity is resolved.

use roxmltree::{Document, Node};

use crate::model::Money;
use crate::providers::TranslateError;
use crate::providers::payload;

/// An element of a notification.
#[derive(Clone, Copy)]
pub(super) struct Element<'a>(Node<'a, 'a>);

/// Reads a document; blanks may stand before it.
pub(super) fn parse(text: &str) -> Result<Document<'_>, TranslateError> {
    Document::parse(text.trim())
        .map_err(|_| TranslateError("the notification is no XML".to_owned()))
}

impl<'a> Element<'a> {
    /// The root, which must have this name.
    pub(super) fn root(
        document: &'a Document<'a>,
        name: &str,
    ) -> Result<Element<'a>, TranslateError> {
        let root = document.root_element();
        match root.tag_name().name() == name {
            true => Ok(Element(root)),
            false => Err(TranslateError(format!("the XML is no {name}"))),
        }
    }

    /// The first element at a path of names.
    pub(super) fn find(self, path: &str) -> Option<Element<'a>> {
        path.split('/')
            .try_fold(self, |element, name| element.children().find(|child| child.is(name)))
    }

    /// The elements in it.
    pub(super) fn children(self) -> impl Iterator<Item = Element<'a>> {
        self.0.children().filter(Node::is_element).map(Element)
    }

    /// Its name, with dashes.
    pub(super) fn name(self) -> String {
        self.0.tag_name().name().replace('_', "-")
    }

    /// The text of the first element at a path; empty where there is none.
    pub(super) fn text(self, path: &str) -> &'a str {
        self.find(path).map_or("", Element::content)
    }

    /// Its own text.
    pub(super) fn content(self) -> &'a str {
        self.0.text().unwrap_or_default().trim()
    }

    /// The money at a path; `None` where there is none.
    pub(super) fn money(self, path: &str, currency: &str) -> Result<Option<Money>, TranslateError> {
        match self.text(path) {
            "" => Ok(None),
            amount => payload::decimal_money(amount, currency).map(Some),
        }
    }

    fn is(self, name: &str) -> bool {
        let own = self.0.tag_name().name();
        own == name || own.contains('_') && self.name() == name
    }
}
