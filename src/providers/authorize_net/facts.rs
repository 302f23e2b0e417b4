//! What Authorize.Net's notifications say, at once or with the details of their transactions. In comes a
//! body, out come drafts or the calls that they wait for. A refund is a transaction of its own and counts
//! for the payment that it is of; without a link it is no payment's. A notification tells what happened
//! then, the details tell what is now: only where the first says nothing is the second asked for the status.

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Draft, Entry, EntryState, Fact, Money,
    PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, Fetch, Fetching, Step, TranslateError, Translation};

use super::details::{self, Details};
use super::{CURRENCY, DEFAULT_CURRENCY, ENVIRONMENT, EVENTS, Meaning, PRODUCTION, SANDBOX};

/// What a transaction of the test mode is called, all of them alike.
const TEST_ID: &str = "0";
const REFUND_RANK: u8 = 100;

pub(super) fn translate(body: &[u8], endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body_text = std::str::from_utf8(body)
        .map_err(|_| TranslateError("the notification is no text".to_owned()))?;
    let body = read(body_text)?;
    if row(&body).is_none() {
        return payload::unknown_type(&body.event_type);
    }
    let event = Event::new(&body, endpoint)?;
    if &*event.object.id == TEST_ID || matches!(event.meaning, Meaning::Note) {
        return Ok(Translation::Events(Vec::new()));
    }
    if !event.wants_details() {
        return event.drafts(None, None).map(Translation::Events);
    }
    if event.object.id.is_empty() {
        return Err(TranslateError("the notification names no transaction".to_owned()));
    }
    let object = format!("transactions/{}", &*event.object.id);
    Ok(Translation::Fetches(vec![Fetch { object, told: body_text.to_owned() }]))
}

/// The details of the transaction; then, of a refund, those of the payment that it is of.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let body = read(&fetching.fetch.told)?;
    let event = Event::new(&body, fetching.endpoint)?;
    let mut answers = fetching.answers.iter();
    let Some(answer) = answers.next() else {
        return Ok(Step::Call(details::call(fetching.endpoint, &event.object.id)));
    };
    let details = match details::read(answer)? {
        Ok(details) if details.transaction.trans_id == event.object.id => Some(details),
        Ok(_) => return Err(TranslateError("the details are another transaction's".to_owned())),
        Err(reason) if event.needs_details() => return Ok(Step::Later(reason)),
        // What the notification tells by itself does not wait for what might be added to it.
        Err(_) => None,
    };
    let original = details.as_ref().map_or("", |details| &details.transaction.ref_trans_id);
    let is_refund = details.as_ref().is_some_and(Details::is_refund);
    let payment = match answers.next() {
        _ if !is_refund || original.is_empty() => None,
        None => return Ok(Step::Call(details::call(fetching.endpoint, original))),
        Some(answer) => details::read(answer)?.ok(),
    };
    let drafts = event.drafts(details.as_ref(), payment.as_ref())?;
    Ok(Step::Done { drafts, cursor: None })
}

fn read(text: &str) -> Result<Body<'_>, TranslateError> {
    serde_json::from_str(text)
        .map_err(|error| payload::unreadable("an Authorize.Net notification", &error))
}

fn row(body: &Body<'_>) -> Option<(u8, Meaning)> {
    let row = EVENTS.iter().find(|(event_type, _, _)| *event_type == &*body.event_type);
    row.map(|(_, rank, meaning)| (*rank, *meaning))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    notification_id: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    event_date: Text<'a>,
    #[serde(borrow)]
    payload: Option<Object<'a>>,
}

/// A transaction or a subscription.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    response_code: Text<'a>,
    auth_amount: Decimal,
    #[serde(borrow)]
    merchant_reference_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    amount: Decimal,
    #[serde(borrow)]
    profile: Option<Profile<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Profile<'a> {
    #[serde(borrow)]
    customer_profile_id: Text<'a>,
}

/// What was answered to a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Response {
    Approved,
    Refused,
    Held,
}

/// A notification of a known type, with what every draft of it needs.
struct Event<'a> {
    body: &'a Body<'a>,
    object: &'a Object<'a>,
    occurred_at: Timestamp,
    rank: u8,
    meaning: Meaning,
    endpoint: &'a Endpoint,
}

impl<'a> Event<'a> {
    fn new(body: &'a Body<'a>, endpoint: &'a Endpoint) -> Result<Event<'a>, TranslateError> {
        let (rank, meaning) =
            row(body).ok_or_else(|| payload::unknown("event type", &body.event_type))?;
        if body.notification_id.is_empty() {
            return Err(TranslateError("the notification has no id".to_owned()));
        }
        let occurred_at =
            body.event_date.parse().map_err(|_| payload::not_a("a time", &body.event_date))?;
        let object = body.payload.as_ref();
        let object =
            object.ok_or_else(|| TranslateError("the notification has no payload".to_owned()))?;
        Ok(Event { body, object, occurred_at, rank, meaning, endpoint })
    }

    /// Whether it says nothing without the details.
    fn needs_details(&self) -> bool {
        match self.meaning {
            Meaning::HeldApproved | Meaning::Refund => true,
            Meaning::Transaction(_)
            | Meaning::Void
            | Meaning::Subscription(_)
            | Meaning::SubscriptionChargeFailed
            | Meaning::Note => false,
        }
    }

    /// Whether the details are asked for: whoever pays stands in them alone.
    fn wants_details(&self) -> bool {
        let is_transaction = match self.meaning {
            Meaning::HeldApproved | Meaning::Refund | Meaning::Transaction(_) | Meaning::Void => {
                true
            }
            Meaning::Subscription(_) | Meaning::SubscriptionChargeFailed | Meaning::Note => false,
        };
        self.needs_details() || is_transaction && details::are_configured(self.endpoint)
    }

    fn drafts(
        &self,
        details: Option<&Details<'_>>,
        payment: Option<&Details<'_>>,
    ) -> Result<Vec<Draft>, TranslateError> {
        let draft = match self.meaning {
            Meaning::Transaction(status) => self.transaction(self.responded(status)?, details)?,
            Meaning::HeldApproved => match details.map(Details::status).transpose()?.flatten() {
                // The review is over, whatever the details still call it.
                Some(PaymentStatus::Pending) => {
                    self.transaction(PaymentStatus::Authorized, details)?
                }
                Some(status) => self.transaction(status, details)?,
                None => return Ok(Vec::new()),
            },
            Meaning::Refund => return self.refund(self.refund_state(details)?, details, payment),
            Meaning::Void if self.response()? != Response::Approved => return Ok(Vec::new()),
            // The void of a refund leaves the payment paid.
            Meaning::Void if details.is_some_and(Details::is_refund) => {
                return self.refund(EntryState::Failed, details, payment);
            }
            Meaning::Void => self.transaction(PaymentStatus::Canceled, details)?,
            Meaning::Subscription(action) => self.subscription(action)?,
            Meaning::SubscriptionChargeFailed => self.subscription_charge_failed()?,
            Meaning::Note => return Ok(Vec::new()),
        };
        Ok(vec![draft])
    }

    fn response(&self) -> Result<Response, TranslateError> {
        match &*self.object.response_code {
            "1" | "" => Ok(Response::Approved),
            "2" | "3" => Ok(Response::Refused),
            "4" => Ok(Response::Held),
            other => Err(payload::unknown("response code", other)),
        }
    }

    /// The status that the transaction would have had, had it been approved.
    fn responded(&self, status: PaymentStatus) -> Result<PaymentStatus, TranslateError> {
        let is_review = matches!(status, PaymentStatus::Pending | PaymentStatus::Failed);
        Ok(match self.response()? {
            Response::Approved => status,
            Response::Refused | Response::Held if is_review => status,
            Response::Refused => PaymentStatus::Failed,
            Response::Held => PaymentStatus::Pending,
        })
    }

    fn refund_state(&self, details: Option<&Details<'_>>) -> Result<EntryState, TranslateError> {
        let now = details.map(Details::status).transpose()?.flatten();
        Ok(match self.response()? {
            Response::Refused => EntryState::Failed,
            Response::Held => EntryState::Pending,
            Response::Approved => match now {
                Some(PaymentStatus::Canceled | PaymentStatus::Failed) => EntryState::Failed,
                Some(
                    PaymentStatus::Pending
                    | PaymentStatus::Authorized
                    | PaymentStatus::Paid
                    | PaymentStatus::PartiallyPaid
                    | PaymentStatus::PartiallyRefunded
                    | PaymentStatus::Refunded
                    | PaymentStatus::Disputed
                    | PaymentStatus::ChargedBack,
                )
                | None => EntryState::Done,
            },
        })
    }

    fn transaction(
        &self,
        status: PaymentStatus,
        details: Option<&Details<'_>>,
    ) -> Result<Draft, TranslateError> {
        // A void moves no money, and may come without an amount.
        let is_stated = !self.object.auth_amount.is_empty() || details.is_some();
        let total = (is_stated || status != PaymentStatus::Canceled)
            .then(|| self.amount(&self.object.auth_amount, details))
            .transpose()?;
        let mut fact = PaymentFact {
            status: Some(status),
            amount: total,
            collection: Some(Collection {
                status,
                total,
                paid: total.filter(|_| status == PaymentStatus::Paid),
            }),
            ..PaymentFact::default()
        };
        if let (PaymentStatus::Failed, Some(details)) = (status, details) {
            fact.failure_code = details.transaction.response_reason_code.to_string();
            fact.failure_message = details.transaction.response_reason_description.to_string();
        }
        let id = &self.object.id;
        self.draft(id, self.rank, self.references(id, details), Fact::Payment(fact))
    }

    /// What is linked to no payment is no payment's.
    fn refund(
        &self,
        state: EntryState,
        details: Option<&Details<'_>>,
        payment: Option<&Details<'_>>,
    ) -> Result<Vec<Draft>, TranslateError> {
        let original = details.map_or("", |details| &details.transaction.ref_trans_id);
        if original.is_empty() {
            return Ok(Vec::new());
        }
        let amount = Some(self.amount(&self.object.auth_amount, details)?);
        let status = payment.map(Details::status).transpose()?.flatten();
        let total = payment.map(|payment| payment.amount().money(self.currency())).transpose()?;
        let is_paid = status == Some(PaymentStatus::Paid);
        let collection = total.filter(|_| is_paid).map(|total| Collection {
            status: PaymentStatus::Paid,
            total,
            paid: total,
        });
        let fact = PaymentFact {
            collection,
            refund: Some(Entry { id: self.object.id.to_string(), amount, state }),
            ..PaymentFact::default()
        };
        let rank = match state {
            EntryState::Pending | EntryState::Done => REFUND_RANK,
            EntryState::Failed => REFUND_RANK + 1,
        };
        let references = self.references(original, payment.or(details));
        Ok(vec![self.draft(original, rank, references, Fact::Payment(fact))?])
    }

    fn subscription(&self, action: CustomerAction) -> Result<Draft, TranslateError> {
        let object = self.object;
        let fact = CustomerActionFact {
            action,
            amount: object.amount.money(self.currency())?,
            detail: object.status.to_string(),
        };
        let references = self.subscription_references();
        self.draft(&object.id, self.rank, references, Fact::CustomerAction(fact))
    }

    /// The charge that failed has no transaction here: the subscription stands for it.
    fn subscription_charge_failed(&self) -> Result<Draft, TranslateError> {
        let total = self.object.amount.money(self.currency())?;
        let status = PaymentStatus::Failed;
        let fact = PaymentFact {
            status: Some(status),
            amount: total,
            collection: Some(Collection { status, total, paid: None }),
            failure_code: self.object.status.to_string(),
            ..PaymentFact::default()
        };
        let mut references = self.subscription_references();
        references.payment = self.object.id.to_string();
        self.draft(&self.object.id, self.rank, references, Fact::Payment(fact))
    }

    fn subscription_references(&self) -> References {
        let object = self.object;
        let profile = object.profile.as_ref().map_or("", |profile| &profile.customer_profile_id);
        let mut references = References { customer: profile.to_owned(), ..References::default() };
        for (key, value) in [("subscription_id", &object.id), ("subscription_name", &object.name)] {
            if !value.is_empty() {
                references.metadata.insert(key.to_owned(), value.to_string());
            }
        }
        references
    }

    fn references(&self, payment: &str, details: Option<&Details<'_>>) -> References {
        let mut references = details.map(Details::references).unwrap_or_default();
        references.payment = payment.to_owned();
        if references.order.is_empty() {
            references.order = self.object.merchant_reference_id.to_string();
        }
        references
    }

    fn amount(
        &self,
        stated: &Decimal,
        details: Option<&Details<'_>>,
    ) -> Result<Money, TranslateError> {
        let currency = self.currency();
        match (stated.money(currency)?, details) {
            (Some(money), _) => Ok(money),
            (None, Some(details)) => details.amount().required(currency, "the transaction"),
            (None, None) => Err(TranslateError("the transaction has no amount".to_owned())),
        }
    }

    fn currency(&self) -> &'a str {
        self.endpoint.setting(CURRENCY, DEFAULT_CURRENCY)
    }

    fn draft(
        &self,
        id: &str,
        rank: u8,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: self.body.notification_id.to_string(),
            event_id: self.body.notification_id.to_string(),
            event_type: self.body.event_type.to_string(),
            occurred_at: self.occurred_at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), &self.endpoint.name, id)?,
            references: references.bounded(),
            live: self.endpoint.setting(ENVIRONMENT, PRODUCTION) != SANDBOX,
            fact,
        })
    }
}
