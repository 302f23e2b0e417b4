//! FreshBooks objects as the API gives them: an answer with a payment, an invoice or an estimate comes in,
//! a draft goes out. Amounts say more than the status beside them. Times have no zone and are those of New
//! York, whatever the account's own is.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Draft, Entry, EntryState, Fact, InvoiceFact,
    InvoiceStatus, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, Endpoint, TranslateError, accounting};

use super::{Notice, Noun};

/// The zone of `updated`, as a rule, so that no list of zones is needed.
const ZONE: &str = "EST5EDT,M3.2.0,M11.1.0";
/// `vis_state` of what is there, deleted, or put away.
const ACTIVE: &str = "0";
const DELETED: &str = "1";
const ARCHIVED: &str = "2";
/// The rank of what is deleted.
const DELETED_RANK: u8 = 90;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    response: Response<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    result: Found<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Found<'a> {
    #[serde(borrow)]
    payment: Option<Record<'a>>,
    #[serde(borrow)]
    invoice: Option<Record<'a>>,
    #[serde(borrow)]
    estimate: Option<Record<'a>>,
}

/// The members of all kinds of object that are asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    amount: Amount<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    paid: Amount<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    outstanding: Amount<'a>,
    #[serde(borrow)]
    vis_state: Text<'a>,
    #[serde(borrow)]
    updated: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    gateway: Text<'a>,
    #[serde(borrow)]
    transactionid: Text<'a>,
    #[serde(borrow)]
    orderid: Text<'a>,
    #[serde(borrow)]
    invoiceid: Text<'a>,
    #[serde(borrow)]
    clientid: Text<'a>,
    #[serde(borrow)]
    customerid: Text<'a>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    estimate_number: Text<'a>,
    #[serde(borrow)]
    po_number: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    organization: Text<'a>,
    #[serde(borrow)]
    fname: Text<'a>,
    #[serde(borrow)]
    lname: Text<'a>,
    #[serde(borrow)]
    due_date: Text<'a>,
    #[serde(borrow)]
    v3_status: Text<'a>,
    #[serde(borrow)]
    payment_status: Text<'a>,
    #[serde(borrow)]
    ui_status: Text<'a>,
    accepted: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    amount: Decimal,
    #[serde(borrow)]
    code: Text<'a>,
}

impl Amount<'_> {
    fn money(&self) -> Result<Option<Money>, TranslateError> {
        self.amount.money(&self.code)
    }

    fn required(&self, what: &str) -> Result<Money, TranslateError> {
        self.amount.required(&self.code, what)
    }
}

/// What every draft of a fetch needs.
pub(super) struct Context<'a> {
    pub endpoint: &'a Endpoint,
    pub notice: &'a Notice,
    pub received_at: Timestamp,
}

/// What an object says: the state in a word, and how far in its life it is.
struct Said {
    state: &'static str,
    rank: u8,
    fact: Fact,
}

impl Context<'_> {
    /// Whether the object was deleted, as the webhook told.
    pub fn is_deleted(&self) -> bool {
        self.notice.event_type.ends_with(".delete")
    }

    /// What the answer says.
    pub fn draft(&self, noun: Noun, answer: &Answer) -> Result<Option<Draft>, TranslateError> {
        let envelope: Envelope<'_> = accounting::read(answer, "a FreshBooks object")?;
        let found = envelope.response.result;
        let record = match noun {
            Noun::Payment => found.payment,
            Noun::Invoice => found.invoice,
            Noun::Estimate => found.estimate,
            Noun::Other => return Ok(None),
        };
        let record =
            record.ok_or_else(|| TranslateError("the API answered without the object".into()))?;
        let is_gone = match &*record.vis_state {
            DELETED => true,
            "" | ACTIVE => self.is_deleted(),
            // An invoice that is put away is what it was; a payment no longer counts.
            ARCHIVED => self.is_deleted() || noun == Noun::Payment,
            other => return Err(payload::unknown("visibility", other)),
        };
        let said = match noun {
            Noun::Payment => self.payment(&record, is_gone)?,
            Noun::Invoice => invoice(&record, is_gone)?,
            Noun::Estimate => estimate(&record, is_gone)?,
            Noun::Other => return Ok(None),
        };
        self.finish(noun, &record, said).map(Some)
    }

    /// What there is to say of a deleted object that the API does not know any more.
    pub fn gone(&self, noun: Noun) -> Result<Option<Draft>, TranslateError> {
        let fact = match noun {
            Noun::Payment => taken(PaymentStatus::Canceled, None, ""),
            Noun::Invoice => Fact::Invoice(InvoiceFact {
                status: InvoiceStatus::Void,
                total: None,
                paid: None,
                balance: None,
                refunded: None,
                due_date: None,
            }),
            Noun::Estimate => request(CustomerAction::RequestCanceled, None, ""),
            Noun::Other => return Ok(None),
        };
        let said = Said { state: "deleted", rank: DELETED_RANK, fact };
        self.finish(noun, &Record::default(), said).map(Some)
    }

    /// One that is negative, or called so, gives money back; it does not name what it gives back of.
    fn payment(&self, record: &Record<'_>, is_gone: bool) -> Result<Said, TranslateError> {
        let amount = record.amount.required("the payment")?;
        let minor_units = amount.minor_units.checked_abs();
        let minor_units =
            minor_units.ok_or_else(|| payload::not_a("an amount", record.amount.amount.text()))?;
        let is_refund = amount.minor_units < 0 || record.kind.eq_ignore_ascii_case("refund");
        let amount = Money { minor_units, ..amount };
        Ok(match (is_refund, is_gone) {
            (false, false) => {
                let fact = taken(PaymentStatus::Paid, Some(amount), &record.kind);
                Said { state: "paid", rank: 50, fact }
            }
            (false, true) => {
                let fact = taken(PaymentStatus::Canceled, Some(amount), &record.kind);
                Said { state: "deleted", rank: DELETED_RANK, fact }
            }
            (true, false) => {
                let fact = given_back(&self.notice.id, EntryState::Done, amount);
                Said { state: "refunded", rank: 70, fact }
            }
            (true, true) => {
                let fact = given_back(&self.notice.id, EntryState::Failed, amount);
                Said { state: "deleted", rank: DELETED_RANK, fact }
            }
        })
    }

    fn finish(&self, noun: Noun, record: &Record<'_>, said: Said) -> Result<Draft, TranslateError> {
        let notice = self.notice;
        let key = accounting::state_key(&[
            &notice.account,
            noun.path().unwrap_or_default(),
            &notice.id,
            &record.updated,
            said.state,
            record.amount.amount.text(),
            record.paid.amount.text(),
            record.outstanding.amount.text(),
        ]);
        let occurred_at = match &*record.updated {
            "" => self.received_at,
            text => time(text)?,
        };
        Ok(Draft {
            event_id: key.clone(),
            key,
            event_type: notice.event_type.clone(),
            occurred_at,
            version: 0,
            rank: said.rank,
            subject: payload::subject(said.fact.kind(), &self.endpoint.name, &notice.id)?,
            references: self.references(noun, record).bounded(),
            // Tests are made in a trial account, which nothing tells.
            live: true,
            fact: said.fact,
        })
    }

    fn references(&self, noun: Noun, record: &Record<'_>) -> References {
        let id = &self.notice.id;
        let name = [&*record.fname, &*record.lname].join(" ");
        let mut references = References {
            payment: if noun == Noun::Payment { id.clone() } else { String::new() },
            invoice: if noun == Noun::Invoice { id.clone() } else { record.invoiceid.to_string() },
            invoice_number: record.invoice_number.to_string(),
            order: payload::first(&[&record.orderid, &record.po_number]),
            customer: payload::first(&[&record.clientid, &record.customerid]),
            customer_name: payload::first(&[name.trim(), &record.organization]),
            email: record.email.to_string(),
            ..References::default()
        };
        for (name, value) in [
            ("account_id", self.notice.account.as_str()),
            ("gateway", &record.gateway),
            ("transactionid", &record.transactionid),
        ] {
            if !value.is_empty() {
                references.metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        references
    }
}

fn invoice(record: &Record<'_>, is_gone: bool) -> Result<Said, TranslateError> {
    let total = record.amount.required("the invoice")?;
    let paid = record.paid.money()?;
    let balance = record.outstanding.money()?;
    let is_paid_in_part = paid.is_some_and(|paid| paid.minor_units > 0);
    let is_open = balance.is_none_or(|balance| balance.minor_units > 0);
    let word = payload::first(&[&record.v3_status, &record.payment_status]);
    let (state, status) = match word.as_str() {
        _ if is_gone => ("deleted", InvoiceStatus::Void),
        _ if is_paid_in_part && !is_open => ("paid", InvoiceStatus::Paid),
        // The client disputes the invoice itself, which no amount tells.
        "disputed" => ("disputed", InvoiceStatus::Disputed),
        _ if is_paid_in_part && balance.is_some() => ("partial", InvoiceStatus::PartiallyPaid),
        "draft" => ("draft", InvoiceStatus::Draft),
        "created" | "sent" | "viewed" | "pending" | "retry" | "resolved" | "unpaid" => {
            ("open", InvoiceStatus::Open)
        }
        "overdue" => ("overdue", InvoiceStatus::Overdue),
        "partial" | "deposit-partial" | "deposit-paid" => ("partial", InvoiceStatus::PartiallyPaid),
        "paid" | "autopaid" | "auto-paid" | "success" => ("paid", InvoiceStatus::Paid),
        "failed" | "declined" => ("failed", InvoiceStatus::PaymentFailed),
        other => return Err(payload::unknown("invoice status", other)),
    };
    let fact = InvoiceFact {
        status,
        total: Some(total),
        paid,
        balance,
        refunded: None,
        due_date: accounting::date(&record.due_date)?,
    };
    let rank = match state {
        "deleted" => DELETED_RANK,
        _ => accounting::invoice_rank(status),
    };
    Ok(Said { state, rank, fact: Fact::Invoice(fact) })
}

fn estimate(record: &Record<'_>, is_gone: bool) -> Result<Said, TranslateError> {
    let total = record.amount.money()?;
    let word = payload::first(&[&record.ui_status, &record.v3_status]);
    let (state, action, rank) = match word.as_str() {
        _ if is_gone => ("deleted", CustomerAction::RequestCanceled, DELETED_RANK),
        "declined" => ("declined", CustomerAction::RequestCanceled, 40),
        "accepted" | "invoiced" => ("accepted", CustomerAction::RequestAccepted, 30),
        _ if record.accepted == Some(true) => ("accepted", CustomerAction::RequestAccepted, 30),
        "viewed" => ("viewed", CustomerAction::LinkOpened, 20),
        "" | "draft" | "created" | "sent" | "outstanding" => {
            ("sent", CustomerAction::RequestCreated, 10)
        }
        other => return Err(payload::unknown("estimate status", other)),
    };
    Ok(Said { state, rank, fact: request(action, total, &record.estimate_number) })
}

fn request(action: CustomerAction, amount: Option<Money>, detail: &str) -> Fact {
    Fact::CustomerAction(CustomerActionFact { action, amount, detail: detail.to_owned() })
}

fn taken(status: PaymentStatus, amount: Option<Money>, method: &str) -> Fact {
    let paid = amount.filter(|_| status == PaymentStatus::Paid);
    Fact::Payment(PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: amount, paid }),
        method: method.to_owned(),
        ..PaymentFact::default()
    })
}

/// A refund stands for a payment that is not named, which was taken and is given back.
fn given_back(id: &str, state: EntryState, amount: Money) -> Fact {
    let (status, collected) = match state {
        EntryState::Done => (PaymentStatus::Refunded, PaymentStatus::Paid),
        EntryState::Pending | EntryState::Failed => {
            (PaymentStatus::Canceled, PaymentStatus::Canceled)
        }
    };
    let paid = Some(amount).filter(|_| state == EntryState::Done);
    Fact::Payment(PaymentFact {
        status: Some(status),
        amount: Some(amount),
        collection: Some(Collection { status: collected, total: Some(amount), paid }),
        refund: Some(Entry { id: id.to_owned(), amount: Some(amount), state }),
        ..PaymentFact::default()
    })
}

/// A time without a zone: `2026-11-23 05:00:00`.
pub(super) fn time(text: &str) -> Result<Timestamp, TranslateError> {
    let wrong = || payload::not_a("a time", text);
    let time: DateTime = text.parse().map_err(|_| wrong())?;
    let zone = TimeZone::posix(ZONE).map_err(|_| wrong())?;
    zone.to_timestamp(time).map_err(|_| wrong())
}
