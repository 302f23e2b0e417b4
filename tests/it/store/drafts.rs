//! What the suite puts into a store: receipts and drafts, told apart by numbers.

use bytes::Bytes;
use jiff::Timestamp;
use tollgate::model::{
    Collection, Draft, EndpointName, Fact, Money, PaymentFact, PaymentStatus, References, Subject,
    SubjectKind,
};
use tollgate::receipt::{Parts, Receipt};
use tollgate::store::{Batch, NewReceipt, ReceiptState};

/// 2026-01-31 and so many seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_769_817_600 + seconds).expect("in range")
}

pub fn endpoint(name: &str) -> EndpointName {
    EndpointName::new("stripe", name).expect("a name")
}

pub fn payment(id: &str) -> Subject {
    Subject { kind: SubjectKind::Payment, endpoint: endpoint("acme"), id: id.to_owned() }
}

/// A payment's fact: the key, the payment, its status and when.
pub fn draft(key: &str, id: &str, status: PaymentStatus, seconds: i64) -> Draft {
    let total = Money::new(1250, "EUR").expect("money");
    let paid = (status == PaymentStatus::Paid).then_some(total);
    Draft {
        key: key.to_owned(),
        event_id: format!("evt_{key}"),
        event_type: "payment_intent.changed".to_owned(),
        occurred_at: at(seconds),
        version: 0,
        rank: 0,
        subject: payment(id),
        references: References {
            payment: id.to_owned(),
            email: format!("{id}@example.com"),
            metadata: [("order".to_owned(), "7".to_owned())].into(),
            ..References::default()
        },
        live: true,
        fact: Fact::Payment(PaymentFact {
            status: Some(status),
            amount: Some(total),
            collection: Some(Collection { status, total: Some(total), paid }),
            failure_message: "card of somebody".to_owned(),
            ..PaymentFact::default()
        }),
    }
}

/// A draft of a payment of its own.
pub fn single(number: usize) -> Draft {
    draft(&format!("k{number}"), &format!("pi_{number}"), PaymentStatus::Paid, number as i64)
}

pub fn receipt(endpoint_name: &str, body: &str) -> Receipt {
    let parts = |digest| Parts {
        endpoint: endpoint(endpoint_name),
        received_at: at(1000),
        method: "POST".to_owned(),
        path: "/webhooks/stripe/acme?v=1".to_owned(),
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("stripe-signature".to_owned(), "t=1,v1=00".to_owned()),
            ("stripe-signature".to_owned(), "".to_owned()),
        ],
        body: Bytes::copy_from_slice(body.as_bytes()),
        verified_by: "webhook_secret[0]".to_owned(),
        digest,
    };
    let digest = Receipt::from_stored(parts([0; 32])).compute_digest();
    Receipt::from_stored(parts(digest))
}

/// A receipt that gave these drafts.
pub fn translated(drafts: Vec<Draft>) -> NewReceipt {
    NewReceipt {
        receipt: receipt("acme", "{}"),
        state: ReceiptState::Translated,
        drafts,
        retry_of: None,
        earlier: Vec::new(),
    }
}

/// A receipt that gave none.
pub fn open(endpoint_name: &str, state: ReceiptState) -> NewReceipt {
    let receipt = receipt(endpoint_name, "{}");
    NewReceipt { receipt, state, drafts: Vec::new(), retry_of: None, earlier: Vec::new() }
}

pub fn batch(receipts: Vec<NewReceipt>) -> Batch {
    Batch { receipts, ..Batch::default() }
}

/// A batch of one receipt for each draft.
pub fn batch_of(drafts: Vec<Draft>) -> Batch {
    batch(drafts.into_iter().map(|draft| translated(vec![draft])).collect())
}
