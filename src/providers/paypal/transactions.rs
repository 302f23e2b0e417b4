//! What a confirmed IPN says: the form of a payment, refund, reversal, case, subscription or mass payment
//! comes in, drafts go out. Refunds and reversals have transactions of their own and name the payment as
//! `parent_txn_id`. A form that moves money must tell the amount and its currency, or it is an error.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, Dispute, DisputeState, Draft,
    EndpointName, Entry, EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload;

use super::disputes::{CASE_KEY, DISPUTE_ID};
use super::form::Form;
use super::payments::{
    AUTHORIZED_RANK, CANCELED_RANK, CUSTOM_KEY, DISPUTE_RANK, FAILED_RANK, PAID_RANK, PENDING_RANK,
    REFUND_RANK, keep,
};

/// A confirmed form, with what every draft of it needs.
struct Notice<'a> {
    form: &'a Form,
    endpoint: &'a EndpointName,
    occurred_at: Timestamp,
}

pub(super) fn drafts(
    form: &Form,
    endpoint: &EndpointName,
    received_at: Timestamp,
) -> Result<Vec<Draft>, TranslateError> {
    let paid_at = form.time("payment_date")?;
    let case_at = form.time("case_creation_date")?;
    let occurred_at = paid_at.or(case_at).unwrap_or(received_at);
    let notice = Notice { form, endpoint, occurred_at };
    let one = |draft: Result<Draft, TranslateError>| draft.map(|draft| vec![draft]);
    match form.kind() {
        "new_case" => one(notice.case()),
        "adjustment" => notice.adjustment(),
        "masspay" => notice.mass_payment(),
        "subscr_failed" | "recurring_payment_failed" => one(notice.subscription_failed()),
        "subscr_signup" | "subscr_cancel" | "subscr_eot" => Ok(Vec::new()),
        status => one(notice.payment(status)),
    }
}

impl Notice<'_> {
    fn payment(&self, status: &str) -> Result<Draft, TranslateError> {
        let amount = self.form.money("mc_gross", "mc_currency")?;
        let is_negative = amount.is_some_and(|amount| amount.minor_units < 0);
        // The refund of an eCheck is pending at first, in the words of a payment.
        let is_refund = is_negative && self.form.get("reason_code") == "refund";
        let by_bank = self.form.get("pending_reason") == "authorization";
        let (collected, rank) = match status {
            "Refunded" | "Partially_Refunded" => return self.refund(EntryState::Done),
            "Reversed" => return self.reversal(DisputeState::Open),
            "Canceled_Reversal" => return self.reversal(DisputeState::Won),
            "Completed" | "Processed" if is_refund => return self.refund(EntryState::Done),
            "Pending" | "In-Progress" if is_refund => return self.refund(EntryState::Pending),
            "Denied" | "Failed" if is_refund => return self.refund(EntryState::Failed),
            "Created" => (PaymentStatus::Pending, PENDING_RANK),
            "Pending" if by_bank => (PaymentStatus::Authorized, AUTHORIZED_RANK),
            "Pending" => (PaymentStatus::Pending, PENDING_RANK + 1),
            "In-Progress" => (PaymentStatus::Pending, PENDING_RANK + 2),
            "Denied" | "Failed" => (PaymentStatus::Failed, FAILED_RANK),
            "Expired" | "Voided" => (PaymentStatus::Canceled, CANCELED_RANK),
            "Completed" | "Processed" => (PaymentStatus::Paid, PAID_RANK),
            other => return Err(payload::unknown("payment status", other)),
        };
        let total = amount.ok_or_else(no_amount)?;
        if is_negative {
            return Err(TranslateError(format!("a payment of {total} went out")));
        }
        let is_paid = collected == PaymentStatus::Paid;
        let fee = self.form.money("mc_fee", "mc_currency")?;
        let mut fact = PaymentFact {
            status: Some(collected),
            amount: Some(total),
            collection: Some(Collection {
                status: collected,
                total: Some(total),
                paid: is_paid.then_some(total),
            }),
            fee: fee.filter(|_| is_paid),
            method: self.form.get("payment_type").to_owned(),
            ..PaymentFact::default()
        };
        if collected == PaymentStatus::Failed {
            fact.failure_code = self.form.get("reason_code").to_owned();
        }
        self.draft(&self.key(), self.form.get("txn_id"), rank, Fact::Payment(fact))
    }

    fn refund(&self, state: EntryState) -> Result<Draft, TranslateError> {
        let id = self.form.get("txn_id");
        if id.is_empty() {
            return Err(TranslateError("the refund has no id".to_owned()));
        }
        let amount = Some(self.moved()?.ok_or_else(no_amount)?);
        let fact = PaymentFact {
            refund: Some(Entry { id: id.to_owned(), amount, state }),
            ..PaymentFact::default()
        };
        let rank = match state {
            EntryState::Pending => REFUND_RANK,
            EntryState::Done => REFUND_RANK + 1,
            EntryState::Failed => REFUND_RANK + 2,
        };
        self.draft(&self.key(), self.payment_id(), rank, Fact::Payment(fact))
    }

    fn reversal(&self, state: DisputeState) -> Result<Draft, TranslateError> {
        let amount = Some(self.moved()?.ok_or_else(no_amount)?);
        let rank = match state {
            DisputeState::Open | DisputeState::Lost => DISPUTE_RANK + 2,
            DisputeState::Won => DISPUTE_RANK + 3,
        };
        self.dispute(&self.key(), rank, amount, state)
    }

    fn case(&self) -> Result<Draft, TranslateError> {
        let case = self.form.get("case_id");
        if case.is_empty() {
            return Err(TranslateError("the case has no id".to_owned()));
        }
        let amount = self.moved()?;
        self.dispute(&format!("{case}:new_case"), DISPUTE_RANK, amount, DisputeState::Open)
    }

    /// A case is closed; the sign of what moved tells for whom. Where nothing moved it says nothing.
    fn adjustment(&self) -> Result<Vec<Draft>, TranslateError> {
        let Some(moved) = self.form.money("mc_gross", "mc_currency")? else {
            return Ok(Vec::new());
        };
        let state = match moved.minor_units {
            ..0 => DisputeState::Lost,
            0.. => DisputeState::Won,
        };
        let key = format!("{}:adjustment", self.form.get("txn_id"));
        Ok(vec![self.dispute(&key, DISPUTE_RANK + 3, self.moved()?, state)?])
    }

    fn dispute(
        &self,
        key: &str,
        rank: u8,
        amount: Option<Money>,
        state: DisputeState,
    ) -> Result<Draft, TranslateError> {
        let fact = PaymentFact {
            status: Some(match state {
                DisputeState::Open => PaymentStatus::Disputed,
                DisputeState::Won => PaymentStatus::Paid,
                DisputeState::Lost => PaymentStatus::ChargedBack,
            }),
            amount,
            dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state }),
            failure_code: match state {
                DisputeState::Open | DisputeState::Lost => self.form.get("reason_code").to_owned(),
                DisputeState::Won => String::new(),
            },
            ..PaymentFact::default()
        };
        self.draft(key, self.payment_id(), rank, Fact::Payment(fact))
    }

    /// A try that failed has no transaction: the subscription stands for it.
    fn subscription_failed(&self) -> Result<Draft, TranslateError> {
        let form = self.form;
        let id = payload::first(&[form.get("recurring_payment_id"), form.get("subscr_id")]);
        let total = match form.money("mc_gross", "mc_currency")? {
            Some(total) => Some(total),
            None => form.money("amount", "currency_code")?,
        };
        let fact = PaymentFact {
            status: Some(PaymentStatus::Failed),
            amount: total,
            collection: Some(Collection { status: PaymentStatus::Failed, total, paid: None }),
            failure_code: form.get("reason_code").to_owned(),
            ..PaymentFact::default()
        };
        let try_id = payload::first(&[form.get("ipn_track_id"), &digest(form)]);
        self.draft(&format!("{id}:{try_id}"), &id, FAILED_RANK, Fact::Payment(fact))
    }

    /// Money that the account sent: one bank transaction for each recipient, numbered from 1.
    fn mass_payment(&self) -> Result<Vec<Draft>, TranslateError> {
        let form = self.form;
        let numbers = (1..).take_while(|n| !form.get(&format!("masspay_txn_id_{n}")).is_empty());
        let drafts = numbers.map(|n| {
            let get = |name: &str| form.get(&format!("{name}_{n}"));
            let (status, rank) = match get("status") {
                "Processed" | "Pending" | "Unclaimed" => (BankTransactionStatus::Pending, 10),
                "Completed" => (BankTransactionStatus::Booked, 20),
                "Failed" | "Denied" | "Blocked" => (BankTransactionStatus::Failed, 30),
                "Returned" | "Reversed" => (BankTransactionStatus::Returned, 40),
                other => return Err(payload::unknown("mass payment status", other)),
            };
            let currency = format!("mc_currency_{n}");
            let sent = form.money(&format!("mc_gross_{n}"), &currency)?.ok_or_else(no_amount)?;
            let fact = BankTransactionFact {
                status,
                amount: Some(Money { minor_units: -sent.minor_units.saturating_abs(), ..sent }),
                counterparty: get("receiver_email").to_owned(),
                remittance: get("unique_id").to_owned(),
                failure_code: get("reason_code").to_owned(),
                failure_message: String::new(),
            };
            let id = get("masspay_txn_id");
            let key = format!("{id}:{}", get("status"));
            self.draft(&key, id, rank, Fact::BankTransaction(fact))
        });
        drafts.collect()
    }

    /// The payment that a refund, reversal or case is about.
    fn payment_id(&self) -> &str {
        match self.form.get("parent_txn_id") {
            "" => self.form.get("txn_id"),
            parent => parent,
        }
    }

    /// The amount without its sign.
    fn moved(&self) -> Result<Option<Money>, TranslateError> {
        let amount = self.form.money("mc_gross", "mc_currency")?;
        Ok(amount.map(|money| Money { minor_units: money.minor_units.saturating_abs(), ..money }))
    }

    /// A transaction is reported once for each status, a pending one for each reason.
    fn key(&self) -> String {
        let [id, status, reason] =
            ["txn_id", "payment_status", "pending_reason"].map(|name| self.form.get(name));
        match reason {
            "" => format!("{id}:{status}"),
            reason => format!("{id}:{status}:{reason}"),
        }
    }

    fn draft(&self, key: &str, id: &str, rank: u8, fact: Fact) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: key.to_owned(),
            event_id: key.to_owned(),
            event_type: self.form.kind().to_owned(),
            occurred_at: self.occurred_at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), self.endpoint, id)?,
            references: self.references(id, &fact).bounded(),
            live: !self.form.is_test(),
            fact,
        })
    }

    fn references(&self, id: &str, fact: &Fact) -> References {
        let form = self.form;
        // The payer of a mass payment is the account itself.
        let is_payment = matches!(fact, Fact::Payment(_));
        let of_payer =
            |name: &str| if is_payment { form.get(name).to_owned() } else { String::new() };
        let name = [form.get("first_name"), form.get("last_name")].join(" ");
        let name = payload::first(&[name.trim(), form.get("payer_business_name")]);
        let mut references = References {
            payment: id.to_owned(),
            invoice: form.get("invoice_id").to_owned(),
            invoice_number: payload::first(&[form.get("invoice"), form.get("invoice_number")]),
            customer: of_payer("payer_id"),
            customer_name: if is_payment { name } else { String::new() },
            email: of_payer("payer_email"),
            ..References::default()
        };
        keep(&mut references, CUSTOM_KEY, form.get("custom"));
        keep(&mut references, "item_number", form.get("item_number"));
        keep(&mut references, CASE_KEY, form.get("case_id"));
        let subscription =
            payload::first(&[form.get("recurring_payment_id"), form.get("subscr_id")]);
        keep(&mut references, "subscription_id", &subscription);
        references
    }
}

fn no_amount() -> TranslateError {
    TranslateError("the form has no amount".to_owned())
}

/// What tells one try from the next where PayPal gives no id: all that the form says.
fn digest(form: &Form) -> String {
    let mut hasher = Sha256::new();
    for (name, value) in form.fields() {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(value.as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}
