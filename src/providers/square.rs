//! Square: `x-square-hmacsha256-signature` is the base64 of the HMAC-SHA256 of the notification URL as it
//! is configured at Square, followed by the raw body, keyed with the subscription's signature key as
//! text. The URL never comes from the request, since proxies rewrite it; nothing tells the time, so that
//! an old redelivery is as good as a new one and the event id alone keeps it from counting twice. The
//! SHA-1 header of old is ignored. In comes a request, out come payments, invoices, payouts and terminal
//! checkouts, ordered by the object's own version. Orders are thin and stay unknown.
//! Spec: <https://developer.squareup.com/docs/webhooks/step3validate>,
//! <https://developer.squareup.com/docs/webhooks/v2webhook-events-tech-ref>

mod invoices;
mod payments;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{Draft, EndpointName, Fact, Money, References};
use crate::receipt::signature::hmac_sha256;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Text};
use super::{
    Endpoint, Keys, Provider, REPLIES, Sample, SecretKey, TranslateError, Translation, Verdict,
    no_check, no_example, no_fetch, no_poll,
};

/// Square.
pub const PROVIDER: Provider = Provider {
    name: "square",
    title: "Square",
    secrets: &[
        SecretKey { name: SIGNATURE_KEY, required: true },
        SecretKey { name: NOTIFICATION_URL, required: false },
    ],
    settings: &[],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &["fingerprint"] },
    hosts: &[],
    check: no_check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

const SIGNATURE_KEY: &str = "signature_key";
/// Where Square knows the endpoint by another URL than the gateway does.
const NOTIFICATION_URL: &str = "notification_url";
const HEADER: &str = "x-square-hmacsha256-signature";
const SIGNATURE_BYTES: usize = 32;
const ENVIRONMENT_HEADER: &str = "square-environment";
const SANDBOX: &str = "Sandbox";

/// What an event type is about; the object's status says the rest.
#[derive(Clone, Copy)]
enum Meaning {
    Payment,
    Refund,
    Dispute,
    Invoice,
    InvoiceDeleted,
    TerminalCheckout,
    TerminalRefund,
    Payout,
    /// About the merchant's bank account itself, not about money on it.
    BankAccount,
}

#[rustfmt::skip]
const EVENTS: [(&str, Meaning); 26] = [
    ("payment.created", Meaning::Payment),
    ("payment.updated", Meaning::Payment),
    ("refund.created", Meaning::Refund),
    ("refund.updated", Meaning::Refund),
    ("dispute.created", Meaning::Dispute),
    ("dispute.state.updated", Meaning::Dispute),
    ("dispute.state.changed", Meaning::Dispute),
    ("dispute.evidence.created", Meaning::Dispute),
    ("dispute.evidence.deleted", Meaning::Dispute),
    ("invoice.created", Meaning::Invoice),
    ("invoice.published", Meaning::Invoice),
    ("invoice.updated", Meaning::Invoice),
    ("invoice.payment_made", Meaning::Invoice),
    ("invoice.refunded", Meaning::Invoice),
    ("invoice.canceled", Meaning::Invoice),
    ("invoice.deleted", Meaning::InvoiceDeleted),
    ("invoice.scheduled_charge_failed", Meaning::Invoice),
    ("terminal.checkout.created", Meaning::TerminalCheckout),
    ("terminal.checkout.updated", Meaning::TerminalCheckout),
    ("terminal.refund.created", Meaning::TerminalRefund),
    ("terminal.refund.updated", Meaning::TerminalRefund),
    ("payout.sent", Meaning::Payout),
    ("payout.paid", Meaning::Payout),
    ("payout.failed", Meaning::Payout),
    ("bank_account.verified", Meaning::BankAccount),
    ("bank_account.disabled", Meaning::BankAccount),
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

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    // Square's own verifier takes no empty body either.
    if request.body.is_empty() {
        return Err(VerifyError::Malformed("body"));
    }
    let malformed = |_| VerifyError::Malformed(HEADER);
    let signature = BASE64.decode(request.header(HEADER)?).map_err(malformed)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(HEADER));
    }
    let signatures = [signature];
    let mut result = Err(VerifyError::NotConfigured(NOTIFICATION_URL));
    for url in signed_urls(endpoint).into_iter().filter(|url| !url.is_empty()) {
        let signed: [&[u8]; 2] = [url.as_bytes(), &request.body];
        result = hmac_sha256(endpoint.candidates(SIGNATURE_KEY), &signed, &signatures);
        if result.is_ok() {
            break;
        }
    }
    result.map(Verdict::Verified)
}

/// The URLs that Square may have signed: as configured for it, else the gateway's own.
fn signed_urls(endpoint: &Endpoint) -> Vec<&str> {
    let configured = endpoint.candidates(NOTIFICATION_URL).secrets;
    match configured.is_empty() {
        true => vec![&endpoint.url],
        false => configured.iter().map(ExposeSecret::expose_secret).collect(),
    }
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Square event", &error))?;
    let row = EVENTS.iter().find(|(event_type, _)| *event_type == &*body.event_type);
    let Some((_, meaning)) = row else {
        return payload::unknown_type(&body.event_type);
    };
    let live = receipt.header(ENVIRONMENT_HEADER) != Some(SANDBOX);
    let event = Event::new(&body, live, &endpoint.name)?;
    let draft = match meaning {
        Meaning::Payment => payments::payment(&event)?,
        Meaning::Refund => return payments::refund(&event).map(Translation::Events),
        Meaning::Dispute => payments::dispute(&event)?,
        Meaning::Invoice => invoices::invoice(&event)?,
        Meaning::InvoiceDeleted => invoices::deleted(&event)?,
        Meaning::TerminalCheckout => payments::terminal_checkout(&event)?,
        Meaning::TerminalRefund => {
            return payments::terminal_refund(&event).map(Translation::Events);
        }
        Meaning::Payout => payments::payout(&event)?,
        Meaning::BankAccount => return Ok(Translation::Events(Vec::new())),
    };
    Ok(Translation::Events(vec![draft]))
}

/// The envelope.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    object: Option<Wrapped<'a>>,
}

/// The object under its own name, which for disputes is `dispute` or `object`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Wrapped<'a> {
    #[serde(borrow)]
    payment: Option<&'a RawValue>,
    #[serde(borrow)]
    refund: Option<&'a RawValue>,
    #[serde(borrow)]
    dispute: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    invoice: Option<&'a RawValue>,
    #[serde(borrow)]
    checkout: Option<&'a RawValue>,
    #[serde(borrow)]
    payout: Option<&'a RawValue>,
}

/// An event of a known type, with what every draft of it needs.
struct Event<'a> {
    body: &'a Body<'a>,
    created_at: Timestamp,
    live: bool,
    endpoint: &'a EndpointName,
}

/// Where an object's facts stand in its life.
struct Place<'a> {
    version: Option<i64>,
    updated_at: &'a str,
    rank: u8,
}

impl<'a> Event<'a> {
    fn new(
        body: &'a Body<'a>,
        live: bool,
        endpoint: &'a EndpointName,
    ) -> Result<Event<'a>, TranslateError> {
        if body.event_id.is_empty() {
            return Err(TranslateError("the event has no id".to_owned()));
        }
        let created_at = time(&body.created_at)?;
        Ok(Event { body, created_at, live, endpoint })
    }

    /// The object that the event is about, by its name in `data.object`.
    fn read<T: Deserialize<'a>>(
        &self,
        name: &str,
        pick: impl Fn(&Wrapped<'a>) -> Option<&'a RawValue>,
    ) -> Result<T, TranslateError> {
        let wrapped = self.body.data.as_ref().and_then(|data| data.object.as_ref());
        let object = wrapped
            .and_then(pick)
            .ok_or_else(|| TranslateError(format!("the event has no {name}")))?;
        serde_json::from_str(object.get())
            .map_err(|error| payload::unreadable(&format!("a Square {name}"), &error))
    }

    fn draft(
        &self,
        id: &str,
        place: Place<'_>,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        let occurred_at = match place.updated_at {
            "" => self.created_at,
            text => time(text)?,
        };
        Ok(Draft {
            key: self.body.event_id.to_string(),
            event_id: self.body.event_id.to_string(),
            event_type: self.body.event_type.to_string(),
            occurred_at,
            version: place.version.unwrap_or(0),
            rank: place.rank,
            subject: payload::subject(fact.kind(), self.endpoint, id)?,
            references: references.bounded(),
            live: self.live,
            fact,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, TranslateError> {
    text.parse().map_err(|_| payload::not_a("a time", text))
}

/// An amount as Square writes it: minor units of ISO 4217 and a code.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
}

impl Amount<'_> {
    fn money(&self) -> Result<Option<Money>, TranslateError> {
        payload::optional_money(self.amount, &self.currency, &[])
    }
}

/// The money of an amount that may be missing as a whole.
fn money(amount: Option<&Amount<'_>>) -> Result<Option<Money>, TranslateError> {
    amount.map_or(Ok(None), Amount::money)
}

/// The money of an amount that must be there.
fn required(amount: Option<&Amount<'_>>, what: &str) -> Result<Money, TranslateError> {
    money(amount)?.ok_or_else(|| TranslateError(format!("{what} has no amount")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::testing;

    const SECRETS: &[(&str, &str)] = &[(SIGNATURE_KEY, "sample-signature-key")];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    #[test]
    fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
        let silent = ["bank_account.verified", "bank_account.disabled"];
        testing::check_samples(&PROVIDER, &endpoint(), &silent, testing::Coverage::Body);
    }

    #[test]
    fn each_object_is_ordered_along_its_life() {
        for life in [
            &["payment.created", "payment.updated"][..],
            &["refund.created", "refund.updated"],
            &["dispute.created", "dispute.evidence.created", "dispute.state.updated"],
            &["invoice.created", "invoice.published", "invoice.payment_made", "invoice.updated"],
            &["payout.sent", "payout.paid", "payout.failed"],
            &["terminal.checkout.created", "terminal.checkout.updated"],
        ] {
            testing::check_life(&PROVIDER, &endpoint(), life);
        }
    }

    #[test]
    fn a_completed_payment_tells_the_total_of_its_refunds_even_when_there_are_none() {
        let change = [
            "\"version\":4",
            "\"version\":4,\"processing_fee\":[\
            {\"amount_money\":{\"amount\":30,\"currency\":\"USD\"}},\
            {\"amount_money\":{\"amount\":12,\"currency\":\"USD\"}}]",
        ];
        let draft = testing::draft_of(&PROVIDER, &endpoint(), "payment.updated", change);
        let draft = draft.expect("readable");
        let fact = testing::payment_fact(&draft);
        assert_eq!(fact.refunded_total.map(|money| money.minor_units), Some(0));
        assert_eq!(fact.fee.map(|money| money.minor_units), Some(42));
        assert_eq!(draft.version, 4);
        assert_eq!(draft.references.order, "order_a1");
        assert_eq!(draft.references.metadata["reference_id"], "order-a1");
    }

    #[test]
    fn the_sandbox_is_not_live() {
        let request = testing::sample(&PROVIDER, &endpoint(), "payment.updated", 0);
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let is_live = |environment: &'static str| {
            let mut request = request.clone();
            request.headers.insert(ENVIRONMENT_HEADER, environment.parse().expect("a value"));
            match testing::receive(&PROVIDER, &endpoint(), request, now) {
                Ok(Ok(Translation::Events(drafts))) => drafts[0].live,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(["Production", "Sandbox"].map(is_live), [true, false]);
    }

    #[test]
    fn an_invoice_with_two_currencies_is_an_error() {
        let change = [
            "\"total_completed_amount_money\":{\"amount\":0,\"currency\":\"USD\"}",
            "\"total_completed_amount_money\":{\"amount\":0,\"currency\":\"EUR\"}",
        ];
        let error = testing::draft_of(&PROVIDER, &endpoint(), "invoice.published", change);
        assert!(error.expect_err("two currencies").to_string().contains("do not add up"));
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }
}
