//! Xero: `x-xero-signature` is the standard base64 of the HMAC-SHA256 of the raw body, keyed with the
//! webhook signing key as text, although it looks like base64. No time is signed. Before it sends events
//! Xero tries the endpoint with empty lists, some of them signed wrongly on purpose, and wants exactly 200
//! or 401, both with an empty body. In comes a request that names objects of several organisations; out
//! come calls for those objects, and of what they answer invoices (sales alone, no bills), payments,
//! prepayments and refunds of credit notes. Lists, where they are asked for, add bank transactions. An event has no id: its key is a digest of the state that was
//! fetched. The URL that a body holds is never called; it is made of the id.
//! Spec: <https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/>,
//! <https://developer.xero.com/documentation/api/accounting/invoices>

mod bank;
mod credit;
mod draft;
mod invoice;
mod payment;
mod poll;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::receipt::signature::hmac_sha256;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::accounting::{self, Tokens};
use super::payload::{self, Text};
use super::{
    Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, REPLY_OK, Replies, Reply, SecretKey,
    Step, TranslateError, Translation, Verdict, no_example,
};
use draft::Context;

/// Xero.
pub const PROVIDER: Provider = Provider {
    name: "xero",
    title: "Xero",
    secrets: &[
        SecretKey { name: WEBHOOK_KEY, required: true },
        accounting::CLIENT_ID,
        accounting::CLIENT_SECRET,
        accounting::REFRESH_TOKEN,
        accounting::ACCESS_TOKEN,
    ],
    settings: &[TENANT_ID, accounting::POLL_INTERVAL, accounting::API_URL, accounting::TOKEN_URL],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["api.xero.com", "identity.xero.com"],
    check,
    verify,
    translate,
    fetch,
    poll: poll::poll,
    replies: Replies {
        accepted: REPLY_OK,
        unknown: REPLY_OK,
        refused: Reply { status: 401, content_type: "", body: "" },
        methods: &[http::Method::POST],
    },
    sample: sample::sample,
    example: no_example,
};

const WEBHOOK_KEY: &str = "webhook_key";
/// The organisation whose lists are read, where `poll_interval` asks for it: not all that matters has a
/// webhook, and Xero gives up on one that fails for a day.
const TENANT_ID: &str = "tenant_id";
const API: &str = "https://api.xero.com";
const TOKENS: &str = "https://identity.xero.com/connect/token";
const HEADER: &str = "x-xero-signature";
const SIGNATURE_BYTES: usize = 32;
/// The object of the events that cannot be read: they are asked for nowhere.
const UNREADABLE: &str = "unreadable";

/// The kinds of object that events are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Category {
    Invoice,
    Payment,
    CreditNote,
    Prepayment,
    /// It has no webhook.
    BankTransaction,
    /// It says nothing about money.
    Other,
}

const EVENTS: [(&str, Category); 12] = [
    ("INVOICE.CREATE", Category::Invoice),
    ("INVOICE.UPDATE", Category::Invoice),
    ("PAYMENT.CREATE", Category::Payment),
    ("PAYMENT.UPDATE", Category::Payment),
    ("CREDITNOTE.CREATE", Category::CreditNote),
    ("CREDITNOTE.UPDATE", Category::CreditNote),
    ("PREPAYMENT.CREATE", Category::Prepayment),
    ("PREPAYMENT.UPDATE", Category::Prepayment),
    ("CONTACT.CREATE", Category::Other),
    ("CONTACT.UPDATE", Category::Other),
    ("SUBSCRIPTION.CREATE", Category::Other),
    ("SUBSCRIPTION.UPDATE", Category::Other),
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

impl Category {
    /// Its name in the API's paths; `None` where it is not asked for.
    fn path(self) -> Option<&'static str> {
        match self {
            Category::Invoice => Some("Invoices"),
            Category::Payment => Some("Payments"),
            Category::CreditNote => Some("CreditNotes"),
            Category::Prepayment => Some("Prepayments"),
            Category::BankTransaction => Some("BankTransactions"),
            Category::Other => None,
        }
    }
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    accounting::check_urls(endpoint)?;
    accounting::check_interval(endpoint)?;
    if let Some(id) = endpoint.settings.get(TENANT_ID)
        && accounting::path_id("an organisation", id).is_err()
    {
        return Err(Mistake { key: TENANT_ID, reason: "is no id of an organisation".to_owned() });
    }
    if endpoint.settings.contains_key(accounting::POLL_INTERVAL)
        && !endpoint.settings.contains_key(TENANT_ID)
    {
        let reason = "is missing; lists are read of one organisation".to_owned();
        return Err(Mistake { key: TENANT_ID, reason });
    }
    Ok(())
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
    let candidates = endpoint.candidates(WEBHOOK_KEY);
    hmac_sha256(candidates, &[&request.body], &[signature]).map(Verdict::Verified)
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    resource_id: Text<'a>,
    #[serde(borrow)]
    event_date_utc: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    event_category: Text<'a>,
    #[serde(borrow)]
    tenant_id: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    data: Data<'a>,
}

/// What newer categories tell beside the id.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow, rename = "Type", alias = "type")]
    kind: Text<'a>,
    #[serde(borrow, rename = "Status", alias = "status")]
    status: Text<'a>,
}

impl Event<'_> {
    /// Whether what it tells is enough to know that the object holds no fact: it is the organisation's own
    /// debt, or a credit note that is too new to be refunded.
    fn is_silent(&self, category: Category) -> bool {
        let is_own_debt =
            matches!(&*self.data.kind, "ACCPAY" | "ACCPAYCREDIT" | "SPEND-PREPAYMENT");
        let is_new = category == Category::CreditNote
            && self.event_type.eq_ignore_ascii_case("CREATE")
            && matches!(&*self.data.status, "DRAFT" | "SUBMITTED" | "AUTHORISED");
        is_own_debt || is_new
    }
}

/// One event of a body; as JSON it is what a fetch keeps of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Notice {
    /// The organisation.
    #[serde(rename = "o")]
    tenant: String,
    /// The object's id.
    #[serde(rename = "i")]
    id: String,
    /// `INVOICE.UPDATE`.
    #[serde(rename = "t")]
    event_type: String,
    /// When it happened, UTC without a zone.
    #[serde(rename = "a")]
    at: String,
}

fn translate(receipt: &Receipt, _: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Xero webhook", &error))?;
    let mut unknown = None;
    let mut is_any_known = false;
    let (mut fetches, mut unreadable) = (Vec::new(), Vec::new());
    for event in body.events {
        match asked(event) {
            Ok(Asked::Unknown(event_type)) => {
                unknown.get_or_insert(event_type);
            }
            Ok(Asked::Nothing) => is_any_known = true,
            Ok(Asked::Fetch(fetch)) => {
                is_any_known = true;
                fetches.push(fetch);
            }
            Err(error) => unreadable.push(error),
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

/// What one event of a body asks for.
enum Asked {
    /// Its type is in no table.
    Unknown(String),
    Nothing,
    Fetch(Fetch),
}

fn asked(event: &RawValue) -> Result<Asked, TranslateError> {
    let event: Event<'_> = serde_json::from_str(event.get())
        .map_err(|error| payload::unreadable("a Xero event", &error))?;
    if event.event_category.is_empty() {
        return Err(TranslateError("the event has no category".to_owned()));
    }
    let event_type = [&*event.event_category, &*event.event_type].join(".");
    let event_type = event_type.to_ascii_uppercase();
    let Some(category) = category(&event_type) else { return Ok(Asked::Unknown(event_type)) };
    let Some(collection) = category.path().filter(|_| !event.is_silent(category)) else {
        return Ok(Asked::Nothing);
    };
    let tenant = accounting::path_id("an organisation", &event.tenant_id)?.to_owned();
    let id = accounting::path_id("an object", &event.resource_id)?.to_owned();
    let object = format!("{tenant}/{collection}/{id}");
    let notice = Notice { tenant, id, event_type, at: event.event_date_utc.to_string() };
    let told = serde_json::to_string(&notice)
        .map_err(|error| payload::unreadable("a notice of ours", &error))?;
    Ok(Asked::Fetch(Fetch { object, told }))
}

fn category(event_type: &str) -> Option<Category> {
    EVENTS.iter().find(|(name, _)| *name == event_type).map(|(_, category)| *category)
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    if fetching.fetch.object.split('/').next() == Some(UNREADABLE) {
        return Err(TranslateError(fetching.fetch.told.clone()));
    }
    let notice: Notice = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    if notice.id.is_empty() {
        return poll::step(fetching, &notice);
    }
    let Some(category) = category(&notice.event_type) else {
        return Err(payload::unknown("event type", &notice.event_type));
    };
    let Some(answer) = fetching.answers.first() else {
        let collection = category.path().unwrap_or_default();
        return Ok(call(fetching.endpoint, &notice, &format!("{collection}/{}", notice.id)));
    };
    if answer.status == 404 {
        return Ok(Step::Denied);
    }
    let context = Context { endpoint: fetching.endpoint, notice: &notice };
    context.step(category, answer, fetching.answers.get(1))
}

fn call(endpoint: &Endpoint, notice: &Notice, path: &str) -> Step {
    Step::Call(request(endpoint, notice, path))
}

fn request(endpoint: &Endpoint, notice: &Notice, path: &str) -> Call {
    let api = accounting::api_url(endpoint, API);
    let call = Call::get(format!("{api}/api.xro/2.0/{path}"));
    let tokens = Tokens {
        account: &notice.tenant,
        url: TOKENS.to_owned(),
        credentials_in_body: false,
        // A custom connection has no refresh token.
        client_credentials: true,
        scheme: "Bearer",
    };
    let call = call.header("xero-tenant-id", notice.tenant.clone());
    accounting::authorised(call, endpoint, tokens)
}

#[cfg(test)]
mod tests;
