//! TrueLayer: `Tl-Signature` is a detached JWS, ES512, over the method, the path, the headers that it
//! lists and the raw body. The keys come from one of TrueLayer's two key sets, which the signature names by
//! URL (`jku`): only these two exact URLs are ever trusted, and `secrets.jwks` takes their place. A webhook
//! tells the type, the time and ids but no amount; that is fetched where the endpoint has credentials. In
//! comes a request, out go payments, refunds, disputes, bank transactions and the customer's actions, each
//! under the webhook's own event id. TrueLayer sets no limit on a signature's age and repeats for 72 hours:
//! the time is held against that, and the event id keeps a repetition from counting twice.
//! Spec: <https://docs.truelayer.com/docs/payments-api-webhook-reference>,
//! <https://github.com/TrueLayer/truelayer-signing/blob/main/request-signing-v2.md>

mod drafts;
mod fetches;
mod sample;
mod verification;

use serde::{Deserialize, Serialize};

use crate::receipt::{Receipt, Redaction};

use super::payload::{self, Scalars, Text};
use super::{
    Endpoint, Fetch, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation, no_poll,
};

#[cfg(test)]
use sample::sample_secrets;

/// TrueLayer.
pub const PROVIDER: Provider = Provider {
    name: "truelayer",
    title: "TrueLayer",
    secrets: &[
        SecretKey { name: CLIENT_ID, required: false },
        SecretKey { name: CLIENT_SECRET, required: false },
        SecretKey { name: JWKS, required: false },
    ],
    settings: &[API_URL, AUTH_URL, JWKS_URL, SIGNED_PATH, TOLERANCE],
    structured: &[JWKS],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &["account_number", "iban"] },
    hosts: &[
        "webhooks.truelayer.com",
        "webhooks.truelayer-sandbox.com",
        "auth.truelayer.com",
        "auth.truelayer-sandbox.com",
        "api.truelayer.com",
        "api.truelayer-sandbox.com",
    ],
    check,
    verify: verification::verify,
    translate,
    fetch: fetches::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: sample::sample_secrets,
};

const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
/// Key sets by their URLs, in place of those that TrueLayer serves.
const JWKS: &str = "jwks";
/// The API. By default TrueLayer's own, production or sandbox as the webhook's signature says.
const API_URL: &str = "api_url";
/// Where access tokens come from, by the same default.
const AUTH_URL: &str = "auth_url";
/// Where the key sets are got instead, as through a proxy. Which of them is wanted stays as signed.
const JWKS_URL: &str = "jwks_url";
/// The path that TrueLayer calls, where a proxy before the gateway rewrites it.
const SIGNED_PATH: &str = "signed_path";
/// How old a signature may be, in seconds.
const TOLERANCE: &str = "tolerance_seconds";
/// TrueLayer repeats for 72 hours, and whether it signs anew is not written; an hour more for clocks.
const TOLERANCE_SECONDS: i64 = 73 * 3_600;
const MAX_ID_BYTES: usize = 128;

/// What an event type is about, and how far in the life it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    /// The collection of a payment, with the rank of the evidence.
    Payment(Stage, u8),
    /// Money taken back: claimed, or gone for good.
    Dispute(Stage, u8),
    /// A refund.
    Refund(Stage),
    /// Money that came in without a payment of ours.
    Received,
    /// Money that goes out.
    Payout(Stage),
    /// A mandate, with the rank of the evidence.
    Mandate(u8),
    /// A payment link.
    Link(Stage),
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begun,
    /// The bank took the order; for an account outside of TrueLayer that is all that will be known.
    Executed,
    Done,
    Failed,
    /// It takes longer than the merchant wants to wait.
    Stalled,
}

#[rustfmt::skip]
const EVENTS: [(&str, Meaning); 19] = [
    ("payment_authorized", Meaning::Payment(Stage::Begun, 10)),
    ("payment_executed", Meaning::Payment(Stage::Executed, 20)),
    ("payment_settlement_stalled", Meaning::Payment(Stage::Stalled, 30)),
    ("payment_funds_received", Meaning::Payment(Stage::Begun, 40)),
    ("payment_failed", Meaning::Payment(Stage::Failed, 50)),
    ("payment_settled", Meaning::Payment(Stage::Done, 60)),
    ("payment_creditable", Meaning::Payment(Stage::Done, 70)),
    ("payment_disputed", Meaning::Dispute(Stage::Begun, 90)),
    ("payment_reversed", Meaning::Dispute(Stage::Done, 91)),
    ("refund_executed", Meaning::Refund(Stage::Done)),
    ("refund_failed", Meaning::Refund(Stage::Failed)),
    ("external_payment_received", Meaning::Received),
    ("payout_executed", Meaning::Payout(Stage::Done)),
    ("payout_failed", Meaning::Payout(Stage::Failed)),
    ("mandate_authorized", Meaning::Mandate(10)),
    ("mandate_failed", Meaning::Mandate(20)),
    ("mandate_revoked", Meaning::Mandate(30)),
    ("payment_link_payment_created", Meaning::Link(Stage::Begun)),
    ("payment_link_disabled", Meaning::Link(Stage::Failed)),
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

fn meaning(event_type: &str) -> Option<Meaning> {
    EVENTS.iter().find(|(name, _)| *name == event_type).map(|(_, meaning)| *meaning)
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    if !verification::are_key_sets(endpoint) {
        return mistake("secrets.jwks", "is no object of key sets by TrueLayer's URLs");
    }
    if endpoint.secret(CLIENT_ID).is_some() != endpoint.secret(CLIENT_SECRET).is_some() {
        return mistake("secrets.client_secret", "and `secrets.client_id` belong together");
    }
    for key in [API_URL, AUTH_URL] {
        let url = endpoint.setting(key, "https://");
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return mistake(key, "is not of the form `https://api.truelayer.com`");
        }
    }
    if !endpoint.setting(SIGNED_PATH, "/").starts_with('/') {
        return mistake(SIGNED_PATH, "does not begin with `/`");
    }
    match verification::tolerance_seconds(endpoint) {
        Some(1..) => Ok(()),
        Some(_) | None => mistake(TOLERANCE, "is no number of seconds"),
    }
}

/// The webhook's body, all kinds together.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    /// Of the Payments API of old, whose webhooks are not translated.
    #[serde(borrow, rename = "event_type")]
    old_event_type: Text<'a>,
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    refund_id: Text<'a>,
    #[serde(borrow)]
    payout_id: Text<'a>,
    #[serde(borrow)]
    mandate_id: Text<'a>,
    #[serde(borrow)]
    transaction_id: Text<'a>,
    #[serde(borrow)]
    payment_link_id: Text<'a>,
    #[serde(borrow)]
    failure_stage: Text<'a>,
    #[serde(borrow)]
    failure_reason: Text<'a>,
    #[serde(borrow)]
    dispute_reason: Text<'a>,
    #[serde(borrow)]
    reversal_reason: Text<'a>,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    payment_method: Option<Method<'a>>,
    #[serde(borrow)]
    payment_source: Option<Holder<'a>>,
    #[serde(borrow)]
    remitter: Option<Holder<'a>>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    merchant_account_id: Text<'a>,
    amount_in_minor: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    metadata: Scalars,
    #[serde(borrow)]
    authorized_at: Text<'a>,
    #[serde(borrow)]
    executed_at: Text<'a>,
    #[serde(borrow)]
    settled_at: Text<'a>,
    #[serde(borrow)]
    creditable_at: Text<'a>,
    #[serde(borrow)]
    failed_at: Text<'a>,
    #[serde(borrow)]
    settlement_stalled_at: Text<'a>,
    #[serde(borrow)]
    funds_received_at: Text<'a>,
    #[serde(borrow)]
    disputed_at: Text<'a>,
    #[serde(borrow)]
    reversed_at: Text<'a>,
    #[serde(borrow)]
    revoked_at: Text<'a>,
    #[serde(borrow)]
    disabled_at: Text<'a>,
    #[serde(borrow)]
    payment_created_at: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Method<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    scheme_id: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    mandate_id: Text<'a>,
}

/// Whose account is on the other side.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Holder<'a> {
    #[serde(borrow)]
    account_holder_name: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
}

/// What a webhook told: all that its drafts need beside what is fetched.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
struct Told {
    event_type: String,
    event_id: String,
    at: String,
    live: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    payment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    refund: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    payout: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stage: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reference: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mandate: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    holder: String,
    metadata: std::collections::BTreeMap<String, String>,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a TrueLayer webhook", &error))?;
    let event_type = payload::first(&[&body.event_type, &body.old_event_type]);
    let Some(meaning) = meaning(&body.event_type) else {
        return payload::unknown_type(&event_type);
    };
    let told = told(&body, receipt)?;
    if told.event_id.is_empty() {
        return Err(TranslateError("the event has no id".to_owned()));
    }
    let object = match meaning {
        Meaning::Payment(..) | Meaning::Dispute(..) => {
            format!("payments/{}", path_id(&told.payment, "payment")?)
        }
        Meaning::Refund(_) => format!(
            "payments/{}/refunds/{}",
            path_id(&told.payment, "payment")?,
            path_id(&told.refund, "refund")?
        ),
        Meaning::Payout(_) => format!("payouts/{}", path_id(&told.payout, "payout")?),
        Meaning::Received => {
            return drafts::received(&told, &body, &endpoint.name).map(events);
        }
        Meaning::Mandate(rank) => {
            return drafts::mandate(&told, &body, rank, &endpoint.name).map(events);
        }
        Meaning::Link(stage) => {
            return drafts::link(&told, &body, stage, &endpoint.name).map(events);
        }
    };
    if endpoint.secret(CLIENT_ID).is_none() {
        return drafts::fetched(&told, meaning, &endpoint.name, None, None).map(events);
    }
    let told = serde_json::to_string(&told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    Ok(Translation::Fetches(vec![Fetch { object, told }]))
}

fn events(draft: crate::model::Draft) -> Translation {
    Translation::Events(vec![draft])
}

fn told(body: &Body<'_>, receipt: &Receipt) -> Result<Told, TranslateError> {
    let method = body.payment_method.as_ref();
    let sent_at = receipt.header(verification::TIMESTAMP_HEADER).unwrap_or_default();
    let at = [
        &*body.authorized_at,
        &body.executed_at,
        &body.settled_at,
        &body.creditable_at,
        &body.failed_at,
        &body.settlement_stalled_at,
        &body.funds_received_at,
        &body.disputed_at,
        &body.reversed_at,
        &body.revoked_at,
        &body.disabled_at,
        &body.payment_created_at,
        &body.created_at,
        sent_at,
    ];
    let at = match payload::first(&at) {
        text if text.is_empty() => receipt.received_at().to_string(),
        text => text,
    };
    let holder = body.payment_source.as_ref().map(|source| source.account_holder_name.to_string());
    Ok(Told {
        event_type: body.event_type.to_string(),
        event_id: body.event_id.to_string(),
        at,
        live: !verification::is_sandbox(receipt),
        payment: body.payment_id.to_string(),
        refund: body.refund_id.to_string(),
        payout: body.payout_id.to_string(),
        reason: payload::first(&[
            &body.failure_reason,
            &body.dispute_reason,
            &body.reversal_reason,
        ]),
        stage: body.failure_stage.to_string(),
        method: method
            .map(|method| payload::first(&[&method.scheme_id, &method.kind]))
            .unwrap_or_default(),
        reference: method.map(|method| method.reference.to_string()).unwrap_or_default(),
        mandate: method.map(|method| method.mandate_id.to_string()).unwrap_or_default(),
        user: body.user_id.to_string(),
        holder: holder.unwrap_or_default(),
        metadata: body.metadata.0.clone(),
    })
}

/// An id that may stand in a URL's path as it is.
fn path_id<'a>(id: &'a str, what: &str) -> Result<&'a str, TranslateError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(plain) {
        true => Ok(id),
        false => Err(payload::not_a(&format!("a {what} id"), id)),
    }
}

#[cfg(test)]
mod tests;
