//! What a record elsewhere can be found by: ids, names and the merchant's metadata, as a provider gave
//! them, within limits. In come texts from a payload, out go texts that are safe to keep with every event.
//! Nothing here may fail on what a payload holds: what is too long or too much is cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many metadata entries a subject keeps. The receipt has the rest.
pub const MAX_METADATA_ENTRIES: usize = 64;
/// The longest reference, metadata key or value that is kept, in bytes. The receipt has the rest.
pub const MAX_REFERENCE_BYTES: usize = 1024;

/// What a record elsewhere can be found by. Empty where not known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct References {
    /// The provider's id of the payment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub payment: String,
    /// The provider's id of the invoice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub invoice: String,
    /// The invoice's number as people read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub invoice_number: String,
    /// The merchant's order id or reference.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// The provider's id of the customer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub customer: String,
    /// The customer's name. Personal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub customer_name: String,
    /// The customer's email address. Personal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// What the merchant attached at the provider. Treated as personal: it may hold anything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl References {
    /// Cuts what is over the limits, at character boundaries.
    pub fn bounded(mut self) -> References {
        self.texts_mut().into_iter().for_each(cut);
        self.metadata = std::mem::take(&mut self.metadata)
            .into_iter()
            .take(MAX_METADATA_ENTRIES)
            .map(|(mut key, mut value)| {
                cut(&mut key);
                cut(&mut value);
                (key, value)
            })
            .collect();
        self
    }

    /// All but the metadata, in a fixed order.
    pub(super) fn texts_mut(&mut self) -> [&mut String; 7] {
        [
            &mut self.payment,
            &mut self.invoice,
            &mut self.invoice_number,
            &mut self.order,
            &mut self.customer,
            &mut self.customer_name,
            &mut self.email,
        ]
    }

    /// The same fields as `texts_mut`, in the same order.
    pub(super) fn texts(&self) -> [&String; 7] {
        [
            &self.payment,
            &self.invoice,
            &self.invoice_number,
            &self.order,
            &self.customer,
            &self.customer_name,
            &self.email,
        ]
    }
}

/// Cuts a text that is over the limit, at a character boundary.
pub(super) fn cut(text: &mut String) {
    if text.len() > MAX_REFERENCE_BYTES {
        let end = (0..=MAX_REFERENCE_BYTES).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
}
