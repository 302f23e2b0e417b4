//! The canonical model: what a payment, an invoice, a bank transaction or a customer's action is,
//! whichever provider reported it. Values here are valid by construction and know nothing of HTTP,
//! gRPC, SQL or any provider.

pub mod event;
pub mod ids;
pub mod money;
pub mod references;
pub mod status;
pub mod subject_state;

pub use event::{
    BankTransactionFact, Change, Collection, CustomerActionFact, Dispute, DisputeState, Draft,
    Entry, EntryState, Event, Fact, InvoiceFact, PaymentAmounts, PaymentFact, PaymentReport,
    ReceiptReference, Report,
};
pub use ids::{
    EndpointName, EventKey, LogEpoch, ReceiptNumber, Sequence, Subject, SubjectId, SubjectKind,
};
pub use money::Money;
pub use references::References;
pub use status::{
    BankTransactionStatus, CustomerAction, Headline, InvoiceStatus, PaymentStatus, Status,
};
pub use subject_state::SubjectState;
