//! The statuses: four closed lists, the short words in which people and config write them, and the
//! headline that each reads as.

use serde::{Deserialize, Serialize};

use super::SubjectKind;

/// Declares a status enum with its short words, so that the two cannot drift apart.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All values in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The short word.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }

            /// Reads a short word.
            pub fn parse(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// The words that people use for what became of a payment.
    Headline {
        /// Not decided yet.
        Pending = "PENDING",
        /// The money is there.
        Paid = "PAID",
        /// It did not work.
        Failed = "FAILED",
        /// Some or all of it was given back.
        Refunded = "REFUNDED",
        /// It is or was taken back by the payer's bank.
        Disputed = "DISPUTED",
    }
}

words! {
    /// The status of a payment.
    PaymentStatus {
        /// Begun, or waiting for the customer or the bank.
        Pending = "PENDING",
        /// The money is reserved but not taken.
        Authorized = "AUTHORIZED",
        /// The money was taken.
        Paid = "PAID",
        /// Some of the money was taken.
        PartiallyPaid = "PARTIALLY_PAID",
        /// It was tried and refused.
        Failed = "FAILED",
        /// It was given up before money was taken.
        Canceled = "CANCELED",
        /// Some of the money was given back.
        PartiallyRefunded = "PARTIALLY_REFUNDED",
        /// All of the money was given back.
        Refunded = "REFUNDED",
        /// The payer disputes it and the dispute may still be won.
        Disputed = "DISPUTED",
        /// A dispute is lost, or the money was taken back for good.
        ChargedBack = "CHARGED_BACK",
    }
}

words! {
    /// The status of an invoice.
    InvoiceStatus {
        /// Not issued yet.
        Draft = "DRAFT",
        /// Issued and unpaid.
        Open = "OPEN",
        /// Some of it is paid.
        PartiallyPaid = "PARTIALLY_PAID",
        /// All of it is paid.
        Paid = "PAID",
        /// Unpaid after its due date.
        Overdue = "OVERDUE",
        /// A payment was tried and refused; the invoice is still open.
        PaymentFailed = "PAYMENT_FAILED",
        /// Withdrawn.
        Void = "VOID",
        /// Written off.
        Uncollectible = "UNCOLLECTIBLE",
        /// Some of what was paid was given back.
        PartiallyRefunded = "PARTIALLY_REFUNDED",
        /// All of what was paid was given back.
        Refunded = "REFUNDED",
        /// A payment of it is disputed.
        Disputed = "DISPUTED",
    }
}

words! {
    /// The status of a bank transaction.
    BankTransactionStatus {
        /// Announced by the bank, not final.
        Pending = "PENDING",
        /// On the account.
        Booked = "BOOKED",
        /// It did not happen.
        Failed = "FAILED",
        /// It happened and was sent back.
        Returned = "RETURNED",
        /// The bank withdrew it from its list.
        Removed = "REMOVED",
    }
}

words! {
    /// What a customer did, or what became of a payment request.
    CustomerAction {
        /// A payment link was opened.
        LinkOpened = "LINK_OPENED",
        /// An invoice was looked at.
        InvoiceViewed = "INVOICE_VIEWED",
        /// A checkout was begun.
        CheckoutStarted = "CHECKOUT_STARTED",
        /// A checkout was completed.
        CheckoutCompleted = "CHECKOUT_COMPLETED",
        /// A checkout ran out of time.
        CheckoutExpired = "CHECKOUT_EXPIRED",
        /// A part of what was asked for was paid.
        PartialPayment = "PARTIAL_PAYMENT",
        /// A mandate was given, changed or withdrawn.
        MandateChanged = "MANDATE_CHANGED",
        /// A payment link, quote or other request was made ready for the customer.
        RequestCreated = "REQUEST_CREATED",
        /// The customer agreed to a quote or request.
        RequestAccepted = "REQUEST_ACCEPTED",
        /// A payment link, quote or other request was withdrawn.
        RequestCanceled = "REQUEST_CANCELED",
    }
}

/// The status of a subject, whatever its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Of a payment.
    Payment(PaymentStatus),
    /// Of an invoice.
    Invoice(InvoiceStatus),
    /// Of a bank transaction.
    BankTransaction(BankTransactionStatus),
    /// Of a payment request: the last that was done with it.
    PaymentRequest(CustomerAction),
}

impl Status {
    /// The short word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Payment(status) => status.word(),
            Status::Invoice(status) => status.word(),
            Status::BankTransaction(status) => status.word(),
            Status::PaymentRequest(action) => action.word(),
        }
    }

    /// Reads a short word as a status of this kind of subject.
    pub fn parse(kind: SubjectKind, word: &str) -> Option<Status> {
        match kind {
            SubjectKind::Payment => PaymentStatus::parse(word).map(Status::Payment),
            SubjectKind::Invoice => InvoiceStatus::parse(word).map(Status::Invoice),
            SubjectKind::BankTransaction => {
                BankTransactionStatus::parse(word).map(Status::BankTransaction)
            }
            SubjectKind::PaymentRequest => CustomerAction::parse(word).map(Status::PaymentRequest),
        }
    }

    /// The headline that the status reads as.
    pub fn headline(self) -> Headline {
        match self {
            Status::Payment(status) => payment_headline(status),
            Status::Invoice(status) => invoice_headline(status),
            Status::BankTransaction(status) => match status {
                BankTransactionStatus::Pending => Headline::Pending,
                BankTransactionStatus::Booked => Headline::Paid,
                BankTransactionStatus::Failed | BankTransactionStatus::Removed => Headline::Failed,
                BankTransactionStatus::Returned => Headline::Refunded,
            },
            Status::PaymentRequest(action) => match action {
                CustomerAction::CheckoutCompleted => Headline::Paid,
                CustomerAction::CheckoutExpired | CustomerAction::RequestCanceled => {
                    Headline::Failed
                }
                CustomerAction::LinkOpened
                | CustomerAction::InvoiceViewed
                | CustomerAction::CheckoutStarted
                | CustomerAction::PartialPayment
                | CustomerAction::MandateChanged
                | CustomerAction::RequestCreated
                | CustomerAction::RequestAccepted => Headline::Pending,
            },
        }
    }
}

fn payment_headline(status: PaymentStatus) -> Headline {
    match status {
        PaymentStatus::Pending | PaymentStatus::Authorized | PaymentStatus::PartiallyPaid => {
            Headline::Pending
        }
        PaymentStatus::Paid => Headline::Paid,
        PaymentStatus::Failed | PaymentStatus::Canceled => Headline::Failed,
        PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => Headline::Refunded,
        PaymentStatus::Disputed | PaymentStatus::ChargedBack => Headline::Disputed,
    }
}

fn invoice_headline(status: InvoiceStatus) -> Headline {
    match status {
        InvoiceStatus::Draft
        | InvoiceStatus::Open
        | InvoiceStatus::PartiallyPaid
        | InvoiceStatus::Overdue => Headline::Pending,
        InvoiceStatus::Paid => Headline::Paid,
        InvoiceStatus::PaymentFailed | InvoiceStatus::Void | InvoiceStatus::Uncollectible => {
            Headline::Failed
        }
        InvoiceStatus::PartiallyRefunded | InvoiceStatus::Refunded => Headline::Refunded,
        InvoiceStatus::Disputed => Headline::Disputed,
    }
}
