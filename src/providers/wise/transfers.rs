//! Wise's transfers, batches of them and card disputes: a notification, and for a change of state the
//! transfer as the API has it, come in; drafts about payments or fetches go out. A transfer has at most one
//! refund and one chargeback, known by the transfer's own id; they are told by two notifications each and
//! must not count twice.

use serde::{Deserialize, Serialize};

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Dispute, DisputeState, Draft, EndpointName,
    Entry, EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Fetch, TranslateError, Translation};

use super::{Event, Source};

const PAYOUT_FAILURE_RANK: u8 = 55;
const REFUNDED_RANK: u8 = 80;
const REFUND_RANK: u8 = 81;
const CHARGED_BACK_RANK: u8 = 90;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
    #[serde(borrow)]
    current_state: Text<'a>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
    #[serde(borrow)]
    transfer: Text<'a>,
    #[serde(borrow)]
    transfer_id: Text<'a>,
    amount: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    failure_reason_code: Text<'a>,
    #[serde(borrow)]
    failure_description: Text<'a>,
    #[serde(borrow)]
    active_cases: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    account_id: Text<'a>,
    refund_amount: Decimal,
    #[serde(borrow)]
    refund_currency: Text<'a>,
}

/// What a change of a transfer's state told.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    #[serde(flatten)]
    event: Event,
    transfer: String,
    state: String,
}

/// A change of state, whose amounts the API tells.
pub(super) fn state(source: &Source<'_>) -> Result<Translation, TranslateError> {
    let data: Data<'_> = source.read("a Wise transfer")?;
    let transfer = data.resource.as_ref().map_or("", |resource| &resource.id);
    if transfer.is_empty() || !transfer.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(payload::not_a("an id of a transfer", transfer));
    }
    let told = Told {
        event: source.event(transfer, &data.occurred_at, &data.current_state)?,
        transfer: transfer.to_owned(),
        state: data.current_state.to_string(),
    };
    standing(&told.state)?;
    let object = format!("transfers/{transfer}");
    let told = serde_json::to_string(&told)
        .map_err(|error| payload::unreadable("a Wise transfer", &error))?;
    Ok(Translation::Fetches(vec![Fetch { object, told }]))
}

/// The status that a state means, and its rank.
fn standing(state: &str) -> Result<(PaymentStatus, u8), TranslateError> {
    Ok(match state {
        "incoming_payment_waiting" => (PaymentStatus::Pending, 10),
        "incoming_payment_initiated" => (PaymentStatus::Pending, 12),
        "waiting_recipient_input_to_proceed" => (PaymentStatus::Pending, 18),
        "processing" => (PaymentStatus::Pending, 20),
        "unknown" => (PaymentStatus::Pending, 25),
        "funds_converted" => (PaymentStatus::Pending, 30),
        "outgoing_payment_sent" => (PaymentStatus::Paid, 50),
        "bounced_back" => (PaymentStatus::Failed, 60),
        "cancelled" => (PaymentStatus::Canceled, 70),
        "funds_refunded" => (PaymentStatus::Refunded, REFUNDED_RANK),
        "charged_back" => (PaymentStatus::ChargedBack, CHARGED_BACK_RANK),
        other => return Err(payload::unknown("transfer state", other)),
    })
}

/// A transfer as `GET /v1/transfers/{id}` has it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Transfer<'a> {
    source_value: Decimal,
    #[serde(borrow)]
    source_currency: Text<'a>,
    target_value: Decimal,
    #[serde(borrow)]
    target_currency: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    #[serde(borrow)]
    customer_transaction_id: Text<'a>,
    #[serde(borrow)]
    target_account: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    reference: Text<'a>,
}

impl Told {
    /// The draft, with the transfer where it was found. What the recipient gets is the amount.
    pub(super) fn draft(
        &self,
        transfer: Option<&[u8]>,
        endpoint: &EndpointName,
    ) -> Result<Draft, TranslateError> {
        let (status, rank) = standing(&self.state)?;
        let transfer: Option<Transfer<'_>> = transfer
            .map(serde_json::from_slice)
            .transpose()
            .map_err(|error| payload::unreadable("a Wise transfer", &error))?;
        let total = match &transfer {
            Some(transfer) => {
                let currency = &transfer.target_currency;
                Some(transfer.target_value.required(currency, "the transfer")?)
            }
            None => None,
        };
        let mut references = transfer.map_or_else(References::default, Transfer::references);
        references.payment.clone_from(&self.transfer);
        let fact = self.fact(status, total);
        self.event.draft(&self.transfer, rank, references, Fact::Payment(fact), endpoint)
    }

    fn fact(&self, status: PaymentStatus, total: Option<Money>) -> PaymentFact {
        let mut fact =
            PaymentFact { status: Some(status), amount: total, ..PaymentFact::default() };
        let id = || self.transfer.clone();
        match status {
            PaymentStatus::ChargedBack | PaymentStatus::Disputed => {
                let state = DisputeState::Lost;
                fact.dispute = Some(Dispute { id: id(), amount: total, state });
            }
            // What is given back was taken before, even if it never arrived.
            PaymentStatus::Refunded | PaymentStatus::PartiallyRefunded => {
                let state = EntryState::Done;
                fact.refund = Some(Entry { id: id(), amount: total, state });
                let status = PaymentStatus::Paid;
                fact.collection = Some(Collection { status, total, paid: total });
            }
            PaymentStatus::Paid | PaymentStatus::PartiallyPaid => {
                fact.collection = Some(Collection { status, total, paid: total });
            }
            PaymentStatus::Pending
            | PaymentStatus::Authorized
            | PaymentStatus::Failed
            | PaymentStatus::Canceled => {
                fact.collection = Some(Collection { status, total, paid: None });
            }
        }
        if status == PaymentStatus::Failed {
            fact.failure_code.clone_from(&self.state);
        }
        fact
    }
}

impl Transfer<'_> {
    fn references(self) -> References {
        let detail = self.details.map(|details| details.reference).unwrap_or_default();
        let mut references = References {
            order: payload::first(&[&self.reference, &detail]),
            customer: self.target_account.to_string(),
            ..References::default()
        };
        let source = [
            ("source_value", self.source_value.text()),
            ("source_currency", &*self.source_currency),
            ("customer_transaction_id", &*self.customer_transaction_id),
        ];
        for (name, value) in source {
            if !value.is_empty() {
                references.metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        references
    }
}

/// A refund tells its amount in the sender's currency, fees and all; the transfer's own amounts follow its
/// state.
pub(super) fn refund(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Data<'_> = source.read("a Wise refund")?;
    let resource = data.resource.unwrap_or_default();
    let event = source.event(&resource.id, &data.occurred_at, "refund")?;
    let amount = match resource.refund_amount.money(&resource.refund_currency)? {
        Some(amount) => Some(amount),
        None => data.amount.money(&data.currency)?,
    };
    let fact = PaymentFact {
        status: Some(PaymentStatus::Refunded),
        amount,
        refund: Some(Entry { id: resource.id.to_string(), amount: None, state: EntryState::Done }),
        ..PaymentFact::default()
    };
    let references = References {
        payment: resource.id.to_string(),
        customer: resource.account_id.to_string(),
        ..References::default()
    };
    event.draft(&resource.id, REFUND_RANK, references, Fact::Payment(fact), source.endpoint)
}

/// A payout that failed; the transfer may still be tried again, and says so by its state.
pub(super) fn payout_failure(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Data<'_> = source.read("a Wise payout failure")?;
    let resource = data.resource.unwrap_or_default();
    let id = payload::first(&[&data.transfer_id, &data.transfer, &resource.id]);
    let event = source.event(&id, &data.occurred_at, &data.failure_reason_code)?;
    let status = PaymentStatus::Failed;
    let fact = PaymentFact {
        status: Some(status),
        collection: Some(Collection { status, total: None, paid: None }),
        failure_code: data.failure_reason_code.to_string(),
        failure_message: data.failure_description.to_string(),
        ..PaymentFact::default()
    };
    let references = References { payment: id.clone(), ..References::default() };
    event.draft(&id, PAYOUT_FAILURE_RANK, references, Fact::Payment(fact), source.endpoint)
}

/// What a transfer waits for; none is left where the list is empty.
pub(super) fn active_cases(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Data<'_> = source.read("Wise's cases of a transfer")?;
    let resource = data.resource.unwrap_or_default();
    let cases: Vec<&str> = data.active_cases.iter().flatten().map(|case| &**case).collect();
    let detail = cases.join(", ");
    let event = source.event(&resource.id, &data.occurred_at, &detail)?;
    let (action, rank) = match cases.is_empty() {
        true => (CustomerAction::RequestAccepted, 20),
        false => (CustomerAction::RequestCreated, 10),
    };
    let fact = CustomerActionFact { action, amount: None, detail };
    let references = References {
        payment: resource.id.to_string(),
        customer: resource.account_id.to_string(),
        ..References::default()
    };
    event.draft(&resource.id, rank, references, Fact::CustomerAction(fact), source.endpoint)
}

/// The funding of a group of transfers. Its fields are named differently by the schema and its examples.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow)]
    resource: Option<BatchResource<'a>>,
    #[serde(borrow, rename = "newStatus")]
    new_status: Text<'a>,
    #[serde(borrow, rename = "currentStatus")]
    current_status: Text<'a>,
    #[serde(borrow)]
    current_state: Text<'a>,
    #[serde(borrow, rename = "occurredAt")]
    occurred_at: Text<'a>,
    #[serde(borrow, rename = "occurred_at")]
    occurred_at_too: Text<'a>,
    #[serde(borrow, rename = "returnCode")]
    return_code: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BatchResource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "batchGroupId")]
    group: Text<'a>,
}

/// The draft of a batch, without an amount: nothing tells it.
pub(super) fn batch(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Batch<'_> = source.read("a Wise batch payment")?;
    let resource = data.resource.unwrap_or_default();
    let state = payload::first(&[&data.new_status, &data.current_status, &data.current_state]);
    let (status, rank) = match &*state {
        "NEW" => (PaymentStatus::Pending, 10),
        "PROCESSING" => (PaymentStatus::Pending, 20),
        "COMPLETED" => (PaymentStatus::Paid, 50),
        "FAILED" => (PaymentStatus::Failed, 60),
        "CHARGED_BACK" => (PaymentStatus::ChargedBack, CHARGED_BACK_RANK),
        other => return Err(payload::unknown("batch payment state", other)),
    };
    let occurred_at = payload::first(&[&data.occurred_at, &data.occurred_at_too]);
    let event = source.event(&resource.id, &occurred_at, &state)?;
    let mut fact = PaymentFact { status: Some(status), ..PaymentFact::default() };
    if status == PaymentStatus::ChargedBack {
        let id = resource.id.to_string();
        fact.dispute = Some(Dispute { id, amount: None, state: DisputeState::Lost });
    } else {
        fact.collection = Some(Collection { status, total: None, paid: None });
    }
    if status == PaymentStatus::Failed {
        fact.failure_code = data.return_code.to_string();
    }
    let references = References {
        payment: resource.id.to_string(),
        order: resource.group.to_string(),
        ..References::default()
    };
    event.draft(&resource.id, rank, references, Fact::Payment(fact), source.endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CardDispute<'a> {
    #[serde(borrow)]
    resource: Option<DisputeResource<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    sub_status: Text<'a>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisputeResource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    transaction_id: Text<'a>,
}

/// A dispute about a payment by card: the payment stands where it is withdrawn or turned down.
pub(super) fn card_dispute(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: CardDispute<'_> = source.read("a Wise dispute")?;
    let resource = data.resource.unwrap_or_default();
    let (state, status, rank) = match (&*data.status, &*data.sub_status) {
        ("ACTIVE", _) => (DisputeState::Open, PaymentStatus::Disputed, 70),
        ("CLOSED", "WITHDRAWN" | "REJECTED" | "LOST" | "EXPIRED" | "INVALID" | "CANCELLED") => {
            (DisputeState::Won, PaymentStatus::Paid, 75)
        }
        ("CLOSED", "WON" | "REFUNDED" | "ACCEPTED" | "RESOLVED") => {
            (DisputeState::Lost, PaymentStatus::ChargedBack, 76)
        }
        ("CLOSED", other) => return Err(payload::unknown("end of a dispute", other)),
        (other, _) => return Err(payload::unknown("dispute status", other)),
    };
    let what = format!("{}/{}", &*data.status, &*data.sub_status);
    let event = source.event(&resource.id, &data.occurred_at, &what)?;
    let payment = payload::first(&[&resource.transaction_id, &resource.id]);
    let fact = PaymentFact {
        status: Some(status),
        dispute: Some(Dispute { id: resource.id.to_string(), amount: None, state }),
        failure_code: data.reason.to_string(),
        ..PaymentFact::default()
    };
    let references = References { payment: payment.clone(), ..References::default() };
    event.draft(&payment, rank, references, Fact::Payment(fact), source.endpoint)
}
