//! The model to the wire and back, by hand and in one place. An event is converted once, when it is
//! stored; after that its bytes are shared.

use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use prost::Message;

use super::proto;
use crate::model::{
    BankTransactionFact, BankTransactionStatus, Change, CustomerAction, CustomerActionFact,
    EndpointName, Event, Headline, InvoiceFact, InvoiceStatus, Money, PaymentAmounts,
    PaymentReport, PaymentStatus, ReceiptNumber, ReceiptReference, References, Report, Sequence,
    Status, Subject, SubjectKind, SubjectState,
};
use crate::store::{Codec, DecodeError};

/// Events as the messages of the wire.
pub const CODEC: Codec = Codec { encode, decode };

fn encode(event: &Event) -> Bytes {
    Bytes::from(event_to_proto(event).encode_to_vec())
}

fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let event = proto::Event::decode(bytes).map_err(|error| DecodeError(error.to_string()))?;
    event_from_proto(event)
}

fn event_to_proto(event: &Event) -> proto::Event {
    let fact = match &event.report {
        Report::Payment(report) => proto::event::Fact::Payment(payment_to_proto(report)),
        Report::Invoice(fact) => proto::event::Fact::Invoice(proto::InvoiceEvent {
            status: invoice_status(fact.status).into(),
            total: fact.total.map(money),
            paid: fact.paid.map(money),
            balance: fact.balance.map(money),
            refunded: fact.refunded.map(money),
            due_date: fact.due_date.map(|date| date.to_string()).unwrap_or_default(),
        }),
        Report::BankTransaction(fact) => {
            proto::event::Fact::BankTransaction(proto::BankTransactionEvent {
                status: bank_transaction_status(fact.status).into(),
                amount: fact.amount.map(money),
                counterparty: fact.counterparty.clone(),
                remittance: fact.remittance.clone(),
                failure_code: fact.failure_code.clone(),
                failure_message: fact.failure_message.clone(),
            })
        }
        Report::CustomerAction(fact) => {
            proto::event::Fact::CustomerAction(proto::CustomerActionEvent {
                action: customer_action(fact.action).into(),
                amount: fact.amount.map(money),
                detail: fact.detail.clone(),
            })
        }
    };
    let receipt = event.receipt.as_ref();
    proto::Event {
        name: event_name(event.sequence),
        sequence: event.sequence.0,
        provider: event.endpoint.provider().to_owned(),
        endpoint: event.endpoint.as_str().to_owned(),
        provider_event_id: event.event_id.clone(),
        provider_event_type: event.event_type.clone(),
        occurred_at: Some(timestamp(event.occurred_at)),
        received_at: Some(timestamp(event.received_at)),
        subject: event.subject.to_string(),
        references: Some(references(&event.references)),
        live: event.live,
        hash: hex::encode(event.hash),
        receipt: receipt.map(|receipt| receipt.number.to_string()).unwrap_or_default(),
        receipt_digest: receipt.map(|receipt| hex::encode(receipt.digest)).unwrap_or_default(),
        change: Some(proto::Change {
            previous: event
                .change
                .previous
                .map(|status| status.word().to_owned())
                .unwrap_or_default(),
            current: event.change.current.word().to_owned(),
            headline: headline(event.change.headline()).into(),
            superseded: event.change.superseded,
        }),
        fact: Some(fact),
    }
}

fn payment_to_proto(report: &PaymentReport) -> proto::PaymentEvent {
    proto::PaymentEvent {
        status: payment_status(report.status).into(),
        amounts: Some(amounts(&report.amounts)),
        amount: report.amount.map(money),
        failure_code: report.failure_code.clone(),
        failure_message: report.failure_message.clone(),
        method: report.method.clone(),
        refund: report.refund.clone(),
        dispute: report.dispute.clone(),
    }
}

fn event_from_proto(event: proto::Event) -> Result<Event, DecodeError> {
    let subject: Subject = parsed(&event.subject)?;
    let kind = subject.kind;
    let status_of = |word: &str| {
        Status::parse(kind, word).ok_or_else(|| DecodeError(format!("status `{word}`")))
    };
    let change = event.change.ok_or_else(|| missing("change"))?;
    let receipt = match event.receipt.strip_prefix("receipts/") {
        Some(number) => Some(ReceiptReference {
            number: ReceiptNumber(number.parse().map_err(|_| missing("receipt"))?),
            digest: digest(&event.receipt_digest)?,
        }),
        None => None,
    };
    Ok(Event {
        sequence: Sequence(event.sequence),
        endpoint: parsed::<EndpointName>(&event.endpoint)?,
        event_id: event.provider_event_id,
        event_type: event.provider_event_type,
        occurred_at: timestamp_back(event.occurred_at)?,
        received_at: timestamp_back(event.received_at)?,
        references: references_back(event.references.unwrap_or_default()),
        live: event.live,
        hash: digest(&event.hash)?,
        receipt,
        change: Change {
            previous: match change.previous.as_str() {
                "" => None,
                word => Some(status_of(word)?),
            },
            current: status_of(&change.current)?,
            superseded: change.superseded,
        },
        report: report_back(event.fact.ok_or_else(|| missing("fact"))?)?,
        subject,
    })
}

fn report_back(fact: proto::event::Fact) -> Result<Report, DecodeError> {
    Ok(match fact {
        proto::event::Fact::Payment(fact) => {
            let amounts = fact.amounts.unwrap_or_default();
            Report::Payment(PaymentReport {
                status: payment_status_back(fact.status)?,
                amounts: PaymentAmounts {
                    total: money_back(amounts.total)?,
                    paid: money_back(amounts.paid)?,
                    refunded: money_back(amounts.refunded)?,
                    disputed: money_back(amounts.disputed)?,
                    fee: money_back(amounts.fee)?,
                },
                amount: money_back(fact.amount)?,
                failure_code: fact.failure_code,
                failure_message: fact.failure_message,
                method: fact.method,
                refund: fact.refund,
                dispute: fact.dispute,
            })
        }
        proto::event::Fact::Invoice(fact) => Report::Invoice(InvoiceFact {
            status: invoice_status_back(fact.status)?,
            total: money_back(fact.total)?,
            paid: money_back(fact.paid)?,
            balance: money_back(fact.balance)?,
            refunded: money_back(fact.refunded)?,
            due_date: match fact.due_date.as_str() {
                "" => None,
                text => Some(parsed::<Date>(text)?),
            },
        }),
        proto::event::Fact::BankTransaction(fact) => Report::BankTransaction(BankTransactionFact {
            status: bank_transaction_status_back(fact.status)?,
            amount: money_back(fact.amount)?,
            counterparty: fact.counterparty,
            remittance: fact.remittance,
            failure_code: fact.failure_code,
            failure_message: fact.failure_message,
        }),
        proto::event::Fact::CustomerAction(fact) => Report::CustomerAction(CustomerActionFact {
            action: customer_action_back(fact.action)?,
            amount: money_back(fact.amount)?,
            detail: fact.detail,
        }),
    })
}

/// `events/{sequence}`.
pub fn event_name(sequence: Sequence) -> String {
    format!("events/{sequence}")
}

/// A subject's state as the wire has it.
pub fn payment(state: &SubjectState) -> proto::Payment {
    proto::Payment {
        name: state.subject().to_string(),
        kind: subject_kind(state.subject().kind).into(),
        status: state.status().map(|status| status.word().to_owned()).unwrap_or_default(),
        headline: state.headline().map_or(0, |word| headline(word).into()),
        amounts: Some(amounts(&state.amounts())),
        references: Some(references(&state.references())),
        live: state.live(),
        event_count: state.event_count(),
        first_sequence: state.first_sequence().0,
        last_sequence: state.last_sequence().0,
        updated_at: state.updated_at().map(timestamp),
        due_date: state.due_date().map(|date| date.to_string()).unwrap_or_default(),
        failure_code: state.failure_code().to_owned(),
        failure_message: state.failure_message().to_owned(),
        method: state.method().to_owned(),
    }
}

/// Money on the wire.
pub fn money(money: Money) -> proto::Money {
    proto::Money { minor_units: money.minor_units, currency: money.currency.code().to_owned() }
}

/// Money from the wire.
pub fn money_back(money: Option<proto::Money>) -> Result<Option<Money>, DecodeError> {
    money
        .map(|money| {
            Money::new(money.minor_units, &money.currency)
                .map_err(|error| DecodeError(error.to_string()))
        })
        .transpose()
}

/// A time on the wire.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    // A time before 1970 has a negative fraction here and a positive one on the wire.
    let nanos = time.as_nanosecond();
    let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or_default(),
        nanos: i32::try_from(fraction).unwrap_or_default(),
    }
}

/// A time from the wire.
pub fn timestamp_back(time: Option<prost_types::Timestamp>) -> Result<Timestamp, DecodeError> {
    let time = time.ok_or_else(|| missing("time"))?;
    Timestamp::new(time.seconds, time.nanos).map_err(|error| DecodeError(error.to_string()))
}

/// A duration on the wire.
pub fn duration(duration: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

fn amounts(amounts: &PaymentAmounts) -> proto::PaymentAmounts {
    proto::PaymentAmounts {
        total: amounts.total.map(money),
        paid: amounts.paid.map(money),
        refunded: amounts.refunded.map(money),
        disputed: amounts.disputed.map(money),
        fee: amounts.fee.map(money),
    }
}

fn references(references: &References) -> proto::References {
    proto::References {
        payment: references.payment.clone(),
        invoice: references.invoice.clone(),
        invoice_number: references.invoice_number.clone(),
        order: references.order.clone(),
        customer: references.customer.clone(),
        customer_name: references.customer_name.clone(),
        email: references.email.clone(),
        metadata: references.metadata.clone().into_iter().collect(),
    }
}

/// References from the wire.
pub fn references_back(references: proto::References) -> References {
    References {
        payment: references.payment,
        invoice: references.invoice,
        invoice_number: references.invoice_number,
        order: references.order,
        customer: references.customer,
        customer_name: references.customer_name,
        email: references.email,
        metadata: references.metadata.into_iter().collect(),
    }
}

/// Declares the two directions between a model enum and its wire enum, whole.
macro_rules! pairs {
    ($to:ident, $back:ident, $model:ident, $wire:ident, { $($variant:ident,)* }) => {
        /// On the wire.
        pub fn $to(value: $model) -> proto::$wire {
            match value {
                $($model::$variant => proto::$wire::$variant,)*
            }
        }

        /// From the wire.
        pub fn $back(value: i32) -> Result<$model, DecodeError> {
            match proto::$wire::try_from(value) {
                $(Ok(proto::$wire::$variant) => Ok($model::$variant),)*
                Ok(proto::$wire::Unspecified) | Err(_) => {
                    Err(DecodeError(format!("{} {value}", stringify!($wire))))
                }
            }
        }
    };
}

pairs!(headline, headline_back, Headline, Headline, { Pending, Paid, Failed, Refunded, Disputed, });
pairs!(payment_status, payment_status_back, PaymentStatus, PaymentStatus, {
    Pending, Authorized, Paid, PartiallyPaid, Failed, Canceled, PartiallyRefunded, Refunded,
    Disputed, ChargedBack,
});
pairs!(invoice_status, invoice_status_back, InvoiceStatus, InvoiceStatus, {
    Draft, Open, PartiallyPaid, Paid, Overdue, PaymentFailed, Void, Uncollectible,
    PartiallyRefunded, Refunded, Disputed,
});
pairs!(bank_transaction_status, bank_transaction_status_back, BankTransactionStatus, BankTransactionStatus, {
    Pending, Booked, Failed, Returned, Removed,
});
pairs!(customer_action, customer_action_back, CustomerAction, CustomerAction, {
    LinkOpened, InvoiceViewed, CheckoutStarted, CheckoutCompleted, CheckoutExpired,
    PartialPayment, MandateChanged, RequestCreated, RequestAccepted, RequestCanceled,
});
pairs!(subject_kind, subject_kind_back, SubjectKind, SubjectKind, {
    Payment, Invoice, BankTransaction, PaymentRequest,
});

fn parsed<T: FromStr>(text: &str) -> Result<T, DecodeError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| DecodeError(error.to_string()))
}

fn digest(text: &str) -> Result<[u8; 32], DecodeError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|error| DecodeError(error.to_string()))?;
    Ok(digest)
}

fn missing(field: &str) -> DecodeError {
    DecodeError(format!("no readable {field}"))
}
