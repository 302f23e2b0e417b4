//! HubSpot: `X-HubSpot-Signature-v3` is the base64 of the HMAC-SHA256 of the method, the public URL with
//! its query, the raw body and the text of `X-HubSpot-Request-Timestamp` (milliseconds, at most five
//! minutes from now), keyed with the app's client secret as text. Of the query twelve escapes are decoded
//! before signing and no others. The URL is the configured one, since proxies rewrite it. The signatures
//! of versions 1 and 2 tell no time and are never enough. In comes a batch of changes to records, out
//! come the payment statuses of one property; amounts are not told and need a read of the record.
//!
//! An endpoint that may read records does so for every change, so that amount and payment id are known;
//! one that may not reports the status alone, about the record.
//! Spec: <https://developers.hubspot.com/docs/api/webhooks/validating-requests>,
//! <https://developers.hubspot.com/docs/api/webhooks>

mod records;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::References;
use crate::receipt::signature::hmac_sha256;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item, Thin};
use super::payload::{self, Text};
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation, Verdict,
    no_example, no_poll,
};

/// HubSpot.
pub const PROVIDER: Provider = Provider {
    name: "hubspot",
    title: "HubSpot",
    secrets: &[
        SecretKey { name: CLIENT_SECRET, required: true },
        SecretKey { name: crm::ACCESS_TOKEN, required: false },
        SecretKey { name: "client_id", required: false },
        SecretKey { name: REFRESH_TOKEN, required: false },
    ],
    settings: &[
        STATUS_PROPERTY,
        AMOUNT_PROPERTY,
        CURRENCY_PROPERTY,
        PAYMENT_ID_PROPERTY,
        OBJECT_TYPES,
        OWN_SOURCE_ID,
        API_VERSION,
        crm::API_URL,
        crm::CURRENCY,
    ],
    structured: &[OBJECT_TYPES],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["api.hubapi.com"],
    check,
    verify,
    translate,
    fetch: records::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

/// Signs webhooks, and is the OAuth client's secret as well.
const CLIENT_SECRET: &str = "client_secret";
const REFRESH_TOKEN: &str = "refresh_token";

/// The internal name of the property that holds the payment's status.
const STATUS_PROPERTY: &str = "status_property";
/// That of its amount, in major units.
const AMOUNT_PROPERTY: &str = "amount_property";
/// That of its currency.
const CURRENCY_PROPERTY: &str = "currency_property";
/// That of the payment's id; none by default.
const PAYMENT_ID_PROPERTY: &str = "payment_id_property";
/// The types of records that stand for payments, by name or number: `["deal", "0-3"]`.
const OBJECT_TYPES: &str = "object_types";
/// The `sourceId` of changes that a connector made itself; they are left out.
const OWN_SOURCE_ID: &str = "own_source_id";
/// `v3`, or a dated version as `2026-09`.
const API_VERSION: &str = "api_version";

const SIGNATURE_HEADER: &str = "x-hubspot-signature-v3";
const TIMESTAMP_HEADER: &str = "x-hubspot-request-timestamp";
const SIGNATURE_BYTES: usize = 32;
const TOLERANCE_MS: i64 = 300_000;

/// The escapes of a query that are decoded before it is signed.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// The types of records that HubSpot calls by a name as well as by a number.
const TYPES: [(&str, &str); 8] = [
    ("contact", "0-1"),
    ("company", "0-2"),
    ("deal", "0-3"),
    ("ticket", "0-5"),
    ("product", "0-7"),
    ("line_item", "0-8"),
    ("invoice", "0-53"),
    ("commerce_payment", "0-101"),
];

/// What stands before the dot where the type of record is told apart from the event.
const ANY_OBJECT: &str = "object";

/// What a change of a record tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A record is there, with properties that are not told.
    Created,
    /// One property has this value.
    Property,
    /// Nothing about a payment.
    Nothing,
}

/// By what stands after the dot.
const ACTIONS: [(&str, Meaning); 7] = [
    ("creation", Meaning::Created),
    ("propertyChange", Meaning::Property),
    ("deletion", Meaning::Nothing),
    ("merge", Meaning::Nothing),
    ("restore", Meaning::Nothing),
    ("associationChange", Meaning::Nothing),
    ("privacyDeletion", Meaning::Nothing),
];

const EVENT_TYPES: [&str; 12] = [
    "deal.creation",
    "deal.propertyChange",
    "deal.deletion",
    "deal.merge",
    "deal.restore",
    "deal.associationChange",
    "object.creation",
    "object.propertyChange",
    "object.deletion",
    "object.merge",
    "object.restore",
    "object.associationChange",
];

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    crm::check(endpoint)?;
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    if endpoint.setting(STATUS_PROPERTY, "status").trim().is_empty() {
        return mistake(STATUS_PROPERTY, "is empty");
    }
    match object_types(endpoint) {
        Some(types) if !types.is_empty() => {}
        Some(_) | None => return mistake(OBJECT_TYPES, "is not a list like [\"deal\", \"0-3\"]"),
    }
    let version = endpoint.setting(API_VERSION, records::DEFAULT_VERSION);
    let is_plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if version.is_empty() || !is_plain {
        return mistake(API_VERSION, "is neither `v3` nor a date like `2026-09`");
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = |_| VerifyError::Malformed(SIGNATURE_HEADER);
    let signature = BASE64.decode(request.header(SIGNATURE_HEADER)?).map_err(malformed)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(SIGNATURE_HEADER));
    }
    let timestamp = request.header(TIMESTAMP_HEADER)?;
    check_age(timestamp, now)?;
    let uri = signed_uri(&endpoint.url, &request.path);
    let method = request.method.as_str().to_ascii_uppercase();
    let signed: [&[u8]; 4] =
        [method.as_bytes(), uri.as_bytes(), &request.body, timestamp.as_bytes()];
    hmac_sha256(endpoint.candidates(CLIENT_SECRET), &signed, &[signature]).map(Verdict::Verified)
}

/// Refuses what was signed more than five minutes before or after now, to the millisecond.
fn check_age(timestamp: &str, now: Timestamp) -> Result<(), VerifyError> {
    let digits_only = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let signed_at: Option<i64> = timestamp.parse().ok().filter(|_| digits_only);
    let signed_at = signed_at.ok_or(VerifyError::Malformed(TIMESTAMP_HEADER))?;
    let age_ms = now.as_millisecond().saturating_sub(signed_at);
    if age_ms.saturating_abs() > TOLERANCE_MS {
        let age_seconds = (age_ms / 1000).saturating_add(age_ms.signum());
        return Err(VerifyError::Stale { age_seconds, tolerance_seconds: TOLERANCE_MS / 1000 });
    }
    Ok(())
}

/// The public URL with the request's query, as HubSpot signs it.
fn signed_uri(url: &str, path: &str) -> String {
    let Some((_, query)) = path.split_once('?') else {
        return url.to_owned();
    };
    let query = query.split('#').next().unwrap_or_default();
    let decode = |query: String, (escape, text): &(&str, &str)| query.replace(escape, text);
    format!("{url}?{}", DECODED.iter().fold(query.to_owned(), decode))
}

/// One change of a record.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Change<'a> {
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow)]
    subscription_id: Text<'a>,
    #[serde(borrow)]
    portal_id: Text<'a>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
    #[serde(borrow)]
    subscription_type: Text<'a>,
    #[serde(borrow)]
    object_id: Text<'a>,
    #[serde(borrow)]
    object_type_id: Text<'a>,
    #[serde(borrow)]
    property_name: Text<'a>,
    #[serde(borrow)]
    property_value: Text<'a>,
    #[serde(borrow)]
    source_id: Text<'a>,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let changes: Vec<Change<'_>> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a batch of HubSpot events", &error))?;
    let types = object_types(endpoint).unwrap_or_default();
    let mut items = Vec::new();
    let mut unknown = None;
    for change in &changes {
        match meaning(change, &types) {
            Some(meaning) => items.push(change.item(meaning, receipt.received_at(), endpoint)),
            None => unknown = unknown.or(Some(&*change.subscription_type)),
        }
    }
    match unknown {
        Some(event_type) if items.is_empty() || event_type.is_empty() => {
            payload::unknown_type(event_type)
        }
        Some(_) | None => crm::batch(items.into_iter(), &endpoint.name),
    }
}

/// What a change tells of a payment; `None` where its type is not known.
fn meaning(change: &Change<'_>, types: &[String]) -> Option<Meaning> {
    let (object, action) = change.subscription_type.split_once('.')?;
    let stated = if object == ANY_OBJECT { &*change.object_type_id } else { object };
    let names = [type_name(stated), type_number(stated)];
    if object != ANY_OBJECT || !stated.is_empty() {
        let is_payment = types.iter().any(|known| names.contains(&known.as_str()));
        if !is_payment {
            return Some(Meaning::Nothing);
        }
    }
    let row = ACTIONS.iter().find(|(known, _)| *known == action);
    row.map(|(_, meaning)| *meaning)
}

impl Change<'_> {
    fn item(
        &self,
        meaning: Meaning,
        received_at: Timestamp,
        endpoint: &Endpoint,
    ) -> Result<Item, TranslateError> {
        let is_status = *self.property_name == *status_property(endpoint);
        let is_own = !self.source_id.is_empty()
            && *self.source_id == *endpoint.setting(OWN_SOURCE_ID, "").trim();
        if is_own {
            return Ok(Item::Silent);
        }
        match meaning {
            Meaning::Created => self.thin(received_at),
            Meaning::Property if may_read(endpoint) => {
                match records::properties(endpoint).contains(&&*self.property_name) {
                    true => self.thin(received_at),
                    false => Ok(Item::Silent),
                }
            }
            Meaning::Property if is_status => self.report(received_at),
            Meaning::Property | Meaning::Nothing => Ok(Item::Silent),
        }
    }

    fn report(&self, received_at: Timestamp) -> Result<Item, TranslateError> {
        let Some(status) = crm::status(&self.property_value) else {
            return Ok(Item::UnknownStatus);
        };
        let Thin { event_id, event_type, occurred_at, record_type, record_id } =
            self.place(received_at)?;
        // HubSpot does not promise that the event id is unique. The time is the one told: that of arrival
        // is another in a redelivery.
        let parts: [&str; 5] = [
            &self.portal_id,
            &self.subscription_id,
            &self.object_id,
            &self.event_id,
            &self.occurred_at,
        ];
        let key = parts.join(":");
        Ok(Item::Reported(Box::new(crm::Report {
            event_id: payload::first(&[&event_id, &key]),
            key,
            event_type,
            occurred_at,
            record_type,
            record_id,
            payment_id: String::new(),
            status,
            amount: None,
            live: true,
            references: References::default(),
        })))
    }

    fn thin(&self, received_at: Timestamp) -> Result<Item, TranslateError> {
        self.place(received_at).map(Item::Thin)
    }

    fn place(&self, received_at: Timestamp) -> Result<Thin, TranslateError> {
        if self.object_id.is_empty() {
            return Err(TranslateError("the event has no objectId".to_owned()));
        }
        let occurred_at = match &*self.occurred_at {
            "" => received_at,
            text => {
                let ms = text.parse::<i64>().ok();
                let at = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
                at.ok_or_else(|| payload::not_a("a time", text))?
            }
        };
        let object = self.subscription_type.split('.').next().unwrap_or_default();
        let stated = if object == ANY_OBJECT { &*self.object_type_id } else { object };
        Ok(Thin {
            event_id: self.event_id.to_string(),
            event_type: self.subscription_type.to_string(),
            occurred_at,
            record_type: type_name(stated).to_owned(),
            record_id: self.object_id.to_string(),
        })
    }
}

/// The types of records that stand for payments; `None` where the setting cannot be read.
fn object_types(endpoint: &Endpoint) -> Option<Vec<String>> {
    let text = endpoint.setting(OBJECT_TYPES, "[\"deal\"]").trim();
    match text.starts_with(['[', '{']) {
        true => serde_json::from_str(text).ok(),
        false => Some(text.split(',').map(|one| one.trim().to_owned()).collect()),
    }
}

fn status_property(endpoint: &Endpoint) -> &str {
    endpoint.setting(STATUS_PROPERTY, "payment_status").trim()
}

/// Whether the endpoint has credentials to read records with.
fn may_read(endpoint: &Endpoint) -> bool {
    [crm::ACCESS_TOKEN, REFRESH_TOKEN].iter().any(|name| endpoint.secret(name).is_some())
}

/// The name of a type of record, where HubSpot gives it one.
fn type_name(stated: &str) -> &str {
    TYPES.iter().find(|(_, number)| *number == stated).map_or(stated, |(name, _)| name)
}

/// The number of a type of record, where it is known.
fn type_number(stated: &str) -> &str {
    TYPES.iter().find(|(name, _)| *name == stated).map_or(stated, |(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, PaymentStatus, Sequence, SubjectState};
    use crate::providers::testing;
    use secrecy::SecretString;

    const SECRETS: &[(&str, &str)] = &[(CLIENT_SECRET, "sample-client-secret")];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    /// An endpoint that may read records and knows where they name the payment.
    fn reading() -> Endpoint {
        let mut endpoint = endpoint();
        let token = vec![SecretString::from("sample-access-token")];
        endpoint.secrets.insert(crm::ACCESS_TOKEN.to_owned(), token);
        endpoint.settings.insert(PAYMENT_ID_PROPERTY.to_owned(), "payment_id".to_owned());
        endpoint
    }

    fn now(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(testing::NOW * 1000 + ms).expect("a time")
    }

    fn change(event: i64, object: i64, kind: &str, value: &str) -> String {
        format!(
            r#"{{"eventId":{event},"subscriptionId":4,"portalId":6,"occurredAt":1795599990000,
            "subscriptionType":"{kind}","objectId":{object},"objectTypeId":"0-3",
            "propertyName":"payment_status","propertyValue":"{value}"}}"#
        )
    }

    fn translated(changes: &[String]) -> Translation {
        let body = format!("[{}]", changes.join(","));
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()).expect("readable")
    }

    #[test]
    fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
        let said = |event_type: &&&str| {
            event_type.ends_with("creation") || event_type.ends_with("propertyChange")
        };
        let silent: Vec<&str> =
            EVENT_TYPES.iter().filter(|event_type| !said(event_type)).copied().collect();
        for endpoint in [endpoint(), reading()] {
            testing::check_samples(&PROVIDER, &endpoint, &silent, testing::Coverage::Body);
        }
    }

    #[test]
    fn a_deal_is_ordered_along_its_life() {
        let life = ["deal.creation", "deal.propertyChange", "object.propertyChange"];
        for endpoint in [endpoint(), reading()] {
            testing::check_life(&PROVIDER, &endpoint, &life);
        }
    }

    #[test]
    fn any_order_of_a_life_ends_in_the_same_state() {
        let endpoint = endpoint();
        let life = ["deal.creation", "deal.propertyChange", "object.propertyChange"];
        let drafts: Vec<Draft> = (0..)
            .zip(life)
            .flat_map(|(at, event_type)| {
                testing::drafts(&PROVIDER, &endpoint, event_type, at).expect("known")
            })
            .collect();
        let states =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(|all| {
                let mut state = SubjectState::begin(&drafts[0].subject);
                for at in all {
                    state.apply(&drafts[at], Sequence(1));
                }
                state
            });
        for state in &states {
            assert!(state.converges_with(&states[0]));
            let refunded = crate::model::Status::Payment(PaymentStatus::Refunded);
            assert_eq!(state.status(), Some(refunded));
        }
    }

    #[test]
    fn five_minutes_are_counted_in_milliseconds_and_both_ways() {
        for (age_ms, is_fresh) in
            [(300_000, true), (300_001, false), (-300_000, true), (-300_001, false)]
        {
            let text = (now(0).as_millisecond() - age_ms).to_string();
            assert_eq!(check_age(&text, now(0)).is_ok(), is_fresh, "{age_ms}");
        }
        for text in ["", "+1795600000000", "-1", "1795600000", "9999999999999999999", "1e12"] {
            assert!(check_age(text, now(0)).is_err(), "{text}");
        }
    }

    #[test]
    fn twelve_escapes_of_the_query_are_decoded_and_no_others() {
        let uri = |path| signed_uri("https://h.example.test/a%3Ab", path);
        assert_eq!(uri("/a%3Ab"), "https://h.example.test/a%3Ab");
        assert_eq!(
            uri("/x?q=%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B&r=%20%2B%26%3D%25%23%253A"),
            "https://h.example.test/a%3Ab?q=:/?@!$'()*,;&r=%20%2B%26%3D%25%23%253A"
        );
    }

    #[test]
    fn a_request_without_the_third_version_is_refused() {
        let mut request = testing::sample(&PROVIDER, &endpoint(), "deal.propertyChange", 0);
        request.headers.remove(SIGNATURE_HEADER);
        let value = "f0c5b3a4588f0e1af7ddcb6bd903512950d379755a03548fe0a6eed1339d12e2";
        request.headers.insert("x-hubspot-signature", value.parse().expect("a value"));
        let refused = PROVIDER.prove(&request, &endpoint(), now(0));
        assert_eq!(refused.err(), Some(VerifyError::MissingHeader(SIGNATURE_HEADER)));
    }

    #[test]
    fn a_batch_tells_of_each_record_and_reads_those_that_it_only_names() {
        let told = [
            change(3, 11, "deal.propertyChange", "Paid"),
            change(4, 11, "object.propertyChange", " refunded "),
        ];
        let Translation::Events(drafts) = translated(&told) else { panic!("told") };
        assert_eq!(drafts.len(), 2);
        assert_eq!(drafts[0].subject, drafts[1].subject);
        assert_eq!((drafts[0].event_id.as_str(), drafts[1].event_id.as_str()), ("3", "4"));
        assert_eq!(drafts[1].references.metadata["record_type"], "deal");
        let mut mixed = told.to_vec();
        mixed.push(change(5, 12, "deal.creation", ""));
        let Translation::Fetches(fetches) = translated(&mixed) else { panic!("a fetch") };
        assert_eq!(fetches.len(), 3);
        assert_eq!(fetches[2].object, "deal/12");
    }

    #[test]
    fn the_same_event_id_of_another_record_is_another_event() {
        let told = [
            change(3, 11, "deal.propertyChange", "Paid"),
            change(3, 12, "deal.propertyChange", "Paid"),
        ];
        let Translation::Events(drafts) = translated(&told) else { panic!("told") };
        assert_ne!(drafts[0].key, drafts[1].key);
    }

    #[test]
    fn a_time_is_a_number_or_its_text_and_may_be_missing() {
        let told = change(3, 11, "deal.propertyChange", "Paid");
        let draft = |at: &str| {
            let body = format!("[{}]", told.replace("\"occurredAt\":1795599990000,", at));
            match testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()) {
                Ok(Translation::Events(mut drafts)) if drafts.len() == 1 => Some(drafts.remove(0)),
                Ok(_) | Err(_) => None,
            }
        };
        let number = draft("\"occurredAt\":1795599990000,").expect("readable");
        assert_eq!(number.key, "6:4:11:3:1795599990000");
        assert_eq!(draft("\"occurredAt\":\"1795599990000\","), Some(number));
        for nothing in ["", "\"occurredAt\":null,"] {
            assert_eq!(draft(nothing).expect("readable").key, "6:4:11:3:");
        }
        assert_eq!(draft("\"occurredAt\":\"yesterday\","), None);
    }

    #[test]
    fn what_says_nothing_about_a_payment_gives_no_event() {
        for kind in ["contact.propertyChange", "contact.no_such", "deal.deletion", "deal.merge"] {
            let meaning = translated(&[change(1, 1, kind, "Paid")]);
            assert_eq!(meaning, Translation::Events(Vec::new()), "{kind}");
        }
        let unknown = Translation::Unknown(crm::UNKNOWN_STATUS.to_owned());
        for text in ["", "Bezahlt"] {
            assert_eq!(translated(&[change(1, 1, "deal.propertyChange", text)]), unknown);
        }
        let unknown = Translation::Unknown("deal.no_such".to_owned());
        assert_eq!(translated(&[change(1, 1, "deal.no_such", "Paid")]), unknown);
    }

    #[test]
    fn a_record_that_is_read_tells_amount_and_payment() {
        let drafts = testing::drafts(&PROVIDER, &reading(), "deal.propertyChange", 0);
        let draft = drafts.expect("known").remove(0);
        let amount = testing::payment_fact(&draft).amount.expect("an amount");
        assert_eq!(amount.minor_units, crate::providers::samples::amount("a1"));
        assert_eq!((draft.subject.id.as_str(), amount.currency.code()), ("pay_a1", "EUR"));
    }

    #[test]
    fn changes_of_the_connector_itself_are_left_out() {
        let mut endpoint = endpoint();
        endpoint.settings.insert(OWN_SOURCE_ID.to_owned(), "userId:500".to_owned());
        let drafts = testing::drafts(&PROVIDER, &endpoint, "deal.propertyChange", 0);
        assert_eq!(drafts, Some(Vec::new()));
    }

    #[test]
    fn mistaken_settings_are_refused() {
        for (key, value) in [
            (OBJECT_TYPES, "[\"deal\""),
            (OBJECT_TYPES, "[]"),
            (OBJECT_TYPES, "{\"deal\":1}"),
            (API_VERSION, "../v3"),
            (STATUS_PROPERTY, " "),
            (crm::CURRENCY, "EURO"),
        ] {
            let mut endpoint = endpoint();
            endpoint.settings.insert(key.to_owned(), value.to_owned());
            assert_eq!(check(&endpoint).err().map(|mistake| mistake.key), Some(key), "{value}");
        }
        assert_eq!(check(&endpoint()), Ok(()));
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }
}
