//! Zoho CRM notifications: nothing is signed; the body carries the `token` that the channel was registered
//! with and the `channel_id`, which both must be the endpoint's. A token that is no text or stands twice
//! is refused. In comes a call that names records, with the changed values where the channel asks for
//! them, out go payment statuses, and fetches of the records that are only named. An endpoint that may
//! read records also reads those whose payment id is not told, so that all events of a payment meet.
//! Notifications end without a word when their channel does, and are not sent again.
//! Spec: <https://www.zoho.com/crm/developer/docs/api/v8/notifications/overview.html>,
//! <https://www.zoho.com/crm/developer/docs/api/v8/notifications/enable.html>

mod records;
mod sample;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::References;
use crate::receipt::signature::shared_token;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item, Thin};
use super::payload::{self, Decimal, Text};
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation, Verdict,
    no_poll,
};

/// Zoho CRM.
pub const PROVIDER: Provider = Provider {
    name: "zoho_crm",
    title: "Zoho CRM",
    secrets: &[
        SecretKey { name: TOKEN, required: true },
        SecretKey { name: CHANNEL_ID, required: true },
        crm::API_SECRETS[0],
        crm::API_SECRETS[1],
        crm::API_SECRETS[2],
        crm::API_SECRETS[3],
    ],
    settings: &[
        MODULE,
        STATUS_FIELD,
        AMOUNT_FIELD,
        CURRENCY_FIELD,
        PAYMENT_ID_FIELD,
        ACCOUNTS_URL,
        crm::API_URL,
        crm::CURRENCY,
    ],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[TOKEN] },
    hosts: &[
        "accounts.zoho.com",
        "accounts.zoho.eu",
        "accounts.zoho.in",
        "accounts.zoho.com.au",
        "accounts.zoho.com.cn",
        "accounts.zoho.jp",
        "accounts.zoho.sa",
        "accounts.zohocloud.ca",
        "www.zohoapis.com",
        "www.zohoapis.eu",
        "www.zohoapis.in",
        "www.zohoapis.com.au",
        "www.zohoapis.com.cn",
        "www.zohoapis.jp",
        "www.zohoapis.sa",
        "www.zohoapis.ca",
    ],
    check,
    verify,
    translate,
    fetch: records::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
};

const TOKEN: &str = "token";
const CHANNEL_ID: &str = "channel_id";
const REFRESH_TOKEN: &str = "refresh_token";

/// The API name of the module whose records stand for payments.
const MODULE: &str = "module";
/// The API name of the field that holds the payment's status.
const STATUS_FIELD: &str = "status_field";
/// That of its amount, in major units.
const AMOUNT_FIELD: &str = "amount_field";
/// That of its currency.
const CURRENCY_FIELD: &str = "currency_field";
/// That of the payment's id.
const PAYMENT_ID_FIELD: &str = "payment_id_field";
/// Where access tokens come from: `https://accounts.zoho.eu` for an account in the EU.
const ACCOUNTS_URL: &str = "accounts_url";

const EVENT_TYPES: [&str; 3] = ["insert", "update", "delete"];

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    crm::check(endpoint)?;
    for key in [MODULE, STATUS_FIELD] {
        if field(endpoint, key).is_empty() {
            return Err(Mistake { key, reason: "is empty".to_owned() });
        }
    }
    let url = endpoint.setting(ACCOUNTS_URL, records::ACCOUNTS);
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(()),
        false => Err(Mistake { key: ACCOUNTS_URL, reason: format!("`{url}` is not a URL") }),
    }
}

/// What proves a call. A member that stands twice is an error of the reader.
#[derive(Deserialize)]
struct Credentials<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    channel_id: Text<'a>,
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    // Members are what is made a digest of before storing, so they must be members.
    if !request.body.trim_ascii_start().starts_with(b"{") {
        return Err(VerifyError::Malformed("body"));
    }
    let given: Credentials<'_> =
        serde_json::from_slice(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
    let _channel = shared_token(endpoint.candidates(CHANNEL_ID), &given.channel_id)?;
    shared_token(endpoint.candidates(TOKEN), &given.token).map(Verdict::Verified)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    server_time: Option<i64>,
    #[serde(borrow)]
    module: Text<'a>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow)]
    channel_id: Text<'a>,
    #[serde(borrow)]
    ids: Option<Vec<Text<'a>>>,
    /// Field names by record id.
    affected_fields: Option<Vec<BTreeMap<String, Vec<String>>>>,
    #[serde(borrow)]
    affected_values: Option<Vec<Affected<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Affected<'a> {
    #[serde(borrow)]
    record_id: Text<'a>,
    #[serde(borrow)]
    values: Option<Fields<'a>>,
}

/// The fields of a record by API name.
type Fields<'a> = BTreeMap<String, Option<&'a RawValue>>;

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Zoho notification", &error))?;
    let operation = EVENT_TYPES.iter().find(|known| **known == &*body.operation);
    let Some(operation) = operation else {
        return payload::unknown_type(&body.operation);
    };
    // That a record is gone says nothing about the money.
    if *operation == "delete" || *body.module != *field(endpoint, MODULE) {
        return Ok(Translation::Events(Vec::new()));
    }
    let items: Result<Vec<Item>, _> =
        body.record_ids().into_iter().map(|id| body.item(id, endpoint)).collect();
    crm::translation(items?, &endpoint.name)
}

impl<'a> Body<'a> {
    /// The records that the call is about, each once, in their order.
    fn record_ids(&self) -> Vec<&str> {
        let named = self.ids.iter().flatten().map(|id| &**id);
        let told = self.affected_values.iter().flatten().map(|one| &*one.record_id);
        let mut ids: Vec<&str> = Vec::new();
        for id in named.chain(told) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn item(&self, id: &str, endpoint: &Endpoint) -> Result<Item, TranslateError> {
        if id.is_empty() {
            return Err(TranslateError("a record has no id".to_owned()));
        }
        let mut told = self.affected_values.iter().flatten();
        let values = told.find(|one| *one.record_id == *id).and_then(|one| one.values.as_ref());
        let mapped = records::mapped(endpoint);
        let Some(values) = values else {
            return match self.changed(id) {
                Some(changed) if !changed.iter().any(|name| mapped.contains(&name.as_str())) => {
                    Ok(Item::Silent)
                }
                Some(_) | None => self.place(id).map(Item::Thin),
            };
        };
        if !values.keys().any(|name| mapped.contains(&name.as_str())) {
            return Ok(Item::Silent);
        }
        let payment_field = field(endpoint, PAYMENT_ID_FIELD);
        let names_payment = payment_field.is_empty() || values.contains_key(payment_field);
        let tells_status = values.contains_key(field(endpoint, STATUS_FIELD));
        match may_read(endpoint) {
            true if !(names_payment && tells_status) => self.place(id).map(Item::Thin),
            false if !tells_status => Ok(Item::Silent),
            true | false => self.report(id, values, endpoint),
        }
    }

    /// The names of the fields that changed, where they are told.
    fn changed(&self, id: &str) -> Option<&[String]> {
        let names = self.affected_fields.iter().flatten().find_map(|one| one.get(id))?;
        (!names.is_empty()).then_some(names)
    }

    fn report(
        &self,
        id: &str,
        values: &Fields<'_>,
        endpoint: &Endpoint,
    ) -> Result<Item, TranslateError> {
        let Some(status) = crm::status(&text(values, field(endpoint, STATUS_FIELD))?) else {
            return Ok(Item::UnknownStatus);
        };
        let Thin { event_id, event_type, occurred_at, record_type, record_id } = self.place(id)?;
        let amount = decimal(values, field(endpoint, AMOUNT_FIELD))?;
        let currency = text(values, field(endpoint, CURRENCY_FIELD))?;
        Ok(Item::Reported(Box::new(crm::Report {
            key: format!("{event_id}:{event_type}"),
            event_id,
            event_type,
            occurred_at,
            record_type,
            record_id,
            payment_id: text(values, field(endpoint, PAYMENT_ID_FIELD))?,
            status,
            amount: crm::amount(amount.text(), &currency, endpoint)?,
            live: true,
            references: References::default(),
        })))
    }

    fn place(&self, id: &str) -> Result<Thin, TranslateError> {
        let no_time = || TranslateError("the notification has no server_time".to_owned());
        let at = self.server_time.ok_or_else(no_time)?;
        let occurred_at = Timestamp::from_millisecond(at)
            .map_err(|_| payload::not_a("a time", &at.to_string()))?;
        Ok(Thin {
            event_id: format!("{}:{at}:{id}", &*self.channel_id),
            event_type: self.operation.to_string(),
            occurred_at,
            record_type: self.module.to_string(),
            record_id: id.to_owned(),
        })
    }
}

/// The text of a field; empty where it is not there.
fn text(fields: &Fields<'_>, name: &str) -> Result<String, TranslateError> {
    Ok(value::<Text<'_>>(fields, name)?.to_string())
}

/// The decimal in a field, digit by digit.
fn decimal(fields: &Fields<'_>, name: &str) -> Result<Decimal, TranslateError> {
    value(fields, name)
}

fn value<'a, T: Deserialize<'a> + Default>(
    fields: &Fields<'a>,
    name: &str,
) -> Result<T, TranslateError> {
    match fields.get(name).copied().flatten() {
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|error| payload::unreadable("a field of a record", &error)),
        None => Ok(T::default()),
    }
}

/// The API name that a setting gives.
fn field<'a>(endpoint: &'a Endpoint, setting: &str) -> &'a str {
    let default = match setting {
        MODULE => "Deals",
        STATUS_FIELD => "Payment_Status",
        AMOUNT_FIELD => "Payment_Amount",
        CURRENCY_FIELD => "Payment_Currency",
        _ => "Payment_Id",
    };
    endpoint.setting(setting, default).trim()
}

/// Whether the endpoint has credentials to read records with.
fn may_read(endpoint: &Endpoint) -> bool {
    [crm::ACCESS_TOKEN, REFRESH_TOKEN].iter().any(|name| endpoint.secret(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
    use crate::providers::testing;
    use secrecy::SecretString;

    const SECRETS: &[(&str, &str)] = &[(TOKEN, "sample-token-1"), (CHANNEL_ID, "1000000000001")];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    fn reading() -> Endpoint {
        let mut endpoint = endpoint();
        let token = vec![SecretString::from("sample-access-token")];
        endpoint.secrets.insert(crm::ACCESS_TOKEN.to_owned(), token);
        endpoint
    }

    fn notification(ids: &str, fields: &str, values: &str) -> String {
        format!(
            r#"{{"server_time":1795599990500,"affected_values":{values},"module":"Deals",
            "ids":{ids},"affected_fields":{fields},"operation":"update",
            "channel_id":"1000000000001","token":"sample-token-1"}}"#
        )
    }

    fn meaning(endpoint: &Endpoint, body: &str) -> Translation {
        testing::translate_stored(&PROVIDER, endpoint, body.as_bytes()).expect("readable")
    }

    fn fetched(meaning: Translation) -> Vec<String> {
        match meaning {
            Translation::Fetches(all) => all.into_iter().map(|fetch| fetch.object).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn samples_verify_and_translate() {
        for endpoint in [endpoint(), reading()] {
            let coverage = testing::Coverage::Nothing;
            testing::check_samples(&PROVIDER, &endpoint, &["delete"], coverage);
        }
    }

    #[test]
    fn a_deal_is_ordered_along_its_life() {
        for endpoint in [endpoint(), reading()] {
            testing::check_life(&PROVIDER, &endpoint, &["insert", "update"]);
        }
    }

    #[test]
    fn any_order_of_a_life_ends_in_the_same_state() {
        let endpoint = endpoint();
        let at = |event_type, at| {
            testing::drafts(&PROVIDER, &endpoint, event_type, at).expect("known").remove(0)
        };
        let body = testing::sample(&PROVIDER, &endpoint, "update", 2).body;
        let body =
            std::str::from_utf8(&body).expect("text").replace("\"Paid\"", "\"Charged Back\"");
        let Translation::Events(mut taken) = meaning(&endpoint, &body) else { panic!("an event") };
        let drafts: [Draft; 3] = [at("insert", 0), at("update", 1), taken.remove(0)];
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
            assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::ChargedBack)));
        }
    }

    #[test]
    fn token_and_channel_must_both_be_ours_and_stand_once() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let request = testing::sample(&PROVIDER, &endpoint(), "update", 0);
        let text = std::str::from_utf8(&request.body).expect("text").to_owned();
        let proves = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let body = text.replace(from, to).into_bytes().into();
            PROVIDER.prove(&Request { body, ..request.clone() }, &endpoint(), now).is_ok()
        };
        assert!(proves("\"1000000000001\"", "1000000000001"), "a number is as good");
        for (from, to) in [
            ("\"sample-token-1\"", "\"sample-token-2\""),
            ("\"sample-token-1\"", "\"sample-token\""),
            ("\"sample-token-1\"", "[\"sample-token-1\"]"),
            ("\"sample-token-1\"", "null"),
            ("\"token\":", "\"no_token\":"),
            ("\"token\":", "\"token\":\"sample-token-1\",\"\\u0074oken\":"),
            ("1000000000001", "1000000000002"),
            ("\"1000000000001\"", "null"),
        ] {
            assert!(!proves(from, to), "{to}");
        }
        let body = "[\"sample-token-1\",\"1000000000001\"]".into();
        assert!(PROVIDER.prove(&Request { body, ..request.clone() }, &endpoint(), now).is_err());
    }

    #[test]
    fn p10_the_token_is_not_stored() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let request = testing::sample(&PROVIDER, &endpoint(), "update", 0);
        let proof = PROVIDER.prove(&request, &endpoint(), now).expect("verifies");
        let receipt =
            Receipt::new(request, proof, endpoint().name, now, PROVIDER.redaction).body().clone();
        let text = std::str::from_utf8(&receipt).expect("text");
        assert!(text.contains("\"token\":\"sha256:") && !text.contains("sample-token-1"), "{text}");
    }

    #[test]
    fn each_record_is_told_or_read() {
        let paid = r#"{"record_id":"11","values":{"Payment_Status":"Paid","Payment_Amount":0.29,
            "Payment_Currency":"USD","Payment_Id":"pay_1"}}"#;
        let failed = r#"{"record_id":"12","values":{"Payment_Status":"Failed"}}"#;
        let both = format!("[{paid},{failed}]");
        let told = notification(r#"["11","12"]"#, "[]", &both);
        let Translation::Events(drafts) = meaning(&endpoint(), &told) else { panic!("told") };
        let ids: Vec<&str> = drafts.iter().map(|draft| draft.subject.id.as_str()).collect();
        assert_eq!(ids, ["pay_1", "12"]);
        assert_eq!(drafts[0].event_id, "1000000000001:1795599990500:11");
        let amount = testing::payment_fact(&drafts[0]).amount.expect("an amount");
        assert_eq!(amount.to_string(), "0.29 USD");
        assert_eq!(drafts[0].references.metadata["record_id"], "11");

        // Who can read finds the payment that the second record is about.
        let objects = fetched(meaning(&reading(), &told));
        assert_eq!(objects, ["reports/1000000000001:1795599990500:11:update", "Deals/12"]);

        let named = notification(r#"[5725767000003000010,"5725767000003000020"]"#, "[]", "[]");
        let objects = fetched(meaning(&endpoint(), &named));
        assert_eq!(objects, ["Deals/5725767000003000010", "Deals/5725767000003000020"]);
    }

    #[test]
    fn what_touches_no_payment_gives_no_event() {
        let nothing = Translation::Events(Vec::new());
        let stage = r#"[{"record_id":"11","values":{"Stage":"Closed Won"}}]"#;
        let told = notification(r#"["11"]"#, "[]", stage);
        let named = notification(r#"["11"]"#, r#"[{"11":["Stage"]}]"#, "[]");
        let paid = r#"[{"record_id":"11","values":{"Payment_Status":"Paid"}}]"#;
        let paid = notification(r#"["11"]"#, "[]", paid);
        let lead = paid.replace("\"Deals\"", "\"Leads\"");
        let gone = paid.replace("\"update\"", "\"delete\"");
        for body in [told, named, lead, gone] {
            assert_eq!(meaning(&endpoint(), &body), nothing, "{body}");
        }
        let unknown = Translation::Unknown(crm::UNKNOWN_STATUS.to_owned());
        for status in ["null", "\"Bezahlt\""] {
            let body = paid.replace("\"Paid\"", status);
            assert_eq!(meaning(&endpoint(), &body), unknown, "{status}");
        }
        let unknown = Translation::Unknown("merge".to_owned());
        assert_eq!(meaning(&endpoint(), &paid.replace("\"update\"", "\"merge\"")), unknown);
    }

    #[test]
    fn an_amount_that_would_have_to_be_rounded_is_an_error() {
        let values = r#"[{"record_id":"11","values":{"Payment_Status":"Paid",
            "Payment_Amount":10.5,"Payment_Currency":"JPY"}}]"#;
        let body = notification(r#"["11"]"#, "[]", values);
        assert!(testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()).is_err());
    }

    #[test]
    fn mistaken_settings_are_refused() {
        for (key, value) in
            [(MODULE, " "), (STATUS_FIELD, ""), (ACCOUNTS_URL, "eu"), (crm::API_URL, "eu")]
        {
            let mut endpoint = endpoint();
            endpoint.settings.insert(key.to_owned(), value.to_owned());
            assert_eq!(check(&endpoint).err().map(|mistake| mistake.key), Some(key), "{value}");
        }
        assert_eq!(check(&endpoint()), Ok(()));
    }

    /// No header proves anything here, so bodies alone are broken.
    #[test]
    fn no_request_panics() {
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        for event_type in EVENT_TYPES {
            let request = testing::sample(&PROVIDER, &endpoint(), event_type, 0);
            for at in 0..request.body.len() {
                let cut = request.body.slice(..at).to_vec();
                let put = |byte: u8| {
                    let mut body = request.body.to_vec();
                    body[at] = byte;
                    body
                };
                for body in [cut, put(b'['), put(b'\"'), put(b'9'), put(0xff)] {
                    let _ = testing::translate_stored(&PROVIDER, &endpoint(), &body);
                    let request = Request { body: body.into(), ..request.clone() };
                    let _ = PROVIDER.prove(&request, &endpoint(), now);
                }
            }
        }
    }
}
