//! Mollie's orders and payment links as its API has them: one of them comes in, a draft about its payment
//! goes out. Both are known by their own id, not by that of the payment that was made for them.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{Collection, Draft, Fact, Money, PaymentFact, PaymentStatus, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::payments::{Address, REFUND_RANK, Sums, merchant_data, status_of};
use super::{Amount, Found, Origin, latest, money, required};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Order<'a> {
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
    amount_captured: Option<Amount<'a>>,
    #[serde(borrow)]
    amount_refunded: Option<Amount<'a>>,
    #[serde(borrow)]
    order_number: Text<'a>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    billing_address: Option<Address<'a>>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    authorized_at: Text<'a>,
    #[serde(borrow)]
    paid_at: Text<'a>,
    #[serde(borrow)]
    completed_at: Text<'a>,
    #[serde(borrow)]
    canceled_at: Text<'a>,
    #[serde(borrow)]
    expired_at: Text<'a>,
}

/// The draft of an order as `GET /v2/orders/{id}` has it: its payment, known by the order's id.
pub(super) fn order(origin: &Origin<'_>, body: &[u8]) -> Result<Draft, TranslateError> {
    let order: Order<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Mollie order", &error))?;
    let total = required(order.amount.as_ref(), "the order")?;
    let captured = money(order.amount_captured.as_ref())?.filter(|money| money.minor_units > 0);
    let (collected, rank) = match &*order.status {
        "created" | "pending" => (PaymentStatus::Pending, 10),
        "authorized" => (PaymentStatus::Authorized, 30),
        "canceled" | "expired" => (PaymentStatus::Canceled, 40),
        // Goods are sent, and money is taken as they are.
        "shipping" if captured.is_some() => (PaymentStatus::Paid, 45),
        "shipping" => (PaymentStatus::Authorized, 44),
        "paid" => (PaymentStatus::Paid, 50),
        "completed" => (PaymentStatus::Paid, 55),
        other => return Err(payload::unknown("order status", other)),
    };
    let is_paid = collected == PaymentStatus::Paid;
    let none = Money { minor_units: 0, ..total };
    let refunded = money(order.amount_refunded.as_ref())?.unwrap_or(none);
    let sums = Sums {
        total,
        paid: is_paid.then_some(captured.unwrap_or(total)),
        refunded,
        charged_back: None,
    };
    let (status, name) = status_of(collected, &order.status, &sums, None);
    let fact = PaymentFact {
        status: Some(status),
        amount: Some(total),
        collection: Some(Collection { status: collected, total: Some(total), paid: sums.paid }),
        refunded_total: is_paid.then_some(refunded),
        method: order.method.to_string(),
        ..PaymentFact::default()
    };
    let times = [
        &*order.created_at,
        &order.authorized_at,
        &order.paid_at,
        &order.completed_at,
        &order.canceled_at,
        &order.expired_at,
    ];
    let at = latest(&times)?.unwrap_or(origin.received_at);
    let is_refunded = refunded.minor_units > 0;
    origin.draft(Found {
        id: &order.id,
        state: format!("order.{name}"),
        digest: vec![
            order.status.to_string(),
            refunded.minor_units.to_string(),
            sums.paid.map_or(0, |money| money.minor_units).to_string(),
        ],
        at,
        rank: if is_refunded { REFUND_RANK + u8::from(refunded >= total) } else { rank },
        live: &*order.mode != "test",
        references: order.references(),
        fact: Fact::Payment(fact),
    })
}

impl Order<'_> {
    fn references(&self) -> References {
        let (_, metadata) = merchant_data(self.metadata);
        let none = Address::default();
        let address = self.billing_address.as_ref().unwrap_or(&none);
        let person = format!("{} {}", &*address.given_name, &*address.family_name);
        References {
            payment: self.id.to_string(),
            order: self.order_number.to_string(),
            customer_name: payload::first(&[&address.organization_name, person.trim()]),
            email: address.email.to_string(),
            metadata,
            ..References::default()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Link<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    mode: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    archived: Option<bool>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    paid_at: Text<'a>,
    #[serde(borrow)]
    customer_id: Text<'a>,
}

/// The draft of a payment link. One that is open for any amount has none.
pub(super) fn link(origin: &Origin<'_>, body: &[u8]) -> Result<Draft, TranslateError> {
    let link: Link<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Mollie payment link", &error))?;
    let was_paid = origin.event.is_some() || !link.paid_at.is_empty();
    let (status, name, rank) = match (was_paid, link.archived) {
        (true, _) => (PaymentStatus::Paid, "paid", 50),
        (false, Some(true)) => (PaymentStatus::Canceled, "archived", 40),
        (false, Some(false) | None) => (PaymentStatus::Pending, "open", 10),
    };
    let total = money(link.amount.as_ref())?;
    let fact = PaymentFact {
        status: Some(status),
        amount: total,
        collection: Some(Collection { status, total, paid: total.filter(|_| was_paid) }),
        ..PaymentFact::default()
    };
    let at = latest(&[&link.created_at, &link.paid_at])?;
    let mut references = References {
        payment: link.id.to_string(),
        customer: link.customer_id.to_string(),
        ..References::default()
    };
    if !link.description.is_empty() {
        references.metadata.insert("description".to_owned(), link.description.to_string());
    }
    origin.draft(Found {
        id: &link.id,
        state: format!("payment-link.{name}"),
        digest: vec![name.to_owned()],
        at: at.unwrap_or(origin.received_at),
        rank,
        live: &*link.mode != "test",
        references,
        fact: Fact::Payment(fact),
    })
}
