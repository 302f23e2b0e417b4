//! What UK banks tell by Security Event Tokens: that a payment has another status, which is then fetched,
//! or that a customer changed or withdrew a consent. In come a token's claims and the bank's answers, out
//! go drafts under the token's `jti`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Draft, EndpointName, Fact, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, Fetching, Step, TranslateError, Translation};
use crate::receipt::Receipt;

use super::verification::{Claims, token};
use super::{DEFAULT_VERSION, Told, VERSION, bank, fetch_of, rows};

pub(super) const RESOURCE_UPDATE: &str = "urn:uk:org:openbanking:events:resource-update";
const CONSENT_REVOKED: &str = "urn:uk:org:openbanking:events:consent-authorization-revoked";
const LINKED_ACCOUNTS: &str =
    "urn:uk:org:openbanking:events:account-access-consent-linked-account-update";

pub(super) const EVENT_TYPES: [&str; 3] = [RESOURCE_UPDATE, CONSENT_REVOKED, LINKED_ACCOUNTS];

/// The resources that are payments; consents to them are none.
const PAYMENT_TYPES: &[&str] = &[
    "domestic-payment",
    "domestic-scheduled-payment",
    "domestic-standing-order",
    "domestic-vrp",
    "file-payment",
    "international-payment",
    "international-scheduled-payment",
    "international-standing-order",
];

const SCOPE: &str = "payments";
const NOT_FOUND: u16 = 404;
const NOT_PROVIDED: &str = "NOTPROVIDED";

/// What a status means, with the rank of the evidence: ISO 20022's codes and the words of version 3.
#[rustfmt::skip]
const STATUSES: &[(&str, PaymentStatus, u8)] = &[
    ("RCVD", PaymentStatus::Pending, 10),
    ("PDNG", PaymentStatus::Pending, 10),
    ("Pending", PaymentStatus::Pending, 10),
    ("InitiationPending", PaymentStatus::Pending, 10),
    ("PATC", PaymentStatus::Pending, 15),
    ("ACTC", PaymentStatus::Authorized, 20),
    ("ACCP", PaymentStatus::Authorized, 25),
    ("ACFC", PaymentStatus::Authorized, 25),
    ("ACSP", PaymentStatus::Authorized, 30),
    ("AcceptedSettlementInProcess", PaymentStatus::Authorized, 30),
    ("InitiationCompleted", PaymentStatus::Authorized, 30),
    ("ACWP", PaymentStatus::Authorized, 40),
    ("AcceptedWithoutPosting", PaymentStatus::Authorized, 40),
    ("PART", PaymentStatus::PartiallyPaid, 45),
    ("ACWC", PaymentStatus::Paid, 50),
    ("ACSC", PaymentStatus::Paid, 50),
    ("AcceptedSettlementCompleted", PaymentStatus::Paid, 50),
    ("ACCC", PaymentStatus::Paid, 60),
    ("AcceptedCreditSettlementCompleted", PaymentStatus::Paid, 60),
    ("CANC", PaymentStatus::Canceled, 70),
    ("Cancelled", PaymentStatus::Canceled, 70),
    ("RJCT", PaymentStatus::Failed, 80),
    ("Rejected", PaymentStatus::Failed, 80),
    ("InitiationFailed", PaymentStatus::Failed, 80),
];

/// One event of a token.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    subject: About<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct About<'a> {
    #[serde(borrow, rename = "http://openbanking.org.uk/rid")]
    id: Text<'a>,
    #[serde(borrow, rename = "http://openbanking.org.uk/rty")]
    kind: Text<'a>,
    #[serde(borrow, rename = "http://openbanking.org.uk/rlk")]
    links: Option<Vec<Link<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Link<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    link: Text<'a>,
}

/// What a token told of one resource.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Notice {
    event_type: String,
    /// The token's id, with the event's place in the token where it has several.
    key: String,
    event_id: String,
    at: String,
    kind: String,
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

pub(super) fn translate(
    receipt: &Receipt,
    endpoint: &Endpoint,
) -> Result<Translation, TranslateError> {
    let unreadable = || TranslateError("the body is no token".to_owned());
    let bytes = token(receipt.body()).and_then(|token| token.payload_bytes());
    let bytes = bytes.ok_or_else(unreadable)?;
    let claims: Claims<'_> = serde_json::from_slice(&bytes)
        .map_err(|error| payload::unreadable("a security event token", &error))?;
    if claims.jti.is_empty() {
        return Err(TranslateError("the token has no id".to_owned()));
    }
    let mut told = Vec::new();
    for (index, (event_type, body)) in claims.events.iter().enumerate() {
        told.extend(notice(&claims, receipt, endpoint, index, event_type, body)?);
    }
    let is_known = claims.events.keys().any(|name| EVENT_TYPES.contains(&name.as_str()));
    match claims.events.keys().next() {
        Some(name) if !is_known => payload::unknown_type(name),
        None => payload::unknown_type(""),
        Some(_) => translation(told, &endpoint.name),
    }
}

/// `None` for what is not translated, and for resources that are no payments.
fn notice(
    claims: &Claims<'_>,
    receipt: &Receipt,
    endpoint: &Endpoint,
    index: usize,
    event_type: &str,
    body: &Body<'_>,
) -> Result<Option<Told>, TranslateError> {
    let about = &body.subject;
    let at = claims.toe.or(claims.iat).and_then(|at| Timestamp::from_second(at).ok());
    let mut notice = Notice {
        event_type: event_type.to_owned(),
        key: match claims.events.len() {
            1 => claims.jti.to_string(),
            _ => format!("{}/{index}", &*claims.jti),
        },
        event_id: claims.jti.to_string(),
        at: at.unwrap_or_else(|| receipt.received_at()).to_string(),
        kind: about.kind.to_string(),
        id: about.id.to_string(),
        url: String::new(),
        reason: body.reason.to_string(),
    };
    match event_type {
        RESOURCE_UPDATE if PAYMENT_TYPES.contains(&&*about.kind) => {
            notice.url = resource_url(endpoint, about)?;
            Ok(Some(Told::Payment(notice)))
        }
        CONSENT_REVOKED | LINKED_ACCOUNTS => Ok(Some(Told::Consent(notice))),
        _ => Ok(None),
    }
}

/// The link of the version that the endpoint speaks, else of the newest that this module reads.
fn resource_url(endpoint: &Endpoint, about: &About<'_>) -> Result<String, TranslateError> {
    let spoken = endpoint.setting(VERSION, DEFAULT_VERSION);
    let links = about.links.as_deref().unwrap_or_default();
    let readable =
        links.iter().filter(|link| matches!(version(&link.version).first(), Some(3 | 4)));
    let newest = readable.max_by_key(|link| version(&link.version));
    let exact = links.iter().find(|link| &*link.version == spoken);
    match exact.or(newest) {
        Some(link) => bank::link(endpoint, &link.link, ""),
        None if links.is_empty() => {
            let (kind, id) = (&*about.kind, bank::path_part(&about.id)?);
            bank::url(endpoint, &format!("/open-banking/{spoken}/pisp/{kind}s/{id}"))
        }
        None => Err(TranslateError("no link is of a version that is spoken here".to_owned())),
    }
}

/// `v3.1.10` as its numbers.
fn version(text: &str) -> Vec<u32> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    digits.split('.').map_while(|part| part.parse().ok()).collect()
}

fn translation(told: Vec<Told>, endpoint: &EndpointName) -> Result<Translation, TranslateError> {
    let mut drafts = Vec::new();
    let mut fetches = Vec::new();
    for told in told {
        match &told {
            Told::Payment(notice) => {
                fetches.push(fetch_of(format!("{}s/{}", notice.kind, notice.id), &told)?);
            }
            Told::Consent(notice) => {
                drafts.push(consent(notice, endpoint)?);
                fetches.push(fetch_of(format!("consents/{}", notice.key), &told)?);
            }
            Told::Account { .. } => {}
        }
    }
    match drafts.len() == fetches.len() {
        true => Ok(Translation::Events(drafts)),
        false => Ok(Translation::Fetches(fetches)),
    }
}

/// A consent that a customer changed or withdrew at the bank.
pub(super) fn consent(notice: &Notice, endpoint: &EndpointName) -> Result<Draft, TranslateError> {
    let name = notice.event_type.rsplit(':').next().unwrap_or_default();
    let fact = Fact::CustomerAction(CustomerActionFact {
        action: CustomerAction::MandateChanged,
        amount: None,
        detail: payload::first(&[&notice.reason, name]),
    });
    let rank = if notice.event_type == CONSENT_REVOKED { 20 } else { 10 };
    draft(notice, endpoint, time(&notice.at)?, rank, References::default(), fact)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered<'a> {
    #[serde(borrow)]
    data: Payment<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Payment<'a> {
    /// Version 4.
    #[serde(borrow)]
    status_code: Text<'a>,
    /// Version 3.
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    status_update_date_time: Text<'a>,
    #[serde(borrow)]
    status_reason: Option<Vec<Reason<'a>>>,
    #[serde(borrow)]
    consent_id: Text<'a>,
    #[serde(borrow)]
    initiation: Option<Initiation<'a>>,
    /// Of a payment under a consent to variable payments.
    #[serde(borrow)]
    instruction: Option<Initiation<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Reason<'a> {
    #[serde(borrow)]
    status_reason_code: Text<'a>,
    #[serde(borrow)]
    status_reason_description: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Initiation<'a> {
    #[serde(borrow)]
    instructed_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    first_payment_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    end_to_end_identification: Text<'a>,
    #[serde(borrow)]
    instruction_identification: Text<'a>,
}

/// An amount as UK banks write it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Amount<'a> {
    pub(super) amount: Decimal,
    #[serde(borrow)]
    pub(super) currency: Text<'a>,
}

pub(super) fn step(fetching: &Fetching<'_>, notice: &Notice) -> Result<Step, TranslateError> {
    let Some(answer) = fetching.answers.first() else {
        let place = (fetching.fetch.object.as_str(), fetching.now, 0);
        let call = bank::get(fetching.endpoint, notice.url.clone(), SCOPE, place);
        return Ok(Step::Call(call));
    };
    if answer.status == NOT_FOUND {
        return Ok(Step::Denied);
    }
    if !answer.is_success() {
        return Err(TranslateError(format!("the bank answers {}", answer.status)));
    }
    let answered: Answered<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a payment of the bank's", &error))?;
    let draft = payment(notice, &fetching.endpoint.name, &answered.data)?;
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn payment(
    notice: &Notice,
    endpoint: &EndpointName,
    payment: &Payment<'_>,
) -> Result<Draft, TranslateError> {
    let code = payload::first(&[&payment.status_code, &payment.status]);
    let row = STATUSES.iter().find(|(name, _, _)| *name == code);
    let (_, status, rank) = *row.ok_or_else(|| payload::unknown("payment status", &code))?;
    let parts = [payment.instruction.as_ref(), payment.initiation.as_ref()];
    let stated = parts
        .iter()
        .flatten()
        .find_map(|part| part.instructed_amount.as_ref().or(part.first_payment_amount.as_ref()));
    let amount = match stated {
        Some(amount) => Some(amount.amount.required(&amount.currency, "the payment")?),
        None => None,
    };
    let is_failed = status == PaymentStatus::Failed;
    let reason = payment.status_reason.as_deref().unwrap_or_default().first();
    let reason = reason.filter(|_| is_failed);
    let fact = Fact::Payment(PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection {
            status,
            total: amount,
            paid: amount.filter(|_| status == PaymentStatus::Paid),
        }),
        failure_code: reason
            .map(|reason| reason.status_reason_code.to_string())
            .unwrap_or_default(),
        failure_message: reason
            .map(|reason| reason.status_reason_description.to_string())
            .unwrap_or_default(),
        method: notice.kind.clone(),
        ..PaymentFact::default()
    });
    let references = references(notice, payment);
    let updated_at = payload::first(&[&payment.status_update_date_time, &notice.at]);
    let (_, updated_at) = rows::uk_time(&updated_at)?;
    draft(notice, endpoint, updated_at, rank, references, fact)
}

fn references(notice: &Notice, payment: &Payment<'_>) -> References {
    let mut references = References { payment: notice.id.clone(), ..References::default() };
    for part in [&payment.instruction, &payment.initiation].into_iter().flatten() {
        let end_to_end = &*part.end_to_end_identification;
        if !end_to_end.is_empty() && end_to_end != NOT_PROVIDED && references.order.is_empty() {
            end_to_end.clone_into(&mut references.order);
        }
        if !part.instruction_identification.is_empty() {
            let id = part.instruction_identification.to_string();
            references.metadata.insert("instruction_id".to_owned(), id);
        }
    }
    if !payment.consent_id.is_empty() {
        let consent = payment.consent_id.to_string();
        references.metadata.insert("consent_id".to_owned(), consent);
    }
    references
}

pub(super) fn time(text: &str) -> Result<Timestamp, TranslateError> {
    text.parse().map_err(|_| payload::not_a("a time", text))
}

fn draft(
    notice: &Notice,
    endpoint: &EndpointName,
    occurred_at: Timestamp,
    rank: u8,
    references: References,
    fact: Fact,
) -> Result<Draft, TranslateError> {
    Ok(Draft {
        key: notice.key.clone(),
        event_id: notice.event_id.clone(),
        event_type: notice.event_type.clone(),
        occurred_at,
        version: 0,
        rank,
        subject: payload::subject(fact.kind(), endpoint, &notice.id)?,
        references: references.bounded(),
        live: true,
        fact,
    })
}
