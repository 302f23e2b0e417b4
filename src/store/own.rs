//! What the gateway keeps for itself beside what providers report: events of its own, which have no receipt,
//! tracked links, and the days on which open invoices are due. Data and the part of the store's contract
//! that is about it: `ingest` decides what it means.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::Error;
use crate::model::{Draft, EndpointName, References, SubjectId, SubjectState};

/// An event of the gateway's own, to be appended.
#[derive(Clone)]
pub struct Own {
    /// The account that the event belongs to.
    pub endpoint: EndpointName,
    /// When the gateway came to know of it.
    pub received_at: Timestamp,
    /// The event. Its key is claimed like any other.
    pub draft: Draft,
    /// What must hold when it is appended.
    pub condition: Condition,
}

/// What must hold for an event of the gateway's own when it is appended, after all of its batch that came
/// from providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// Its subject is an invoice that still awaits this due date. The fact, the references and the mode are
    /// then those that the invoice has at that moment.
    StillDue(Date),
}

/// A tracked link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkRow {
    /// Its id, random.
    pub id: [u8; 16],
    /// Where it leads.
    pub target_url: String,
    /// The subject that its visits are events of, as a resource name.
    pub subject: String,
    /// What a record elsewhere can be found by.
    pub references: References,
    /// False for a link of a test.
    pub live: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// An invoice that awaits its due date.
#[derive(Clone, Debug)]
pub struct DueInvoice {
    /// The due date.
    pub due: Date,
    /// Its number.
    pub id: SubjectId,
    /// Its state.
    pub state: SubjectState,
}

/// The part of a store that is about the gateway's own affairs. `Store::commit` keeps the list of due
/// invoices in the same transaction that changes an invoice.
#[async_trait]
pub trait OwnStore: Send + Sync + 'static {
    /// The key that authenticates links: random, made the first time it is asked for, and kept.
    async fn link_key(&self) -> Result<[u8; 32], Error>;
    /// Keeps a link.
    async fn put_link(&self, link: &LinkRow) -> Result<(), Error>;
    /// The link with this id.
    async fn link(&self, id: &[u8; 16]) -> Result<Option<LinkRow>, Error>;
    /// Forgets links that stopped working before this time.
    async fn forget_links(&self, expired_before: Timestamp) -> Result<(), Error>;
    /// Invoices that await a due date before this day, the earliest first, after a given one.
    async fn due_invoices(
        &self,
        before: Date,
        after: Option<(Date, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<DueInvoice>, Error>;
}
