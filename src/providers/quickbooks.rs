//! QuickBooks Online: `intuit-signature` is the standard base64 of the HMAC-SHA256 of the raw body, keyed
//! with the app's verifier token as text, which all connected companies share. No time is signed, so that
//! a redelivery of old is as good as a new one. In comes a request, as an array of CloudEvents or in the
//! older `eventNotifications` form, that names objects of several companies; out come calls for those
//! objects, and of what they answer payments (payments, sales receipts, refund receipts), invoices, bank
//! transactions (deposits, purchases, transfers) and payment requests (estimates, invoices sent), ordered
//! by the object's own version. Objects of a company that is not in `connected_realms` are left out, one
//! by one. Nothing of a body may be taken for a fact: it is told by the API alone.
//! Spec: <https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks>,
//! <https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/payment>

mod answer;
mod fact;
mod notice;
mod object;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use crate::receipt::signature::hmac_sha256;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::accounting::{self, Tokens};
use super::payload::{self, Text};
use super::{
    Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, REPLIES, SecretKey, Step,
    TranslateError, Translation, Verdict, no_example, no_poll,
};
use notice::Notice;
use object::Context;

/// QuickBooks Online.
pub const PROVIDER: Provider = Provider {
    name: "quickbooks",
    title: "QuickBooks Online",
    secrets: &[
        SecretKey { name: VERIFIER_TOKEN, required: true },
        accounting::CLIENT_ID,
        accounting::CLIENT_SECRET,
        accounting::REFRESH_TOKEN,
        accounting::ACCESS_TOKEN,
    ],
    settings: &[CONNECTED_REALMS, HOME_CURRENCY, accounting::API_URL, accounting::TOKEN_URL],
    // Each company gives tokens of its own.
    structured: &[CONNECTED_REALMS, accounting::REFRESH_TOKEN.name, accounting::ACCESS_TOKEN.name],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[
        "quickbooks.api.intuit.com",
        "sandbox-quickbooks.api.intuit.com",
        "oauth.platform.intuit.com",
    ],
    check,
    verify,
    translate,
    fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

const VERIFIER_TOKEN: &str = "verifier_token";
/// The companies (realm ids) that the endpoint is connected to; all where it is not given. Ids are unique
/// within a company only: the first company's objects go by their plain ids, those of the others by
/// `realm:id`.
const CONNECTED_REALMS: &str = "connected_realms";
/// The currency of objects that name none, as where multicurrency is off; asked for where not given.
const HOME_CURRENCY: &str = "home_currency";
/// The sandbox is `https://sandbox-quickbooks.api.intuit.com`.
const API: &str = "https://quickbooks.api.intuit.com";
const SANDBOX_HOST: &str = "sandbox-quickbooks.api.intuit.com";
const TOKENS: &str = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer";
const MINOR_VERSION: &str = "minorversion=75";
const HEADER: &str = "intuit-signature";
const SIGNATURE_BYTES: usize = 32;
/// The object of the items that cannot be read: they are asked for nowhere.
const UNREADABLE: &str = "unreadable";

/// The kinds of object that events are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entity {
    Payment,
    Invoice,
    SalesReceipt,
    RefundReceipt,
    Deposit,
    Purchase,
    Transfer,
    Estimate,
    /// It says nothing about money that an invoice or a payment does not say as well.
    Other,
}

/// What was done with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Changed,
    Emailed,
    Voided,
    Deleted,
}

/// Intuit spells the operation that voids in two ways.
#[rustfmt::skip]
const EVENTS: [(&str, Entity, Operation); 58] = [
    ("qbo.payment.created.v1", Entity::Payment, Operation::Changed),
    ("qbo.payment.updated.v1", Entity::Payment, Operation::Changed),
    ("qbo.payment.emailed.v1", Entity::Payment, Operation::Changed),
    ("qbo.payment.voided.v1", Entity::Payment, Operation::Voided),
    ("qbo.payment.void.v1", Entity::Payment, Operation::Voided),
    ("qbo.payment.deleted.v1", Entity::Payment, Operation::Deleted),
    ("qbo.invoice.created.v1", Entity::Invoice, Operation::Changed),
    ("qbo.invoice.updated.v1", Entity::Invoice, Operation::Changed),
    ("qbo.invoice.emailed.v1", Entity::Invoice, Operation::Emailed),
    ("qbo.invoice.voided.v1", Entity::Invoice, Operation::Voided),
    ("qbo.invoice.void.v1", Entity::Invoice, Operation::Voided),
    ("qbo.invoice.deleted.v1", Entity::Invoice, Operation::Deleted),
    ("qbo.salesreceipt.created.v1", Entity::SalesReceipt, Operation::Changed),
    ("qbo.salesreceipt.updated.v1", Entity::SalesReceipt, Operation::Changed),
    ("qbo.salesreceipt.emailed.v1", Entity::SalesReceipt, Operation::Changed),
    ("qbo.salesreceipt.voided.v1", Entity::SalesReceipt, Operation::Voided),
    ("qbo.salesreceipt.void.v1", Entity::SalesReceipt, Operation::Voided),
    ("qbo.salesreceipt.deleted.v1", Entity::SalesReceipt, Operation::Deleted),
    ("qbo.refundreceipt.created.v1", Entity::RefundReceipt, Operation::Changed),
    ("qbo.refundreceipt.updated.v1", Entity::RefundReceipt, Operation::Changed),
    ("qbo.refundreceipt.emailed.v1", Entity::RefundReceipt, Operation::Changed),
    ("qbo.refundreceipt.voided.v1", Entity::RefundReceipt, Operation::Voided),
    ("qbo.refundreceipt.void.v1", Entity::RefundReceipt, Operation::Voided),
    ("qbo.refundreceipt.deleted.v1", Entity::RefundReceipt, Operation::Deleted),
    ("qbo.deposit.created.v1", Entity::Deposit, Operation::Changed),
    ("qbo.deposit.updated.v1", Entity::Deposit, Operation::Changed),
    ("qbo.deposit.voided.v1", Entity::Deposit, Operation::Voided),
    ("qbo.deposit.void.v1", Entity::Deposit, Operation::Voided),
    ("qbo.deposit.deleted.v1", Entity::Deposit, Operation::Deleted),
    ("qbo.purchase.created.v1", Entity::Purchase, Operation::Changed),
    ("qbo.purchase.updated.v1", Entity::Purchase, Operation::Changed),
    ("qbo.purchase.voided.v1", Entity::Purchase, Operation::Voided),
    ("qbo.purchase.void.v1", Entity::Purchase, Operation::Voided),
    ("qbo.purchase.deleted.v1", Entity::Purchase, Operation::Deleted),
    ("qbo.transfer.created.v1", Entity::Transfer, Operation::Changed),
    ("qbo.transfer.updated.v1", Entity::Transfer, Operation::Changed),
    ("qbo.transfer.voided.v1", Entity::Transfer, Operation::Voided),
    ("qbo.transfer.void.v1", Entity::Transfer, Operation::Voided),
    ("qbo.transfer.deleted.v1", Entity::Transfer, Operation::Deleted),
    ("qbo.estimate.created.v1", Entity::Estimate, Operation::Changed),
    ("qbo.estimate.updated.v1", Entity::Estimate, Operation::Changed),
    ("qbo.estimate.emailed.v1", Entity::Estimate, Operation::Changed),
    ("qbo.estimate.voided.v1", Entity::Estimate, Operation::Voided),
    ("qbo.estimate.void.v1", Entity::Estimate, Operation::Voided),
    ("qbo.estimate.deleted.v1", Entity::Estimate, Operation::Deleted),
    ("qbo.creditmemo.created.v1", Entity::Other, Operation::Changed),
    ("qbo.creditmemo.updated.v1", Entity::Other, Operation::Changed),
    ("qbo.creditmemo.emailed.v1", Entity::Other, Operation::Emailed),
    ("qbo.creditmemo.voided.v1", Entity::Other, Operation::Voided),
    ("qbo.creditmemo.void.v1", Entity::Other, Operation::Voided),
    ("qbo.creditmemo.deleted.v1", Entity::Other, Operation::Deleted),
    ("qbo.customer.created.v1", Entity::Other, Operation::Changed),
    ("qbo.customer.updated.v1", Entity::Other, Operation::Changed),
    ("qbo.customer.merged.v1", Entity::Other, Operation::Changed),
    ("qbo.customer.emailed.v1", Entity::Other, Operation::Emailed),
    ("qbo.customer.voided.v1", Entity::Other, Operation::Voided),
    ("qbo.customer.void.v1", Entity::Other, Operation::Voided),
    ("qbo.customer.deleted.v1", Entity::Other, Operation::Deleted),
];

const EVENT_TYPES: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    accounting::check_urls(endpoint)?;
    accounting::check_tokens(endpoint)?;
    if let Some(text) = endpoint.settings.get(CONNECTED_REALMS)
        && realms(text).is_none_or(|realms| realms.is_empty())
    {
        let reason = "must be a list of company ids like `[\"9341454000000001\"]`".to_owned();
        return Err(Mistake { key: CONNECTED_REALMS, reason });
    }
    if let Some(code) = endpoint.settings.get(HOME_CURRENCY)
        && let Err(error) = payload::decimal_money("0", code)
    {
        return Err(Mistake { key: HOME_CURRENCY, reason: error.to_string() });
    }
    Ok(())
}

/// The companies of the setting: a list, or one by itself. `None` where it holds anything else.
fn realms(text: &str) -> Option<Vec<String>> {
    let is_id = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let realms: Vec<String> = match text.trim_start().starts_with('[') {
        true => {
            let items: Vec<Text<'_>> = serde_json::from_str(text).ok()?;
            items.iter().map(|item| item.to_string()).collect()
        }
        false => vec![text.trim().to_owned()],
    };
    realms.iter().all(is_id).then_some(realms)
}

/// The connected companies; none where all are.
fn connected(endpoint: &Endpoint) -> Vec<String> {
    endpoint.settings.get(CONNECTED_REALMS).and_then(|text| realms(text)).unwrap_or_default()
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = |_| VerifyError::Malformed(HEADER);
    let signature = BASE64.decode(request.header(HEADER)?).map_err(malformed)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(HEADER));
    }
    let candidates = endpoint.candidates(VERIFIER_TOKEN);
    hmac_sha256(candidates, &[&request.body], &[signature]).map(Verdict::Verified)
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let connected = connected(endpoint);
    let mut unknown = None;
    let mut is_any_known = false;
    let (mut fetches, mut unreadable) = (Vec::new(), Vec::new());
    for notice in notice::read(receipt.body())? {
        let notice = match notice {
            Ok(notice) => notice,
            Err(error) => {
                unreadable.push(error);
                continue;
            }
        };
        if !connected.is_empty() && !connected.contains(&notice.realm) {
            is_any_known = true;
            continue;
        }
        let Some((_, entity, _)) = row(&notice.event_type) else {
            unknown.get_or_insert(notice.event_type);
            continue;
        };
        is_any_known = true;
        match entity.path().map(|collection| notice.fetch(collection)) {
            Some(Ok(fetch)) => fetches.push(fetch),
            Some(Err(error)) => unreadable.push(error),
            None => {}
        }
    }
    if let (true, Some(error)) = (fetches.is_empty(), unreadable.first()) {
        return Err(error.clone());
    }
    // A fetch that fails shows what could not be read, while the others go on.
    fetches.extend(
        unreadable
            .into_iter()
            .enumerate()
            .map(|(at, error)| Fetch { object: format!("{UNREADABLE}/{at}"), told: error.0 }),
    );
    match unknown {
        Some(event_type) if !is_any_known => payload::unknown_type(&event_type),
        Some(_) | None if fetches.is_empty() => Ok(Translation::Events(Vec::new())),
        Some(_) | None => Ok(Translation::Fetches(fetches)),
    }
}

fn row(event_type: &str) -> Option<&'static (&'static str, Entity, Operation)> {
    EVENTS.iter().find(|(name, _, _)| *name == event_type)
}

impl Entity {
    /// Its name in the API's paths; `None` where it is not asked for.
    fn path(self) -> Option<&'static str> {
        match self {
            Entity::Payment => Some("payment"),
            Entity::Invoice => Some("invoice"),
            Entity::SalesReceipt => Some("salesreceipt"),
            Entity::RefundReceipt => Some("refundreceipt"),
            Entity::Deposit => Some("deposit"),
            Entity::Purchase => Some("purchase"),
            Entity::Transfer => Some("transfer"),
            Entity::Estimate => Some("estimate"),
            Entity::Other => None,
        }
    }
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    if fetching.fetch.object.split('/').next() == Some(UNREADABLE) {
        return Err(TranslateError(fetching.fetch.told.clone()));
    }
    let mut notice = Notice::of(fetching.fetch)?;
    if notice.at.is_empty() {
        // CloudEvents may leave out the time.
        notice.at = fetching.received_at.to_string();
    }
    let Some((_, entity, operation)) = row(&notice.event_type) else {
        return Err(payload::unknown("event type", &notice.event_type));
    };
    let (endpoint, answers) = (fetching.endpoint, fetching.answers);
    // The API has nothing more to tell, and counts what it is asked.
    if *operation == Operation::Deleted {
        return done(Context { endpoint, notice: &notice, currency: "" }.gone(*entity)?);
    }
    let Some(answer) = answers.first() else {
        let path = entity.path().unwrap_or_default();
        return Ok(call(endpoint, &notice.realm, &format!("{path}/{}", notice.id)));
    };
    let Some(object) = answer::object(answer, *entity)? else {
        return done(Context { endpoint, notice: &notice, currency: "" }.gone(*entity)?);
    };
    let home = endpoint.setting(HOME_CURRENCY, "");
    let named = payload::first(&[&object.currency(), home]);
    let currency = match answers.get(1) {
        None if named.is_empty() => return Ok(call(endpoint, &notice.realm, "preferences")),
        Some(preferences) if named.is_empty() => answer::home_currency(preferences)?,
        None | Some(_) => named,
    };
    let context = Context { endpoint, notice: &notice, currency: &currency };
    match context.draft(&object, *entity, *operation)? {
        Some(draft) => done(draft),
        None => Ok(Step::Done { drafts: Vec::new(), cursor: None }),
    }
}

fn done(draft: crate::model::Draft) -> Result<Step, TranslateError> {
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn call(endpoint: &Endpoint, realm: &str, path: &str) -> Step {
    let api = accounting::api_url(endpoint, API);
    let call = Call::get(format!("{api}/v3/company/{realm}/{path}?{MINOR_VERSION}"));
    let tokens = Tokens {
        account: realm,
        url: TOKENS.to_owned(),
        credentials_in_body: false,
        client_credentials: false,
        scheme: "Bearer",
    };
    Step::Call(accounting::authorised(call, endpoint, tokens))
}

#[cfg(test)]
mod tests;
