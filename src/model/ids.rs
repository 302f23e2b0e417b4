//! The ids of things: a newtype for each, so that no bare string or number crosses a module.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest provider id that a subject may have, in bytes.
pub const MAX_SUBJECT_ID_BYTES: usize = 512;

/// What must not stand bare in the last part of a resource name.
const NAME_PART: &AsciiSet = &CONTROLS.add(b'/').add(b'%').add(b' ').add(b'?').add(b'#');

/// An event's place in the log, from 1. Zero is the position before the first event.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub i64);

/// A subject's number in the store: the sequence of its first event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub i64);

/// A receipt's number in the store, from 1.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ReceiptNumber(pub i64);

/// A configured account at a provider: `stripe/acme-eu`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointName {
    text: Arc<str>,
    provider_bytes: usize,
}

/// The key by which a provider event is recognised, however often it comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub [u8; 16]);

/// The epoch of the log: changed by a restore, so that a position from before it is recognised.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogEpoch(pub Arc<str>);

/// The kinds of subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A payment.
    Payment,
    /// An invoice.
    Invoice,
    /// A movement on a bank account.
    BankTransaction,
    /// A request that a customer acts on: a checkout, a link, a quote.
    PaymentRequest,
}

/// What an event is about and is ordered by: `payments/stripe/acme-eu/pi_123`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The kind.
    pub kind: SubjectKind,
    /// Whose it is.
    pub endpoint: EndpointName,
    /// The provider's id of it.
    pub id: String,
}

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not of the form `provider/name`.
    #[error("`{0}` is not an endpoint; it should read like `stripe/acme-eu`")]
    Endpoint(String),
    /// Not of the form `collection/provider/endpoint/id`.
    #[error("`{0}` is not a subject; it should read like `payments/stripe/acme-eu/pi_123`")]
    Subject(String),
}

impl Sequence {
    /// The next one.
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl EndpointName {
    /// Both parts have 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`.
    pub fn new(provider: &str, name: &str) -> Result<EndpointName, IdError> {
        let is_word = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
                })
        };
        let text = format!("{provider}/{name}");
        if !is_word(provider) || !is_word(name) {
            return Err(IdError::Endpoint(text.chars().take(160).collect()));
        }
        Ok(EndpointName { text: text.into(), provider_bytes: provider.len() })
    }

    /// The provider: `stripe`.
    pub fn provider(&self) -> &str {
        &self.text[..self.provider_bytes]
    }

    /// The account's own name: `acme-eu`.
    pub fn name(&self) -> &str {
        &self.text[self.provider_bytes + 1..]
    }

    /// Both: `stripe/acme-eu`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl EventKey {
    /// The key of the provider's event `id` at `endpoint`: the first half of their SHA-256.
    pub fn new(endpoint: &EndpointName, id: &str) -> EventKey {
        let mut hasher = Sha256::new();
        hasher.update(endpoint.as_str());
        hasher.update([0]);
        hasher.update(id);
        EventKey(first_half(hasher))
    }
}

impl SubjectKind {
    /// All kinds.
    pub const ALL: [SubjectKind; 4] = [
        SubjectKind::Payment,
        SubjectKind::Invoice,
        SubjectKind::BankTransaction,
        SubjectKind::PaymentRequest,
    ];

    /// The collection in resource names.
    pub fn collection(self) -> &'static str {
        match self {
            SubjectKind::Payment => "payments",
            SubjectKind::Invoice => "invoices",
            SubjectKind::BankTransaction => "bankTransactions",
            SubjectKind::PaymentRequest => "paymentRequests",
        }
    }
}

impl Subject {
    /// A short key for indexes: the first half of the name's SHA-256.
    pub fn key(&self) -> [u8; 16] {
        let mut hasher = Sha256::new();
        hasher.update(self.kind.collection());
        hasher.update([0]);
        hasher.update(self.endpoint.as_str());
        hasher.update([0]);
        hasher.update(&self.id);
        first_half(hasher)
    }
}

fn first_half(hasher: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

impl fmt::Display for Sequence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for ReceiptNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "receipts/{}", self.0)
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for EndpointName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl FromStr for EndpointName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<EndpointName, IdError> {
        let malformed = || IdError::Endpoint(text.chars().take(160).collect());
        let (provider, name) = text.split_once('/').ok_or_else(malformed)?;
        EndpointName::new(provider, name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = utf8_percent_encode(&self.id, NAME_PART);
        write!(out, "{}/{}/{id}", self.kind.collection(), self.endpoint)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl FromStr for Subject {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Subject, IdError> {
        let malformed = || IdError::Subject(text.chars().take(160).collect());
        let mut parts = text.splitn(4, '/');
        let (Some(collection), Some(provider), Some(name), Some(id)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let kind = SubjectKind::ALL
            .into_iter()
            .find(|kind| kind.collection() == collection)
            .ok_or_else(malformed)?;
        let endpoint = EndpointName::new(provider, name).map_err(|_| malformed())?;
        let id = percent_decode_str(id).decode_utf8().map_err(|_| malformed())?.into_owned();
        if id.is_empty() || id.len() > MAX_SUBJECT_ID_BYTES {
            return Err(malformed());
        }
        Ok(Subject { kind, endpoint, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_back_as_they_are_written() {
        for id in ["pi_123", "inv:0-a", "a/b", "50%", "Łódź Nr. 7"] {
            let endpoint = EndpointName::new("stripe", "acme-eu").expect("valid");
            let subject = Subject { kind: SubjectKind::Invoice, endpoint, id: id.to_owned() };
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        for bad in ["", "payments/stripe/x", "orders/stripe/x/1", "payments/Stripe/x/1"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }
}
