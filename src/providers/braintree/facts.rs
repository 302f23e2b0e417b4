//! What Braintree's notifications say: a notification of a known kind comes in, drafts go out. A sale's
//! transaction is the payment; a credit names the sale that it gives back, and is one refund of it. Nothing
//! here may take a settled credit for money that came in.

use jiff::Timestamp;

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Dispute, DisputeState, Draft, Entry,
    EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload;
use crate::providers::{Endpoint, TranslateError};

use super::xml::Element;
use super::{CURRENCY, DEFAULT_CURRENCY, ENVIRONMENT, Meaning, PRODUCTION, SANDBOX};

/// The reversal of a local payment has no id of its own.
const REVERSAL_ID: &str = "reversal";

/// A notification of a known kind, with what every draft of it needs.
pub(super) struct Event<'a> {
    kind: &'a str,
    rank: u8,
    timestamp: &'a str,
    occurred_at: Timestamp,
    subject: Element<'a>,
    merchant: &'a str,
    endpoint: &'a Endpoint,
}

impl<'a> Event<'a> {
    pub(super) fn new(
        notification: &Element<'a>,
        kind: &'a str,
        rank: u8,
        endpoint: &'a Endpoint,
    ) -> Result<Event<'a>, TranslateError> {
        let timestamp = notification.text("timestamp");
        let occurred_at = timestamp.parse().map_err(|_| payload::not_a("a time", timestamp))?;
        let subject = notification.find("subject");
        let subject =
            subject.ok_or_else(|| TranslateError("the notification has no subject".to_owned()))?;
        let merchant = notification.text("source-merchant-id");
        Ok(Event { kind, rank, timestamp, occurred_at, subject, merchant, endpoint })
    }

    pub(super) fn drafts(&self, meaning: Meaning) -> Result<Vec<Draft>, TranslateError> {
        let draft = match meaning {
            Meaning::Transaction(status) => return self.transaction(status),
            Meaning::RefundFailed => {
                return self.refund_of_payment(self.required_transaction()?, EntryState::Failed);
            }
            Meaning::SubscriptionCharge(status) => self.subscription_charge(status)?,
            Meaning::LocalPayment => self.local_payment()?,
            Meaning::LocalPaymentEnded(status) => self.local_payment_ended(status)?,
            Meaning::Dispute(state) => self.dispute(state)?,
            Meaning::SubscriptionChanged => self.subscription(CustomerAction::MandateChanged)?,
            Meaning::SubscriptionEnded => self.subscription(CustomerAction::RequestCanceled)?,
            Meaning::MethodRevoked => self.method_revoked()?,
            Meaning::Note => return Ok(Vec::new()),
        };
        Ok(vec![draft])
    }

    fn transaction(&self, status: PaymentStatus) -> Result<Vec<Draft>, TranslateError> {
        let transaction = self.required_transaction()?;
        if transaction.text("type") != "credit" {
            return Ok(vec![self.collected(transaction, status)?]);
        }
        let state = match status {
            PaymentStatus::Failed => EntryState::Failed,
            PaymentStatus::Pending
            | PaymentStatus::Authorized
            | PaymentStatus::Paid
            | PaymentStatus::PartiallyPaid
            | PaymentStatus::Canceled
            | PaymentStatus::PartiallyRefunded
            | PaymentStatus::Refunded
            | PaymentStatus::Disputed
            | PaymentStatus::ChargedBack => EntryState::Done,
        };
        self.refund_of_payment(transaction, state)
    }

    /// A credit that gives nothing back is no payment's.
    fn refund_of_payment(
        &self,
        credit: Element<'a>,
        state: EntryState,
    ) -> Result<Vec<Draft>, TranslateError> {
        match credit.text("refunded-transaction-id") {
            "" => Ok(Vec::new()),
            _ => Ok(vec![self.refund(credit, state)?]),
        }
    }

    /// The transaction that the notification is about, bare or in what it belongs to.
    fn find_transaction(&self) -> Option<Element<'a>> {
        let inside = |element: Element<'a>| {
            element.find("transaction").or_else(|| element.find("transactions/transaction"))
        };
        inside(self.subject).or_else(|| self.subject.children().find_map(inside))
    }

    fn required_transaction(&self) -> Result<Element<'a>, TranslateError> {
        self.find_transaction()
            .ok_or_else(|| TranslateError("the notification has no transaction".to_owned()))
    }

    fn collected(
        &self,
        transaction: Element<'a>,
        status: PaymentStatus,
    ) -> Result<Draft, TranslateError> {
        let id = transaction.text("id");
        let fact = self.collection(Some(transaction), status, None)?;
        self.draft(id, id, self.references(Some(transaction)), Fact::Payment(fact))
    }

    fn collection(
        &self,
        transaction: Option<Element<'a>>,
        status: PaymentStatus,
        price: Option<Money>,
    ) -> Result<PaymentFact, TranslateError> {
        let stated = transaction.map(|transaction| {
            let total = transaction.money("amount", self.currency(transaction))?;
            total.ok_or_else(|| TranslateError("the transaction has no amount".to_owned()))
        });
        let total = stated.transpose()?.or(price);
        let text = |path| transaction.map_or("", |transaction| transaction.text(path));
        let mut fact = PaymentFact {
            status: Some(status),
            amount: total,
            collection: Some(Collection {
                status,
                total,
                paid: total.filter(|_| status == PaymentStatus::Paid),
            }),
            method: text("payment-instrument-type").to_owned(),
            ..PaymentFact::default()
        };
        if status == PaymentStatus::Failed {
            fact.failure_code = payload::first(&[
                text("processor-settlement-response-code"),
                text("processor-response-code"),
                text("gateway-rejection-reason"),
            ]);
            fact.failure_message = payload::first(&[
                text("processor-settlement-response-text"),
                text("processor-response-text"),
            ]);
        }
        Ok(fact)
    }

    fn refund(&self, credit: Element<'a>, state: EntryState) -> Result<Draft, TranslateError> {
        let id = credit.text("id");
        if id.is_empty() {
            return Err(TranslateError("the refund has no id".to_owned()));
        }
        let amount = credit.money("amount", self.currency(credit))?;
        let mut fact = PaymentFact {
            refund: Some(Entry { id: id.to_owned(), amount, state }),
            ..PaymentFact::default()
        };
        if state == EntryState::Failed {
            fact.failure_code = credit.text("processor-response-code").to_owned();
            fact.failure_message = credit.text("processor-response-text").to_owned();
        }
        let payment = credit.text("refunded-transaction-id");
        let mut references = self.references(Some(credit));
        references.payment = payment.to_owned();
        self.draft(id, payment, references, Fact::Payment(fact))
    }

    /// A charge that failed early may have no transaction: the subscription stands for it.
    fn subscription_charge(&self, status: PaymentStatus) -> Result<Draft, TranslateError> {
        let subscription = self.object("subscription")?;
        let transaction = self.find_transaction();
        let price = subscription.money("price", self.currency(subscription))?;
        let fact = self.collection(transaction, status, price)?;
        let id = payload::first(&[
            transaction.map_or("", |transaction| transaction.text("id")),
            subscription.text("id"),
        ]);
        let mut references = self.references(transaction);
        references.payment.clone_from(&id);
        keep(&mut references, "subscription_id", subscription.text("id"));
        self.draft(&id, &id, references, Fact::Payment(fact))
    }

    fn local_payment(&self) -> Result<Draft, TranslateError> {
        let payment = self.object("local-payment")?;
        let transaction = self.find_transaction();
        let status = match transaction.map_or("", |transaction| transaction.text("status")) {
            "authorized" => PaymentStatus::Authorized,
            "settled" => PaymentStatus::Paid,
            "failed" | "processor_declined" | "gateway_rejected" | "settlement_declined" => {
                PaymentStatus::Failed
            }
            "voided" | "authorization_expired" => PaymentStatus::Canceled,
            ""
            | "authorizing"
            | "settling"
            | "settlement_confirmed"
            | "settlement_pending"
            | "submitted_for_settlement" => PaymentStatus::Pending,
            other => return Err(payload::unknown("transaction status", other)),
        };
        let fact = self.collection(transaction, status, None)?;
        let id = payload::first(&[
            transaction.map_or("", |transaction| transaction.text("id")),
            payment.text("payment-id"),
        ]);
        let mut references = self.references(transaction);
        references.payment.clone_from(&id);
        self.draft(&id, &id, references, Fact::Payment(fact))
    }

    /// Only the local payment's own id comes with these, and no amount.
    fn local_payment_ended(&self, status: PaymentStatus) -> Result<Draft, TranslateError> {
        let payment = self.subject.children().next().unwrap_or(self.subject);
        let id = payment.text("payment-id");
        let mut fact = PaymentFact { status: Some(status), ..PaymentFact::default() };
        if status == PaymentStatus::Refunded {
            let id = REVERSAL_ID.to_owned();
            fact.refund = Some(Entry { id, amount: None, state: EntryState::Done });
        } else {
            fact.collection = Some(Collection { status, total: None, paid: None });
        }
        let mut references = self.references(None);
        references.payment = id.to_owned();
        self.draft(id, id, references, Fact::Payment(fact))
    }

    fn dispute(&self, state: DisputeState) -> Result<Draft, TranslateError> {
        let dispute = self.object("dispute")?;
        let id = dispute.text("id");
        if id.is_empty() {
            return Err(TranslateError("the dispute has no id".to_owned()));
        }
        let currency = self.currency(dispute);
        let disputed = dispute.money("amount-disputed", currency)?;
        let amount = match disputed {
            Some(disputed) => Some(disputed),
            None => dispute.money("amount", currency)?,
        };
        let fact = PaymentFact {
            status: Some(match state {
                DisputeState::Open => PaymentStatus::Disputed,
                DisputeState::Won => PaymentStatus::Paid,
                DisputeState::Lost => PaymentStatus::ChargedBack,
            }),
            amount,
            dispute: Some(Dispute { id: id.to_owned(), amount, state }),
            failure_code: match state {
                DisputeState::Open | DisputeState::Lost => dispute.text("reason").to_owned(),
                DisputeState::Won => String::new(),
            },
            ..PaymentFact::default()
        };
        let transaction = dispute.find("transaction");
        let payment = transaction.map_or("", |transaction| transaction.text("id"));
        let mut references = self.references(transaction);
        let account = dispute.text("merchant-account-id");
        keep(&mut references, "merchant_account_id", account);
        self.draft(id, payment, references, Fact::Payment(fact))
    }

    fn subscription(&self, action: CustomerAction) -> Result<Draft, TranslateError> {
        let subscription = self.object("subscription")?;
        let id = subscription.text("id");
        let amount = subscription.money("price", self.currency(subscription))?;
        let detail = payload::first(&[subscription.text("status"), self.kind]);
        let mut references = self.references(self.find_transaction());
        keep(&mut references, "subscription_id", id);
        keep(&mut references, "plan_id", subscription.text("plan-id"));
        let fact = CustomerActionFact { action, amount, detail };
        self.draft(id, id, references, Fact::CustomerAction(fact))
    }

    /// The method stands under its own name: `paypal-account`, `venmo-account`.
    fn method_revoked(&self) -> Result<Draft, TranslateError> {
        let method = self.subject.children().find(|child| !child.text("token").is_empty());
        let method = method
            .ok_or_else(|| TranslateError("the notification has no payment method".to_owned()))?;
        let id = method.text("token");
        let mut references = self.references(None);
        references.customer = method.text("customer-id").to_owned();
        references.email = method.text("email").to_owned();
        let fact = CustomerActionFact {
            action: CustomerAction::MandateChanged,
            amount: None,
            detail: method.name(),
        };
        self.draft(id, id, references, Fact::CustomerAction(fact))
    }

    fn object(&self, name: &str) -> Result<Element<'a>, TranslateError> {
        self.subject
            .find(name)
            .ok_or_else(|| TranslateError(format!("the notification has no {name}")))
    }

    fn currency(&self, element: Element<'a>) -> &'a str {
        match element.text("currency-iso-code") {
            "" => self.endpoint.setting(CURRENCY, DEFAULT_CURRENCY),
            currency => currency,
        }
    }

    fn references(&self, transaction: Option<Element<'a>>) -> References {
        let mut references = References::default();
        let mut ids = self.subject.children().map(|child| child.text("payment-id"));
        let local = ids.find(|id| !id.is_empty()).unwrap_or_default();
        keep(&mut references, "local_payment_id", local);
        keep(&mut references, "source_merchant_id", self.merchant);
        let Some(transaction) = transaction else { return references };
        let names =
            ["customer/first-name", "customer/last-name"].map(|path| transaction.text(path));
        references.payment = transaction.text("id").to_owned();
        references.order = transaction.text("order-id").to_owned();
        references.customer = transaction.text("customer/id").to_owned();
        references.customer_name = names.join(" ").trim().to_owned();
        references.email = transaction.text("customer/email").to_owned();
        keep(&mut references, "merchant_account_id", transaction.text("merchant-account-id"));
        keep(&mut references, "subscription_id", transaction.text("subscription-id"));
        for field in transaction.find("custom-fields").into_iter().flat_map(Element::children) {
            keep(&mut references, &field.name(), field.content());
        }
        references
    }

    /// `object` is what the notification is about, `id` the payment or request that it concerns.
    fn draft(
        &self,
        object: &str,
        id: &str,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        let key = format!("{}:{object}:{}", self.kind, self.timestamp);
        Ok(Draft {
            key: key.clone(),
            event_id: key,
            event_type: self.kind.to_owned(),
            occurred_at: self.occurred_at,
            version: 0,
            rank: self.rank,
            subject: payload::subject(fact.kind(), &self.endpoint.name, id)?,
            references: references.bounded(),
            live: self.endpoint.setting(ENVIRONMENT, PRODUCTION) != SANDBOX,
            fact,
        })
    }
}

fn keep(references: &mut References, key: &str, value: &str) {
    if !value.is_empty() {
        references.metadata.insert(key.to_owned(), value.to_owned());
    }
}
