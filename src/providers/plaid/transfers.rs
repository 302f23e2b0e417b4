//! Plaid's transfer events: those after a cursor come in page by page, drafts go out. A debit takes money
//! from a customer and is a payment; a credit sends money to one and is a movement on the bank account. The
//! events are numbered, and their number orders them. Of a refund only its id is told, so that its amount
//! is fetched after the pages; sweeps between the merchant's own accounts say nothing about a payment.

use serde::Deserialize;
use serde_json::json;

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, Dispute, DisputeState, Draft, Entry,
    EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, Fetching, Step, TranslateError};

use super::{Told, api_error, fetch_call, refusal, time};

/// The product moves US dollars; an event need not name a currency.
const CURRENCY: &str = "USD";
/// A page of so many may not be the last, where Plaid does not say whether there is more.
const FULL_PAGE_ROWS: usize = 25;
/// Returns by which the customer takes the money back: unauthorised, revoked, wrong amount (Nacha).
const DISPUTING_RETURNS: &[&str] = &["R05", "R07", "R10", "R11", "R29", "R37", "R51"];
/// Plaid returns a transfer once, so that it needs no id beside the transfer's.
const RETURN_ID: &str = "return";
const NOT_FOUND: u16 = 404;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    transfer_events: Vec<Event<'a>>,
    has_more: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event<'a> {
    event_id: i64,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    transfer_id: Text<'a>,
    #[serde(borrow)]
    transfer_type: Text<'a>,
    transfer_amount: Decimal,
    #[serde(borrow)]
    iso_currency_code: Text<'a>,
    #[serde(borrow)]
    refund_id: Text<'a>,
    #[serde(borrow)]
    account_id: Text<'a>,
    #[serde(borrow)]
    intent_id: Text<'a>,
    #[serde(borrow)]
    failure_reason: Option<Failure<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow)]
    failure_code: Text<'a>,
    #[serde(borrow)]
    ach_return_code: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
}

#[derive(Deserialize)]
struct RefundBody {
    refund: Refund,
}

#[derive(Deserialize)]
struct Refund {
    amount: Decimal,
}

pub(super) fn step(fetching: &Fetching<'_>, told: &Told) -> Result<Step, TranslateError> {
    let mut after: i64 = match fetching.cursor {
        "" => 0,
        text => text.parse().map_err(|_| payload::not_a("a transfer event's number", text))?,
    };
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut answers = fetching.answers.iter();
    loop {
        let Some(answer) = answers.next() else {
            return fetch_call(
                fetching.endpoint,
                "/transfer/event/sync",
                json!({ "after_id": after }),
            );
        };
        if !answer.is_success() {
            return Err(refusal(answer));
        }
        let page: Page<'_> = serde_json::from_slice(&answer.body)
            .map_err(|error| payload::unreadable("a page of Plaid transfer events", &error))?;
        let rows = page.transfer_events.len();
        let last = page.transfer_events.iter().map(|event| event.event_id).max();
        let has_more = page.has_more.unwrap_or(rows >= FULL_PAGE_ROWS);
        if has_more && last.is_none_or(|last| last <= after) {
            return Err(TranslateError("the next page would be the same again".to_owned()));
        }
        after = last.unwrap_or(after).max(after);
        events.extend(page.transfer_events);
        if !has_more {
            break;
        }
    }
    let mut refunds: Vec<(&str, Option<Money>)> = Vec::new();
    for event in events.iter().filter(|event| event.refund_state().is_some()) {
        if refunds.iter().any(|(id, _)| *id == &*event.refund_id) {
            continue;
        }
        let Some(answer) = answers.next() else {
            let body = json!({ "refund_id": &*event.refund_id });
            return fetch_call(fetching.endpoint, "/transfer/refund/get", body);
        };
        refunds.push((&event.refund_id, refund_amount(answer, event.currency())?));
    }
    let drafts = drafts(fetching, told, &events, &refunds)?;
    Ok(Step::Done { drafts, cursor: Some(after.to_string()) })
}

fn drafts(
    fetching: &Fetching<'_>,
    told: &Told,
    events: &[Event<'_>],
    refunds: &[(&str, Option<Money>)],
) -> Result<Vec<Draft>, TranslateError> {
    let mut drafts = Vec::new();
    for event in events {
        let refunded = refunds.iter().find(|(id, _)| *id == &*event.refund_id);
        let refunded = refunded.and_then(|(_, amount)| *amount);
        drafts.extend(draft(fetching, told, event, refunded)?);
    }
    Ok(drafts)
}

fn refund_amount(answer: &Answer, currency: &str) -> Result<Option<Money>, TranslateError> {
    if answer.status == NOT_FOUND || api_error(answer).error_code.ends_with("_NOT_FOUND") {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(refusal(answer));
    }
    let body: RefundBody = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a Plaid refund", &error))?;
    body.refund.amount.money(currency)
}

impl Event<'_> {
    fn currency(&self) -> &str {
        if self.iso_currency_code.is_empty() { CURRENCY } else { &self.iso_currency_code }
    }

    /// `None` where the event is about no refund, or about its sweep.
    fn refund_state(&self) -> Option<(EntryState, u8)> {
        match &*self.event_type {
            "refund.pending" => Some((EntryState::Pending, 80)),
            "refund.posted" => Some((EntryState::Done, 81)),
            "refund.settled" => Some((EntryState::Done, 82)),
            "refund.cancelled" | "refund.failed" => Some((EntryState::Failed, 83)),
            "refund.returned" => Some((EntryState::Failed, 84)),
            _ => None,
        }
    }

    fn is_sweep(&self) -> bool {
        self.event_type.contains("swept") || self.event_type.starts_with("sweep")
    }
}

fn draft(
    fetching: &Fetching<'_>,
    told: &Told,
    event: &Event<'_>,
    refunded: Option<Money>,
) -> Result<Option<Draft>, TranslateError> {
    if event.is_sweep() {
        return Ok(None);
    }
    let (fact, rank) = match (event.refund_state(), &*event.transfer_type) {
        (Some((state, rank)), _) => (refund(event, state, refunded)?, rank),
        (None, "credit") => sent(event)?,
        (None, _) => taken(event)?,
    };
    if event.event_id <= 0 {
        return Err(TranslateError("a transfer event has no number".to_owned()));
    }
    let mut references = References {
        payment: event.transfer_id.to_string(),
        order: event.intent_id.to_string(),
        ..References::default()
    };
    if !event.account_id.is_empty() {
        references.metadata.insert("account_id".to_owned(), event.account_id.to_string());
    }
    let endpoint = &fetching.endpoint.name;
    Ok(Some(Draft {
        key: format!("transfer_event/{}", event.event_id),
        event_id: event.event_id.to_string(),
        event_type: told.event_type.clone(),
        occurred_at: time(&event.timestamp)?,
        version: event.event_id,
        rank,
        subject: payload::subject(fact.kind(), endpoint, &event.transfer_id)?,
        references: references.bounded(),
        live: told.live,
        fact,
    }))
}

fn refund(
    event: &Event<'_>,
    state: EntryState,
    amount: Option<Money>,
) -> Result<Fact, TranslateError> {
    if event.refund_id.is_empty() {
        return Err(TranslateError("a refund has no id".to_owned()));
    }
    let refund = Some(Entry { id: event.refund_id.to_string(), amount, state });
    Ok(Fact::Payment(PaymentFact { refund, ..PaymentFact::default() }))
}

/// A debit.
fn taken(event: &Event<'_>) -> Result<(Fact, u8), TranslateError> {
    let (status, rank) = match &*event.event_type {
        "pending" => (PaymentStatus::Pending, 10),
        "cancelled" => (PaymentStatus::Canceled, 20),
        "failed" => (PaymentStatus::Failed, 30),
        "posted" => (PaymentStatus::Paid, 40),
        "settled" => (PaymentStatus::Paid, 50),
        "funds_available" => (PaymentStatus::Paid, 60),
        "returned" => (PaymentStatus::Failed, 70),
        other => return Err(payload::unknown("transfer event", other)),
    };
    let amount = Some(event.transfer_amount.required(event.currency(), "the transfer")?);
    let failure = event.failure_reason.as_ref();
    let code =
        failure.map(|failure| payload::first(&[&failure.ach_return_code, &failure.failure_code]));
    let is_disputed =
        rank == 70 && code.as_deref().is_some_and(|code| DISPUTING_RETURNS.contains(&code));
    let paid = amount.filter(|_| status == PaymentStatus::Paid);
    let mut fact = PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: amount, paid }),
        failure_code: code.unwrap_or_default(),
        failure_message: failure.map(|failure| failure.description.to_string()).unwrap_or_default(),
        ..PaymentFact::default()
    };
    if is_disputed {
        let state = DisputeState::Lost;
        fact.status = Some(PaymentStatus::ChargedBack);
        fact.collection = None;
        fact.dispute = Some(Dispute { id: RETURN_ID.to_owned(), amount, state });
    }
    Ok((Fact::Payment(fact), rank))
}

/// A credit: money that leaves the merchant's account.
fn sent(event: &Event<'_>) -> Result<(Fact, u8), TranslateError> {
    let (status, rank) = match &*event.event_type {
        "pending" => (BankTransactionStatus::Pending, 10),
        "cancelled" => (BankTransactionStatus::Removed, 20),
        "failed" => (BankTransactionStatus::Failed, 30),
        "posted" => (BankTransactionStatus::Booked, 40),
        "settled" => (BankTransactionStatus::Booked, 50),
        "funds_available" => (BankTransactionStatus::Booked, 60),
        "returned" => (BankTransactionStatus::Returned, 70),
        other => return Err(payload::unknown("transfer event", other)),
    };
    let money = event.transfer_amount.required(event.currency(), "the transfer")?;
    let failure = event.failure_reason.as_ref();
    let code =
        failure.map(|failure| payload::first(&[&failure.ach_return_code, &failure.failure_code]));
    let fact = BankTransactionFact {
        status,
        amount: Some(Money { minor_units: money.minor_units.saturating_neg(), ..money }),
        counterparty: String::new(),
        remittance: String::new(),
        failure_code: code.unwrap_or_default(),
        failure_message: failure.map(|failure| failure.description.to_string()).unwrap_or_default(),
    };
    Ok((Fact::BankTransaction(fact), rank))
}
