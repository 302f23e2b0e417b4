//! Mollie's payments as its API has them: a payment comes in, a draft goes out. A payment tells the running totals of its refunds and chargebacks, and its status
//! stays `paid` under both; the single refunds only tell how far along it is and are never added up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    Collection, Dispute, DisputeState, Draft, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Scalars, Text};

use super::{Amount, Found, Origin, latest, money, required};

/// All chargebacks of a payment as one: Mollie tells their sum, and a dispute is about the same money.
pub(super) const CHARGEBACKS: &str = "chargebacks";
pub(super) const REFUND_RANK: u8 = 60;
/// Refunds take ranks up to here.
const MAX_REFUND_RANK: u8 = 119;
const CHARGEBACK_RANK: u8 = 130;
const REVERSED_RANK: u8 = 140;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Payment<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    mode: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    amount_refunded: Option<Amount<'a>>,
    #[serde(borrow)]
    amount_captured: Option<Amount<'a>>,
    #[serde(borrow)]
    amount_charged_back: Option<Amount<'a>>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    customer_id: Text<'a>,
    #[serde(borrow)]
    billing_email: Text<'a>,
    #[serde(borrow)]
    billing_address: Option<Address<'a>>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    #[serde(borrow)]
    status_reason: Option<Reason<'a>>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    authorized_at: Text<'a>,
    #[serde(borrow)]
    paid_at: Text<'a>,
    #[serde(borrow)]
    canceled_at: Text<'a>,
    #[serde(borrow)]
    expired_at: Text<'a>,
    #[serde(borrow)]
    failed_at: Text<'a>,
    #[serde(borrow, rename = "_embedded")]
    embedded: Option<Embedded<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Address<'a> {
    #[serde(borrow)]
    pub(super) email: Text<'a>,
    #[serde(borrow)]
    pub(super) organization_name: Text<'a>,
    #[serde(borrow)]
    pub(super) given_name: Text<'a>,
    #[serde(borrow)]
    pub(super) family_name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow)]
    consumer_name: Text<'a>,
    #[serde(borrow)]
    failure_reason: Text<'a>,
    #[serde(borrow)]
    failure_message: Text<'a>,
    #[serde(borrow)]
    bank_reason_code: Text<'a>,
    #[serde(borrow)]
    bank_reason: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reason<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Embedded<'a> {
    #[serde(borrow)]
    refunds: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    chargebacks: Option<Vec<Part<'a>>>,
}

/// A refund or a chargeback of a payment.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    reversed_at: Text<'a>,
}

/// The sums that a payment tells.
pub(super) struct Sums {
    pub(super) total: Money,
    /// What was taken of it.
    pub(super) paid: Option<Money>,
    pub(super) refunded: Money,
    /// `None` where there never was a chargeback.
    pub(super) charged_back: Option<Money>,
}

/// The draft of a payment as `GET /v2/payments/{id}` has it.
pub(super) fn payment(origin: &Origin<'_>, body: &[u8]) -> Result<Draft, TranslateError> {
    let payment: Payment<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Mollie payment", &error))?;
    let (collected, rank) = match &*payment.status {
        "open" | "pending" => (PaymentStatus::Pending, 10),
        "failed" => (PaymentStatus::Failed, 20),
        "authorized" => (PaymentStatus::Authorized, 30),
        "canceled" | "expired" => (PaymentStatus::Canceled, 40),
        "paid" => (PaymentStatus::Paid, 50),
        other => return Err(payload::unknown("payment status", other)),
    };
    let sums = payment.sums(collected)?;
    let dispute = payment.dispute(&sums);
    let (status, name) = status_of(collected, &payment.status, &sums, dispute.as_ref());
    let is_paid = collected == PaymentStatus::Paid;
    let (failure_code, failure_message) = payment.failure(collected, dispute.as_ref());
    let fact = PaymentFact {
        status: Some(status),
        // What a snapshot is about is the payment, whatever became of parts of it.
        amount: Some(sums.total),
        collection: Some(Collection {
            status: collected,
            total: Some(sums.total),
            paid: sums.paid,
        }),
        refunded_total: is_paid.then_some(sums.refunded),
        dispute,
        failure_code,
        failure_message,
        method: payment.method.to_string(),
        ..PaymentFact::default()
    };
    let mut digest = vec![
        payment.status.to_string(),
        sums.refunded.minor_units.to_string(),
        sums.charged_back.map_or(0, |money| money.minor_units).to_string(),
        sums.paid.map_or(0, |money| money.minor_units).to_string(),
    ];
    let parts = payment.refunds().iter().chain(payment.chargebacks());
    digest.extend(
        parts.map(|part| format!("{} {} {}", &*part.id, &*part.status, &*part.reversed_at)),
    );
    origin.draft(Found {
        id: &payment.id,
        state: format!("payment.{name}"),
        digest,
        at: payment.at()?.unwrap_or(origin.received_at),
        rank: payment.rank(rank, &sums),
        live: &*payment.mode != "test",
        references: payment.references(),
        fact: Fact::Payment(fact),
    })
}

/// The status that the sums make of what was collected, with its name.
pub(super) fn status_of<'a>(
    collected: PaymentStatus,
    word: &'a str,
    sums: &Sums,
    dispute: Option<&Dispute>,
) -> (PaymentStatus, &'a str) {
    match dispute.map(|dispute| dispute.state) {
        Some(DisputeState::Lost) => return (PaymentStatus::ChargedBack, "charged_back"),
        Some(DisputeState::Open) => return (PaymentStatus::Disputed, "charged_back"),
        Some(DisputeState::Won) | None => {}
    }
    if collected != PaymentStatus::Paid || sums.refunded.minor_units <= 0 {
        (collected, word)
    } else if sums.refunded >= sums.paid.unwrap_or(sums.total) {
        (PaymentStatus::Refunded, "refunded")
    } else {
        (PaymentStatus::PartiallyRefunded, "partially_refunded")
    }
}

impl<'a> Payment<'a> {
    fn refunds(&self) -> &[Part<'a>] {
        let parts = self.embedded.as_ref().and_then(|embedded| embedded.refunds.as_deref());
        parts.unwrap_or_default()
    }

    fn chargebacks(&self) -> &[Part<'a>] {
        let parts = self.embedded.as_ref().and_then(|embedded| embedded.chargebacks.as_deref());
        parts.unwrap_or_default()
    }

    fn sums(&self, collected: PaymentStatus) -> Result<Sums, TranslateError> {
        let total = required(self.amount.as_ref(), "the payment")?;
        let none = Money { minor_units: 0, ..total };
        let sums = Sums {
            total,
            paid: match collected == PaymentStatus::Paid {
                true => Some(money(self.amount_captured.as_ref())?.unwrap_or(total)),
                false => None,
            },
            refunded: money(self.amount_refunded.as_ref())?.unwrap_or(none),
            charged_back: money(self.amount_charged_back.as_ref())?,
        };
        let parts = [sums.paid, Some(sums.refunded), sums.charged_back];
        if parts.into_iter().flatten().any(|part| part.currency != total.currency) {
            return Err(TranslateError("the payment's amounts are of two currencies".to_owned()));
        }
        Ok(sums)
    }

    /// What was charged back. A bank takes a direct debit back for good; a card's may still be won.
    fn dispute(&self, sums: &Sums) -> Option<Dispute> {
        let amount = sums.charged_back?;
        let state = match (amount.minor_units > 0, &*self.method) {
            (false, _) => DisputeState::Won,
            (true, "directdebit") => DisputeState::Lost,
            (true, _) => DisputeState::Open,
        };
        let amount = (amount.minor_units > 0).then_some(amount);
        Some(Dispute { id: CHARGEBACKS.to_owned(), amount, state })
    }

    fn failure(&self, collected: PaymentStatus, dispute: Option<&Dispute>) -> (String, String) {
        let none = Details::default();
        let details = self.details.as_ref().unwrap_or(&none);
        let (code, message) = self
            .status_reason
            .as_ref()
            .map_or(("", ""), |reason| (&*reason.code, &*reason.message));
        if dispute.is_some_and(|dispute| dispute.state != DisputeState::Won) {
            return (details.bank_reason_code.to_string(), details.bank_reason.to_string());
        }
        // A payment that was paid in the end may still show why an earlier try failed.
        if collected == PaymentStatus::Paid {
            return (String::new(), String::new());
        }
        let code = payload::first(&[&details.failure_reason, code]);
        (code, payload::first(&[&details.failure_message, message]))
    }

    /// When the state began: the latest of all that happened to the payment.
    fn at(&self) -> Result<Option<jiff::Timestamp>, TranslateError> {
        let mut times: Vec<&str> = vec![
            &self.created_at,
            &self.authorized_at,
            &self.paid_at,
            &self.canceled_at,
            &self.expired_at,
            &self.failed_at,
        ];
        for part in self.refunds().iter().chain(self.chargebacks()) {
            times.extend([&*part.created_at, &*part.reversed_at]);
        }
        latest(&times)
    }

    /// Refunds and chargebacks change without a time of their own; how far they are tells the order.
    fn rank(&self, collected: u8, sums: &Sums) -> u8 {
        if let Some(charged_back) = sums.charged_back {
            return if charged_back.minor_units > 0 { CHARGEBACK_RANK } else { REVERSED_RANK };
        }
        let progress: usize = self
            .refunds()
            .iter()
            .map(|refund| match &*refund.status {
                "processing" => 2,
                "refunded" => 3,
                "failed" | "canceled" => 4,
                _queued => 1,
            })
            .sum();
        let whole = sums.refunded >= sums.paid.unwrap_or(sums.total);
        match (progress, sums.refunded.minor_units) {
            (0, ..=0) => collected,
            (0, _) => REFUND_RANK + u8::from(whole),
            (progress, _) => {
                let progress = u8::try_from(progress).unwrap_or(u8::MAX);
                REFUND_RANK.saturating_add(progress).min(MAX_REFUND_RANK)
            }
        }
    }

    fn references(&self) -> References {
        let (order, mut metadata) = merchant_data(self.metadata);
        let none = (Address::default(), Details::default());
        let address = self.billing_address.as_ref().unwrap_or(&none.0);
        let details = self.details.as_ref().unwrap_or(&none.1);
        if !self.description.is_empty() {
            metadata.entry("description".to_owned()).or_insert(self.description.to_string());
        }
        let name = format!("{} {}", &*address.given_name, &*address.family_name);
        References {
            payment: self.id.to_string(),
            order: payload::first(&[&order, &self.order_id]),
            customer: self.customer_id.to_string(),
            customer_name: payload::first(&[
                &details.consumer_name,
                &address.organization_name,
                name.trim(),
            ]),
            email: payload::first(&[&self.billing_email, &address.email]),
            metadata,
            ..References::default()
        }
    }
}

/// The order id and the rest of what the merchant attached: an object, or a text as a whole.
pub(super) fn merchant_data(metadata: Option<&RawValue>) -> (String, BTreeMap<String, String>) {
    let Some(metadata) = metadata.map(RawValue::get) else {
        return (String::new(), BTreeMap::new());
    };
    if let Ok(text) = serde_json::from_str::<String>(metadata) {
        return (text, BTreeMap::new());
    }
    // Nested values and names that stand twice have no one meaning; the receipt's answer is enough.
    let scalars = serde_json::from_str::<Scalars>(metadata).unwrap_or_default();
    let order = ["order_id", "orderId", "order"].into_iter().find_map(|name| scalars.0.get(name));
    (order.cloned().unwrap_or_default(), scalars.0)
}
