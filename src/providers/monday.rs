//! monday.com: `Authorization` is a bare JSON Web Token, signed with HS256 and the app's signing secret. No
//! other algorithm is taken, the token must end (`exp`) and be meant for the endpoint's public URL (`aud`).
//! It does not cover the body, and webhooks that were made without an app carry none: those are refused,
//! unless the endpoint has a `url_token` that stands in the parameter `k` of the URL. A body with nothing
//! but a `challenge` is echoed and says nothing else. In comes one change on a board, out goes the payment
//! status of one column. The token's short-lived API token is never used.
//!
//! An endpoint that may read items does so for every change, so that amount and payment id are known; one
//! that may not reports the status alone, about the item.
//! Spec: <https://developer.monday.com/apps/docs/authorization-header>,
//! <https://developer.monday.com/api-reference/reference/webhooks>

mod cells;
mod records;
mod sample;
mod token;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::model::References;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item, Thin};
use super::payload::{self, Decimal, Text};
use super::{
    Challenge, Endpoint, Keys, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation,
    Verdict, no_example, no_poll, url_token,
};

/// monday.com.
pub const PROVIDER: Provider = Provider {
    name: "monday",
    title: "monday.com",
    secrets: &[
        SecretKey { name: SIGNING_SECRET, required: false },
        SecretKey { name: URL_TOKEN, required: false },
        SecretKey { name: crm::ACCESS_TOKEN, required: false },
    ],
    settings: &[
        STATUS_COLUMN,
        AMOUNT_COLUMN,
        CURRENCY_COLUMN,
        PAYMENT_ID_COLUMN,
        BOARD_ID,
        OWN_USER_ID,
        REQUIRE_AUDIENCE,
        AUDIENCE,
        API_VERSION,
        crm::API_URL,
        crm::CURRENCY,
    ],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[URL_PARAMETER], body_members: &[] },
    hosts: &["api.monday.com"],
    check,
    verify,
    translate,
    fetch: records::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

const SIGNING_SECRET: &str = "signing_secret";
/// The secret of the URL of webhooks that were made without an app, in the query parameter `k`.
const URL_TOKEN: &str = "url_token";
const URL_PARAMETER: &str = "k";
const AUTHORIZATION: &str = "authorization";

/// The id of the column that holds the payment's status.
const STATUS_COLUMN: &str = "status_column";
/// That of its amount, in major units.
const AMOUNT_COLUMN: &str = "amount_column";
/// That of its currency.
const CURRENCY_COLUMN: &str = "currency_column";
/// That of the payment's id.
const PAYMENT_ID_COLUMN: &str = "payment_id_column";
/// The only board whose items stand for payments; any board by default.
const BOARD_ID: &str = "board_id";
/// The id of the user that a connector works as: what it changed is left out.
const OWN_USER_ID: &str = "own_user_id";
/// `false` where the app's tokens name no audience.
const REQUIRE_AUDIENCE: &str = "require_audience";
/// What tokens name as their audience, where it is not the endpoint's URL.
const AUDIENCE: &str = "audience";
/// The version of the API that items are read with.
const API_VERSION: &str = "api_version";

/// What is echoed may be this long.
const MAX_CHALLENGE_BYTES: usize = 1024;

/// What a change on a board tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// One column of an item has this value.
    Column,
    /// An item is there, with these columns.
    Created,
    /// Nothing about a payment.
    Nothing,
}

const EVENTS: [(&str, Meaning); 7] = [
    ("update_column_value", Meaning::Column),
    ("create_pulse", Meaning::Created),
    ("update_name", Meaning::Nothing),
    ("create_update", Meaning::Nothing),
    ("move_pulse_into_group", Meaning::Nothing),
    ("archive_pulse", Meaning::Nothing),
    ("delete_pulse", Meaning::Nothing),
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
    crm::check(endpoint)?;
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    if ![SIGNING_SECRET, URL_TOKEN].iter().any(|name| endpoint.secrets.contains_key(*name)) {
        let reason = "is missing; webhooks cannot be verified without it or `secrets.url_token`";
        return mistake("secrets.signing_secret", reason);
    }
    if column(endpoint, STATUS_COLUMN).is_empty() {
        return mistake(STATUS_COLUMN, "is empty");
    }
    if !["true", "false"].contains(&endpoint.setting(REQUIRE_AUDIENCE, "true")) {
        return mistake(REQUIRE_AUDIENCE, "is neither true nor false");
    }
    let version = endpoint.setting(API_VERSION, records::DEFAULT_VERSION);
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return mistake(API_VERSION, "is no version like `2026-10`");
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    if let Some(challenge) = challenge(&request.body) {
        return Ok(Verdict::Challenge(challenge));
    }
    let is_made_by_app = request.headers.contains_key(AUTHORIZATION);
    let proof = match is_made_by_app || !endpoint.secrets.contains_key(URL_TOKEN) {
        true => token::verify(request, endpoint, now)?,
        false => url_token::verify(request, URL_PARAMETER, endpoint.candidates(URL_TOKEN))?,
    };
    // Nothing covers the body, so one that is cut off must not be taken for what was sent.
    serde_json::from_slice::<IgnoredAny>(&request.body)
        .map_err(|_| VerifyError::Malformed("body"))?;
    Ok(Verdict::Verified(proof))
}

/// The echo of a body that holds a challenge and nothing else.
fn challenge(body: &[u8]) -> Option<Challenge> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only {
        challenge: String,
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let only: Only = serde_json::from_slice(body).ok()?;
    (only.challenge.len() <= MAX_CHALLENGE_BYTES).then(|| Challenge {
        status: 200,
        headers: vec![("content-type", "application/json".to_owned())],
        body: serde_json::json!({ "challenge": only.challenge }).to_string(),
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    event: Option<Event<'a>>,
}

/// One change on a board.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow)]
    trigger_uuid: Text<'a>,
    #[serde(borrow)]
    trigger_time: Text<'a>,
    changed_at: Decimal,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    board_id: Text<'a>,
    /// The item's id.
    #[serde(borrow)]
    pulse_id: Text<'a>,
    #[serde(borrow)]
    pulse_name: Text<'a>,
    #[serde(borrow)]
    column_id: Text<'a>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    column_values: Option<BTreeMap<String, Option<&'a RawValue>>>,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a monday.com event", &error))?;
    let event = body.event.ok_or_else(|| missing("event"))?;
    let row = EVENTS.iter().find(|(known, _)| *known == &*event.event_type);
    let Some((_, meaning)) = row else {
        return payload::unknown_type(&event.event_type);
    };
    let item = match meaning {
        Meaning::Column | Meaning::Created if event.is_left_out(endpoint) => Item::Silent,
        Meaning::Column => event.column_changed(endpoint)?,
        Meaning::Created => event.item_created(endpoint)?,
        Meaning::Nothing => Item::Silent,
    };
    crm::translation(vec![item], &endpoint.name)
}

impl Event<'_> {
    /// Whether it is of another board, or of the connector itself.
    fn is_left_out(&self, endpoint: &Endpoint) -> bool {
        let board_id = endpoint.setting(BOARD_ID, "").trim();
        let is_own =
            !self.user_id.is_empty() && *self.user_id == *endpoint.setting(OWN_USER_ID, "").trim();
        is_own || !(board_id.is_empty() || *self.board_id == *board_id)
    }

    fn column_changed(&self, endpoint: &Endpoint) -> Result<Item, TranslateError> {
        if may_read(endpoint) {
            let is_mapped = records::columns(endpoint).contains(&&*self.column_id);
            return if is_mapped { self.place().map(Item::Thin) } else { Ok(Item::Silent) };
        }
        if *self.column_id != *column(endpoint, STATUS_COLUMN) {
            return Ok(Item::Silent);
        }
        self.report(&cells::text(self.value)?, [String::new(), String::new()], "", endpoint)
    }

    /// A new item tells its columns; where it tells none at all, they have to be read.
    fn item_created(&self, endpoint: &Endpoint) -> Result<Item, TranslateError> {
        let Some(columns) = &self.column_values else {
            return self.place().map(Item::Thin);
        };
        let raw = |name| columns.get(column(endpoint, name)).copied().flatten();
        if raw(STATUS_COLUMN).is_none() {
            return Ok(Item::Silent);
        }
        let amount = [cells::amount(raw(AMOUNT_COLUMN))?, cells::text(raw(CURRENCY_COLUMN))?];
        let payment_id = cells::text(raw(PAYMENT_ID_COLUMN))?;
        self.report(&cells::text(raw(STATUS_COLUMN))?, amount, &payment_id, endpoint)
    }

    fn report(
        &self,
        status: &str,
        [amount, currency]: [String; 2],
        payment_id: &str,
        endpoint: &Endpoint,
    ) -> Result<Item, TranslateError> {
        let Some(status) = crm::status(status) else {
            return Ok(Item::UnknownStatus);
        };
        let Thin { event_id, event_type, occurred_at, record_type, record_id } = self.place()?;
        let references = item_references(&self.board_id, &self.pulse_name);
        let money = crm::amount(&amount, &currency, endpoint)?;
        Ok(Item::Reported(Box::new(crm::Report {
            key: event_id.clone(),
            event_id,
            event_type,
            occurred_at,
            record_type,
            record_id,
            payment_id: payment_id.to_owned(),
            status,
            amount: money,
            live: true,
            references: crm::keep_currency(references, money, &currency),
        })))
    }

    fn place(&self) -> Result<Thin, TranslateError> {
        for (name, id) in [("triggerUuid", &self.trigger_uuid), ("pulseId", &self.pulse_id)] {
            if id.is_empty() {
                return Err(missing(name));
            }
        }
        Ok(Thin {
            event_id: self.trigger_uuid.to_string(),
            event_type: self.event_type.to_string(),
            occurred_at: self.occurred_at()?,
            record_type: "item".to_owned(),
            record_id: self.pulse_id.to_string(),
        })
    }

    /// When the column changed; of what is no change of a column, when it was triggered.
    fn occurred_at(&self) -> Result<Timestamp, TranslateError> {
        if !self.changed_at.is_empty() {
            let text = self.changed_at.text();
            return seconds(text).ok_or_else(|| payload::not_a("a time", text));
        }
        let text = &*self.trigger_time;
        text.parse().map_err(|_| payload::not_a("a time", text))
    }
}

/// A decimal number of seconds, to the nanosecond.
fn seconds(text: &str) -> Option<Timestamp> {
    const NANOSECOND_DIGITS: usize = 9;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let fraction: String =
        fraction.chars().chain(std::iter::repeat('0')).take(NANOSECOND_DIGITS).collect();
    Timestamp::new(whole.parse().ok()?, fraction.parse().ok()?).ok()
}

fn item_references(board_id: &str, name: &str) -> References {
    let mut references = References::default();
    for (key, value) in [("board_id", board_id), ("record_name", name)] {
        if !value.is_empty() {
            references.metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    references
}

/// The id of a mapped column.
fn column<'a>(endpoint: &'a Endpoint, setting: &str) -> &'a str {
    let default = match setting {
        STATUS_COLUMN => "payment_status",
        AMOUNT_COLUMN => "payment_amount",
        CURRENCY_COLUMN => "payment_currency",
        _ => "payment_id",
    };
    endpoint.setting(setting, default).trim()
}

/// Whether the endpoint has a token to read items with.
fn may_read(endpoint: &Endpoint) -> bool {
    endpoint.secret(crm::ACCESS_TOKEN).is_some()
}

fn missing(what: &str) -> TranslateError {
    TranslateError(format!("the event has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
    use crate::providers::testing;
    use crate::receipt::signature::jws::base64_url;
    use crate::receipt::signature::sign_hmac_sha256;
    use secrecy::SecretString;

    const SECRET: &str = "sample-signing-secret";

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, &[(SIGNING_SECRET, SECRET)])
    }

    fn reading() -> Endpoint {
        let mut endpoint = endpoint();
        let token = vec![SecretString::from("sample-access-token")];
        endpoint.secrets.insert(crm::ACCESS_TOKEN.to_owned(), token);
        endpoint
    }

    fn with(key: &str, value: &str) -> Endpoint {
        let mut endpoint = endpoint();
        endpoint.settings.insert(key.to_owned(), value.to_owned());
        endpoint
    }

    fn proves(endpoint: &Endpoint, header: &str, claims: &str) -> bool {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let mut request = testing::sample(&PROVIDER, endpoint, "update_column_value", 0);
        let signed = format!("{}.{}", base64_url(header.as_bytes()), base64_url(claims.as_bytes()));
        let signature = sign_hmac_sha256(SECRET.as_bytes(), &[signed.as_bytes()]);
        let token = format!("{signed}.{}", base64_url(&signature));
        request.headers.insert(AUTHORIZATION, token.parse().expect("a value"));
        PROVIDER.prove(&request, endpoint, now).is_ok()
    }

    fn meaning(endpoint: &Endpoint, event_type: &str, [from, to]: [&str; 2]) -> Translation {
        let body = testing::sample(&PROVIDER, endpoint, event_type, 0).body;
        let text = std::str::from_utf8(&body).expect("text");
        assert!(text.contains(from), "{from} in {text}");
        let body = text.replace(from, to);
        testing::translate_stored(&PROVIDER, endpoint, body.as_bytes()).expect("readable")
    }

    #[test]
    fn samples_verify_and_translate() {
        let silent: Vec<&str> = EVENTS
            .iter()
            .filter(|(_, meaning)| *meaning == Meaning::Nothing)
            .map(|(name, _)| *name)
            .collect();
        for endpoint in [endpoint(), reading()] {
            let coverage = testing::Coverage::Nothing;
            testing::check_samples(&PROVIDER, &endpoint, &silent, coverage);
        }
    }

    #[test]
    fn an_item_is_ordered_along_its_life() {
        for endpoint in [endpoint(), reading()] {
            testing::check_life(&PROVIDER, &endpoint, &["create_pulse", "update_column_value"]);
        }
    }

    #[test]
    fn any_order_of_a_life_ends_in_the_same_state() {
        let endpoint = endpoint();
        let at = |event_type, at| {
            testing::drafts(&PROVIDER, &endpoint, event_type, at).expect("known").remove(0)
        };
        let body = testing::sample(&PROVIDER, &endpoint, "update_column_value", 2).body;
        let body = std::str::from_utf8(&body).expect("text").replace("\"Paid\"", "\"Disputed\"");
        let body = body.replace("evt_a1_", "evt_a2_");
        let taken = testing::translate_stored(&PROVIDER, &endpoint, body.as_bytes());
        let Ok(Translation::Events(mut taken)) = taken else { panic!("an event") };
        let drafts: [Draft; 3] =
            [at("create_pulse", 0), at("update_column_value", 1), taken.remove(0)];
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
            assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Disputed)));
        }
    }

    #[test]
    fn a_token_is_hs256_and_ends_and_is_meant_for_us() {
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        let url = endpoint().url;
        let claims = |aud: &str, exp: i64| format!(r#"{{"aud":{aud},"exp":{exp}}}"#);
        let ours = format!("\"{url}\"");
        let later = testing::NOW + 1;
        assert!(proves(&endpoint(), header, &claims(&ours, later)));
        let several = format!("[\"https://other.example.test\",\"{url}\"]");
        assert!(proves(&endpoint(), header, &claims(&several, later)));
        for algorithm in ["none", "hs256", "HS512", "RS256", ""] {
            let header = header.replace("HS256", algorithm);
            assert!(!proves(&endpoint(), &header, &claims(&ours, later)), "{algorithm}");
        }
        assert!(!proves(&endpoint(), header, &claims(&ours, testing::NOW)), "ended");
        assert!(!proves(&endpoint(), header, &format!(r#"{{"aud":{ours}}}"#)), "no end");
        let other = claims("\"https://other.example.test\"", later);
        assert!(!proves(&endpoint(), header, &other), "meant for another");
        let nobody = format!(r#"{{"exp":{later}}}"#);
        assert!(!proves(&endpoint(), header, &nobody), "meant for nobody");
        assert!(proves(&with(REQUIRE_AUDIENCE, "false"), header, &nobody));
        assert!(proves(&with(AUDIENCE, "https://other.example.test"), header, &other));
        assert!(!proves(&with(AUDIENCE, "app"), header, &claims(&ours, later)));
    }

    #[test]
    fn a_token_goes_with_json_only() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let request = testing::sample(&PROVIDER, &endpoint(), "create_pulse", 0);
        let body = "event=update".into();
        assert!(PROVIDER.prove(&Request { body, ..request }, &endpoint(), now).is_err());
    }

    #[test]
    fn a_webhook_without_an_app_needs_the_secret_of_the_url() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let endpoint = testing::endpoint(&PROVIDER, &[(URL_TOKEN, "sample-url-token")]);
        let request = testing::sample(&PROVIDER, &endpoint, "update_column_value", 0);
        assert!(PROVIDER.prove(&request, &endpoint, now).is_ok());
        for query in ["", "?k=", "?k=sample-url-toke", "?k=sample-url-token&k=sample-url-token"] {
            let path = format!("{}{query}", endpoint.path);
            let request = Request { path, ..request.clone() };
            assert!(PROVIDER.prove(&request, &endpoint, now).is_err(), "{query}");
        }
        let mut forged = request.clone();
        forged.headers.insert(AUTHORIZATION, "a.b.c".parse().expect("a value"));
        assert!(PROVIDER.prove(&forged, &endpoint, now).is_err(), "a token must hold");
        let name = endpoint.name.clone();
        let proof = PROVIDER.prove(&request, &endpoint, now).expect("verifies");
        let receipt = Receipt::new(request, proof, name, now, PROVIDER.redaction);
        assert!(!receipt.path().contains("sample-url-token"), "{}", receipt.path());
        assert_eq!(
            check(&testing::endpoint(&PROVIDER, &[])).err().map(|mistake| mistake.key),
            Some("secrets.signing_secret")
        );
    }

    #[test]
    fn a_challenge_is_echoed_where_it_is_alone() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let answer = |body: &'static str| {
            let mut request = testing::sample(&PROVIDER, &endpoint(), "create_pulse", 0);
            request.headers.remove(AUTHORIZATION);
            request.body = body.into();
            (PROVIDER.verify)(&request, &endpoint(), &Keys::default(), now)
        };
        match answer(" {\"challenge\": \"a\\\"b\"}\n") {
            Ok(Verdict::Challenge(echo)) => {
                assert_eq!((echo.status, echo.body.as_str()), (200, r#"{"challenge":"a\"b"}"#));
            }
            other => panic!("{other:?}"),
        }
        for body in [
            r#"{"challenge":"a","event":{}}"#,
            r#"{"challenge":"a","challenge":"b"}"#,
            r#"{"challenge":1}"#,
            r#"["a"]"#,
            "{}",
        ] {
            assert!(answer(body).is_err(), "{body}");
        }
    }

    #[test]
    fn an_emptied_or_strange_label_is_unknown_and_other_columns_say_nothing() {
        let unknown = Translation::Unknown(crm::UNKNOWN_STATUS.to_owned());
        let changed = |change| meaning(&endpoint(), "update_column_value", change);
        assert_eq!(changed(["\"Paid\"", "null"]), unknown);
        assert_eq!(changed(["\"Paid\"", "\"Bezahlt\""]), unknown);
        let value = "\"value\":{\"label\":{\"index\":1,\"text\":\"Paid\"},\"post_id\":null}";
        assert_eq!(changed([value, "\"value\":null"]), unknown);
        let nothing = Translation::Events(Vec::new());
        assert_eq!(changed(["\"payment_status\"", "\"other\""]), nothing);
        let other = with(BOARD_ID, "18400000001");
        let change = ["\"boardId\":18400000001", "\"boardId\":5"];
        assert_eq!(meaning(&other, "update_column_value", change), nothing);
        let own = with(OWN_USER_ID, "4000001");
        assert_eq!(meaning(&own, "update_column_value", ["", ""]), nothing);
        let kind = ["update_column_value", "no_such"];
        assert_eq!(changed(kind), Translation::Unknown("no_such".to_owned()));
    }

    #[test]
    fn a_new_item_tells_its_columns_or_is_read() {
        let drafts = testing::drafts(&PROVIDER, &endpoint(), "create_pulse", 0);
        let draft = drafts.expect("known").remove(0);
        let amount = testing::payment_fact(&draft).amount.expect("an amount");
        assert_eq!(amount.minor_units, crate::providers::samples::amount("a1"));
        assert_eq!(draft.references.metadata["record_name"], "Invoice a1");
        let untold = ["\"columnValues\"", "\"columns\""];
        match meaning(&endpoint(), "create_pulse", untold) {
            Translation::Fetches(fetches) => assert_eq!(fetches.len(), 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_of_the_api_are_errors_whatever_their_status() {
        let endpoint = reading();
        let meaning = meaning(&endpoint, "update_column_value", ["", ""]);
        let Translation::Fetches(fetches) = meaning else { panic!("a fetch") };
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let step = |body: &'static str| {
            let answers = [crate::providers::Answer {
                status: 200,
                headers: http::HeaderMap::new(),
                body: body.into(),
            }];
            (PROVIDER.fetch)(&crate::providers::Fetching {
                endpoint: &endpoint,
                fetch: &fetches[0],
                received_at: now,
                now,
                cursor: "",
                answers: &answers,
            })
        };
        for body in [
            r#"{"errors":[{"message":"x","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}"#,
            r#"{"error_code":"ComplexityException","status_code":429}"#,
            r#"{"data":{}}"#,
            "<html>",
        ] {
            assert!(step(body).is_err(), "{body}");
        }
        match step(r#"{"data":{"items":[]}}"#) {
            Ok(crate::providers::Step::Done { drafts, .. }) => assert!(drafts.is_empty()),
            _ => panic!("an item that is gone gives no event"),
        }
    }

    #[test]
    fn seconds_are_read_to_the_nanosecond() {
        let read = |text| seconds(text).map(|at| at.as_nanosecond());
        assert_eq!(read("1795499994.6281"), Some(1_795_499_994_628_100_000));
        assert_eq!(read("1795499994"), Some(1_795_499_994_000_000_000));
        for text in ["", "-1", "1.2e9", "1.5.5", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn mistaken_settings_are_refused() {
        for (key, value) in [
            (STATUS_COLUMN, " "),
            (REQUIRE_AUDIENCE, "no"),
            (API_VERSION, "latest"),
            (crm::CURRENCY, "EURO"),
        ] {
            let refused = check(&with(key, value)).err();
            assert_eq!(refused.map(|mistake| mistake.key), Some(key), "{value}");
        }
        assert_eq!(check(&endpoint()), Ok(()));
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }
}
