//! Zoho Books: webhooks are workflow actions that a merchant makes, with a URL, parameters and a body of
//! the merchant's own choice. With a secret, `X-Zoho-Webhook-Signature` is the hex of the HMAC-SHA256,
//! keyed with the secret as text, of all query parameters (and, of a form, all its pairs), decoded and in
//! the order of their names, name and value in a row without separators, followed by the raw body where it
//! is no form. Without one, a token of the merchant's in `X-Webhook-Token` stands for it. No time is
//! signed. In comes a request with a whole record, as JSON or as a form; out come payments, invoices and
//! payment requests (estimates). A record without amount or currency is asked for. The payload names no
//! event: what a record says decides, and a parameter `event` only tells that it was viewed or deleted.
//! A body of another form, even one that is signed, must never be guessed at.
//! Spec: <https://www.zoho.com/billing/kb/webhooks/securing-webhooks.html>,
//! <https://www.zoho.com/books/help/settings/automation.html>

mod draft;
mod poll;
mod record;
mod sample;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Draft;
use crate::receipt::signature::{hmac_sha256, shared_token};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::accounting::{self, Tokens};
use super::payload;
use super::{
    Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, REPLIES, Replies, SecretKey, Step,
    TranslateError, Translation, Verdict, no_example,
};
use record::{Module, Root};

/// Zoho Books.
pub const PROVIDER: Provider = Provider {
    name: "zoho_books",
    title: "Zoho Books",
    secrets: &[
        SecretKey { name: SECRET_TOKEN, required: false },
        SecretKey { name: HEADER_TOKEN, required: false },
        accounting::CLIENT_ID,
        accounting::CLIENT_SECRET,
        accounting::REFRESH_TOKEN,
        accounting::ACCESS_TOKEN,
    ],
    settings: &[
        DATA_CENTER,
        ORGANIZATION_ID,
        accounting::POLL_INTERVAL,
        accounting::API_URL,
        accounting::TOKEN_URL,
    ],
    structured: &[],
    events: &draft::EVENT_TYPES,
    redaction: Redaction { headers: &[TOKEN_HEADER], query: &[], body_members: &[] },
    hosts: &HOSTS,
    check,
    verify,
    translate,
    fetch,
    poll: poll::poll,
    replies: Replies {
        methods: &[http::Method::POST, http::Method::PUT, http::Method::DELETE],
        ..REPLIES
    },
    sample: sample::sample,
    example: no_example,
};

/// The secret of «secure this webhook».
const SECRET_TOKEN: &str = "secret_token";
/// What stands in `X-Webhook-Token` where the webhook has no secret. It is weaker: it covers nothing.
const HEADER_TOKEN: &str = "header_token";
const TOKEN_HEADER: &str = "x-webhook-token";
const HEADER: &str = "x-zoho-webhook-signature";
const SIGNATURE_BYTES: usize = 32;
/// Where the organisation's data is: `eu`. It decides the hosts of API and tokens.
const DATA_CENTER: &str = "data_center";
/// The organisation, where no webhook names it in a parameter of this name. Its invoices are listed where
/// `poll_interval` asks for it, since Zoho does not try again when a webhook fails.
const ORGANIZATION_ID: &str = "organization_id";
/// The parameter that tells what happened.
const EVENT: &str = "event";
/// The pair of a form that may hold the record as JSON.
const JSON_STRING: &str = "JSONString";
/// Zoho's code for success, whatever the status of the answer.
const SUCCESS: i64 = 0;

/// The data centres with their hosts, of the API and of tokens.
#[rustfmt::skip]
const DATA_CENTERS: [(&str, &str, &str); 10] = [
    ("com", "www.zohoapis.com", "accounts.zoho.com"),
    ("eu", "www.zohoapis.eu", "accounts.zoho.eu"),
    ("in", "www.zohoapis.in", "accounts.zoho.in"),
    ("com.au", "www.zohoapis.com.au", "accounts.zoho.com.au"),
    ("jp", "www.zohoapis.jp", "accounts.zoho.jp"),
    ("ca", "www.zohoapis.ca", "accounts.zohocloud.ca"),
    ("sa", "www.zohoapis.sa", "accounts.zoho.sa"),
    ("uk", "www.zohoapis.uk", "accounts.zoho.uk"),
    ("ae", "www.zohoapis.ae", "accounts.zoho.ae"),
    ("com.cn", "www.zohoapis.com.cn", "accounts.zoho.com.cn"),
];

const HOSTS: [&str; 2 * DATA_CENTERS.len()] = {
    let mut hosts = [""; 2 * DATA_CENTERS.len()];
    let mut index = 0;
    while index < DATA_CENTERS.len() {
        hosts[2 * index] = DATA_CENTERS[index].1;
        hosts[2 * index + 1] = DATA_CENTERS[index].2;
        index += 1;
    }
    hosts
};

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    accounting::check_urls(endpoint)?;
    accounting::check_interval(endpoint)?;
    if endpoint.secret(SECRET_TOKEN).is_none() && endpoint.secret(HEADER_TOKEN).is_none() {
        let reason = "is missing, and so is `secrets.header_token`; zoho_books requests cannot be \
                      verified without one of them"
            .to_owned();
        return Err(Mistake { key: "secrets.secret_token", reason });
    }
    if let Some(name) = endpoint.settings.get(DATA_CENTER)
        && data_center(name).is_none()
    {
        let known: Vec<&str> = DATA_CENTERS.iter().map(|(name, _, _)| *name).collect();
        let reason = format!("is none of {}", known.join(", "));
        return Err(Mistake { key: DATA_CENTER, reason });
    }
    let organization = endpoint.settings.get(ORGANIZATION_ID);
    if endpoint.settings.contains_key(accounting::POLL_INTERVAL) && organization.is_none() {
        let reason = "is missing; invoices are listed of one organisation".to_owned();
        return Err(Mistake { key: ORGANIZATION_ID, reason });
    }
    if let Some(id) = organization
        && accounting::path_id("an organisation", id).is_err()
    {
        let reason = "is no id like `10234695`".to_owned();
        return Err(Mistake { key: ORGANIZATION_ID, reason });
    }
    Ok(())
}

fn data_center(name: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    DATA_CENTERS.iter().find(|(known, _, _)| *known == name)
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    // A webhook that is configured with a secret is never let in by less.
    if endpoint.secret(SECRET_TOKEN).is_none() {
        let given = request.header(TOKEN_HEADER)?;
        return shared_token(endpoint.candidates(HEADER_TOKEN), given).map(Verdict::Verified);
    }
    let malformed = |_| VerifyError::Malformed(HEADER);
    let signature = hex::decode(request.header(HEADER)?).map_err(malformed)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(HEADER));
    }
    let content_type = request.headers.get(http::header::CONTENT_TYPE);
    let content_type = content_type.map(|value| value.as_bytes());
    let signed = signed_text(&request.path, content_type, &request.body);
    let parts: [&[u8]; 1] = [&signed];
    hmac_sha256(endpoint.candidates(SECRET_TOKEN), &parts, &[signature]).map(Verdict::Verified)
}

/// What Zoho signs.
fn signed_text(path: &str, content_type: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    let is_form = is_form(content_type, body);
    let mut pairs = query(path);
    if is_form {
        pairs.extend(form_urlencoded::parse(body));
    }
    // Pairs of the same name stay in the order in which they came.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut signed = Vec::with_capacity(body.len());
    for (name, value) in &pairs {
        signed.extend_from_slice(name.as_bytes());
        signed.extend_from_slice(value.as_bytes());
    }
    if !is_form {
        signed.extend_from_slice(body);
    }
    signed
}

fn query(path: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).collect()
}

/// Whether a body is a form: as its content type says, else as it begins.
fn is_form(content_type: Option<&[u8]>, body: &[u8]) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    match content_type {
        Some(value) => {
            value.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM))
        }
        None => {
            let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
            !matches!(first, Some(b'{' | b'[') | None)
        }
    }
}

/// What a webhook tells beside the record.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Told {
    /// The parameter `event`.
    #[serde(rename = "e")]
    event: String,
    /// The organisation.
    #[serde(rename = "o")]
    organization: String,
    /// What kind of record it is about, and its id, where it has to be asked for.
    #[serde(rename = "m")]
    module: Option<Module>,
    #[serde(rename = "i")]
    id: String,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let content_type = receipt.header("content-type").map(str::as_bytes);
    let mut pairs = query(receipt.path());
    let mut json = Cow::Borrowed(&receipt.body()[..]);
    if is_form(content_type, receipt.body()) {
        let form: Vec<_> = form_urlencoded::parse(receipt.body()).collect();
        json = Cow::Owned(json_of(&form)?);
        pairs.extend(form);
    }
    let given = |name: &str| {
        let pair = pairs.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.to_string()).unwrap_or_default()
    };
    let setting = endpoint.setting(ORGANIZATION_ID, "");
    let mut told = Told {
        event: given(EVENT),
        organization: payload::first(&[&given(ORGANIZATION_ID), setting]),
        module: None,
        id: String::new(),
    };
    let Some((module, record)) = Root::read(&json)?.record()? else {
        let name = payload::first(&[&record::first_name(&json)?, &told.event]);
        return payload::unknown_type(&name);
    };
    if !record.is_whole(module) && !draft::says(&told.event, "delete") {
        let id = accounting::path_id("a record", record.id(module))?;
        let object = format!("{}/{id}", module.path());
        (told.module, told.id) = (Some(module), id.to_owned());
        let told = serde_json::to_string(&told)
            .map_err(|error| payload::unreadable("a notice of ours", &error))?;
        return Ok(Translation::Fetches(vec![Fetch { object, told }]));
    }
    let context = draft::Context { endpoint, told: &told, received_at: receipt.received_at() };
    let draft: Option<Draft> = context.draft(module, &record)?;
    Ok(Translation::Events(draft.into_iter().collect()))
}

/// A form's record as JSON: that of the pair which holds it, else an object of all pairs.
fn json_of(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Vec<u8>, TranslateError> {
    if let Some((_, json)) = form.iter().find(|(name, _)| name == JSON_STRING) {
        return Ok(json.as_bytes().to_vec());
    }
    let mut object = serde_json::Map::new();
    for (name, value) in form {
        if object.insert(name.to_string(), value.to_string().into()).is_some() {
            return Err(TranslateError("a name stands twice in a form".to_owned()));
        }
    }
    serde_json::to_vec(&object).map_err(|error| payload::unreadable("a form", &error))
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    let Some(wanted) = told.module else {
        return Err(TranslateError("nothing is to be asked for".to_owned()));
    };
    if told.id.is_empty() {
        return poll::step(fetching, &told, wanted);
    }
    let Some(answer) = fetching.answers.first() else {
        return call(fetching.endpoint, &told, &format!("{}/{}", wanted.path(), told.id), "");
    };
    if answer.status == 404 {
        return Ok(Step::Denied);
    }
    // The code says more than the status of the answer, which may well be a success.
    let root = Root::read(&answer.body)?;
    if root.code != Some(SUCCESS) || !answer.is_success() {
        let code = root.code.map_or_else(String::new, |code| code.to_string());
        return Err(TranslateError(format!("answered {} with code {code}", answer.status)));
    }
    let Some((module, record)) = root.record()?.filter(|(module, _)| *module == wanted) else {
        return Err(TranslateError("the API answered without the record".to_owned()));
    };
    let received_at = fetching.received_at;
    let context = draft::Context { endpoint: fetching.endpoint, told: &told, received_at };
    let draft = context.draft(module, &record)?;
    Ok(Step::Done { drafts: draft.into_iter().collect(), cursor: None })
}

/// A call of a path below the API, with more of a query beside the organisation.
fn call(endpoint: &Endpoint, told: &Told, path: &str, query: &str) -> Result<Step, TranslateError> {
    let organization = accounting::path_id("an organisation", &told.organization)?;
    let name = endpoint.setting(DATA_CENTER, DATA_CENTERS[0].0);
    let (_, api, accounts) = data_center(name).unwrap_or(&DATA_CENTERS[0]);
    let default = format!("https://{api}");
    let api = accounting::api_url(endpoint, &default);
    let url = format!("{api}/books/v3/{path}?organization_id={organization}{query}");
    let tokens = Tokens {
        account: &told.organization,
        url: format!("https://{accounts}/oauth/v2/token"),
        credentials_in_body: true,
        client_credentials: false,
        scheme: "Zoho-oauthtoken",
    };
    Ok(Step::Call(accounting::authorised(Call::get(url), endpoint, tokens)))
}

#[cfg(test)]
mod tests;
