//! FreshBooks: `X-FreshBooks-Hmac-SHA256` is the standard base64 of the HMAC-SHA256, keyed with a callback's
//! verifier as text, of a JSON object that is built of the form's pairs: in their order, every value a
//! text, `", "` and `": "` between them and everything but printable ASCII escaped. No time is signed. In
//! comes a form that names an object; out come calls for it, and of what they answer payments, invoices
//! and payment requests (estimates). An event has no id: its key is a digest of the fetched state.
//! Each callback has a verifier of its own, which FreshBooks posts once, signed by nothing, and wants back:
//! an endpoint whose `scheme` is `handshake` sends it back, so that FreshBooks itself confirms it, and its
//! receipt shows what belongs into `secrets.verifier`. Any other endpoint must refuse such a post, and none
//! may take a verifier for a secret by itself.
//! Spec: <https://www.freshbooks.com/api/webhooks>, <https://www.freshbooks.com/api/payments>

mod form;
mod poll;
mod record;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::receipt::signature::{hmac_sha256, unconfirmed};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::accounting::{self, Tokens};
use super::payload;
use super::{
    Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, REPLIES, SecretKey, Step,
    TranslateError, Translation, Verdict, no_example,
};
use form::Form;

/// FreshBooks.
pub const PROVIDER: Provider = Provider {
    name: "freshbooks",
    title: "FreshBooks",
    secrets: &[
        SecretKey { name: VERIFIER, required: false },
        accounting::CLIENT_ID,
        accounting::CLIENT_SECRET,
        accounting::REFRESH_TOKEN,
        accounting::ACCESS_TOKEN,
    ],
    settings: &[
        SCHEME,
        ACCOUNT_ID,
        accounting::POLL_INTERVAL,
        accounting::API_URL,
        accounting::TOKEN_URL,
    ],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["api.freshbooks.com"],
    check,
    verify,
    translate,
    fetch,
    poll: poll::poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

/// The verifiers of the endpoint's callbacks, any of which may match; the member of a handshake as well.
const VERIFIER: &str = "verifier";
/// `signed`, or `handshake` while callbacks are being registered.
const SCHEME: &str = "scheme";
const SIGNED: &str = "signed";
const HANDSHAKE: &str = "handshake";
/// The account; where it is given, what is posted of another is left out. Its lists are read where
/// `poll_interval` asks for it, since FreshBooks promises nothing about retries.
const ACCOUNT_ID: &str = "account_id";
const API: &str = "https://api.freshbooks.com";
const TOKENS: &str = "https://api.freshbooks.com/auth/oauth/token";
const HEADER: &str = "x-freshbooks-hmac-sha256";
const SIGNATURE_BYTES: usize = 32;

/// The kinds of object that events are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Noun {
    Payment,
    Invoice,
    Estimate,
    /// It says nothing about a customer's money that an invoice or a payment does not say as well.
    Other,
}

#[rustfmt::skip]
const EVENTS: [(&str, Noun); 36] = [
    ("payment.create", Noun::Payment),
    ("payment.update", Noun::Payment),
    ("payment.delete", Noun::Payment),
    ("invoice.create", Noun::Invoice),
    ("invoice.update", Noun::Invoice),
    ("invoice.delete", Noun::Invoice),
    ("invoice.sendByEmail", Noun::Invoice),
    ("estimate.create", Noun::Estimate),
    ("estimate.update", Noun::Estimate),
    ("estimate.delete", Noun::Estimate),
    ("estimate.sendByEmail", Noun::Estimate),
    ("credit_note.create", Noun::Other),
    ("credit_note.update", Noun::Other),
    ("credit_note.delete", Noun::Other),
    ("client.create", Noun::Other),
    ("client.update", Noun::Other),
    ("client.delete", Noun::Other),
    ("recurring.create", Noun::Other),
    ("recurring.update", Noun::Other),
    ("recurring.delete", Noun::Other),
    ("expense.create", Noun::Other),
    ("expense.update", Noun::Other),
    ("expense.delete", Noun::Other),
    ("bill.create", Noun::Other),
    ("bill.update", Noun::Other),
    ("bill.delete", Noun::Other),
    ("bill_payment.create", Noun::Other),
    ("bill_payment.update", Noun::Other),
    ("bill_payment.delete", Noun::Other),
    ("project.create", Noun::Other),
    ("project.update", Noun::Other),
    ("project.delete", Noun::Other),
    ("time_entry.create", Noun::Other),
    ("time_entry.update", Noun::Other),
    ("time_entry.delete", Noun::Other),
    (CALLBACK_VERIFY, Noun::Other),
];

/// What the post with a verifier is called.
const CALLBACK_VERIFY: &str = "callback.verify";

const EVENT_TYPES: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};

impl Noun {
    /// Its name in the API's paths; `None` where it is not asked for.
    fn path(self) -> Option<&'static str> {
        match self {
            Noun::Payment => Some("payments"),
            Noun::Invoice => Some("invoices"),
            Noun::Estimate => Some("estimates"),
            Noun::Other => None,
        }
    }
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    accounting::check_urls(endpoint)?;
    accounting::check_interval(endpoint)?;
    let scheme = endpoint.setting(SCHEME, SIGNED);
    if scheme != SIGNED && scheme != HANDSHAKE {
        let reason = format!("is neither `{SIGNED}` nor `{HANDSHAKE}`");
        return Err(Mistake { key: SCHEME, reason });
    }
    if scheme == SIGNED && endpoint.secret(VERIFIER).is_none() {
        let reason = "is missing; freshbooks requests cannot be verified without it".to_owned();
        return Err(Mistake { key: "secrets.verifier", reason });
    }
    if let Some(id) = endpoint.settings.get(ACCOUNT_ID)
        && accounting::path_id("an account", id).is_err()
    {
        return Err(Mistake { key: ACCOUNT_ID, reason: "is no id like `6BApk`".to_owned() });
    }
    if endpoint.settings.contains_key(accounting::POLL_INTERVAL)
        && !endpoint.settings.contains_key(ACCOUNT_ID)
    {
        let reason = "is missing; lists are read of one account".to_owned();
        return Err(Mistake { key: ACCOUNT_ID, reason });
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let form = Form::parse(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
    let is_handshake = endpoint.setting(SCHEME, SIGNED) == HANDSHAKE;
    if is_handshake && !form.get(VERIFIER).is_empty() {
        let notice = Notice::of_form(&form);
        let is_ours = notice.is_of(endpoint) && notice.handshake().is_ok();
        let malformed = VerifyError::Malformed("body");
        return is_ours.then(|| Verdict::NeedsConfirmation(unconfirmed())).ok_or(malformed);
    }
    let malformed = |_| VerifyError::Malformed(HEADER);
    let signature = BASE64.decode(request.header(HEADER)?).map_err(malformed)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(HEADER));
    }
    let signed = form.signed_text();
    let candidates = endpoint.candidates(VERIFIER);
    hmac_sha256(candidates, &[signed.as_bytes()], &[signature]).map(Verdict::Verified)
}

/// What a form tells; as JSON it is what a fetch keeps of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Notice {
    /// The account.
    #[serde(rename = "a")]
    account: String,
    /// The object's id.
    #[serde(rename = "i")]
    id: String,
    /// `payment.create`.
    #[serde(rename = "t")]
    event_type: String,
    /// Of a handshake.
    #[serde(rename = "v", default, skip_serializing_if = "String::is_empty")]
    verifier: String,
}

impl Notice {
    fn of_form(form: &Form) -> Notice {
        Notice {
            account: form.get("account_id").to_owned(),
            id: form.get("object_id").to_owned(),
            event_type: form.get("name").to_owned(),
            verifier: form.get(VERIFIER).to_owned(),
        }
    }

    fn is_of(&self, endpoint: &Endpoint) -> bool {
        endpoint.settings.get(ACCOUNT_ID).is_none_or(|account| *account == self.account)
    }

    /// The fetch of a handshake. Posts with other verifiers must not share its answer.
    fn handshake(&self) -> Result<Fetch, TranslateError> {
        let digest = accounting::state_key(&[&self.verifier]);
        let place = format!("callbacks/{digest}");
        self.fetch(&place)
    }

    fn fetch(&self, collection: &str) -> Result<Fetch, TranslateError> {
        let account = accounting::path_id("an account", &self.account)?;
        let id = accounting::path_id("an object", &self.id)?;
        let told = serde_json::to_string(self)
            .map_err(|error| payload::unreadable("a notice of ours", &error))?;
        Ok(Fetch { object: format!("{account}/{collection}/{id}"), told })
    }
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let notice = Notice::of_form(&Form::parse(receipt.body())?);
    if !notice.is_of(endpoint) {
        return Ok(Translation::Events(Vec::new()));
    }
    if !notice.verifier.is_empty() {
        return Ok(Translation::Fetches(vec![notice.handshake()?]));
    }
    match noun(&notice.event_type) {
        None => payload::unknown_type(&notice.event_type),
        Some(noun) => match noun.path() {
            None => Ok(Translation::Events(Vec::new())),
            Some(path) => Ok(Translation::Fetches(vec![notice.fetch(path)?])),
        },
    }
}

fn noun(event_type: &str) -> Option<Noun> {
    EVENTS.iter().find(|(name, _)| *name == event_type).map(|(_, noun)| *noun)
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let notice: Notice = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    if notice.id.is_empty() {
        return poll::step(fetching, &notice);
    }
    let (account, id) = (&notice.account, &notice.id);
    if !notice.verifier.is_empty() {
        return Ok(match fetching.answers.first() {
            None => {
                let body = json!({ "callback": { "verifier": notice.verifier } });
                let path = format!("events/account/{account}/events/callbacks/{id}");
                let body = Bytes::from(body.to_string());
                call(fetching.endpoint, Method::PUT, &path, body)
            }
            Some(answer) if answer.is_success() => Step::Done { drafts: Vec::new(), cursor: None },
            Some(_) => Step::Denied,
        });
    }
    let known = noun(&notice.event_type).and_then(|noun| noun.path().map(|path| (noun, path)));
    let Some((noun, path)) = known else {
        return Err(payload::unknown("event type", &notice.event_type));
    };
    let Some(answer) = fetching.answers.first() else {
        let path = format!("accounting/account/{account}/{path}/{path}/{id}");
        return Ok(call(fetching.endpoint, Method::GET, &path, Bytes::new()));
    };
    let context = record::Context {
        endpoint: fetching.endpoint,
        notice: &notice,
        received_at: fetching.received_at,
    };
    let draft = match answer.status {
        404 if context.is_deleted() => context.gone(noun)?,
        404 => return Ok(Step::Denied),
        _ => context.draft(noun, answer)?,
    };
    Ok(Step::Done { drafts: draft.into_iter().collect(), cursor: None })
}

fn call(endpoint: &Endpoint, method: Method, path: &str, body: Bytes) -> Step {
    let api = accounting::api_url(endpoint, API);
    let mut call = Call::new(method, format!("{api}/{path}"), body);
    if !call.body.is_empty() {
        call = call.header("content-type", "application/json");
    }
    let tokens = Tokens {
        account: "",
        url: TOKENS.to_owned(),
        credentials_in_body: true,
        client_credentials: false,
        scheme: "Bearer",
    };
    let call = call.header("accept", "application/json");
    Step::Call(accounting::authorised(call, endpoint, tokens))
}

#[cfg(test)]
mod tests;
