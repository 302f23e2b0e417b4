//! A codec for the suite, so that the stores are tested without the wire: JSON of a mirror of `Event`.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tollgate::model::{
    BankTransactionFact, Change, CustomerActionFact, Event, InvoiceFact, Money, PaymentAmounts,
    PaymentReport, PaymentStatus, ReceiptNumber, ReceiptReference, References, Report, Sequence,
    Status, SubjectKind,
};
use tollgate::store::{Codec, DecodeError};

pub const CODEC: Codec = Codec { encode, decode };

#[derive(Serialize, Deserialize)]
struct Mirror {
    sequence: Sequence,
    endpoint: String,
    event_id: String,
    event_type: String,
    occurred_at: Timestamp,
    received_at: Timestamp,
    subject: String,
    references: References,
    live: bool,
    hash: String,
    receipt: Option<(ReceiptNumber, String)>,
    previous: Option<String>,
    current: String,
    superseded: bool,
    report: MirrorReport,
}

#[derive(Serialize, Deserialize)]
enum MirrorReport {
    Payment {
        status: PaymentStatus,
        amounts: [Option<Money>; 5],
        amount: Option<Money>,
        texts: [String; 5],
    },
    Invoice(InvoiceFact),
    BankTransaction(BankTransactionFact),
    CustomerAction(CustomerActionFact),
}

fn encode(event: &Event) -> Bytes {
    let mirror = Mirror {
        sequence: event.sequence,
        endpoint: event.endpoint.to_string(),
        event_id: event.event_id.clone(),
        event_type: event.event_type.clone(),
        occurred_at: event.occurred_at,
        received_at: event.received_at,
        subject: event.subject.to_string(),
        references: event.references.clone(),
        live: event.live,
        hash: hex::encode(event.hash),
        receipt: event.receipt.map(|receipt| (receipt.number, hex::encode(receipt.digest))),
        previous: event.change.previous.map(|status| status.word().to_owned()),
        current: event.change.current.word().to_owned(),
        superseded: event.change.superseded,
        report: match event.report.clone() {
            Report::Payment(report) => MirrorReport::Payment {
                status: report.status,
                amounts: [
                    report.amounts.total,
                    report.amounts.paid,
                    report.amounts.refunded,
                    report.amounts.disputed,
                    report.amounts.fee,
                ],
                amount: report.amount,
                texts: [
                    report.failure_code,
                    report.failure_message,
                    report.method,
                    report.refund,
                    report.dispute,
                ],
            },
            Report::Invoice(fact) => MirrorReport::Invoice(fact),
            Report::BankTransaction(fact) => MirrorReport::BankTransaction(fact),
            Report::CustomerAction(fact) => MirrorReport::CustomerAction(fact),
        },
    };
    Bytes::from(serde_json::to_vec(&mirror).expect("a mirror is plain"))
}

fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let mirror: Mirror =
        serde_json::from_slice(bytes).map_err(|error| DecodeError(error.to_string()))?;
    let malformed = |what: &str| DecodeError(what.to_owned());
    let subject: tollgate::model::Subject =
        mirror.subject.parse().map_err(|_| malformed("subject"))?;
    let status = |word: &str| status_of(subject.kind, word).ok_or_else(|| malformed("status"));
    let receipt = mirror.receipt.map(|(number, digest)| {
        Ok(ReceiptReference {
            number,
            digest: digest_of(&digest).ok_or_else(|| malformed("digest"))?,
        })
    });
    Ok(Event {
        sequence: mirror.sequence,
        endpoint: mirror.endpoint.parse().map_err(|_| malformed("endpoint"))?,
        event_id: mirror.event_id,
        event_type: mirror.event_type,
        occurred_at: mirror.occurred_at,
        received_at: mirror.received_at,
        references: mirror.references,
        live: mirror.live,
        hash: digest_of(&mirror.hash).ok_or_else(|| malformed("hash"))?,
        receipt: receipt.transpose()?,
        change: Change {
            previous: mirror.previous.as_deref().map(status).transpose()?,
            current: status(&mirror.current)?,
            superseded: mirror.superseded,
        },
        report: mirror.report.into(),
        subject,
    })
}

fn status_of(kind: SubjectKind, word: &str) -> Option<Status> {
    Status::parse(kind, word)
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

impl From<MirrorReport> for Report {
    fn from(report: MirrorReport) -> Report {
        match report {
            MirrorReport::Payment { status, amounts, amount, texts } => {
                let [total, paid, refunded, disputed, fee] = amounts;
                let [failure_code, failure_message, method, refund, dispute] = texts;
                Report::Payment(PaymentReport {
                    status,
                    amounts: PaymentAmounts { total, paid, refunded, disputed, fee },
                    amount,
                    failure_code,
                    failure_message,
                    method,
                    refund,
                    dispute,
                })
            }
            MirrorReport::Invoice(fact) => Report::Invoice(fact),
            MirrorReport::BankTransaction(fact) => Report::BankTransaction(fact),
            MirrorReport::CustomerAction(fact) => Report::CustomerAction(fact),
        }
    }
}
