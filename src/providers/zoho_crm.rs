//! Zoho CRM: notifications of a channel and webhooks of workflows, neither of them signed. The body of a
//! notification carries the `token` that the channel was registered with and the `channel_id`, which both
//! must be the endpoint's; a token that is no text is refused, and so is any member that stands twice. A
//! workflow's webhook is authentic where its header `x-tollgate-token` is the endpoint's `workflow_token`.
//! In comes a call that names records, with the changed values where the channel asks for them, out go
//! payment statuses, and fetches of the records that are only named. An endpoint that may read records also
//! reads those whose payment id is not told, so that all events of a payment meet. Notifications end without
//! a word when their channel does, and are not sent again.
//! Spec: <https://www.zoho.com/crm/developer/docs/api/v8/notifications/overview.html>,
//! <https://www.zoho.com/crm/developer/docs/api/v8/notifications/enable.html>

mod members;
mod records;
mod sample;
mod workflow;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::References;
use crate::receipt::signature::shared_token;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item, Thin};
use super::fields::Fields;
use super::payload::{self, Text};
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation, Verdict,
    no_example, no_poll,
};

/// Zoho CRM.
pub const PROVIDER: Provider = Provider {
    name: "zoho_crm",
    title: "Zoho CRM",
    secrets: &[
        SecretKey { name: TOKEN, required: true },
        SecretKey { name: CHANNEL_ID, required: true },
        SecretKey { name: WORKFLOW_TOKEN, required: false },
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
    redaction: Redaction { headers: &[WORKFLOW_HEADER], query: &[], body_members: &[TOKEN] },
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
        "sandbox.zohoapis.com",
    ],
    check,
    verify,
    translate,
    fetch: records::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

const TOKEN: &str = "token";
const CHANNEL_ID: &str = "channel_id";
const REFRESH_TOKEN: &str = "refresh_token";
/// The secret of workflows' webhooks, in their header.
const WORKFLOW_TOKEN: &str = "workflow_token";
const WORKFLOW_HEADER: &str = "x-tollgate-token";

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

/// How the URLs of sandboxes begin.
const SANDBOX: &str = "https://sandbox.";
/// The field that tells when a record changed last.
const MODIFIED: &str = "Modified_Time";

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

/// What proves a call.
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
    if request.headers.contains_key(WORKFLOW_HEADER) {
        let given = request.header(WORKFLOW_HEADER)?;
        let proof = shared_token(endpoint.candidates(WORKFLOW_TOKEN), given)?;
        workflow::fields(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
        return Ok(Verdict::Verified(proof));
    }
    // Members are what is made a digest of before storing, so they must be members.
    if !request.body.trim_ascii_start().starts_with(b"{") {
        return Err(VerifyError::Malformed("body"));
    }
    let given: Credentials<'_> =
        serde_json::from_slice(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
    serde_json::from_slice::<members::Once>(&request.body)
        .map_err(|_| VerifyError::Malformed("body"))?;
    let _channel = shared_token(endpoint.candidates(CHANNEL_ID), &given.channel_id)?;
    shared_token(endpoint.candidates(TOKEN), &given.token).map(Verdict::Verified)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    /// In milliseconds.
    #[serde(borrow)]
    server_time: Text<'a>,
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
    values: Option<Fields>,
}

/// What a notification tells of its records.
#[derive(Default)]
struct Told<'a> {
    /// The records, each once, in their order.
    ids: Vec<&'a str>,
    /// Their changed values, where they are told.
    values: HashMap<&'a str, &'a Fields>,
    /// The names of their changed fields, where they are told.
    names: HashMap<&'a str, &'a [String]>,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    if receipt.header(WORKFLOW_HEADER).is_some() {
        let item = workflow::item(receipt, endpoint)?;
        return crm::translation(vec![item], &endpoint.name);
    }
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
    let told = Told::of(&body);
    let items = told.ids.iter().map(|id| told.item(id, &body, endpoint));
    crm::batch(items, &endpoint.name)
}

impl<'a> Told<'a> {
    fn of(body: &'a Body<'_>) -> Told<'a> {
        let mut told = Told::default();
        for one in body.affected_values.iter().flatten() {
            if let Some(values) = &one.values {
                told.values.entry(&*one.record_id).or_insert(values);
            }
        }
        for (id, names) in body.affected_fields.iter().flatten().flatten() {
            if !names.is_empty() {
                told.names.entry(id).or_insert(names);
            }
        }
        let named = body.ids.iter().flatten().map(|id| &**id);
        let affected = body.affected_values.iter().flatten().map(|one| &*one.record_id);
        let mut seen = HashSet::new();
        told.ids = named.chain(affected).filter(|id| seen.insert(*id)).collect();
        told
    }

    fn item(&self, id: &str, body: &Body<'_>, endpoint: &Endpoint) -> Result<Item, TranslateError> {
        let mapped = records::mapped(endpoint);
        let Some(values) = self.values.get(id) else {
            let names = self.names.get(id);
            let is_other = names
                .is_some_and(|names| !names.iter().any(|name| mapped.contains(&name.as_str())));
            return if is_other { Ok(Item::Silent) } else { place(body, id).map(Item::Thin) };
        };
        if !mapped.iter().any(|name| values.get(name).is_some()) {
            return Ok(Item::Silent);
        }
        let thin = place(body, id)?;
        match must_read(values, endpoint) {
            true => Ok(Item::Thin(thin)),
            false if values.get(field(endpoint, STATUS_FIELD)).is_none() => Ok(Item::Silent),
            false => {
                let key = format!("{}:{}", thin.event_id, thin.event_type);
                report(&thin, Some(key), values, endpoint)
            }
        }
    }
}

/// Whether the record should be read, and can be: its status or the payment that it is about is not told.
fn must_read(fields: &Fields, endpoint: &Endpoint) -> bool {
    let names = [STATUS_FIELD, PAYMENT_ID_FIELD].map(|setting| field(endpoint, setting));
    let tells = |name: &&str| name.is_empty() || fields.get(name).is_some();
    may_read(endpoint) && !names.iter().all(tells)
}

fn place(body: &Body<'_>, id: &str) -> Result<Thin, TranslateError> {
    if id.is_empty() {
        return Err(TranslateError("a record has no id".to_owned()));
    }
    let at = &*body.server_time;
    if at.is_empty() {
        return Err(TranslateError("the notification has no server_time".to_owned()));
    }
    let time = at.parse::<i64>().ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    let occurred_at = time.ok_or_else(|| payload::not_a("a time", at))?;
    Ok(Thin {
        event_id: format!("{}:{at}:{id}", &*body.channel_id),
        event_type: body.operation.to_string(),
        occurred_at,
        record_type: body.module.to_string(),
        record_id: id.to_owned(),
    })
}

/// What a record says. Without a key of its own the event is known by the record's state.
fn report(
    thin: &Thin,
    key: Option<String>,
    fields: &Fields,
    endpoint: &Endpoint,
) -> Result<Item, TranslateError> {
    let text = |setting| fields.text(field(endpoint, setting));
    let Some(status) = crm::status(text(STATUS_FIELD)) else {
        return Ok(Item::UnknownStatus);
    };
    let (amount, currency) = (text(AMOUNT_FIELD), text(CURRENCY_FIELD));
    let payment_id = text(PAYMENT_ID_FIELD);
    let key = key.unwrap_or_else(|| {
        crm::state_key(&[
            &thin.record_type,
            &thin.record_id,
            status.word(),
            amount,
            currency,
            payment_id,
            fields.text(MODIFIED),
        ])
    });
    let money = crm::amount(amount, currency, endpoint)?;
    Ok(Item::Reported(Box::new(crm::Report {
        event_id: payload::first(&[&thin.event_id, &key]),
        key,
        event_type: thin.event_type.clone(),
        occurred_at: thin.occurred_at,
        record_type: thin.record_type.clone(),
        record_id: thin.record_id.clone(),
        payment_id: payment_id.to_owned(),
        status,
        amount: money,
        live: !endpoint.setting(crm::API_URL, "").starts_with(SANDBOX),
        references: crm::keep_currency(References::default(), money, currency),
    })))
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
            ("\"ids\":", "\"ids\":[\"99\"],\"ids\":"),
            ("\"Payment_Status\":", "\"Payment_Status\":\"Failed\",\"Payment_Status\":"),
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

        let text = told.replace("1795599990500", "\"1795599990500\"");
        assert_eq!(meaning(&endpoint(), &text), meaning(&endpoint(), &told), "a text is as good");

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
    fn a_workflow_tells_a_record_by_its_own_token() {
        let mut endpoint = endpoint();
        let token = vec![SecretString::from("sample-workflow-token")];
        endpoint.secrets.insert(WORKFLOW_TOKEN.to_owned(), token);
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let mut base = testing::sample(&PROVIDER, &endpoint, "update", 0);
        let mut receive = |token: &str, body: &str| {
            base.headers.insert(WORKFLOW_HEADER, token.parse().expect("a value"));
            let body = body.to_owned().into();
            testing::receive(&PROVIDER, &endpoint, Request { body, ..base.clone() }, now)
        };
        let json = r#"{"id":"11","Payment_Status":"Paid","Payment_Amount":0.29,
            "Payment_Currency":"USD","Payment_Id":"pay_1","Modified_Time":"2026-11-25T09:00:00+01:00"}"#;
        let form = "id=11&Payment_Status=Paid&Payment_Amount=0.29&Payment_Currency=USD\
                    &Payment_Id=pay_1&Modified_Time=2026-11-25T09%3A00%3A00%2B01%3A00";
        let told = [json, form].map(|body| match receive("sample-workflow-token", body) {
            Ok(Ok(Translation::Events(mut drafts))) => drafts.remove(0),
            other => panic!("{other:?}"),
        });
        assert_eq!(told[0], told[1], "the same record, in whatever form");
        assert_eq!(told[0].subject.id, "pay_1");
        assert_eq!(told[0].occurred_at.as_second(), 1_795_593_600);
        for token in ["sample-workflow-toke", "sample-token-1"] {
            assert!(receive(token, json).is_err(), "{token}");
        }
        assert!(receive("sample-workflow-token", "id=11&id=12").is_err(), "no one record");
        match receive("sample-workflow-token", "id=11&Stage=Won") {
            Ok(Ok(Translation::Fetches(fetches))) => assert_eq!(fetches[0].object, "Deals/11"),
            other => panic!("{other:?}"),
        }
        match receive("sample-workflow-token", "id=11&module=Leads&Payment_Status=Paid") {
            Ok(Ok(meaning)) => assert_eq!(meaning, Translation::Events(Vec::new())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_amount_that_would_have_to_be_rounded_is_an_error() {
        let values = r#"[{"record_id":"11","values":{"Payment_Status":"Paid",
            "Payment_Amount":10.5,"Payment_Currency":"JPY"}}]"#;
        let body = notification(r#"["11"]"#, "[]", values);
        assert!(testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()).is_err());
        // Another record of the same call is told all the same.
        let failed = r#"},{"record_id":"12","values":{"Payment_Status":"Failed"}}]"#;
        let both = notification(r#"["11","12"]"#, "[]", &values.replace("}]", failed));
        match meaning(&endpoint(), &both) {
            Translation::Partly(drafts, _) => assert_eq!(drafts[0].subject.id, "12"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sandbox_is_not_live() {
        let mut endpoint = endpoint();
        let url = "https://sandbox.zohoapis.com".to_owned();
        endpoint.settings.insert(crm::API_URL.to_owned(), url);
        for event_type in ["insert", "update"] {
            let drafts = testing::drafts(&PROVIDER, &endpoint, event_type, 0).expect("known");
            assert!(!drafts[0].live, "{event_type}");
        }
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
