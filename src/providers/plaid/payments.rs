//! Plaid's initiated payments: a webhook with the new status comes in, a payment's draft goes out. The
//! amount is not in it and is fetched where the endpoint has credentials; the status is always the one that
//! the webhook told, at the time that it told, so that a late fetch does not make an old event a new one.

use serde::Deserialize;
use serde_json::json;

use crate::model::{
    Collection, Draft, EndpointName, Fact, PaymentFact, PaymentStatus, References, SubjectKind,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, Fetching, Step, TranslateError, Translation};
use crate::receipt::Receipt;

use super::verification::signed_at;
use super::{Body, Told, api_error, credentials, digest, fetch_call, fetch_of, id, refusal, time};

const NOT_FOUND: u16 = 404;

/// What a status means, with the rank of the evidence.
#[rustfmt::skip]
const STATUSES: &[(&str, PaymentStatus, u8)] = &[
    ("PAYMENT_STATUS_INPUT_NEEDED", PaymentStatus::Pending, 10),
    ("PAYMENT_STATUS_PROCESSING", PaymentStatus::Pending, 20),
    ("PAYMENT_STATUS_AUTHORISING", PaymentStatus::Pending, 20),
    ("PAYMENT_STATUS_INITIATED", PaymentStatus::Authorized, 30),
    ("PAYMENT_STATUS_ESTABLISHED", PaymentStatus::Authorized, 30),
    // The word of old for a standing order that is established; no money has moved.
    ("PAYMENT_STATUS_COMPLETED", PaymentStatus::Authorized, 30),
    ("PAYMENT_STATUS_CANCELLED", PaymentStatus::Canceled, 40),
    ("PAYMENT_STATUS_FAILED", PaymentStatus::Failed, 50),
    ("PAYMENT_STATUS_BLOCKED", PaymentStatus::Failed, 50),
    ("PAYMENT_STATUS_INSUFFICIENT_FUNDS", PaymentStatus::Failed, 50),
    ("PAYMENT_STATUS_REJECTED", PaymentStatus::Failed, 50),
    ("PAYMENT_STATUS_EXECUTED", PaymentStatus::Paid, 60),
    ("PAYMENT_STATUS_SETTLED", PaymentStatus::Paid, 70),
];
/// Plaid itself does not know: nothing is said.
const UNKNOWN: &str = "PAYMENT_STATUS_UNKNOWN";

pub(super) fn translate(
    body: &Body<'_>,
    event_type: String,
    live: bool,
    receipt: &Receipt,
    endpoint: &Endpoint,
) -> Result<Translation, TranslateError> {
    if &*body.new_payment_status == UNKNOWN {
        return Ok(Translation::Events(Vec::new()));
    }
    let payment = id(&body.payment_id, "payment")?.to_owned();
    let error = body.error.as_ref();
    let told = Told {
        event_type,
        live,
        status: body.new_payment_status.to_string(),
        at: match body.timestamp.is_empty() {
            true => signed_at(receipt).unwrap_or_else(|| receipt.received_at()).to_string(),
            false => body.timestamp.to_string(),
        },
        reference: payload::first(&[&body.original_reference, &body.adjusted_reference]),
        failure_code: error.map(|error| error.error_code.to_string()).unwrap_or_default(),
        failure_message: error.map(|error| error.error_message.to_string()).unwrap_or_default(),
        payment,
        ..Told::default()
    };
    match credentials(endpoint) {
        Some(_) => {
            let object = format!("payments/{}", told.payment);
            Ok(Translation::Fetches(vec![fetch_of(object, &told)?]))
        }
        None => Ok(Translation::Events(vec![draft(&told, &endpoint.name, None)?])),
    }
}

/// The answer about a payment.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Payment<'a> {
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    recipient_id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    #[serde(borrow)]
    currency: Text<'a>,
    value: Decimal,
}

pub(super) fn step(fetching: &Fetching<'_>, told: &Told) -> Result<Step, TranslateError> {
    let Some(answer) = fetching.answers.first() else {
        let body = json!({ "payment_id": told.payment });
        return fetch_call(fetching.endpoint, "/payment_initiation/payment/get", body);
    };
    let is_gone =
        answer.status == NOT_FOUND || api_error(answer).error_code.ends_with("_NOT_FOUND");
    let payment = match answer.is_success() {
        true => Some(
            serde_json::from_slice::<Payment<'_>>(&answer.body)
                .map_err(|error| payload::unreadable("a Plaid payment", &error))?,
        ),
        // The webhook was signed: what it told stands, without an amount.
        false if is_gone => None,
        false => return Err(refusal(answer)),
    };
    let draft = draft(told, &fetching.endpoint.name, payment.as_ref())?;
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn draft(
    told: &Told,
    endpoint: &EndpointName,
    payment: Option<&Payment<'_>>,
) -> Result<Draft, TranslateError> {
    let row = STATUSES.iter().find(|(name, _, _)| *name == told.status);
    let (_, status, rank) = *row.ok_or_else(|| payload::unknown("payment status", &told.status))?;
    let is_another = |id: &str| !id.is_empty() && id != told.payment;
    if payment.is_some_and(|payment| is_another(&payment.payment_id)) {
        return Err(TranslateError("the answer is about another payment".to_owned()));
    }
    let amount = match payment.and_then(|payment| payment.amount.as_ref()) {
        Some(amount) => amount.value.money(&amount.currency)?,
        None => None,
    };
    let is_failed = status == PaymentStatus::Failed;
    let code = if told.failure_code.is_empty() { &told.status } else { &told.failure_code };
    let fact = Fact::Payment(PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection {
            status,
            total: amount,
            paid: amount.filter(|_| status == PaymentStatus::Paid),
        }),
        failure_code: if is_failed { code.clone() } else { String::new() },
        failure_message: if is_failed { told.failure_message.clone() } else { String::new() },
        ..PaymentFact::default()
    });
    let reference = payment.map(|payment| payment.reference.to_string()).unwrap_or_default();
    let mut references = References {
        payment: told.payment.clone(),
        order: payload::first(&[&told.reference, &reference]),
        ..References::default()
    };
    let recipient = payment.map(|payment| payment.recipient_id.to_string()).unwrap_or_default();
    if !recipient.is_empty() {
        references.metadata.insert("recipient_id".to_owned(), recipient);
    }
    let key = digest(&[&told.event_type, &told.payment, &told.status, &told.at]);
    Ok(Draft {
        event_id: key.clone(),
        key,
        event_type: told.event_type.clone(),
        occurred_at: time(&told.at)?,
        version: 0,
        rank,
        subject: payload::subject(SubjectKind::Payment, endpoint, &told.payment)?,
        references: references.bounded(),
        live: told.live,
        fact,
    })
}
